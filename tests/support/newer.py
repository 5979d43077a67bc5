"""A later version of calltape, as far as others see it: what it writes has fields and events that nobody here knows."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from eventlog.port import Entry, Log, Placed
from schema import topics

NEW_FIELDS = {"mood": {"valence": 0.3}, "noted_by": ["v9"], "urgent": None}
NEW_EVENT = "mood.sensed"
# Read by every Python that starts with this folder in its path; an engine's child writes no log.
ON_START = """
import sys

if "calltape" in sys.orig_argv:
    import calltape.wiring
    from tests.support.newer import Newer

    open_log = calltape.wiring.open_log
    calltape.wiring.open_log = lambda *given, **named: Newer(open_log(*given, **named))
"""


def becomes_newer(folder: Path) -> None:
    """From now on every process of ours that has `folder` in PYTHONPATH starts as the later version."""
    (folder / "sitecustomize.py").write_text(ON_START, encoding="utf-8")


class Newer:
    """A log whose writers are all of a later version: new fields in every event, and a new event after each append."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._sequences: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def __aenter__(self) -> Self:
        await self._log.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._log.__aexit__(*failure)

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        if topic != topics.EVENTS.name:
            return await self._log.append(topic, entries)
        newer = [Entry(entry.key, _newer(entry.value), entry.partition) for entry in entries]
        felt = [self._felt(entry.key, entry.partition) for entry in {entry.key: entry for entry in entries}.values()]
        return (await self._log.append(topic, [*newer, *felt]))[: len(entries)]

    def _felt(self, call_id: str, partition: int | None) -> Entry:
        self._sequences[call_id] += 1
        number = self._sequences[call_id]
        event = {
            "type": NEW_EVENT,
            "version": 3,
            "id": f"{call_id}-mood-{os.getpid()}-{number}",
            "call_id": call_id,
            "tenant_id": "default",
            "source": f"mood:{os.getpid()}:{call_id}",
            "sequence": number,
            **NEW_FIELDS,
        }
        return Entry(call_id, json.dumps(event).encode(), partition)


def _newer(value: bytes) -> bytes:
    return json.dumps({**json.loads(value), **NEW_FIELDS}).encode()
