"""Reads one push-to-talk request: whose call, which words, or which sound, ready to be put on the log.

Containers are opened here, codecs are not: Opus in WebM or Ogg stays Opus, mu-law stays mu-law. A WAV file becomes
samples of one rate, and MP3, which no log keeps, is decoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from aiohttp import BodyPartReader, web

from audio.containers import SoundError, UploadLimits, container_of, read_sound
from audio.ogg import OggError, OggReader
from audio.opus_toc import packet_ms
from audio.webm import WebmError, WebmReader
from ingest.dialects.app import read_text
from ingest.dialects.base import Frame
from ingest.web.problems import ProblemAnswer

LIMITS = UploadLimits()
MOST_FIELD_BYTES = 64 * 1024
RATE = 16_000  # Hz, of what is decoded here
FRAME_MS = 100
MULAW_TYPES = frozenset({"audio/basic", "audio/x-mulaw", "audio/mulaw", "audio/pcmu"})
TAKEN = "multipart/form-data with a part `audio`, or application/json with `text`"


@dataclass(frozen=True, slots=True)
class Utterance:
    """A sound as the log keeps it."""

    encoding: str
    sample_rate: int
    frames: tuple[Frame, ...] = field(repr=False)
    length_ms: int = 0


@dataclass(frozen=True, slots=True)
class Upload:
    """The request's fields, and its sound as it came; `kind` is that part's content type."""

    fields: Mapping[str, str] = field(repr=False)
    sound: bytes = field(default=b"", repr=False)
    kind: str = ""

    def get(self, name: str, longest: int = 200) -> str:
        return read_text(self.fields.get(name), longest)


class _Reader(Protocol):
    def feed(self, data: bytes) -> list[Any]: ...


async def read_upload(request: web.Request) -> Upload:
    """Raises the HTTP answer for what is too large, or is no such request."""
    if request.content_type == "multipart/form-data":
        try:
            return await _multipart(request)
        except (ValueError, AssertionError, RuntimeError) as error:
            raise ProblemAnswer(400, f"the multipart body cannot be read: {error}"[:200], code="bad_body") from None
    if request.content_type == "application/json":
        return Upload(await _json(request))
    raise ProblemAnswer(415, f"{request.content_type!r} is not taken: send {TAKEN}", code="bad_type")


async def _json(request: web.Request) -> dict[str, str]:
    try:
        body = await request.read()  # the application bounds it
    except web.HTTPRequestEntityTooLarge as error:
        raise ProblemAnswer(413, error.text or error.reason, code="too_large") from None
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ProblemAnswer(400, "the body is no JSON object", code="bad_body")
    if any(not isinstance(found.get(name), str | None) for name in ("call_id", "session")):
        raise ProblemAnswer(400, "a call_id is 1 to 64 letters, digits, _ or -", code="SESSION_INVALID")
    return {name: value for name, value in found.items() if isinstance(value, str)}


async def _multipart(request: web.Request) -> Upload:
    fields: dict[str, str] = {}
    sound, kind = b"", ""
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            raise ValueError("a part is a multipart of its own")
        if part.name == "audio":
            sound = await _bounded(part, LIMITS.most_bytes)
            kind = part.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        elif part.name and len(fields) < 20:
            fields[part.name] = (await _bounded(part, MOST_FIELD_BYTES)).decode()
    return Upload(fields, sound, kind)


async def _bounded(part: BodyPartReader, most: int) -> bytes:
    data = bytearray()
    while chunk := await part.read_chunk(64 * 1024):
        data += chunk
        if len(data) > most:
            raise ProblemAnswer(413, f"the part {part.name} is larger than {most} bytes", code="too_large")
    return bytes(data)


def utterance_of(data: bytes, kind: str) -> Utterance:
    """Blocks for as long as decoding takes. Raises SoundError, CodecMissingError."""
    if kind in MULAW_TYPES and not container_of(data):
        return _samples(data, "mulaw", 8_000, 1)
    container = container_of(data)
    if container in ("webm", "ogg"):
        return _packets(data, container, WebmReader() if container == "webm" else OggReader())
    return _samples(read_sound(data, RATE, limits=LIMITS), "pcm16", RATE, 2)


def _packets(data: bytes, container: str, reader: _Reader) -> Utterance:
    try:
        packets = reader.feed(data)
    except (WebmError, OggError) as error:
        raise SoundError(str(error)) from error
    frames, at = [], 0.0
    for packet in packets:
        at = max(at, packet.ms)  # a recorder that was paused left a gap
        frames.append(Frame(packet.payload, int(at)))
        at += packet_ms(packet.payload)
    return _checked(Utterance("opus", 48_000, tuple(frames), int(at)), container)


def _samples(data: bytes, encoding: str, rate: int, width: int) -> Utterance:
    size = rate * FRAME_MS // 1000 * width
    frames = tuple(Frame(data[at : at + size], at * FRAME_MS // size) for at in range(0, len(data), size))
    return _checked(Utterance(encoding, rate, frames, len(data) * 1000 // (rate * width)), encoding)


def _checked(utterance: Utterance, what: str) -> Utterance:
    if not utterance.frames:
        raise SoundError(f"there is no sound in this {what}")
    if utterance.length_ms > LIMITS.longest_ms:
        raise SoundError(f"{utterance.length_ms} ms of {what} are too long: at most {LIMITS.longest_ms} are taken")
    return utterance
