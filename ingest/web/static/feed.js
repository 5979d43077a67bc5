// Messages of CallScreen, each once and none left out: after an absence the view goes on at its position.

import { Connection, explain, needsToken, websocketUrl } from "/static/connection.js";
import { askForToken, find, showLight, write } from "/static/dom.js";
import { findToken, forgetToken, isExpired, keepToken } from "/static/token.js";

const KEPT_IDS = 5_000;
const GLANCE_MS = 10_000;

// `door` is the websocket's path; `past` lists all facts so far, where the whole is shown. Calls of `view`: begin()
// before what is told anew from the start, take(message), caughtUp() after the past.
export class Feed {
  #door;
  #past;
  #view;
  #token = "";
  #position = "";
  #seen = new Set();
  #connection = null;

  constructor(door, view, { past = "" } = {}) {
    this.#door = door;
    this.#past = past;
    this.#view = view;
  }

  async open() {
    write(find("alert"), "");
    find("alert").hidden = true;
    this.#token = await findToken();
    if (!this.#token) {
      this.#ask("To watch calls, you need a token.");
      return;
    }
    showLight("away", "Connecting");
    if (this.#past) {
      await this.#readPast();
    }
    this.#connect();
  }

  // One snapshot as it stands now, beside the feed; null if it does not come.
  async glance() {
    return new Promise((done) => {
      const socket = new WebSocket(websocketUrl(this.#door), ["bearer", this.#token]);
      const give = (value) => {
        clearTimeout(timer);
        socket.onmessage = socket.onclose = null;
        socket.close();
        done(value);
      };
      const timer = setTimeout(() => give(null), GLANCE_MS);
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "snapshot") {
          give(message);
        }
      };
      socket.onclose = () => give(null);
    });
  }

  // If it cannot be read, the websocket is refused likewise and says why; or it begins with a snapshot.
  async #readPast() {
    const headers = { Authorization: `Bearer ${this.#token}`, Accept: "application/json" };
    try {
      const answer = await fetch(this.#past, { headers, cache: "no-store" });
      if (answer.ok) {
        this.#begin();
        for (const fact of await answer.json()) {
          this.#take(fact);
        }
        this.#view.caughtUp();
      }
    } catch {
      this.#position = "";
    }
  }

  // The position in the address, where there is one.
  #from(path) {
    return this.#position ? `${path}?position=${encodeURIComponent(this.#position)}` : path;
  }

  #connect() {
    showLight("away", "Connecting");
    this.#connection = new Connection(
      () => this.#from(this.#door),
      () => this.#token,
      {
        opened: () => this.#opened(),
        message: (message) => this.#take(message),
        waiting: () => showLight("away", "Reconnecting"),
        closed: (ending) => this.#closed(ending),
      },
      () => this.#from(this.#past || this.#door),
    );
    this.#connection.open();
  }

  #opened() {
    showLight("on", "Connected");
    if (!this.#position) {
      this.#begin();
    }
  }

  #begin() {
    this.#seen.clear();
    this.#view.begin();
  }

  #take(message) {
    if (message.type === "error") {
      this.#error(message);
      return;
    }
    if (message.id && this.#seen.has(message.id)) {
      return;
    }
    if (message.id) {
      this.#seen.add(message.id);
      if (this.#seen.size > KEPT_IDS) {
        this.#seen.delete(this.#seen.values().next().value);
      }
    }
    this.#view.take(message);
    this.#position = message.position || this.#position; // after it was shown: nothing is left out if that fails
  }

  async #error({ error_code: code, message }) {
    if (code === "AUTH_EXPIRED") {
      const before = this.#token;
      const fresh = isExpired(before) ? await findToken() : before;
      if (fresh && fresh !== before) {
        this.#token = fresh;
        this.#connection.renew();
      }
    } else if (!["SERVER_RESTARTING", "SLOW_CONSUMER"].includes(code)) {
      this.#alert(message || code);
    }
  }

  #closed(ending) {
    if (ending.status === 410) {
      this.#position = ""; // too much was missed to be told again
      this.#connect();
      return;
    }
    showLight("off", "Not connected");
    if (needsToken(ending)) {
      forgetToken();
      this.#ask(`${explain(ending)} Bring another one.`);
    } else {
      this.#alert(ending.status === 404 ? "There is no such call, or it is not yours to see." : explain(ending));
    }
  }

  #ask(reason) {
    askForToken(reason, (token) => {
      keepToken(token);
      this.open();
    });
  }

  #alert(text) {
    write(find("alert"), text);
    find("alert").hidden = false;
  }
}
