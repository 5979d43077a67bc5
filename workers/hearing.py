"""Hearing turns a call's audio into speech events and transcripts; its place in the media is what the log says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from audio.decoding import PatientDecoder, heard_rate
from audio.formats import AudioFormat
from schema import call, speech, stream, turn
from schema.envelope import AnyEvent, Event, Role
from workers.case import Case
from workers.ear import Ear, EarConfig, VoiceDetector
from workers.engines.port import HearingRequest, SpeechToText
from workers.grammar import Grammar
from workers.profiles import Profile, decode_profile
from workers.talk import Wait


@dataclass(frozen=True, slots=True)
class Heard:
    """How far a stream was heard, by whoever heard it."""

    stream: str
    format: AudioFormat  # as it declared
    media_from: int  # position in calls.media to read from
    through_ms: int = 0
    gone: bool = False
    last_sequence: int = 0
    over: bool = False  # stream.heard was said


@dataclass(frozen=True, slots=True)
class HearingState:
    """The fold of one call as hearing sees it."""

    profile_hash: str = ""
    profile_body: dict[str, Any] | None = None
    streams: Mapping[str, Heard] = field(default_factory=dict)
    sealed: bool = False


@dataclass(slots=True)
class Listening:
    """What one owner is hearing of one call."""

    ears: dict[str, Ear] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HearingDesk:
    """What wiring gives hearing to work with."""

    stt: SpeechToText
    detector: Callable[[int], VoiceDetector]  # sample rate -> detector
    new_id: Callable[[], str]


def fold(state: HearingState, event: AnyEvent) -> HearingState:
    """The state after one admitted event."""
    match event:
        case call.CallStarted():
            return HearingState()
        case call.ProfileUsed():
            return replace(state, profile_hash=event.hash, profile_body=event.body)
        case call.CallSealed():
            return replace(state, sealed=True)
        case stream.StreamOpened() if event.stream not in state.streams:
            declared = AudioFormat(event.encoding, event.sample_rate, event.channels)
            heard = Heard(event.stream, declared, event.media_end)
            return replace(state, streams={**state.streams, event.stream: heard})
        case stream.StreamClosed():
            return _with(state, event.stream, gone=True, last_sequence=event.last_sequence)
        case stream.StreamLost():
            return _with(state, event.stream, gone=True)
        case speech.TranscriptSettled():
            return _with(state, event.stream, through_ms=event.through_ms, media_from=event.through_position)
        case speech.StreamHeard():
            return _with(state, event.stream, over=True, through_ms=event.through_ms)
    return state


def _with(state: HearingState, stream_id: str, **changes: Any) -> HearingState:
    heard = state.streams.get(stream_id)
    if heard is None:
        return state
    return replace(state, streams={**state.streams, stream_id: replace(heard, **changes)})


class HearingRole:
    """The role `hearing` for the runtime. It chains freely: it acts on nothing but its own recognisers."""

    name: Role = "hearing"
    adopts = True
    pipelined = True

    def __init__(self, desk: HearingDesk) -> None:
        self.desk = desk
        # The runtime's, set by wiring: append for a call; read its media again from a position.
        self.append: Callable[[Case[HearingState], Sequence[Event]], None] = lambda case, events: None
        self.rewind: Callable[[int, int], None] = lambda partition, position: None
        self.watch_end: Callable[[Case[HearingState], str], None] = lambda case, stream_id: None
        self.watch_release: Callable[[Case[HearingState], str], None] = lambda case, stream_id: None
        self.gap_rang: Callable[[Case[HearingState], turn.TimerRang], None] = lambda case, rang: None
        self._requests: dict[str, tuple[Profile, HearingRequest]] = {}

    def fresh(self) -> HearingState:
        return HearingState()

    def fold(self, state: HearingState, event: AnyEvent, position: int, at: int) -> HearingState:
        return fold(state, event)

    def owed(self, case: Case[HearingState], state: HearingState) -> tuple[Sequence[Event], tuple[Wait, ...]]:
        return (), ()

    def is_valid(self, state: HearingState, draft: Event) -> bool:
        return True

    def is_over(self, state: HearingState) -> bool:
        return state.sealed and all(heard.over for heard in state.streams.values() if heard.gone)

    def speculate(self, case: Case[HearingState], drafts: Sequence[Event], state: HearingState) -> bool:
        return False

    def begin(self, case: Case[HearingState]) -> None:
        """Hear every stream of the call from where it was heard."""
        self._prick(case)

    def acted(self, case: Case[HearingState], event: AnyEvent, position: int, at: int) -> None:
        match event:
            case call.ProfileUsed() | stream.StreamOpened():
                self._prick(case)
            case stream.StreamClosed() | stream.StreamLost():
                self.watch_end(case, event.stream)
            case stream.TurnReleased():
                self.watch_release(case, event.stream)
            case turn.TimerRang(name="gap", role="hearing"):
                self.gap_rang(case, event)

    def drop(self, case: Case[HearingState]) -> None:
        listening: Listening | None = case.work
        case.work = None
        for ear in listening.ears.values() if listening is not None else ():
            ear.stop()

    def gone(self, call_id: str, event: AnyEvent, why: str) -> None:
        """Nobody hears a call that is over."""

    def ear(self, case: Case[HearingState], stream_id: str) -> Ear | None:
        """The ear of a stream, if this process hears it."""
        listening: Listening | None = case.work
        return listening.ears.get(stream_id) if listening is not None else None

    def _prick(self, case: Case[HearingState]) -> None:
        """Open an ear for each stream that is not heard to its end, and have its audio read again from its place."""
        state = case.state
        if state.profile_body is None:
            return
        if case.work is None:
            case.work = Listening()
        listening: Listening = case.work
        for heard in state.streams.values():
            if (ear := listening.ears.get(heard.stream)) is not None:
                self._retune(case, ear, heard)
            if heard.over or heard.stream in listening.ears:
                continue
            listening.ears[heard.stream] = self._open(case, heard)
            self.rewind(case.partition, heard.media_from)
            if heard.gone:
                self.watch_end(case, heard.stream)

    def _retune(self, case: Case[HearingState], ear: Ear, heard: Heard) -> None:
        """The call was handed over: its streams are heard on in the new profile's grammar."""
        config = replace(self._config(case, heard), through_ms=ear.config.through_ms)
        if not ear.finished and config != ear.config:
            ear.retune(config)

    def _open(self, case: Case[HearingState], heard: Heard) -> Ear:
        config = self._config(case, heard)
        return Ear(
            config,
            self.desk.stt,
            self.desk.detector(config.request.sample_rate),
            PatientDecoder(heard.format, config.request.sample_rate),
            new_id=self.desk.new_id,
            say=lambda events: self.append(case, events),
        )

    def _config(self, case: Case[HearingState], heard: Heard) -> EarConfig:
        profile, request = self._request(case.state)
        return EarConfig(
            call_id=case.call_id,
            stream=heard.stream,
            request=replace(request, sample_rate=heard_rate(heard.format)),
            steps_ms=profile.endpointing.steps,
            min_words=profile.interruption.min_words,
            through_ms=heard.through_ms,
        )

    def _request(self, state: HearingState) -> tuple[Profile, HearingRequest]:
        known = self._requests.get(state.profile_hash)
        if known is None:
            profile = decode_profile(state.profile_body)
            request = HearingRequest(
                language=profile.language,
                sample_rate=8000,
                phrases=profile.phrases,
                grammar=Grammar(profile).jsgf() if profile.intents else "",
                complete_ms=profile.endpointing.complete_ms,
                incomplete_ms=profile.endpointing.incomplete_ms,
            )
            known = self._requests[state.profile_hash] = (profile, request)
        return known
