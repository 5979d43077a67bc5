// A websocket that comes back: exponential backoff, a heartbeat, and the reason when it may not come in.

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
const BEAT_MS = 10_000;
const SILENT_BEATS = 3;
// After these the server would refuse the same again: ended, protocol, not allowed, too big, expired, superseded.
const FINAL_CODES = new Set([1000, 1002, 1008, 1009, 4401, 4409]);
const FINAL_STATUS = new Set([400, 401, 403, 404, 410]);

export function websocketUrl(path) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
}

// What a browser hides about a refused websocket, asked by plain HTTP: {status, code, detail}, or null while nobody answers.
async function whyRefused(path, token) {
  try {
    const headers = { Authorization: `Bearer ${token}`, Accept: "application/json" };
    const answer = await fetch(path, { headers, cache: "no-store" });
    const body = await answer.json().catch(() => ({}));
    const retryAfterMs = Number(answer.headers.get("Retry-After") || 0) * 1000;
    return { status: answer.status, code: body.code || "", detail: body.detail || "", retryAfterMs };
  } catch {
    return null;
  }
}

// Calls of `handlers`: opened(), message(object), waiting(milliseconds), closed({code, status, detail}) once, for good.
export class Connection {
  #path;
  #token;
  #handlers;
  #probe;
  #socket = null;
  #attempts = 0;
  #timer = 0;
  #beat = 0;
  #silent = 0;
  #atLeastMs = 0;
  #isDone = false;
  #wakeUp = () => this.hurry();

  // `path()` is asked at each attempt: a view that moves on says where it is; `token()` likewise. `probe()` is what is
  // asked by plain HTTP why the websocket was refused, where that is another address.
  constructor(path, token, handlers, probe = path) {
    this.#path = path;
    this.#token = token;
    this.#handlers = handlers;
    this.#probe = probe;
    addEventListener("online", this.#wakeUp);
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  get queuedBytes() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  open() {
    const socket = new WebSocket(websocketUrl(this.#path()), ["bearer", this.#token()]);
    let wasOpen = false;
    this.#socket = socket;
    socket.onopen = () => {
      wasOpen = true;
      this.#silent = 0;
      this.#beat = setInterval(() => this.#ping(), BEAT_MS);
      this.#handlers.opened();
    };
    socket.onmessage = (event) => this.#take(event.data);
    socket.onclose = (event) => this.#lost(socket, event.code, wasOpen);
  }

  // Whether it was sent; what cannot be sent now is the caller's to keep or to drop.
  send(message) {
    if (!this.isOpen) {
      return false;
    }
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  // For good, from our side.
  close() {
    this.#finish({ code: 1000, status: 0, detail: "" });
  }

  // Drop this socket and open another: with a fresh token, or after a sign of life was missed.
  renew() {
    this.#lost(this.#socket, 0, true);
  }

  // Where the next attempt is waited for, it is made now.
  hurry() {
    if (this.#timer) {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.open();
    }
  }

  #take(text) {
    this.#silent = 0;
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    this.#attempts = 0; // a server that talks has taken us in
    if (message.type === "error" && message.retry_after) {
      this.#atLeastMs = Number(message.retry_after) || 0;
    }
    this.#handlers.message(message);
  }

  #ping() {
    this.#silent += 1;
    if (this.#silent > SILENT_BEATS) {
      this.renew();
    } else {
      this.send({ type: "ping", payload: Math.round(performance.now()) });
    }
  }

  async #lost(socket, code, wasOpen) {
    if (this.#isDone || socket !== this.#socket || socket === null) {
      return;
    }
    this.#drop();
    if (wasOpen && FINAL_CODES.has(code)) {
      this.#finish({ code, status: 0, detail: "" });
      return;
    }
    const waitMs = this.#nextWaitMs();
    this.#handlers.waiting(waitMs);
    const why = wasOpen ? null : await whyRefused(this.#probe(), this.#token());
    if (this.#isDone) {
      return;
    }
    if (why && FINAL_STATUS.has(why.status) && !isMissingUpgrade(why)) {
      this.#finish({ code, ...why });
      return;
    }
    const again = () => {
      this.#timer = 0;
      this.open();
    };
    this.#timer = setTimeout(again, Math.max(waitMs, why?.retryAfterMs ?? 0));
  }

  #nextWaitMs() {
    const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#attempts) * (1 - 0.25 * Math.random());
    this.#attempts += 1;
    const atLeastMs = this.#atLeastMs;
    this.#atLeastMs = 0;
    return Math.max(atLeastMs, waitMs);
  }

  #drop() {
    clearInterval(this.#beat);
    clearTimeout(this.#timer);
    this.#timer = 0;
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  #finish(ending) {
    if (this.#isDone) {
      return;
    }
    this.#isDone = true;
    removeEventListener("online", this.#wakeUp);
    this.#drop();
    this.#handlers.closed(ending);
  }
}

// Asked without an upgrade, a door that would have let us in has nothing else to complain of.
function isMissingUpgrade(why) {
  return why.status === 426 || (why.status === 400 && why.code !== "bad_position");
}

export function explain({ code, status, detail }) {
  if (code === 4401) {
    return "Your token has expired.";
  }
  if (code === 4409) {
    return "This call goes on in another window.";
  }
  if (status === 401 || status === 403) {
    return `The server does not let this token in${detail ? `: ${detail}` : ""}.`;
  }
  return detail ? `The server refused: ${detail}.` : "The server closed the connection.";
}

export function needsToken({ code, status }) {
  return code === 4401 || status === 401 || status === 403;
}
