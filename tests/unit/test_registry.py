"""From bytes to events and back, across versions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schema.envelope import Event, Unknown, type_of
from schema.media import MediaReceived, MediaSpoken
from schema.outbox import OutboxAudio, OutboxFact
from schema.private import Sealed, SealedError, plain
from schema.registry import EVENTS, UPCASTS, MalformedEvent, decode, encode, pack, unpack_media, unpack_outbox
from schema.stream import DtmfPressed
from schema.turn import ReplySentence
from tests.support.events import an_event

BARE = {"id": "0", "call_id": "CA1"}


class PaymentPromised(Event, frozen=True, kw_only=True, tag="payment.promised"):
    """The worked example: version 1 said `amount` in euros, version 2 says `amount_cents`, version 3 adds who."""

    amount_cents: int
    payer: str


def cents(old: dict[str, Any]) -> dict[str, Any]:
    """1 → 2"""
    return {key: value for key, value in old.items() if key != "amount"} | {"amount_cents": round(old["amount"] * 100)}


def payer(old: dict[str, Any]) -> dict[str, Any]:
    """2 → 3"""
    return old | {"payer": "caller"}


STEPS = {("payment.promised", 1): cents, ("payment.promised", 2): payer}
DECODERS = {"payment.promised": msgspec.json.Decoder(PaymentPromised)}


def decoded(**body: Any) -> Any:
    return decode(msgspec.json.encode(BARE | {"type": "payment.promised"} | body), decoders=DECODERS, upcasts=STEPS)


@pytest.mark.parametrize(
    "written",
    [
        {"amount": 12.5},
        {"version": 2, "amount_cents": 1250},
        {"version": 3, "amount_cents": 1250, "payer": "caller"},
    ],
)
def test_an_event_of_any_version_reads_as_todays(written: dict[str, Any]) -> None:
    assert decoded(**written) == PaymentPromised(id="0", call_id="CA1", version=3, amount_cents=1250, payer="caller")


def test_an_old_event_whose_step_is_missing_is_malformed() -> None:
    with pytest.raises(MalformedEvent, match="amount_cents"):
        decode(msgspec.json.encode(BARE | {"type": "payment.promised", "amount": 1.0}), decoders=DECODERS, upcasts={})


@pytest.mark.parametrize("name", sorted({name for name, _ in UPCASTS}))
def test_an_event_of_a_later_version_says_so_on_the_wire(name: str) -> None:
    # A default is left out, and what is absent reads as version 1: it would be raised a second time.
    assert msgspec.json.decode(encode(an_event(name)))["version"] > 1


@pytest.mark.parametrize(
    ("old", "field", "value"),
    [
        ({"type": "reply.started", "why": "greeting"}, "why", "greeting"),
        ({"type": "request.made", "kind": "pause"}, "kind", "pause"),
    ],
)
def test_what_was_written_before_an_enumeration_grew_reads_as_it_was_meant(
    old: dict[str, str], field: str, value: str
) -> None:
    event = decode(msgspec.json.encode(BARE | old))
    assert (getattr(event, field), event.version) == (value, 2)


def test_an_unknown_event_travels_on_byte_for_byte() -> None:
    raw = b'{"type": "weather.changed", "id":"w", "call_id":"CA1", "role":"hearing", "prior":"p", "degrees": 3.0 }'
    event = decode(raw)
    assert isinstance(event, Unknown)
    assert (type_of(event), event.role, event.prior) == ("weather.changed", "hearing", "p")
    assert encode(event) == raw


def test_unknown_fields_of_a_known_event_are_passed_over() -> None:
    raw = b'{"type":"dtmf.pressed","id":"0","call_id":"CA1","stream":"MZ1","digit":"5","mood":"bad"}'
    assert decode(raw) == DtmfPressed(id="0", call_id="CA1", stream="MZ1", digit="5")


def test_fields_at_their_default_are_left_out_on_the_wire() -> None:
    body = msgspec.json.decode(encode(DtmfPressed(id="0", call_id="CA1", stream="MZ1", digit="5")))
    assert body == BARE | {"type": "dtmf.pressed", "stream": "MZ1", "digit": "5"}


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"1", b'{"id":"0"}', b'{"type":"dtmf.pressed"}', b"\xff\xfe"])
def test_what_is_no_event_says_so(raw: bytes) -> None:
    with pytest.raises(MalformedEvent):
        decode(raw)


def test_a_private_value_may_come_sealed_and_is_not_plain_then() -> None:
    raw = (
        b'{"type":"reply.sentence","id":"0","call_id":"CA1","reply":"r","index":0,"text":{"key":"k1","sealed":"c2Vh"}}'
    )
    event = decode(raw)
    assert isinstance(event, ReplySentence)
    assert event.text == Sealed("k1", "c2Vh")
    with pytest.raises(SealedError, match="k1"):
        plain(event.text)


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_name_is_dotted_lower_case(name: str) -> None:
    noun, _, verb = name.partition(".")
    assert noun.islower() and verb.islower() and name.count(".") == 1


def test_media_keep_their_bytes() -> None:
    for frame in (
        MediaReceived(call_id="CA1", stream="MZ1", sequence=1, ms=20, payload=b"\x00\xff"),
        MediaSpoken(
            call_id="CA1", stream="MZ1", sequence=2, ms=20, payload=b"\xff", reply="r", sentence=0, offset_ms=0
        ),
    ):
        assert unpack_media(pack(frame)) == frame


def test_outbox_messages_keep_their_bytes() -> None:
    audio = OutboxAudio(
        call_id="CA1",
        stream="MZ1",
        reply="r",
        sentence=0,
        sentence_id="s",
        offset_ms=0,
        take=7,
        payload=b"\xff",
        last=True,
    )
    for message in (audio, OutboxFact(call_id="CA1", stream="MZ1", position=3, body=b"{}")):
        assert unpack_outbox(pack(message)) == message


def test_what_is_no_media_says_so() -> None:
    for read in (unpack_media, unpack_outbox):
        with pytest.raises(MalformedEvent):
            read(b"\xc1")
