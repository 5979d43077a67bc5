"""WAV files of every common kind are read, and what we write is read by others."""

from __future__ import annotations

import audioop
import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio.wav import ALAW, EXTENSIBLE, FLOAT, MULAW, PCM, WavError, read_wav, stereo, wav_bytes

SAMPLES = np.array([0, 1000, -1000, 20000, -20000, 32000, -32000, 8], dtype="<i2")


def foreign(code: int, bits: int, body: bytes, channels: int = 1, rate: int = 8000, extra: bytes = b"") -> bytes:
    """A WAV as other programs write it, with a chunk of odd length before the data."""
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", code, channels, rate, rate * block, block, bits) + extra
    chunks = struct.pack("<4sI", b"fmt ", len(fmt)) + fmt + struct.pack("<4sI", b"LIST", 3) + b"abc\x00"
    chunks += struct.pack("<4sI", b"data", len(body)) + body
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


def test_what_we_write_the_standard_library_reads() -> None:
    with wave.open(io.BytesIO(wav_bytes(SAMPLES.tobytes(), 8000))) as reader:
        assert (reader.getframerate(), reader.getnchannels(), reader.getsampwidth()) == (8000, 1, 2)
        assert reader.readframes(100) == SAMPLES.tobytes()


def test_two_tracks_are_interleaved_and_the_shorter_one_falls_silent() -> None:
    pair = np.frombuffer(stereo(SAMPLES[:4].tobytes(), SAMPLES[:2].tobytes()), "<i2").reshape(-1, 2)
    assert pair[:, 0].tolist() == SAMPLES[:4].tolist()
    assert pair[:, 1].tolist() == [*SAMPLES[:2].tolist(), 0, 0]


@pytest.mark.parametrize(
    ("code", "bits", "body"),
    [
        (PCM, 16, SAMPLES.tobytes()),
        (PCM, 24, audioop.lin2lin(SAMPLES.tobytes(), 2, 3)),
        (PCM, 32, audioop.lin2lin(SAMPLES.tobytes(), 2, 4)),
        (PCM, 8, audioop.bias(audioop.lin2lin(SAMPLES.tobytes(), 2, 1), 1, 128)),
        (FLOAT, 32, (SAMPLES / 32767).astype("<f4").tobytes()),
        (FLOAT, 64, (SAMPLES / 32767).astype("<f8").tobytes()),
        (MULAW, 8, audioop.lin2ulaw(SAMPLES.tobytes(), 2)),
        (ALAW, 8, audioop.lin2alaw(SAMPLES.tobytes(), 2)),
    ],
)
def test_every_common_encoding_is_read(code: int, bits: int, body: bytes) -> None:
    read = np.frombuffer(read_wav(foreign(code, bits, body), 8000), "<i2").astype(int)
    assert np.abs(read - SAMPLES).max() <= (1100 if bits == 8 else 1)


def test_the_extensible_header_names_the_real_encoding() -> None:
    extra = struct.pack("<HHIH", 22, 16, 0, PCM) + bytes(14)
    assert read_wav(foreign(EXTENSIBLE, 16, SAMPLES.tobytes(), extra=extra), 8000) == SAMPLES.tobytes()


def test_channels_are_mixed_and_rates_changed() -> None:
    body = stereo(bytes(16000 * 2), bytes(16000 * 2))
    assert len(read_wav(foreign(PCM, 16, body, channels=2, rate=16000), 8000)) == 8000 * 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no WAV file"),
        (b"ID3 something that is music", "no WAV file"),
        (foreign(0x55, 16, b""), "convert it to 16-bit PCM"),
        (wav_bytes(b"", 8000)[:36], "no data"),
        (wav_bytes(b"", 8000)[:30], "takes 10 bytes"),
    ],
)
def test_what_cannot_be_read_is_explained(data: bytes, says: str) -> None:
    with pytest.raises(WavError, match=says):
        read_wav(data, 8000)


@given(st.binary(max_size=200))
def test_damaged_files_raise_nothing_but_their_own_error(noise: bytes) -> None:
    for data in (noise, foreign(PCM, 24, noise, channels=2), foreign(FLOAT, 32, noise), b"RIFF\0\0\0\0WAVE" + noise):
        try:
            read_wav(data, 8000)
        except WavError:
            continue
