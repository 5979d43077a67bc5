"""Speech to text by pocketsphinx in child processes: no key, no network, and no words outside the profile's grammar.

An utterance is gathered here and decoded whole by the child, which is both better (the cepstral mean is known) and
lets many streams share one decoder. When the sound falls quiet the decoding starts ahead of the pause, so
that the words are usually there when the pause is told.
"""

from __future__ import annotations

import asyncio
import audioop
import hashlib
import itertools
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from workers.engines.child import Child, Message
from workers.engines.pocketsphinx_belief import believed, code, confidence_of
from workers.engines.port import (
    EngineError,
    Failed,
    Finished,
    Heard,
    HearingRequest,
    Interim,
    MadeBy,
    Settled,
    SpeechToTextCapabilities,
    Word,
)

MODULE = "workers.engines.pocketsphinx_child"
SAMPLE_RATES = (8000, 16000)
LEAD_MS = 200  # heard before the speech began: soft beginnings are found late
LONGEST_MS = 60_000  # of one utterance; longer speech is settled at this point
INTERIM_MS = 350  # of new audio before the next guess
AHEAD_MS = 120  # of quiet before decoding ahead of the pause
QUIET_DB = 15.0  # below the utterance's loudest
# What a guess needs to be told: the first sound of a sentence is taken for any short answer.
TELLING_WORDS, TELLING_MS = 2, 800


class PocketSphinx:
    """The port's `SpeechToText`. Each child takes 90 MB and decodes for many streams, one utterance at a time."""

    capabilities = SpeechToTextCapabilities(
        "pocketsphinx", interim=True, grammar=True, words=True, languages=("en-US",)
    )

    def __init__(self, children: int = 1) -> None:
        self._children = [Child(MODULE) for _ in range(children)]

    @property
    def pids(self) -> tuple[int, ...]:
        """The running children's process ids."""
        return tuple(child.pid for child in self._children if child.pid)

    async def start(self) -> None:
        try:
            for child in self._children:
                await child.start()
        except EngineError:
            await self.close()
            raise

    async def close(self) -> None:
        for child in self._children:
            await child.close()

    async def ready(self, timeout_s: float) -> None:
        """Wait until every child runs again. Raises EngineError(retryable=True) if that takes too long."""
        for child in self._children:
            await child.ready(timeout_s)

    async def __aenter__(self) -> PocketSphinx:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def made_by(self, request: HearingRequest) -> MadeBy:
        settings = f"{request.language}|{request.grammar}|{request.complete_ms}|{request.incomplete_ms}"
        settings += f"|{code()}"
        return MadeBy("pocketsphinx", "en-us-5.0.4", hashlib.sha256(settings.encode()).hexdigest()[:16])

    def open(self, request: HearingRequest, emit: Callable[[Heard], None]) -> Utterances:
        """Goes to the child with the fewest streams."""
        return Utterances(request, min(self._children, key=lambda child: child.callers), emit)


class Utterances:
    """One stream: the audio of its open utterance, and what the child said about it."""

    def __init__(self, request: HearingRequest, child: Child, emit: Callable[[Heard], None]) -> None:
        self._request, self._child, self._tell = request, child, emit
        self._loop = asyncio.get_running_loop()
        self._bytes_ms = request.sample_rate // 500  # s16le bytes a millisecond
        self._audio = bytearray()  # from _from_ms on
        self._from_ms = request.start_ms
        self._began_ms: int | None = None  # of the open utterance
        self._asked_bytes = self._guess_bytes = 0  # how much of it the latest question holds; when to ask again
        self._question = itertools.count(1)
        self._latest = 0  # the newest question's number
        self._pending = False
        self._answer: Message | None = None  # to the newest question
        self._guessing = False  # whether that was asked in a hurry
        self._silence_ms = 0
        self._loudest, self._quiet_ms, self._ahead = 1, 0, False
        self._finishing = self._closed = False
        self._name = hashlib.sha256(request.grammar.encode()).hexdigest()[:16]
        self._caller_id = 0
        self._register()

    def feed(self, pcm: bytes) -> None:
        if self._closed:
            return
        self._audio += pcm
        if self._began_ms is None:
            del self._audio[: self._drop(LEAD_MS)]
            return
        self._listen(pcm)
        if len(self._audio) >= LONGEST_MS * self._bytes_ms:
            self._silence_ms = self._request.incomplete_ms
            self._ask()

    def speech_started(self, at_ms: int) -> None:
        if self._closed or self._began_ms is not None:
            return
        self._began_ms = max(at_ms, self._from_ms)
        self._loudest, self._quiet_ms, self._ahead = 1, 0, False
        self._asked_bytes = len(self._audio)
        self._guess_bytes = self._asked_bytes + INTERIM_MS * self._bytes_ms

    def speech_paused(self, silence_ms: int) -> None:
        if self._closed or self._began_ms is None:
            return
        self._silence_ms = silence_ms
        if self._ahead and self._answer is not None:
            self._loop.call_soon(self._judge)
        elif not (self._ahead and self._pending):
            self._ask()
            self._ahead = True

    def finish(self) -> None:
        if self._closed or self._finishing:
            return
        self._finishing = True
        if self._began_ms is None:
            self._loop.call_soon(self._finished)
        else:
            self._ask()

    def close(self) -> None:
        self._closed = True
        self._audio.clear()
        self._child.forget(self._caller_id)

    def _register(self) -> None:
        try:
            if self._request.sample_rate not in SAMPLE_RATES:
                rates = f"pocketsphinx hears {SAMPLE_RATES} Hz, not {self._request.sample_rate}: resample first"
                raise EngineError("sample_rate", rates, retryable=False)
            if unknown := unknown_words(grammar_words(self._request.grammar)):
                words = f"the grammar has words the dictionary lacks: {', '.join(sorted(unknown))}"
                raise EngineError("unknown_words", words, retryable=False)
            self._caller_id = self._child.register(self._heard)
            self._child.send({"do": "load", "name": self._name, "grammar": self._request.grammar})
        except EngineError as error:
            self._loop.call_soon(self._fail, error)

    def _drop(self, keep_ms: int) -> int:
        excess_ms = max(0, len(self._audio) // self._bytes_ms - keep_ms)
        # Speech is confirmed up to a fifth of a second after it began: keep that much more.
        excess_ms = max(0, excess_ms - LEAD_MS)
        self._from_ms += excess_ms
        return excess_ms * self._bytes_ms

    def _listen(self, pcm: bytes) -> None:
        level = audioop.rms(pcm[: len(pcm) // 2 * 2], 2)
        self._loudest = max(self._loudest, level)
        if level * 10 ** (QUIET_DB / 20) > self._loudest:
            self._quiet_ms, self._ahead = 0, False
            self._silence_ms = 0
        else:
            self._quiet_ms += len(pcm) // self._bytes_ms
        if self._quiet_ms >= AHEAD_MS and not self._ahead:
            self._ask()
            self._ahead = True
        elif not (self._ahead or self._pending) and len(self._audio) >= self._guess_bytes:
            self._ask(guess=True)

    def _ask(self, *, guess: bool = False) -> None:
        self._latest = next(self._question)
        self._asked_bytes = len(self._audio)
        self._guess_bytes = self._asked_bytes + INTERIM_MS * self._bytes_ms
        self._pending, self._answer, self._guessing = True, None, guess
        question = {"do": "hear", "id": self._caller_id, "utterance": self._latest, "pcm": bytes(self._audio)}
        question |= {"name": self._name, "grammar": self._request.grammar, "sample_rate": self._request.sample_rate}
        # What goes on, or ended before a pause, is broken off where it was cut.
        question |= {"guess": guess, "broken": guess or (self._finishing and not self._silence_ms)}
        self._child.send(question)

    def _heard(self, answer: Message | None) -> None:
        if self._closed:
            return
        if answer is None:
            self._fail(EngineError("child_gone", "pocketsphinx ended while it was listening", retryable=True))
        elif answer["utterance"] == self._latest:
            self._pending, self._answer = False, answer
            self._judge()

    def _judge(self) -> None:
        """Settle, wait, or guess: the newest answer against the silence so far."""
        answer = self._answer
        if self._closed or answer is None or self._began_ms is None:
            return
        if "error" in answer:
            self._fail(EngineError("refused", answer["error"], retryable=False))
            return
        confidence = confidence_of(answer)
        if self._guessing:
            # Good enough to show; never to settle: the pause asks again.
            if self._is_telling(answer["text"]) and not self._silence_ms and not self._finishing:
                self._tell(Interim(answer["text"], confidence))
            return
        complete = bool(answer["complete"]) and believed(answer, confidence)
        enough_ms = self._request.complete_ms if complete else self._request.incomplete_ms
        if self._finishing or self._silence_ms >= enough_ms:
            self._settle(answer, confidence, complete)

    def _is_telling(self, text: str) -> bool:
        assert self._began_ms is not None
        spoken_ms = self._from_ms + self._asked_bytes // self._bytes_ms - self._began_ms
        return len(text.split()) >= TELLING_WORDS or bool(text and spoken_ms >= TELLING_MS)

    def _settle(self, answer: Message, confidence: float, complete: bool) -> None:
        assert self._began_ms is not None
        at = self._from_ms
        words = tuple(Word(t, at + begin * 10, at + end * 10) for t, begin, end in answer["words"])
        # Nothing loud came since the question: all of it was heard, and a faint last sound begins no next utterance.
        heard_bytes = len(self._audio) if self._ahead else self._asked_bytes
        through_ms = at + heard_bytes // self._bytes_ms
        is_believed = believed(answer, confidence)
        settled = Settled(
            text=answer["text"] if is_believed else "",
            confidence=confidence,
            start_ms=words[0].start_ms if words else self._began_ms,
            end_ms=min(words[-1].end_ms, through_ms) if words else through_ms,
            through_ms=through_ms,
            complete=complete if self._request.grammar else None,
            alternatives=() if is_believed or not answer["text"] else (answer["text"],),
            words=words if is_believed else (),
        )
        del self._audio[:heard_bytes]
        self._from_ms, self._began_ms, self._answer, self._silence_ms = through_ms, None, None, 0
        self._tell(settled)
        if self._finishing:
            self._finished()

    def _finished(self) -> None:
        if not self._closed:
            self._tell(Finished())
            self.close()

    def _fail(self, error: EngineError) -> None:
        if not self._closed:
            self._tell(Failed(error))
            self.close()


def grammar_words(jsgf: str) -> set[str]:
    """The words a JSGF grammar can hear: without rule names, weights, tags, comments and operators."""
    body = re.sub(r"//[^\n]*|/\*.*?\*/|\{[^}]*\}|/[\d.]+/|<[^>]*>", " ", jsgf, flags=re.DOTALL)
    body = re.sub(r"#JSGF[^;]*;|\bgrammar\s[^;]*;|\bimport\b|\bpublic\b", " ", body)
    return set(re.findall(r"[^\s()\[\]|*+=;\"]+", body))


def unknown_words(words: Iterable[str]) -> set[str]:
    """Those of `words` that the bundled dictionary cannot pronounce; a grammar with them is refused."""
    return {word for word in words if word not in _dictionary()}


@cache
def _dictionary() -> frozenset[str]:
    import pocketsphinx

    path = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
    with path.open(encoding="utf-8") as lines:
        return frozenset(line.partition(" ")[0] for line in lines)
