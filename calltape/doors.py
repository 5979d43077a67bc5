"""Which doors of a server open, which stay shut and why, and what it says about that when it starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from calltape.settings import Settings
from calltape.terminal import Refused
from ingest.app_doors import APP_DOORS, OTHER_DOORS

TOKEN_KEYS = "CALLTAPE_JWT_SECRET or CALLTAPE_JWT_JWKS"
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Door:
    """`missing` says which secret keeps it shut; empty: it opens."""

    name: str
    paths: tuple[str, ...]
    missing: str = ""

    @property
    def is_open(self) -> bool:
        return not self.missing


def doors(settings: Settings, *, dev: bool) -> tuple[Door, ...]:
    """The doors this version has."""
    lacks = "" if dev or settings.jwt_secret.get_secret_value() or settings.jwt_jwks else TOKEN_KEYS
    return (
        Door("twilio", ("/twilio/voice", "/ws/media-stream/…"), "" if dev else _twilio_lacks(settings)),
        *(Door(door.name, (door.path,), lacks) for door in APP_DOORS),
        *(Door(door.name, (door.path,), lacks or door.lacks) for door in OTHER_DOORS),
        Door("callscreen", ("/ws/callscreen/…", "/api/calls/…/events"), lacks),
    )


def _twilio_lacks(settings: Settings) -> str:
    lacking = {
        "CALLTAPE_TWILIO_AUTH_TOKEN": settings.twilio_auth_token.get_secret_value(),
        "CALLTAPE_PUBLIC_URL": settings.public_url,
    }
    return " and ".join(name for name, value in lacking.items() if not value)


def require_doors(settings: Settings, *, dev: bool) -> tuple[Door, ...]:
    """The doors. Raises Refused if none can open, if one in DOORS cannot, or if --dev would be open to others."""
    if dev and settings.host not in LOOPBACK:
        raise Refused(f"--dev takes unsigned calls, so it must listen on 127.0.0.1, not on {settings.host}")
    found = doors(settings, dev=dev)
    known = {door.name: door for door in found}
    for name in settings.doors:
        if name not in known:
            raise Refused(f"CALLTAPE_DOORS names {name!r}: the doors are {', '.join(known)}")
        if not known[name].is_open:
            raise Refused(f"the door {name} must open (CALLTAPE_DOORS) but lacks {known[name].missing}")
    if not any(door.is_open for door in found):
        lacks = "; ".join(f"{door.name} lacks {door.missing}" for door in found)
        raise Refused(f"no door can open ({lacks}): set these, or try without them: calltape serve --dev")
    return found


def announcement(settings: Settings, *, dev: bool, port: int) -> Iterator[str]:
    """What `calltape serve` prints once it listens on `port`."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    local = f"http://{host}:{port}"
    base = settings.public_url or local
    yield f"calltape listens at {local}" + (" (--dev: unsigned calls are taken)" if dev else "")
    yield f"Webhook to paste into the Twilio console (A call comes in, HTTP POST): {base}/twilio/voice"
    yield f"Call status changes (HTTP POST): {base}/twilio/status"
    for door in doors(settings, dev=dev):
        state = f"open at {', '.join(door.paths)}" if door.is_open else f"shut: set {door.missing}"
        yield f"Door {door.name}: {state}"
    yield f"Health: {local}/healthz  {local}/readyz  {local}/metrics"
    if dev:
        yield f"A token for the app doors: curl {local}/dev/token"
        yield f"Try it: calltape call --unsigned --to {local} --say 'remind me to pay the rent on monday'"
