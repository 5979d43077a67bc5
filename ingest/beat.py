"""The one clock of all sessions: paces what plays, and looks after limits and measurements."""

from __future__ import annotations

import asyncio

from ingest.desk import Desk


async def pace(desk: Desk) -> None:
    """Visits the sessions that play, and sleeps while none does."""
    wait_s = desk.config.pacing_ms / 1000
    while True:
        if not desk.playing:
            desk.started_playing.clear()
            await desk.started_playing.wait()
        await asyncio.sleep(wait_s)
        now = desk.clock()
        for session in tuple(desk.playing):
            session.play(now)


async def look_after(desk: Desk) -> None:
    """Visits every socket a few times a second."""
    wait_s = desk.config.housekeeping_ms / 1000
    while True:
        await asyncio.sleep(wait_s)
        now = desk.clock()
        desk.tally.sample(now)
        for session in tuple(desk.sockets):
            session.watch.look(now)
