"""The worker: owns the shards that the consumer group gives it, and feeds them.

Partition p of every input topic makes shard p. The group may give and take partitions at any time; a shard that stays keeps its producer, its
cache and its position.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import structlog
from faust.types import TP

from engine.connections import forbidden, refusal_of
from engine.core.layout import Topic
from engine.errors import EngineError
from engine.settings import Settings
from engine.state.store import ShardStore
from engine.stream.clients import Clients
from engine.stream.progress import State
from engine.stream.records import TOPICS, Delivery
from engine.stream.shard import Shard
from engine.stream.topics_watch import Topics
from engine.stream.transport import BatchConsumer
from schemas.topics import INPUTS

log = structlog.get_logger("worker")

LARGEST_BATCHES: Final = 4  # that may be under way at once; about 40 MB each, with what is sent of them
SILENCE_S: Final = 5.0
ASK_AGAIN_S: Final = 2.0


class Worker:
    """Shards by number, each with its task. ``fail`` is called with what no shard can mend."""

    def __init__(
        self,
        settings: Settings,
        topics: Topics,
        store: Callable[[int], ShardStore],
        clients: Clients,
        fail: Callable[[Exception], None],
    ) -> None:
        self.shards: dict[int, Shard] = {}
        self._settings = settings
        self._topics = topics
        self._store = store
        self._clients = clients
        self._fail = fail
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._consumer: BatchConsumer | None = None
        self._is_leaving = False  # this worker ends
        self._away_for = ""  # why Kafka was said to be away; empty: it is not
        self._away_at = 0.0  # when it was last seen to be
        self._asked_at = -SILENCE_S  # when it was last asked why

    # Feed (asked by the transport)

    def positions(self) -> dict[TP, int]:
        """Where every partition of a shard that is open continues."""
        found = {}
        for number, shard in self.shards.items():
            for topic, offset in (shard.positions() or {}).items():
                found[TP(INPUTS[topic].name, number)] = offset
        return found

    def forbidden(self, error: Exception) -> None:
        """Kafka does not let this worker read any more: it ends, and a supervisor finds it fit again when it is allowed again."""
        self._fail(forbidden("Read", error))

    def room_bytes(self) -> int:
        """How much more memory the records of all shards together may take; below 0 where they take more already."""
        return self._settings.buffer_bytes - sum(shard.memory_bytes() for shard in list(self.shards.values()))

    def batch_share(self) -> float:
        """What part of the largest batch a shard's batch may have: batches of all shards are under way at once."""
        return min(1.0, LARGEST_BATCHES / max(1, len(self.shards)))

    async def deliver(self, partition: int, delivery: Delivery) -> None:
        """A fetch for a partition; one that is not owned any more is dropped."""
        shard = self.shards.get(partition)
        if shard is not None:
            await shard.deliver(delivery)

    # Inputs (asked by the shards)

    async def seek(self, shard: int, positions: Mapping[Topic, int]) -> None:
        """Continue a shard's topics from these offsets."""
        assert self._consumer is not None
        await self._consumer.flow_from({TP(INPUTS[topic].name, shard): offset for topic, offset in positions.items()})

    async def beginnings(self, shard: int, topics: Iterable[Topic]) -> dict[Topic, int]:
        """The first offsets that topics have for a shard. Raises KafkaError."""
        assert self._consumer is not None
        found = await self._consumer.beginnings([TP(INPUTS[topic].name, shard) for topic in topics])
        return {TOPICS[tp.topic]: offset for tp, offset in found.items()}

    async def hold(self, shard: int, topic: Topic, *, held: bool) -> None:
        """Stop fetching a topic's partition, or let it flow again."""
        assert self._consumer is not None
        await self._consumer.hold(TP(INPUTS[topic].name, shard), held=held)

    @property
    def topics(self) -> Topics:
        """The topics, as they were at the start and as they are."""
        return self._topics

    async def ownership_confirmed(self) -> None:
        """Return when the group has confirmed this worker again."""
        assert self._consumer is not None
        await self._consumer.ownership_confirmed()

    # The group

    async def assign(self, assigned: Iterable[TP], consumer: BatchConsumer) -> None:
        """The partitions that this worker now has, all of them. A rebalance may be under way while the worker ends: nothing is taken over
        any more then, since the next owner would be fenced for nothing."""
        self._consumer = consumer
        if self._is_leaving:
            return
        owned: defaultdict[int, set[Topic]] = defaultdict(set)
        for tp in assigned:
            owned[tp.partition].add(TOPICS[tp.topic])
        split = sorted(number for number, topics in owned.items() if len(topics) != len(Topic))
        if split:
            await self._refuse(split)
            return
        await self._release(number for number in list(self.shards) if number not in owned)
        if self._is_leaving:
            return
        for number in sorted(owned.keys() - self.shards.keys()):
            shard = Shard(number, self._settings, self._store(number), self, self._clients)
            self.shards[number] = shard
            self._tasks[number] = asyncio.create_task(shard.run(), name=f"shard {number}")
            self._tasks[number].add_done_callback(self._ended)
        log.info("assigned", shards=sorted(self.shards))

    async def _refuse(self, split: list[int]) -> None:
        """Shards have come without some of their topics: because these are others now, which stops all shards, or because of another member."""
        problem = await self._other_topics()
        if problem is not None:
            log.error("shards refused", shards=split, reason=problem.what, cure=problem.cure)
            for shard in self.shards.values():
                shard.stop(problem)
            return
        self._fail(
            EngineError(
                f"shards {split} came without some of their topics: another member of group {self._settings.application} assigns otherwise",
                where="consumer group",
                cure="stop every worker of this group that is not of this version, or choose another LIMITS_APPLICATION",
            )
        )

    async def leave(self) -> None:
        """Give all shards up for good."""
        self._is_leaving = True
        await self._release(list(self.shards))

    async def _release(self, numbers: Iterable[int]) -> None:
        """Give shards up, behind the commit at hand if that is soon done; returns when none of them does anything any more."""
        ending = []
        for number in numbers:
            task = self._tasks.pop(number)
            if not self.shards.pop(number).leave():
                task.cancel()
            ending.append(task)
        while ending:  # a commit takes too long, or a library has swallowed a cancellation
            _, pending = await asyncio.wait(ending, timeout=ASK_AGAIN_S)
            ending = list(pending)
            for task in ending:
                task.cancel()

    async def look_at_deployment(self) -> None:
        """Stop the shards whose topics are others now, or whose store may evict."""
        problem = await self._other_topics()
        for shard in list(self.shards.values()):
            await shard.look_at_store() if problem is None else shard.stop(problem)

    async def _other_topics(self) -> EngineError | None:
        """That the topics are not those of the start, as far as Kafka answers."""
        try:
            await self._topics.confirmed()
        except EngineError as problem:
            return problem
        except OSError as away:  # that is told elsewhere, or seen again at the next look
            log.debug("the topics were not seen", reason=str(away))
        return None

    async def look_at_group(self) -> None:
        """Say that Kafka is away, and why, and once that it is back: a shard with nothing to commit would not notice."""
        if not self.shards or self._consumer is None:
            return
        if self._consumer.unanswered_s() <= SILENCE_S:
            if self._away_for:
                log.info("Kafka answers again")
            self._away_for, self._asked_at = "", -SILENCE_S
            return
        self._away_at = time.monotonic()
        if self._away_at < self._asked_at + SILENCE_S:
            return
        refusal = await refusal_of(self._settings.kafka)
        reason = f"the consumer group has not answered for {SILENCE_S:.0f} s" if refusal is None else str(refusal)
        if reason != self._away_for:
            log.warning("waiting for Kafka", reason=reason)
        self._away_for, self._asked_at = reason, time.monotonic()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            if task in self._tasks.values():  # not by us
                self._fail(EngineError("was cancelled by a library", where=task.get_name(), cure="start the worker again"))
            return
        error = task.exception()
        if isinstance(error, Exception):
            if not isinstance(error, EngineError):
                log.error("failed", task=task.get_name(), exc_info=error)
            self._fail(error)

    def stalled(self) -> list[int]:
        """Shards that have something to do, wait for nothing, and have not moved for longer than the watchdog allows."""
        allowed_since = time.monotonic() - self._settings.shard.watchdog_s
        return [
            number
            for number, shard in self.shards.items()
            if shard.progress.state is State.RUNNING and shard.lag() > 0 and max(shard.progress.moved_at, self._away_at) < allowed_since
        ]
