"""`POST /api/turns` over HTTP, its agent played by the test: what is asked, answered, refused and kept."""

from __future__ import annotations

import asyncio
import io
import wave
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio.containers import encode_wav
from clients.turns import Answered, Problem, TurnsClient
from ingest.tokens import issue
from ingest.web import turns
from schema.call import CallEnded
from schema.envelope import Event
from schema.outbox import OutboxAudio
from schema.stream import StreamSuperseded, TextTyped
from schema.turn import ReplyComposed, ReplyFinished, ReplySentence, ReplyStarted, TurnTaken
from tests.integration.test_app_doors import NOW_S, SECRETS, doors, fact, found, received, token
from tests.support.doors import House
from tests.support.screens import until_true
from tests.support.sound import tone

CALL = "acme~s1"


async def asked(h: House, streams: int = 1) -> str:
    """The name of the turn's stream, once it is open and the turn is on the log."""

    async def is_there() -> bool:
        return len(await found(h, "stream.opened")) >= streams and len(await found(h, "turn.released")) >= streams

    await until_true(is_there)
    return str((await found(h, "stream.opened"))[-1].stream)


async def answers(h: House, stream: str, text: str = "Good day.", *, at: int = 10) -> None:
    """As the conversation would: a turn, a reply, its sound, its end once that was heard."""
    said: tuple[Event, ...] = (
        TurnTaken(id="t1", call_id=CALL, utterances=("u1",), text="hello"),
        ReplyStarted(id="r1", call_id=CALL, why="turn", agent="notes"),
        ReplySentence(id="e2", call_id=CALL, reply="r1", index=0, text=text),
        ReplyComposed(id="e3", call_id=CALL, reply="r1", sentences=1),
    )
    await h.mail(*(fact(stream, at + number, event) for number, event in enumerate(said)))
    sound = {"call_id": CALL, "stream": stream, "reply": "r1", "sentence": 0, "sentence_id": "e2", "take": at + 1}
    await h.mail(OutboxAudio(offset_ms=0, payload=tone(5_000, 16_000), last=True, **sound))

    async def is_heard() -> bool:
        return any(mark.last and not mark.estimated for mark in await found(h, "playback.marked"))

    await until_true(is_heard)
    await h.mail(fact(stream, at + 9, ReplyFinished(id="e9", call_id=CALL, reply="r1")))


def client(h: House, user: str = "u1", call_id: str = "s1") -> TurnsClient:
    return TurnsClient(h.base, token(user=user), call_id=call_id)


class TestATurn:
    async def test_that_is_written_is_answered_at_once_with_all_of_the_sound(self) -> None:
        async with doors() as h, client(h) as app:
            turn = asyncio.create_task(app.write("hello"))
            stream = await asked(h)
            await answers(h, stream)  # five seconds of sound, heard the moment they are there
            answered = await turn
            (started,), (opened,) = await found(h, "call.started"), await found(h, "stream.opened")
            typed = [event.text for event in await found(h, "text.typed") if isinstance(event, TextTyped)]
            await h.events("stream.closed", CALL)
        assert (answered.call_id, answered.transcript, answered.response) == (CALL, "hello", "Good day.")
        assert answered.samples() == (tone(5_000, 16_000), 16_000)
        assert (started.channel, started.user_id, opened.door) == ("turns", "u1", "turns")
        assert typed == ["hello"]

    async def test_that_is_spoken_goes_on_the_log_whole_and_is_let_go_of(self) -> None:
        async with doors() as h, client(h) as app:
            turn = asyncio.create_task(app.speak(encode_wav(tone(1_000, 16_000), 16_000), "audio/wav", format="mp3"))
            stream = await asked(h)
            assert b"".join(await received(h, 10)) == tone(1_000, 16_000)
            await answers(h, stream)
            answered = await turn
        assert answered.content_type == "audio/mpeg" and answered.audio[:2] in (b"\xff\xfb", b"\xff\xf3", b"ID")

    async def test_that_nobody_answers_in_time_is_told_so_and_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns, "ANSWER_S", 0.2)
        async with doors() as h, client(h) as app:
            with pytest.raises(Problem) as late:
                await app.write("hello", key="k1")
            assert (late.value.status, late.value.body["call_id"]) == (504, CALL)
            monkeypatch.setattr(turns, "ANSWER_S", 30)
            again = asyncio.create_task(app.write("hello", key="k1"))
            await answers(h, await asked(h))
            assert (await again).response == "Good day."
            assert len(await found(h, "stream.opened")) == 1

    async def test_sent_twice_with_one_key_is_one_turn(self) -> None:
        async with doors() as h, client(h) as app:
            first = asyncio.create_task(app.write("hello", key="k1"))
            stream = await asked(h)
            second = asyncio.create_task(app.write("hello", key="k1"))
            await answers(h, stream)
            assert await first == await second
            app.call_id = "s1"
            assert await app.write("hello", key="k1") == first.result()
            assert len(await found(h, "stream.opened")) == 1
            with pytest.raises(Problem) as reused:
                await app.write("something else", key="k1")
            assert (reused.value.status, reused.value.code) == (422, "key_reused")

    @pytest.mark.parametrize(
        ("event", "status", "code"),
        [
            (CallEnded(id="e1", call_id=CALL, reason="forbidden"), 403, "FORBIDDEN"),
            (CallEnded(id="e1", call_id=CALL, reason="agent_goodbye"), 409, "call_ended"),
            (StreamSuperseded(id="e1", call_id=CALL, stream="", by="x"), 409, "SUPERSEDED"),
        ],
        ids=["another user's call", "a call that ended", "a newer turn"],
    )
    async def test_of_a_call_that_cannot_be_is_a_problem(self, event: Any, status: int, code: str) -> None:
        import msgspec

        async with doors() as h, client(h) as app:
            turn = asyncio.create_task(app.write("hello"))
            stream = await asked(h)
            if hasattr(event, "stream"):
                event = msgspec.structs.replace(event, stream=stream)
            await h.mail(fact(stream, 5, event))
            with pytest.raises(Problem) as refused:
                await turn
            assert (refused.value.status, refused.value.code) == (status, code)

    async def test_under_way_when_the_server_goes_may_be_tried_again(self) -> None:
        async with doors(drain_ms=10) as h, client(h) as app:
            turn = asyncio.create_task(app.write("hello"))
            await asked(h)
            await h.ingest.drain()
            with pytest.raises(Problem) as refused:
                await turn
            assert (refused.value.status, refused.value.code) == (503, "SERVER_RESTARTING")


class TestARequest:
    async def test_needs_a_token_for_calls(self) -> None:
        async with doors() as h:
            for shown, status in (("", 401), (token(scopes=("screen",)), 403)):
                async with TurnsClient(h.base, shown) as app:
                    with pytest.raises(Problem) as refused:
                        await app.write("hello")
                    assert refused.value.status == status

    async def test_for_another_tenants_call_is_none(self) -> None:
        rival = issue(SECRETS, tenant="rival", subject="u1", scopes=("call",), issued_at=NOW_S, valid_s=3_600)[0]
        async with doors() as h, TurnsClient(h.base, rival, call_id=CALL) as app:
            with pytest.raises(Problem) as refused:
                await app.write("hello")
            assert refused.value.status == 400
            assert await h.events("", CALL) == []

    @pytest.mark.parametrize(
        ("size", "kind", "status"),
        [
            (10 * 1024 * 1024 + 1, "audio/wav", 413),
            (8 * 61_000, "audio/basic", 422),
            (0, "audio/wav", 422),
            (1_000, "audio/wav", 422),
        ],
    )
    async def test_with_too_much_or_no_sound_is_refused(self, size: int, kind: str, status: int) -> None:
        async with doors() as h, client(h) as app:
            with pytest.raises(Problem) as refused:
                await app.speak(bytes(size), kind)
            assert refused.value.status == status
            assert await h.events("", CALL) == []

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"data": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
            ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
            ({"json": ["text"]}, 400),
            ({"json": {"text": " "}}, 422),
            ({"json": {"text": 5}}, 422),
            ({"json": {"text": "x", "call_id": "a b"}}, 400),
            ({"json": {"text": "x", "format": "flac"}}, 400),
            ({"json": {"text": "x" * 70_000}}, 413),
            ({"data": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
            ({"data": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400),
            ({"data": b"--b\r\n\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400),
        ],
    )
    async def test_that_is_none_is_a_problem(self, body: dict[str, Any], status: int) -> None:
        async with doors() as h:
            headers = {"Authorization": f"Bearer {token()}", **body.pop("headers", {})}
            answer = await h.http.post(h.base + "/api/turns", headers=headers, **body)
            assert answer.status == status, await answer.text()
            assert answer.content_type == "application/problem+json"

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.sampled_from(["multipart/form-data; boundary=b", "application/json", "multipart/form-data"]),
        st.binary(max_size=300),
        st.sampled_from([b"", b"--b\r\nContent-Disposition: form-data; name=audio\r\n\r\n", b'{"text":', b"--b--"]),
        st.sampled_from([b"", b"\r\n--b--\r\n", b"}"]),
    )
    def test_of_garbage_is_never_a_fault_of_ours(self, kind: str, middle: bytes, head: bytes, tail: bytes) -> None:
        async def post() -> int:
            async with doors() as h:
                headers = {"Authorization": f"Bearer {token()}", "Content-Type": kind}
                answer = await h.http.post(h.base + "/api/turns", headers=headers, data=head + middle + tail)
                return answer.status

        assert 400 <= asyncio.run(post()) < 500


async def test_an_answer_without_sound_is_an_empty_file() -> None:
    async with doors() as h, client(h) as app:
        turn = asyncio.create_task(app.write("hello"))
        stream = await asked(h)
        await h.mail(fact(stream, 3, TurnTaken(id="t1", call_id=CALL, utterances=("u1",), text="hello")))
        await h.mail(fact(stream, 4, CallEnded(id="e1", call_id=CALL, reason="agent_goodbye")))
        answered: Answered = await turn
    assert (answered.ended, answered.response) == ("agent_goodbye", "")
    with wave.open(io.BytesIO(answered.audio)) as file:
        assert file.getnframes() == 0
