"""How a group's members divide a topic's partitions: the pure arithmetic that every backend of ours shares."""

from __future__ import annotations

from collections.abc import Collection


def quota(member: str, members: Collection[str], partitions: int) -> int:
    """How many partitions `member` may hold. The quotas of all members add up to `partitions` exactly, so that
    members who agree on who is alive neither fight over a partition nor leave one alone."""
    ranked = sorted(members)
    share, rest = divmod(partitions, len(ranked))
    return share + (1 if ranked.index(member) < rest else 0)
