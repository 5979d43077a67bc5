"""The first thing a newcomer runs finds a Python, or says in one sentence what is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import ROOT

SCRIPT = ROOT / "scripts" / "find-python"


def a_python(folder: Path, name: str, *, version: str, venv: bool = True) -> None:
    """An executable that answers the script's questions as a Python of that version would."""
    major, minor = version.split(".")
    fits = "0" if (3, 11) <= (int(major), int(minor)) <= (3, 13) else "1"
    body = f"""#!/bin/sh
case "$2" in
    *ensurepip*) exit {0 if venv else 1} ;;
    *"<="*) exit {fits} ;;
    *"%d.%d"*) echo {version} ;;
esac
[ "$1" = --version ] && echo "Python {version}.0"
exit 0
"""
    path = folder / name
    path.write_text(body, encoding="utf-8")
    path.chmod(0o755)


def found(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(SCRIPT)], capture_output=True, text=True, check=False, env={"PATH": str(folder)} | environment
    )


def test_the_newest_suitable_python_is_taken(tmp_path: Path) -> None:
    for name, version in (("python3", "3.14"), ("python3.12", "3.12"), ("python3.11", "3.11")):
        a_python(tmp_path, name, version=version)
    assert found(tmp_path).stdout == "python3.12\n"


def test_one_without_venv_is_passed_over(tmp_path: Path) -> None:
    a_python(tmp_path, "python3.13", version="3.13", venv=False)
    a_python(tmp_path, "python3", version="3.11")
    assert found(tmp_path).stdout == "python3\n"


@pytest.mark.parametrize("version", ["2.7", "3.10", "3.14"])
def test_another_python_gets_one_sentence(tmp_path: Path, version: str) -> None:
    a_python(tmp_path, "python3", version=version)
    told = found(tmp_path)
    assert told.returncode == 1 and told.stdout == "" and told.stderr.count("\n") == 1
    assert f"found Python {version}" in told.stderr


def test_no_python_at_all_gets_one_sentence(tmp_path: Path) -> None:
    assert "no python3" in found(tmp_path).stderr


def test_a_missing_venv_module_is_named_with_its_package(tmp_path: Path) -> None:
    a_python(tmp_path, "python3", version="3.11", venv=False)
    told = found(tmp_path)
    assert told.returncode == 1 and "apt install python3.11-venv" in told.stderr


def test_a_python_may_be_named(tmp_path: Path) -> None:
    assert found(tmp_path, PYTHON=sys.executable).stdout.strip() == sys.executable
    assert "PYTHON=/nowhere/python is not" in found(tmp_path, PYTHON="/nowhere/python").stderr


def test_the_constraints_name_versions_and_nothing_else() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    wrong = [
        line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[\w.]+(; python_version [<>=]+ '3\.\d+')?", line)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", [".ci/run", "scripts/find-python"])
def test_what_is_run_can_be_run(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
