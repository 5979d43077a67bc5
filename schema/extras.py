"""The words in which whoever lacks an optional part of calltape is told how to have it."""

from __future__ import annotations


def install(extra: str) -> str:
    """`extra` is one of pyproject.toml's. The package is on no index: it is installed from its own folder."""
    return f"install the extra: pip install -e '.[{extra}]' in calltape's folder"
