"""Carries the sound of one simulated call: the caller's mouth and ear, the playout buffer, the open stream."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from clients.ear import Change, Ear
from clients.playout import Playout
from clients.report import CallReport, Observation, OnEvent, Seen, Turn
from clients.sound import SAMPLES_PER_MS, SILENCE, is_audible
from clients.stream import MediaStream
from clients.strict import BUFFER_OVERFLOW, Clear, Mark, Media, Violation, judge
from clients.ticker import FRAME_MS

FRAME_BYTES = FRAME_MS * SAMPLES_PER_MS
_SILENT_FRAME = SILENCE * FRAME_BYTES
# A server that breaks a rule 50 times a second for an hour should not fill our memory with it.
_VIOLATIONS_KEPT = 100


class Outcome(StrEnum):
    MET = "met"
    TIMED_OUT = "timed_out"
    ENDED = "ended"


@dataclass(slots=True)
class _Waiting:
    predicate: Callable[[], bool]
    deadline_ms: int
    result: asyncio.Future[Outcome]


class Line:
    """Everything here happens on the ticker's beats and on messages of the server; nothing waits but `until`."""

    def __init__(self, report: CallReport, on_event: OnEvent) -> None:
        self.report = report
        self.stream: MediaStream | None = None
        self.media_ms = 0
        self.ended = False
        self._on_event = on_event
        self._clock_ms: Callable[[], int] = lambda: 0
        self._playout = Playout()
        self._ear = Ear()
        self._speech = b""
        self._spoken = 0
        self._waiting: list[_Waiting] = []
        self._heard: list[bytes] = []
        self._said: list[bytes] = []
        self._step_started_ms = -1
        self._step_ended_ms = -1

    def answer(self, clock_ms: Callable[[], int]) -> None:
        """The call is answered; clock_ms: the call's own time, for what arrives between two beats."""
        self._clock_ms = clock_ms

    def end(self) -> None:
        """Nobody is on the line any more; the recordings go into the report."""
        self.ended = True
        if self._ear.finish() is Change.STOPPED:
            self.see(Seen.AGENT_STOPPED, at_ms=self._ear.spans[-1].ended_ms)
        self.report.heard = b"".join(self._heard)
        self.report.caller = b"".join(self._said)
        self._heard, self._said = [], []
        self.report.duration_ms = self.media_ms
        self._settle_waiting()

    def see(self, kind: Seen, text: str = "", at_ms: int | None = None) -> None:
        self._on_event(Observation(kind, self.media_ms if at_ms is None else at_ms, text))

    def fail(self, text: str) -> None:
        self.report.failures.append(text)
        self.see(Seen.FAILURE, text)

    def broke(self, violation: Violation) -> None:
        if len(self.report.violations) < _VIOLATIONS_KEPT:
            self.report.violations.append(violation)
            self.see(Seen.VIOLATION, f"{violation.code}: {violation.text}")

    # What the caller does.

    @property
    def talking(self) -> bool:
        return self._spoken < len(self._speech)

    @property
    def agent_is_speaking(self) -> bool:
        return self._ear.speaking is not None or self._playout.buffered_ms > 0

    def talk(self, audio: bytes, text: str) -> Turn:
        """The caller begins to say this audio with the next beat."""
        first, last = _audible_ms(audio)
        interrupts = self._ear.speaking is not None
        turn = Turn(text, self.media_ms + first, self.media_ms + last, interrupts)
        self.report.turns.append(turn)
        self._speech, self._spoken = audio, 0
        self._step_started_ms, self._step_ended_ms = self.media_ms, turn.ended_ms
        self.see(Seen.CALLER_STARTED, text, turn.started_ms)
        return turn

    def press(self, digit: str) -> None:
        self._step_started_ms = self._step_ended_ms = self.media_ms
        self.see(Seen.CALLER_PRESSED, digit)
        if self.stream is not None:
            self.stream.send_digit(digit)

    def heard_reply(self) -> bool:
        """Whether the agent has begun and finished since the last step; a reply answers for one wait only."""
        for span in self._ear.spans:
            if span.over and span.started_ms >= self._step_started_ms and span.ended_ms > self._step_ended_ms:
                self._step_started_ms = self._step_ended_ms = span.ended_ms
                return True
        return False

    def audible_for(self, wanted_ms: int) -> bool:
        """Whether the agent has been speaking for so long in a reply to the last step."""
        span = self._ear.speaking
        if span is None or span.started_ms < self._step_started_ms:
            return False
        return self.media_ms - span.started_ms >= wanted_ms

    async def until(self, predicate: Callable[[], bool], timeout_ms: int) -> Outcome:
        """Wait, looking once a beat, until it is so, the call has ended, or so many ms have passed."""
        result: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(predicate, self.media_ms + timeout_ms, result))
        self._settle_waiting()
        return await result

    # What the carrier plays without the server.

    def play(self, audio: bytes) -> None:
        self._playout.append(audio, self._clock_ms())

    # Beats and messages.

    def beat(self) -> None:
        """20 ms pass: one frame of the caller goes out, 20 ms of the agent are heard."""
        frame = self._next_frame()
        self.media_ms += FRAME_MS
        self._said.append(frame)
        if self.stream is not None:
            self.stream.send_audio(frame)
        self._listen(self.media_ms)
        self._settle_waiting()

    def receive(self, frame: str | bytes) -> None:
        """A frame of the server, obeyed if it breaks no rule."""
        stream = self.stream
        if stream is None:
            return
        now_ms = self._clock_ms()
        match judge(frame, stream.ids.stream_sid):
            case Media(audio):
                if not self._playout.append(audio, now_ms):
                    self.broke(Violation(BUFFER_OVERFLOW, "more than 10 minutes of audio buffered; it is discarded"))
            case Mark(name):
                self._playout.mark(name, now_ms)
                self._listen(now_ms)
            case Clear():
                self._cleared(now_ms)
            case Violation() as violation:
                self.broke(violation)

    def _cleared(self, now_ms: int) -> None:
        self._listen(now_ms)
        self._playout.clear(now_ms)
        self.report.clears += 1
        self.see(Seen.CLEARED, at_ms=now_ms)
        if self.report.turns:
            turn = self.report.turns[-1]
            if turn.interrupts and turn.clear_ms is None and now_ms >= turn.started_ms:
                turn.clear_ms = now_ms - turn.started_ms
        if self._ear.clear() is Change.STOPPED:
            self.see(Seen.AGENT_STOPPED, "cleared", now_ms)
        self._listen(now_ms)

    def _listen(self, until_ms: int) -> None:
        heard = self._playout.take(until_ms)
        if heard.audio:
            self._heard.append(heard.audio)
            until_ms = self._playout.clock_ms
            change = self._ear.hear(heard.audio, until_ms=until_ms, buffered=self._playout.buffered_ms > 0)
            if change is Change.STARTED:
                self._agent_started()
            elif change is Change.STOPPED:
                self.see(Seen.AGENT_STOPPED, at_ms=self._ear.spans[-1].ended_ms)
        for echo in heard.echoes:
            self.report.marks.append(echo)
            self.see(Seen.MARK_CLEARED if echo.cleared else Seen.MARK_PLAYED, echo.name, echo.at_ms)
            if self.stream is not None:
                self.stream.send_mark(echo.name)

    def _agent_started(self) -> None:
        started_ms = self._ear.spans[-1].started_ms
        self.see(Seen.AGENT_STARTED, at_ms=started_ms)
        if self.report.turns:
            turn = self.report.turns[-1]
            if turn.first_audio_ms is None and started_ms >= turn.ended_ms:
                turn.first_audio_ms = started_ms - turn.ended_ms

    def _next_frame(self) -> bytes:
        if not self.talking:
            return _SILENT_FRAME
        frame = self._speech[self._spoken : self._spoken + FRAME_BYTES]
        self._spoken += FRAME_BYTES
        if self._spoken >= len(self._speech):
            self.see(Seen.CALLER_FINISHED, self.report.turns[-1].text, self.report.turns[-1].ended_ms)
        return frame.ljust(FRAME_BYTES, SILENCE)

    def _settle_waiting(self) -> None:
        for waiting in self._waiting:
            if waiting.result.done():
                continue
            if waiting.predicate():
                waiting.result.set_result(Outcome.MET)
            elif self.ended:
                waiting.result.set_result(Outcome.ENDED)
            elif self.media_ms >= waiting.deadline_ms:
                waiting.result.set_result(Outcome.TIMED_OUT)
        self._waiting = [waiting for waiting in self._waiting if not waiting.result.done()]


def _audible_ms(audio: bytes) -> tuple[int, int]:
    """Where its first audible frame begins and its last ends, in ms; the whole of it if none is audible."""
    audible = [at for at in range(0, len(audio), FRAME_BYTES) if is_audible(audio[at : at + FRAME_BYTES])]
    whole_ms = len(audio) // SAMPLES_PER_MS
    if not audible:
        return 0, whole_ms
    return audible[0] // SAMPLES_PER_MS, min(whole_ms, audible[-1] // SAMPLES_PER_MS + FRAME_MS)
