"""Rule 1: whose turn it is, is decided by two pure functions, and by nothing else.

`fold(talk, event, position, at)` is the state after one admitted event: `turns_fold.py`, and for replies, tools and
playback `turns_reply.py`, one small function an event. `owed(talk)` is what that state alone demands next: this file.
The state is `talk.Talk`. No event of another kind changes it:

    call.started, profile.used              what was said before; the agent's rules of turns
    call.adopted                            a reply that is not composed, and the open tools, lost their owner
    request.made                            words to say; pause, resume, silence
    call.ended                              ENDING instead of RULES
    stream.opened, .closed, .lost           where the agent sounds; was the caller cut off, does a question stand open?
    stream.measured                         audio comes again after turn.released: silence counts again
    speech.started, .paused, .stopped       does the caller speak, since when, or how long have they been silent?
    transcript.revised, .settled            words that interrupt; an utterance, complete or not, or speech without words
    stream.heard                            no more words of that stream will come
    text.typed, dtmf.pressed                an utterance that was not spoken
    turn.released                           the client says the caller is done: no silence to wait for, no prompt
    timer.rang                              a moment that `waits` named has come
    turn.taken                              its utterances wait for an answer
    reply.started, .sentence, .voiced,      what is being answered, by whom, and how much of it there is to hear
      .composed, .resumed, .interrupted
    playback.started, .marked, .cleared     how much of it was heard
    reply.finished                          nobody has the turn; what was heard is remembered as said
    tool.called, .returned; agent.changed   what the agent does besides speaking, to be spoken about

The first rule that demands something wins; if none does, `waits` names the moments at which a timer has to ring.

    give up orphaned tool   it was open when its owner died, and may not be repeated     -> ReturnUnknown
    greet                   a stream is open and nobody was greeted                      -> StartReply(greeting)
    continue                the open reply lost its owner or its stream                  -> Resume
    barge in                the caller speaks into it, or a request wants silence        -> Interrupt
    decide interrupted      it is silent, and words came / none came                     -> Finish / Resume
    finish                  everything of it was heard                                   -> Finish
    take turn               the caller is done speaking, or was cut off                  -> TakeTurn
    answer                  a turn, a hand-over, a tool, a request or a prompt is open,
                            or the line went while they spoke or owed an answer          -> StartReply
  of a call that has ended, only:
    end reply               a reply is open                                              -> Interrupt, then Finish
    answer open tool        a tool is open                                               -> ReturnUnknown
"""

from __future__ import annotations

from collections.abc import Callable

from workers.talk import (
    Decision,
    Finish,
    Interrupt,
    Reply,
    Resume,
    ReturnUnknown,
    StartReply,
    TakeTurn,
    Talk,
    Utterance,
    Wait,
)
from workers.turns_fold import fold

Rule = Callable[[Talk], Decision | None]

MOST_TURN_BYTES = 64 * 1024  # far below what a log takes in one fact, however the text is escaped
MOST_UTTERANCES = 500


def owed(talk: Talk) -> tuple[Decision, ...]:
    """What the state demands: one decision, or the timers to wait for, or nothing."""
    if not (talk.has_profile or talk.ended):
        return ()
    for rule in ENDING if talk.ended else RULES:
        decision = rule(talk)
        if decision is not None:
            return (decision,)
    return () if talk.ended else waits(talk)


def _end_reply(talk: Talk) -> Decision | None:
    reply = talk.reply
    if reply is None:
        return None
    if not reply.interrupted and _may_still_sound(reply):
        return Interrupt(reply.id, "ended")
    return Finish(reply.id, interrupted=_may_still_sound(reply))


def _answer_open_tool(talk: Talk) -> Decision | None:
    return ReturnUnknown(talk.tools[0].id) if talk.tools else None


def _give_up_orphaned_tool(talk: Talk) -> Decision | None:
    for tool in talk.tools:
        if tool.position < talk.adopted and not tool.repeatable:
            return ReturnUnknown(tool.id)
    return None


def _greet(talk: Talk) -> Decision | None:
    if talk.stream and not talk.greeted and talk.reply is None and not talk.paused:
        return StartReply("greeting")
    return None


def _continue(talk: Talk) -> Decision | None:
    reply = talk.reply
    if reply is None or reply.interrupted or reply.unwanted or not talk.stream or not _may_still_sound(reply):
        return None
    if reply.orphaned:
        return _resume(reply, "takeover")
    if reply.stream != talk.stream:
        return _resume(reply, "new_stream")
    return None


def _barge_in(talk: Talk) -> Decision | None:
    reply = talk.reply
    if reply is None or reply.interrupted or not _may_still_sound(reply):
        return None
    if reply.unwanted:
        return Interrupt(reply.id, "request", reply.unwanted)
    if talk.paused:
        return Interrupt(reply.id, "paused")
    if not talk.rules.interruptible:
        return None
    if talk.said:
        return Interrupt(reply.id, "barge_in", talk.said[0].id)
    if talk.speaking and (talk.long_enough or talk.words >= talk.rules.min_words):
        return Interrupt(reply.id, "barge_in", talk.speech)
    return None


def _decide_interrupted(talk: Talk) -> Decision | None:
    reply = talk.reply
    if reply is None or not reply.interrupted or not _is_silent(talk, reply):
        return None
    if talk.said or reply.unwanted:
        return Finish(reply.id, interrupted=True)
    if talk.paused or talk.speaking or not talk.stream:
        return None
    if reply.interrupted == "paused":
        return _resume(reply, "resumed")
    if talk.wordless:
        return _resume(reply, "false_barge_in")
    return None


def _is_silent(talk: Talk, reply: Reply) -> bool:
    """Whether it is known how much of the interrupted reply was heard."""
    sounding = any(sentence.started_at and not sentence.over for sentence in reply.sentences)
    return reply.cleared or not sounding or reply.stream != talk.stream


def _finish(talk: Talk) -> Decision | None:
    reply = talk.reply
    if reply is None or _may_still_sound(reply):
        return None
    return Finish(reply.id, interrupted=False)


def _take_turn(talk: Talk) -> Decision | None:
    if not talk.said or talk.reply is not None or talk.turn is not None or not talk.stream or talk.paused:
        return None
    if not _caller_is_done(talk):
        return None
    taken = _as_much_as_fits(talk.said)
    kinds = {utterance.kind for utterance in taken}
    kind = "dtmf" if kinds == {"dtmf"} else "text" if kinds == {"text"} else "speech"
    joint = "" if kind == "dtmf" else " "
    text = joint.join(utterance.text for utterance in taken if utterance.text)
    return TakeTurn(tuple(utterance.id for utterance in taken), text, kind)


def _as_much_as_fits(said: tuple[Utterance, ...]) -> tuple[Utterance, ...]:
    """The first of them, at least one: who was paused may have said more than one fact holds. The rest stays said, so
    it interrupts the answer, as whatever is said into one does, and is the next turn."""
    size = 0
    for count, utterance in enumerate(said[:MOST_UTTERANCES]):
        size += len(utterance.text.encode()) + 1
        if count and size > MOST_TURN_BYTES:
            return said[:count]
    return said[:MOST_UTTERANCES]


def _caller_is_done(talk: Talk) -> bool:
    last = talk.said[-1]
    if last.kind == "text" or talk.released:
        return True
    if last.kind == "dtmf":
        return talk.dtmf_over or last.text == "#"
    if talk.speaking and talk.silence_ms == 0:
        return False
    if talk.lacks_the_rest:
        return bool(talk.cut_due)
    return talk.silence_ms >= _needed_ms(talk)


def _needed_ms(talk: Talk) -> int:
    complete = talk.said[-1].complete
    if complete is None:
        return talk.rules.unsure_ms
    return talk.rules.complete_ms if complete else talk.rules.incomplete_ms


def _answer(talk: Talk) -> Decision | None:
    if talk.reply is not None or not talk.stream or talk.paused:
        return None
    if talk.turn is not None:
        return StartReply("turn", talk.turn.id)
    if talk.said or (talk.speaking and talk.silence_ms == 0):
        return None
    if talk.cut_due:
        return StartReply("prompt", talk.cut_due)
    if talk.handed_over:
        return StartReply("handover", talk.handed_over)
    if talk.tool_done and not talk.tools:
        return StartReply("tool", talk.tool_done)
    if talk.requests:
        return StartReply("request", talk.requests[0][0])
    if talk.prompt_due:
        return StartReply("prompt", talk.prompt_due)
    return None


RULES: tuple[Rule, ...] = (
    _give_up_orphaned_tool,
    _greet,
    _continue,
    _barge_in,
    _decide_interrupted,
    _finish,
    _take_turn,
    _answer,
)
ENDING: tuple[Rule, ...] = (_end_reply, _answer_open_tool)


def waits(talk: Talk) -> tuple[Wait, ...]:
    """The timers the state needs, in log time; none for what its ringing could not change."""
    if not talk.stream:
        return ()
    found: list[Wait] = []
    reply, rules = talk.reply, talk.rules
    if talk.said and reply is None and talk.turn is None and not talk.paused:
        last = talk.said[-1]
        if last.kind == "dtmf":
            found.append(Wait("dtmf", last.at + rules.dtmf_ms))
        elif not talk.speaking and not talk.lacks_the_rest:
            found.append(Wait("endpoint", (last.voiced_at or last.at) + _needed_ms(talk)))
    if reply is not None and not reply.interrupted:
        if talk.speaking and talk.silence_ms == 0 and not talk.long_enough and rules.interruptible:
            found.append(Wait("barge_in", talk.spoke_at + rules.min_voiced_ms))
        if reply.composed and reply.sentences:
            heard_at = reply.touched_at + _unheard_ms(talk, reply)
            # A door that died before has played nothing of it: the next stream does.
            if talk.door_at >= heard_at:
                found.append(Wait("playback", heard_at + rules.playback_slack_ms))
    if reply is not None and reply.interrupted and not _is_silent(talk, reply):
        found.append(Wait("cleared", reply.interrupted_at + rules.clear_ms))
    if reply is not None and reply.interrupted == "barge_in" and not (talk.speaking or talk.wordless):
        found.append(Wait("false_barge_in", max(reply.interrupted_at, talk.stopped_at) + rules.false_barge_in_ms))
    if _may_go_on(talk):
        found.append(Wait("cut_off", talk.quiet_at + rules.cut_off_ms))
    if _nobody_speaks(talk):
        found.append(Wait("silence", talk.quiet_at + rules.silence_ms))
    return tuple(found)


def _may_go_on(talk: Talk) -> bool:
    """The line went, and nobody has said anything since."""
    is_open = talk.reply or talk.turn or talk.tools or talk.speaking or talk.released or talk.paused
    return talk.lacks_the_rest and not (is_open or talk.cut_due)


def _nobody_speaks(talk: Talk) -> bool:
    return not (
        talk.reply or talk.turn or talk.said or talk.tools or talk.speaking or talk.released or talk.paused
    ) and bool(talk.greeted)


def _unheard_ms(talk: Talk, reply: Reply) -> int:
    """How long the rest may still sound; a sentence without a voice is still being given one."""
    unheard_ms = 0
    for sentence in reply.sentences:
        if not sentence.over:
            known = sentence.duration_ms is not None
            unheard_ms += max(0, (sentence.duration_ms or 0) - sentence.heard_ms) if known else talk.rules.voicing_ms
    return unheard_ms


def _may_still_sound(reply: Reply) -> bool:
    """Whether anything of the reply is still to be composed, voiced or heard."""
    return not reply.composed or not all(sentence.over for sentence in reply.sentences)


def _resume(reply: Reply, why: str) -> Resume:
    last = reply.sentences[-1].index if reply.sentences else -1
    return Resume(reply.id, reply.generation + 1, last, why)


__all__ = ["ENDING", "RULES", "fold", "owed", "waits"]
