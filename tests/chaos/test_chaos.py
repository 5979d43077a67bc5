"""Real processes, a spoken call, and one of them killed in the middle of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calltape.chaos.cases import CASES, Case
from calltape.chaos.run import run_cases
from calltape.local.parts import StandsOn
from scripts import local_kafka, local_postgres
from tests.support.needs import require_or_skip

pytestmark = pytest.mark.long

RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"
# One of each kind; `calltape chaos` runs all of them.
ON_KAFKA = ("hearing, mid-utterance", "conversation, mid-reply", "ingest, mid-reply", "projector, during summary")
ON_SQLITE = ("conversation, tool open", "supervisor, mid-reply")


def cases(*names: str) -> list[Case]:
    found = [case for case in CASES if case.name in names]
    assert len(found) == len(names)
    return found


async def hold(ground: StandsOn, folder: Path, *names: str) -> None:
    outcomes = await run_cases(cases(*names), ground=ground, folder=folder)
    assert [outcome.as_json() for outcome in outcomes if not outcome.ok] == []


async def test_a_call_on_kafka_and_postgresql_survives_the_death_of_any_of_its_processes(tmp_path: Path) -> None:
    for name, problem in (("kafka", local_kafka.missing()), ("postgres", local_postgres.missing())):
        if problem:
            require_or_skip(name, problem)
    await hold("kafka", tmp_path, *ON_KAFKA)


async def test_a_call_on_sqlite_survives_the_death_of_its_owner_and_of_the_supervisor(tmp_path: Path) -> None:
    await hold("sqlite", tmp_path, *ON_SQLITE)


def test_the_page_of_the_last_run_lists_every_case() -> None:
    rows = re.findall(r"^\| ([^|]+?) \| (?:ok|NOT OK)", RELIABILITY.read_text(), re.MULTILINE)
    assert rows == [case.name for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_has_a_moment_that_shows(case: Case) -> None:
    from calltape.chaos.cases import Lookout

    assert Lookout(case.moment)
