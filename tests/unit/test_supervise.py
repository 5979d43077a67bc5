"""Which processes a supervisor keeps, and what it refuses to keep."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from types import SimpleNamespace

import pytest

from calltape.keeper import LEAVING
from calltape.lifetime import Broken, Lifetime
from calltape.settings import environment
from calltape.supervise import Keeper, Post, counted, listen, metrics_line, posts
from calltape.terminal import Refused
from tests.support.settings import plain_settings


def test_each_role_has_one_process_and_the_recorder_only_when_calls_are_recorded() -> None:
    assert counted("", plain_settings()) == {"hearing": 1, "conversation": 1, "projector": 1, "summariser": 1}
    assert counted("", plain_settings(record="consent"))["recorder"] == 1


def test_a_role_can_have_several_processes_or_none_here() -> None:
    counts = counted("hearing=2, summariser=0", plain_settings())
    assert (counts["hearing"], counts["summariser"], counts["conversation"]) == (2, 0, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ingest=2", "behind a balancer"),
        ("hearing", "write ROLE=N"),
        ("hearing=-1", "write ROLE=N"),
        ("hearing=25", "at most 24"),
        ("singing=1", "with a role of hearing, conversation"),
        ("recorder=1", "CALLTAPE_RECORD is off"),
    ],
)
def test_a_count_that_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        counted(text, plain_settings())


def test_instances_and_ports_stay_the_same_for_every_successor() -> None:
    settings = plain_settings(instance="m1", port=0, metrics_port=9100, record="on")
    with listen(settings.host, settings.port) as listening:
        manned = posts(settings, counted("hearing=2", settings), listening, dev=False)
        port = listening.getsockname()[1]
    assert [(post.name, post.settings["instance"], post.settings["metrics_port"]) for post in manned] == [
        ("ingest", "m1:1", 0),
        ("hearing:1", "m1:1", 9100),
        ("hearing:2", "m1:2", 9101),
        ("conversation:1", "m1:1", 9102),
        ("projector:1", "m1:1", 9103),
        ("summariser:1", "m1:1", 9104),
        ("recorder:1", "m1:1", 9105),
    ]
    assert manned[0].settings["port"] == port
    assert metrics_line(settings, manned).startswith("Health and metrics of the workers: hearing:1 127.0.0.1:9100, ")


def test_any_port_becomes_one_port_that_is_held_before_the_doors_first_open() -> None:
    settings = plain_settings(port=0)
    with listen(settings.host, settings.port) as listening:
        (door, *workers) = posts(settings, counted("", settings), listening, dev=True)
        assert door.settings["port"] == listening.getsockname()[1]
        assert door.arguments == ("ingest", "--dev", "--listen-fd", str(listening.fileno()), "--kept")
    assert {post.settings["metrics_port"] for post in workers} == {0}


def test_the_doors_have_time_to_drain() -> None:
    settings = plain_settings(drain=60)
    with listen(settings.host, 0) as listening:
        (door, *_) = posts(settings, counted("", settings), listening, dev=False)
    assert door.ends_s > 60


def test_a_port_that_another_server_has_is_a_sentence() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(Refused, match="is another server running"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_a_child_gets_our_environment_and_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLTAPE_AGENT", "notes")
    given = environment(instance="m1:2", metrics_port=9100)
    assert given["CALLTAPE_AGENT"] == "notes"
    assert (given["CALLTAPE_INSTANCE"], given["CALLTAPE_METRICS_PORT"]) == ("m1:2", "9100")


async def test_a_process_that_never_comes_up_is_given_up() -> None:
    gave_up: list[str] = []
    keeper = Keeper(Post("worker", ("worker", "nosuch")), gave_up=lambda: gave_up.append("worker"))
    await keeper.run()
    assert gave_up == ["worker"]
    assert "worker could not be started (3 times, exit code 2)" in keeper.failure


async def test_a_door_with_a_keeper_that_is_told_to_end_says_so_and_goes_on_until_it_is_told_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loop, said = asyncio.get_running_loop(), ""
    house = SimpleNamespace(failed=loop.create_future())
    spending = asyncio.create_task(Lifetime(is_kept=True).spend(house))  # type: ignore[arg-type]
    await asyncio.sleep(0)  # it listens for signals
    try:
        async with asyncio.timeout(5):
            os.kill(os.getpid(), signal.SIGTERM)
            while LEAVING not in said:
                await asyncio.sleep(0)
                said += capsys.readouterr().out
            assert not spending.done()
            os.kill(os.getpid(), signal.SIGTERM)
            await spending
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def test_what_a_process_is_made_of_is_not_looked_at_again_while_it_has_calls() -> None:
    gc.unfreeze()
    failed = asyncio.get_running_loop().create_future()
    failed.set_result(RuntimeError("a part"))
    with pytest.raises(Broken):
        await Lifetime().spend(SimpleNamespace(failed=failed))  # type: ignore[arg-type]
    assert gc.get_freeze_count() > len(sys.modules)
    gc.unfreeze()


async def test_who_is_not_manned_yet_can_be_stopped() -> None:
    keeper = Keeper(Post("worker", ("worker", "nosuch")), gave_up=lambda: None)
    keeper.abandon()
    await keeper.run()
    await keeper.stop()
    assert keeper.pid is None and not keeper.failure
