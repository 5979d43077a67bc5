"""Who owns a group's partitions, and who still believes it: one owner at a time, told late."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from calltape.simulation.process import Fate, Process, world_context
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

    def join(self, group: str, member: str, partitions: int, process: Process) -> FaultyMembership:
        shared = self._groups.setdefault(group, _Group(partitions))
        joined = FaultyMembership(self, group, member, process)
        shared.members.append(joined)
        self.settle(group)
        return joined

    def owner(self, group: str) -> str:
        """The member that owns the group's partitions; empty: none does."""
        shared = self._groups.get(group)
        return shared.owner.member if shared and shared.owner else ""

    def take_from(self, group: str, member: str) -> bool:
        """The partitions go to another running member, if there is one; the old owner is not told."""
        shared = self._groups.get(group)
        if shared is None or shared.owner is None or shared.owner.member != member:
            return False
        others = [one for one in shared.members if one is not shared.owner and one.can_be_given]
        if others:
            self._give(shared, others[0])
        return bool(others)

    def tell(self, group: str, member: str) -> None:
        """A member that believed wrongly learns what it owns."""
        shared = self._groups.get(group)
        for one in shared.members if shared is not None else ():
            if shared is not None and one.member == member and shared.owner is not one:
                one.learn(frozenset())

    def remove(self, group: str, member: str) -> None:
        """The member is gone, whether it knows or not."""
        shared = self._groups.get(group)
        if shared is None:
            return
        gone = [one for one in shared.members if one.member == member]
        shared.members = [one for one in shared.members if one not in gone]
        if shared.owner in gone:
            shared.owner = None
        self.settle(group)

    def settle(self, group: str) -> None:
        """Partitions without an owner go to the oldest running member."""
        shared = self._groups.get(group)
        if shared is not None and shared.owner is None:
            ready = [one for one in shared.members if one.can_be_given]
            if ready:
                self._give(shared, ready[0])

    def _give(self, shared: _Group, member: FaultyMembership) -> None:
        shared.owner = member
        member.learn(frozenset(range(shared.partitions)))


class FaultyMembership:
    """See `eventlog.port.Membership`. It holds what the member believes, which may be wrong."""

    def __init__(self, shares: Shares, group: str, member: str, process: Process) -> None:
        self.group = group
        self.member = member
        self._shares = shares
        self._process = process
        self._believed: frozenset[int] = frozenset()
        self._seen: frozenset[int] = frozenset()
        self._times = 0
        self._news = asyncio.Event()
        self._gave_up = False

    @property
    def can_be_given(self) -> bool:
        """It runs and was told that it has nothing, whether it has looked since or not."""
        return self._process.fate is Fate.RUNNING and not self._believed

    @property
    def assigned(self) -> frozenset[int]:
        let_go = bool(self._seen) and not self._believed
        self._seen = self._believed
        if let_go:
            # Groups take a moment to agree.
            asyncio.get_running_loop().call_later(0.3, self._shares.settle, self.group, context=world_context())
        return self._seen

    @property
    def given(self) -> Mapping[int, int]:
        return dict.fromkeys(self._believed, self._times)

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
        self._times += bool(partitions)
        self._believed = partitions
        self._news.set()
