"""`POST /api/turns` over HTTP, its agent played by the test: what is asked, answered, refused and kept."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio.containers import encode_wav
from clients.turns import Answered, Problem, TurnsClient
from ingest.tokens import issue
from ingest.web import turns, turns_kept
from ingest.web.turns_kept import Kept
from schema.call import CallEnded
from schema.envelope import Event
from schema.outbox import OutboxAudio
from schema.stream import StreamSuperseded, TextTyped
from schema.turn import ReplyComposed, ReplyFinished, ReplySentence, ReplyStarted, TurnTaken
from tests.integration.test_app_doors import NOW_S, SECRETS, doors, fact, found, received, token
from tests.support.doors import Hands, House
from tests.support.screens import until_true
from tests.support.sound import tone

CALL = "acme~s1"


async def asked(h: House, streams: int = 1) -> str:
    """The name of the turn's stream, once it is open, as conversation has told it, and the turn is on the log."""

    async def is_there() -> bool:
        return len(await found(h, "stream.opened")) >= streams and len(await found(h, "turn.released")) >= streams

    await until_true(is_there)
    opened = (await found(h, "stream.opened"))[-1]
    await h.mail(fact(opened.stream, 2, opened))
    return str(opened.stream)


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
            where = "/api/calls/acme~s1/transcript"
            assert late.value.body["detail"].endswith(where)
            headers = {"Authorization": f"Bearer {token(scopes=('screen',))}"}
            told = await (await h.http.get(h.base + where, headers=headers)).json()
            assert [(line["speaker"], line["text"]) for line in told["transcript"]] == [("caller", "hello")]
            with pytest.raises(Problem) as later:
                await app.write("hello", key="k1")
            assert (later.value.status, later.value.code, later.value.body["call_id"]) == (504, "late", CALL)
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

    async def test_that_comes_to_nothing_is_told_whole_to_everybody_who_waits_for_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with doors() as h:
            waiting = claims_of(monkeypatch)
            asks = {"json": {"text": "hello", "call_id": "s1"}, "headers": bearing("u1", "k1")}
            requests = [asyncio.create_task(h.http.post(h.base + "/api/turns", **asks)) for _ in range(3)]
            stream = await asked(h)
            await until_true(lambda: len(waiting) == 3)
            await h.mail(fact(stream, 5, CallEnded(id="e1", call_id=CALL, reason="agent_goodbye")))
            async with asyncio.timeout(5):
                told = [(answer, await answer.json()) for answer in await asyncio.gather(*requests)]
        assert [answer.status for answer, _ in told] == [409] * 3
        assert [(body["code"], body["call_id"]) for _, body in told] == [("call_ended", CALL)] * 3
        assert [answer.headers["Retry-After"] for answer, _ in told] == ["1"] * 3
        assert {answer.content_type for answer, _ in told} == {"application/problem+json"}


def bearing(user: str, key: str = "") -> dict[str, str]:
    return {"Authorization": f"Bearer {token(user=user)}", **({"Idempotency-Key": key} if key else {})}


def claims_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were asked for, as it happens."""
    asked_for: list[str] = []
    claim = Kept.claim

    def noted(self: Kept, tenant: str, user: str, key: str, content: bytes) -> Any:
        claimed = claim(self, tenant, user, key, content)
        asked_for.append(key)
        return claimed

    monkeypatch.setattr(Kept, "claim", noted)
    return asked_for


@asynccontextmanager
async def slow_upload(h: House, user: str) -> AsyncIterator[asyncio.Task[int]]:
    """A request whose body does not end before the context does; its status."""
    goes_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"text": '
        await goes_on.wait()
        yield b'" "}'

    async def post() -> int:
        headers = {**bearing(user), "Content-Type": "application/json"}
        async with h.http.post(h.base + "/api/turns", headers=headers, data=body()) as answer:
            return answer.status

    task = asyncio.create_task(post())
    try:
        yield task
        goes_on.set()
        async with asyncio.timeout(5):
            await task
    except (asyncio.CancelledError, aiohttp.ClientError):
        if not task.cancelled():
            raise
    finally:
        task.cancel()


async def knocks(h: House, user: str) -> tuple[int, str]:
    """A turn that is none: refused for what it is where there is a place for it."""
    async with h.http.post(h.base + "/api/turns", headers=bearing(user), json={"text": " "}) as answer:
        return answer.status, (await answer.json())["code"]


WRONG = ("empty_turn", "SESSION_INVALID")
IN, OUT = (422, "empty_turn"), (429, "RATE_LIMITED")


class TestAPlaceToUpload:
    async def test_is_twice_a_users_and_his_again_when_he_is_done(self) -> None:
        async with doors() as h:

            async def is_full() -> bool:
                return await knocks(h, "u1") == OUT

            async with slow_upload(h, "u1") as first:
                async with slow_upload(h, "u1") as second:
                    await until_true(is_full)
                    assert await knocks(h, "u2") == IN, "slow uploads of one keep nobody else out"
                assert (await second, await knocks(h, "u1")) == (422, IN)
            assert (await first, await knocks(h, "u1")) == (422, IN)

    async def test_is_free_again_when_its_user_goes_away(self) -> None:
        async with doors() as h:

            async def is_full() -> bool:
                return await knocks(h, "u1") == OUT

            async def is_free() -> bool:
                return await knocks(h, "u1") == IN

            async with slow_upload(h, "u1") as first, slow_upload(h, "u1") as second:
                await until_true(is_full)
                first.cancel()
                second.cancel()
                await until_true(is_free)

    async def test_is_waited_for_and_then_refused_when_the_server_has_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(turns, "UPLOADS_AT_ONCE", 1)
        monkeypatch.setattr(turns, "AGAIN_S", 0.05)
        async with doors() as h:

            async def is_full() -> bool:
                return await knocks(h, "u2") == OUT

            async with slow_upload(h, "u1"):
                await until_true(is_full)
                # Who was sent away has not used up places of his own.
                assert [await knocks(h, "u2") for _ in range(3)] == [OUT] * 3
                monkeypatch.setattr(turns, "AGAIN_S", 30)
                waits = asyncio.create_task(knocks(h, "u2"))
            assert await waits == IN


class TestAKeptAnswer:
    """Bounded by bytes. By number and age: with the other rules of a key, among the unit tests."""

    @staticmethod
    async def given(kept: Kept, key: str, size: int) -> None:
        entry, is_first = kept.claim("acme", "u1", key, b"body")
        assert is_first
        entry.answer.set_result(bytes(size))
        await asyncio.sleep(0)  # to whoever waits for it

    @staticmethod
    def has(kept: Kept, *keys: str) -> list[bool]:
        """Asking begins anew what was forgotten, so ask once."""
        return [not kept.claim("acme", "u1", key, b"body")[1] for key in keys]

    async def test_makes_room_the_oldest_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns_kept, "MOST_BYTES", 100)
        kept = Kept(Hands())
        for key in ("a", "b", "c"):
            await self.given(kept, key, 40)
        assert self.has(kept, "a", "b", "c") == [False, True, True]

    async def test_is_as_old_as_its_giving_and_not_as_its_question(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns_kept, "MOST_BYTES", 100)
        kept = Kept(Hands())
        slow, _ = kept.claim("acme", "u1", "slow", b"body")
        await self.given(kept, "a", 40)
        slow.answer.set_result(bytes(40))
        await asyncio.sleep(0)
        await self.given(kept, "b", 40)
        assert self.has(kept, "slow", "a", "b") == [True, False, True]

    async def test_that_is_still_to_come_is_never_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns_kept, "MOST_BYTES", 100)
        kept = Kept(Hands())
        running, _ = kept.claim("acme", "u1", "running", b"body")
        for number in range(10):
            await self.given(kept, f"k{number}", 90)
        assert self.has(kept, "running", "k8", "k9") == [True, False, True]
        assert not running.answer.done()

    async def test_that_was_given_last_stays_however_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns_kept, "MOST_BYTES", 100)
        kept = Kept(Hands())
        await self.given(kept, "small", 10)
        await self.given(kept, "large", 1_000)
        kept.claim("acme", "u1", "running", b"body")
        assert self.has(kept, "large") == [True]
        await self.given(kept, "next", 10)
        assert self.has(kept, "small", "large", "next") == [False, False, True]

    async def test_that_was_let_go_takes_no_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(turns_kept, "MOST_BYTES", 100)
        hands = Hands()
        kept = Kept(hands)
        for key in ("old", "released"):
            await self.given(kept, key, 50)
        kept.release("acme", "u1", "released")
        hands.at += turns_kept.KEPT_MS
        for key in ("a", "b"):
            await self.given(kept, key, 50)
        assert self.has(kept, "a", "b") == [True, True]


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
            assert (await answer.json())["code"] in ("bad_type", "bad_body", "bad_format", "too_large", *WRONG)

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
