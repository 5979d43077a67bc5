"""`calltape simulate` prints what scripts rely on and says with its exit code whether all held."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from calltape.commands.simulate import simulate
from calltape.simulation import run as running
from calltape.simulation.invariants import Violation
from calltape.simulation.run import Run

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


def test_a_seed_that_fails_is_named_and_the_command_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Run(None, (Violation("nothing is said twice", "twice"),))
    monkeypatch.setattr(running, "run_seed", lambda seed: broken)
    done = CliRunner().invoke(app, ["--seeds", "1", "--from-seed", "7", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["failed"] == [{"seed": 7, "invariant": "nothing is said twice"}]
