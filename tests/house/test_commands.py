"""The command line: every verb is documented, says its data as JSON, and starts quickly."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from calltape.__main__ import verbs
from calltape.commands.check import PARTS
from tests.house.tree import ROOT

VERBS = {verb.name: verb for verb in verbs()}
# Verbs that run until they are stopped and print no data.
WITHOUT_DATA = frozenset({"serve", "ingest", "worker"})
HEAVY = ("sqlalchemy", "aiohttp", "numpy", "alembic", "twilio", "rich", "pydantic", "structlog", "uvloop")


@pytest.mark.parametrize("name", sorted(set(VERBS) - WITHOUT_DATA))
def test_every_verb_that_prints_data_prints_it_as_json(name: str) -> None:
    assert "--json" in {option.name for option in VERBS[name].options}


@pytest.mark.parametrize("name", sorted(VERBS))
def test_every_verb_and_option_is_explained(name: str) -> None:
    verb = VERBS[name]
    assert verb.help
    assert [option.name for option in verb.options if not option.help] == []


@pytest.mark.parametrize("name", sorted(VERBS))
def test_the_readme_names_every_verb(name: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"\b{name}\b", readme), f"the README's list of commands lacks {name}"


def test_every_part_of_check_has_its_section_in_troubleshooting() -> None:
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text(encoding="utf-8")
    assert [part for part in PARTS if f"## {part}\n" not in page] == []


def test_asking_for_help_loads_nothing_heavy() -> None:
    asked = "import sys, calltape.__main__; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in HEAVY if name in loaded] == []
