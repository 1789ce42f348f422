"""The watchdog and the bounds of a shard's buffers: when a worker must be given up, and when not."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import structlog
from faust.types import TP

from engine.core.layout import Topic
from engine.metrics import ShardCollector
from engine.settings import Kafka, Settings
from engine.settings import Shard as Bounds
from engine.state.memory_store import MemoryStore
from engine.stream.clients import KafkaClients
from engine.stream.in_force import Version
from engine.stream.progress import Progress, State
from engine.stream.records import RECORD_BYTES, Chunk, Delivery
from engine.stream.shard import Shard
from engine.stream.topics import IDENTIFIED, Identity
from engine.stream.topics_watch import Topics
from engine.stream.worker import Worker
from schemas.topics import INPUTS

CLIENTS = KafkaClients(Kafka())
LONG_AGO = time.monotonic() - 3_600


class Transport:
    """Remembers what a shard asked of it."""

    def __init__(self) -> None:
        self.at_start = Identity(dict.fromkeys(IDENTIFIED, 1), {})
        self.held: list[tuple[Topic, bool]] = []
        self.sought: list[Mapping[Topic, int]] = []
        self.room = 100_000_000

    @property
    def topics(self) -> Topics:
        return self

    async def seek(self, shard: int, positions: Mapping[Topic, int]) -> None:
        self.sought.append(positions)

    async def beginnings(self, shard: int, topics: Iterable[Topic]) -> Mapping[Topic, int]:
        return dict.fromkeys(topics, 0)

    async def hold(self, shard: int, topic: Topic, *, held: bool) -> None:
        self.held.append((topic, held))

    def room_bytes(self) -> int:
        return self.room

    def batch_share(self) -> float:
        return 1.0

    async def confirmed(self) -> None:
        return

    async def ownership_confirmed(self) -> None:
        return


def purchases(first: int, count: int, value: bytes = b"{}") -> Delivery:
    offsets = list(range(first, first + count))
    return Delivery(Chunk.of(Topic.PURCHASE, offsets, offsets, [b"a"] * count, [value] * count, None), first, first + count, first + count)


def open_shard(transport: Transport, **bounds: int) -> Shard:
    shard = Shard(0, Settings(shard=Bounds(**bounds)), MemoryStore(), transport, CLIENTS)
    shard._is_open = True
    return shard


def worker_of(shard: Shard) -> Worker:
    worker = Worker(Settings(), Transport(), lambda _: MemoryStore(), CLIENTS, lambda error: pytest.fail(str(error)))
    worker.shards[0] = shard
    return worker


async def test_a_full_topic_is_held_each_time() -> None:
    transport = Transport()
    shard = open_shard(transport, buffer_records=10)
    await shard.deliver(purchases(0, 5))
    assert transport.held == []
    await shard.deliver(purchases(5, 5))
    await shard.deliver(purchases(10, 5))  # a seek has let it flow again
    assert transport.held == [(Topic.PURCHASE, True)] * 2


async def test_a_topic_that_holds_as_much_memory_as_is_left_is_full() -> None:
    transport = Transport()
    shard = open_shard(transport)
    transport.room = 1_000_000
    await shard.deliver(purchases(0, 9, bytes(100_000)))
    assert transport.held == []
    await shard.deliver(purchases(9, 1, bytes(100_000)))
    assert transport.held == [(Topic.PURCHASE, True)]


async def test_a_topic_that_holds_nothing_flows_even_where_no_memory_is_left() -> None:
    """The merge may wait for what it has."""
    transport = Transport()
    shard = open_shard(transport)
    transport.room = -1
    await shard.deliver(purchases(0, 0))
    assert transport.held == []
    await shard.deliver(purchases(0, 1))
    assert transport.held == [(Topic.PURCHASE, True)]


async def test_the_shards_of_a_worker_share_its_memory() -> None:
    shard = open_shard(Transport())
    worker = worker_of(shard)
    worker.shards[1] = another = open_shard(Transport())
    before = worker.room_bytes()
    await shard.deliver(purchases(0, 5, bytes(1_000)))
    await another.deliver(purchases(0, 5, bytes(1_000)))
    assert before == Settings().buffer_bytes
    assert before - worker.room_bytes() == 10 * (1_000 + RECORD_BYTES)


async def test_nobody_holds_a_batch_while_it_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is others' then."""

    class Records:
        """A batch that can be referred to weakly."""

    shard = open_shard(Transport())
    held: list[weakref.ref[Records]] = []
    still_held = []

    async def next_batch() -> Records:
        batch = Records()
        held.append(weakref.ref(batch))
        return batch

    async def decide(_: Records) -> tuple[str, bytes, list[str]]:
        return "record", b"", []

    async def commit(*_: object) -> None:
        still_held.append(held[-1]())

    monkeypatch.setattr(shard, "_next_batch", next_batch)
    monkeypatch.setattr(shard, "_decide", decide)
    monkeypatch.setattr(shard, "_commit", commit)
    assert await shard._decide_next()
    assert still_held == [None]


@pytest.mark.parametrize(("shards", "share"), [(1, 1.0), (4, 1.0), (8, 0.5), (40, 0.1)])
def test_the_batches_of_many_shards_are_smaller(shards: int, share: float) -> None:
    worker = worker_of(open_shard(Transport()))
    for number in range(shards):
        worker.shards[number] = open_shard(Transport())
    assert worker.batch_share() == share


async def test_a_gap_is_sought_and_nothing_is_taken_over_it() -> None:
    transport = Transport()
    shard = open_shard(transport)
    await shard.deliver(purchases(0, 5))
    await shard.deliver(purchases(9, 5))
    assert [positions[Topic.PURCHASE] for positions in transport.sought] == [5]
    await shard.deliver(purchases(5, 5))
    assert (shard.positions() or {})[Topic.PURCHASE] == 10


@pytest.mark.parametrize(
    ("state", "has_moved", "stalled"),
    [
        (State.RUNNING, False, [0]),
        (State.RUNNING, True, []),
        (State.WAITING, False, []),
        (State.TAKING_OVER, False, []),
        (State.STOPPED, False, []),
    ],
)
async def test_a_running_shard_that_does_not_move_is_stalled(state: State, has_moved: bool, stalled: list[int]) -> None:
    shard = open_shard(Transport())
    await shard.deliver(purchases(0, 5))
    shard.progress.state = state
    if not has_moved:
        shard.progress.moved_at = LONG_AGO
    assert worker_of(shard).stalled() == stalled


async def test_kafkas_absence_is_no_stall() -> None:
    shard = open_shard(Transport())
    await shard.deliver(purchases(0, 5))
    shard.progress.state, shard.progress.moved_at = State.RUNNING, LONG_AGO
    worker = worker_of(shard)
    worker._away_at = time.monotonic()
    assert worker.stalled() == []


def test_what_is_waited_for_is_said_once() -> None:
    with structlog.testing.capture_logs() as said:
        progress: Any = Progress(structlog.get_logger())
        for _ in range(3):
            progress.enter(State.WAITING, "Redis: away")
            progress.enter(State.TAKING_OVER)
        progress.enter(State.RUNNING)
        progress.enter(State.RUNNING)
        progress.enter(State.WAITING, "Redis: away")
    assert [line["event"] for line in said] == ["waiting", "goes on", "waiting"]


async def test_release_outlasts_a_swallowed_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library may drop a cancellation; the release asks again instead of waiting for ever."""
    monkeypatch.setattr("engine.stream.worker.ASK_AGAIN_S", 0.05)
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    shard = open_shard(Transport())
    worker = worker_of(shard)
    worker._tasks[0] = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await worker.leave()
    assert (swallowed, worker.shards) == (3, {})


async def test_a_worker_that_leaves_takes_nothing_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance that is under way when a worker is told to end must not open its shards again; neither must one that comes then."""
    begun: list[int] = []
    is_going = asyncio.Event()

    async def run(shard: Shard) -> None:
        begun.append(shard.number)
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            await is_going.wait()  # its commit is ended
            raise

    monkeypatch.setattr(Shard, "run", run)
    worker, consumer = Worker(Settings(), Transport(), lambda _: MemoryStore(), CLIENTS, lambda error: pytest.fail(str(error))), object()
    all_of_both = [TP(spec.name, number) for number in range(2) for spec in INPUTS]
    await worker.assign(all_of_both, consumer)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    rebalance = asyncio.create_task(worker.assign([tp for tp in all_of_both if tp.partition == 0], consumer))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    leaving = asyncio.create_task(worker.leave())
    await asyncio.sleep(0)
    is_going.set()
    async with asyncio.timeout(5):
        await rebalance
        await leaving
    await worker.assign(all_of_both, consumer)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert (begun, worker.shards) == ([0, 1], {})


def test_the_metrics_name_the_version_in_force_alone() -> None:
    shard = open_shard(Transport())
    collector = ShardCollector(worker_of(shard))

    def told() -> list[dict[str, str]]:
        (family,) = [family for family in collector.collect() if family.name == "limits_policy_info"]
        return [sample.labels for sample in family.samples if sample.value == 1]

    assert told() == []
    for version in (Version("p", 1, "a" * 64), Version("p", 2, "b" * 64)):
        with structlog.testing.capture_logs() as said:
            shard.progress.note_version(version)
            shard.progress.note_version(version)
        assert [line["policy"] for line in said] == [f"p version {version.version} ({version.hash[:12]})"]
        assert told() == [{"shard": "0", "policy": "p", "version": str(version.version), "hash": version.hash}]
