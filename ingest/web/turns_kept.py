"""Answers that were given to an Idempotency-Key, for some minutes: the same key is the same request."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

KEPT_MS = 10 * 60_000
MOST = 200
# An answer as WAV is 32 kB a second, and a third more in base64: this is a quarter of an hour of speech, or nearly five
# seconds for each of the 200. Without it each could be two minutes long, and all of them a gigabyte.
MOST_BYTES = 40 * 1024 * 1024
MOST_KEY = 255  # characters
Name = tuple[str, str, str]  # tenant, user, key


@dataclass(slots=True)
class Entry:
    """`answer` is set by whoever came first, and `call_id` too."""

    digest: bytes
    answer: asyncio.Future[bytes]
    until: int
    call_id: str = ""
    size: int = 0  # bytes of the answer, once it was given


class Kept:
    """One process's. `clock`: ms, only grows."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._entries: OrderedDict[Name, Entry] = OrderedDict()  # answers that were given in that order
        self._bytes = 0
        self._latest: Name | None = None  # the last one given

    def claim(self, tenant: str, user: str, key: str, content: bytes) -> tuple[Entry, bool]:
        """The key's entry, and whether it is the caller's to fill. Raises ValueError: it was another request's."""
        self._forget(room=1)
        name, digest = (tenant, user, key), hashlib.sha256(content).digest()
        entry = self._entries.get(name)
        if entry is not None:
            if entry.digest != digest:
                raise ValueError("this Idempotency-Key came with another turn before")
            return entry, False
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        entry = self._entries[name] = Entry(digest, future, self._clock() + KEPT_MS)
        future.add_done_callback(lambda _: self._given(name, entry))
        return entry, True

    def release(self, tenant: str, user: str, key: str) -> None:
        """It came to nothing: the next one with this key tries again."""
        entry = self._drop((tenant, user, key))
        if entry is not None and not entry.answer.done():
            entry.answer.cancel()

    def _given(self, name: Name, entry: Entry) -> None:
        done = entry.answer
        if done.cancelled() or done.exception() is not None or self._entries.get(name) is not entry:
            return
        entry.size = len(done.result())
        self._bytes += entry.size
        self._latest = name
        self._entries.move_to_end(name)
        self._forget()

    def _forget(self, *, room: int = 0) -> None:
        """Answers that were given, the oldest first. One that somebody waits for stays: its turn ends by itself.

        The last one given stays, too, however large: it may be on its way just now, and be asked for again.
        """
        now = self._clock()
        for name, entry in tuple(self._entries.items()):
            too_large = self._bytes > MOST_BYTES and name != self._latest
            too_much = too_large or len(self._entries) + room > MOST
            if entry.answer.done() and (entry.until <= now or too_much):
                self._drop(name)

    def _drop(self, name: Name) -> Entry | None:
        entry = self._entries.pop(name, None)
        if entry is not None:
            self._bytes -= entry.size
        return entry
