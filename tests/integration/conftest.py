"""Logs for those who watch calls: each test of `log` runs on two of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventlog.memory import MemoryLog
from eventlog.port import Log
from eventlog.sqlite import SqliteLog
from tests.support.tokens import NOW_MS


@pytest.fixture(params=["memory", "sqlite"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    opened: Log = (
        MemoryLog(now=lambda: NOW_MS)
        if request.param == "memory"
        else SqliteLog(tmp_path / "log.sqlite", now=lambda: NOW_MS)
    )
    async with opened:
        yield opened


@pytest.fixture
async def memory() -> AsyncIterator[MemoryLog]:
    async with MemoryLog(now=lambda: NOW_MS) as opened:
        yield opened
