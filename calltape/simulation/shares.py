"""Who owns a group's partitions, and who still believes it: one owner at a time, told late."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from eventlog.port import LogClosed


@dataclass(slots=True)
class _Group:
    partitions: int
    members: list[FaultyMembership] = field(default_factory=list)  # oldest first
    owner: FaultyMembership | None = None


class Shares:
    """All partitions of a group belong to one member: a call has one partition, more would prove no more."""

    def __init__(self) -> None:
        self._groups: dict[str, _Group] = {}

    def join(self, group: str, member: str, partitions: int) -> FaultyMembership:
        shared = self._groups.setdefault(group, _Group(partitions))
        joined = FaultyMembership(self, group, member)
        shared.members.append(joined)
        if shared.owner is None:
            self._give(shared, joined)
        return joined

    def owner(self, group: str) -> str:
        """The member that owns the group's partitions; empty: none does."""
        shared = self._groups.get(group)
        return shared.owner.member if shared and shared.owner else ""

    def take_from(self, group: str, member: str, *, believes: bool) -> None:
        """The partitions go to the next member, if there is one. `believes`: the old owner is not told."""
        shared = self._groups.get(group)
        if shared is None or shared.owner is None or shared.owner.member != member:
            return
        old = shared.owner
        if not believes:
            old.learn(frozenset())
        others = [candidate for candidate in shared.members if candidate is not old]
        shared.owner = None
        if others:
            self._give(shared, others[0])
        elif not believes:
            self._give(shared, old)

    def tell(self, group: str, member: str) -> None:
        """A member that believed wrongly learns what it owns."""
        shared = self._groups.get(group)
        for candidate in shared.members if shared else ():
            if candidate.member == member and shared and shared.owner is not candidate:
                candidate.learn(frozenset())

    def remove(self, group: str, member: str) -> None:
        """The member is gone, whether it knows or not."""
        shared = self._groups.get(group)
        if shared is None:
            return
        gone = [candidate for candidate in shared.members if candidate.member == member]
        shared.members = [candidate for candidate in shared.members if candidate not in gone]
        if shared.owner in gone:
            shared.owner = None
            if shared.members:
                self._give(shared, shared.members[0])

    def _give(self, shared: _Group, member: FaultyMembership) -> None:
        shared.owner = member
        member.learn(frozenset(range(shared.partitions)))


class FaultyMembership:
    """See `eventlog.port.Membership`. It holds what the member believes, which may be wrong."""

    def __init__(self, shares: Shares, group: str, member: str) -> None:
        self.group = group
        self.member = member
        self._shares = shares
        self._believed: frozenset[int] = frozenset()
        self._seen: frozenset[int] = frozenset()
        self._news = asyncio.Event()
        self._gave_up = False

    @property
    def assigned(self) -> frozenset[int]:
        self._seen = self._believed
        return self._seen

    async def changed(self, *, wait_ms: int) -> bool:
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while self._seen == self._believed:
                    if self._gave_up:
                        raise LogClosed(f"member {self.member!r} has left its group")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def leave(self) -> None:
        if not self._gave_up:
            self._gave_up = True
            self.learn(frozenset())
            self._shares.remove(self.group, self.member)

    def learn(self, partitions: frozenset[int]) -> None:
        self._believed = partitions
        self._news.set()
