"""A whole utterance in whatever container an app uploads it, as PCM; and PCM in what an app can play."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from audio import mulaw
from audio.formats import pcm16
from audio.ogg import OggError, OggReader
from audio.opus import OpusDecoder
from audio.opus_toc import OpusError, OpusPacket, packet_ms
from audio.pyav import pyav
from audio.resample import resample
from audio.wav import WavError, read_wav, wav_bytes
from audio.webm import FIRST_BYTES, WebmError, WebmReader

MP3_BITRATE = 48_000  # bits a second; speech is clear at it
MP3_RATES = (16000, 22050, 24000, 32000, 44100, 48000)  # lower ones some players refuse
TAKEN = "WAV, WebM or Ogg with Opus, MP3, or raw mu-law that says so"


class SoundError(ValueError):
    """The bytes are no sound that is taken here; the message says what was seen."""


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one utterance may be."""

    most_bytes: int = 10 * 1024 * 1024
    longest_ms: int = 60_000


def container_of(data: bytes) -> str:
    """wav, webm, ogg or mp3, by its first bytes; empty: none of them."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] == FIRST_BYTES:
        return "webm"
    if data[:4] == b"OggS":
        return "ogg"
    # An ID3 tag, or a frame's eleven set bits with a layer III behind them.
    is_frame = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2
    return "mp3" if data[:3] == b"ID3" or is_frame else ""


def read_sound(data: bytes, sample_rate: int, *, encoding: str = "", limits: UploadLimits | None = None) -> bytes:
    """The utterance as mono s16le PCM at `sample_rate`. `encoding` "mulaw" says that it is raw, at 8 kHz.

    Raises SoundError, CodecMissingError.
    """
    limits = limits or UploadLimits()
    if len(data) > limits.most_bytes:
        raise SoundError(f"{len(data)} bytes are too many: at most {limits.most_bytes} are taken")
    if encoding == "mulaw":
        if len(data) > pcm16(8000).bytes_of(limits.longest_ms) // 2:
            raise SoundError(f"{len(data) // 8} ms of mu-law are too long: at most {limits.longest_ms} are taken")
        return resample(mulaw.decode(data), 8000, sample_rate)
    container = container_of(data)
    if not container:
        raise SoundError(f"this begins with {data[:12]!r}: taken are {TAKEN}")
    pcm = _decode(data, container, sample_rate, limits.longest_ms)
    if not pcm:
        raise SoundError(f"there is no sound in this {container}")
    return pcm


def _decode(data: bytes, container: str, sample_rate: int, longest_ms: int) -> bytes:
    if container == "mp3":
        return _decode_mp3(data, sample_rate, longest_ms)
    try:
        if container == "wav":
            return read_wav(data, sample_rate, longest_ms=longest_ms)
        reader = WebmReader() if container == "webm" else OggReader()
        packets = reader.feed(data)
    except (WavError, WebmError, OggError) as error:
        raise SoundError(str(error)) from error
    return _decode_packets(packets, container, sample_rate, longest_ms)


def _decode_packets(packets: Sequence[OpusPacket], container: str, sample_rate: int, longest_ms: int) -> bytes:
    """By libopus: the other decoder that PyAV brings goes wrong where an encoder changes its mode."""
    if packets and packets[-1].ms + packet_ms(packets[-1].payload) > longest_ms:
        raise SoundError(f"this {container} is longer than {longest_ms} ms: no more is taken")
    wanted, decoder, pcm = pcm16(sample_rate), OpusDecoder(sample_rate), bytearray()
    for packet in packets:
        missing = wanted.bytes_of(packet.ms) - len(pcm)
        if missing > wanted.bytes_of(1):
            pcm += bytes(missing)  # a recorder that was paused
        with suppress(OpusError):
            pcm += decoder.decode(packet.payload)
    return bytes(pcm)


def _decode_mp3(data: bytes, sample_rate: int, longest_ms: int) -> bytes:
    av = pyav()
    most, pcm = pcm16(sample_rate).bytes_of(longest_ms), bytearray()
    try:
        # The demuxer is named: whatever else a library could be talked into opening stays shut.
        with av.open(io.BytesIO(data), format="mp3", metadata_errors="ignore") as opened:
            resampler = av.AudioResampler(format="s16", layout="mono", rate=sample_rate)
            for frame in opened.decode(audio=0):
                frame.pts = None  # sound counts its own time
                pcm += b"".join(map(_bytes_of, resampler.resample(frame)))
                if len(pcm) > most:
                    raise SoundError(f"this mp3 is longer than {longest_ms} ms: no more is taken")
            pcm += b"".join(map(_bytes_of, resampler.resample(None)))
    except (av.error.FFmpegError, IndexError) as error:
        raise SoundError(f"this mp3 cannot be decoded: {error}") from error
    return bytes(pcm)


def _bytes_of(frame: Any) -> bytes:
    return bytes(frame.planes[0])[: frame.samples * 2]


def encode_wav(pcm: bytes, sample_rate: int) -> bytes:
    """Mono s16le PCM as a WAV file."""
    return wav_bytes(pcm, sample_rate)


def encode_mp3(pcm: bytes, sample_rate: int) -> bytes:
    """Mono s16le PCM as an MP3 file; below 16 kHz it is sampled up. Raises CodecMissingError.

    The encoder begins with some silence of its own: 1,105 samples, which its header tells players to leave out.
    """
    rate = next((r for r in MP3_RATES if r >= sample_rate), MP3_RATES[-1])
    # Players refuse a file without a single frame.
    pcm = resample(pcm, sample_rate, rate).ljust(pcm16(rate).bytes_of(20), b"\x00")
    av = pyav()
    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as made:
        stream = made.add_stream("libmp3lame", rate=rate)
        stream.codec_context.layout = "mono"
        stream.codec_context.format = "s16p"
        stream.codec_context.bit_rate = MP3_BITRATE
        frame = av.AudioFrame(format="s16p", layout="mono", samples=len(pcm) // 2)
        frame.planes[0].update(pcm.ljust(frame.planes[0].buffer_size, b"\x00"))
        frame.sample_rate, frame.pts = rate, 0
        fifo = av.AudioFifo()
        fifo.write(frame)
        size = stream.codec_context.frame_size or len(pcm) // 2
        while (part := fifo.read(size, partial=True)) is not None:
            made.mux(stream.encode(part))
        made.mux(stream.encode(None))
    return file.getvalue()
