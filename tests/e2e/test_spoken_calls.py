"""A caller speaks, is heard, answered and remembered: whole calls with the offline engines at real pace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from audio.wav import read_wav
from clients.script import Dtmf, Hangup, InterruptAfter, Network, Say, Wait, WaitFor
from projections.rebuild import rebuild
from schema.stream import StreamOpened
from schema.turn import ReplyFinished, ReplyInterrupted, ReplyStarted, ToolReturned
from tests.support.calls import names, running, texts


def profile(folder: Path, **changes: Any) -> str:
    """The notes profile with other values; its path."""
    body = yaml.safe_load((Path(__file__).parents[2] / "agents" / "notes.yaml").read_text())
    for name, value in changes.items():
        body[name] = {**body[name], **value} if isinstance(value, dict) else value
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(body))
    return str(path)


async def test_a_reminder_is_heard_confirmed_saved_and_remembered(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        report = await world.call(
            WaitFor(wait_for="reply"),
            Say(say="make a note to buy milk"),
            WaitFor(wait_for="reply"),
            Say(say="yes"),
            WaitFor(wait_for="reply"),
            Say(say="goodbye"),
            WaitFor(wait_for="hangup", timeout_ms=10_000),
        )
        shown = await world.shown(report.call_id)
        events = await world.events(report.call_id)
    assert report.violations == []
    assert shown["reason"] == "agent_goodbye"
    assert shown["complete"] is True
    assert [event.status for event in events if isinstance(event, ToolReturned)] == ["ok"]
    assert [action["title"] for action in shown["actions"]] == ["buy milk"]
    cited = {line["id"]: line["text"] for line in shown["transcript"]}
    assert any("milk" in cited[id_] for id_ in shown["actions"][0]["cites"])
    assert names(events)[:3] == ["call.started", *sorted(names(events)[1:3])]
    assert names(events).index("call.sealed") > names(events).index("call.ended")
    recording = (tmp_path / "recordings" / shown["recording"]).read_bytes()
    assert len(read_wav(recording, 8000)) > 8000 * 2 * 5


async def test_a_caller_who_interrupts_silences_the_reply_and_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        report = await world.call(
            WaitFor(wait_for="reply"),
            Say(say="what can you do"),
            InterruptAfter(interrupt_after_ms=2500),
            Say(say="make a note to buy milk"),
            WaitFor(wait_for="reply"),
            Hangup(),
        )
        shown = await world.shown(report.call_id)
        events = await world.events(report.call_id)
    assert report.clears == 1
    interrupted = [event for event in events if isinstance(event, ReplyFinished) and event.interrupted]
    assert len(interrupted) >= 1
    cut = next(line for line in shown["transcript"] if line["speaker"] == "agent" and line["said"] != line["text"])
    assert cut["said"].startswith(cut["text"])
    assert any("milk" in text for text in texts(events, "turn.taken"))


async def test_words_nobody_taught_it_are_not_understood_instead_of_guessed(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        report = await world.call(
            WaitFor(wait_for="reply"),
            Say(say="the banana rocket flies over purple mountains"),
            WaitFor(wait_for="reply"),
            Hangup(),
        )
        shown = await world.shown(report.call_id)
    assert shown["turns"][-1]["reply"].startswith("I did not catch that")
    assert shown["actions"] == []


async def test_a_caller_who_hangs_up_in_mid_word_keeps_that_word(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        voice = world.carrier
        report = await voice.place_call(_hang_up_in("make a note to buy milk"))
        await voice.settle()
        shown = await world.shown(report.call_id)
        events = await world.events(report.call_id)
    assert names(events).index("transcript.settled") < names(events).index("stream.heard")
    heard = [line["text"] for line in shown["transcript"] if line["speaker"] == "caller"]
    assert heard and heard[0].startswith("make a note")
    assert shown["complete"] is True
    assert shown["reason"] == "caller_hung_up"


def _hang_up_in(text: str) -> Any:
    from clients.script import Script

    return Script(steps=(WaitFor(wait_for="reply"), Say(say=text), Hangup()))


async def test_a_silent_caller_is_prompted_and_then_let_go(tmp_path: Path) -> None:
    agent = profile(tmp_path, silence={"after_ms": 1000, "max": 2})
    async with running(tmp_path / "data", agent=agent) as world:
        report = await world.call(WaitFor(wait_for="hangup", timeout_ms=40_000))
        shown = await world.shown(report.call_id)
        events = await world.events(report.call_id)
    whys = [event.why for event in events if isinstance(event, ReplyStarted)]
    assert whys == ["greeting", "prompt", "prompt", "prompt"]
    assert shown["reason"] == "silence"
    assert shown["turns"] == [] or all(turn["heard"] is None for turn in shown["turns"])


async def test_keys_are_a_turn_too(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        report = await world.call(
            WaitFor(wait_for="reply"), Dtmf(dtmf="0"), WaitFor(wait_for="reply", timeout_ms=40_000), Hangup()
        )
        events = await world.events(report.call_id)
        shown = await world.shown(report.call_id)
    assert [event for event in names(events) if event in ("dtmf.pressed", "turn.taken")][:2] == [
        "dtmf.pressed",
        "turn.taken",
    ]
    assert "remind me" in " ".join(line["said"] for line in shown["transcript"] if line["speaker"] == "agent")


async def test_a_lost_connection_is_taken_up_where_the_caller_stopped_hearing(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        report = await world.call(
            WaitFor(wait_for="reply"),
            Say(say="what can you do"),
            InterruptAfter(interrupt_after_ms=2000),
            Network(network="drop"),
            Wait(wait=500),
            WaitFor(wait_for="reply", timeout_ms=40_000),
            Hangup(),
        )
        shown = await world.shown(report.call_id)
        events = await world.events(report.call_id)
    assert report.redirects == 1
    assert report.streams == 2
    assert len([event for event in events if isinstance(event, StreamOpened)]) == 2
    assert "reply.resumed" in names(events)
    assert not [event for event in events if isinstance(event, ReplyInterrupted) and event.why == "barge_in"]
    said = [line for line in shown["transcript"] if line["speaker"] == "agent"]
    assert all(line["text"] == line["said"] for line in said)
    assert len({line["id"] for line in said}) == len(said)


async def test_tables_rebuilt_from_the_log_equal_the_live_ones(tmp_path: Path) -> None:
    from sqlalchemy import MetaData, select

    from migrations.run import upgrade_on
    from projections.database import sync_engine
    from projections.tables import metadata

    async with running(tmp_path) as world:
        report = await world.call(WaitFor(wait_for="reply"), Say(say="thank you"), WaitFor(wait_for="reply"), Hangup())
        await world.shown(report.call_id)
        positions = {p: 0 for p in range(await world.house.log.partitions("calls.events"))}
        reader = world.house.log.reader("calls.events", positions)
        records = await reader.read(max_records=10_000, wait_ms=100)
        await reader.close()

    def contents(url: str) -> dict[str, list[Any]]:
        engine = sync_engine(url)
        with engine.connect() as connection:
            found = {
                table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
                for table in metadata.sorted_tables
                if table.name != "positions"
            }
        engine.dispose()
        return found

    again = f"sqlite:///{tmp_path / 'again.sqlite'}"
    engine = sync_engine(again)
    with engine.begin() as connection:
        upgrade_on(connection)
    with engine.begin() as connection:
        rebuild(connection, records)
    engine.dispose()
    assert isinstance(metadata, MetaData)
    assert contents(again) == contents(f"sqlite:///{tmp_path / 'calls.sqlite'}")
