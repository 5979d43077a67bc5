"""WAV files of any shape become mu-law, and the ear tells speech from silence."""

import io
import wave
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.ear import Change, Ear
from clients.rawsocket import take_frames
from clients.sound import SoundFileError, is_audible, mulaw_to_wav, wav_to_mulaw

TONE = b"\x10\x90" * 80
SILENCE = b"\xff" * 160


def wav(rate: int, width: int, channels: int, frames: int) -> bytes:
    document = io.BytesIO()
    with wave.open(document, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", "not compressed"))
        quiet = b"\x80" if width == 1 else b"\0" * width
        file.writeframes(quiet * channels * frames)
    return document.getvalue()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_wav_becomes_mulaw_of_the_same_length(rate: int, width: int, channels: int) -> None:
    mulaw = wav_to_mulaw(wav(rate, width, channels, rate))
    assert abs(len(mulaw) - 8000) <= 1
    assert not is_audible(mulaw)


def test_what_is_no_wav_is_refused_with_advice() -> None:
    with pytest.raises(SoundFileError, match="16 bit PCM"):
        wav_to_mulaw(b"OggS")


def test_a_sound_cut_inside_a_frame_is_played_up_to_there() -> None:
    whole = wav(8000, 2, 2, 800)
    assert len(wav_to_mulaw(whole[:-3])) == 799


@pytest.mark.parametrize("left", [0, 7, 12, 30])
def test_a_file_that_ends_in_its_header_is_called_cut_short(left: int) -> None:
    with pytest.raises(SoundFileError, match="cut short"):
        wav_to_mulaw(wav(8000, 2, 1, 800)[:left])


@pytest.mark.parametrize(("at", "value"), [(24, 0), (24, 4_000_000_000), (34, 64)])
def test_a_rate_or_width_that_nobody_plays_is_the_files_fault(at: int, value: int) -> None:
    """`at`: where the header says the samples a second, or the bits of a sample."""
    size = 4 if at == 24 else 2
    broken = wav(8000, 2, 1, 800)
    broken = broken[:at] + value.to_bytes(size, "little") + broken[at + size :]
    with pytest.raises(SoundFileError, match="16 bit PCM"):
        wav_to_mulaw(broken)


@settings(deadline=None)
@given(st.integers(0, 43), st.integers(0, 255), st.integers(0, 80))
def test_a_damaged_file_is_played_or_refused(at: int, byte: int, left: int) -> None:
    document = bytearray(wav(16000, 2, 2, 10))
    document[at] = byte
    with suppress(SoundFileError):
        wav_to_mulaw(bytes(document[:left]))


def test_a_stereo_wav_keeps_both_ends_of_the_call() -> None:
    with wave.open(io.BytesIO(mulaw_to_wav(TONE, SILENCE * 2))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 8000, 320)


def test_an_agent_has_finished_when_the_buffer_stayed_empty() -> None:
    ear = Ear()
    assert ear.hear(SILENCE, until_ms=20, buffered=False) is None
    assert ear.hear(TONE, until_ms=40, buffered=True) is Change.STARTED
    assert [ear.hear(SILENCE, until_ms=60 + 20 * n, buffered=False) for n in range(34)] == [None] * 34
    assert ear.hear(SILENCE, until_ms=740, buffered=False) is Change.STOPPED
    assert [(span.started_ms, span.ended_ms) for span in ear.spans] == [(20, 40)]


def test_a_buffer_full_of_silence_is_silence_after_a_while() -> None:
    ear = Ear()
    ear.hear(TONE, until_ms=20, buffered=True)
    changes = [ear.hear(SILENCE, until_ms=40 + 20 * n, buffered=True) for n in range(100)]
    assert changes.index(Change.STOPPED) == 99


def test_a_clear_ends_what_the_agent_said() -> None:
    ear = Ear()
    ear.hear(TONE, until_ms=20, buffered=True)
    assert ear.clear() is Change.STOPPED
    assert ear.clear() is None
    assert ear.hear(TONE, until_ms=60, buffered=True) is Change.STARTED


def server_frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 1, 125, 126, 4000, 65535, 65536])), st.integers(40, 5000))
def test_frames_are_found_however_the_network_cuts_them(sizes: list[int], cut: int) -> None:
    payloads = [bytes((number % 256,)) * size for number, size in enumerate(sizes)]
    wire = b"".join(map(server_frame, payloads))
    buffer, found = bytearray(), []
    for at in range(0, len(wire), cut):
        buffer += wire[at : at + cut]
        found += take_frames(buffer)
    assert found == [(1, payload) for payload in payloads]
    assert not buffer
