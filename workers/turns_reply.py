"""How replies, tools and playback change whose turn it is: one small function an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from schema import stream, turn
from schema.heard import heard_words, presumed_duration_ms
from schema.private import plain
from workers.agents import AgentSaid, CallerSaid, HandedOver, HistoryItem, ToolReturned
from workers.talk import Reply, Sentence, Talk, Tool, Turn

Fold = Callable[[Talk, Any, int, int], Talk]


def _turn_taken(talk: Talk, event: turn.TurnTaken, position: int, at: int) -> Talk:
    # Words that were not asked for again are answered.
    asks = bool(talk.cut_due) and talk.lacks_the_rest
    # Only these: what did not fit into the turn stays said.
    named = frozenset(event.utterances)
    taken = [utterance for utterance in talk.said if utterance.id in named]
    rest = tuple(utterance for utterance in talk.said if utterance.id not in named)
    voiced_at = max((utterance.voiced_at for utterance in taken), default=0)
    settled_at = max((utterance.at for utterance in taken), default=0)
    return replace(
        talk,
        said=rest,
        turn=Turn(event.id, at, voiced_at, settled_at),
        unanswered=None,
        history=(*talk.history, CallerSaid(plain(event.text), event.kind, event.utterances)),
        prompts=0,
        prompt_due="",
        cut=asks,
        cut_due=talk.cut_due if asks else "",
        gapped=False,
        dtmf_over=False,
    )


def _reply_started(talk: Talk, event: turn.ReplyStarted, position: int, at: int) -> Talk:
    asks_again = bool(talk.cut_due) and event.why in ("turn", "prompt")
    reply = Reply(
        event.id,
        at,
        event.why,
        event.in_answer_to,
        talk.stream,
        event.generation,
        turn=_answered_first(talk, event),
        asks_again=asks_again,
        question=talk.question if asks_again else "",
        touched_at=at,
        made_by=event.made_by,
        agent=event.agent,
        profile=event.prompt_hash,
    )
    talk = replace(talk, reply=reply, take=position, wordless=False, prompt_due="", cut=False, cut_due="")
    match event.why:
        case "greeting":
            return replace(talk, greeted=True)
        case "turn":
            # The history the agent is asked with holds what the tools gave back, too.
            history = _cut_off(talk.history) if reply.asks_again else talk.history
            return replace(talk, turn=None, tool_done="", handed_over="", greeted=True, history=history)
        case "handover":
            return replace(talk, tool_done="", handed_over="")
        case "tool":
            return replace(talk, tool_done="")
        case "prompt":
            return talk if reply.asks_again else replace(talk, prompts=talk.prompts + 1)
        case _:
            instruction = next((text for id_, text in talk.requests if id_ == event.in_answer_to), "")
            rest = tuple(request for request in talk.requests if request[0] != event.in_answer_to)
            return replace(talk, requests=rest, instruction=instruction)


def _answered_first(talk: Talk, event: turn.ReplyStarted) -> Turn | None:
    """The turn whose answer begins to sound with this reply, so that its latency is the caller's whole wait."""
    if event.why == "turn":
        return talk.turn
    return talk.unanswered if event.why in ("tool", "handover") else None


def _cut_off(history: tuple[HistoryItem, ...]) -> tuple[HistoryItem, ...]:
    """The caller's last words are asked for again."""
    last = max((index for index, item in enumerate(history) if isinstance(item, CallerSaid)), default=-1)
    return tuple(
        CallerSaid(item.text, item.kind, item.ids, cut_off=True)
        if index == last and isinstance(item, CallerSaid)
        else item
        for index, item in enumerate(history)
    )


def _reply_sentence(talk: Talk, event: turn.ReplySentence, position: int, at: int) -> Talk:
    if (reply := _named(talk, event.reply)) is None or any(s.index == event.index for s in reply.sentences):
        return talk
    sentence = Sentence(event.id, event.index, plain(event.text), at, event.generation)
    return replace(talk, reply=replace(reply, sentences=(*reply.sentences, sentence), touched_at=at))


def _reply_voiced(talk: Talk, event: turn.ReplyVoiced, position: int, at: int) -> Talk:
    # A sentence without a duration can never be voiced: nothing of it will be heard.
    over = event.duration_ms == 0
    return _with_sentence(
        talk, event.reply, event.index, at, duration_ms=event.duration_ms, **({"over": True} if over else {})
    )


def _reply_composed(talk: Talk, event: turn.ReplyComposed, position: int, at: int) -> Talk:
    if (reply := _named(talk, event.reply)) is None:
        return talk
    reply = replace(reply, composed=True, orphaned=False, hang_up=event.hang_up)
    return replace(talk, reply=reply)


def _reply_interrupted(talk: Talk, event: turn.ReplyInterrupted, position: int, at: int) -> Talk:
    if (reply := _named(talk, event.reply)) is None:
        return talk
    return replace(talk, reply=replace(reply, interrupted=event.why, interrupted_at=at, cleared=False))


def _reply_resumed(talk: Talk, event: turn.ReplyResumed, position: int, at: int) -> Talk:
    if (reply := _named(talk, event.reply)) is None:
        return talk
    # What was never heard has to sound anew: only from then on is there something to clear.
    sentences = tuple(s if s.over or s.heard_ms else replace(s, started_at=0) for s in reply.sentences)
    reply = replace(reply, interrupted="", orphaned=False, generation=event.generation, stream=talk.stream)
    return replace(talk, reply=replace(reply, touched_at=at, sentences=sentences), take=position, wordless=False)


def _reply_finished(talk: Talk, event: turn.ReplyFinished, position: int, at: int) -> Talk:
    if (reply := _named(talk, event.reply)) is None:
        return talk
    said = AgentSaid(
        " ".join(s.text for s in reply.sentences),
        " ".join(filter(None, (heard_of(s) for s in reply.sentences))),
        reply.why,
    )
    history = (*talk.history, said) if said.text else talk.history
    # Who hears a reply to its end on the next stream and says nothing does not want to go on.
    cut = talk.cut and event.interrupted
    is_silent = not any(sentence.started_at for sentence in reply.sentences)
    return replace(
        talk,
        reply=None,
        unanswered=(reply.turn if is_silent else None) if reply.turn else talk.unanswered,
        history=(*history, *talk.returned),
        returned=(),
        quiet_at=at,
        instruction="",
        cut=cut,
    )


def heard_of(sentence: Sentence) -> str:
    """The words of a sentence that reached the caller's ear."""
    if sentence.duration_ms is None:
        # Its marks came back before the log was told how long it is.
        return (
            sentence.text
            if sentence.over
            else heard_words(sentence.text, presumed_duration_ms(sentence.text), sentence.heard_ms)
        )
    return heard_words(sentence.text, sentence.duration_ms, sentence.heard_ms)


def _tool_called(talk: Talk, event: turn.ToolCalled, position: int, at: int) -> Talk:
    arguments = {name: plain(value) for name, value in event.arguments.items()}
    tool = Tool(event.id, event.reply, event.name, arguments, event.repeatable, position)
    reply = _named(talk, event.reply)
    counted = None if reply is None else replace(reply, tools=reply.tools + 1)
    return replace(talk, tools=(*talk.tools, tool), reply=counted or talk.reply)


def _tool_returned(talk: Talk, event: turn.ToolReturned, position: int, at: int) -> Talk:
    tool = next((tool for tool in talk.tools if tool.id == event.call), None)
    if tool is None:
        return talk
    result = {name: plain(value) for name, value in event.result.items()}
    item = ToolReturned(tool.name, tool.arguments, event.status, result)
    talk = replace(talk, tools=tuple(t for t in talk.tools if t.id != tool.id), tool_done=event.id)
    if talk.reply is not None:
        return replace(talk, returned=(*talk.returned, item))
    return replace(talk, history=(*talk.history, item))


def _agent_changed(talk: Talk, event: turn.AgentChanged, position: int, at: int) -> Talk:
    item = HandedOver(event.agent, event.previous)
    talk = replace(talk, agent=event.agent, has_profile=False, handed_over=event.id)
    if talk.reply is not None:
        return replace(talk, returned=(*talk.returned, item))
    return replace(talk, history=(*talk.history, item))


# Playback


def _playback_started(talk: Talk, event: stream.PlaybackStarted, position: int, at: int) -> Talk:
    if event.stream != talk.stream:
        return talk
    reply = _named(talk, event.reply)
    sentence = next((s for s in reply.sentences if s.index == event.sentence), None) if reply else None
    if sentence is None or sentence.started_at:
        return talk
    return _with_sentence(talk, event.reply, event.sentence, at, started_at=at)


def _playback_marked(talk: Talk, event: stream.PlaybackMarked, position: int, at: int) -> Talk:
    changes: dict[str, Any] = {"heard_ms": event.heard_ms}
    if event.last:
        changes["over"] = True
    return _with_sentence(talk, event.reply, event.sentence, at, **changes)


def _playback_cleared(talk: Talk, event: stream.PlaybackCleared, position: int, at: int) -> Talk:
    talk = _with_sentence(talk, event.reply, event.sentence, at, heard_ms=event.heard_ms)
    reply = _named(talk, event.reply)
    if reply is None:
        return talk
    # A sentence whose rest never came is cleared by itself, while a later one may sound.
    is_last = not any(s.started_at and not s.over and s.index > event.sentence for s in reply.sentences)
    return replace(talk, reply=replace(reply, cleared=bool(reply.interrupted) and is_last))


def _with_sentence(talk: Talk, reply_id: str, index: int, at: int, **changes: Any) -> Talk:
    if (reply := _named(talk, reply_id)) is None:
        return talk
    sentences = tuple(_changed(s, changes) if s.index == index else s for s in reply.sentences)
    return replace(talk, reply=replace(reply, sentences=sentences, touched_at=at))


def _changed(sentence: Sentence, changes: dict[str, Any]) -> Sentence:
    # What was heard once stays heard: a second playing of the same words takes nothing back.
    heard_ms = max(sentence.heard_ms, changes.get("heard_ms", 0))
    return replace(sentence, **{**changes, "heard_ms": heard_ms})


def _named(talk: Talk, reply_id: str) -> Reply | None:
    return talk.reply if talk.reply is not None and talk.reply.id == reply_id else None


STEPS: dict[type[msgspec.Struct], Fold] = {
    turn.TurnTaken: _turn_taken,
    turn.ReplyStarted: _reply_started,
    turn.ReplySentence: _reply_sentence,
    turn.ReplyVoiced: _reply_voiced,
    turn.ReplyComposed: _reply_composed,
    turn.ReplyInterrupted: _reply_interrupted,
    turn.ReplyResumed: _reply_resumed,
    turn.ReplyFinished: _reply_finished,
    turn.ToolCalled: _tool_called,
    turn.ToolReturned: _tool_returned,
    turn.AgentChanged: _agent_changed,
    stream.PlaybackStarted: _playback_started,
    stream.PlaybackMarked: _playback_marked,
    stream.PlaybackCleared: _playback_cleared,
}
