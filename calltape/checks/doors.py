"""Questions about the way in: Twilio's secrets, our public address, the numbers table."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from calltape.checks.part import Part, bad, good
from calltape.doors import LOOPBACK, require_doors
from calltape.limits import token_secrets
from calltape.settings import Settings
from calltape.sites import load_sites
from calltape.terminal import Refused
from calltape.world import clock_ms
from ingest.numbers import NumbersError, load_numbers
from ingest.token_keys import Keys, KeysError

VOICE_PATH = "/twilio/voice"
TRIAL = "A trial account cannot stream calls (Twilio replaces <Stream>): upgrade it first"


def twilio(settings: Settings, *, dev: bool) -> Part:
    if settings.twilio_auth_token.get_secret_value():
        sid = settings.twilio_account_sid
        account = f"account {sid}" if sid else "any account (CALLTAPE_TWILIO_ACCOUNT_SID is not set)"
        return good("twilio", f"signatures of {account} are checked. {TRIAL}")
    if dev:
        return good("twilio", "unsigned calls are taken (--dev)")
    if has_token_keys(settings):
        return good("twilio", "the telephone's door stays shut (CALLTAPE_TWILIO_AUTH_TOKEN is not set)")
    fix = (
        "set CALLTAPE_TWILIO_AUTH_TOKEN (Twilio console, account info), or start `calltape serve --dev` to try without"
    )
    return bad("twilio", "the door stays shut: there is no auth token to check signatures with", fix)


def has_token_keys(settings: Settings) -> bool:
    """Whether an app's token can be checked."""
    return bool(settings.jwt_secret.get_secret_value() or settings.jwt_jwks)


async def tokens(settings: Settings, *, dev: bool) -> Part:
    """Reads published keys as the server would."""
    if not has_token_keys(settings):
        state = "open with tokens of /dev/token (--dev)" if dev else "stay shut (CALLTAPE_JWT_SECRET is not set)"
        return good("tokens", f"the doors of apps and screens {state}")
    try:
        async with Keys(token_secrets(settings), clock=clock_ms):
            pass
    except KeysError as error:
        return bad("tokens", str(error), "correct CALLTAPE_JWT_JWKS, CALLTAPE_JWT_ISSUER and CALLTAPE_JWT_AUDIENCE")
    return good("tokens", f"checked with {settings.jwt_jwks or 'CALLTAPE_JWT_SECRET'}")


def sites(settings: Settings) -> Part:
    try:
        found = load_sites(settings.sites)
    except Refused as error:
        return bad("sites", str(error), "correct the file, or name another folder with CALLTAPE_SITES")
    return good("sites", ", ".join(sorted(found)) or "none")


def public_url(settings: Settings, *, dev: bool) -> Part:
    url, parts = settings.public_url, urlsplit(settings.public_url)
    if not url:
        if dev:
            return good("public_url", f"http://{settings.host}:{settings.port} (--dev)")
        if has_token_keys(settings) and not settings.twilio_auth_token.get_secret_value():
            return good("public_url", "not set: apps need none, web pages of another origin are in ALLOWED_ORIGINS")
        fix = "start a tunnel (`ngrok http 8080`, `cloudflared tunnel --url http://127.0.0.1:8080`) and set its address"
        return bad("public_url", "CALLTAPE_PUBLIC_URL is not set, so no signature can be checked", fix)
    if parts.scheme != "https" and not dev:
        return bad(
            "public_url",
            f"{url} is not https",
            "Twilio streams to wss only: put TLS in front and use its https address",
        )
    if parts.port not in (None, 443) and not dev:
        return bad("public_url", f"{url} is not on port 443", "Twilio streams to port 443 only: serve TLS there")
    if _is_private(parts.hostname or "") and not dev:
        return bad(
            "public_url", f"{url} cannot be reached from outside", "use the address of a tunnel or of a public server"
        )
    stream = url.replace("http", "ws", 1)
    return good("public_url", f"webhook {url}{VOICE_PATH}, streams at {stream}/ws/media-stream/…")


def dev_host(settings: Settings, *, dev: bool) -> Part | None:
    """What keeps `calltape serve --dev` from starting although secrets and address are right."""
    if not dev or settings.host in LOOPBACK:
        return None
    fix = "set CALLTAPE_HOST=127.0.0.1, or leave --dev away"
    return bad("dev", f"--dev takes unsigned calls, and {settings.host} is open to others", fix)


def must_open(settings: Settings, *, dev: bool) -> Part | None:
    """Serve's own test of the doors that were asked for."""
    if not settings.doors:
        return None
    if not sites(settings).ok:
        return good("doors", "not asked: see sites")
    try:
        require_doors(settings, dev=dev)
    except Refused as error:
        return bad("doors", str(error), "correct CALLTAPE_DOORS, or set what the door lacks")
    return good("doors", f"{', '.join(settings.doors)} will open")


def numbers(settings: Settings) -> Part:
    path = settings.numbers
    if path is None:
        return good("numbers", f"no table: every number is tenant default, agent {settings.agent}")
    fix = "correct the file, or unset CALLTAPE_NUMBERS to answer every number"
    try:
        table = load_numbers(path, agent=settings.agent).table
    except NumbersError as error:
        return bad("numbers", str(error), fix)
    if not table:
        return bad("numbers", f"{path} holds no table of numbers", fix)
    return good("numbers", f"{path} has {len(table)} numbers; any other is rejected")


def _is_private(host: str) -> bool:
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith((".local", ".localhost", ".internal"))
