"""What hearing makes of a caller's audio. All times are milliseconds of the stream's own clock."""

from __future__ import annotations

import msgspec

from schema.envelope import Count, Event, MadeBy, Milliseconds, Moment
from schema.private import Private


class SpokenWord(msgspec.Struct, frozen=True):
    """One recognised word."""

    text: Private[str]
    start_ms: Milliseconds
    end_ms: Milliseconds


class SpeechStarted(Event, frozen=True, kw_only=True, tag="speech.started"):
    """The detector is sure somebody speaks."""

    stream: str
    at_ms: Milliseconds


class SpeechPaused(Event, frozen=True, kw_only=True, tag="speech.paused"):
    """Speech was followed by this much silence, at each step the profile asks for."""

    stream: str
    silence_ms: Milliseconds
    voiced_ms: Milliseconds  # end of the last voiced audio
    voiced_at: Moment = 0  # log time of the frame with the last voiced sample


class SpeechStopped(Event, frozen=True, kw_only=True, tag="speech.stopped"):
    """The utterance is over."""

    stream: str
    voiced_ms: Milliseconds
    voiced_at: Moment = 0


class TranscriptRevised(Event, frozen=True, kw_only=True, tag="transcript.revised"):
    """A guess at the open utterance, said when the words changed."""

    stream: str
    text: Private[str]
    stability: float = 0.0  # 0..1
    start_ms: Milliseconds = 0


class TranscriptSettled(Event, frozen=True, kw_only=True, tag="transcript.settled"):
    """The last word on an utterance; empty text means speech without intelligible words."""

    stream: str
    text: Private[str]
    start_ms: Milliseconds
    end_ms: Milliseconds
    through_ms: Milliseconds  # heard up to here; the next utterance begins exactly there
    through_position: Count = 0  # position in calls.media of the frame that holds it
    confidence: float = 0.0  # 0..1
    complete: bool | None = None  # the grammar takes it for a finished utterance
    language: str = ""
    alternatives: tuple[Private[str], ...] = ()
    words: tuple[SpokenWord, ...] = ()
    voiced_at: Moment = 0  # log time of the frame with the last voiced sample
    made_by: MadeBy | None = None


class StreamHeard(Event, frozen=True, kw_only=True, tag="stream.heard"):
    """Hearing's last word on a stream."""

    stream: str
    through_ms: Milliseconds = 0
    complete: bool = True  # False: its audio was gone or could not be heard
