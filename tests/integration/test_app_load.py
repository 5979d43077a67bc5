"""Several whole calls at once through the app doors, each by its reference client."""

from __future__ import annotations

import asyncio
import time

from calltape.app_calls import APP_DOORS, place
from clients.app_load import Call, place_calls, spoken_once
from clients.report import CallReport, Observation
from clients.script import Hangup, Say, Script, Wait
from tests.integration.test_app_doors import doors, token

CALLERS = 2  # a door
WORDS = Script(steps=(Say(say="hello"), Wait(wait=200), Hangup()))
HELLO = b"\x00\x80" * 8_000  # two seconds of mu-law at its loudest


def unseen(_: Observation) -> None:
    """Only the reports count."""


async def test_calls_are_carried_through_every_app_door_at_once() -> None:
    asked: list[str] = []

    async def speak(text: str) -> bytes:
        asked.append(text)
        return HELLO

    voice = spoken_once(speak)
    async with doors() as h:

        def call(door: str, shown: str) -> Call:
            return lambda: place(door, WORDS, to=h.base, token=shown, tenant="acme", voice=voice, on_event=unseen)

        wanted = [call(door, token()) for door in APP_DOORS for _ in range(CALLERS)]
        stranger = call("raw", "nobody's")
        async with asyncio.timeout(30):
            report = await place_calls([*wanted, stranger], clock=time.monotonic, over_s=0.2)
        frames = {door: h.ingest.tally.door(door).frames_in for door in APP_DOORS}
    assert (report.calls, report.ok, report.streams) == (len(wanted) + 1, len(wanted), len(wanted))
    assert [count for failure, count in report.failures.items() if "HTTP 401" in failure] == [1]
    assert set(report.failures.values()) == {1}  # the rest is what the one refused could not play
    assert (report.violations, report.answered, report.unanswered) == (0, 0, len(wanted))  # nobody answers here
    assert min(frames.values()) >= CALLERS, frames  # how many depends on the door's packets
    assert asked == ["hello"]


async def test_a_call_that_goes_wrong_is_told_and_spoils_no_other() -> None:
    async def broken() -> CallReport:
        raise OSError("no such network")

    async def good() -> CallReport:
        return CallReport("acme~s1", streams=1)

    report = await place_calls([broken, good], clock=time.monotonic)
    assert (report.calls, report.ok) == (2, 1)
    assert list(report.failures) == ["OSError('no such network')"]
    assert report.as_json()["first_audio_p99_ms"] is None
