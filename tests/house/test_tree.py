"""The handwriting, as far as a machine can read it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.house.tree import PACKAGES, ROOT, calls, files, named, parsed, places, python_files

LONGEST_FILE = 300
# A test file is a list of sentences, each read by itself; a package file is read as a whole.
LONGEST_TEST_FILE = 600
LONGEST_FUNCTION = 40
# file -> why it may be longer
LONGER_FILES = {
    "migrations/versions/v0001_first_tables.py": "a list of tables; what a migration makes never changes again",
    "projections/tables.py": "a list of tables; nothing in it runs",
}
SPEAKING = ("calltape/terminal.py",)
# A class of one letter each, so that this file does not find itself.
FOREIGN = re.compile(
    r"/r[o]ot/|/w[o]rk/|/h[o]me/\w+/|/U[s]ers/\w+/"
    r"|py[p]i\.org|registry\.np[m]js|repo\.mave[n]|deb\.debia[n]\.org|proxy\.golan[g]"
)
TEXT = frozenset({".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".sh", ".cfg", ".ini", ".mako", ".html", ""})


def test_no_path_of_a_machine_and_no_registry_is_named() -> None:
    wrong = [
        f"{named(path)}: {match[0]}"
        for path in files()
        if path.suffix in TEXT and (match := FOREIGN.search(path.read_text(encoding="utf-8", errors="ignore")))
    ]
    assert wrong == []


def test_files_can_be_read_in_a_sitting() -> None:
    scripts = [path for path in files() if path.suffix == ".js"]
    read_whole = [*python_files(*PACKAGES, "benchmarks", "scripts"), *scripts]
    long = [named(path) for path in read_whole if _lines(path) > LONGEST_FILE]
    long += [named(path) for path in python_files("tests") if _lines(path) > LONGEST_TEST_FILE]
    assert sorted(long) == sorted(LONGER_FILES), "split it, or say in LONGER_FILES why not"


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_functions_are_short() -> None:
    long = [
        f"{named(path)} {node.name}"
        for path in files()
        if path.suffix == ".py"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _size(node) > LONGEST_FUNCTION
    ]
    assert long == []


def _size(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to its end; what decorates it, such as a table of a test's cases, is not read with it."""
    return (node.end_lineno or 0) - node.lineno + 1


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_says_what_it_is_for(package: str) -> None:
    silent = [named(path) for path in python_files(package) if _lines(path) and ast.get_docstring(parsed(path)) is None]
    assert silent == []


def test_only_commands_speak_to_the_terminal() -> None:
    wrong = [
        place
        for path in python_files(*PACKAGES)
        if named(path) not in SPEAKING and not named(path).startswith("calltape/commands/")
        for name, node in calls(path)
        if name == "print"
        for place in places(path, node)
    ]
    assert wrong == []


def test_links_between_our_pages_lead_somewhere() -> None:
    broken = []
    for page in (path for path in files() if path.suffix == ".md"):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                broken.append(f"{named(page)}: {target}")  # noqa: PERF401
    assert broken == []


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
