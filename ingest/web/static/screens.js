// The page /screen: the live calls one may see, and every one that begins.

import { find, make, write } from "/static/dom.js";
import { Feed } from "/static/feed.js";

class CallsView {
  #calls = new Map(); // call id -> {element, parts, isOver}

  begin() {
    this.#calls.clear();
    find("calls").replaceChildren();
    this.#count();
  }

  take(message) {
    switch (message.type) {
      case "snapshot":
        this.#show(message.call_id, message.call);
        this.#last(message.call_id, message.transcript.at(-1));
        break;
      case "call.started":
        this.#show(message.call_id, { ...message, started_at: message.timestamp });
        break;
      case "agent.changed":
        this.#write(message.call_id, "agent", `with ${message.agent}`);
        break;
      case "transcript.settled":
      case "text.typed":
      case "reply.sentence":
        this.#last(message.call_id, message);
        break;
      case "call.ended":
        this.#end(message);
        break;
    }
  }

  #show(id, call) {
    this.#calls.get(id)?.element.remove();
    const parts = {
      state: make("span", { className: "badge", "data-state": "live", text: "Live" }),
      agent: make("span", { text: `with ${call.agent_name || call.agent}` }),
      last: make("p", { className: "quiet" }),
    };
    const link = make("a", { href: `/screen/${encodeURIComponent(id)}`, text: call.from || id });
    const began = new Date(call.started_at).toLocaleTimeString();
    const head = make("p", {}, parts.state, " ", link, ` by ${call.channel} at ${began} `, parts.agent);
    const element = make("li", { className: "card" }, head, parts.last);
    this.#calls.set(id, { element, parts, isOver: false });
    find("calls").prepend(element);
    if (call.ended_at) {
      this.#end({ call_id: id, reason: call.reason });
    }
    this.#count();
  }

  #last(id, line) {
    if (line && line.text !== "") {
      const who = line.speaker === "caller" ? "Caller" : line.agent_name || "Agent";
      this.#write(id, "last", `${who}: ${line.text ?? "(sealed)"}`);
    }
  }

  #end({ call_id: id, reason }) {
    const call = this.#calls.get(id);
    if (call) {
      call.isOver = true;
      call.parts.state.dataset.state = "ended";
      write(call.parts.state, `Ended: ${reason}`);
      this.#count();
    }
  }

  #write(id, part, text) {
    const call = this.#calls.get(id);
    if (call) {
      write(call.parts[part], text);
    }
  }

  #count() {
    const live = [...this.#calls.values()].filter((call) => !call.isOver).length;
    write(find("count"), live === 0 ? "No call is live." : live === 1 ? "One call is live." : `${live} calls are live.`);
  }
}

new Feed("/ws/callscreen", new CallsView()).open();
