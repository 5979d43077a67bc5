"""One stream's payloads, in the format it declared, to the PCM that voice detectors and recognisers take."""

from __future__ import annotations

from typing import Protocol

from audio import mulaw
from audio.formats import AudioFormat
from audio.lowdelay import LowDelayResampler
from audio.opus import PRIMING_MS, OpusDecoder
from audio.pyav import CodecMissingError


class DecodingError(ValueError):
    """A payload is not what its stream declared, or nothing here decodes that; the message says which."""


class Decoder(Protocol):
    """Payloads in order. What comes out is mono s16le PCM, and as long as the payload lasts."""

    priming_ms: int  # how much of what came before a decoder must hear to sound right

    def decode(self, payload: bytes) -> bytes:
        """Raises DecodingError; the next payload is welcome all the same."""


def heard_rate(declared: AudioFormat) -> int:
    """The rate a stream is listened to at: the telephone's own, or what recognisers are trained on."""
    return 8000 if declared.encoding != "opus" and declared.sample_rate <= 8000 else 16000


def decoder_of(declared: AudioFormat, sample_rate: int) -> Decoder:
    """For payloads as `schema.media` has them. Raises DecodingError for what cannot be decoded here at all."""
    try:
        if declared.encoding == "opus":
            return _Packets(sample_rate)
        if declared.encoding in ("mulaw", "pcm16"):
            return _Samples(declared, sample_rate)
    except (CodecMissingError, ValueError) as error:
        raise DecodingError(str(error)) from error
    raise DecodingError(f"nothing here decodes {declared.encoding}: mulaw, pcm16 and opus are known")


class _Samples:
    priming_ms = 0

    def __init__(self, declared: AudioFormat, sample_rate: int) -> None:
        self._is_mulaw = declared.encoding == "mulaw"
        self._resampler = LowDelayResampler(declared.sample_rate, sample_rate, declared.channels)

    def decode(self, payload: bytes) -> bytes:
        return self._resampler.feed(mulaw.decode(payload) if self._is_mulaw else payload)


class _Packets:
    priming_ms = PRIMING_MS

    def __init__(self, sample_rate: int) -> None:
        self._opus = OpusDecoder(sample_rate)

    def decode(self, payload: bytes) -> bytes:
        try:
            return self._opus.decode(payload)
        except ValueError as error:
            raise DecodingError(str(error)) from error


class PatientDecoder:
    """A stream's decoder that makes nothing of what it cannot decode, and counts."""

    def __init__(self, declared: AudioFormat, sample_rate: int) -> None:
        self.failed = 0  # payloads in a row
        self.error = ""  # what was wrong with the last of them
        self._decoder: Decoder | None = None
        try:
            self._decoder = decoder_of(declared, sample_rate)
        except DecodingError as error:
            self.error = str(error)

    @property
    def priming_ms(self) -> int:
        return self._decoder.priming_ms if self._decoder is not None else 0

    def decode(self, payload: bytes) -> bytes:
        """Mono s16le PCM as long as the payload lasts, or nothing."""
        if self._decoder is None:
            self.failed += 1
            return b""
        try:
            pcm = self._decoder.decode(payload)
        except DecodingError as error:
            self.failed, self.error = self.failed + 1, str(error)
            return b""
        self.failed = 0
        return pcm
