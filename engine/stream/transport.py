"""Faust's Kafka transport, by the batch: the only module that touches the internals of Faust and aiokafka's consumer.

Theory of operation. Faust hands over one message per record; here its consumer hands over one message per fetch, or where a fetch brought much
one per part of it, which carries a ``Delivery`` of each partition: the records as columns, the positions before and behind them, and the last
stable offset. What is overridden, and why:

- ``Consumer.getmany``: one message per part of a fetch. A message's value is empty; the deliveries ride on it, and it passes for one of the
  first of their partitions. Faust drops a message of a partition that a rebalance has taken; behind one every shard is sought anew.
- ``Consumer._read_offset``: Faust drops what lies below an offset that it has seen, also after a seek; the shards judge positions, so it is
  emptied for each message.
- ``Consumer.perform_seek`` (Faust asks it after every rebalance, and whenever it had stopped the flow): the positions come from the shards, never
  from Kafka's group. A partition whose shard does not know its position yet is paused until the shard says so (``flow_from``).
- ``AIOKafkaConsumerThread._create_worker_consumer``: Faust hard-codes ``read_uncommitted``, a wait of 1.5 s and round-robin assignment, which
  splits the topics' partitions p over workers. Here: ``read_committed``, our wait, and the range assignor, which gives equal counts equal ranges.
  And a position that the log does not have is told to its shard alone, instead of silently becoming the log's beginning.
- ``AIOKafkaConsumerThread.on_start``: Faust ends the worker where Kafka is away just then.
- ``AIOKafkaConsumerThread._fetch_records`` runs in the consumer's thread: it is where positions can be read without a race.
- the coordinator's ``_do_heartbeat`` is wrapped to learn when the group last confirmed this member (``ownership_confirmed``).
- ``PartitionRecords`` (of aiokafka): chunks instead of records (``engine.stream.record_batches``). A batch that is damaged is told to its shard
  alone; the fetch that met it may have lost what it had of other partitions, so all begin again where they were told last.
- ``TableManager.on_start``: Faust waits a second for tables that a module may still define, before it joins the group. There are none.
- ``Worker._sentinel_task``: Faust waits a second before it closes its loop. Here, for as long as something still runs in it.
- Faust's own acknowledgements, commits and its detectors of slow processing are not used: offsets live in the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, Protocol

import aiokafka
import faust
import structlog
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import GroupAuthorizationFailedError, KafkaConnectionError, OffsetOutOfRangeError, TopicAuthorizationFailedError
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from engine.connections import kafka_options
from engine.core.layout import Topic
from engine.settings import Kafka
from engine.stream.fetched import DamagedBatchError
from engine.stream.record_batches import PART_BYTES, as_columns
from engine.stream.records import TOPICS, Chunk, Delivery

log = structlog.get_logger("transport")

FETCH_PARTS_MAX: Final = 16
FETCH_BYTES_MAX: Final = 8 * 1024 * 1024
FETCH_TIMEOUT_S: Final = 0.5
FIRST_FETCH_TIMEOUT_S: Final = 0.02
TAKEN_WITHIN_S: Final = 5.0
ASK_AGAIN_S: Final = 1.0
LAST_S: Final = 1.0


class Feed(Protocol):
    """Who takes the deliveries and knows the positions."""

    def positions(self) -> Mapping[TP, int]:
        """Where every partition of a shard that is open continues."""

    def room_bytes(self) -> int:
        """How much more memory records may take. Asked by the consumer's thread."""

    def forbidden(self, error: Exception) -> None:
        """Kafka does not let this worker read any more."""


class DeliveryMessage(ConsumerMessage):  # type: ignore[misc]
    """A message without a value of its own."""

    deliveries: Sequence[tuple[TP, Delivery]]


class BatchConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Runs aiokafka's consumer in a thread and an event loop of its own; everything here runs in that loop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._flowing: dict[TP, tuple[int, int | None]] = {}  # position and stable offset told last, of partitions that were sought
        self.heartbeat_at = 0.0  # when the group gave the assignment, or the last heartbeat began that it answered

    async def on_start(self) -> None:
        """Start the consumer, however long Kafka is away, and listen to its heartbeats."""
        is_told = False
        while not await self._is_started():
            if not is_told:
                log.warning("waiting for Kafka", reason="it has gone away since the worker began to start")
            is_told = True
            await self.sleep(ASK_AGAIN_S)
            if self.should_stop:
                return
        coordinator = self._consumer._coordinator
        inner = coordinator._do_heartbeat

        async def heartbeat() -> bool:
            began = time.monotonic()
            is_confirmed = bool(await inner())
            if is_confirmed:
                self.heartbeat_at = began
            return is_confirmed

        coordinator._do_heartbeat = heartbeat

    async def _is_started(self) -> bool:
        try:
            await super().on_start()
        except KafkaConnectionError:
            await self._consumer.stop()
            return False
        return True

    async def on_thread_stop(self) -> None:
        """Stop the consumer."""
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            # What aiokafka cancels while it stops, a fetch that waits for an absent broker, cancels the stopping. The thread ends next.
            log.debug("the consumer was stopped while a broker was away")

    def _create_worker_consumer(self, transport: BatchTransport) -> aiokafka.AIOKafkaConsumer:
        conf, kafka = self.app.conf, transport.kafka
        self._assignor = RangePartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            **kafka_options(kafka),
            partition_assignment_strategy=[RangePartitionAssignor],
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            value_deserializer=as_columns,
            fetch_max_wait_ms=kafka.fetch_max_wait_ms,
            max_partition_fetch_bytes=FETCH_BYTES_MAX // 8,
            fetch_max_bytes=FETCH_BYTES_MAX,
            session_timeout_ms=int(kafka.session_timeout_s * 1000),
            rebalance_timeout_ms=int(kafka.session_timeout_s * 1000),
            heartbeat_interval_ms=int(kafka.heartbeat_interval_s * 1000),
            max_poll_interval_ms=2**31 - 1,  # a worker without shards polls nothing, and must not leave the group for that
            metadata_max_age_ms=30_000,
        )

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """A new assignment has forgotten every position and pause: nothing flows until it is sought."""
        self.heartbeat_at = time.monotonic()
        self._flowing.clear()
        self._pause(assigned)
        for tp in assigned:  # any position: without one aiokafka would ask the group for it
            self._consumer.seek(TopicPartition(*tp), 0)
        await super().on_partitions_assigned(assigned, generation_id)

    def _pause(self, partitions: Iterable[TP]) -> None:
        here = self._consumer.assignment()
        self._consumer.pause(*(TopicPartition(*tp) for tp in partitions if tp in here))

    async def flow_from(self, positions: Mapping[TP, int]) -> None:
        """Seek and let flow the partitions that are still assigned."""
        here = self._consumer.assignment()
        for tp, offset in positions.items():
            if tp in here:
                self._consumer.seek(TopicPartition(*tp), offset)
                self._flowing[tp] = (offset, None)
                self._consumer.resume(TopicPartition(*tp))

    async def beginnings(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The first offsets that the logs of partitions have. Raises KafkaError."""
        found = await self._consumer.beginning_offsets([TopicPartition(*tp) for tp in partitions])
        return {TP(*partition): offset for partition, offset in found.items()}

    async def hold(self, tp: TP, held: bool) -> None:
        """Stop fetching a partition, or let it flow on from where it is."""
        if tp in self._consumer.assignment():
            (self._consumer.pause if held else self._consumer.resume)(TopicPartition(*tp))

    async def _fetch_records(
        self, consumer: Any, active_partitions: set[TP], timeout: float | None = None, max_records: int | None = None
    ) -> dict[TP, list[Delivery]]:
        is_new = any(stable is None for _, stable in self._flowing.values())
        wait = min(timeout or 0.0, FIRST_FETCH_TIMEOUT_S if is_new else FETCH_TIMEOUT_S)
        try:
            fetched = await super()._fetch_records(consumer, active_partitions, timeout=wait, max_records=self._parts_max())
        except OffsetOutOfRangeError as error:
            return self._gone(error.args[0])
        except DamagedBatchError as error:
            return await self._damaged(error)
        assignment = consumer._subscription.subscription and consumer._subscription.subscription.assignment
        deliveries = {}
        for tp, (first, told) in list(self._flowing.items()):
            state = assignment.state_value(tp) if assignment is not None and tp in assignment.tps else None
            if state is None or state.lso is None or not state.has_valid_position:
                continue
            chunks = fetched.get(tp, [])
            if chunks or state.position != first or state.lso != told:
                self._flowing[tp] = (state.position, state.lso)
                deliveries[TP(*tp)] = list(in_parts(TOPICS[tp.topic], chunks, first, state.position, state.lso))
        return deliveries

    def _parts_max(self) -> int:
        """How many parts to take at once: fewer where there is less room for them, since a partition is held only when they have come."""
        room: int = self.consumer.transport.feed.room_bytes() // PART_BYTES
        return max(1, min(FETCH_PARTS_MAX, room))

    async def _damaged(self, error: DamagedBatchError) -> dict[TP, list[Delivery]]:
        """Stop fetching a partition at a damaged batch, and tell its shard; the others begin again where they were told last."""
        tp = TP(*error.partition)
        is_told = self._flowing.pop(tp, None) is not None
        self._pause([tp])
        await self.flow_from({other: position for other, (position, _) in self._flowing.items()})
        nothing = Chunk.of(TOPICS[tp.topic])
        return {tp: [Delivery(nothing, error.offset, error.offset, error.offset, is_gone=True, damage=error)]} if is_told else {}

    def _gone(self, positions: Mapping[TopicPartition, int]) -> dict[TP, list[Delivery]]:
        """Stop fetching the partitions whose logs do not have these positions, and tell their shards."""
        deliveries = {}
        for partition, offset in positions.items():
            tp = TP(*partition)
            if tp in self._flowing and self._flowing[tp][0] == offset:
                del self._flowing[tp]
                self._pause([tp])
                deliveries[tp] = [Delivery(Chunk.of(TOPICS[tp.topic]), offset, offset, offset, is_gone=True)]
        return deliveries


def in_parts(topic: Topic, chunks: Sequence[Chunk], first: int, end: int, stable: int) -> Iterator[Delivery]:
    """A delivery for each chunk that lies between two offsets of a partition, one behind the other; one without records if there is none."""
    for chunk in chunks[:-1]:
        behind = int(chunk.offsets[-1]) + 1
        yield Delivery(chunk, first, behind, stable)
        first = behind
    yield Delivery(chunks[-1] if chunks else Chunk.of(topic), first, end, stable)


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer; its methods run in the application's event loop."""

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._under_way = 0  # deliveries that were handed over and not taken yet
        self._has_room = asyncio.Event()

    def taken(self) -> None:
        """A delivery has been taken."""
        self._under_way = max(0, self._under_way - 1)
        if self._under_way < FETCH_PARTS_MAX:
            self._has_room.set()

    async def _room(self) -> None:
        """Return when few deliveries are under way: where the shards use all the time there is, these would pile up, and nobody counts them.
        After a while in any case: what a rebalance has dropped is never taken."""
        self._has_room.clear()
        if self._under_way >= FETCH_PARTS_MAX:
            try:
                async with asyncio.timeout(TAKEN_WITHIN_S):
                    await self._has_room.wait()
            except TimeoutError:
                self._under_way = 0

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message with what all partitions have to tell, or several with a part of each."""
        await self._room()
        try:
            deliveries, _ = await self._wait_next_records(timeout)
        except (TopicAuthorizationFailedError, GroupAuthorizationFailedError) as error:
            self.transport.feed.forbidden(error)
            await self.sleep(timeout)
            return
        if deliveries is None or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        for parts in zip_longest(*([(tp, delivery) for delivery in own] for tp, own in deliveries.items())):
            together = [part for part in parts if part is not None]
            tp, delivery = together[0]
            message = DeliveryMessage(
                tp.topic, tp.partition, delivery.first, 0.0, 0, [], None, None, None, 0, 0, tp,
                generation_id=self.app.consumer_generation_id,
            )  # fmt: skip
            message.deliveries = together
            self._under_way += len(together)
            self._read_offset[tp] = None  # Faust would drop what is below an offset that it has seen; the shard judges positions
            yield tp, message

    async def perform_seek(self) -> None:
        """Continue where the shards are."""
        await self.flow_from(self.transport.feed.positions())

    async def flow_from(self, positions: Mapping[TP, int]) -> None:
        """Seek and let flow partitions that are assigned."""
        await self._thread.call_thread(self._thread.flow_from, positions)

    async def beginnings(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """The first offsets that the logs of partitions have. Raises KafkaError."""
        found: dict[TP, int] = await self._thread.call_thread(self._thread.beginnings, partitions)
        return found

    async def hold(self, tp: TP, *, held: bool) -> None:
        """Stop fetching a partition, or let it flow on."""
        await self._thread.call_thread(self._thread.hold, tp, held)

    def unanswered_s(self) -> float:
        """For how long the group has not answered, or has not been asked for as long as no shard is owned."""
        return time.monotonic() - self._thread.heartbeat_at

    async def ownership_confirmed(self) -> None:
        """Return when the group has answered a heartbeat that began after this call."""
        asked = time.monotonic()
        while self._thread.heartbeat_at <= asked:
            await asyncio.sleep(self.transport.kafka.heartbeat_interval_s / 4)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust would look for unprocessed messages by offsets that it is not told; the worker's watchdog judges by commits."""


class BatchTransport(driver.Transport):  # type: ignore[misc]
    """The transport of an application whose partitions are fed to ``feed``."""

    Consumer = BatchConsumer
    feed: Feed
    kafka: Kafka


class NoTables(TableManager):  # type: ignore[misc]
    """Waits for none."""

    async def on_start(self) -> None:
        """See ``TableManager``."""
        await self._update_channels()
        await self.recovery.start()


class FaustWorker(faust.Worker):  # type: ignore[misc]
    """Ends when all has ended."""

    async def _sentinel_task(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=LAST_S)
