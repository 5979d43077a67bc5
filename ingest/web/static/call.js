// One call from the browser: microphone, websocket and loudspeaker, joined.

import { Connection, explain, needsToken } from "/static/connection.js";
import { Microphone, MicrophoneError } from "/static/microphone.js";
import { Speaker } from "/static/speaker.js";
import { findToken, isExpired } from "/static/token.js";

const GOODBYE_MS = 3_000; // for the server to say that the call has ended
const PLAYED_MS = 250; // how often the server is told what was played
const STATES = { listening: "listening", processing: "thinking", speaking: "speaking" };

export class Call {
  #view;
  #ended;
  #token;
  #session = newSession();
  #connection = null;
  #microphone = null;
  #speaker = null;
  #activity = "listening";
  #isConnected = false;
  #isOver = false;
  #isRealtime;
  #isMuted = false;
  #name = "";
  #sent = 0;
  #connections = 0;
  #interruptions = 0;
  #heardThrough = 0; // sequence of the chunk that was last told to be played
  #toldPlayedAt = 0;
  #askedAt = 0; // when the user's turn ended without a voice: typed, or the key let go
  #isAwaited = false; // an answer's first sound

  // `ended(reason for the user, whether a token is what is missing)`
  constructor(view, token, { isRealtime, ended }) {
    this.#view = view;
    this.#token = token;
    this.#isRealtime = isRealtime;
    this.#ended = ended;
  }

  async start() {
    this.#view.show("connecting");
    this.#speaker = await Speaker.open({
      began: () => this.#answered(),
      figures: (figures) => this.#played(figures),
    });
    try {
      this.#microphone = await Microphone.open({
        piece: (audio, isFinal) => this.#hear(audio, isFinal),
        level: (value) => this.#view.level(value),
        lost: () => this.#loseMicrophone(),
      });
    } catch (error) {
      if (!(error instanceof MicrophoneError)) {
        throw error;
      }
      this.#view.alert(error.message);
    }
    if (this.#isOver) {
      await this.#release(); // hung up while the browser was asking
      return;
    }
    this.#connection = new Connection(
      () => this.#path(),
      () => this.#token,
      {
        opened: () => this.#opened(),
        message: (message) => HEED[message.type]?.call(this, message),
        waiting: () => this.#waiting(),
        closed: (ending) => this.#closed(ending),
      },
    );
    this.#connection.open();
    this.#show();
  }

  // ------------------------------------------------------------------ what the user does

  set muted(isMuted) {
    this.#isMuted = isMuted;
    if (this.#microphone) {
      this.#microphone.muted = isMuted;
    }
    this.#show();
  }

  get muted() {
    return this.#isMuted;
  }

  set realtime(isRealtime) {
    this.#isRealtime = isRealtime;
    if (this.#isConnected) {
      this.#microphone?.record({ held: !isRealtime });
    }
    this.#show();
  }

  press() {
    if (this.#activity === "speaking") {
      this.#connection?.send({ type: "interrupt" });
    }
    this.#microphone?.press();
  }

  release() {
    this.#asks();
    this.#microphone?.release();
  }

  type(text) {
    if (this.#connection?.send({ type: "text", text })) {
      this.#asks();
      this.#view.line({ text, isUser: true });
      return true;
    }
    this.#view.alert("Not connected just now: the message was not sent.");
    return false;
  }

  hangUp() {
    this.#microphone?.stop();
    this.#speaker?.flush();
    if (!this.#connection) {
      this.#finish("", false);
    } else if (this.#connection.send({ type: "stop" })) {
      setTimeout(() => this.#connection.close(), GOODBYE_MS);
    } else {
      this.#connection.close();
    }
  }

  // ------------------------------------------------------------------ the wire

  #path() {
    const asked = new URLSearchParams(location.search);
    const query = new URLSearchParams({ session: this.#session });
    for (const name of ["agent", "language", "site"]) {
      if (asked.get(name)) {
        query.set(name, asked.get(name));
      }
    }
    return `/ws/voice?${query}`;
  }

  #opened() {
    this.#connections += 1;
    this.#view.figure("connections", this.#connections);
  }

  #waiting() {
    this.#isConnected = false;
    this.#microphone?.stop();
    this.#speaker?.flush();
    this.#view.interim("");
    this.#show();
  }

  #closed(ending) {
    const isEnd = ending.code === 1000 && !ending.status;
    this.#finish(isEnd ? "" : explain(ending), needsToken(ending));
  }

  #hear(audio, isFinal) {
    if (!this.#isConnected) {
      return;
    }
    const message = { type: "audio_data", audio, timestamp: Date.now() };
    if (this.#connection.send(isFinal ? { ...message, is_final: true } : message)) {
      this.#sent += 1;
      this.#view.figure("sent", this.#sent);
    }
  }

  // ------------------------------------------------------------------ what the server says

  session({ session_id: session, call }) {
    this.#session = session;
    this.#isConnected = true;
    this.#heardThrough = 0; // each socket's audio is numbered from 1
    this.#view.figure("session", session);
    if (call) {
      this.#view.watchable(call);
    }
    this.#microphone?.record({ held: !this.#isRealtime });
    this.#show();
  }

  status({ status, agent_name: name }) {
    this.#name = name || this.#name;
    this.#view.agent(this.#name);
    if (status === "complete") {
      return;
    }
    this.#activity = status;
    this.#show();
  }

  chunk({ audio, sequence }) {
    if (this.#speaker) {
      this.#speaker.play(audio, sequence ?? 0);
      this.#view.figure("received", this.#speaker.received);
    }
  }

  transcript({ id, text, is_user: isUser, is_complete: isComplete, agent_name: name }) {
    if (isUser && !isComplete) {
      this.#view.interim(text);
    } else {
      this.#view.line({ id, text, isUser, name: name || this.#name });
    }
  }

  speechStarted({ is_user: isUser }) {
    if (!isUser) {
      this.#view.replyBegins();
    }
  }

  speechStopped({ is_user: isUser }) {
    if (isUser && this.#isRealtime) {
      this.#askedAt = 0; // the microphone knows when the voice ended
      this.#isAwaited = true;
    }
  }

  interrupted() {
    this.#speaker?.flush();
    this.#interruptions += 1;
    this.#view.figure("interruptions", this.#interruptions);
    this.#view.interrupted();
  }

  latency(stages) {
    this.#view.latency(stages);
  }

  quality({ degraded, ping_ms: pingMs }) {
    this.#view.weak(Boolean(degraded));
    this.#view.figure("ping", `${pingMs} ms`);
  }

  navigation({ page, path }) {
    this.#view.note(`The agent points to: ${page} (${path})`);
  }

  pong({ payload }) {
    if (typeof payload === "number") {
      const pingMs = Math.round(performance.now() - payload);
      this.#view.figure("ping", `${pingMs} ms`);
      this.#view.weak(pingMs > 1_000);
      this.#connection.send({ type: "metrics", ping_ms: pingMs });
    }
  }

  async error({ error_code: code, message }) {
    if (code === "AUTH_EXPIRED") {
      await this.#comeAgain();
    } else if (code !== "SERVER_RESTARTING") {
      this.#view.alert(message || code);
    }
  }

  // ------------------------------------------------------------------ inside

  // A fresh token where one can be had; else the server closes soon, and the user is asked then.
  async #comeAgain() {
    const before = this.#token;
    const fresh = isExpired(before) ? await findToken() : before;
    if (fresh && fresh !== before) {
      this.#token = fresh;
      this.#connection.renew();
    } else {
      this.#view.alert("Your token is expiring: the call will end in a moment.");
    }
  }

  #asks() {
    this.#askedAt = performance.now();
    this.#isAwaited = true;
  }

  #answered() {
    if (this.#isAwaited) {
      this.#isAwaited = false;
      const since = this.#askedAt || this.#microphone?.lastLoudAt || 0;
      this.#view.answered(performance.now() - since);
    }
  }

  #played(figures) {
    this.#view.played(figures);
    const now = performance.now();
    const isNews = figures.what !== "flushed" && figures.sequence > this.#heardThrough;
    if (isNews && (figures.what === "drained" || now - this.#toldPlayedAt > PLAYED_MS)) {
      this.#toldPlayedAt = now;
      this.#heardThrough = figures.sequence;
      this.#connection?.send({ type: "played", sequence: figures.sequence });
    }
  }

  #loseMicrophone() {
    this.#microphone?.close();
    this.#microphone = null;
    this.#view.level(0);
    this.#view.alert("The microphone is gone. Hang up and start again, or type instead.");
    this.#show();
  }

  #show() {
    const isLive = !this.#isOver;
    this.#view.offer({
      isLive,
      hasMicrophone: this.#microphone !== null,
      isMuted: this.#isMuted,
      isRealtime: this.#isRealtime,
    });
    if (isLive) {
      this.#view.show(this.#state());
    }
  }

  #state() {
    if (!this.#isConnected) {
      return this.#connections ? "reconnecting" : "connecting";
    }
    if (this.#activity !== "listening") {
      return STATES[this.#activity] || "listening";
    }
    if (!this.#microphone) {
      return "typing";
    }
    if (this.#isMuted) {
      return "muted";
    }
    return this.#isRealtime ? "listening" : "holding";
  }

  async #finish(reason, isTokenMissing) {
    if (this.#isOver) {
      return;
    }
    this.#isOver = true;
    this.#isConnected = false;
    await this.#release();
    this.#ended(reason, isTokenMissing);
  }

  async #release() {
    const [microphone, speaker] = [this.#microphone, this.#speaker];
    this.#microphone = this.#speaker = null;
    this.#view.level(0);
    await Promise.allSettled([microphone?.close(), speaker?.close()]);
  }
}

const HEED = {
  session: Call.prototype.session,
  status: Call.prototype.status,
  audio_chunk: Call.prototype.chunk,
  transcript: Call.prototype.transcript,
  speech_started: Call.prototype.speechStarted,
  speech_stopped: Call.prototype.speechStopped,
  interrupted: Call.prototype.interrupted,
  latency: Call.prototype.latency,
  quality: Call.prototype.quality,
  navigation: Call.prototype.navigation,
  pong: Call.prototype.pong,
  error: Call.prototype.error,
};

function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
