"""What the offline recogniser asks its child, and which of its guesses it tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from workers.engines.child import Child, Message
from workers.engines.pocketsphinx import Utterances
from workers.engines.port import Finished, Heard, HearingRequest, Interim, Settled

RATE = 8000
LOUD, QUIET = bytes((0, 20, 0, 236)) * 80, bytes(320)  # 20 ms each


class AnsweringChild:
    """Keeps the questions; the test answers them."""

    def __init__(self) -> None:
        self.questions: list[Message] = []
        self._receive: Callable[[Message | None], None] = lambda _: None

    def register(self, receive: Callable[[Message | None], None]) -> int:
        self._receive = receive
        return 1

    def send(self, message: Message) -> None:
        if message["do"] == "hear":
            self.questions.append(message)

    def forget(self, caller_id: int) -> None:
        self._receive = lambda _: None

    def answer(self, text: str) -> None:
        words = [[word, 10 * at, 10 * at + 9] for at, word in enumerate(text.split())]
        asked = self.questions[-1]["utterance"]
        self._receive({"utterance": asked, "text": text, "words": words, "frames": 99, "complete": False, "score": 0.0})


class Caller:
    """Speaks from the beginning of the stream on."""

    def __init__(self) -> None:
        self.child = AnsweringChild()
        self.told: list[Heard] = []
        request = HearingRequest("en-US", RATE)
        self.stream = Utterances(request, cast(Child, self.child), self.told.append)
        self.stream.speech_started(0)

    def says(self, ms: int, pcm: bytes = LOUD) -> None:
        for _ in range(ms // 20):
            self.stream.feed(pcm)


async def test_one_word_of_a_beginning_is_no_guess_worth_telling() -> None:
    caller = Caller()
    caller.says(400)
    caller.child.answer("emily")
    assert len(caller.child.questions) == 1 and caller.told == []


async def test_two_words_are_told_at_once() -> None:
    caller = Caller()
    caller.says(400)
    caller.child.answer("schedule a")
    assert caller.told == [Interim("schedule a", caller.told[0].stability)]


async def test_one_word_that_took_its_time_is_told() -> None:
    caller = Caller()
    told = []
    for _ in range(3):
        caller.says(400)
        caller.child.answer("tomorrow")
        told.append(len(caller.told))
    assert told == [0, 0, 1]  # asked after 360, 720 and 1080 ms


async def test_what_ends_in_a_sound_is_broken_off_and_what_ends_in_silence_is_not() -> None:
    hung_up, paused = Caller(), Caller()
    hung_up.says(200)
    hung_up.stream.finish()
    paused.says(200)
    paused.says(300, QUIET)
    paused.stream.speech_paused(300)
    paused.stream.finish()
    assert [question["broken"] for question in hung_up.child.questions] == [True]
    assert [question["broken"] for question in paused.child.questions] == [False, False]


async def test_a_guess_is_of_something_broken_off_and_never_the_last_word() -> None:
    caller = Caller()
    caller.says(400)
    assert [(question["guess"], question["broken"]) for question in caller.child.questions] == [(True, True)]
    caller.stream.finish()
    assert caller.child.questions[-1]["guess"] is False
    caller.child.answer("remind me")
    assert [type(heard) for heard in caller.told] == [Settled, Finished]
