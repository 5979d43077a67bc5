// The page /screen/{call}: one call as it happens, as CallScreen's messages tell it.

import { find, followEnd, make, seconds, write } from "/static/dom.js";
import { Feed } from "/static/feed.js";

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
const LAST_NEWS = new Set(["stream.closed", "stream.lost"]);

class ScreenView {
  #feed = null;
  #call = {};
  #lines = new Map(); // id -> element
  #replies = new Map(); // id of reply.started -> {row, lines}
  #tools = new Map(); // id of tool.called -> element
  #streams = new Map(); // stream -> its number
  #guesses = new Map(); // stream -> text
  #timer = 0;
  #isCatchingUp = false;

  follow(feed) {
    this.#feed = feed;
  }

  begin() {
    for (const map of [this.#lines, this.#replies, this.#tools, this.#streams, this.#guesses]) {
      map.clear();
    }
    for (const id of ["transcript", "turns", "tools", "streams", "points", "actions", "summary"]) {
      find(id).replaceChildren();
    }
    this.#isCatchingUp = true;
    find("no-tools").hidden = false;
    find("summary-card").hidden = find("actions-title").hidden = true;
    this.#interim();
  }

  async caughtUp() {
    this.#isCatchingUp = false;
    await this.#askWhatWasHeard();
  }

  take(message) {
    const heed = HEED[message.type];
    if (heed) {
      heed.call(this, message);
    } else if (NEWS_OF_STREAMS[message.type]) {
      this.stream(message);
    }
  }

  // ------------------------------------------------------------------ the call

  snapshot({ call, transcript, earlier_lines: earlier, revised, summary, actions }) {
    this.#isCatchingUp = false;
    this.#showCall({ ...call, agent: call.agent_name || call.agent });
    find("earlier").hidden = !earlier;
    write(find("earlier"), earlier ? `${earlier} earlier lines are not shown.` : "");
    for (const line of transcript) {
      this.#line(line);
      this.#heard(line);
    }
    for (const { stream, text } of revised) {
      this.#guesses.set(stream, text);
    }
    this.#interim();
    if (summary) {
      this.summarised(summary);
    }
    for (const action of actions) {
      this.action(action);
    }
  }

  started(message) {
    this.#showCall({ ...message, started_at: message.timestamp, ended_at: null });
  }

  ended({ reason, duration_ms: duration, timestamp }) {
    this.#showCall({ ...this.#call, ended_at: timestamp, reason, duration_ms: duration });
    this.#guesses.clear();
    this.#interim();
    write(find("now"), "");
  }

  agentChanged({ agent }) {
    this.#showCall({ ...this.#call, agent });
    this.#note(`${agent} takes over`);
  }

  #showCall(call) {
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

  // ------------------------------------------------------------------ the conversation

  revised({ stream, text }) {
    this.#guesses.set(stream, text);
    this.#interim();
  }

  settled(message) {
    this.#guesses.delete(message.stream);
    this.#interim();
    if (message.text !== "") {
      this.#line(message);
    }
  }

  typed(message) {
    this.#line(message, "typed");
  }

  speech({ type }) {
    write(find("now"), type === "speech.started" ? "The caller is speaking." : "");
  }

  replyStarted({ id, why, agent_name: name }) {
    const row = make("tr", {}, make("td", { text: WHY[why] || why }), ...STAGES.map(() => make("td", { text: "–" })));
    row.append(make("td", { text: name || "" }), make("td", { text: "…" }));
    find("turns").prepend(row);
    this.#replies.set(id, { row, lines: [] });
    write(find("now"), "The agent is answering.");
  }

  sentence(message) {
    this.#line(message);
    this.#replies.get(message.reply)?.lines.push(message.id);
  }

  interrupted({ reply }) {
    for (const id of this.#replies.get(reply)?.lines ?? []) {
      this.#tag(id, "interrupted");
    }
  }

  async finished({ reply, interrupted, latency, heard }) {
    write(find("now"), "");
    const known = this.#replies.get(reply);
    if (known) {
      const cells = known.row.children;
      STAGES.forEach((stage, index) => {
        cells[index + 1].textContent = seconds(latency?.[stage]);
      });
      cells[STAGES.length + 2].textContent = interrupted ? "interrupted" : "heard";
    }
    if (interrupted && heard) {
      heard.forEach((line) => this.#heard(line));
    } else if (interrupted) {
      await this.#askWhatWasHeard();
    }
  }

  // Facts say that a reply was cut, a snapshot says where.
  async #askWhatWasHeard() {
    if (this.#isCatchingUp || !document.querySelector("#transcript .tag")) {
      return;
    }
    const snapshot = await this.#feed.glance();
    for (const line of snapshot?.transcript ?? []) {
      this.#heard(line);
    }
  }

  #line({ id, speaker, text, agent_name: name }, tag = "") {
    if (this.#lines.has(id)) {
      return;
    }
    const isCaller = speaker === "caller";
    const element = make(
      "li",
      { className: `line ${isCaller ? "caller" : "agent"}` },
      make("span", { className: "who", text: isCaller ? "Caller" : name || "Agent" }),
      make("span", { className: "words", text: text ?? "(sealed)" }),
    );
    this.#lines.set(id, element);
    this.#add(element);
    if (tag) {
      this.#tag(id, tag);
    }
  }

  // Of an interrupted line: which words were heard, and which were not.
  #heard({ id, interrupted = true, text, heard_text: heard }) {
    const element = this.#lines.get(id);
    if (!element || !interrupted || typeof heard !== "string") {
      return;
    }
    this.#tag(id, "interrupted");
    const words = element.querySelector(".words");
    const whole = text ?? words.textContent;
    const rest = whole.startsWith(heard) ? whole.slice(heard.length) : whole;
    words.replaceChildren(make("span", { className: "heard", text: heard }));
    if (rest.trim()) {
      const unheard = make("del", { className: "unheard" });
      unheard.append(make("span", { className: "hidden-words", text: " (not heard:) " }), rest);
      words.append(unheard);
    }
  }

  #tag(id, text) {
    const element = this.#lines.get(id);
    if (element && !element.querySelector(".tag")) {
      element.append(" ", make("span", { className: "tag", text: `(${text})` }));
    }
  }

  #note(text) {
    this.#add(make("li", { className: "line note", text }));
  }

  #add(element) {
    followEnd(find("scroller"), () => find("transcript").append(element));
  }

  #interim() {
    const text = [...this.#guesses.values()].filter(Boolean).join(" ");
    followEnd(find("scroller"), () => {
      find("interim").textContent = text;
      find("interim").hidden = !text;
    });
  }

  // ------------------------------------------------------------------ beside it

  toolCalled({ id, name, arguments: given }) {
    find("no-tools").hidden = true;
    const element = make("li", { text: `${name}(${brief(given)})` });
    const outcome = make("span", { className: "quiet", text: " …" });
    element.append(outcome);
    this.#tools.set(id, outcome);
    find("tools").append(element);
  }

  toolReturned({ call, status, result, message }) {
    const outcome = this.#tools.get(call);
    if (outcome) {
      outcome.textContent = ` → ${status}${message ? `: ${message}` : ""} ${brief(result)}`;
    }
  }

  stream(message) {
    const number = this.#streams.get(message.stream) ?? this.#streams.size + 1;
    this.#streams.set(message.stream, number);
    const time = new Date(message.timestamp).toLocaleTimeString();
    find("streams").append(make("li", { text: `${time} Connection ${number} ${NEWS_OF_STREAMS[message.type](message)}` }));
    if (LAST_NEWS.has(message.type)) {
      this.#askWhatWasHeard(); // what a stream's end cut short is known now
    }
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

const _V = ScreenView.prototype;
const HEED = {
  snapshot: _V.snapshot,
  "call.started": _V.started,
  "call.ended": _V.ended,
  "agent.changed": _V.agentChanged,
  "transcript.revised": _V.revised,
  "transcript.settled": _V.settled,
  "text.typed": _V.typed,
  "speech.started": _V.speech,
  "speech.stopped": _V.speech,
  "reply.started": _V.replyStarted,
  "reply.sentence": _V.sentence,
  "reply.interrupted": _V.interrupted,
  "reply.finished": _V.finished,
  "tool.called": _V.toolCalled,
  "tool.returned": _V.toolReturned,
  "stream.measured": _V.measured,
  "call.summarised": _V.summarised,
  "action.found": _V.action,
};

function brief(value) {
  if (value === null || value === undefined) {
    return "";
  }
  return Object.entries(value)
    .map(([key, each]) => `${key}: ${typeof each === "string" ? each : JSON.stringify(each)}`)
    .join(", ");
}

const callId = decodeURIComponent(location.pathname.split("/").at(-1));
write(find("call-id"), callId);
const view = new ScreenView();
const path = encodeURIComponent(callId);
const feed = new Feed(`/ws/callscreen/${path}`, view, { past: `/api/calls/${path}/events` });
view.follow(feed);
feed.open();
