// One call from the browser: microphone, websocket and loudspeaker, joined.

import { AnswerTiming } from "/static/answer_timing.js";
import { Connection, explain, needsToken } from "/static/connection.js";
import { Microphone, MicrophoneError } from "/static/microphone.js";
import { ServerWords } from "/static/server_words.js";
import { Speaker } from "/static/speaker.js";
import { findToken, isExpired } from "/static/token.js";

const GOODBYE_MS = 3_000; // for the server to say that the call has ended

export class Call {
  #view;
  #ended;
  #token;
  #session = newSession();
  #connection = null;
  #microphone = null;
  #speaker = null;
  #server;
  #timing = new AnswerTiming();
  #isConnected = false;
  #isOver = false;
  #isLeaving = false;
  #isRealtime;
  #isMuted = false;
  #sent = 0;
  #connections = 0;

  // `ended(reason for the user, whether a token is what is missing)`
  constructor(view, token, { isRealtime, ended }) {
    this.#view = view;
    this.#token = token;
    this.#isRealtime = isRealtime;
    this.#ended = ended;
    this.#server = new ServerWords(view, {
      joined: (session) => this.#joined(session),
      changed: () => this.#show(),
      play: (audio, sequence) => this.#play(audio, sequence),
      silence: () => this.#speaker?.flush(),
      userStopped: () => this.#isRealtime && this.#timing.spoke(),
      report: (message) => this.#connection.send(message),
      tokenExpires: () => this.#comeAgain(),
    });
  }

  async start() {
    this.#view.show("connecting");
    this.#speaker = await Speaker.open({
      began: () => this.#answered(),
      figures: (figures) => this.#played(figures),
    });
    await this.#openMicrophone();
    if (this.#isOver) {
      await this.#release(); // hung up while the browser was asking
      return;
    }
    this.#connection = new Connection(
      () => callPath(this.#session),
      () => this.#token,
      {
        opened: () => this.#opened(),
        message: (message) => this.#server.take(message),
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
    if (this.#server.isAgentSpeaking) {
      this.#connection?.send({ type: "interrupt" });
    }
    this.#microphone?.press();
  }

  release() {
    this.#timing.asked();
    this.#microphone?.release();
  }

  type(text) {
    if (this.#connection?.send({ type: "text", text })) {
      this.#timing.asked();
      this.#view.line({ text, isUser: true });
      return true;
    }
    this.#view.alert("Not connected just now: the message was not sent.");
    return false;
  }

  // Said at once, or as soon as the line is back: else the server would wait for who has gone.
  hangUp() {
    this.#microphone?.stop();
    this.#speaker?.flush();
    if (!this.#connection) {
      this.#finish("", false);
    } else if (this.#isLeaving || !this.#connections) {
      this.#connection.close();
    } else {
      this.#isLeaving = true;
      if (!this.#connection.send({ type: "stop" })) {
        this.#connection.hurry();
      }
      setTimeout(() => this.#connection.close(), GOODBYE_MS);
    }
  }

  // ------------------------------------------------------------------ the wire

  #opened() {
    this.#connections += 1;
    this.#view.figure("connections", this.#connections);
  }

  #joined(session) {
    this.#session = session;
    if (this.#isLeaving) {
      this.#connection.send({ type: "stop" });
      return;
    }
    this.#isConnected = true;
    this.#timing.socketOpened();
    this.#microphone?.record({ held: !this.#isRealtime });
    this.#show();
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

  // ------------------------------------------------------------------ microphone and loudspeaker

  async #openMicrophone() {
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

  #loseMicrophone() {
    this.#microphone?.close();
    this.#microphone = null;
    this.#view.level(0);
    this.#view.alert("The microphone is gone. Hang up and start again, or type instead.");
    this.#show();
  }

  #play(audio, sequence) {
    if (this.#speaker) {
      this.#speaker.play(audio, sequence);
      this.#view.figure("received", this.#speaker.received);
    }
  }

  #answered() {
    const waitedMs = this.#timing.answered(this.#microphone?.lastLoudAt || 0);
    if (waitedMs !== null) {
      this.#view.answered(waitedMs);
    }
  }

  #played(figures) {
    this.#view.played(figures);
    const sequence = this.#timing.playedThrough(figures);
    if (sequence !== null) {
      this.#connection?.send({ type: "played", sequence });
    }
  }

  // ------------------------------------------------------------------ the call's state

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
    if (!this.#server.isAgentQuiet) {
      return this.#server.state;
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

// Where the call is placed: the address's own wishes, and the session by which it is found again.
function callPath(session) {
  const asked = new URLSearchParams(location.search);
  const query = new URLSearchParams({ session });
  for (const name of ["agent", "language", "site"]) {
    if (asked.get(name)) {
      query.set(name, asked.get(name));
    }
  }
  return `/ws/voice?${query}`;
}

function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
