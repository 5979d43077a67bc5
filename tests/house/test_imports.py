"""Law 1: imports only go down; and the names we import are ours."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tree import PACKAGES, PURE, ROOT, calls, parsed, places, python_files

DOES_IO = frozenset({"open", "print", "input", "exec", "eval"})
IO_MODULES = frozenset(
    {"asyncio", "socket", "subprocess", "threading", "sqlite3", "aiohttp", "pathlib", "os", "time", "logging"}
)


def test_every_import_contract_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from importlinter.cli import lint_imports

    code = lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=str(tmp_path), no_logo=True)
    assert code == 0, capsys.readouterr().out


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_of_that_name_is_ours(package: str, tmp_path: Path) -> None:
    """Others own some of these names on package indexes."""
    asked = f"import {package}; print({package}.__file__)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).is_relative_to(ROOT / package)


def test_words_and_signal_arithmetic_open_nothing() -> None:
    wrong = []
    for path in python_files(*PURE):
        wrong += [place for name, node in calls(path) if name in DOES_IO for place in places(path, node)]
        wrong += [place for node in ast.walk(parsed(path)) if _imports_io(node) for place in places(path, node)]
    assert wrong == []


def _imports_io(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in IO_MODULES for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in IO_MODULES
