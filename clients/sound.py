"""Converts between WAV files and the mu-law 8 kHz mono that a telephone line carries."""

import io
import wave
from pathlib import Path

SAMPLE_RATE = 8000
SAMPLES_PER_MS = 8
SILENCE = b"\xff"

# Peak above which a frame counts as sound: -42 dBFS; a line's comfort noise and a vocoder's tail stay below.
AUDIBLE_PEAK = 256


class SoundFileError(ValueError):
    """A sound file that cannot be played down a line: the file is at fault, never the call."""


def _magnitudes() -> bytes:
    """For each mu-law byte 1 if its sample is audible, else 0; so one translate() judges a whole frame."""
    audible = bytearray(256)
    for code in range(256):
        inverted = ~code & 0xFF
        magnitude = ((((inverted & 0x0F) << 3) + 0x84) << ((inverted >> 4) & 0x07)) - 0x84
        audible[code] = 1 if magnitude >= AUDIBLE_PEAK else 0
    return bytes(audible)


_AUDIBLE = _magnitudes()


def is_audible(mulaw: bytes) -> bool:
    """Whether any sample of this mu-law audio is loud enough for an ear."""
    return 1 in mulaw.translate(_AUDIBLE)


def duration_ms(mulaw: bytes) -> int:
    return len(mulaw) // SAMPLES_PER_MS


def read_wav(path: Path) -> bytes:
    """A PCM WAV file of any rate, width and number of channels, as mu-law 8 kHz mono."""
    try:
        return wav_to_mulaw(path.read_bytes())
    except OSError as error:
        raise SoundFileError(f"cannot read {path}: {error.strerror}; give the path of a WAV file") from error
    except SoundFileError as error:
        raise SoundFileError(f"{path}: {error}") from error


def wav_to_mulaw(data: bytes) -> bytes:
    """A PCM WAV document as mu-law 8 kHz mono; of one cut short what is there. Raises SoundFileError."""
    import audioop

    try:
        with wave.open(io.BytesIO(data)) as file:
            rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
            pcm = file.readframes(file.getnframes())
        return _mulaw(pcm[: len(pcm) // (width * channels) * (width * channels)], rate, width, channels)
    except (wave.Error, EOFError, RuntimeError, audioop.error, OverflowError) as error:
        if b"RIFF".startswith(data[:4]) and b"data" not in data:
            raise SoundFileError("the file is cut short: it ends before its sound begins") from error
        raise SoundFileError(f"not a PCM WAV file ({error}); convert it to 16 bit PCM first") from error


def _mulaw(pcm: bytes, rate: int, width: int, channels: int) -> bytes:
    """Whole frames of interleaved samples, width bytes each, as mu-law 8 kHz mono."""
    import audioop

    if channels > 2:
        pcm, channels = _first_channel(pcm, width, channels), 1
    if width == 1:  # WAV's 8 bit samples are unsigned, audioop's are signed
        pcm = audioop.bias(pcm, 1, -128)
    if channels == 2:
        pcm = audioop.tomono(pcm, width, 0.5, 0.5)
    if width != 2:
        pcm = audioop.lin2lin(pcm, width, 2)
    if rate != SAMPLE_RATE:
        pcm, _ = audioop.ratecv(pcm, 2, 1, rate, SAMPLE_RATE, None)
    return bytes(audioop.lin2ulaw(pcm, 2))


def mulaw_to_wav(*channels: bytes) -> bytes:
    """A 16 bit 8 kHz WAV document of one or two mu-law channels; the shorter is filled with silence."""
    import audioop

    longest = max(len(channel) for channel in channels)
    pcm = [audioop.ulaw2lin(channel.ljust(longest, SILENCE), 2) for channel in channels]
    if len(pcm) == 2:
        joined = audioop.add(audioop.tostereo(pcm[0], 2, 1, 0), audioop.tostereo(pcm[1], 2, 0, 1), 2)
    else:
        joined = pcm[0]
    document = io.BytesIO()
    with wave.open(document, "wb") as file:
        file.setnchannels(len(pcm))
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(joined)
    return document.getvalue()


def _first_channel(pcm: bytes, width: int, channels: int) -> bytes:
    stride = width * channels
    return b"".join(pcm[at : at + width] for at in range(0, len(pcm), stride))
