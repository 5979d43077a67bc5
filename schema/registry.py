"""From bytes to events and back: one union, one upcast step a version, unknown types kept as they came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import Any, cast

import msgspec

from schema import call, failure, insight, speech, stream, turn
from schema.envelope import AnyEvent, Event, Unknown, type_of
from schema.media import AnyMedia
from schema.outbox import OutboxMessage

MODULES = (call, stream, speech, turn, insight, failure)


def _declared() -> dict[str, type[Event]]:
    found: dict[str, type[Event]] = {}
    for module in MODULES:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Event) and value is not Event:
                found[str(value.__struct_config__.tag)] = value
    return found


EVENTS: Mapping[str, type[Event]] = _declared()

Upcast = Callable[[dict[str, Any]], dict[str, Any]]


def _as_it_is(old: dict[str, Any]) -> dict[str, Any]:
    """An enumeration grew: what was written before is still right."""
    return old


# (type, version it starts from) -> the step to the next version. A version is written only for these.
UPCASTS: Mapping[tuple[str, int], Upcast] = {
    ("reply.started", 1): _as_it_is,  # 2: why handover
    ("request.made", 1): _as_it_is,  # 2: kind interrupt
}


class MalformedEvent(Exception):
    """A record is not an event: it is the writer's fault, and the record is kept as it is."""


class _Peek(msgspec.Struct):
    type: str
    id: str = ""
    call_id: str = ""
    version: int = 1
    tenant_id: str = "default"
    role: str = ""
    prior: str = ""
    source: str = ""
    sequence: int = 0
    cause: str = ""
    trace: str = ""
    was_at: int = 0


# What was written in an older version is recognised by its number alone, so these are looked at before.
_RAISED = frozenset(EVENTS[name] for name, _ in UPCASTS)

_encoder = msgspec.json.Encoder()
_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder(reduce(or_, EVENTS.values()))
_peek = msgspec.json.Decoder(_Peek)
_decoders = {name: msgspec.json.Decoder(cls) for name, cls in EVENTS.items()}
_packer = msgspec.msgpack.Encoder()
_media = msgspec.msgpack.Decoder(AnyMedia)
_outbox = msgspec.msgpack.Decoder(OutboxMessage)


def encode(event: AnyEvent) -> bytes:
    """The event as flat JSON. An unknown one is given back byte for byte."""
    return event.raw if isinstance(event, Unknown) else _encoder.encode(event)


def decode(
    raw: bytes,
    *,
    decoders: Mapping[str, msgspec.json.Decoder[Any]] | None = None,
    upcasts: Mapping[tuple[str, int], Upcast] | None = None,
) -> AnyEvent:
    """The event in `raw`, brought up to this version's shape. Raises MalformedEvent."""
    if decoders is None and upcasts is None:
        # Nearly all: one pass, without a look at the envelope first.
        try:
            event: Event | None = _any.decode(raw)
        except msgspec.MsgspecError:
            event = None  # what it is, and whose fault, is found out below
        if event is not None and type(event) not in _RAISED:
            return event
    known = _decoders if decoders is None else decoders
    try:
        peek = _peek.decode(raw)
        decoder = known.get(peek.type)
        if decoder is None:
            return Unknown(raw=bytes(raw), **msgspec.structs.asdict(peek))
        steps = UPCASTS if upcasts is None else upcasts
        if (peek.type, peek.version) in steps:
            raw = _raise_version(raw, peek.type, peek.version, steps)
        return cast(Event, decoder.decode(raw))
    except msgspec.MsgspecError as error:
        raise MalformedEvent(f"not an event: {error}") from error


def _raise_version(raw: bytes, name: str, version: int, steps: Mapping[tuple[str, int], Upcast]) -> bytes:
    body: dict[str, Any] = msgspec.json.decode(raw)
    while (step := steps.get((name, version))) is not None:
        body = step(body)
        version += 1
        body["version"] = version
    return msgspec.json.encode(body)


def pack(value: AnyMedia | OutboxMessage) -> bytes:
    """Media and outbox messages travel as msgpack, audio as raw bytes."""
    return _packer.encode(value)


def unpack_media(raw: bytes) -> AnyMedia:
    """Raises MalformedEvent."""
    try:
        return cast(AnyMedia, _media.decode(raw))
    except msgspec.MsgspecError as error:
        raise MalformedEvent(f"not media: {error}") from error


def unpack_outbox(raw: bytes) -> OutboxMessage:
    """Raises MalformedEvent."""
    try:
        return cast(OutboxMessage, _outbox.decode(raw))
    except msgspec.MsgspecError as error:
        raise MalformedEvent(f"not an outbox message: {error}") from error


__all__ = [
    "EVENTS",
    "UPCASTS",
    "MalformedEvent",
    "decode",
    "encode",
    "pack",
    "type_of",
    "unpack_media",
    "unpack_outbox",
]
