"""How a group's members divide a topic on Kafka: who keeps what is computed by one of them, the group's leader.

Everybody keeps what it has, up to its quota; what is free goes first to who had it before. Each member tells what it
holds, and is told all shares with its own, so that any of them can be the leader next time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from eventlog.groups import quota

# Shares of members that are gone are remembered for their return.
_REMEMBERED = 100

Shares = dict[str, list[int]]


def divide(holding: Mapping[str, Collection[int]], before: Mapping[str, Collection[int]], partitions: int) -> Shares:
    """Each member's partitions. `holding` has every member that lives; `before` is what they and others had once."""
    names = sorted(holding)
    shares: Shares = {}
    taken: set[int] = set()
    for name in names:
        # What a member that came back had before goes back first.
        others = {partition for other in names if other != name for partition in before.get(other, ())}
        own = sorted(set(holding[name]) - taken, key=lambda partition: (partition in others, partition))
        shares[name] = own[: quota(name, names, partitions)]
        taken.update(shares[name])
    free = [partition for partition in range(partitions) if partition not in taken]
    for name in names:
        free.sort(key=lambda partition, name=name: (partition not in before.get(name, ()), partition))  # type: ignore[misc]
        room = quota(name, names, partitions) - len(shares[name])
        shares[name] += free[:room]
        free = free[room:]
    return {name: sorted(share) for name, share in shares.items()}


class ShareAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """One member's; aiokafka asks it what the member holds, and, of the leader, for everybody's share."""

    name = "calltape"

    def __init__(self, member: str, partitions: int, shares: Shares, *, is_known: Callable[[], bool]) -> None:
        """`is_known`: the group still knows the member; one that was away too long has no claim to what it had."""
        self.shares = shares
        self.held: frozenset[int] = frozenset()
        self._is_known = is_known
        self._member = member
        self._partitions = partitions

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        held = sorted(self.held) if self._is_known() else []
        told = {"member": self._member, "held": held, "shares": self.shares}
        return ConsumerProtocolMemberMetadata(0, list(topics), _packed(told))

    def assign(
        self, cluster: Any, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        told = {identity: _unpacked(metadata.user_data) for identity, metadata in members.items()}
        names = {identity: str(said.get("member") or identity) for identity, said in told.items()}
        # Who holds something was told the latest shares.
        before: Shares = {}
        for said in sorted(told.values(), key=lambda said: not said.get("held")):
            for name, share in dict(said.get("shares") or {}).items():
                before.setdefault(str(name), list(share))
        holding = {names[identity]: list(said.get("held") or ()) for identity, said in told.items()}
        shares = divide(holding, before, self._partitions)
        gone = [name for name in before if name not in shares][-_REMEMBERED:]
        self.shares = {name: before[name] for name in gone} | shares
        topic = next(topic for metadata in members.values() for topic in metadata.subscription)
        return {
            identity: ConsumerProtocolMemberAssignment(0, [(topic, shares[name])], _packed({"shares": self.shares}))
            for identity, name in names.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        self.held = frozenset(place.partition for place in assignment.partitions())
        said = _unpacked(assignment.user_data).get("shares")
        self.shares = said if isinstance(said, dict) else self.shares


def _packed(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, separators=(",", ":")).encode()


def _unpacked(said: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(said or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
