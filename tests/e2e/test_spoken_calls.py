"""A caller speaks, is heard, answered and remembered: whole calls with the offline engines at real pace.

The calls take place at once, on one running house: real time is spent once, and they must not disturb each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from sqlalchemy import select

from audio.wav import read_wav
from clients.report import CallReport
from clients.script import Dtmf, Hangup, InterruptAfter, Network, Say, Step, Wait, WaitFor
from eventlog.port import Record
from migrations.run import upgrade_on
from projections.database import sync_engine
from projections.rebuild import rebuild
from projections.tables import METADATA
from schema.envelope import AnyEvent
from schema.stream import StreamOpened
from schema.turn import ReplyFinished, ReplyInterrupted, ReplyStarted, ToolReturned
from tests.support.calls import World, names, running, texts

NOTES = Path(__file__).parents[2] / "agents" / "notes.yaml"
GREETED = WaitFor(wait_for="reply", timeout_ms=40_000)
ANSWERED = WaitFor(wait_for="reply", timeout_ms=40_000)

SCRIPTS: dict[str, tuple[Step, ...]] = {
    "note": (
        GREETED,
        Say(say="make a note to buy milk"),
        ANSWERED,
        Say(say="yes"),
        ANSWERED,
        Say(say="that is all thank you"),
        WaitFor(wait_for="hangup", timeout_ms=20_000),
    ),
    "interruption": (
        GREETED,
        Say(say="what can you do"),
        InterruptAfter(interrupt_after_ms=2500),
        Say(say="make a note to buy milk"),
        ANSWERED,
        Hangup(),
    ),
    "nonsense": (GREETED, Say(say="the banana rocket flies over purple mountains"), ANSWERED, Hangup()),
    "last-word": (GREETED, Say(say="make a note to buy milk"), Hangup()),
    "mid-sentence": (GREETED, Say(say="schedule a meeting with"), Hangup()),
    "mid-word": (GREETED, Say(say="schedule a meeting with the tea"), Hangup()),
    "keys": (GREETED, Dtmf(dtmf="0"), ANSWERED, Hangup()),
    "network": (
        GREETED,
        Say(say="what can you do"),
        InterruptAfter(interrupt_after_ms=2000),
        Network(network="drop"),
        Wait(wait=500),
        ANSWERED,
        Hangup(),
    ),
}


@dataclass(frozen=True, slots=True)
class Called:
    """What became of one call."""

    report: CallReport
    shown: dict[str, Any]
    events: list[AnyEvent]
    folder: Path


@dataclass(frozen=True, slots=True)
class Calls:
    """Every call, and the log and tables they left."""

    by_name: dict[str, Called]
    records: list[Record]
    folder: Path

    def __getitem__(self, name: str) -> Called:
        return self.by_name[name]


async def _placed(world: World, steps: tuple[Step, ...], folder: Path) -> Called:
    report = await world.call(*steps)
    shown = await world.shown(report.call_id)
    return Called(report, shown, await world.events(report.call_id), folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Calls]:
    folder = tmp_path_factory.mktemp("house")
    async with running(folder) as world:
        placed = await asyncio.gather(*(_placed(world, steps, folder) for steps in SCRIPTS.values()))
        positions = dict.fromkeys(range(await world.house.log.partitions("calls.events")), 0)
        reader = world.house.log.reader("calls.events", positions)
        records = await reader.read(max_records=20_000, wait_ms=100)
        await reader.close()
    yield Calls(dict(zip(SCRIPTS, placed, strict=True)), records, folder)


def profile(folder: Path, **changes: Any) -> str:
    """The notes profile with other values; its path."""
    body = yaml.safe_load(NOTES.read_text(encoding="utf-8"))
    for name, value in changes.items():
        body[name] = {**body[name], **value}
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(body), encoding="utf-8")
    return str(path)


def test_a_note_is_heard_confirmed_saved_and_remembered(calls: Calls) -> None:
    called = calls["note"]
    assert called.report.violations == []
    assert called.shown["reason"] == "agent_goodbye"
    assert called.shown["complete"] is True
    assert [event.status for event in called.events if isinstance(event, ToolReturned)] == ["ok"]
    assert [action["title"] for action in called.shown["actions"]] == ["buy milk"]
    lines = {line["id"]: line["text"] for line in called.shown["transcript"]}
    assert any("milk" in lines[cited] for cited in called.shown["actions"][0]["cites"])
    assert names(called.events).index("call.sealed") > names(called.events).index("call.ended")


def test_the_recording_holds_both_sides(calls: Calls) -> None:
    called = calls["note"]
    recording = (called.folder / "recordings" / called.shown["recording"]).read_bytes()
    assert len(read_wav(recording, 8000)) > 8000 * 2 * 5


def test_a_caller_who_interrupts_silences_the_reply_and_is_answered(calls: Calls) -> None:
    called = calls["interruption"]
    assert called.report.clears == 1
    assert [event for event in called.events if isinstance(event, ReplyFinished) and event.interrupted]
    agent = [line for line in called.shown["transcript"] if line["speaker"] == "agent"]
    cut = next(line for line in agent if line["said"] != line["text"])
    assert cut["said"].startswith(cut["text"])
    assert any("milk" in text for text in texts(called.events, "turn.taken"))


def test_words_nobody_taught_it_are_not_understood_instead_of_guessed(calls: Calls) -> None:
    called = calls["nonsense"]
    assert called.shown["turns"][-1]["reply"].startswith("I did not catch that")
    assert called.shown["actions"] == []


@pytest.mark.parametrize(
    ("name", "said", "fewest"),
    [
        ("last-word", "make a note to buy milk", 3),
        ("mid-sentence", "schedule a meeting with", 3),
        ("mid-word", "schedule a meeting with the", 3),
    ],
)
def test_of_a_caller_who_hangs_up_is_heard_what_was_said_and_no_word_more(
    calls: Calls, name: str, said: str, fewest: int
) -> None:
    called = calls[name]
    assert names(called.events).index("transcript.settled") < names(called.events).index("stream.heard")
    [heard] = [line["text"].split() for line in called.shown["transcript"] if line["speaker"] == "caller"]
    assert heard == said.split()[: len(heard)] and len(heard) >= fewest
    assert called.shown["actions"] == []
    assert called.shown["complete"] is True
    assert called.shown["reason"] == "caller_hung_up"


def test_keys_are_a_turn_too(calls: Calls) -> None:
    called = calls["keys"]
    both = [name for name in names(called.events) if name in ("dtmf.pressed", "turn.taken")]
    assert both[:2] == ["dtmf.pressed", "turn.taken"]
    agent = " ".join(line["said"] for line in called.shown["transcript"] if line["speaker"] == "agent")
    assert "remind me" in agent


def test_a_lost_connection_is_taken_up_where_the_caller_stopped_hearing(calls: Calls) -> None:
    called = calls["network"]
    assert (called.report.redirects, called.report.streams) == (1, 2)
    assert len([event for event in called.events if isinstance(event, StreamOpened)]) == 2
    assert "reply.resumed" in names(called.events)
    assert not [event for event in called.events if isinstance(event, ReplyInterrupted) and event.why == "barge_in"]
    said = [line for line in called.shown["transcript"] if line["speaker"] == "agent"]
    assert all(line["text"] == line["said"] for line in said)
    assert len({line["id"] for line in said}) == len(said)


def test_tables_rebuilt_from_the_log_equal_the_live_ones(calls: Calls, tmp_path: Path) -> None:
    again = f"sqlite:///{tmp_path / 'again.sqlite'}"
    engine = sync_engine(again)
    with engine.begin() as connection:
        upgrade_on(connection)
    with engine.begin() as connection:
        rebuild(connection, calls.records)
    engine.dispose()
    assert contents(again) == contents(f"sqlite:///{calls.folder / 'calls.sqlite'}")


def contents(url: str) -> dict[str, list[Any]]:
    """Every row of every table, but the positions."""
    engine = sync_engine(url)
    with engine.connect() as connection:
        found = {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for table in METADATA.sorted_tables
            if table.name != "positions"
        }
    engine.dispose()
    return found


async def test_a_silent_caller_is_prompted_and_then_let_go(tmp_path: Path) -> None:
    agent = profile(tmp_path, silence={"after_ms": 1000, "max": 1})
    async with running(tmp_path / "data", agent=agent) as world:
        report = await world.call(WaitFor(wait_for="hangup", timeout_ms=40_000))
        shown = await world.shown(report.call_id)
        events = await world.events(report.call_id)
    assert [event.why for event in events if isinstance(event, ReplyStarted)] == ["greeting", "prompt", "prompt"]
    assert shown["reason"] == "silence"
    assert all(turn["heard"] is None for turn in shown["turns"])
