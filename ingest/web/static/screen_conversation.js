// The conversation of /screen/{call}: its lines, the words not yet settled, and what of a cut reply was not heard.

import { find, followEnd, make } from "/static/dom.js";

export class Conversation {
  #lines = new Map(); // id -> element
  #guesses = new Map(); // stream -> text

  begin() {
    this.#lines.clear();
    this.#guesses.clear();
    find("transcript").replaceChildren();
    this.#interim();
  }

  // A line that came before, as after a resume, is the same line.
  line({ id, speaker, text, agent_name: name }, tag = "") {
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
      this.tag(id, tag);
    }
  }

  settled(message) {
    this.#guesses.delete(message.stream);
    this.#interim();
    if (message.text !== "") {
      this.line(message);
    }
  }

  note(text) {
    this.#add(make("li", { className: "line note", text }));
  }

  // The words so far of an utterance on this stream.
  guess({ stream, text }) {
    this.#guesses.set(stream, text);
    this.#interim();
  }

  forgetGuesses() {
    this.#guesses.clear();
    this.#interim();
  }

  // Of an interrupted line: which words were heard, and which were not.
  heard({ id, interrupted = true, text, heard_text: heard }) {
    const element = this.#lines.get(id);
    if (!element || !interrupted || typeof heard !== "string") {
      return;
    }
    this.tag(id, "interrupted");
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

  tag(id, text) {
    const element = this.#lines.get(id);
    if (element && !element.querySelector(".tag")) {
      element.append(" ", make("span", { className: "tag", text: `(${text})` }));
    }
  }

  get hasTags() {
    return find("transcript").querySelector(".tag") !== null;
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
}
