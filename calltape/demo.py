"""A whole spoken call in one process: server, workers, and a caller who phones through the carrier simulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from calltape import world
from calltape.local.parts import StandsOn, parts, prepared
from calltape.local.processes import Processes, free_port
from calltape.log_topics import configured_topics
from calltape.serving import opened_ingest
from calltape.settings import Settings, load, settings
from calltape.wiring import ROLES, House
from clients.carrier import Carrier, CarrierConfig
from clients.report import CallReport
from clients.script import Hangup, InterruptAfter, Say, Script, Step, Wait, WaitFor
from clients.twilio_rest import FakeTwilioRest
from eventlog.port import Log
from eventlog.uri import open_log
from schema import topics
from schema.envelope import AnyEvent
from schema.registry import MalformedEvent, decode
from workers.engines.espeak import Espeak

Ground = Literal["one process", "sqlite", "kafka"]
GROUNDS: dict[str, Ground] = {"one process": "one process", "sqlite": "sqlite", "kafka": "kafka"}
AFTERWARDS_S = 20  # for summary and recording, once the call is sealed
CALLER, NUMBER = "+15550100001", "+15550100002"
VOICE, RATE_WPM = "en-us", 140

# Speech, an interruption of a long reply, a confirmation, and a goodbye that hangs up.
SCRIPT = Script(
    steps=(
        WaitFor(wait_for="reply"),
        Say(say="schedule a meeting with the team on friday"),
        WaitFor(wait_for="reply"),
        Say(say="yes that is right"),
        WaitFor(wait_for="reply"),
        Say(say="what can you do"),
        InterruptAfter(interrupt_after_ms=2500),
        Say(say="remind me to pay the rent on monday"),
        WaitFor(wait_for="reply"),
        Say(say="yes that is right"),
        WaitFor(wait_for="reply"),
        Say(say="that is all thank you"),
        WaitFor(wait_for="hangup", required=False, timeout_ms=15_000),
        Hangup(),
    )
)


def spoken(says: Sequence[Say]) -> Script:
    """A caller who says this, one after each reply, and hangs up."""
    steps: list[Step] = [WaitFor(wait_for="reply")]
    for say in says:
        steps += [say, WaitFor(wait_for="reply", timeout_ms=20_000)]
    return Script(steps=(*steps, Wait(wait=300), Hangup()))


@dataclass(frozen=True, slots=True)
class Demo:
    """What came of it: the result's JSON, and what did not happen."""

    result: dict[str, Any]
    problems: tuple[str, ...]
    data: Path
    waited_ms: tuple[int | None, ...] = ()  # by the caller, from its last audible sample to the answer's first


@dataclass(frozen=True, slots=True)
class Scene:
    """A running house as its visitors see it: where its log, its tables and its recordings are."""

    log: Log
    database: str
    recordings: Path
    carrier: Carrier


async def run_demo(
    script: Script, folder: Path, on_event: Callable[[AnyEvent, int], None], *, ground: Ground = "one process"
) -> Demo:
    """Place the call, wait for its summary and recording, and say what is missing. Raises EngineError, Refused,
    DidNotStart."""
    async with AsyncExitStack() as stack:
        raising = _in_one_process(folder) if ground == "one process" else _in_processes(folder, ground)
        scene = await stack.enter_async_context(raising)
        await stack.enter_async_context(watched(scene.log, on_event))
        report = await scene.carrier.place_call(script)
        await scene.carrier.settle()
        shown = await shown_when_over(scene.database, report.call_id)
    return _judged(shown, report, script, scene.recordings, folder)


@asynccontextmanager
async def _in_one_process(folder: Path) -> AsyncIterator[Scene]:
    port = free_port()
    async with caller(f"http://127.0.0.1:{port}") as (carrier, rest, account, secret):
        settings = _settings(folder, port, account, secret, rest.url)
        async with House(settings) as house:
            await house.start(ROLES)
            async with opened_ingest(house):
                yield Scene(house.log, settings.database_url, settings.recordings, carrier)


@asynccontextmanager
async def _in_processes(folder: Path, ground: StandsOn) -> AsyncIterator[Scene]:
    """Each role in its own process; log and database as `ground` says, brought up and taken down here."""
    with parts(ground, folder) as stood_on:
        await prepared(stood_on)
        processes = Processes(folder, stood_on)
        async with caller(processes.address) as (carrier, rest, account, secret):
            processes.introduce(account=account, secret=secret, rest=rest.url)
            topics = configured_topics(settings())  # as its processes read them
            async with processes, open_log(stood_on.log, now=world.now_ms, topics=topics) as log:
                yield Scene(log, stood_on.database, folder / "recordings", carrier)


@asynccontextmanager
async def caller(address: str) -> AsyncIterator[tuple[Carrier, FakeTwilioRest, str, str]]:
    """A carrier with a spoken voice that phones `address`, its REST, and the account that both sides agree on."""
    account, secret = "AC" + world.new_hex(), world.new_hex()
    config = CarrierConfig(address, account, secret, CALLER, NUMBER)
    async with AsyncExitStack() as stack:
        voice = await stack.enter_async_context(Espeak())

        async def speak(text: str) -> bytes:
            return await voice.mulaw(text, VOICE, RATE_WPM)

        carrier = Carrier(config, voice=speak, new_id=world.new_hex, now=world.now)
        await stack.enter_async_context(carrier)
        rest = await stack.enter_async_context(FakeTwilioRest(carrier))
        yield carrier, rest, account, secret


def _settings(folder: Path, port: int, account: str, secret: str, rest: str) -> Settings:
    """A house of its own; the account is nobody's: the simulated carrier and the server only have to agree on it."""
    return load(
        data=folder,
        log=f"sqlite:///{folder / 'log.sqlite'}",
        database=f"sqlite+aiosqlite:///{folder / 'calls.sqlite'}",
        host="127.0.0.1",
        port=port,
        public_url=f"http://127.0.0.1:{port}",
        record="on",
        instance="demo",
        numbers=None,
        agent="notes",
        twilio_account_sid=account,
        twilio_auth_token=secret,
        twilio_api=rest,
    )


@asynccontextmanager
async def watched(log: Log, on_event: Callable[[AnyEvent, int], None]) -> AsyncIterator[None]:
    """Every event that comes to the log from here on is shown; earlier calls may be on it."""
    events = topics.EVENTS.name
    partitions = range(await log.partitions(events))
    reader = log.reader(events, {number: await log.end(events, number) for number in partitions})

    async def follow() -> None:
        while True:
            for record in await reader.read(wait_ms=200):
                try:
                    on_event(decode(record.value), record.at)
                except MalformedEvent:
                    continue

    task = asyncio.get_running_loop().create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await reader.close()


async def shown_when_over(database: str, call_id: str) -> dict[str, Any]:
    """The call as `calltape show` gives it, once everything about it is known."""
    from projections.database import open_database
    from projections.errors import NoSuchCall
    from projections.queries import call_details
    from projections.show import show_json

    engine = open_database(database)
    shown: dict[str, Any] = {}
    deadline = asyncio.get_running_loop().time() + AFTERWARDS_S
    try:
        while asyncio.get_running_loop().time() < deadline:
            with suppress(NoSuchCall):
                shown = show_json(await call_details(engine, call_id))
            if shown.get("summary") is not None and shown.get("recording") and shown.get("sealed_at"):
                break
            await asyncio.sleep(0.1)
    finally:
        await engine.dispose()
    return shown


def _judged(shown: dict[str, Any], report: CallReport, script: Script, recordings: Path, data: Path) -> Demo:
    says = [step.say for step in script.steps if isinstance(step, Say)]
    turns = shown.get("turns", [])
    recording = str(recordings / shown["recording"]) if shown.get("recording") else None
    spoken_turns = [turn for turn in turns if turn["heard"] is not None]
    told = [
        {"said_by_caller": said, **turn}
        for said, turn in zip([*says, *[None] * len(spoken_turns)], spoken_turns, strict=False)
    ]
    wanted = sum(isinstance(step, InterruptAfter) for step in script.steps)
    problems = [f"the carrier saw a violation of its protocol: {broken.text}" for broken in report.violations]
    problems += [f"the caller missed something: {failure}" for failure in report.failures]
    if not shown:
        problems.append("the call never reached the read models")
    if len(spoken_turns) < len(says):
        problems.append(f"{len(says)} things were said and {len(spoken_turns)} were answered")
    if sum(turn["interrupted"] for turn in turns) < wanted:
        problems.append("no reply was interrupted")
    missing = {"sealed_at": "the call was not sealed", "summary": "there is no summary", "recording": "no recording"}
    problems += [sentence for key, sentence in missing.items() if not shown.get(key)]
    if recording is not None and not Path(recording).exists():
        problems.append(f"the recording {recording} is not there")
    if script is SCRIPT and len(shown.get("actions", [])) < 2:
        problems.append("the meeting and the reminder did not both become action items")
    if script is SCRIPT and shown.get("reason") != "agent_goodbye":
        problems.append("the agent did not say goodbye")
    result = {
        "ok": not problems,
        "call_id": report.call_id,
        "turns": told,
        "transcript": shown.get("transcript", []),
        "summary": shown.get("summary"),
        "key_points": shown.get("key_points", []),
        "actions": shown.get("actions", []),
        "recording": recording,
        "events": shown.get("events", 0),
    }
    waited_ms = tuple(turn.first_audio_ms for turn in report.turns)
    return Demo(result, tuple(problems), data, waited_ms)
