"""The demo in a folder of any name, which may hold an earlier one."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

from calltape.commands.demo import look_again
from calltape.demo import watched
from eventlog.memory import MemoryLog
from eventlog.port import Entry
from schema.envelope import AnyEvent
from schema.registry import decode
from schema.topics import EVENTS
from tests.support.events import BEGAN_AT, a_whole_call


def test_the_command_to_look_again_can_be_pasted_whatever_the_folder_is_called() -> None:
    setting, program, *arguments = shlex.split(look_again(Path("/tmp/de mo's [red]"), "CA0123456789"))
    assert setting == "CALLTAPE_DATA=/tmp/de mo's [red]"
    assert program.endswith("calltape")
    assert arguments == ["show", "CA012345"]


async def test_a_call_that_was_there_before_is_not_shown_as_if_it_were_live() -> None:
    earlier, later = a_whole_call().records[:2]
    shown: list[AnyEvent] = []
    seen = asyncio.Event()

    def on_event(event: AnyEvent, at: int) -> None:
        shown.append(event)
        seen.set()

    async with MemoryLog(now=lambda: BEGAN_AT) as log:
        await log.append(EVENTS.name, [Entry(earlier.key, earlier.value)])
        async with watched(log, on_event):
            await log.append(EVENTS.name, [Entry(later.key, later.value)])
            async with asyncio.timeout(5):
                await seen.wait()
    assert shown == [decode(later.value)]
