"""Roles as processes of their own: on one log, under a supervisor, killed and stopped."""

from __future__ import annotations

import json
import re
import socket
from collections import defaultdict
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from schema.admit import Admission, admit
from schema.envelope import AnyEvent, type_of
from schema.media import MediaSpoken
from tests.support.processes import Place, all_gone, eventually, kill, offspring, stop

pytestmark = pytest.mark.long

WORDS = "remind me to pay the rent on monday"
LISTENS = r"calltape listens at (http://\S+)"
BYTES_A_MS = 8  # mu-law at 8000 Hz


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def is_on(events: list[AnyEvent], name: str, count: int = 1) -> bool:
    return sum(type_of(event) == name for event in events) >= count


def void_replies(events: list[AnyEvent]) -> list[str]:
    """Of one call: what somebody said about a reply and no reader believes."""
    state, found = Admission(), []
    for event in events:
        admitted = admit(state, event)
        if admitted is None and type_of(event).startswith("reply."):
            found.append(type_of(event))
        state = admitted or state
    return found


def said_twice(spoken: list[MediaSpoken]) -> list[MediaSpoken]:
    """Audio that begins before the end of what had gone out of its sentence."""
    through: dict[tuple[str, str, int], int] = defaultdict(int)
    again = []
    for each in spoken:
        key = each.stream, each.reply, each.sentence
        if each.offset_ms < through[key]:
            again.append(each)
        through[key] = each.offset_ms + len(each.payload) // BYTES_A_MS
    return again


async def test_two_processes_carry_a_call_to_its_summary(place: Place) -> None:
    roles = ("hearing", "conversation", "projector", "summariser")
    async with place.running("ingest", "--dev") as doors, place.running("worker", *roles) as workers:
        address = (await doors.said(LISTENS))[1]
        await workers.said(r"works as hearing, conversation, projector, summariser")
        report = await place.call(address, WORDS)
        assert report["ok"], [report, *doors.errors, *workers.errors]
        shown = await place.finished(report["call_id"])
        assert [action["kind"] for action in shown["actions"]]
        for process in (doors, workers):
            stop(process.process.pid)
            assert await process.ended() == 0, process.errors


async def test_a_worker_killed_in_mid_call_is_followed_by_another_and_nothing_is_said_twice(place: Place) -> None:
    async with place.running("serve", "--dev", "--processes") as server:
        address = (await server.said(LISTENS))[1]
        await server.said("works as", 4)
        speaking, listening = await server.started("conversation:1"), await server.started("hearing:1")
        async with place.running("call", "--unsigned", "--to", address, "--say", WORDS, "--json") as call:
            await place.until(lambda events: is_on(events, "playback.started"))
            kill(speaking)
            await place.until(lambda events: is_on(events, "speech.started"))
            kill(listening)
            assert await call.ended() == 0, call.lines
        call_id = json.loads("\n".join(call.lines))["call_id"]
        shown = await place.finished(call_id)
        assert await server.started("conversation:1", 2) != speaking
        assert await server.started("hearing:1", 2) != listening
        events = await place.events(call_id)
        sentences = [(e.reply, e.index) for e in events if type_of(e) == "reply.sentence"]  # type: ignore[union-attr]
        assert len(sentences) == len(set(sentences)) >= 2
        assert void_replies(events) == []
        assert said_twice(await place.spoken(call_id)) == []
        assert [line["text"] for line in shown["transcript"] if line["speaker"] == "caller"] == [WORDS]
        children = await offspring(server.process.pid)
        stop(server.process.pid)
        assert await server.ended() == 0, server.errors
        await all_gone(children)


async def test_doors_that_were_killed_open_again_on_the_same_port(place: Place) -> None:
    async with place.running("serve", "--dev", "--processes", "--workers", "summariser=0") as server:
        address = (await server.said(LISTENS))[1]
        await server.said("works as", 3)
        async with place.running("call", "--unsigned", "--to", address, "--say", WORDS):
            await place.until(lambda events: is_on(events, "playback.started"))
            kill(await server.started("ingest"))
            assert (await server.said(LISTENS, 2))[1] == address
        assert (await place.call(address, WORDS))["ok"]


async def test_children_of_a_killed_supervisor_leave_nothing_behind(place: Place) -> None:
    async with place.running("serve", "--dev", "--processes") as server:
        address = urlsplit((await server.said(LISTENS))[1])
        await server.said("works as", 4)
        children = await offspring(server.process.pid)
        assert len(children) >= 7, "five roles, and the engines' own processes"
        kill(server.process.pid)
        await all_gone(children)
    with socket.create_server((str(address.hostname), int(address.port or 0))):
        pass
    async with place.running("worker", "summariser", "projector") as successor:
        await successor.said("works as summariser, projector")


async def test_two_processes_of_a_role_share_its_calls(place: Place) -> None:
    port = _free_port()
    workers = "hearing=0,conversation=0,projector=0,summariser=2"
    async with (
        place.running("serve", "--dev", "--processes", "--workers", workers, METRICS_PORT=str(port)) as server,
        aiohttp.ClientSession() as http,
    ):
        told = await server.said(r"Health and metrics of the workers: (.*)")
        assert told[1] == f"summariser:1 127.0.0.1:{port}, summariser:2 127.0.0.1:{port + 1}"
        await server.said("works as summariser", 2)

        async def is_shared() -> bool:
            return [await _share(http, each) for each in (port, port + 1)] == [12, 12]

        await eventually(is_shared)
        stop(server.process.pid)
        assert await server.ended() == 0


HASTY = """
import os, signal, sys

class Hasty:
    def find_spec(self, name, path=None, target=None):
        if "--processes" in sys.argv and name in ("calltape.doors", "calltape.supervise"):
            os.kill(os.getpid(), signal.SIGHUP)

sys.meta_path.insert(0, Hasty())
"""


async def test_a_supervisor_asked_to_restart_all_before_anything_runs_starts_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(HASTY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    workers = "hearing=0,conversation=0,projector=0,summariser=0"
    async with place.running("serve", "--dev", "--processes", "--workers", workers) as server:
        await server.said(LISTENS)
        stop(server.process.pid)
        assert await server.ended() == 0, server.errors


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (("worker", "nosuch"), {}, "no role is called 'nosuch': there are hearing, conversation"),
        (("worker", "hearing"), {"LOG": "memory:"}, "only its own process can read"),
        (("ingest", "--dev"), {"LOG": "memory:"}, "only its own process can read"),
        (("ingest",), {}, "no door can open"),
        (("serve", "--dev", "--processes"), {"LOG": "memory:"}, "only its own process can read"),
        (("worker", "recorder"), {}, "CALLTAPE_RECORD is off"),
        (("worker", "conversation"), {"AGENT": "nowhere.yaml"}, "nowhere.yaml"),
        (("serve", "--dev", "--workers", "hearing=2"), {}, "goes with --processes"),
        (("serve", "--dev", "--processes", "--workers", "ingest=2"), {}, "behind a balancer"),
        (("serve", "--dev", "--processes", "--workers", "hearing=many"), {}, "write ROLE=N"),
    ],
)
async def test_what_cannot_run_says_why_in_one_sentence(
    place: Place, arguments: tuple[str, ...], settings: dict[str, str], said: str
) -> None:
    done = await place.run(*arguments, **settings)
    assert done.process.returncode in (1, 2)
    assert done.lines == []
    (sentence,) = done.errors
    assert sentence.startswith("calltape: ") and said in sentence


async def test_a_role_that_cannot_start_stops_the_whole_with_its_reason(place: Place) -> None:
    done = await place.run("serve", "--dev", "--processes", AGENT="nowhere.yaml")
    assert done.process.returncode == 1
    assert any(line.startswith("calltape: ") and "nowhere.yaml" in line for line in done.errors)
    assert "could not be started" in done.errors[-1]
    await all_gone({pid for _, pid in done.starts()})


async def test_a_metrics_port_that_is_taken_is_told_in_one_sentence(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = await place.run("worker", "summariser", METRICS_PORT=str(taken.getsockname()[1]))
    assert done.process.returncode == 1
    assert len(done.errors) == 1 and "CALLTAPE_METRICS_PORT" in done.errors[0]


async def _share(http: aiohttp.ClientSession, port: int) -> float:
    """How many partitions the summariser there says it owns."""
    text = await (await http.get(f"http://127.0.0.1:{port}/metrics")).text()
    found = re.search(r'calltape_role_partitions\{role="summariser"\} (\S+)', text)
    return float(found[1]) if found else 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
