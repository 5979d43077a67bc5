"""A whole spoken call in one process: server, workers, and a caller who phones through the carrier simulator."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calltape import world
from calltape.serving import opened_ingest
from calltape.settings import Settings, load
from calltape.wiring import ROLES, House
from clients.carrier import Carrier, CarrierConfig
from clients.report import CallReport
from clients.script import Hangup, InterruptAfter, Say, Script, Step, Wait, WaitFor
from clients.twilio_rest import FakeTwilioRest
from schema import topics
from schema.envelope import AnyEvent
from schema.registry import MalformedEvent, decode
from workers.engines.espeak import Espeak

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


def spoken(words: Sequence[str]) -> Script:
    """A caller who says these words, one after each reply, and hangs up."""
    steps: list[Step] = [WaitFor(wait_for="reply")]
    for text in words:
        steps += [Say(say=text), WaitFor(wait_for="reply", timeout_ms=20_000)]
    return Script(steps=(*steps, Wait(wait=300), Hangup()))


@dataclass(frozen=True, slots=True)
class Demo:
    """What came of it: the result's JSON, and what did not happen."""

    result: dict[str, Any]
    problems: tuple[str, ...]
    data: Path
    waited_ms: tuple[int | None, ...] = ()  # by the caller, from its last audible sample to the answer's first


async def run_demo(script: Script, folder: Path, on_event: Callable[[AnyEvent, int], None]) -> Demo:
    """Place the call, wait for its summary and recording, and say what is missing. Raises EngineError, Refused."""
    port, account, secret = _free_port(), "AC" + world.new_hex(), world.new_hex()
    address = f"http://127.0.0.1:{port}"
    config = CarrierConfig(address, account, secret, CALLER, NUMBER)
    async with AsyncExitStack() as stack:
        voice = await stack.enter_async_context(Espeak())

        async def speak(text: str) -> bytes:
            return await voice.mulaw(text, VOICE, RATE_WPM)

        carrier = Carrier(config, voice=speak, new_id=world.new_hex, now=world.now)
        await stack.enter_async_context(carrier)
        rest = await stack.enter_async_context(FakeTwilioRest(carrier))
        settings = _settings(folder, port, account, secret, rest.url)
        house = await stack.enter_async_context(House(settings))
        await house.start(ROLES)
        await stack.enter_async_context(opened_ingest(house))
        await stack.enter_async_context(_watched(house, on_event))
        report = await carrier.place_call(script)
        await carrier.settle()
        shown = await _shown(house, report.call_id)
    return _judged(shown, report, script, settings)


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


def _free_port() -> int:
    """Signatures name the port, so it has to be known before anybody listens on it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def _watched(house: House, on_event: Callable[[AnyEvent, int], None]) -> AsyncIterator[None]:
    """Every event of the log is shown while the call lasts."""
    positions = dict.fromkeys(range(await house.log.partitions(topics.EVENTS.name)), 0)
    reader = house.log.reader(topics.EVENTS.name, positions)

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


async def _shown(house: House, call_id: str) -> dict[str, Any]:
    """The call as `calltape show` gives it, once everything about it is known."""
    from projections.errors import NoSuchCall
    from projections.queries import call_details
    from projections.show import show_json

    engine = await house.open_database()
    shown: dict[str, Any] = {}
    deadline = asyncio.get_running_loop().time() + AFTERWARDS_S
    while asyncio.get_running_loop().time() < deadline:
        try:
            shown = show_json(await call_details(engine, call_id))
        except NoSuchCall:
            shown = {}
        if shown.get("summary") is not None and shown.get("recording") and shown.get("sealed_at"):
            break
        await asyncio.sleep(0.1)
    return shown


def _judged(shown: dict[str, Any], report: CallReport, script: Script, settings: Settings) -> Demo:
    says = [step.say for step in script.steps if isinstance(step, Say)]
    turns = shown.get("turns", [])
    recording = str(settings.recordings / shown["recording"]) if shown.get("recording") else None
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
    return Demo(result, tuple(problems), settings.data, waited_ms)
