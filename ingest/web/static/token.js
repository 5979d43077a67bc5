// The token a page works with: from the address's fragment, from this tab's memory, or, in development, from the server.
// A fragment is never sent anywhere; it is taken out of the address at once, so that a copied address gives nothing away.

const KEPT = "calltape.token";
const NO_LIFE_LEFT_MS = 5_000;

export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    keepToken(given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return given || sessionStorage.getItem(KEPT) || "";
}

export function keepToken(token) {
  sessionStorage.setItem(KEPT, token.trim());
}

export function forgetToken() {
  sessionStorage.removeItem(KEPT);
}

// What the token says of itself. Only the server judges it: this is for telling the user in time.
export function isExpired(token, now = Date.now()) {
  try {
    const body = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const claims = JSON.parse(atob(body));
    return typeof claims.exp === "number" && claims.exp * 1000 < now + NO_LIFE_LEFT_MS;
  } catch {
    return false; // no JWT we can read: the server says so
  }
}

// A server in development gives a token to its own machine; any other has no such address.
async function devToken() {
  try {
    const answer = await fetch("/dev/token", { cache: "no-store" });
    return answer.ok ? (await answer.json()).token : "";
  } catch {
    return "";
  }
}

// A token worth a try; empty when the user has to bring one.
export async function findToken() {
  const known = takeToken();
  if (known && !isExpired(known)) {
    return known;
  }
  const fresh = await devToken();
  if (fresh) {
    keepToken(fresh);
  }
  return fresh;
}
