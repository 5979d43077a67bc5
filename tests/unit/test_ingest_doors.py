"""The doors' pure parts: the dialect survives anything, tokens admit once, playback never repeats itself."""

from __future__ import annotations

import base64
import itertools
import json
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from audio.gaps import LONGEST_GAP_MS, MOST_MS, SILENCE_A_SOUND
from clients.strict import Violation as Broken
from clients.strict import judge
from ingest.admission import Claim, Refused, Signatures, StreamTokens, client_address
from ingest.config import Pace, TwilioSecrets
from ingest.dialects.base import Began, Frame, Repeated, Violation
from ingest.dialects.twilio import TwilioDialect
from ingest.measure import TELEPHONE
from ingest.playing import Act, Clear, Cleared, Marked, Playlist, Started, Write
from ingest.tally import Tally, registry_of
from schema.outbox import OutboxAudio
from schema.turn import ReplyInterrupted, ReplyResumed

DOCS = Path(__file__).parents[2] / "docs" / "operating" / "metrics.md"
START = {
    "event": "start",
    "sequenceNumber": "1",
    "streamSid": "MZ1",
    "start": {"accountSid": "AC1", "callSid": "CA1", "streamSid": "MZ1"},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
events = st.sampled_from(["connected", "start", "media", "dtmf", "mark", "stop", "what"])
bodies = st.fixed_dictionaries(
    {"payload": json_values, "chunk": json_values, "timestamp": json_values, "digit": json_values, "name": json_values}
)
messages = st.builds(
    lambda event, body, number: json.dumps({"event": event, event: body, "sequenceNumber": number, "streamSid": "MZ1"}),
    events,
    bodies | json_values,
    json_values,
)
frames = st.text() | st.binary() | messages | st.just(json.dumps(START)) | json_values.map(json.dumps)


@given(st.lists(frames, max_size=30), st.booleans())
def test_no_input_breaks_the_dialect(received: list[str | bytes], dev: bool) -> None:
    dialect = TwilioDialect(dev=dev)
    dialect.receive(json.dumps(START), 0)
    last_ms = 0
    for frame in received:
        for said in dialect.receive(frame, 0):
            if isinstance(said, Frame):
                assert said.ms >= last_ms
                assert said.lost >= 0
                last_ms = said.ms


@given(st.binary(min_size=1, max_size=400), st.text(max_size=30), st.text(st.characters(codec="utf-8"), max_size=20))
def test_everything_said_is_what_the_carrier_accepts(payload: bytes, mark: str, sid: str) -> None:
    dialect = TwilioDialect(dev=True)
    mark = mark.encode("utf-8", "ignore").decode()
    dialect.receive(json.dumps({"event": "start", "streamSid": sid, "start": {"streamSid": sid}}), 0)
    for frame in (dialect.audio(payload), dialect.mark(mark), dialect.clear()):
        assert not isinstance(judge(frame, sid), Broken)


def test_a_leap_of_the_counters_does_not_silence_the_caller() -> None:
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)

    def media(chunk: int, ms: int) -> object:
        body = {"payload": "//8=", "chunk": str(chunk), "timestamp": ms, "track": "inbound_track"}
        text = json.dumps({"event": "media", "streamSid": "MZ1", "sequenceNumber": chunk + 1, "media": body})
        return dialect.receive(text, 0)[0]

    assert media(1, 100) == Frame(b"\xff\xff", 100)
    assert isinstance(media(9_999_999, 1 << 60), Frame)
    assert media(4, 160) == Frame(b"\xff\xff", 160, lost=2)
    assert media(4, 160) == Repeated()


def _timed(dialect: TwilioDialect, chunk: int, timestamp: int, ms: int = 20) -> int:
    payload = base64.b64encode(bytes(8 * ms)).decode()
    body = {"payload": payload, "chunk": chunk, "timestamp": timestamp, "track": "inbound"}
    said = dialect.receive(
        json.dumps({"event": "media", "streamSid": "MZ1", "sequenceNumber": chunk, "media": body}), 0
    )
    assert isinstance(said[0], Frame)
    return said[0].ms


def test_a_gap_is_ten_seconds_of_silence_at_most() -> None:
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)
    times = [0, 20, 300_000, 300_020, 301_040]
    after = 40 + LONGEST_GAP_MS
    assert [_timed(dialect, n, ms) for n, ms in enumerate(times, 1)] == [0, 20, after, after + 20, after + 1_040]


def test_who_leaps_with_every_frame_is_believed_no_more_than_his_sound_allows() -> None:
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)
    last_ms = [_timed(dialect, n, n * 500_000) for n in range(1, 1_001)][-1]
    assert last_ms <= MOST_MS + 1_000 * 20 * (1 + SILENCE_A_SOUND)


def test_timestamps_that_were_wrong_once_do_not_silence_the_caller() -> None:
    """Audio that lies before what was heard is dropped by whoever hears."""
    dialect = TwilioDialect()
    dialect.receive(json.dumps(START), 0)
    heard = [_timed(dialect, n, ms) for n, ms in enumerate([0, 300_000, 40, 60], 1)]
    assert heard == [0, 20 + LONGEST_GAP_MS, 40 + LONGEST_GAP_MS, 60 + LONGEST_GAP_MS]


def test_an_incomplete_start_is_refused() -> None:
    said = TwilioDialect().receive('{"event":"start","streamSid":"MZ1","start":{"callSid":"CA1"}}', 0)
    assert isinstance(said[0], Violation)
    dev = TwilioDialect(dev=True).receive('{"event":"start","start":{}}', 0)
    assert isinstance(dev[0], Began)


def _tokens(at: list[int]) -> StreamTokens:
    nonces = itertools.count()
    return StreamTokens("secret", now=lambda: at[0], new_nonce=lambda: str(next(nonces)), valid_ms=60_000)


def test_a_token_admits_once_and_for_a_minute() -> None:
    at = [1_000]
    tokens = _tokens(at)
    issued = [tokens.issue(call_id="CA1", account="AC1", tenant_id="t", agent="a", user_id="u") for _ in range(2)]
    claim = tokens.spend(issued[0])
    assert isinstance(claim, Claim)
    assert (claim.call_id, claim.account, claim.tenant_id) == ("CA1", "AC1", "t")
    assert tokens.spend(issued[0]) == Refused("reused_token", "the stream token was used before")
    at[0] += 60_000
    assert isinstance(expired := tokens.spend(issued[1]), Refused)
    assert expired.kind == "expired_token"


@given(st.text(max_size=60))
def test_no_word_is_a_token_by_chance(text: str) -> None:
    assert isinstance(_tokens([0]).spend(text), Refused)


def test_the_handshakes_signature_is_the_carriers() -> None:
    signatures = Signatures(TwilioSecrets(auth_token="12345"), "https://example.com")
    assert signatures.handshake("/twilio/ws", {"X-Twilio-Signature": "xoZgYpcwfrqx4dXhq1dlNlCveB4="})
    assert not signatures.handshake("/twilio/other", {"X-Twilio-Signature": "xoZgYpcwfrqx4dXhq1dlNlCveB4="})
    assert not signatures.handshake("/twilio/ws", {})


def test_an_address_is_believed_only_from_a_trusted_proxy() -> None:
    from ipaddress import ip_network

    trusted = (ip_network("10.0.0.0/8"),)
    assert client_address("10.0.0.1", "6.6.6.6, 9.9.9.9", trusted) == "9.9.9.9"
    assert client_address("8.8.8.8", "9.9.9.9", trusted) == "8.8.8.8"


def test_every_metric_is_documented() -> None:
    served = {metric.name for metric in registry_of(Tally()).collect()}
    listed = {name.removesuffix("_total") for name in re.findall(r"^\| `(\w+)`", DOCS.read_text(), re.MULTILINE)}
    assert served <= listed  # the others are those of roles without a door (test_health)


def _audio(offset_ms: int, length_ms: int, *, take: int = 5, last: bool = False, reply: str = "r") -> OutboxAudio:
    return OutboxAudio(
        call_id="c",
        stream="s",
        reply=reply,
        sentence=0,
        sentence_id=f"{reply}-0",
        offset_ms=offset_ms,
        take=take,
        payload=b"\x01" * (length_ms * 8),
        last=last,
    )


def _writes(acts: list[Act]) -> list[tuple[int, int]]:
    return [(act.offset_ms, len(act.payload) // 8) for act in acts if isinstance(act, Write)]


def test_an_unfinished_take_goes_on_in_the_next_at_the_same_millisecond() -> None:
    playlist = Playlist(pace=Pace(), measure=TELEPHONE)
    playlist.audio(_audio(0, 300), 0)
    written = _writes(playlist.due(0))
    playlist.fact(9, ReplyResumed(id="x", call_id="c", reply="r", generation=2, after_index=0), 10)
    assert not playlist.audio(_audio(300, 100), 10)
    assert playlist.audio(_audio(0, 500, take=9, last=True), 10)
    written += _writes(playlist.due(200))
    assert [offset for offset, _ in written] == list(itertools.accumulate([0] + [n for _, n in written[:-1]]))
    assert sum(length for _, length in written) == 500


def test_a_cut_reply_says_what_was_heard_and_stays_silent_until_resumed() -> None:
    playlist = Playlist(pace=Pace(), measure=TELEPHONE)
    playlist.audio(_audio(0, 1_000, last=True), 0)
    acts = playlist.due(0)
    first = next(act for act in acts if isinstance(act, Write))
    assert playlist.echoed(first.mark, 60) == [Marked("r", 0, 60, last=False)]
    cut = ReplyInterrupted(id="i", call_id="c", reply="r")
    assert playlist.fact(9, cut, 300) == [Clear(), Cleared("r", 0, 300, estimated=True)]
    assert playlist.fact(9, cut, 300) is None
    assert not playlist.audio(_audio(300, 700, last=True, take=8), 310)
    second = [act for act in acts if isinstance(act, Write)][1]
    assert playlist.echoed(second.mark, 320) == []
    playlist.fact(12, ReplyResumed(id="x", call_id="c", reply="r", generation=2, after_index=0), 400)
    assert playlist.audio(_audio(300, 700, last=True, take=12), 410)
    assert any(isinstance(act, Started) and act.offset_ms == 300 for act in playlist.due(410))


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(4, 6), st.booleans(), st.integers(0, 400)),
        max_size=30,
    )
)
def test_no_millisecond_is_written_twice(steps: list[tuple[int, int, int, bool, int]]) -> None:
    pace = Pace()
    playlist = Playlist(pace=pace, measure=TELEPHONE)
    now, end = 0, -1
    for offset, length, take, last, wait in steps:
        playlist.audio(_audio(offset * 20, length * 20, take=take, last=last), now)
        for start_ms, length_ms in _writes(playlist.due(now)):
            assert start_ms >= end
            assert length_ms <= pace.chunk_ms + pace.least_ms
            end = start_ms + length_ms
        assert playlist.ahead_ms(now) <= pace.lead_ms + pace.chunk_ms + pace.least_ms
        now += wait
