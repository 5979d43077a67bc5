"""Makes the folders that settings and options name."""

from __future__ import annotations

from pathlib import Path

from calltape.terminal import Refused


def made_folder(folder: Path) -> Path:
    """The folder, with its parents. Raises Refused when it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"cannot make the folder {folder} ({error.strerror}): choose one that can be written") from error
    return folder
