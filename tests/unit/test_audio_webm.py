"""Packets out of WebM and Ogg as they stream in: cut anywhere, and whatever else comes."""

from __future__ import annotations

import io
from collections.abc import Sequence

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.gaps import LONGEST_GAP_MS
from audio.ogg import OggError, OggReader
from audio.opus_toc import OpusPacket
from audio.webm import LARGEST_READ, OpusTrack, WebmError, WebmReader
from clients import opus
from clients.webm import OggWriter, WebmWriter, chunks
from tests.support.sound import sweep

PACKETS = opus.encode(sweep(900, 48000), 48000, packet_ms=60)
SHORT = opus.encode(sweep(200, 48000), 48000)


def webm(packets: Sequence[bytes] = PACKETS, *, packet_ms: int = 60, begins_ms: int = 0) -> bytes:
    writer = WebmWriter()
    blocks = (writer.block(packet, begins_ms + number * packet_ms) for number, packet in enumerate(packets))
    return writer.header() + b"".join(blocks)


def ogg(packets: Sequence[bytes] = SHORT, *, a_page: int = 3) -> bytes:
    writer = OggWriter()
    pages = [packets[at : at + a_page] for at in range(0, len(packets), a_page)]
    return writer.header() + b"".join(writer.page(page, 20 * len(page)) for page in pages)


WEBM, OGG = webm(), ogg()


def by_pyav(container: str, codec: str = "libopus", rate: int = 48000) -> bytes:
    """The same sound, written by somebody else."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as made:
        stream = made.add_stream(codec, rate=rate)
        stream.codec_context.layout = "mono"
        wanted = stream.codec_context.format.name if stream.codec_context.format else "s16"
        resampler = av.AudioResampler(format=wanted, layout="mono", rate=rate, frame_size=960)
        frame = av.AudioFrame(format="s16", layout="mono", samples=48000)
        frame.planes[0].update(sweep(1000, 48000).ljust(frame.planes[0].buffer_size, b"\x00"))
        frame.sample_rate = 48000
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            made.mux(stream.encode(part))
        made.mux(stream.encode(None))
    return file.getvalue()


def test_a_recording_gives_its_packets_with_their_time() -> None:
    reader = WebmReader()
    assert reader.feed(webm()) == [OpusPacket(60 * number, packet) for number, packet in enumerate(PACKETS)]
    assert reader.track == OpusTrack(1, 48000, 1)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=8))
def test_chunks_may_be_cut_at_any_byte(sizes: list[int]) -> None:
    reader, pages = WebmReader(), OggReader()
    assert [p.payload for chunk in chunks(WEBM, sizes) for p in reader.feed(chunk)] == PACKETS
    assert [p.payload for chunk in chunks(OGG, sizes) for p in pages.feed(chunk)] == SHORT


@pytest.mark.parametrize(("container", "reader"), [("webm", WebmReader()), ("ogg", OggReader())])
def test_what_others_write_is_read_as_they_read_it(container: str, reader: WebmReader | OggReader) -> None:
    data = by_pyav(container)
    with av.open(io.BytesIO(data)) as opened:
        expected = [bytes(packet) for packet in opened.demux(audio=0) if packet.size]
    assert [packet.payload for chunk in chunks(data, [100]) for packet in reader.feed(chunk)] == expected


@pytest.mark.parametrize(("container", "data"), [("webm", webm()), ("ogg", ogg(PACKETS, a_page=1))])
def test_what_our_clients_write_others_read(container: str, data: bytes) -> None:
    with av.open(io.BytesIO(data), format=container) as opened:
        assert [bytes(packet) for packet in opened.demux(audio=0) if packet.size] == PACKETS


def test_a_trembling_clock_makes_no_gaps_and_a_real_gap_stays_one() -> None:
    writer, reader = WebmWriter(), WebmReader()
    times = [0, 63, 117, 188, 1240, 1300]
    data = writer.header() + b"".join(writer.block(p, ms) for p, ms in zip(PACKETS, times, strict=False))
    assert [packet.ms for packet in reader.feed(data)] == [0, 60, 120, 180, 1240, 1300]


def test_a_clock_set_back_or_far_ahead_is_not_followed() -> None:
    writer, reader = WebmWriter(), WebmReader()
    times = [5000, 5060, 0, 60, 9_000_000, 9_000_060]
    blocks = []
    for packet, ms in zip(PACKETS, times, strict=False):
        writer._cluster_ms = None
        blocks.append(writer.block(packet, ms))
    assert [p.ms for p in reader.feed(writer.header() + b"".join(blocks))] == [0, 60, 120, 180, 240, 300]


def test_a_gap_is_ten_seconds_of_silence_at_most() -> None:
    writer, reader = WebmWriter(), WebmReader()
    data = writer.header() + b"".join(writer.block(PACKETS[0], ms) for ms in (0, 300_000, 300_060))
    assert [packet.ms for packet in reader.feed(data)] == [0, 60 + LONGEST_GAP_MS, 120 + LONGEST_GAP_MS]


def test_a_second_recording_goes_on_where_the_first_ended() -> None:
    reader = WebmReader()
    first, second = reader.feed(webm()), reader.feed(webm(begins_ms=7000))
    assert second[0].ms == first[-1].ms + 60


def test_blocks_in_groups_other_tracks_and_fillings_are_understood() -> None:
    writer, reader = WebmWriter(), WebmReader()
    block = writer.block(PACKETS[0], 0)
    begins = block.index(b"\xa3")
    body = block[begins + 3 :] if block[begins + 1] & 0x40 else block[begins + 2 :]
    size = (len(body) | 0x4000).to_bytes(2, "big")
    grouped = b"\xa0" + (len(body) + 3 | 0x4000).to_bytes(2, "big") + b"\xa1" + size + body
    other = b"\xa3\x85\x82\x00\x00\x80\x99"  # a block of track 2
    void = b"\xec\x84abcd"
    packets = reader.feed(writer.header() + void + block[:begins] + other + void + grouped)
    assert [packet.payload for packet in packets] == [PACKETS[0]]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"RIFF....WAVE", "1a 45 df a3"),
        (webm()[200:], "begins with"),
        (by_pyav("matroska", "libmp3lame"), "A_MPEG"),
        (WebmWriter().header() + b"\xa3\x01\x00\x00\x00\x00\x01\x00\x01", f"{LARGEST_READ + 1} bytes"),
        (WebmWriter().header() + b"\xa3\x87\x81\x00\x00\x82abc", "lace"),
        (WebmWriter().header() + b"\xa3\xff", "no size"),
        (WebmWriter().header() + b"\x00\x00", "no WebM element"),
        (b"\x1a\x45\xdf\xa3\x80\xa3\x85\x81\x00\x00\x80\x99", "which codec"),
    ],
    ids=range(8),
)
def test_what_is_no_webm_says_what_was_seen_and_the_next_header_begins_anew(data: bytes, why: str) -> None:
    reader = WebmReader()
    with pytest.raises(WebmError, match=why):
        reader.feed(data)
    assert [packet.payload for packet in reader.feed(webm())] == PACKETS


def test_blocks_that_hold_no_opus_are_skipped() -> None:
    reader = WebmReader()
    assert [p.payload for p in reader.feed(webm([b"", PACKETS[0], b"\xff"]))] == [PACKETS[0]]
    assert reader.skipped == 2


def _held(reader: WebmReader | OggReader) -> int:
    return len(reader._carry)


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=300), st.sampled_from([WEBM[:90], WEBM[90:400], WEBM]))))
def test_whatever_streams_in_as_webm_is_packets_or_an_error(pieces: list[bytes]) -> None:
    reader, ms = WebmReader(), -1
    for piece in pieces:
        try:
            for packet in reader.feed(piece):
                assert packet.ms > ms
                ms = packet.ms
        except WebmError:
            pass
        assert _held(reader) <= LARGEST_READ + 12


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WEBM) - 1), st.binary(min_size=1, max_size=12), st.integers(1, 400))
def test_a_damaged_recording_never_breaks_the_reader(at: int, damage: bytes, size: int) -> None:
    data, paged = WEBM, OGG
    reader, pages = WebmReader(), OggReader()
    for chunk in chunks(data[:at] + damage + data[at + len(damage) :], [size]):
        try:
            reader.feed(chunk)
        except WebmError:
            break
    at %= len(paged)
    found: list[OpusPacket] = []
    for chunk in chunks(paged[:at] + damage + paged[at + len(damage) :], [size]):
        try:
            found += pages.feed(chunk)
        except OggError:
            continue
    assert {packet.payload for packet in found} <= set(SHORT), "a checksum is a promise"


# Ogg


def test_pages_give_their_packets_with_their_time() -> None:
    assert OggReader().feed(ogg()) == [OpusPacket(20 * number, packet) for number, packet in enumerate(SHORT)]


def test_a_packet_may_go_on_over_pages() -> None:
    writer = OggWriter()
    long = b"\x4b\x41" + b"\xff\xff\x64" + bytes(20) + bytes(254 * 2 + 100)  # 20 ms with a lot of padding
    page, rest = long[:510], long[510:]
    first = writer.header()
    begun = _page(writer, page, [255, 255], 0)
    ended = _page(writer, rest, [len(rest)], 1)
    reader = OggReader()
    assert reader.feed(first + begun) == []
    assert [packet.payload for packet in reader.feed(ended)] == [long]
    alone = OggReader()
    lost = alone.feed(first + _page(OggWriter(), rest, [len(rest)], 1) + ogg()[len(first) :])
    assert long not in {packet.payload for packet in lost}, "its beginning never came"


def _page(writer: OggWriter, body: bytes, lacing: list[int], kind: int) -> bytes:
    """A page whose lacing is not what a writer would choose."""
    from audio.ogg import crc

    page = bytearray(writer._page([body[:200]], kind))
    page = page[:26] + bytes([len(lacing)]) + bytes(lacing) + body
    page[22:26] = bytes(4)
    page[22:26] = crc(bytes(page)).to_bytes(4, "little")
    return bytes(page)


def test_a_bad_page_costs_only_itself() -> None:
    data = ogg(a_page=1)
    begins = data.index(SHORT[4])
    broken = data[:begins] + b"\x00\x00" + data[begins + 2 :]
    reader = OggReader()
    assert [packet.payload for packet in reader.feed(broken)] == SHORT[:4] + SHORT[5:]
    assert reader.skipped == 1


@pytest.mark.parametrize(
    ("data", "why"), [(b"hello there", "begins with"), (OggWriter()._page([b"\x01vorbis"], 2), "no Opus in this Ogg")]
)
def test_what_is_no_ogg_with_opus_says_what_was_seen(data: bytes, why: str) -> None:
    with pytest.raises(OggError, match=why):
        OggReader().feed(data)


def test_pages_without_a_header_are_taken_too() -> None:
    writer = OggWriter()
    writer.header()
    assert [p.payload for p in OggReader().feed(writer.page(SHORT[:2], 40))] == SHORT[:2]
