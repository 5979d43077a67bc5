"""The benchmarks tell how they are run; what they measure is not for tests."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
BENCHMARKS = sorted(FOLDER.glob("*.py"))
PARTS = sorted(FOLDER.glob("*/*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def test_there_are_benchmarks() -> None:
    assert {"live_calls.py", "log_append.py"} <= {path.name for path in BENCHMARKS}


@pytest.mark.parametrize("path", BENCHMARKS, ids=named)
def test_a_benchmark_opens_with_a_sentence_and_its_command(path: Path) -> None:
    text = docstring(path)
    assert text.partition("\n")[0]
    assert f"python benchmarks/{path.name}" in text or f"python -m benchmarks.{path.stem}" in text
    assert "--json" in text


@pytest.mark.parametrize("path", BENCHMARKS, ids=named)
def test_a_benchmark_explains_itself_and_answers_in_json_when_asked(path: Path) -> None:
    asked = subprocess.run(
        [sys.executable, str(path), "--help"], capture_output=True, text=True, cwd=FOLDER.parent, check=False
    )
    assert asked.returncode == 0, asked.stderr
    assert "--json" in asked.stdout.partition("options:")[2]


@pytest.mark.parametrize("path", PARTS, ids=named)
def test_a_part_of_a_benchmark_says_what_it_stands_for(path: Path) -> None:
    assert docstring(path)
