"""Real processes, a spoken call, and one of them killed in the middle of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calltape.chaos.cases import CASES, Case
from calltape.chaos.run import run_cases
from scripts import local_kafka, local_postgres
from tests.support.needs import require_or_skip

RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"
AWAY_S = 10.0  # the database; `calltape chaos` lets it stay away for a minute
# One of each kind; `calltape chaos` runs all of them.
ON_KAFKA = (
    "hearing, mid-utterance",
    "conversation, mid-reply",
    "ingest, mid-reply",
    "recorder, during recording",
    "broker leader, mid-utterance",
    "postgres, mid-utterance",
)
ON_SQLITE = ("conversation, tool open", "supervisor, mid-reply")


def cases(*names: str) -> list[Case]:
    found = [case for case in CASES if case.name in names]
    assert len(found) == len(names)
    return found


@pytest.mark.long
async def test_a_call_on_kafka_and_postgresql_survives_the_death_of_any_part_of_its_house(tmp_path: Path) -> None:
    for name, problem in (("kafka", local_kafka.missing()), ("postgres", local_postgres.missing())):
        if problem:
            require_or_skip(name, problem)
    outcomes = await run_cases(cases(*ON_KAFKA), ground="kafka", folder=tmp_path, away_s=AWAY_S)
    assert [outcome.as_json() for outcome in outcomes if not outcome.ok] == []


@pytest.mark.long
async def test_a_call_on_sqlite_survives_the_death_of_its_owner_and_of_the_supervisor(tmp_path: Path) -> None:
    """And a case that breaks is the end of no other."""
    broken = Case("nobody", "mid-utterance")
    outcomes = await run_cases([broken, *cases(*ON_SQLITE)], ground="sqlite", folder=tmp_path)
    assert (outcomes[0].case, outcomes[0].ok) == (broken, False)
    assert outcomes[0].note.startswith("broke: ")
    assert [outcome.as_json() for outcome in outcomes[1:] if not outcome.ok] == []


def test_the_page_of_the_last_run_lists_every_case_and_each_is_ok() -> None:
    rows = re.findall(r"^\| ([a-z ]+, [^|]+?) \| ([^|]*?) \|", RELIABILITY.read_text(), re.MULTILINE)
    assert rows == [(case.name, "ok") for case in CASES]


def test_the_page_says_by_which_command_on_what_machine_and_how_all_cases_went() -> None:
    said = re.findall(r"^`(calltape chaos[^`]*)`: (\d+) of (\d+) cases ok, .*", RELIABILITY.read_text(), re.MULTILINE)
    (whole, well, of), *again = said
    assert (whole, of) == ("calltape chaos --table", str(len(CASES)))
    # A case whose moment was missed was run again by itself: that run's sentence stands there, too.
    assert all(command.startswith("calltape chaos --table --case ") and well == of for command, well, of in again)
    assert int(well) + sum(int(of) for _, _, of in again) == len(CASES)
    assert re.search(r"\d+ cores, load \d+\.\d before it began\.$", RELIABILITY.read_text(), re.MULTILINE)
