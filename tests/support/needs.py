"""What a test needs of the machine: skipped with the reason where it is missing, failed where it was promised."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def require_or_skip(name: str, reason: str) -> NoReturn:
    """Skips; fails when CALLTAPE_TEST_REQUIRE, a comma list, names it."""
    required = [each.strip() for each in os.environ.get("CALLTAPE_TEST_REQUIRE", "").split(",")]
    if name in required:
        pytest.fail(f"{name} is required here: {reason}")
    pytest.skip(reason)
