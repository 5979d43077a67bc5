"""Plausible events of every type, and a tape that chains them as a real call would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from eventlog.port import Record
from schema.admit import Admission, admit, prior_for
from schema.call import HistoryLine
from schema.envelope import AnyEvent, Event, MadeBy
from schema.insight import KeyPoint
from schema.registry import EVENTS, encode
from schema.speech import SpokenWord
from schema.topics import EVENTS as EVENTS_TOPIC
from schema.turn import Latency

CALL = "CA00000000000000000000000000000001"
STREAM = "MZ00000000000000000000000000000001"
BEGAN_AT = 1_770_000_000_000
STT = MadeBy(engine="pocketsphinx", model="notes", settings="5f1c", code="0.1.0")
LLM = MadeBy(engine="rules", model="notes", settings="a2b3", code="0.1.0")
TTS = MadeBy(engine="espeak", model="en-us", settings="77d0", code="0.1.0")


def event_id(number: int) -> str:
    """A UUIDv7 whose order is that of its number."""
    return f"0198a1b2-{number >> 32 & 0xFFFF:04x}-7000-8000-{number & 0xFFFFFFFF:012x}"


# Ids that the data below refers to.
LIFE, UTTERANCE, TURN, REPLY, TOOL = (event_id(number) for number in (1, 20, 21, 22, 23))

# Every field that says something, by event type.
DATA: Mapping[str, Mapping[str, Any]] = {
    "call.started": {
        "channel": "twilio",
        "from_": "+15550100001",
        "to": "+15550100002",
        "direction": "inbound",
        "agent": "notes",
        "language": "en-US",
        "user_id": "user-1",
        "parameters": {"campaign": "spring"},
        "history": (HistoryLine(speaker="caller", text="earlier words"),),
    },
    "call.adopted": {"owner": "conversation:host-1:1"},
    "profile.used": {"hash": "c0ffee", "body": {"name": "notes", "greeting": "Hello."}},
    "request.made": {"kind": "say", "by": "user-1", "text": "One moment please.", "to": ""},
    "call.transferred": {"to": "+15550100003"},
    "call.reported": {"status": "completed", "reason": "", "duration_ms": 42_000},
    "call.ended": {"reason": "caller_hung_up", "duration_ms": 42_000},
    "call.sealed": {"complete": True, "unheard": ()},
    "stream.opened": {
        "stream": STREAM,
        "door": "twilio",
        "mailbox": 7,
        "encoding": "mulaw",
        "sample_rate": 8000,
        "channels": 1,
        "media_end": 120,
        "user_id": "user-1",
        "out_encoding": "mulaw",
        "out_sample_rate": 8000,
        "out_channels": 1,
        "out_packet_ms": 0,
    },
    "stream.reported": {"stream": STREAM, "status": "stream-started", "error": ""},
    "stream.measured": {
        "stream": STREAM,
        "frames": 250,
        "bytes": 40_000,
        "lost": 1,
        "repeated": 0,
        "dropped": 0,
        "largest_gap_ms": 41,
        "jitter_ms": 1.5,
        "ping_ms": 23.5,
        "level_dbfs": -21.5,
        "snr_db": 18.5,
        "buffered_ms": 60,
        "outbox_through": 12,
        "client": {"battery": 0.5},
    },
    "stream.degraded": {"stream": STREAM, "ping_ms": 450.0, "loss": 0.06},
    "stream.superseded": {"stream": STREAM, "by": "MZ00000000000000000000000000000002"},
    "stream.closed": {"stream": STREAM, "reason": "stop", "last_sequence": 2100, "code": 1000},
    "stream.lost": {"stream": STREAM},
    "dtmf.pressed": {"stream": STREAM, "digit": "5"},
    "text.typed": {"stream": STREAM, "text": "make a note to buy milk"},
    "turn.released": {"stream": STREAM},
    "playback.started": {"stream": STREAM, "reply": REPLY, "sentence": 0, "waited_ms": 3, "offset_ms": 0, "at_ms": 0},
    "playback.marked": {
        "stream": STREAM,
        "reply": REPLY,
        "sentence": 0,
        "heard_ms": 1800,
        "last": True,
        "estimated": False,
        "at_ms": 0,
    },
    "playback.cleared": {
        "stream": STREAM,
        "reply": REPLY,
        "sentence": 0,
        "heard_ms": 900,
        "estimated": False,
        "at_ms": 0,
    },
    "speech.started": {"stream": STREAM, "at_ms": 2_000},
    "speech.paused": {"stream": STREAM, "silence_ms": 300, "voiced_ms": 3_500, "voiced_at": BEGAN_AT + 3_520},
    "speech.stopped": {"stream": STREAM, "voiced_ms": 3_500, "voiced_at": BEGAN_AT + 3_520},
    "transcript.revised": {"stream": STREAM, "text": "remind me to", "stability": 0.5, "start_ms": 2_000},
    "transcript.settled": {
        "stream": STREAM,
        "text": "remind me to call the dentist",
        "start_ms": 2_000,
        "end_ms": 3_500,
        "through_ms": 3_800,
        "through_position": 310,
        "confidence": 0.75,
        "complete": True,
        "language": "en-US",
        "alternatives": ("remind me to call the florist",),
        "words": (SpokenWord(text="remind", start_ms=2_000, end_ms=2_300),),
        "voiced_at": BEGAN_AT + 3_520,
        "made_by": STT,
    },
    "stream.heard": {"stream": STREAM, "through_ms": 42_000, "complete": True},
    "turn.taken": {"utterances": (UTTERANCE,), "text": "remind me to call the dentist", "kind": "speech"},
    "reply.started": {
        "why": "turn",
        "in_answer_to": TURN,
        "generation": 1,
        "agent": "notes",
        "prompt_hash": "beef",
        "seed": 7,
        "made_by": LLM,
    },
    "reply.sentence": {"reply": REPLY, "index": 0, "text": "I will remind you to call the dentist.", "generation": 1},
    "reply.voiced": {"reply": REPLY, "index": 0, "duration_ms": 1_800, "made_by": TTS},
    "reply.composed": {"reply": REPLY, "sentences": 1, "hang_up": ""},
    "reply.finished": {
        "reply": REPLY,
        "interrupted": False,
        "latency": Latency(endpoint=300, stt=120, agent=4, tts=35, first_audio=350, heard=1_800),
    },
    "reply.interrupted": {"reply": REPLY, "why": "barge_in"},
    "reply.resumed": {"reply": REPLY, "generation": 2, "after_index": 0, "why": "takeover"},
    "tool.called": {"reply": REPLY, "name": "save_note", "arguments": {"text": "buy milk"}, "repeatable": True},
    "tool.returned": {"call": TOOL, "status": "ok", "result": {"id": "note-1"}, "message": ""},
    "agent.changed": {"agent": "billing", "previous": "notes"},
    "timer.rang": {"name": "silence", "due": BEGAN_AT + 12_000, "stream": STREAM},
    "call.summarised": {
        "revision": 1,
        "summary": "The caller wants to be reminded to call the dentist.",
        "key_points": (KeyPoint(text="call the dentist", cites=(UTTERANCE,)),),
        "sentiment": "positive",
        "cites": (UTTERANCE,),
        "made_by": LLM,
    },
    "action.found": {
        "title": "Call the dentist",
        "kind": "reminder",
        "due": "2026-02-03T09:00:00Z",
        "assignee": "the caller",
        "revision": 1,
        "number": 0,
        "cites": (UTTERANCE,),
        "made_by": LLM,
    },
    "recording.saved": {
        "path": f"default/{CALL}.wav",
        "duration_ms": 42_000,
        "format": "wav",
        "channels": 2,
        "sample_rate": 8000,
    },
    "work.failed": {"stage": "stt", "code": "timeout", "message": "the engine did not answer", "retryable": True},
    "engine.changed": {"port": "stt", "name": "pocketsphinx", "state": "used"},
}

# Whose word each event is. All others are a socket's: `source` is the stream's id.
ROLES = {
    **dict.fromkeys(("call.adopted", "profile.used", "call.transferred", "call.ended", "call.sealed"), "conversation"),
    **dict.fromkeys(("stream.superseded", "stream.lost", "engine.changed", "work.failed"), "conversation"),
    **dict.fromkeys((name for name in DATA if name.startswith(("turn.taken", "reply.", "tool."))), "conversation"),
    **dict.fromkeys(("agent.changed", "timer.rang"), "conversation"),
    **dict.fromkeys((name for name in DATA if name.startswith(("speech.", "transcript."))), "hearing"),
    "stream.heard": "hearing",
    "call.summarised": "summariser",
    "action.found": "summariser",
    "recording.saved": "recorder",
}
SOURCES = {"call.started": "webhook", "call.reported": CALL, "request.made": "request-1"}


def an_event(name: str, **overrides: Any) -> Event:
    """An event of that wire name with every field filled plausibly. Alone it names no predecessor."""
    envelope: dict[str, Any] = {"id": event_id(9_999), "call_id": CALL}
    if name in ROLES:
        envelope["role"] = ROLES[name]
    else:
        envelope |= {"source": SOURCES.get(name, STREAM), "sequence": 1}
    return EVENTS[name](**{**envelope, **DATA[name], **overrides})


def a_record(event: AnyEvent, *, position: int = 0, at: int = BEGAN_AT, partition: int = 0) -> Record:
    """The event as it is read from the log."""
    return Record(EVENTS_TOPIC.name, partition, position, at, event.call_id, encode(event))


@dataclass(slots=True)
class Tape:
    """The log of one partition being written: gives ids, predecessors, sequences, positions and times."""

    call_id: str = CALL
    partition: int = 0
    at: int = BEGAN_AT
    numbers: int = 100  # the last id given out
    records: list[Record] = field(default_factory=list)
    states: dict[str, Admission] = field(default_factory=dict)

    def say(self, name: str, *, after_ms: int = 0, **overrides: Any) -> Event:
        """Appends an event that is admitted unless the overrides say otherwise. `after_ms` since the last one."""
        self.numbers += 1
        call_id = overrides.get("call_id", self.call_id)
        event = an_event(name, **{"id": event_id(self.numbers), "call_id": call_id, **overrides})
        state = self.states.get(call_id, Admission())
        if event.role and "prior" not in overrides:
            event = msgspec.structs.replace(event, prior=prior_for(state, event.role))
        elif not event.role and "sequence" not in overrides:
            event = msgspec.structs.replace(event, sequence=state.sources.get(event.source, 0) + 1)
        self.append(event, after_ms=after_ms)
        return event

    def append(self, event: AnyEvent, *, after_ms: int = 0) -> Record:
        """Appends any event as it is."""
        self.at += after_ms
        position = self.records[-1].position + 1 if self.records else 0
        record = a_record(event, position=position, at=self.at, partition=self.partition)
        self.records.append(record)
        state = self.states.get(event.call_id, Admission())
        self.states[event.call_id] = admit(state, event) or state
        return record


def a_whole_call(call_id: str = CALL, *, tape: Tape | None = None) -> Tape:
    """A greeting, a question, an answer the caller interrupts, a goodbye, a summary."""
    tape = tape or Tape(call_id)
    tape.call_id = call_id
    tape.say("call.started")
    tape.say("call.adopted")
    tape.say("profile.used")
    tape.say("stream.opened", after_ms=100)
    tape.say("call.adopted", role="hearing", owner="hearing:host-1:1")
    greeting = tape.say("reply.started", why="greeting", in_answer_to="")
    tape.say("reply.sentence", reply=greeting.id, text="Hello, what can I do for you?")
    tape.say("reply.composed", reply=greeting.id)
    tape.say("reply.voiced", reply=greeting.id, duration_ms=1_500, after_ms=20)
    tape.say("playback.started", reply=greeting.id, after_ms=5)
    tape.say("playback.marked", reply=greeting.id, heard_ms=1_500, after_ms=1_500)
    tape.say("reply.finished", reply=greeting.id)
    reply = an_exchange(tape, "remind me to call the dentist", "I will remind you to call the dentist tomorrow.")
    barge_in = tape.say("speech.started", at_ms=7_000, after_ms=600)
    tape.say("reply.interrupted", reply=reply.id, cause=barge_in.id, after_ms=3)
    tape.say("playback.cleared", reply=reply.id, heard_ms=650, after_ms=9)
    tape.say("reply.finished", reply=reply.id, interrupted=True)
    goodbye = an_exchange(tape, "goodbye", "Goodbye.")
    tape.say("playback.marked", reply=goodbye.id, heard_ms=2_000, after_ms=2_000)
    tape.say("reply.finished", reply=goodbye.id)
    tape.say("call.ended", reason="agent_goodbye", duration_ms=0)
    tape.say("stream.measured")
    tape.say("stream.closed", after_ms=30)
    tape.say("stream.heard")
    tape.say("call.sealed")
    cites = (tape.states[call_id].life,)
    tape.say("call.summarised", cites=cites)
    tape.say("action.found", cites=cites)
    tape.say("recording.saved", path=f"default/{call_id}.wav")
    return tape


def an_exchange(tape: Tape, said: str, answer: str) -> Event:
    """The caller speaks and the agent begins to answer: returns the reply's beginning, its audio just started."""
    now_ms = tape.at - BEGAN_AT
    tape.say("speech.started", at_ms=now_ms, after_ms=200)
    tape.say("transcript.revised", text=said[:6], after_ms=300)
    tape.say("speech.stopped", after_ms=500)
    settled = tape.say("transcript.settled", text=said, start_ms=now_ms, end_ms=now_ms + 700, after_ms=100)
    turn = tape.say("turn.taken", utterances=(settled.id,), text=said)
    reply = tape.say("reply.started", in_answer_to=turn.id)
    tape.say("reply.sentence", reply=reply.id, text=answer)
    tape.say("reply.composed", reply=reply.id)
    tape.say("reply.voiced", reply=reply.id, duration_ms=2_000, after_ms=30)
    tape.say("playback.started", reply=reply.id, after_ms=4)
    return reply
