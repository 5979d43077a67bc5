// What /talk shows: its state in words, the conversation, the figures.

import { find, followEnd, make, seconds, showLight, write } from "/static/dom.js";

const WORDS = {
  idle: "Ready",
  connecting: "Connecting",
  listening: "Listening",
  holding: "Hold the button to talk",
  typing: "Type your message",
  thinking: "Thinking",
  speaking: "Speaking",
  muted: "Muted",
  reconnecting: "Reconnecting",
  ended: "Call ended",
};
const LIGHTS = {
  idle: ["off", "Not connected"],
  ended: ["off", "Not connected"],
  connecting: ["away", "Connecting"],
  reconnecting: ["away", "Reconnecting"],
};

export class TalkView {
  #lines = new Map(); // id of a transcript -> its element
  #isWeak = false;
  #state = "idle";
  #inReply = []; // elements of the reply that is being spoken

  show(state) {
    this.#state = state;
    const status = find("status");
    status.dataset.state = state;
    write(status, WORDS[state]);
    const [light, words] = LIGHTS[state] || (this.#isWeak ? ["weak", "Weak connection"] : ["on", "Connected"]);
    showLight(light, words);
  }

  weak(isWeak) {
    this.#isWeak = isWeak;
    this.show(this.#state);
  }

  // The buttons that fit: `isLive` while there is a call, `hasMicrophone` while it can be heard.
  offer({ isLive, hasMicrophone, isMuted, isRealtime }) {
    const call = find("call");
    write(call, isLive ? "Hang up" : "Start the call");
    call.dataset.does = isLive ? "end" : "start";
    const mute = find("mute");
    mute.disabled = !(isLive && hasMicrophone);
    mute.setAttribute("aria-pressed", String(isMuted));
    find("hold").hidden = isRealtime || !(isLive && hasMicrophone);
    find("text-field").disabled = find("send").disabled = !isLive;
  }

  alert(text) {
    const alert = find("alert");
    write(alert, text);
    alert.hidden = !text;
  }

  agent(name) {
    const line = find("agent");
    write(line, name ? `with ${name}` : "");
    line.hidden = !name;
  }

  // A line that came before, as after a resume, is the same line; the guesses at it came again, too.
  line({ id, text, isUser, name }) {
    if (isUser) {
      this.interim("");
    }
    if (id && this.#lines.has(id)) {
      return;
    }
    if (isUser) {
      this.#inReply = [];
    }
    const who = isUser ? "You" : name || "Agent";
    const element = make("li", { className: `line ${isUser ? "caller" : "agent"}` });
    element.append(make("span", { className: "who", text: who }), make("span", { className: "words", text }));
    if (id) {
      this.#lines.set(id, element);
    }
    if (!isUser) {
      this.#inReply.push(element);
    }
    this.#add(element);
  }

  note(text) {
    this.#add(make("li", { className: "line note", text }));
  }

  interim(text) {
    const element = find("interim");
    followEnd(find("scroller"), () => {
      element.textContent = text;
      element.hidden = !text;
    });
  }

  replyBegins() {
    this.#inReply = this.#inReply.slice(-1);
  }

  interrupted() {
    const last = this.#inReply.at(-1);
    if (last && !last.querySelector(".tag")) {
      last.append(" ", make("span", { className: "tag", text: "(interrupted)" }));
    }
  }

  level(value) {
    find("level").value = value;
  }

  figure(id, value) {
    write(find(id), String(value));
  }

  answered(ms) {
    write(find("answer"), seconds(ms));
  }

  // Stages of one reply as the server measured them, in ms.
  latency(stages) {
    write(find("answer-server"), seconds(stages.first_audio_ms ?? stages.agent_ms));
  }

  played({ played, energy, thrownAway }) {
    this.figure("played", played);
    this.figure("thrown", thrownAway);
    this.figure("rms", played ? Math.sqrt(energy / played).toFixed(4) : 0);
  }

  watchable(call) {
    find("screen-link").href = `/screen/${encodeURIComponent(call)}`;
    find("screen-line").hidden = false;
  }

  clear() {
    this.#lines.clear();
    this.#inReply = [];
    find("transcript").replaceChildren();
    this.interim("");
  }

  #add(element) {
    followEnd(find("scroller"), () => find("transcript").append(element));
  }
}
