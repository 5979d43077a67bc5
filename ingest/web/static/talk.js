// The page /talk: its buttons and keys, and the token, around one call at a time.

import { Call } from "/static/call.js";
import { askForToken, find } from "/static/dom.js";
import { TalkView } from "/static/talk_view.js";
import { findToken, forgetToken, keepToken, takeToken } from "/static/token.js";

const view = new TalkView();
let call = null;

function isRealtime() {
  return find("realtime").checked;
}

function offerStart() {
  view.offer({ isLive: false, hasMicrophone: false, isMuted: false, isRealtime: isRealtime() });
}

function ended(reason, isTokenMissing) {
  call = null;
  offerStart();
  view.show("ended");
  if (reason) {
    view.alert(reason);
  }
  if (isTokenMissing) {
    forgetToken();
    askForToken("Bring another token.", startWith);
  }
  find("call").focus();
}

async function begin() {
  view.alert("");
  const token = await findToken();
  if (!token) {
    const old = takeToken();
    askForToken(old ? "Your token has expired. Bring another one." : "To call, you need a token.", startWith);
    find("token-field").focus();
    return;
  }
  find("token-form").hidden = true;
  view.clear();
  call = new Call(view, token, { isRealtime: isRealtime(), ended });
  view.offer({ isLive: true, hasMicrophone: false, isMuted: false, isRealtime: isRealtime() });
  try {
    await call.start();
  } catch (error) {
    call?.hangUp();
    view.alert(`The call could not be started: ${error.message}`);
  }
}

function startWith(token) {
  keepToken(token);
  begin();
}

function holdByKey(event, does) {
  const isButton = event.target === find("hold");
  const isFree = event.target === document.body || isButton;
  if (call && !isRealtime() && isFree && (event.code === "Space" || (isButton && event.code === "Enter"))) {
    event.preventDefault();
    if (!event.repeat) {
      does();
    }
  }
}

function press() {
  find("hold").setAttribute("aria-pressed", "true");
  call?.press();
}

function release() {
  if (find("hold").getAttribute("aria-pressed") === "true") {
    find("hold").setAttribute("aria-pressed", "false");
    call?.release();
  }
}

find("call").addEventListener("click", () => (call ? call.hangUp() : begin()));
find("mute").addEventListener("click", () => {
  call.muted = !call.muted;
});
find("realtime").addEventListener("change", () => {
  if (call) {
    call.realtime = isRealtime();
  }
});
find("hold").addEventListener("pointerdown", (event) => {
  find("hold").setPointerCapture(event.pointerId);
  press();
});
for (const name of ["pointerup", "pointercancel", "blur"]) {
  find("hold").addEventListener(name, release);
}
addEventListener("keydown", (event) => holdByKey(event, press));
addEventListener("keyup", (event) => holdByKey(event, release));
find("text-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = find("text-field");
  const text = field.value.trim();
  if (text && call?.type(text)) {
    field.value = "";
  }
});
takeToken();
offerStart();
