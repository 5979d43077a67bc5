"""The log on Apache Kafka: for several machines, and for a log that outlives any of them.

Promises of the port, and what keeps them:
1 and 2. A partition has one leader that gives out offsets; readers see what all in-sync replicas have.
3. `acks=all` and an idempotent producer: a retry is not a second copy.
4. One append is one batch a partition, as long as it fits into one (`kafka_append`).
6. Topics stamp what is appended (`message.timestamp.type=LogAppendTime`), a batch as one. `now()` is this machine's
   clock: keep it and the brokers' in step (NTP).
7. `kafka_members`: partitions may overlap for the milliseconds of a rebalance.
8. `append` waits while too much is under way; a reader holds a fixed number of bytes a partition.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

from aiokafka import TopicPartition

from eventlog.kafka_append import Sender
from eventlog.kafka_driver import otherwise_sized, quieten, translated
from eventlog.kafka_members import GroupLink, KafkaMembership
from eventlog.kafka_reader import Asker, KafkaReader, known
from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import Entry, LogBroken, LogClosed, LogUnavailable, Placed, UnknownTopic
from schema.topics import TOPICS, Topic, partition_of

# A call's key is hashed once, not once a frame.
_partition_of = lru_cache(maxsize=65_536)(partition_of)


class KafkaLog:
    """See `port.Log`. Open it with `async with`. Topics are made by `calltape topics create`."""

    def __init__(
        self,
        bootstrap: str,
        *,
        now: Callable[[], int],
        topics: Mapping[str, Topic] = TOPICS,
        tuning: KafkaTuning | None = None,
    ) -> None:
        """`bootstrap`: host:port, comma separated."""
        self._bootstrap = bootstrap
        self._now = now
        self._topics = dict(topics)
        self._tuning = tuning or KafkaTuning()
        self._closed = True
        self._why = f"no broker of {bootstrap} answered in time"
        self._sender: Sender
        self._asker: Asker
        self._readers: set[KafkaReader] = set()
        self._memberships: list[KafkaMembership] = []
        self._links: dict[str, GroupLink] = {}
        self._linking = asyncio.Lock()
        self._joined_last: dict[str, KafkaMembership] = {}

    async def append(self, topic: str, entries: Sequence[Entry]) -> list[Placed]:
        known_topic = self._topic(topic)
        partitions = [
            _partition_of(entry.key, known_topic.partitions)
            if entry.partition is None
            else known(known_topic, entry.partition)
            for entry in entries
        ]
        if not partitions:
            return []
        return await self._sender.append(self._name(topic), entries, partitions)

    def reader(self, topic: str, positions: Mapping[int, int]) -> KafkaReader:
        followed = self._topic(topic)
        reader = KafkaReader(followed, self._name(topic), self._bootstrap, self._tuning, closed=self._readers.discard)
        reader.assign(positions)
        self._readers.add(reader)
        return reader

    async def partitions(self, topic: str) -> int:
        return self._topic(topic).partitions

    async def begin(self, topic: str, partition: int) -> int:
        known(self._topic(topic), partition)
        return (await self._asker.begins(self._name(topic), [partition]))[partition]

    async def end(self, topic: str, partition: int) -> int:
        known(self._topic(topic), partition)
        return (await self._asker.ends(self._name(topic), [partition]))[partition]

    async def join(self, group: str, topic: str, member: str) -> KafkaMembership:
        partitions = self._topic(topic).partitions
        name = self._group(group, topic)
        link = GroupLink(self._bootstrap, name, self._name(topic), self._tuning)
        last = self._joined_last.get(name)
        membership = KafkaMembership(link, member, partitions, self._tuning, last.shares if last else {})
        await membership.start()
        # It knows what everybody had: for one that leaves and comes back.
        self._joined_last[name] = membership
        self._memberships = [one for one in self._memberships if not one.is_gone]
        self._memberships.append(membership)
        return membership

    async def commit(self, group: str, topic: str, positions: Mapping[int, int]) -> None:
        for partition in positions:
            known(self._topic(topic), partition)
        members = self._members(self._group(group, topic))
        for member in members:
            await member.commit(positions)
        if not members:
            await (await self._link(group, topic)).commit(positions)

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        partitions = range(self._topic(topic).partitions)
        members = self._members(self._group(group, topic))
        return await (members[0] if members else await self._link(group, topic)).committed(partitions)

    async def now(self) -> int:
        self._usable()
        return self._now()

    async def healthy(self) -> None:
        self._usable()
        asked = [self._asker.ends(self._name(topic.name), range(topic.partitions)) for topic in self._topics.values()]
        await asyncio.gather(*asked)

    async def leader(self, topic: str, partition: int) -> int:
        """The node that leads a partition now, for who wants to see it die."""
        name = self._name(topic)
        with translated(f"asking {self._bootstrap} who leads {name}"):
            cluster = await self._sender.client.fetch_all_metadata()
        return int(cluster.leader_for_partition(TopicPartition(name, partition)))

    @property
    def pending_bytes(self) -> int:
        """What is on its way to the brokers."""
        return self._sender.pending_bytes

    async def close(self) -> None:
        """Sends what is pending, as long as the brokers take it in time."""
        if self._closed:
            return
        self._closed = True
        # From the last to the first, and all of them: a part that fails to close keeps no other one open.
        async with contextlib.AsyncExitStack() as parts:
            parts.push_async_callback(self._asker.close)
            parts.push_async_callback(self._sender.close)
            for link in self._links.values():
                parts.push_async_callback(link.close)
            for reader in tuple(self._readers):
                parts.push_async_callback(reader.close)
            for membership in reversed(self._memberships):
                parts.push_async_callback(membership.leave)

    async def __aenter__(self) -> Self:
        quieten()
        try:
            async with asyncio.timeout(self._tuning.open_ms / 1000):
                await self._open()
        except TimeoutError as error:
            raise LogUnavailable(f"the log cannot be opened: {self._why}") from error
        self._closed = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _open(self) -> None:
        while True:
            self._sender = Sender(self._bootstrap, self._tuning)
            self._asker = Asker(self._bootstrap, self._tuning)
            try:
                await self._sender.start()
                await self._asker.start()
                await self._check_topics(self._sender.client)
            except LogUnavailable as error:
                self._why = str(error)
                # Brokers and calltape are often started together.
                await self._give_up()
                await asyncio.sleep(0.2)
            except BaseException:
                await self._give_up()
                raise
            else:
                return

    async def _give_up(self) -> None:
        with contextlib.suppress(Exception):
            await self._sender.close()
        with contextlib.suppress(Exception):
            await self._asker.close()

    async def _check_topics(self, client: Any) -> None:
        """The brokers' topics are those of this log. Raises UnknownTopic and LogBroken."""
        with translated(f"looking for topics at {self._bootstrap}"):
            cluster = await client.fetch_all_metadata()
        there = {name: len(cluster.partitions_for_topic(self._name(name)) or ()) for name in self._topics}
        missing = [self._name(name) for name, partitions in there.items() if not partitions]
        if missing:
            raise UnknownTopic(f"{self._bootstrap} has no {', '.join(missing)}: run `calltape topics create` first")
        for name, partitions in there.items():
            if partitions != self._topics[name].partitions:
                raise LogBroken(
                    f"{self._name(name)} at {self._bootstrap} {otherwise_sized(self._topics[name], partitions)}"
                )

    def _members(self, group: str) -> list[KafkaMembership]:
        return [one for one in self._memberships if one.group == group and not one.is_gone]

    async def _link(self, group: str, topic: str) -> GroupLink:
        """The group, to one that is no member."""
        name = self._group(group, topic)
        async with self._linking:
            if name not in self._links:
                link = GroupLink(self._bootstrap, name, self._name(topic), self._tuning)
                await link.open()
                self._links[name] = link
            return self._links[name]

    def _name(self, topic: str) -> str:
        return self._tuning.prefix + topic

    def _group(self, group: str, topic: str) -> str:
        return f"{self._tuning.prefix}{group}@{topic}"

    def _usable(self) -> None:
        if self._closed:
            raise LogClosed(f"the log at {self._bootstrap} was used before it was opened or after it was closed")

    def _topic(self, name: str) -> Topic:
        self._usable()
        topic = self._topics.get(name)
        if topic is None:
            raise UnknownTopic(f"no topic {name!r}; the topics are {', '.join(sorted(self._topics))}")
        return topic
