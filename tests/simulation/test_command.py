"""`calltape simulate` prints what scripts rely on and says with its exit code whether all held."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from calltape.commands.simulate import simulate
from calltape.simulation import invariants
from calltape.simulation.tape import Tape

app = typer.Typer()
app.command()(simulate)


def test_it_prints_one_json_document() -> None:
    done = CliRunner().invoke(app, ["--seeds", "3", "--from-seed", "5", "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed.keys() == {"seeds", "failed", "seconds"}
    assert (printed["seeds"], printed["failed"]) == (3, [])


def test_it_tells_a_person_how_many_calls_held() -> None:
    done = CliRunner().invoke(app, ["--seeds", "3"])
    assert done.exit_code == 0, done.output
    assert "3 calls in" in done.stdout
    assert "0 failed" in done.stdout


def test_processes_share_the_calls() -> None:
    done = CliRunner().invoke(app, ["--seeds", "4", "--jobs", "2", "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert (printed["seeds"], printed["failed"]) == (4, [])


def _break_every_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tape: Tape) -> Iterator[str]:
        yield "twice"

    monkeypatch.setitem(invariants.CHECKS, "nothing is said twice", broken)


def test_seeds_that_fail_are_named_and_the_first_of_them_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    _break_every_seed(monkeypatch)
    done = CliRunner().invoke(app, ["--seeds", "4", "--from-seed", "7", "--json"])
    assert done.exit_code == 1
    failed = json.loads(done.stdout)["failed"]
    assert [(one["seed"], one["invariant"]) for one in failed] == [
        (seed, "nothing is said twice") for seed in (7, 8, 9, 10)
    ]
    assert ["events" in one for one in failed] == [True, True, True, False]
    for one in failed[:3]:
        assert any("call.started" in line for line in one["events"])


def test_all_that_failed_are_listed_if_one_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    _break_every_seed(monkeypatch)
    done = CliRunner().invoke(app, ["--seeds", "4", "--show", "--json"])
    assert all(one["events"] for one in json.loads(done.stdout)["failed"])


def test_a_person_sees_the_events_and_then_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    _break_every_seed(monkeypatch)
    done = CliRunner().invoke(app, ["--seeds", "4", "--from-seed", "7"])
    assert done.exit_code == 1
    events, result = done.stdout.split("4 calls in ")
    assert [f"seed {seed}: " in events for seed in (7, 8, 9, 10)] == [True, True, True, False]
    assert "call.started" in events and "4 failed" in result
    assert "calltape simulate --seeds 1 --from-seed SEED" in result
