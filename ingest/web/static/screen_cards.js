// The cards around the conversation of /screen/{call}, one class each: they show what they are told and ask nothing.

import { find, make, seconds, write } from "/static/dom.js";

const STAGES = ["first_audio", "heard"];
const WHY = { greeting: "Greeting", turn: "Answer", prompt: "Prompt", request: "Request", tool: "After a tool" };
const NEWS_OF_STREAMS = {
  "stream.opened": ({ door, encoding, sample_rate: rate }) => `opened on ${door}: ${encoding}, ${rate / 1000} kHz`,
  "stream.closed": ({ reason, code }) => `closed: ${reason}${code ? ` (${code})` : ""}`,
  "stream.lost": () => "lost",
  "stream.superseded": () => "replaced by a newer connection",
  "stream.degraded": ({ ping_ms: ping, loss }) => `weak: ping ${Math.round(ping)} ms, loss ${Math.round(loss * 100)} %`,
  "stream.reported": ({ status, error }) => `the carrier says ${status}${error ? `: ${error}` : ""}`,
};

export class CallCard {
  #call = {};
  #timer = 0;

  // What is new about the call; what is not named stays as it was.
  change(news) {
    this.show({ ...this.#call, ...news });
  }

  show(call) {
    this.#call = call;
    const isOver = Boolean(call.ended_at);
    const state = find("call-state");
    state.dataset.state = isOver ? "ended" : "live";
    write(state, isOver ? `Ended: ${call.reason}` : "Live");
    for (const name of ["channel", "from", "to", "agent"]) {
      write(find(`call-${name}`), call[name] || "–");
    }
    write(find("call-began"), call.started_at ? new Date(call.started_at).toLocaleTimeString() : "–");
    clearInterval(this.#timer);
    const length = () => write(find("call-length"), seconds(call.duration_ms ?? Math.max(0, Date.now() - call.started_at)));
    length();
    if (!isOver) {
      this.#timer = setInterval(length, 1_000);
    }
  }
}

export class RepliesCard {
  #replies = new Map(); // id of reply.started -> {row, lines}

  begin() {
    this.#replies.clear();
    find("turns").replaceChildren();
  }

  started({ id, why, agent_name: name }) {
    const row = make("tr", {}, make("td", { text: WHY[why] || why }), ...STAGES.map(() => make("td", { text: "–" })));
    row.append(make("td", { text: name || "" }), make("td", { text: "…" }));
    find("turns").prepend(row);
    this.#replies.set(id, { row, lines: [] });
  }

  sentence({ id, reply }) {
    this.#replies.get(reply)?.lines.push(id);
  }

  // The ids of its sentences, as far as it has come.
  linesOf(reply) {
    return this.#replies.get(reply)?.lines ?? [];
  }

  finished({ reply, interrupted, latency }) {
    const cells = this.#replies.get(reply)?.row.children;
    if (cells) {
      STAGES.forEach((stage, index) => {
        cells[index + 1].textContent = seconds(latency?.[stage]);
      });
      cells[STAGES.length + 2].textContent = interrupted ? "interrupted" : "heard";
    }
  }
}

export class ToolsCard {
  #outcomes = new Map(); // id of tool.called -> element

  begin() {
    this.#outcomes.clear();
    find("tools").replaceChildren();
    find("no-tools").hidden = false;
  }

  called({ id, name, arguments: given }) {
    find("no-tools").hidden = true;
    const element = make("li", { text: `${name}(${brief(given)})` });
    const outcome = make("span", { className: "quiet", text: " …" });
    element.append(outcome);
    this.#outcomes.set(id, outcome);
    find("tools").append(element);
  }

  returned({ call, status, result, message }) {
    const outcome = this.#outcomes.get(call);
    if (outcome) {
      outcome.textContent = ` → ${status}${message ? `: ${message}` : ""} ${brief(result)}`;
    }
  }
}

export class StreamsCard {
  #numbers = new Map(); // stream -> its number

  begin() {
    this.#numbers.clear();
    find("streams").replaceChildren();
  }

  news(message) {
    const number = this.#numbers.get(message.stream) ?? this.#numbers.size + 1;
    this.#numbers.set(message.stream, number);
    const time = new Date(message.timestamp).toLocaleTimeString();
    const news = NEWS_OF_STREAMS[message.type](message);
    find("streams").append(make("li", { text: `${time} Connection ${number} ${news}` }));
  }

  measured({ frames, lost, ping_ms: ping, jitter_ms: jitter, level_dbfs: level }) {
    const parts = [`${frames} frames`, `${lost} lost`];
    for (const [name, value, unit] of [["ping", ping, "ms"], ["jitter", jitter, "ms"], ["level", level, "dBFS"]]) {
      if (typeof value === "number") {
        parts.push(`${name} ${Math.round(value)} ${unit}`);
      }
    }
    write(find("measured"), parts.join(", "));
  }
}

export class SummaryCard {
  begin() {
    for (const id of ["summary", "points", "actions"]) {
      find(id).replaceChildren();
    }
    find("summary-card").hidden = find("actions-title").hidden = true;
  }

  // A newer summary brings its own action items after it.
  summarised({ summary, key_points: points }) {
    find("summary-card").hidden = false;
    find("summary").replaceChildren(make("p", { text: summary ?? "(sealed)" }));
    find("points").replaceChildren(...(points || []).map((point) => make("li", { text: point.text ?? "(sealed)" })));
    find("actions").replaceChildren();
    find("actions-title").hidden = true;
  }

  action({ title, kind, due, assignee }) {
    find("summary-card").hidden = find("actions-title").hidden = false;
    const details = [kind, due && `due ${new Date(due).toLocaleString()}`, assignee].filter(Boolean).join(", ");
    find("actions").append(make("li", { text: `${title ?? "(sealed)"}${details ? ` – ${details}` : ""}` }));
  }
}

function brief(value) {
  if (value === null || value === undefined) {
    return "";
  }
  return Object.entries(value)
    .map(([key, each]) => `${key}: ${typeof each === "string" ? each : JSON.stringify(each)}`)
    .join(", ");
}
