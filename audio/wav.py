"""WAV containers: writing PCM, pairing two tracks, reading whatever a person's file holds."""

from __future__ import annotations

import audioop
import struct
from dataclasses import dataclass

import numpy as np

from audio.resample import resample

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 0x0001, 0x0003, 0x0006, 0x0007, 0xFFFE
HEADER_BYTES = 44
MAX_DATA_BYTES = 0xFFFFFFFF - HEADER_BYTES  # RIFF counts with 32 bits


class WavError(ValueError):
    """The bytes are no WAV file we can read; the message says why."""


@dataclass(frozen=True, slots=True)
class _Layout:
    code: int
    channels: int
    sample_rate: int
    sample_bytes: int


def header(data_bytes: int, sample_rate: int, channels: int = 1) -> bytes:
    """The 44 bytes before `data_bytes` of s16le PCM; a growing file rewrites them when it is closed."""
    frame = 2 * channels
    size = min(data_bytes, MAX_DATA_BYTES)
    form = struct.pack("<4sI4s", b"RIFF", size + HEADER_BYTES - 8, b"WAVE")
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, PCM, channels, sample_rate, sample_rate * frame, frame, 16)
    return form + fmt + struct.pack("<4sI", b"data", size)


def wav_bytes(pcm: bytes, sample_rate: int, channels: int = 1) -> bytes:
    """A whole WAV file of s16le PCM."""
    return header(len(pcm), sample_rate, channels) + pcm


def stereo(left: bytes, right: bytes) -> bytes:
    """Two mono s16le tracks interleaved; the shorter one is followed by silence."""
    length = max(len(left), len(right))
    length += length % 2
    tracks = [np.frombuffer(track.ljust(length, b"\x00"), "<i2") for track in (left, right)]
    return np.column_stack(tracks).tobytes()


def read_wav(data: bytes, sample_rate: int, *, longest_ms: int | None = None) -> bytes:
    """Any common WAV (8 to 32-bit PCM, float, mu-law, A-law, any channels) as mono s16le PCM at `sample_rate`.

    Raises WavError, also for more than `longest_ms`: a header may claim any rate, and thereby any length.
    """
    layout, body = _parse(data)
    ms = len(body) // (layout.sample_bytes * layout.channels) * 1000 // layout.sample_rate
    if longest_ms is not None and ms > longest_ms:
        raise WavError(f"the WAV file lasts {ms} ms: at most {longest_ms} are taken")
    pcm = _to_pcm16(layout, body)
    return resample(_to_mono(pcm, layout.channels), layout.sample_rate, sample_rate)


def _parse(data: bytes) -> tuple[_Layout, bytes]:
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError(f"this is no WAV file: it begins with {data[:12]!r}, expected RIFF....WAVE")
    layout: _Layout | None = None
    offset = 12
    while offset + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, offset)
        body = data[offset + 8 : offset + 8 + size]
        if name == b"fmt ":
            layout = _read_layout(body)
        if name == b"data":
            if layout is None:
                raise WavError("the WAV file has its data before its format: write it again with another program")
            return layout, body
        offset += 8 + size + size % 2  # chunks begin at even offsets
    raise WavError("the WAV file has no data: it was probably cut short")


def _read_layout(body: bytes) -> _Layout:
    if len(body) < 16:
        raise WavError(f"the WAV file's format takes {len(body)} bytes, at least 16 expected")
    code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if code == EXTENSIBLE and len(body) >= 26:
        (code,) = struct.unpack_from("<H", body, 24)
    known = {PCM: (8, 16, 24, 32), FLOAT: (32, 64), ALAW: (8,), MULAW: (8,)}
    if bits not in known.get(code, ()) or not channels or not rate:
        raise WavError(
            f"WAV format {code} ({bits} bits, {channels} channels, {rate} Hz) is unknown here: convert it to 16-bit PCM"
        )
    return _Layout(code, channels, rate, bits // 8)


def _to_pcm16(layout: _Layout, body: bytes) -> bytes:
    body = body[: len(body) - len(body) % (layout.sample_bytes * layout.channels)]
    if layout.code == MULAW:
        return audioop.ulaw2lin(body, 2)
    if layout.code == ALAW:
        return audioop.alaw2lin(body, 2)
    if layout.code == FLOAT:
        samples = np.nan_to_num(np.frombuffer(body, f"<f{layout.sample_bytes}")).clip(-1.0, 1.0)
        return bytes((samples * 32767).astype("<i2").tobytes())
    if layout.sample_bytes == 1:
        body = audioop.bias(body, 1, 128)  # 8-bit WAV is unsigned, all wider ones are signed
    return audioop.lin2lin(body, layout.sample_bytes, 2)


def _to_mono(pcm: bytes, channels: int) -> bytes:
    if channels == 1:
        return pcm
    return bytes(np.frombuffer(pcm, "<i2").reshape(-1, channels).mean(axis=1).astype("<i2").tobytes())
