"""The repository as the house tests read it: its files, its packages, its syntax trees."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = (
    "calltape",
    "ingest",
    "workers",
    "clients",
    "projections",
    "eventlog",
    "schema",
    "audio",
    "migrations",
    "agents",
)
PURE = ("schema", "audio")
# Everything that gets its clock, ids and randomness from calltape's wiring.
WIRED = ("ingest", "workers", "clients", "eventlog", "projections", "migrations", "schema", "audio")
_IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules", "data", "dist", "build"})


@cache
def files() -> tuple[Path, ...]:
    """Every file that is, or would be, in the repository; without git every file that is not in a hidden folder."""
    asked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == 0:
        return tuple(path for name in asked.stdout.split("\0") if name and (path := ROOT / name).is_file())
    return tuple(_walk(ROOT))


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".venv") and path.name not in _IGNORED_FOLDERS | {".git"}:
            yield from _walk(path)
        elif path.is_file():
            yield path


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_files(*folders: str) -> list[Path]:
    """The Python files below these top-level folders."""
    return [path for path in files() if path.suffix == ".py" and named(path).split("/")[0] in folders]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=named(path))


def places(path: Path, *nodes: ast.AST) -> list[str]:
    return [f"{named(path)}:{getattr(node, 'lineno', 0)}" for node in nodes]


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its dotted name as written, aliases of imported modules resolved."""
    tree = parsed(path)
    aliases = _aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := dotted(node.func)):
            head, _, rest = name.partition(".")
            yield ".".join(part for part in (aliases.get(head, head), rest) if part), node


def dotted(node: ast.AST) -> str:
    """`os.environ.get` of an attribute chain; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def _aliases(tree: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found
