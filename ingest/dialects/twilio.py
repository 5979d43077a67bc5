"""Twilio Media Streams: liberal in what is heard where that costs no safety, exact in what is said.

An extra key in an outgoing message is an error on Twilio's side (warning 31951), reported once and silent after.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from audio.gaps import LEAP_MS, LONGEST_GAP_MS, Gaps
from ingest.dialects.base import (
    Began,
    Digit,
    Ended,
    Frame,
    Ignored,
    MarkEchoed,
    Repeated,
    Said,
    Violation,
    Wire,
)
from ingest.dialects.twilio_messages import (
    Connected,
    Dtmf,
    Mark,
    Media,
    Message,
    Start,
    Stop,
    decoder,
    number,
    what_is_wrong,
)
from schema.envelope import AnyEvent

DOOR = "twilio"
BYTES_PER_MS = 8  # mu-law at 8 kHz
# A counter that leaps further than LEAP_MS is a mistake, and believing it would make every later frame look old.
_LEAP_CHUNKS = 120_000


class State(enum.Enum):
    FRESH = "fresh"
    OPEN = "open"
    STOPPED = "stopped"


# From inbound audio's names in the documents and on the wire; the other track is our own voice.
_INBOUND = frozenset({"inbound", "inbound_track", ""})
_MULAW = frozenset({"audio/x-mulaw", "audio/mulaw", "mulaw"})
_CODES: Mapping[str, int] = {"protocol": 1002, "limit": 1008, "slow": 1013, "restart": 1012}


class TwilioDialect:
    """One Media Streams socket."""

    door = DOOR

    def __init__(self, *, dev: bool = False, bad_in_a_row: int = 20) -> None:
        self.state = State.FRESH
        self._dev = dev
        self._bad_limit = bad_in_a_row
        self._bad = 0
        self._ids = ("", "", "")
        self._stream_sid = ""
        self._sequence = 0  # of the last message, 0: none yet
        self._chunk = 0
        self._ms = 0  # clock at the last frame's first sample
        self._next_ms = 0
        self._ahead_ms = 0  # how far the carrier's timestamps are ahead of our clock
        self._gaps = Gaps()
        self._prefix = ""

    def greet(self) -> tuple[Said, ...]:
        return ()  # the carrier speaks first

    def opened(self) -> tuple[Wire, ...]:
        return ()

    def problem(self, code: str, message: str, retry_after_ms: int | None = None) -> tuple[Wire, ...]:
        return ()  # an unknown message is an error on the carrier's side

    def receive(self, frame: Wire, now_ms: int) -> tuple[Said, ...]:
        if isinstance(frame, bytes):
            return self._skip("binary_frame")
        try:
            message = decoder.decode(frame)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            return self._skip(what_is_wrong(frame, error))
        if type(message) is Media and self.state is State.OPEN:  # what nearly every frame is
            return self._media(message)
        return _TABLE[self.state, type(message)](self, message)

    def send(self, fact: AnyEvent) -> tuple[Wire, ...]:
        return ()  # Twilio knows audio, marks and clear; no fact has words here

    def audio(self, payload: bytes) -> Wire:
        return f'{self._prefix}{base64.b64encode(payload).decode("ascii")}"}}}}'

    def mark(self, name: str) -> Wire:
        return msgspec.json.encode(
            {"event": "mark", "streamSid": self._stream_sid, "mark": {"name": name}},
        ).decode()

    def clear(self) -> Wire:
        return msgspec.json.encode({"event": "clear", "streamSid": self._stream_sid}).decode()

    def close_code(self, reason: str) -> int:
        return _CODES.get(reason, 1000)

    def _skip(self, kind: str) -> tuple[Said, ...]:
        self._bad += 1
        if self._bad >= self._bad_limit:
            return (Ignored(kind), Violation(1008, "bad_in_a_row", f"{self._bad} messages in a row made no sense"))
        return (Ignored(kind),)

    def _begin(self, message: Start) -> tuple[Said, ...]:
        body = message.start
        stream_sid = _ids(message)[0]
        if not self._dev and not (stream_sid and body.call_sid and body.account_sid):
            return (Violation(1008, "start_mismatch", "start names no call, account or stream"),)
        wire = body.media_format
        if wire.encoding not in _MULAW or number(wire.sample_rate) != 8000 or number(wire.channels) != 1:
            return (Violation(1008, "unsupported_format", "only audio/x-mulaw, 8000 Hz, one channel is understood"),)
        self.state, self._ids, self._stream_sid = State.OPEN, _ids(message), stream_sid
        self._sequence = number(message.sequence_number) or 0
        self._prefix = '{"event":"media","streamSid":' + msgspec.json.encode(stream_sid).decode()
        self._prefix += ',"media":{"payload":"'
        self._bad = 0
        parameters = body.custom_parameters
        return (Began(body.call_sid, body.account_sid, stream_sid, parameters.get("token", ""), parameters),)

    def _start_again(self, message: Start) -> tuple[Said, ...]:
        if _ids(message) == self._ids:
            return (Ignored("repeated_start"),)
        return (Violation(1002, "second_start", "a second start with other ids"),)

    def _media(self, message: Media) -> tuple[Said, ...]:
        if self._is_anothers(message):
            return (Ignored("other_stream"),)
        body = message.media
        chunk, timestamp, sequence = number(body.chunk), number(body.timestamp), number(message.sequence_number)
        if not self._dev and (chunk is None or timestamp is None or sequence is None):
            return self._skip("malformed")
        self._bad = 0
        if body.track not in _INBOUND:
            return (Ignored("other_track"),)
        if chunk is not None and chunk <= self._chunk:
            return (Repeated(),)
        lost = self._count(chunk, sequence)
        if not body.payload:
            return (Ignored("empty_media"),)
        ms = self._ms = self._next_ms if timestamp is None else self._placed(timestamp)
        length_ms = len(body.payload) // BYTES_PER_MS
        self._next_ms = ms + length_ms
        self._gaps.sound(length_ms)
        return (Frame(body.payload, ms, lost),)

    def _placed(self, timestamp: int) -> int:
        """On our clock, which follows the timestamps over gaps that can be believed, and never goes back."""
        missing_ms = timestamp - self._ahead_ms - self._next_ms
        if -LONGEST_GAP_MS <= missing_ms <= 0:
            return max(self._next_ms + missing_ms, self._ms)
        silence_ms = int(self._gaps.silence(missing_ms))
        if missing_ms <= LEAP_MS:
            self._ahead_ms += missing_ms - silence_ms
        return self._next_ms + silence_ms

    def _count(self, chunk: int | None, sequence: int | None) -> int:
        """How many frames are missing before this one: by its own counter, else by that of all messages."""
        lost = 0
        if chunk is not None and chunk - self._chunk <= _LEAP_CHUNKS:
            # The first chunk is 1; a stream joined later than its beginning has lost nothing of ours.
            lost = chunk - self._chunk - 1 if self._chunk else 0
            self._chunk = chunk
        elif sequence is not None and 0 < self._sequence < sequence <= self._sequence + _LEAP_CHUNKS:
            lost = sequence - self._sequence - 1
        self._note_sequence(sequence)
        return lost

    def _digit(self, message: Dtmf) -> tuple[Said, ...]:
        if self._is_anothers(message):
            return (Ignored("other_stream"),)
        digit = message.dtmf.digit
        if len(digit) != 1 or digit not in "0123456789*#ABCDabcd":
            return self._skip("malformed")
        sequence = number(message.sequence_number)
        if sequence is not None and sequence <= self._sequence:
            return (Repeated(),)
        self._bad = 0
        self._note_sequence(sequence)
        return (Digit(digit),)

    def _mark_came(self, message: Mark) -> tuple[Said, ...]:
        if self._is_anothers(message):
            return (Ignored("other_stream"),)
        self._bad = 0
        self._note_sequence(number(message.sequence_number))
        return (MarkEchoed(message.mark.name),)

    def _stop(self, message: Stop) -> tuple[Said, ...]:
        if message.stream_sid and self._stream_sid and self._is_anothers(message):
            return (Ignored("other_stream"),)
        self.state = State.STOPPED
        return (Ended("stop"),)

    def _is_anothers(self, message: Message) -> bool:
        return message.stream_sid != self._stream_sid and not (self._dev and not message.stream_sid)

    def _note_sequence(self, sequence: int | None) -> None:
        if sequence is not None and self._sequence < sequence <= self._sequence + _LEAP_CHUNKS:
            self._sequence = sequence

    def _quiet(self, message: Message) -> tuple[Said, ...]:
        self._bad = 0
        return ()

    def _before_start(self, message: Message) -> tuple[Said, ...]:
        return (Violation(1002, "media_before_start", "media came before start"),)

    def _too_early(self, message: Message) -> tuple[Said, ...]:
        return (Ignored("before_start"),)

    def _too_late(self, message: Message) -> tuple[Said, ...]:
        return (Ignored("after_stop"),)

    def _connected_again(self, message: Message) -> tuple[Said, ...]:
        return (Ignored("repeated_connected"),)

    TABLE: ClassVar[Mapping[tuple[State, type], Callable[[TwilioDialect, Any], tuple[Said, ...]]]] = {
        (State.FRESH, Connected): _quiet,
        (State.FRESH, Start): _begin,
        (State.FRESH, Media): _before_start,
        (State.FRESH, Dtmf): _too_early,
        (State.FRESH, Mark): _too_early,
        (State.FRESH, Stop): _stop,
        (State.OPEN, Connected): _connected_again,
        (State.OPEN, Start): _start_again,
        (State.OPEN, Media): _media,
        (State.OPEN, Dtmf): _digit,
        (State.OPEN, Mark): _mark_came,
        (State.OPEN, Stop): _stop,
        (State.STOPPED, Connected): _too_late,
        (State.STOPPED, Start): _too_late,
        (State.STOPPED, Media): _too_late,
        (State.STOPPED, Dtmf): _too_late,
        (State.STOPPED, Mark): _too_late,
        (State.STOPPED, Stop): _too_late,
    }


_TABLE = TwilioDialect.TABLE


def _ids(message: Start) -> tuple[str, str, str]:
    """Stream, call and account."""
    body = message.start
    return body.stream_sid or message.stream_sid, body.call_sid, body.account_sid
