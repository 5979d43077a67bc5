"""Push-to-talk without HTTP: what an upload becomes, when an answer is complete, what is kept for a key."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import WSMsgType
from hypothesis import given
from hypothesis import strategies as st

from audio.containers import SoundError, encode_mp3, encode_wav
from clients import opus
from ingest.dialects.base import Began, Frame, Released, Typed
from ingest.dialects.turns import DONE, MARK, RELEASED, TurnsDialect
from ingest.web.turns_kept import KEPT_MS, MOST, Kept
from ingest.web.turns_socket import TurnSocket
from ingest.web.turns_upload import LIMITS, utterance_of
from schema.registry import EVENTS
from tests.support.doors import Hands
from tests.support.sound import tone
from tests.support.transcripts import sound

BEGAN = Began(session="s1")


class TestAnUpload:
    def test_in_webm_stays_opus(self) -> None:
        utterance = utterance_of(sound("webm", 480), "video/webm")
        assert (utterance.encoding, utterance.sample_rate, utterance.length_ms) == ("opus", 48_000, 480)
        assert [frame.ms for frame in utterance.frames] == list(range(0, 480, 60))
        assert utterance.frames[0].payload in sound("webm", 480)

    def test_in_wav_becomes_samples(self) -> None:
        utterance = utterance_of(encode_wav(tone(250, 44_100), 44_100), "audio/wav")
        assert (utterance.encoding, utterance.sample_rate, utterance.length_ms) == ("pcm16", 16_000, 250)
        assert [(frame.ms, len(frame.payload)) for frame in utterance.frames] == [(0, 3200), (100, 3200), (200, 1600)]

    def test_in_mp3_is_decoded(self) -> None:
        utterance = utterance_of(encode_mp3(tone(500, 16_000), 16_000), "audio/mpeg")
        assert utterance.encoding == "pcm16" and 480 <= utterance.length_ms <= 650

    def test_of_raw_mulaw_says_so(self) -> None:
        assert utterance_of(bytes(1_600), "audio/basic").length_ms == 200
        with pytest.raises(SoundError, match="taken are"):
            utterance_of(bytes(1_600), "")

    def test_lasts_a_minute_at_most(self) -> None:
        minute = bytes(8 * LIMITS.longest_ms)
        assert utterance_of(minute, "audio/basic").length_ms == 60_000
        for data, kind in ((minute + bytes(8), "audio/basic"), (encode_wav(bytes(16 * 61_000), 8_000), "audio/wav")):
            with pytest.raises(SoundError, match="60000"):
                utterance_of(data, kind)

    def test_in_packets_lasts_a_minute_at_most(self) -> None:
        from clients.webm import WebmWriter

        packet, writer = opus.encode(tone(60, 48_000), 48_000, packet_ms=60)[0], WebmWriter()
        webm = writer.header() + b"".join(writer.block(packet, n * 60) for n in range(1_001))
        with pytest.raises(SoundError, match="too long"):
            utterance_of(webm, "audio/webm")

    @pytest.mark.parametrize("data", [b"", encode_wav(b"", 8_000), b"OggS", b"\x1aE\xdf\xa3", b"ID3", b"RIFF....WAVE"])
    def test_without_sound_is_none(self, data: bytes) -> None:
        for kind in ("", "audio/wav", "audio/basic"):
            with pytest.raises(SoundError):
                utterance_of(data, kind if data != b"OggS" else "")

    @given(
        st.sampled_from([b"", b"OggS\x00", b"\x1aE\xdf\xa3", b"ID3", b"\xff\xfb", sound("webm", 60)[:80]]),
        st.binary(max_size=600),
        st.sampled_from(["", "audio/wav", "audio/basic", "x/y"]),
    )
    def test_of_garbage_is_a_sound_or_says_that_it_is_none(self, head: bytes, rest: bytes, kind: str) -> None:
        with suppress(SoundError):
            assert utterance_of(head + rest, kind).frames


class Wire:
    """A dialect and what it said to the other end."""

    def __init__(self, length_ms: int = 0, *, is_opened: bool = True) -> None:
        self.dialect = TurnsDialect(BEGAN, (Typed("hello"),), length_ms=length_ms)
        self.said: list[Any] = []
        if is_opened:
            self.open()

    def open(self) -> None:
        self.fact("stream.opened", door="turns", mailbox=0)

    def fact(self, kind: str, **given_: Any) -> None:
        usual: dict[str, Any] = {
            "id": "e1", "call_id": "c1", "stream": "s1", "index": 0, "sentence": 0, "start_ms": 0, "end_ms": 0,
            "through_ms": 0, "sentences": 1, "why": "turn", "reason": "", "at_ms": 0, "voiced_ms": 0, "name": "x",
        }  # fmt: skip
        event = EVENTS[kind]
        fields = {name: value for name, value in {**usual, **given_}.items() if name in event.__struct_fields__}
        self.said += self.dialect.send(event(**fields))

    def speak(self, reply: str, payload: bytes) -> Any:
        self.fact("playback.started", reply=reply)
        self.dialect.audio(payload)
        return self.dialect.mark("m")

    def answer(self, reply: str, text: str, why: str = "turn") -> None:
        self.fact("reply.started", id=reply, why=why, agent="hero/job")
        self.fact("reply.sentence", reply=reply, text=text)
        self.fact("reply.composed", reply=reply)
        assert self.speak(reply, text.encode()) == f"{MARK}m"
        self.fact("reply.finished", reply=reply)


class TestAnAnswer:
    def test_is_that_to_the_turn_and_not_the_greeting(self) -> None:
        wire = Wire()
        wire.fact("reply.started", id="r0", why="greeting")
        wire.fact("reply.sentence", reply="r0", text="Hello.")
        assert wire.speak("r0", b"hello") is None  # nobody will say that it was heard
        wire.fact("turn.taken", utterances=("u1",), text="hello")
        wire.fact("reply.interrupted", reply="r0", why="barge_in")
        wire.fact("reply.finished", reply="r0", interrupted=True)
        assert DONE not in wire.said
        wire.answer("r1", "Good day.")
        reply = wire.dialect.reply
        assert (reply.transcript, reply.response, bytes(reply.audio)) == (["hello"], ["Good day."], b"Good day.")
        assert reply.agent == "hero/job"
        assert wire.said == [DONE]

    def test_is_none_to_what_was_asked_before(self) -> None:
        wire = Wire(is_opened=False)
        wire.fact("turn.taken", utterances=("u0",), text="earlier")
        wire.fact("tool.called", id="t0", reply="r0")
        wire.fact("reply.started", id="r0", why="turn")
        wire.fact("reply.sentence", reply="r0", text="An earlier answer.")
        wire.fact("reply.finished", reply="r0")
        wire.fact("agent.changed", agent="hero/job")
        wire.fact("engine.changed", port="tts", name="x", state="none")
        wire.open()
        assert wire.said == []
        wire.fact("turn.taken", utterances=("u1",), text="hello")
        wire.answer("r1", "Good day.")
        reply = wire.dialect.reply
        assert (reply.transcript, reply.response, reply.unavailable) == (["hello"], ["Good day."], "")
        assert wire.said == [DONE]

    def test_of_a_call_that_was_over_before_is_its_end(self) -> None:
        wire = Wire(is_opened=False)
        wire.fact("call.ended", reason="agent_goodbye")
        assert (wire.said, wire.dialect.reply.ended) == ([DONE], "agent_goodbye")

    def test_waits_for_what_tools_return(self) -> None:
        wire = Wire()
        wire.fact("turn.taken", utterances=("u1",), text="a note")
        wire.fact("reply.started", id="r1")
        wire.fact("tool.called", id="t1", reply="r1")
        wire.fact("reply.finished", reply="r1")
        assert wire.said == []
        wire.fact("tool.returned", call="t1", status="ok")
        assert wire.said == []
        wire.answer("r2", "Done.", why="tool")
        assert wire.said == [DONE]

    def test_waits_for_whom_the_call_was_handed_to(self) -> None:
        wire = Wire()
        wire.fact("turn.taken", utterances=("u1",), text="a roof")
        wire.fact("reply.started", id="r1")
        wire.fact("agent.changed", agent="hero/estimate")
        wire.fact("reply.finished", reply="r1")
        assert wire.said == []
        wire.answer("r2", "What is the address?", why="handover")
        assert wire.said == [DONE]

    def test_of_words_in_two_pieces_answers_both(self) -> None:
        wire = Wire(length_ms=5_000)
        wire.fact("transcript.settled", id="u1", text="first", end_ms=1_500)
        wire.fact("turn.taken", utterances=("u1",), text="first")
        wire.fact("reply.started", id="r1")
        wire.fact("speech.started")
        wire.fact("reply.finished", reply="r1", interrupted=True)
        assert wire.said == []
        wire.fact("transcript.settled", id="u2", text="second", end_ms=4_800)
        assert wire.said == [RELEASED]  # those were the last words there are
        wire.fact("turn.taken", utterances=("u2",), text="second")
        wire.answer("r2", "Both.")
        assert wire.dialect.reply.transcript == ["first", "second"]
        assert wire.said == [RELEASED, DONE]

    def test_ends_with_the_call(self) -> None:
        wire = Wire()
        wire.fact("call.ended", reason="agent_goodbye")
        assert (wire.said, wire.dialect.reply.ended) == ([DONE], "agent_goodbye")

    def test_of_a_strangers_call_is_a_problem(self) -> None:
        wire = Wire()
        wire.fact("call.ended", reason="forbidden")
        wire.dialect.problem("FORBIDDEN", "the call is another user's")
        assert (wire.said, wire.dialect.reply.ended) == ([], "")
        assert wire.dialect.trouble == ("FORBIDDEN", "the call is another user's")


def test_a_turn_goes_in_whole() -> None:
    frames = (Frame(b"a", 0), Frame(b"b", 20))
    assert TurnsDialect(BEGAN, frames, length_ms=40).greet() == (BEGAN, *frames, Released())


@given(st.text() | st.binary())
def test_the_other_end_says_nothing_that_breaks_it(frame: str | bytes) -> None:
    assert isinstance(TurnsDialect(BEGAN, (), length_ms=0).receive(frame, 0), tuple)


async def test_what_is_said_to_the_other_end_comes_back_before_it_leaves() -> None:
    socket = TurnSocket()
    for frame in (f"{MARK}a", "", f"{MARK}b", DONE):
        await socket.send_str(frame)
    assert socket.done.is_set()
    socket.leave()
    assert (await socket.receive()).data == f"{MARK}a\n{MARK}b"
    assert (await socket.receive()).type is WSMsgType.CLOSE


class TestAKey:
    async def test_is_one_request_of_one_user_for_some_minutes(self) -> None:
        hands = Hands()
        kept = Kept(hands)
        first, is_first = kept.claim("acme", "u1", "k", b"body")
        again, is_second = kept.claim("acme", "u1", "k", b"body")
        assert (is_first, is_second, again) == (True, False, first)
        assert kept.claim("acme", "u2", "k", b"body")[1]
        assert kept.claim("rival", "u1", "k", b"body")[1]
        first.answer.set_result(b"answer")
        hands.at += KEPT_MS
        assert kept.claim("acme", "u1", "k", b"body")[1]

    async def test_that_somebody_waits_for_is_not_forgotten_however_many_come(self) -> None:
        kept = Kept(Hands())
        waiting, _ = kept.claim("acme", "u1", "k", b"body")
        for number in range(2 * MOST):
            entry, _ = kept.claim("rival", "u2", f"k{number}", b"body")
            entry.answer.set_result(b"answer")
        assert kept.claim("acme", "u1", "k", b"body") == (waiting, False)
        assert not waiting.answer.done()

    async def test_of_another_request_is_refused(self) -> None:
        kept = Kept(Hands())
        kept.claim("acme", "u1", "k", b"body")
        with pytest.raises(ValueError, match="another turn"):
            kept.claim("acme", "u1", "k", b"other")

    async def test_whose_request_came_to_nothing_may_be_used_again(self) -> None:
        kept = Kept(Hands())
        entry, _ = kept.claim("acme", "u1", "k", b"body")
        kept.release("acme", "u1", "k")
        assert kept.claim("acme", "u1", "k", b"body")[1]
        with pytest.raises(asyncio.CancelledError):
            await entry.answer
