"""Answers that were given to an Idempotency-Key, for some minutes: the same key is the same request."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

KEPT_MS = 10 * 60_000
MOST = 200
MOST_KEY = 255  # characters


@dataclass(slots=True)
class Entry:
    """`answer` is set by whoever came first."""

    digest: bytes
    answer: asyncio.Future[bytes]
    until: int


class Kept:
    """One process's. `clock`: ms, only grows."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._entries: OrderedDict[tuple[str, str, str], Entry] = OrderedDict()

    def claim(self, tenant: str, user: str, key: str, content: bytes) -> tuple[Entry, bool]:
        """The key's entry, and whether it is the caller's to fill. Raises ValueError: it was another request's."""
        self._forget()
        name, digest = (tenant, user, key), hashlib.sha256(content).digest()
        entry = self._entries.get(name)
        if entry is not None:
            if entry.digest != digest:
                raise ValueError("this Idempotency-Key came with another turn before")
            return entry, False
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # it may be asked of by nobody
        entry = self._entries[name] = Entry(digest, future, self._clock() + KEPT_MS)
        return entry, True

    def release(self, tenant: str, user: str, key: str) -> None:
        """It came to nothing: the next one with this key tries again."""
        entry = self._entries.pop((tenant, user, key), None)
        if entry is not None and not entry.answer.done():
            entry.answer.cancel()

    def _forget(self) -> None:
        """Answers that were given, the oldest first. One that somebody waits for stays: its turn ends by itself."""
        now, too_many = self._clock(), len(self._entries) - MOST + 1
        for name, entry in tuple(self._entries.items()):
            if entry.until > now and too_many <= 0:
                return
            if entry.answer.done():
                del self._entries[name]
                too_many -= 1
