"""A sentence is spoken once, kept while there is room, and never at the cost of a call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.runtimes import on_virtual_time
from workers.engines.phrases import ENTRY_BYTES, Phrases
from workers.engines.port import EngineError, MadeBy, TextToSpeechCapabilities, VoiceRequest


class Studio:
    """A voice that takes its time: each word is a piece, made when the studio is open."""

    capabilities = TextToSpeechCapabilities("studio", streaming=True)

    def __init__(self, *, piece_bytes: int = 100) -> None:
        self.asked: list[VoiceRequest] = []
        self.piece_bytes = piece_bytes
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.speaking = self.most_at_once = 0
        self.settings = ""
        self.closed = False

    def made_by(self, request: VoiceRequest) -> MadeBy:
        return MadeBy("studio", "m", self.settings)

    async def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]:
        self.asked.append(request)
        self.speaking += 1
        self.most_at_once = max(self.most_at_once, self.speaking)
        try:
            for word in request.text.split():
                yield word[:1].encode() * self.piece_bytes
                await self.open.wait()
                await asyncio.sleep(0)
                if self.error is not None:
                    raise self.error
        finally:
            self.speaking -= 1

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        self.closed = True

    @property
    def texts(self) -> list[str]:
        return [request.text for request in self.asked]


def wanted(text: str, rate: int = 8000, voice: str = "v") -> VoiceRequest:
    return VoiceRequest(text, voice, "en-US", rate)


async def spoken(phrases: Phrases, request: VoiceRequest) -> list[bytes]:
    return [piece async for piece in phrases.speak(request)]


def test_a_sentence_is_made_once_and_sounds_the_same_again() -> None:
    async def story() -> None:
        studio = Studio()
        phrases = Phrases(studio)
        first = await spoken(phrases, wanted("one moment please"))
        assert await spoken(phrases, wanted("one moment please")) == first
        assert len(first) == 3 and studio.texts == ["one moment please"]
        assert phrases.made_by(wanted("x")) == studio.made_by(wanted("x"))

    on_virtual_time(story())


def test_another_voice_rate_or_setting_is_another_sound() -> None:
    async def story() -> None:
        studio = Studio()
        phrases = Phrases(studio)
        await spoken(phrases, wanted("hello"))
        await spoken(phrases, wanted("hello", rate=16000))
        await spoken(phrases, wanted("hello", voice="w"))
        studio.settings = "changed"
        await spoken(phrases, wanted("hello"))
        assert len(studio.asked) == 4

    on_virtual_time(story())


def test_the_least_recently_used_goes_first_and_the_limit_holds() -> None:
    async def story() -> None:
        studio = Studio()
        phrases = Phrases(studio, most_bytes=3 * (100 + 1 + ENTRY_BYTES))
        for text in ("a", "b", "c", "a", "d"):
            await spoken(phrases, wanted(text))
        assert phrases.kept_bytes == 3 * (100 + 1 + ENTRY_BYTES)
        for text in ("a", "c", "d"):
            await spoken(phrases, wanted(text))
        assert studio.texts == ["a", "b", "c", "d"], "b went, which nobody had asked for the longest"
        await spoken(phrases, wanted("b"))
        assert studio.texts[-1] == "b"

    on_virtual_time(story())


def test_what_is_larger_than_all_room_is_spoken_and_not_kept() -> None:
    async def story() -> None:
        studio = Studio(piece_bytes=10_000)
        phrases = Phrases(studio, most_bytes=9000)
        assert len(await spoken(phrases, wanted("one two"))) == 2
        assert phrases.kept_bytes == 0
        await spoken(phrases, wanted("one two"))
        assert len(studio.asked) == 2
        nothing = Phrases(Studio(), most_bytes=0)
        assert await spoken(nothing, wanted("one")) and nothing.kept_bytes == 0

    on_virtual_time(story())


def test_two_who_ask_at_once_hear_one_making_as_it_grows() -> None:
    async def story() -> None:
        studio = Studio()
        studio.open.clear()
        phrases = Phrases(studio)
        first, second = phrases.speak(wanted("a b")), phrases.speak(wanted("a b"))
        assert await anext(first) == await anext(second), "before the sentence is whole"
        studio.open.set()
        assert [piece async for piece in first] == [piece async for piece in second] == [b"b" * 100]
        assert studio.texts == ["a b"]

    on_virtual_time(story())


def test_an_asker_who_leaves_takes_nothing_from_the_others() -> None:
    async def story() -> None:
        studio = Studio()
        studio.open.clear()
        phrases = Phrases(studio)
        leaving = asyncio.create_task(spoken(phrases, wanted("a b")))
        staying = asyncio.create_task(spoken(phrases, wanted("a b")))
        await asyncio.sleep(0.1)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        studio.open.set()
        assert len(await staying) == 2
        assert studio.texts == ["a b"]

    on_virtual_time(story())


@pytest.mark.parametrize("error", [EngineError("overloaded", "later", retryable=True), ValueError("a bug")])
def test_an_error_is_everybodys_who_waited_and_is_not_kept(error: Exception) -> None:
    async def story() -> None:
        studio = Studio()
        studio.open.clear()
        studio.error = error
        phrases = Phrases(studio)
        askers = [asyncio.create_task(spoken(phrases, wanted("a b"))) for _ in range(2)]
        await asyncio.sleep(0.1)
        studio.open.set()
        ends = await asyncio.gather(*askers, return_exceptions=True)
        assert all(isinstance(end, EngineError) for end in ends) and ends[0] is not ends[1]
        studio.error = None
        assert len(await spoken(phrases, wanted("a b"))) == 2
        assert len(studio.asked) == 2

    on_virtual_time(story())


def test_a_voice_that_hangs_is_given_up_and_asked_anew() -> None:
    async def story() -> None:
        studio = Studio()
        studio.open.clear()
        phrases = Phrases(studio)
        with pytest.raises(EngineError, match="no voice within"):
            await spoken(phrases, wanted("a b"))
        studio.open.set()
        assert len(await spoken(phrases, wanted("a b"))) == 2

    on_virtual_time(story())


def test_so_many_are_made_at_once_and_no_more() -> None:
    async def story() -> None:
        studio = Studio()
        phrases = Phrases(studio, at_once=2)
        await asyncio.gather(*(spoken(phrases, wanted(f"a b {n}")) for n in range(8)))
        assert studio.most_at_once == 2

    on_virtual_time(story())


# Ahead


def test_what_is_said_often_is_made_ahead_at_the_rate_that_is_asked_for() -> None:
    async def story() -> None:
        studio = Studio()
        phrases = Phrases(studio)
        phrases.ahead(["one", "two"], voice="v", language="en-US", rate_wpm=0)
        await asyncio.sleep(1)
        assert studio.asked == [], "nobody knows at which rate yet"
        await spoken(phrases, wanted("hello", rate=16000))
        await asyncio.sleep(1)
        assert studio.texts == ["hello", "one", "two"]
        assert {request.sample_rate for request in studio.asked} == {16000}
        await spoken(phrases, wanted("two", rate=16000))
        assert len(studio.asked) == 3

    on_virtual_time(story())


def test_what_is_named_later_is_made_for_the_rates_that_are_known() -> None:
    async def story() -> None:
        studio = Studio()
        phrases = Phrases(studio)
        await spoken(phrases, wanted("hello"))
        phrases.ahead(["one"], voice="v", language="en-US", rate_wpm=0)
        phrases.ahead(["one"], voice="v", language="en-US", rate_wpm=0)
        phrases.ahead(["elsewhere"], voice="w", language="en-US", rate_wpm=0)
        await asyncio.sleep(1)
        assert studio.texts == ["hello", "one"]

    on_virtual_time(story())


def test_nothing_is_made_ahead_while_a_call_waits_for_its_voice() -> None:
    async def story() -> None:
        studio = Studio()
        studio.open.clear()
        phrases = Phrases(studio)
        phrases.ahead(["one", "two"], voice="v", language="en-US", rate_wpm=0)
        call = asyncio.create_task(spoken(phrases, wanted("hello there")))
        await asyncio.sleep(1)
        assert studio.texts == ["hello there"]
        studio.open.set()
        await call
        await asyncio.sleep(1)
        assert studio.texts == ["hello there", "one", "two"]

    on_virtual_time(story())


def test_a_call_that_asks_for_what_is_being_made_ahead_joins_it() -> None:
    async def story() -> None:
        studio = Studio()
        phrases = Phrases(studio)
        await spoken(phrases, wanted("hello"))
        studio.open.clear()
        phrases.ahead(["a b"], voice="v", language="en-US", rate_wpm=0)
        await asyncio.sleep(0.1)
        call = asyncio.create_task(spoken(phrases, wanted("a b")))
        await asyncio.sleep(0.1)
        studio.open.set()
        assert len(await call) == 2
        assert studio.texts == ["hello", "a b"]

    on_virtual_time(story())


def test_one_that_cannot_be_made_ahead_keeps_none_of_the_others() -> None:
    async def story() -> None:
        studio = Studio()
        phrases = Phrases(studio)
        await spoken(phrases, wanted("hello"))
        studio.error = EngineError("no", "never", retryable=False)
        phrases.ahead(["one", "two"], voice="v", language="en-US", rate_wpm=0)
        await asyncio.sleep(1)
        assert studio.texts == ["hello", "one", "two"]

    on_virtual_time(story())


def test_closing_ends_what_is_being_made_and_tells_who_waits() -> None:
    async def story() -> None:
        studio = Studio()
        studio.open.clear()
        phrases = Phrases(studio)
        call = asyncio.create_task(spoken(phrases, wanted("a b")))
        await asyncio.sleep(0.1)
        await phrases.close()
        with pytest.raises(EngineError, match="closed"):
            await call
        assert studio.closed and studio.speaking == 0

    on_virtual_time(story())
