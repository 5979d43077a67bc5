"""Groups on Kafka: static members whose partitions the group's coordinator gives them, and what a group has committed.

A rebalance takes everything from everybody for a moment. A member does not believe that: it keeps what it has until
it is told its new share, so that no call's state is dropped for nothing. For these milliseconds two members may
believe in one partition; the log's order judges (`docs/adr/0008-a-brokers-groups-may-overlap.md`).

aiokafka's `GroupCoordinator` is used without its consumer, which would fetch what nobody reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition, errors
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata

from eventlog.kafka_driver import connection, our_error, starting, translated
from eventlog.kafka_shares import ShareAssignor, Shares
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import LogBroken, LogClosed, LogError, LogUnavailable

logger = structlog.get_logger()

_FOR_EVER_MS = 2**31 - 1
_LEAVE_S = 2.0


def static_id(member: str) -> str:
    """The member's name in the letters Kafka allows; different names stay different."""
    return re.sub(r"[^A-Za-z0-9.-]", lambda found: f"_{ord(found[0]):x}_", member)


class GroupLink:
    """A connection to a group's coordinator: reads what was committed, commits, and can be a member."""

    def __init__(self, bootstrap: str, group: str, topic: str, tuning: KafkaTuning) -> None:
        self.group = group
        self.topic = topic
        self._where = f"group {group} at {bootstrap}"
        self._bootstrap = bootstrap
        self._tuning = tuning
        self._patience_s = tuning.ask_ms / 1000
        self.subscription: Any = None
        self.coordinator: Any = None
        self._client: Any = None

    async def open(self, member: str | None = None, assignor: ShareAssignor | None = None) -> None:
        """As a member with a static id, or as nobody. Raises LogUnavailable."""
        # A join is answered when the others have joined again, or their session is over.
        patience_ms = self._tuning.session_ms + self._tuning.ask_ms
        self._client = AIOKafkaClient(**connection(self._bootstrap, self._tuning), request_timeout_ms=patience_ms)
        try:
            with translated(self._where), starting():
                async with asyncio.timeout(self._patience_s):
                    await self._client.bootstrap()
        except BaseException:
            await self._client.close()
            raise
        self._client.set_topics([self.topic])
        self.subscription = SubscriptionState()
        self.coordinator = GroupCoordinator(
            self._client,
            self.subscription,
            group_id=self.group,
            group_instance_id=member,
            session_timeout_ms=self._tuning.session_ms,
            rebalance_timeout_ms=self._tuning.session_ms,
            heartbeat_interval_ms=self._tuning.heartbeat_ms,
            enable_auto_commit=False,
            assignors=(assignor,) if assignor is not None else (),
            # A member that reads nothing (all calls are elsewhere) is not idle.
            max_poll_interval_ms=_FOR_EVER_MS,
        )

    async def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        with translated(self._where):
            async with asyncio.timeout(self._patience_s):
                places = [TopicPartition(self.topic, partition) for partition in partitions]
                found = await self.coordinator.fetch_committed_offsets(places)
        return {place.partition: one.offset for place, one in found.items()}

    async def commit(self, positions: Mapping[int, int]) -> None:
        """Only forwards. A member of an older generation is refused by the broker, so nothing moves back later."""
        before = await self.committed(positions)
        forward = {
            TopicPartition(self.topic, partition): OffsetAndMetadata(position, "")
            for partition, position in positions.items()
            if position > before.get(partition, -1)
        }
        if not forward:
            return
        with translated(self._where):
            async with asyncio.timeout(self._patience_s):
                await self.coordinator.commit_offsets(None, forward)

    async def close(self, *, leave: bool = False) -> None:
        if self.coordinator is not None:
            member, node = self.coordinator.member_id, self.coordinator.coordinator_id
            with contextlib.suppress(TimeoutError, errors.KafkaError):
                async with asyncio.timeout(_LEAVE_S):
                    await self.coordinator.close()
            if leave and member and node is not None:
                # aiokafka never sends this for a static member; without it the others wait for the session to end.
                with contextlib.suppress(TimeoutError, errors.KafkaError):
                    async with asyncio.timeout(_LEAVE_S):
                        request = LeaveGroupRequest(self.group, member)
                        await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
        if self._client is not None:
            await self._client.close()


class _Told(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, assigned: Callable[[frozenset[int]], None]) -> None:
        self._assigned = assigned

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing is believed lost before the new share is known."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._assigned(frozenset(place.partition for place in assigned))


class KafkaMembership:
    """See `port.Membership`."""

    def __init__(self, link: GroupLink, member: str, partitions: int, tuning: KafkaTuning, shares: Shares) -> None:
        self.member = member
        self.group = link.group
        self._link = link
        self._tuning = tuning
        self._assignor = ShareAssignor(member, partitions, shares, is_known=lambda: bool(link.coordinator.member_id))
        self._given: dict[int, int] = {}
        self._times: Counter[int] = Counter()
        self._seen: dict[int, int] = {}
        # As what the group knew this member when it was told its share last.
        self._known_as = ("", -1)
        self._told = asyncio.Event()
        self._news = asyncio.Event()
        self._left = False
        self._fault: LogError | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Join, and wait for a first share. Raises LogUnavailable and LogBroken."""
        try:
            await self._enter()
            self._watching = asyncio.create_task(self._watch(), name="log-member")
            async with asyncio.timeout((self._tuning.session_ms + self._tuning.open_ms) / 1000):
                await self._told.wait()
        except TimeoutError as error:
            await self.leave()
            raise LogUnavailable(f"group {self.group} gave member {self.member} no share in time") from error
        except BaseException:
            await self.leave()
            raise
        if self._fault is not None:
            await self.leave()
            raise self._fault

    @property
    def assigned(self) -> frozenset[int]:
        self._seen = dict(self._given)
        return frozenset(self._seen)

    @property
    def given(self) -> Mapping[int, int]:
        return dict(self._given)

    @property
    def shares(self) -> Shares:
        """Everybody's, as this member was told last."""
        return self._assignor.shares

    @property
    def is_gone(self) -> bool:
        return self._left

    async def changed(self, *, wait_ms: int) -> bool:
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while self._seen == self._given:
                    self._usable()
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def commit(self, positions: Mapping[int, int]) -> None:
        """What is another's by now is left to its owner. Raises LogUnavailable, also in the middle of a rebalance."""
        mine = {partition: position for partition, position in positions.items() if partition in self._given}
        if mine:
            await self._link.commit(mine)

    async def committed(self, partitions: Iterable[int]) -> dict[int, int]:
        return await self._link.committed(partitions)

    async def leave(self) -> None:
        if self._left:
            return
        self._left = True
        self._given.clear()
        self._news.set()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._link.close(leave=True)

    def _usable(self) -> None:
        if self._left:
            raise LogClosed(f"member {self.member!r} has left its group")
        if self._fault is not None:
            raise self._fault

    async def _enter(self) -> None:
        await self._link.open(static_id(self.member), self._assignor)
        self._link.subscription.subscribe({self._link.topic}, listener=_Told(self._on_assigned))

    def _on_assigned(self, partitions: frozenset[int]) -> None:
        coordinator = self._link.coordinator
        identity, generation = self._known_as
        # Who took part in every generation knows that what it keeps was nobody else's in between.
        unbroken = coordinator.member_id == identity and coordinator.generation - generation <= 1
        self._known_as = (coordinator.member_id, coordinator.generation)
        if self._left:
            return
        self._times.update(partitions - self._given.keys() if unbroken else partitions)
        self._given = {partition: self._times[partition] for partition in sorted(partitions)}
        self._told.set()
        self._news.set()

    async def _watch(self) -> None:
        """aiokafka's member stops at an error until somebody takes notice of it."""
        while True:
            await asyncio.sleep(self._tuning.heartbeat_ms / 1000)
            try:
                self._link.coordinator.check_errors()
            except errors.KafkaError as error:
                await self._notice(error)
            else:
                self._fault = None

    async def _notice(self, error: errors.KafkaError) -> None:
        fault = our_error(error, f"group {self.group}")
        logger.warning("the group's coordinator refused this member", group=self.group, error=str(fault))
        self._fault = fault
        if isinstance(fault, LogBroken):
            self._told.set()
        self._news.set()
        if self._link.coordinator._coordination_task.done():
            # It has given up: begin again. The old share is believed until the new one is known.
            await self._link.close()
            with contextlib.suppress(LogError):
                await self._enter()
