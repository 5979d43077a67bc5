"""How each event changes whose turn it is: one small function an event, one table over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from schema import call, speech, stream, turn
from schema.envelope import AnyEvent
from schema.private import plain
from workers.agents import AgentSaid, CallerSaid
from workers.talk import Talk, TurnRules, Utterance
from workers.turns_reply import STEPS as REPLY_STEPS
from workers.wording import open_question

Fold = Callable[[Talk, Any, int, int], Talk]

# Reasons of `stream.closed` with which a caller who speaks is not cut off: they, or the call, wanted it.
ON_PURPOSE = frozenset({"stop", "ended"})


def fold(talk: Talk, event: AnyEvent, position: int, at: int) -> Talk:
    """The state after one admitted event. Unknown events change nothing."""
    step = STEPS.get(type(event))
    return talk if step is None else step(talk, event, position, at)


# The call


def _call_started(talk: Talk, event: call.CallStarted, position: int, at: int) -> Talk:
    lines = tuple(
        CallerSaid(plain(line.text))
        if line.speaker == "caller"
        else AgentSaid(plain(line.text), plain(line.text), "turn")
        for line in event.history
    )
    return Talk(agent=event.agent, language=event.language, started_at=at, quiet_at=at, history=lines)


def _call_adopted(talk: Talk, event: call.CallAdopted, position: int, at: int) -> Talk:
    if event.role != "conversation":
        return talk
    reply = talk.reply
    if reply is not None and not reply.composed:
        reply = replace(reply, orphaned=True)
    return replace(talk, take=position, adopted=position, reply=reply)


def _profile_used(talk: Talk, event: call.ProfileUsed, position: int, at: int) -> Talk:
    return replace(talk, has_profile=True, rules=rules_of(event.body))


def rules_of(body: dict[str, Any]) -> TurnRules:
    """The turn rules inside a profile's body; what it does not name keeps its default."""
    endpointing, interruption = body.get("endpointing", {}), body.get("interruption", {})
    silence, own = body.get("silence", {}), TurnRules()
    complete, incomplete = (
        endpointing.get("complete_ms", own.complete_ms),
        endpointing.get("incomplete_ms", own.incomplete_ms),
    )
    return TurnRules(
        complete_ms=complete,
        unsure_ms=(complete + incomplete) // 2,
        incomplete_ms=incomplete,
        interruptible=interruption.get("allowed", True),
        min_words=interruption.get("min_words", own.min_words),
        min_voiced_ms=interruption.get("min_voiced_ms", own.min_voiced_ms),
        false_barge_in_ms=interruption.get("false_barge_in_ms", own.false_barge_in_ms),
        silence_ms=silence.get("after_ms", own.silence_ms),
        max_prompts=silence.get("max", own.max_prompts),
    )


def _request_made(talk: Talk, event: call.RequestMade, position: int, at: int) -> Talk:
    if event.kind == "say":
        return replace(talk, requests=(*talk.requests, (event.id, plain(event.text))))
    if event.kind == "pause":
        return replace(talk, paused=True)
    if event.kind == "resume":
        # Silence asked for is not asked about afterwards.
        return replace(talk, paused=False, quiet_at=at, prompt_due="", cut=False, cut_due="")
    if event.kind == "interrupt" and talk.reply is not None:
        return replace(talk, reply=replace(talk.reply, unwanted=event.id))
    return talk


def _call_ended(talk: Talk, event: call.CallEnded, position: int, at: int) -> Talk:
    return replace(talk, ended=True)


# Its streams


def _stream_opened(talk: Talk, event: stream.StreamOpened, position: int, at: int) -> Talk:
    # An older stream whose end nobody told, such as a killed door's, was cut here.
    if talk.stream not in ("", event.stream):
        talk = _cut(talk)
    # What was asked last may have been answered while there was no line.
    if talk.lost and not talk.cut and (question := _unanswered(talk)):
        talk = replace(talk, cut=True, cut_paused=False, question=question)
    return replace(
        talk,
        stream=event.stream,
        door_at=at,
        quiet_at=at,
        released=False,
        released_frames=None,
        gapped=False,
        lost=False,
    )


def _stream_gone(talk: Talk, event: Any, position: int, at: int) -> Talk:
    if event.stream != talk.stream:
        return talk
    is_own_wish = isinstance(event, stream.StreamClosed) and event.reason in ON_PURPOSE
    talk = replace(talk, cut=False, lost=False) if is_own_wish else _cut(talk)
    return replace(talk, stream="", gapped=False)


def _cut(talk: Talk) -> Talk:
    """The line is gone."""
    if not _in_mid_utterance(talk):
        return replace(talk, lost=True)
    paused = not talk.gapped and talk.silence_ms >= talk.rules.complete_ms
    return replace(talk, lost=True, cut=True, cut_paused=paused, question="")


def _in_mid_utterance(talk: Talk) -> bool:
    """Whether the caller was speaking, as far as was heard, when their line went."""
    is_speaking = talk.speaking and talk.silence_ms < talk.rules.any_ms
    return (is_speaking or talk.gapped) and talk.speech_on == talk.stream and talk.turn is None


def _unanswered(talk: Talk) -> str:
    """The question that was heard last, if nobody has said or done anything since; else empty."""
    last = talk.history[-1] if talk.history else None
    is_open = talk.reply or talk.turn or talk.said or talk.tools or talk.tool_done or talk.handed_over
    if is_open or talk.speaking or talk.released or not isinstance(last, AgentSaid):
        return ""
    return open_question(last)


# What the caller does


def _speech_started(talk: Talk, event: speech.SpeechStarted, position: int, at: int) -> Talk:
    # Hearing is a moment behind: words on a line that has gone were cut off by its end. Who speaks on the next one may
    # go on, or be heard without a word: that is known when it is settled.
    is_late = event.stream != talk.stream
    return replace(
        talk,
        speaking=True,
        speech=event.id,
        speech_on=event.stream,
        spoke_at=at,
        silence_ms=0,
        words=0,
        long_enough=False,
        wordless=False,
        released=False,
        released_frames=None,
        gapped=False,
        cut=talk.cut or is_late,
        cut_paused=talk.cut_paused and not is_late,
        cut_due="",
        question="" if is_late else talk.question,
    )


def _of_older(talk: Talk, event: Any) -> bool:
    """Whether the caller speaks on a newer stream than the one this is about: it says nothing of who speaks now."""
    return talk.speaking and event.stream != talk.speech_on


def _speech_paused(talk: Talk, event: speech.SpeechPaused, position: int, at: int) -> Talk:
    if _of_older(talk, event):
        return talk
    is_pause = talk.cut and event.stream != talk.stream and event.silence_ms >= talk.rules.complete_ms
    return replace(talk, silence_ms=event.silence_ms, voiced_at=event.voiced_at, cut_paused=talk.cut_paused or is_pause)


def _speech_stopped(talk: Talk, event: speech.SpeechStopped, position: int, at: int) -> Talk:
    if _of_older(talk, event):
        return talk
    voiced_at = event.voiced_at or talk.voiced_at
    return replace(talk, speaking=False, words=0, voiced_at=voiced_at, stopped_at=at, quiet_at=at)


def _transcript_revised(talk: Talk, event: speech.TranscriptRevised, position: int, at: int) -> Talk:
    if _of_older(talk, event):
        return talk
    # New words after a pause: the caller went on speaking, whatever the pause had promised.
    return replace(talk, words=len(plain(event.text).split()), silence_ms=0)


def _transcript_settled(talk: Talk, event: speech.TranscriptSettled, position: int, at: int) -> Talk:
    text = plain(event.text).strip()
    if _of_older(talk, event):
        rest = (Utterance(event.id, text, "speech", at, event.complete, event.voiced_at),) if text else ()
        return replace(talk, said=(*talk.said, *rest))
    if not text and (talk.reply is not None or event.end_ms - event.start_ms < talk.rules.min_unclear_ms):
        # A cough, or an interruption that said nothing.
        return replace(talk, words=0, wordless=True, quiet_at=at, gapped=False)
    voiced_at = event.voiced_at or talk.voiced_at
    utterance = Utterance(event.id, text, "speech", at, event.complete, voiced_at)
    cut = talk.cut and event.stream != talk.stream
    return replace(talk, said=(*talk.said, utterance), words=0, voiced_at=voiced_at, wordless=False, cut=cut)


def _stream_heard(talk: Talk, event: speech.StreamHeard, position: int, at: int) -> Talk:
    # Hearing's last word on a stream also ends the speech it left open.
    if not talk.speaking or event.stream != talk.speech_on:
        return talk
    return replace(talk, speaking=False, wordless=not talk.said, stopped_at=at, quiet_at=at)


def _text_typed(talk: Talk, event: stream.TextTyped, position: int, at: int) -> Talk:
    utterance = Utterance(event.id, plain(event.text), "text", at)
    return replace(talk, said=(*talk.said, utterance), quiet_at=at, cut=False, cut_due="")


def _dtmf_pressed(talk: Talk, event: stream.DtmfPressed, position: int, at: int) -> Talk:
    utterance = Utterance(event.id, plain(event.digit), "dtmf", at)
    return replace(talk, said=(*talk.said, utterance), dtmf_over=False, quiet_at=at, cut=False, cut_due="")


def _turn_released(talk: Talk, event: stream.TurnReleased, position: int, at: int) -> Talk:
    return replace(talk, released=True, released_frames=None, silence_ms=talk.rules.any_ms, cut=False, cut_due="")


def _stream_measured(talk: Talk, event: stream.StreamMeasured, position: int, at: int) -> Talk:
    """A client that let go of its turn may send nothing for as long as it likes; once it sends, silence counts."""
    if event.stream != talk.stream:
        return talk
    talk = replace(talk, door_at=at)
    if not talk.released:
        return talk
    if talk.released_frames is None:
        return replace(talk, released_frames=event.frames)
    if event.frames <= talk.released_frames:
        return talk
    return replace(talk, released=False, released_frames=None, quiet_at=at)


def _timer_rang(talk: Talk, event: turn.TimerRang, position: int, at: int) -> Talk:
    if event.role == "hearing":
        return replace(talk, gapped=talk.speaking) if event.name == "gap" else talk
    if event.role != "conversation":
        return talk
    match event.name:
        case "cut_off" if talk.cut:
            return replace(talk, cut_due=event.id)
        case "silence" if not (talk.released or talk.paused):
            return replace(talk, prompt_due=event.id)
        case "dtmf":
            return replace(talk, dtmf_over=True)
        case "endpoint":
            return replace(talk, silence_ms=talk.rules.any_ms)
        case "barge_in":
            return replace(talk, long_enough=talk.speaking and talk.silence_ms == 0)
        case "false_barge_in":
            return replace(talk, wordless=True)
        case "cleared" if talk.reply is not None:
            return replace(talk, reply=replace(talk.reply, cleared=True))
        case "playback" if talk.reply is not None:
            over = tuple(replace(sentence, over=True) for sentence in talk.reply.sentences)
            return replace(talk, reply=replace(talk.reply, sentences=over))
    return talk


STEPS: dict[type[msgspec.Struct], Fold] = {
    call.CallStarted: _call_started,
    call.CallAdopted: _call_adopted,
    call.ProfileUsed: _profile_used,
    call.RequestMade: _request_made,
    call.CallEnded: _call_ended,
    stream.StreamOpened: _stream_opened,
    stream.StreamClosed: _stream_gone,
    stream.StreamLost: _stream_gone,
    stream.StreamMeasured: _stream_measured,
    speech.SpeechStarted: _speech_started,
    speech.SpeechPaused: _speech_paused,
    speech.SpeechStopped: _speech_stopped,
    speech.TranscriptRevised: _transcript_revised,
    speech.TranscriptSettled: _transcript_settled,
    speech.StreamHeard: _stream_heard,
    stream.TextTyped: _text_typed,
    stream.DtmfPressed: _dtmf_pressed,
    stream.TurnReleased: _turn_released,
    turn.TimerRang: _timer_rang,
    **REPLY_STEPS,
}
