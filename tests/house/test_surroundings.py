"""Law 6 and its like: environment, clock, ids and randomness are handed out in one place."""

from __future__ import annotations

import ast

import pytest

from calltape.settings import Settings
from tests.house.tree import PACKAGES, WIRED, calls, dotted, named, parsed, places, python_files

ENVIRONMENT = frozenset({"os.environ", "os.getenv", "os.putenv", "environ", "getenv"})
SETTINGS = "calltape/settings.py"

# Measuring how long something took decides nothing in a call, so it may look at a clock of its own; nothing else may.
STOPWATCHES = frozenset({"time.perf_counter", "time.perf_counter_ns", "time.monotonic", "time.monotonic_ns"})
HAVE_STOPWATCHES = {
    "eventlog/sqlite_file.py": "when to give up on a busy file",
    "eventlog/sqlite_writer.py": "when a batch may be committed",
}
CLOCKS = frozenset(
    {"time.time", "time.time_ns", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today"}
)
CHANCE = ("uuid.uuid", "secrets.", "random.", "os.urandom", "numpy.random.")
# A generator made from a given seed is a value, not chance.
SEEDED = frozenset({"random.Random", "numpy.random.default_rng"})


def test_only_the_settings_read_the_environment() -> None:
    wrong = [
        place
        for path in python_files(*PACKAGES)
        if named(path) != SETTINGS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute | ast.Name) and dotted(node) in ENVIRONMENT
        for place in places(path, node)
    ]
    assert wrong == [], "read it in calltape/settings.py and hand the value down"


def test_nobody_below_the_wiring_looks_at_a_clock() -> None:
    wrong = [
        place
        for path in python_files(*WIRED)
        for name, node in calls(path)
        if name in CLOCKS
        for place in places(path, node)
    ]
    assert wrong == [], "take `now` as a parameter"


def test_the_house_has_one_clock_and_one_source_of_chance() -> None:
    wrong = [
        place
        for path in python_files("calltape")
        if named(path) != "calltape/world.py"
        for name, node in calls(path)
        if name in CLOCKS or (name.startswith(CHANCE) and name not in SEEDED)
        for place in places(path, node)
    ]
    assert wrong == [], "use calltape/world.py"


def test_stopwatches_are_few_and_known() -> None:
    using = {named(path) for path in python_files(*WIRED) for name, _ in calls(path) if name in STOPWATCHES}
    assert using == set(HAVE_STOPWATCHES), "measure with a clock that is handed in, or say here why not"


def test_nobody_below_the_wiring_draws_lots() -> None:
    wrong = [
        place
        for path in python_files(*WIRED)
        for name, node in calls(path)
        if name.startswith(CHANCE) and name not in SEEDED
        for place in places(path, node)
    ]
    assert wrong == [], "take `new_id` or a seeded random.Random as a parameter"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    assert Settings.model_fields[name].description


def test_every_setting_changes_something() -> None:
    """A setting nobody reads is a promise nobody keeps."""
    read = {
        node.attr
        for path in python_files("calltape")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute)
        and not (named(path) == SETTINGS and not (isinstance(node.value, ast.Name) and node.value.id == "self"))
    }
    assert set(Settings.model_fields) - read == set()
