// What the server says in a call: its messages, shown to the user or handed to the call.

const STATES = { listening: "listening", processing: "thinking", speaking: "speaking" };

export class ServerWords {
  #view;
  #call;
  #name = "";
  #activity = "listening";
  #interruptions = 0;
  #heeds = {
    session: (message) => this.#session(message),
    status: (message) => this.#status(message),
    audio_chunk: ({ audio, sequence }) => this.#call.play(audio, sequence ?? 0),
    transcript: (message) => this.#transcript(message),
    speech_started: ({ is_user: isUser }) => isUser || this.#view.replyBegins(),
    speech_stopped: ({ is_user: isUser }) => isUser && this.#call.userStopped(),
    interrupted: () => this.#interrupted(),
    latency: (stages) => this.#view.latency(stages),
    quality: (message) => this.#quality(message),
    navigation: ({ page, path }) => this.#view.note(`The agent points to: ${page} (${path})`),
    pong: (message) => this.#pong(message),
    error: (message) => this.#error(message),
  };

  // Calls of `call`: joined(session), changed(), play(base64, sequence), silence(), userStopped(), report(message to the
  // server), tokenExpires().
  constructor(view, call) {
    this.#view = view;
    this.#call = call;
  }

  // What the agent does, in the view's words.
  get state() {
    return STATES[this.#activity] || "listening";
  }

  get isAgentQuiet() {
    return this.#activity === "listening";
  }

  get isAgentSpeaking() {
    return this.#activity === "speaking";
  }

  take(message) {
    if (Object.hasOwn(this.#heeds, message.type)) {
      this.#heeds[message.type](message);
    }
  }

  #session({ session_id: session, call }) {
    this.#view.figure("session", session);
    if (call) {
      this.#view.watchable(call);
    }
    this.#call.joined(session);
  }

  #status({ status, agent_name: name }) {
    this.#name = name || this.#name;
    this.#view.agent(this.#name);
    if (status !== "complete") {
      this.#activity = status;
      this.#call.changed();
    }
  }

  #transcript({ id, text, is_user: isUser, is_complete: isComplete, agent_name: name }) {
    if (isUser && !isComplete) {
      this.#view.interim(text);
    } else {
      this.#view.line({ id, text, isUser, name: name || this.#name });
    }
  }

  #interrupted() {
    this.#call.silence();
    this.#interruptions += 1;
    this.#view.figure("interruptions", this.#interruptions);
    this.#view.interrupted();
  }

  #quality({ degraded, ping_ms: pingMs }) {
    this.#view.weak(Boolean(degraded));
    this.#view.figure("ping", `${pingMs} ms`);
  }

  #pong({ payload }) {
    if (typeof payload === "number") {
      const pingMs = Math.round(performance.now() - payload);
      this.#view.figure("ping", `${pingMs} ms`);
      this.#view.weak(pingMs > 1_000);
      this.#call.report({ type: "metrics", ping_ms: pingMs });
    }
  }

  #error({ error_code: code, message }) {
    if (code === "AUTH_EXPIRED") {
      this.#call.tokenExpires();
    } else if (code !== "SERVER_RESTARTING") {
      this.#view.alert(message || code);
    }
  }
}
