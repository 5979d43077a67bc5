"""Groups in memory: who owns which partition, and what is withdrawn from a member until it has let go."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from eventlog.groups import quota
from eventlog.port import LogClosed, LogUnavailable


class MemoryGroup:
    """The members that live, and the owner of each partition."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._members: dict[str, MemoryMembership] = {}
        self._share_before: dict[str, frozenset[int]] = {}

    def join(self, name: str) -> MemoryMembership:
        if name in self._members:
            raise LogUnavailable(f"member {name!r} is still running; every process needs a name of its own")
        self._members[name] = MemoryMembership(self, name)
        self.balance()
        return self._members[name]

    def bury(self, name: str) -> None:
        """The member is gone, whether it knows or not."""
        member = self._members.pop(name, None)
        if member is not None:
            self._share_before[name] = frozenset(member.held)
            self.balance()

    def disband(self) -> None:
        for member in tuple(self._members.values()):
            member.dismiss()
        self._members.clear()

    def holds(self, member: MemoryMembership) -> bool:
        return self._members.get(member.name) is member

    def balance(self) -> None:
        """Withdraw what is too much, then hand out what is free. A withdrawn partition is free when let go."""
        for member in self._members.values():
            member.withdraw_to(quota(member.name, self._members, self._partitions))
        free = set(range(self._partitions)).difference(*(member.held for member in self._members.values()))
        for member in sorted(self._members.values(), key=lambda member: member.name):
            self._serve(member, free)

    def _serve(self, member: MemoryMembership, free: set[int]) -> None:
        before = self._share_before.get(member.name, frozenset())
        wanted = sorted(free, key=lambda partition: (partition not in before, partition))
        short = quota(member.name, self._members, self._partitions) - len(member.offered)
        given = wanted[: max(0, short)]
        free.difference_update(given)
        member.give(given)


class MemoryMembership:
    """See `port.Membership`. `held` is what nobody else can have; `offered` is held and not withdrawn, oldest first."""

    def __init__(self, group: MemoryGroup, name: str) -> None:
        self.name = name
        self.held: set[int] = set()
        self.offered: list[int] = []
        self._times: Counter[int] = Counter()
        self._group = group
        self._seen: frozenset[int] = frozenset()
        self._news = asyncio.Event()
        self._left = False

    @property
    def assigned(self) -> frozenset[int]:
        self._seen = frozenset(self.offered)
        return self._seen

    @property
    def given(self) -> Mapping[int, int]:
        return {partition: self._times[partition] for partition in self.offered}

    async def changed(self, *, wait_ms: int) -> bool:
        self._let_go()
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while self._seen == frozenset(self.offered):
                    if self._left:
                        raise LogClosed(f"member {self.name!r} has left its group")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def leave(self) -> None:
        if not self._left:
            held = self._group.holds(self)
            self.dismiss()
            if held:
                self._group.bury(self.name)

    def give(self, partitions: list[int]) -> None:
        if partitions:
            self.held.update(partitions)
            self._times.update(partitions)
            self.offered += partitions
            self._news.set()

    def withdraw_to(self, most: int) -> None:
        if len(self.offered) > most:
            # The youngest go back first: they were somebody else's a moment ago.
            del self.offered[most:]
            self._news.set()

    def dismiss(self) -> None:
        self._left = True
        self.offered.clear()
        self._news.set()

    def _let_go(self) -> None:
        """A withdrawn partition is another's as soon as this member has seen that it is not its own any more."""
        if self._seen == frozenset(self.offered) and len(self.held) > len(self.offered):
            self.held = set(self.offered)
            if self._group.holds(self):
                self._group.balance()
