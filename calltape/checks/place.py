"""Whether files could be kept in a place that may not exist yet."""

from __future__ import annotations

import tempfile
from pathlib import Path


def nearest(path: Path) -> Path:
    """The path itself, or the nearest above it that exists."""
    return next(each for each in (path, *path.parents) if _exists(each))


def refusal(folder: Path) -> str:
    """Why no file can be made in this folder; empty: one can."""
    try:
        # Rights do not tell: a read-only disk and /proc refuse even whom they let write.
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError:
        return f"{folder} is no folder that can be written"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # we may not look into a folder above it
        return False
