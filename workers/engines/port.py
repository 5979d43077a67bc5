"""The ports every engine implements: speech to text, language model (see `workers.agents`), text to speech."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class EngineError(Exception):
    """An engine failed; the only error a port lets out.

    `retryable` says whether the same request may succeed later or with the next engine of the list.
    """

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class MadeBy:
    """Who produced a text, a voice or a summary: enough to tell two runs apart."""

    engine: str
    model: str
    settings: str  # hash of everything configured that can change the outcome


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word on its stream's own clock."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Interim:
    """A guess at the open utterance that may still change."""

    text: str
    stability: float  # 0..1


@dataclass(frozen=True, slots=True)
class Settled:
    """The last word on one utterance. `text` is empty when nothing intelligible was said.

    Times are milliseconds of the stream's audio. `through_ms` is how far the engine has heard: what follows it
    belongs to the next utterance. `complete` is whether the engine's grammar takes the words for a finished
    utterance (None: it cannot tell).
    """

    text: str
    confidence: float  # 0..1
    start_ms: int
    end_ms: int
    through_ms: int
    complete: bool | None = None
    alternatives: tuple[str, ...] = ()
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """Answer to `finish()`: everything fed has been settled; nothing follows."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The stream is dead and nothing follows; what was fed since the last `Settled.through_ms` must be heard again."""

    error: EngineError


Heard = Interim | Settled | Finished | Failed


@dataclass(frozen=True, slots=True)
class HearingRequest:
    """What an agent profile asks of a recogniser. `start_ms` is the stream's clock at the first byte fed."""

    language: str
    sample_rate: int  # of the s16le mono audio that will be fed
    start_ms: int = 0
    phrases: tuple[str, ...] = ()  # to boost
    grammar: str = ""  # JSGF; empty where the engine takes none
    complete_ms: int = 300  # silence after an utterance that is complete
    incomplete_ms: int = 1200  # silence after one that plainly is not


@dataclass(frozen=True, slots=True)
class SpeechToTextCapabilities:
    name: str
    interim: bool
    grammar: bool
    words: bool
    languages: tuple[str, ...] = ()


class SpeechStream(Protocol):
    """One disposable stream of audio being recognised. No method blocks or raises; results come to `emit`.

    `emit` is called on the event loop's thread, never from inside one of these methods.
    """

    def feed(self, pcm: bytes) -> None:
        """Take the next audio, s16le mono, continuous (speech and silence) from `start_ms` on."""

    def speech_started(self, at_ms: int) -> None:
        """The voice activity detector confirmed speech that began at `at_ms` (already fed)."""

    def speech_paused(self, silence_ms: int) -> None:
        """Speech is followed by this much silence; said again at each longer step of the profile.

        An engine may settle now (its words are complete), or wait. At the longest step it must settle.
        """

    def finish(self) -> None:
        """No more audio comes: settle what is open, then emit `Finished`."""

    def close(self) -> None:
        """Drop everything; nothing is emitted after it. Harmless when repeated."""


class SpeechToText(Protocol):
    """A recogniser. Opening is cheap; a failure to open arrives as `Failed`."""

    capabilities: SpeechToTextCapabilities

    def open(self, request: HearingRequest, emit: Callable[[Heard], None]) -> SpeechStream: ...

    def made_by(self, request: HearingRequest) -> MadeBy: ...

    async def start(self) -> None:
        """Load models, start child processes. Raises EngineError(retryable=False) if it can never work here."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class VoiceRequest:
    """One sentence to be spoken."""

    text: str
    voice: str
    language: str
    sample_rate: int  # wanted; the port resamples
    rate_wpm: int = 0  # 0 = the voice's own


@dataclass(frozen=True, slots=True)
class TextToSpeechCapabilities:
    name: str
    streaming: bool
    voices: tuple[str, ...] = field(default=())


class TextToSpeech(Protocol):
    """A voice. `speak` yields s16le mono PCM at the wanted rate; may raise EngineError before or between pieces."""

    capabilities: TextToSpeechCapabilities

    def speak(self, request: VoiceRequest) -> AsyncIterator[bytes]: ...

    def made_by(self, request: VoiceRequest) -> MadeBy: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ActionFound:
    title: str
    kind: str
    cites: tuple[str, ...]
    due: str = ""  # as said, or ISO 8601 where it could be computed
    assignee: str = ""


@dataclass(frozen=True, slots=True)
class KeyPoint:
    text: str
    cites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CallSummary:
    text: str
    key_points: tuple[KeyPoint, ...]
    actions: tuple[ActionFound, ...]
    sentiment: str  # positive | neutral | negative
    cites: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """One line of a finished call's transcript, as really heard; `id` is the transcript event's id."""

    id: str
    speaker: str  # caller | agent
    text: str
    taken: bool = True  # False: the caller's, and of no turn; the call ended first, perhaps in mid-sentence


class Summariser(Protocol):
    """Turns a finished call's transcript into a summary. Raises EngineError."""

    async def summarise(self, lines: Sequence[SpokenLine], tools: Sequence[ToolOutcome]) -> CallSummary: ...

    def made_by(self) -> MadeBy: ...


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """A tool the agent called in the call, with what came back; `cites` are the caller's lines that led to it."""

    name: str
    arguments: dict[str, str]
    ok: bool
    cites: tuple[str, ...]
