"""What a shard's machine itself costs: ``python -m scripts.benchmark.machine``, µs of CPU an event by stage, in one process.

The load of ``scripts/bench`` through one shard without Kafka and Redis, batch by batch, the days swept as they come up: what is compared are
two trees, run one after the other, or the stages among each other. Fetching, sending and the store are not in it (it is a dictionary);
``scripts/bench`` has them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, Final

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import MISSING, Topic
from engine.policy.source import load_policy
from engine.settings import Settings
from engine.state.cache import Room
from engine.state.memory_store import MemoryStore
from engine.state.record import JournalRecord
from engine.stream import control
from engine.stream.alignment import Alignment
from engine.stream.records import TOPICS, Chunk, Delivery
from engine.stream.stages import Stage, Stages
from engine.stream.sweep import SLICE_ACCOUNTS_LEAST
from engine.stream.turn import DecisionMachine
from engine.stream.warm_up import warm_up
from scripts.benchmark.load import Load, events, profiles
from scripts.benchmark.scene import POLICIES
from scripts.benchmark.screen import messages
from scripts.personas import midnight_before
from scripts.spoil import Arrival, encode

DAYS: Final = 90
BATCH_BYTES: Final = 16_000_000
SLICE_BUCKETS: Final = 16
ENTERED: Final = 100_000
KEY: Final = FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f")


class Counted(Stages):
    """A profile that counts how often a stage was entered."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = 0

    def __call__(self, stage: Stage) -> Any:
        """See ``Stages``."""
        self.entered += 1
        return super().__call__(stage)


def cost_of_entering() -> float:
    """CPU seconds that a stage costs in which nothing is done."""
    stages, began = Stages(), time.process_time()
    for _ in range(ENTERED):
        with stages(Stage.TAKE):
            pass
    return (time.process_time() - began) / ENTERED


class Machine:
    """A shard's machine over a log that lies in memory."""

    def __init__(self, cache_accounts: int, batch_records: int) -> None:
        self.machine = DecisionMachine("limits", 0, 1, KEY, Room(cache_accounts, Settings().shard.cache_bytes))
        self.batches = 0
        self.outputs = 0
        self.journal_bytes = 0
        self._batch_records = batch_records
        self._store = MemoryStore()
        self._alignment = Alignment()
        self._alignment.restore({}, {}, MISSING)

    def offer(self, arrivals: list[Arrival]) -> None:
        """Have these records waiting, and know that no others come."""
        by_topic: defaultdict[Topic, list[Arrival]] = defaultdict(list)
        for arrival in arrivals:
            by_topic[TOPICS[arrival.topic]].append(arrival)
        for topic in Topic:
            mine, first = by_topic[topic], self._alignment.positions()[topic]
            chunk = Chunk.of(
                topic, range(first, first + len(mine)), [a.at_ms for a in mine], (a.key for a in mine), (a.value for a in mine)
            )
            self._alignment.offer(Delivery(chunk, first, first + len(mine), first + len(mine)))

    async def run(self) -> None:
        """Take what waits, as a shard does that is behind."""
        machine, stages = self.machine, self.machine.stages
        while True:
            with stages(Stage.TAKE):
                most = min(self._batch_records, machine.records_per_batch)
                batch = self._alignment.take(most, machine.accounts_per_batch, BATCH_BYTES, has_policy=machine.policy is not None)
            if batch is None:
                return
            self.batches += 1
            prepared = machine.prepare(batch)
            if prepared.missing:
                machine.admit((await self._store.load(prepared.missing)).values)
            tick_ms = max(self._alignment.tick_ms, batch.watermark_ms if Topic.CONTROL not in batch.chunks else MISSING)
            if not await self._commit(machine.execute(prepared, tick_ms)):
                continue
            self._alignment.settle(batch, tick_ms)
            if tick_ms != MISSING:
                await self._sweep(tick_ms)

    async def _sweep(self, tick_ms: int) -> None:
        """The whole sweep of the day, if it has begun."""
        while (sweep := self.machine.sweep_at(tick_ms)) is not None:
            part = await self._store.slice(sweep.bucket, sweep.after, min(SLICE_BUCKETS, sweep.left), SLICE_ACCOUNTS_LEAST)
            with self.machine.stages(Stage.SWEEP):
                record = self.machine.sweep(part.accounts, part.buckets, part.after, tick_ms)
            assert await self._commit(record), "a slice fits"

    async def _commit(self, record: JournalRecord) -> bool:
        with self.machine.stages(Stage.JOURNAL):
            journal = record.encode()
        if not self.machine.fits(record, len(journal)):
            self.machine.take_back()
            return False
        await self._store.apply(record, -1)
        self.outputs += len(record.outputs)
        self.journal_bytes += len(journal)
        return True


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="machine", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", choices=sorted(POLICIES), default="engine", help="of which contender of scripts/bench (default engine)")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--accounts", type=int, default=30_000)
    parser.add_argument("--cache", type=int, default=10_000, help="accounts that the cache holds (default 10,000)")
    parser.add_argument(
        "--batch", type=int, default=20_000, help="records that a batch has at most (default 20,000; 200 is what an idle shard takes)"
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    load = Load(asked.events, asked.accounts, midnight_before(datetime.now(UTC), DAYS + 1))
    began = datetime.fromtimestamp(load.start_ms / 1000, UTC)
    activation = control.activation(load_policy(POLICIES[asked.policy], began), None, "benchmark", None, began)
    messages.print("compiling, and making up the log ...")
    warm_up()
    machine = Machine(asked.cache, asked.batch)
    first = [Arrival(load.start_ms, 0, "limit-control", b"", encode(activation))]
    machine.offer([*first, *(profiles(load) if asked.policy != "engine" else ())])
    asyncio.run(machine.run())
    profile = machine.machine.stages = Counted()
    machine.batches, machine.outputs, machine.journal_bytes = 0, 0, 0
    machine.offer(list(events(load)))
    cpu = time.process_time()
    asyncio.run(machine.run())
    cpu = time.process_time() - cpu
    of_stage = {stage.value: round(1e6 * seconds / load.events, 2) for stage, seconds in profile.seconds.items()}
    told = {
        "policy": asked.policy,
        "events": load.events,
        "batches": machine.batches,
        "us_per_event": {**of_stage, "together": round(sum(of_stage.values()), 2), "with_the_store": round(1e6 * cpu / load.events, 2)},
        "profile_us_per_event": round(1e6 * profile.entered * cost_of_entering() / load.events, 3),
        "outputs_percent": round(100 * machine.outputs / load.events, 2),
        "journal_bytes_per_event": round(machine.journal_bytes / load.events),
    }
    if asked.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
