"""The offline engines as a caller meets them: speech synthesised, sent over mu-law, and heard again."""

from __future__ import annotations

import asyncio
import audioop
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from audio import mulaw
from workers.engines.espeak import Espeak
from workers.engines.pocketsphinx import PocketSphinx, Utterances, unknown_words
from workers.engines.port import EngineError, Failed, Finished, Heard, HearingRequest, Settled, VoiceRequest

GRAMMAR = """#JSGF V1.0;
grammar reminders;
public <reminder> = remind me to call (the dentist | mom) (tomorrow | on friday) |
  schedule a meeting with the team on friday;
"""
REQUEST = HearingRequest("en-US", 8000, grammar=GRAMMAR)
LIMIT_S = 30  # a test that hangs fails; nothing is asserted about time


class Listener:
    """Collects what a stream says."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Heard] = asyncio.Queue()

    async def settled(self) -> Settled:
        while not isinstance(said := await asyncio.wait_for(self.heard.get(), LIMIT_S), Settled):
            assert not isinstance(said, Failed | Finished), said
        return said

    async def last(self) -> Heard:
        while not isinstance(said := await asyncio.wait_for(self.heard.get(), LIMIT_S), Failed | Finished):
            pass
        return said


@pytest.fixture
async def voice() -> AsyncIterator[Espeak]:
    async with Espeak() as espeak:
        yield espeak


@pytest.fixture
async def ear() -> AsyncIterator[PocketSphinx]:
    async with PocketSphinx() as sphinx:
        yield sphinx


async def speak(stream: Utterances, voice: Espeak, text: str) -> None:
    pcm = mulaw.decode(mulaw.silence(200) + await voice.mulaw(text) + mulaw.silence(300))
    stream.feed(pcm[:6400])
    stream.speech_started(200)
    for start in range(6400, len(pcm), 320):
        stream.feed(pcm[start : start + 320])


async def test_a_sentence_of_the_grammar_is_settled_at_the_first_pause(voice: Espeak, ear: PocketSphinx) -> None:
    listener = Listener()
    stream = ear.open(REQUEST, listener.heard.put_nowait)
    await speak(stream, voice, "schedule a meeting with the team on friday")
    stream.speech_paused(300)
    settled = await listener.settled()
    assert settled.text == "schedule a meeting with the team on friday"
    assert settled.complete and settled.confidence >= 0.5
    assert [word.text for word in settled.words] == settled.text.split()
    stream.finish()
    assert await listener.last() == Finished()


async def test_words_outside_the_grammar_are_not_forced_into_it(voice: Espeak, ear: PocketSphinx) -> None:
    listener = Listener()
    stream = ear.open(REQUEST, listener.heard.put_nowait)
    await speak(stream, voice, "how many planets are in the solar system")
    stream.speech_paused(1200)
    assert (await listener.settled()).text == ""


async def test_two_streams_of_one_child_do_not_mix(voice: Espeak, ear: PocketSphinx) -> None:
    listeners = [Listener(), Listener()]
    texts = ["schedule a meeting with the team on friday", "remind me to call mom tomorrow"]
    for listener, text in zip(listeners, texts, strict=True):
        stream = ear.open(REQUEST, listener.heard.put_nowait)
        await speak(stream, voice, text)
        stream.finish()
    first, second = [await listener.settled() for listener in listeners]
    assert first.text.startswith("schedule") and not second.text.startswith("schedule")


async def test_a_killed_child_fails_its_streams_and_is_replaced(voice: Espeak, ear: PocketSphinx) -> None:
    listener = Listener()
    ear.open(REQUEST, listener.heard.put_nowait)
    os.kill(ear.pids[0], signal.SIGKILL)
    failed = await listener.last()
    assert isinstance(failed, Failed) and failed.error.retryable
    await ear.ready(LIMIT_S)
    again = Listener()
    stream = ear.open(REQUEST, again.heard.put_nowait)
    await speak(stream, voice, "schedule a meeting with the team on friday")
    stream.finish()
    assert (await again.settled()).text == "schedule a meeting with the team on friday"


async def test_a_killed_voice_is_replaced(voice: Espeak) -> None:
    os.kill(voice.pids[0], signal.SIGKILL)
    request = VoiceRequest("hello", "en-us", "en-US", 8000)
    spoken = b""
    while not spoken:
        try:
            spoken = b"".join([piece async for piece in voice.speak(request)])
        except EngineError as error:
            assert error.retryable
    assert len(spoken) > 1600


async def test_an_unknown_voice_is_refused_for_good(voice: Espeak) -> None:
    with pytest.raises(EngineError, match="no voice 'xx-none'") as refused:
        await anext(voice.speak(VoiceRequest("hello", "xx-none", "en-US", 8000)))
    assert not refused.value.retryable


async def test_a_grammar_with_unknown_words_names_them(ear: PocketSphinx) -> None:
    assert unknown_words(["dentist", "xyzzyq"]) == {"xyzzyq"}
    listener = Listener()
    grammar = "#JSGF V1.0; grammar g; public <s> = call xyzzyq;"
    ear.open(HearingRequest("en-US", 8000, grammar=grammar), listener.heard.put_nowait)
    failed = await listener.last()
    assert isinstance(failed, Failed) and "xyzzyq" in str(failed.error) and not failed.error.retryable


async def test_a_stream_that_ends_in_the_middle_of_a_word_keeps_what_was_said(voice: Espeak, ear: PocketSphinx) -> None:
    pcm = mulaw.decode(mulaw.silence(200) + await voice.mulaw("schedule a meeting with the team on friday"))
    listener = Listener()
    stream = ear.open(REQUEST, listener.heard.put_nowait)
    stream.feed(pcm[:6400])
    stream.speech_started(200)
    stream.feed(pcm[6400 : len(pcm) * 9 // 10])
    stream.finish()
    settled = await listener.settled()
    assert "schedule a meeting" in " ".join([settled.text, *settled.alternatives])
    assert settled.through_ms == len(pcm) * 9 // 10 // 16
    assert await listener.last() == Finished()


@pytest.mark.parametrize(
    ("spoken", "said"),
    [
        ("schedule a meeting with", "schedule a meeting with"),
        ("schedule a meeting with the tea", "schedule a meeting with the"),
        ("remind me to call", "remind me to call"),
    ],
)
async def test_a_sentence_that_is_broken_off_gets_no_ending(
    voice: Espeak, ear: PocketSphinx, spoken: str, said: str
) -> None:
    pcm = mulaw.decode(await voice.mulaw(spoken))
    loudest = audioop.max(pcm, 2)
    while audioop.max(pcm[-320:], 2) < loudest / 20:
        pcm = pcm[:-320]  # the silence after it
    listener = Listener()
    stream = ear.open(REQUEST, listener.heard.put_nowait)
    stream.feed(bytes(6400))
    stream.speech_started(400)
    stream.feed(pcm)
    stream.finish()
    settled = await listener.settled()
    heard = settled.text.split()
    assert heard == said.split()[: len(heard)] and len(heard) >= 3
    assert settled.complete is False
    assert len(settled.words) == len(heard)


async def test_a_sentence_that_pauses_unfinished_is_waited_for(voice: Espeak, ear: PocketSphinx) -> None:
    listener = Listener()
    stream = ear.open(REQUEST, listener.heard.put_nowait)
    await speak(stream, voice, "schedule a meeting with")
    stream.speech_paused(300)
    stream.feed(bytes(6400))
    stream.speech_paused(700)
    stream.feed(bytes(8000))
    stream.speech_paused(1200)
    settled = await listener.settled()
    assert (settled.text, settled.complete) == ("schedule a meeting with", False)
    # Its words are told at the longest pause, not before: all the silence was heard.
    assert settled.through_ms - settled.end_ms >= 1000


@pytest.mark.parametrize("engine", ["espeak.Espeak", "pocketsphinx.PocketSphinx"])
def test_children_end_with_a_parent_that_was_killed(engine: str) -> None:
    module, _, name = engine.partition(".")
    program = (
        f"import asyncio\nfrom workers.engines.{module} import {name}\n"
        f"async def main():\n  async with {name}() as engine:\n    print(engine.pids[0], flush=True)\n"
        "    await asyncio.Event().wait()\nasyncio.run(main())"
    )
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        parent.kill()
        # The child shares the parent's stderr, not its stdout; pidfd tells its end whoever its parent is now.
        ending = os.pidfd_open(child_pid)
        import select

        assert select.select([ending], [], [], LIMIT_S)[0], "the child outlived its parent"
        os.close(ending)
