"""Whether a server may start with the doors that its settings open, and what it says of them when it does."""

from __future__ import annotations

from collections.abc import Iterator

from calltape.limits import ingest_config
from calltape.settings import Settings
from calltape.terminal import Refused
from ingest.app import Door, doors

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def require_doors(settings: Settings, *, dev: bool) -> tuple[Door, ...]:
    """The doors. Raises Refused if none can open, if one in DOORS cannot, or if --dev would be open to others."""
    if dev and settings.host not in LOOPBACK:
        raise Refused(f"--dev takes unsigned calls, so it must listen on 127.0.0.1, not on {settings.host}")
    found = doors(ingest_config(settings, dev=dev))
    known = {door.name: door for door in found}
    for name in settings.doors:
        if name not in known:
            raise Refused(f"CALLTAPE_DOORS names {name!r}: the doors are {', '.join(known)}")
        if not known[name].is_open:
            raise Refused(f"the door {name} must open (CALLTAPE_DOORS) but is shut: {known[name].why}")
    if not any(door.is_open for door in found):
        shut = "; ".join(f"{door.name}: {door.why}" for door in found)
        raise Refused(f"no door can open ({shut}); to try without these: calltape serve --dev")
    return found


def announcement(settings: Settings, *, dev: bool, port: int) -> Iterator[str]:
    """What `calltape serve` prints once it listens on `port`."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    local = f"http://{host}:{port}"
    base = settings.public_url or local
    yield f"calltape listens at {local}" + (" (--dev: unsigned calls are taken)" if dev else "")
    found = {door.name: door for door in doors(ingest_config(settings, dev=dev))}
    if base == local:
        yield f"Webhook {local}/twilio/voice: a carrier reaches it once CALLTAPE_PUBLIC_URL is what the world calls us"
    else:
        yield f"Webhook to paste into the Twilio console (A call comes in, HTTP POST): {base}/twilio/voice"
        yield f"Call status changes (HTTP POST): {base}/twilio/status"
    for door in found.values():
        state = f"open at {', '.join(door.paths)}" if door.is_open else f"shut: {door.why}"
        yield f"Door {door.name}: {state}"
    yield f"Health: {local}/healthz  {local}/readyz  {local}/metrics"
    if found["browser"].is_open:
        yield f"Talk in the browser: {local}/talk  Watch live calls: {local}/screen"
    if dev:
        yield f"A token for the app doors: curl {local}/dev/token"
        words = "--say 'remind me to pay the rent on monday' --say 'yes that is right'"
        yield f"Try it: calltape call --unsigned --to {local} {words}"
