"""Whole utterances as apps upload them: whatever is taken becomes the same PCM, and the rest is named."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audio import mulaw
from audio.containers import SoundError, UploadLimits, container_of, encode_mp3, encode_wav, read_sound
from audio.wav import header
from clients import opus
from clients.webm import OggWriter, WebmWriter
from tests.support.sound import likeness, samples, sweep

MS, RATE = 600, 16000
SOUND = sweep(MS, RATE)
PACKETS = opus.encode(sweep(MS, 48000), 48000)


def wav(code: int, bits: int, body: bytes, *, rate: int = RATE, channels: int = 1) -> bytes:
    frame = bits // 8 * channels
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, channels, rate, rate * frame, frame, bits)
    data = fmt + struct.pack("<4sI", b"data", len(body)) + body
    return struct.pack("<4sI4s", b"RIFF", len(data) + 4, b"WAVE") + data


def webm() -> bytes:
    writer = WebmWriter()
    return writer.header() + b"".join(writer.block(packet, 20 * i) for i, packet in enumerate(PACKETS))


def ogg() -> bytes:
    writer = OggWriter()
    return writer.header() + b"".join(writer.page([packet], 20, last=packet is PACKETS[-1]) for packet in PACKETS)


def twice(pcm: bytes) -> bytes:
    """The same in both channels."""
    return np.repeat(samples(pcm), 2).astype("<i2").tobytes()


UPLOADS = {
    "wav 8": wav(1, 8, ((samples(SOUND) / 256) + 128).astype("u1").tobytes()),
    "wav 16": encode_wav(SOUND, RATE),
    "wav 24": wav(1, 24, b"".join(b"\x00" + SOUND[i : i + 2] for i in range(0, len(SOUND), 2))),
    "wav 32": wav(1, 32, (samples(SOUND) * 65536).astype("<i4").tobytes()),
    "wav float": wav(3, 32, (samples(SOUND) / 32768).astype("<f4").tobytes()),
    "wav double": wav(3, 64, (samples(SOUND) / 32768).astype("<f8").tobytes()),
    "wav stereo 44.1": wav(
        1, 16, np.repeat(samples(sweep(MS, 44100)), 2).astype("<i2").tobytes(), rate=44100, channels=2
    ),
    "wav mu-law": wav(7, 8, mulaw.encode(sweep(MS, 8000)), rate=8000),
    "webm": webm(),
    "ogg": ogg(),
    "mp3": encode_mp3(SOUND, RATE),
}


@pytest.mark.parametrize("sample_rate", [8000, 16000, 24000])
@pytest.mark.parametrize("name", UPLOADS)
def test_every_container_holds_the_same_sound(name: str, sample_rate: int) -> None:
    pcm = read_sound(UPLOADS[name], sample_rate)
    alike, _ = likeness(sweep(MS, sample_rate), pcm, sample_rate)
    assert alike > 0.9
    assert abs(len(pcm) / sample_rate * 500 - MS) <= 1


def test_raw_mu_law_says_so() -> None:
    pcm = read_sound(mulaw.encode(sweep(MS, 8000)), 16000, encoding="mulaw")
    assert likeness(SOUND, pcm, 16000)[0] > 0.98


@pytest.mark.parametrize("sample_rate", [8000, 16000, 24000, 48000])
def test_speech_goes_out_as_mp3(sample_rate: int) -> None:
    data = encode_mp3(sweep(MS, sample_rate), sample_rate)
    assert container_of(data) == "mp3"
    assert len(data) < MS * 8
    assert likeness(sweep(MS, sample_rate), read_sound(data, sample_rate), sample_rate)[0] > 0.95


def test_an_empty_answer_is_an_mp3_that_plays() -> None:
    assert 0 < len(read_sound(encode_mp3(b"", 16000), 16000)) < 16000


LIMITS = UploadLimits(most_bytes=200_000, longest_ms=500)


def other_codec() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as made:
        stream = made.add_stream("pcm_s16le", rate=16000)
        stream.codec_context.layout = "mono"
        frame = av.AudioFrame(format="s16", layout="mono", samples=1600)
        frame.sample_rate = 16000
        made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "begins with b''"),
        (b"hello world, this is no sound", "begins with b'hello world,'"),
        (b"x" * 200_001, "200001 bytes are too many"),
        (UPLOADS["wav 16"], "600 ms: at most 500"),
        (UPLOADS["webm"], "longer than 500 ms"),
        (UPLOADS["mp3"], "longer than 500 ms"),
        (wav(1, 8, bytes(1000), rate=1), "at most 500"),
        (header(0, 8000)[:20], "format takes|no data"),
        (b"OggS" + b"a" * 22 + b"\x01\x01a", "version 97"),
        (UPLOADS["webm"][:60], "there is no sound"),
        (other_codec(), "A_PCM/INT/LIT"),
        (UPLOADS["mp3"][:60], "cannot be decoded"),
    ],
    ids=range(12),
)
def test_what_is_not_taken_is_named(data: bytes, why: str) -> None:
    with pytest.raises(SoundError, match=why):
        read_sound(data, 16000, limits=LIMITS)


def test_mu_law_has_a_limit_too() -> None:
    with pytest.raises(SoundError, match="too long"):
        read_sound(bytes(4001), 16000, encoding="mulaw", limits=LIMITS)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(UPLOADS)), st.integers(0, 3000), st.binary(max_size=30), st.booleans())
@example("ogg", 0, b"", True)
def test_a_damaged_upload_is_sound_or_an_error(name: str, at: int, damage: bytes, cut: bool) -> None:
    data = UPLOADS[name]
    data = data[:at] + damage + (b"" if cut else data[at + len(damage) :])
    try:
        pcm = read_sound(data, 16000)
    except SoundError:
        return
    assert len(pcm) <= 60_000 * 32
