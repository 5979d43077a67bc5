"""A codec that carries words instead of sound: every voiced frame says which word it is a part of.

A word is a number from 1 to 9,999. A frame of 20 ms is 160 bytes of mu-law in which even bytes hold the number's
last two digits and odd bytes the first two, so its words survive decoding to PCM and cutting at frame borders.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from zlib import crc32

from audio import mulaw

FRAME_MS = 20
FRAME_BYTES = 160
PCM_FRAME_BYTES = 320
SILENCE = mulaw.SILENCE * FRAME_BYTES

GOODBYE, REMIND, BOOK = 9001, 9002, 9003
SPECIAL = {GOODBYE: "goodbye", REMIND: "remind", BOOK: "book"}
COUGH = 10_000  # voiced, but no word: byte 100 twice

CHARACTER_MS = 60  # how long the agent's voice takes for one


def frame_of(word: int) -> bytes:
    """20 ms of a word or a cough."""
    return bytes((word % 100, word // 100)) * (FRAME_BYTES // 2)


def word_in(frame: bytes) -> int | None:
    """The word (or COUGH) a frame is a part of; None for silence."""
    return None if frame[:2] == SILENCE[:2] else frame[0] + 100 * frame[1]


def word_in_pcm(pcm: bytes) -> int | None:
    """The same, of 20 ms of PCM."""
    return word_in(mulaw.encode(pcm[:4]))


def text_of(word: int) -> str:
    return SPECIAL.get(word, f"w{word}")


def spoken(text: str) -> Iterator[bytes]:
    """The agent's voice for a sentence: PCM frames that name the sentence's text and their place in it."""
    mark = crc32(text.encode()) % 100
    for place in range(len(text) * CHARACTER_MS // FRAME_MS):
        yield _decoded(_voice_frame(mark, place % 100))


def is_spoken(text: str, offset_ms: int, payload: bytes) -> bool:
    """Whether mu-law `payload` is what the voice says `offset_ms` into `text`."""
    mark = crc32(text.encode()) % 100
    first = offset_ms * 8
    places = range(first // FRAME_BYTES, (first + len(payload)) // FRAME_BYTES + 1)
    expected = b"".join(_voice_frame(mark, place % 100) for place in places)
    begins = first % FRAME_BYTES
    return payload == expected[begins : begins + len(payload)]


@cache
def _voice_frame(mark: int, place: int) -> bytes:
    return bytes((mark, place)) * (FRAME_BYTES // 2)


@cache
def _decoded(frame: bytes) -> bytes:
    return mulaw.decode(frame)
