"""What the demo prints while a call lasts: each thing when it happens, in the order of the log."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from calltape.demo_view import DemoView
from schema.registry import decode
from schema.turn import Latency
from tests.support.events import Tape, an_exchange


def test_an_interruption_is_told_when_the_sound_stops_and_only_once() -> None:
    tape = Tape()
    reply = an_exchange(tape, "what can you do", "I can take notes.")
    tape.say("reply.interrupted", reply=reply.id, after_ms=10)
    tape.say("playback.cleared", reply=reply.id, heard_ms=900, after_ms=20)
    silent_at = tape.at
    tape.say("reply.finished", reply=reply.id, interrupted=True, after_ms=2_400)
    (told,) = [line for line in shown(tape) if "interrupted" in line]
    assert told.split()[0] == f"{(silent_at - tape.records[0].at) / 1000:.2f}"
    assert told.endswith("had heard: I can")


def test_an_interruption_before_any_sound_is_told_at_its_end() -> None:
    tape = Tape()
    reply = tape.say("reply.started")
    tape.say("reply.interrupted", reply=reply.id)
    tape.say("reply.finished", reply=reply.id, interrupted=True)
    assert sum("had heard: (nothing)" in line for line in shown(tape)) == 1


def test_an_agent_who_goes_on_may_be_interrupted_again() -> None:
    tape = Tape()
    reply = an_exchange(tape, "what can you do", "I can take notes.")
    for why in ("false_barge_in", ""):
        tape.say("reply.interrupted", reply=reply.id)
        tape.say("playback.cleared", reply=reply.id, heard_ms=900)
        if why:
            tape.say("reply.resumed", reply=reply.id, why=why)
    tape.say("reply.finished", reply=reply.id, interrupted=True)
    told = [line.split(maxsplit=1)[1].partition(":")[0] for line in shown(tape)]
    cut = "interrupted; the caller had heard"
    assert [line for line in told if line in (cut, "no words came")] == [cut, "no words came", cut]


def test_the_wait_is_told_of_replies_that_sounded() -> None:
    tape = Tape()
    tape.say("reply.finished", latency=Latency(endpoint=300, stt=120))
    tape.say("reply.finished", latency=Latency(endpoint=300, stt=120, agent=80, tts=35, first_audio=415))
    assert [line for line in shown(tape) if "endpoint" in line] == [shown(tape)[-1]]


def shown(tape: Tape) -> list[str]:
    """What a reader of the terminal sees of these events."""
    written = StringIO()
    with DemoView(Console(file=written, width=200)) as view:
        for record in tape.records:
            view.show(decode(record.value), record.at)
    return [line for line in written.getvalue().splitlines() if line.strip()]
