"""`calltape migrate`, `calls`, `show` and `check` on either database, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import opened
from tests.support.events import CALL, Tape, a_whole_call, an_exchange


def calltape(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with this database and nothing of the tester's environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CALLTAPE_", "TWILIO_"))}
    return subprocess.run(
        [sys.executable, "-m", "calltape", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=kept | {"CALLTAPE_DATA": str(folder), "CALLTAPE_DATABASE": url, "CALLTAPE_PORT": "0"},
    )


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_database_is_migrated_filled_listed_and_shown(database_url: str, tmp_path: Path) -> None:
    first = answer(calltape(tmp_path, database_url, "migrate", "--json"))
    again = answer(calltape(tmp_path, database_url, "migrate", "--json"))
    assert (first["before"], first["changed"], again["changed"]) == (None, True, False)

    tape = a_whole_call()
    tape.at += 86_400_000
    tape.call_id = "tenant~later"
    tape.say("call.started", channel="mobile", agent="billing", from_="+15559990000")
    an_exchange(tape, "what do I owe", "Nothing.")
    with opened(database_url) as database:
        database.apply(tape.records)

    def listed(*arguments: str) -> list[str]:
        return [call["call_id"] for call in answer(calltape(tmp_path, database_url, "calls", "--json", *arguments))]

    assert listed("--text", '"call the dent"* tomorrow') == [CALL]
    assert listed("--text", "owe", "--channel", "mobile", "--agent", "billing", "--number", "+15559990000") == [
        "tenant~later"
    ]
    assert listed("--since", "2026-02-02", "--until", "2026-02-03T00:00:00+01:00") == [CALL]
    assert answer(calltape(tmp_path, database_url, "show", CALL[:5], "--json"))["events"] == len(a_whole_call().records)


def test_a_moment_that_is_none_is_refused(migrated_url: str, tmp_path: Path) -> None:
    done = calltape(tmp_path, migrated_url, "calls", "--since", "yesterday")

    assert (done.returncode, done.stdout) == (2, "")
    assert "--since 'yesterday' is no moment" in done.stderr


@pytest.mark.parametrize("command", [["migrate"], ["calls"], ["show", "CA"], ["serve", "--dev"]])
def test_a_database_that_is_not_there_is_one_sentence(command: list[str], tmp_path: Path) -> None:
    pytest.importorskip("asyncpg")
    done = calltape(tmp_path, "postgresql+asyncpg://me:secret@127.0.0.1:1/calls", *command)

    assert done.returncode == 1
    assert "is the server up, and is the address in CALLTAPE_DATABASE right?" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr + done.stdout


def test_check_says_what_to_do_about_a_database_that_is_not_there_or_not_migrated(
    database_url: str, tmp_path: Path
) -> None:
    part = _database_part(tmp_path, database_url)
    assert (part["ok"], part["fix"]) == (False, "run `calltape migrate`")
    calltape(tmp_path, database_url, "migrate")
    assert _database_part(tmp_path, database_url)["ok"] is True

    gone = _database_part(tmp_path, "postgresql://me@127.0.0.1:1/calls")
    assert gone["ok"] is False
    assert "nothing answers there" in gone["detail"]


def _database_part(folder: Path, url: str) -> dict[str, Any]:
    parts = json.loads(calltape(folder, url, "check", "--json").stdout)["parts"]
    (part,) = [part for part in parts if part["name"] == "database"]
    return dict(part)


def test_check_names_records_that_no_table_could_take(migrated_url: str, tmp_path: Path) -> None:
    tape = Tape()
    tape.say("call.started")
    tape.say("transcript.settled", start_ms=2**63 + 1)
    with opened(migrated_url) as database:
        database.apply(tape.records)
    parts = json.loads(calltape(tmp_path, migrated_url, "check", "--json").stdout)["parts"]
    (part,) = [part for part in parts if part["name"] == "projections"]

    assert part["ok"] is False
    assert "0.1 Refused" in part["detail"]
