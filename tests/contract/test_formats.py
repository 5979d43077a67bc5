"""What every format a stream can declare promises: speech goes through it, no millisecond more or less."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.decoding import DecodingError, PatientDecoder, decoder_of, heard_rate
from audio.encoding import EncodingError, Piece, Spoken, sentence_encoder
from audio.formats import AudioFormat
from audio.opus_toc import packet_ms
from tests.support.sound import likeness, sweep

MS = 600
FORMATS = [
    Spoken(AudioFormat("mulaw", 8000)),
    Spoken(AudioFormat("pcm16", 8000)),
    Spoken(AudioFormat("pcm16", 16000)),
    Spoken(AudioFormat("pcm16", 24000)),
    Spoken(AudioFormat("pcm16", 24000, 2)),
    Spoken(AudioFormat("pcm16", 44100)),
    Spoken(AudioFormat("pcm16", 48000)),
    Spoken(AudioFormat("opus", 8000)),
    Spoken(AudioFormat("opus", 16000)),
    Spoken(AudioFormat("opus", 16000), packet_ms=60),
    Spoken(AudioFormat("opus", 16000), packet_ms=60, bitrate=12_000, against_loss=True),
    Spoken(AudioFormat("opus", 48000), packet_ms=40),
]
every_format = pytest.mark.parametrize("spoken", FORMATS, ids=lambda s: f"{s.format.encoding}-{s.format.sample_rate}")


def pieces(spoken: Spoken, *, ms: int = MS, from_ms: int = 0, cut: int = 1234) -> tuple[list[Piece], int]:
    """A sentence, fed in pieces of `cut` samples; and its length."""
    pcm = sweep(ms, spoken.format.sample_rate)
    encoder = sentence_encoder(spoken, from_ms)
    found: list[Piece] = []
    for at in range(0, len(pcm), cut * 2):
        found += encoder.feed(pcm[at : at + cut * 2])
    found += encoder.finish()
    return found, encoder.duration_ms


def length_ms(spoken: Spoken, piece: Piece) -> float:
    if spoken.format.encoding == "opus":
        return packet_ms(piece.payload) if piece.payload else 0
    return len(piece.payload) * 1000 / spoken.format.bytes_of(1000)


@every_format
def test_speech_goes_through_it(spoken: Spoken) -> None:
    found, duration_ms = pieces(spoken)
    assert duration_ms == MS
    rate = heard_rate(spoken.format)
    decoder = decoder_of(spoken.format, rate)
    heard = [decoder.decode(piece.payload) for piece in found]
    assert sum(map(len, heard)) == MS * rate // 1000 * 2
    alike, late_ms = likeness(sweep(MS, rate), b"".join(heard), rate)
    assert alike > (0.9 if spoken.format.encoding == "opus" else 0.98)
    assert late_ms < 8, "6.5 ms are Opus's own"


@every_format
def test_pieces_follow_each_other_and_only_the_last_says_so(spoken: Spoken) -> None:
    found, duration_ms = pieces(spoken)
    at = 0.0
    for piece in found:
        assert piece.offset_ms == int(at)
        at += length_ms(spoken, piece)
    assert at == duration_ms
    assert [piece.last for piece in found] == [False] * (len(found) - 1) + [True]


@every_format
@settings(max_examples=12, deadline=None)
@given(from_ms=st.integers(0, MS + 100), cut=st.integers(1, 5000))
def test_a_sentence_goes_on_with_the_very_same_pieces(spoken: Spoken, from_ms: int, cut: int) -> None:
    whole, duration_ms = pieces(spoken)
    rest, again_ms = pieces(spoken, from_ms=from_ms, cut=max(cut, 100))
    assert again_ms == duration_ms
    # A millisecond of 44.1 kHz is no whole number of samples.
    raw = 2 if spoken.format.sample_rate == 44100 else 1
    step = spoken.packet_ms or (20 if spoken.format.encoding == "opus" else raw)
    assert from_ms >= duration_ms or from_ms - step < rest[0].offset_ms <= from_ms
    if spoken.format.encoding == "opus":
        sent = [piece for piece in whole if piece.offset_ms >= from_ms // step * step]
        assert [p.payload for p in rest] == [p.payload for p in sent or [Piece(0, b"")]]
    else:
        everything = b"".join(piece.payload for piece in whole)
        assert b"".join(piece.payload for piece in rest) == everything[spoken.format.bytes_of(from_ms) :]
    assert [piece.last for piece in rest] == [False] * (len(rest) - 1) + [True]


def test_an_unfinished_packet_is_made_whole() -> None:
    found, duration_ms = pieces(Spoken(AudioFormat("opus", 16000), packet_ms=60), ms=130)
    assert (len(found), duration_ms) == (3, 180)


def test_a_sentence_without_sound_still_says_that_it_is_over() -> None:
    for spoken in FORMATS:
        encoder = sentence_encoder(spoken)
        assert list(encoder.finish()) == [Piece(0, b"", last=True)]
        assert encoder.duration_ms == 0


@pytest.mark.parametrize(
    "spoken",
    [Spoken(AudioFormat("speex", 8000)), Spoken(AudioFormat("opus", 44100)), Spoken(AudioFormat("pcm16", 8000, 6))],
)
def test_what_cannot_be_said_is_an_error_that_says_so(spoken: Spoken) -> None:
    with pytest.raises(EncodingError):
        sentence_encoder(spoken)


@pytest.mark.parametrize("declared", [AudioFormat("speex", 8000), AudioFormat("pcm16", 8000, 6)])
def test_what_cannot_be_heard_is_an_error_that_says_so(declared: AudioFormat) -> None:
    with pytest.raises(DecodingError):
        decoder_of(declared, 16000)
    patient = PatientDecoder(declared, 16000)
    assert patient.decode(b"abc") == b"" and patient.failed == 1 and patient.error


def test_stereo_that_comes_in_is_heard_as_one_channel() -> None:
    decoder = decoder_of(AudioFormat("pcm16", 44100, 2), 16000)
    assert sum(len(decoder.decode(bytes(441 * 4))) for _ in range(100)) == 16000 * 2


def test_a_patient_decoder_counts_what_it_could_not_decode() -> None:
    decoder = PatientDecoder(AudioFormat("opus", 16000), 16000)
    packet = pieces(Spoken(AudioFormat("opus", 16000)))[0][0].payload
    assert [len(decoder.decode(payload)) for payload in (b"\xff", b"", packet, b"\xff")] == [0, 0, 640, 0]
    assert decoder.failed == 1


@pytest.mark.parametrize(
    ("declared", "rate"),
    [
        (AudioFormat("mulaw", 8000), 8000),
        (AudioFormat("pcm16", 8000), 8000),
        (AudioFormat("pcm16", 24000), 16000),
        (AudioFormat("opus", 8000), 16000),
        (AudioFormat("opus", 48000), 16000),
    ],
)
def test_streams_are_listened_to_at_rates_that_recognisers_take(declared: AudioFormat, rate: int) -> None:
    assert heard_rate(declared) == rate
