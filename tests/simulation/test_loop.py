"""The loop of virtual time: it jumps, it permutes by seed, it kills without a trace, and it says when all is stuck."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import pytest

from calltape.simulation.loop import Deadlock, Runaway, VirtualLoop
from calltape.simulation.process import Fate


def test_an_hour_passes_at_once() -> None:
    loop = VirtualLoop(1)
    began = time.monotonic()

    async def wait_an_hour() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert loop.run(wait_an_hour()) == pytest.approx(3600)
    assert time.monotonic() - began < 60


def _order(seed: int) -> list[int]:
    async def main() -> list[int]:
        order: list[int] = []

        async def note(number: int) -> None:
            await asyncio.sleep(0)
            order.append(number)

        await asyncio.gather(*(note(number) for number in range(8)))
        return order

    return VirtualLoop(seed).run(main())


def test_tasks_that_are_ready_together_run_in_an_order_drawn_from_the_seed() -> None:
    assert _order(1) == _order(1)
    assert len({tuple(_order(seed)) for seed in range(20)}) > 10


def _note(called: list[int], number: int, done: asyncio.Future[None]) -> None:
    called.append(number)


def test_the_callbacks_of_one_future_keep_their_order() -> None:
    async def main() -> list[int]:
        called: list[int] = []
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for number in range(8):
            done.add_done_callback(partial(_note, called, number))
        done.set_result(None)
        await asyncio.sleep(0)
        return called

    assert VirtualLoop(3).run(main()) == list(range(8))


def test_a_run_that_can_never_go_on_says_so() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        VirtualLoop(1).run(main())


def test_a_run_that_spins_is_stopped() -> None:
    async def main() -> None:
        while asyncio.get_running_loop().time() < 1:
            await asyncio.gather(asyncio.sleep(0))

    with pytest.raises(Runaway):
        VirtualLoop(1, max_steps=1000).run(main())


def test_there_are_no_threads() -> None:
    async def main() -> None:
        await asyncio.to_thread(time.time)

    with pytest.raises(NotImplementedError):
        VirtualLoop(1).run(main())


async def _beat(notes: list[str]) -> None:
    try:
        while True:
            notes.append("beat")
            await asyncio.sleep(1)
    finally:
        notes.append("finally")


def _notes(act: Callable[[VirtualLoop, list[str]], None]) -> list[str]:
    """What a beating process noted in 3.5 s before and 3 s after `act`."""
    loop = VirtualLoop(1)

    async def main() -> list[str]:
        process = loop.process("beater")
        notes: list[str] = []
        process.spawn(loop, _beat(notes))
        await asyncio.sleep(3.5)
        process.stop(Fate.DEAD if act is _kill else Fate.FROZEN)
        before = len(notes)
        await asyncio.sleep(3)
        assert len(notes) == before
        act(loop, notes)
        loop.thaw(process)
        await asyncio.sleep(1.2)
        return list(notes)

    return loop.run(main())


def _kill(loop: VirtualLoop, notes: list[str]) -> None:
    notes.append("killed")


def _freeze(loop: VirtualLoop, notes: list[str]) -> None:
    notes.append("frozen")


def test_a_killed_process_runs_no_finally() -> None:
    assert _notes(_kill) == ["beat"] * 4 + ["killed"]


def test_a_frozen_process_goes_on_where_it_was() -> None:
    assert _notes(_freeze) == ["beat"] * 4 + ["frozen"] + ["beat"] * 2


def test_a_fuse_kills_between_two_steps() -> None:
    loop = VirtualLoop(1)

    async def main() -> list[str]:
        process = loop.process("beater")
        notes: list[str] = []
        process.light_fuse(3, lambda: process.stop(Fate.DEAD))
        process.spawn(loop, _beat(notes))
        await asyncio.sleep(10)
        return list(notes)

    assert loop.run(main()) == ["beat"]
