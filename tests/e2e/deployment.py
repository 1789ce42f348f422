"""A deployment for tests: a Kafka, a Redis, workers as processes, and what lies in the topics."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import redis
from confluent_kafka import Consumer, TopicPartition

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import Topic
from engine.local.kafka import KafkaBroker
from engine.local.process import ServerProcess
from engine.local.redis_server import RedisServer
from engine.policy.document import Policy
from engine.settings import DEFAULT_KEY
from engine.state import keys
from engine.state.masters import Masters
from engine.state.redis_store import RedisStore
from engine.stream import control, topics
from engine.stream.in_force import ShardStatus, status_of
from engine.stream.records import Chunk
from schemas.topics import CHANGES, DEAD_LETTERS, INPUTS, JOURNAL, TOPICS
from tests.e2e.commands import commands

ROOT: Final = Path(__file__).resolve().parents[2]
KEY: Final = FingerprintKey.from_hex(DEFAULT_KEY)
FOR_EVER: Final = {spec.name: -1 for spec in TOPICS}


@dataclass
class Deployment:
    """What runs, and the names it goes by."""

    kafka: KafkaBroker
    redis: RedisServer
    directory: Path
    partitions: int
    application: str = "limits"
    settings: dict[str, str] = field(default_factory=dict)
    workers: list[ServerProcess] = field(default_factory=list)

    def create_topics(self) -> None:
        """Create the topics, everything in them kept for ever: the simulated customers live in the past."""
        admin = topics.connect(self.kafka.settings)
        topics.create(admin, self.partitions, 1, FOR_EVER)
        admin.close()

    def promote(self, policy: Policy, at_ms: int, previous: Policy | None = None) -> Policy:
        """Put a policy in force from an instant on, after ``previous`` (promoted); the promoted one."""
        moment = datetime.fromtimestamp(at_ms / 1000, UTC)
        record = control.activation(policy, previous, "test", None, moment)
        control.publish(self.kafka.settings, record, at_ms)
        return Policy.from_plain(record["policy"])

    # Processes

    def run(self, *command: str, log: str, **own: str) -> ServerProcess:
        """Start a Python program of ours with the deployment's settings; its ``own`` ones take their place."""
        words = ["env", *(f"{name}={value}" for name, value in (self._settings() | own).items()), sys.executable, *command]
        return ServerProcess.spawn(words, log=self.directory / log, directory=ROOT, bound=True)

    def start_worker(self) -> ServerProcess:
        """Start one more worker."""
        worker = self.run("-m", "engine", "run", log=f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    def start_consumer(self, *idle_s: str) -> ServerProcess:
        """Start the reference consumer on the deployment's file."""
        return self.run("-m", "scripts.consumer", self.kafka.address, str(self.directory / "standings.json"), *idle_s, log="consumer.log")

    def run_consumer_to_the_end(self) -> None:
        """Let the reference consumer read what there is."""
        assert self.start_consumer("5").ends_within(60)

    def consumed(self) -> dict[str, Any]:
        """The standings that the reference consumer holds; it must have seen no gap."""
        assert "gap" not in (self.directory / "consumer.log").read_text()
        return dict(json.loads((self.directory / "standings.json").read_text())["standings"])

    def command(self, *words: str, within_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run ``limit-engine`` to its end with the deployment's settings."""
        return commands(ROOT).run(words, self._settings(), within_s)

    def inspected(self, account: str) -> dict[str, Any]:
        """What ``account show`` says of an account."""
        shown = self.command("account", "show", account, "--json")
        assert shown.returncode == 0, shown.stderr
        return dict(json.loads(shown.stdout))

    def log_of(self, number: int) -> str:
        """All that a worker has said."""
        return (self.directory / f"worker-{number}.log").read_text()

    def _settings(self) -> dict[str, str]:
        return {
            "LIMITS_KAFKA__BOOTSTRAP": self.kafka.address,
            "LIMITS_REDIS__URL": self.redis.url,
            "LIMITS_APPLICATION": self.application,
            "LIMITS_CLOCK": "records",
            "LIMITS_LOG_FORMAT": "json",
            **self.settings,
        }

    def shards_of(self, number: int) -> list[int]:
        """The shards that a worker said it was assigned last."""
        told = [line for line in map(json.loads, self.log_of(number).splitlines()) if line["event"] == "assigned"]
        return list(told[-1]["shards"])

    def stop(self) -> None:
        """End the workers."""
        for worker in self.workers:
            worker.resume()
            worker.stop(20)

    # Progress

    def fields(self, shard: int) -> dict[str, bytes]:
        """A shard's hash, empty while Redis is away."""
        try:
            with redis.Redis.from_url(self.redis.url) as client:
                held: Any = client.hgetall(keys.ShardKeys(self.application, shard).shard)
        except redis.RedisError:
            return {}
        return {name.decode(): value for name, value in held.items()}

    def status(self) -> list[ShardStatus]:
        """What the hash of each shard says of the version in force and of the sweep."""
        return [status_of(shard, self.fields(shard)) for shard in range(self.partitions)]

    def tick_ms(self) -> int:
        """The newest tick of any shard."""
        return max(int(self.fields(shard).get(keys.TICK_MS, 0)) for shard in range(self.partitions))

    def taken(self) -> int:
        """How many input records Redis says were taken."""
        fields = [self.fields(shard) for shard in range(self.partitions)]
        return sum(int(held.get(keys.next_offset(spec.name), 0)) for held in fields for spec in INPUTS)

    def is_all_taken(self) -> bool:
        """Whether every input record was taken and applied (a control record's transaction marker need not be)."""
        with self._consumer() as consumer:
            for shard in range(self.partitions):
                held = self.fields(shard)
                for spec in INPUTS:
                    _, end = consumer.get_watermark_offsets(TopicPartition(spec.name, shard), timeout=10)
                    markers = 1 if spec.name == INPUTS[Topic.CONTROL].name and end else 0
                    if int(held.get(keys.next_offset(spec.name), 0)) < end - markers:
                        return False
        return True

    def wait(self, condition: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait until something outside this process is so."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(f"worker {n}: ...{self.log_of(n)[-1500:]}" for n in range(len(self.workers)))
                raise AssertionError(f"after {seconds} s still not: {what}\n{logs}")
            time.sleep(0.1)

    # What lies in the topics

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka.address,
                "group.id": "test-reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": False,
                "auto.offset.reset": "earliest",
                "fetch.message.max.bytes": 16_000_000,
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()

    def read(self, topic: str) -> dict[int, list[Any]]:
        """Every committed message of a topic, by partition in offset order."""
        found: dict[int, list[Any]] = {p: [] for p in range(self.partitions)}
        with self._consumer() as consumer:
            open_ends = {}
            for p in range(self.partitions):
                _, end = consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)
                if end:
                    open_ends[p] = end
            consumer.assign([TopicPartition(topic, p, 0) for p in open_ends])
            while open_ends:
                for message in consumer.consume(10_000, timeout=0.5):
                    assert message.error() is None, message.error()
                    partition = message.partition()
                    assert partition is not None
                    found[partition].append(message)
                for place in consumer.position([TopicPartition(topic, p) for p in open_ends]):
                    if place.offset >= open_ends[place.partition]:
                        del open_ends[place.partition]
                        consumer.incremental_unassign([TopicPartition(topic, place.partition)])
        return found

    def inputs(self) -> dict[int, dict[Topic, Chunk]]:
        """Every input record, by shard and topic."""
        found: dict[int, dict[Topic, Chunk]] = defaultdict(dict)
        for rank, spec in enumerate(INPUTS):
            for shard, messages in self.read(spec.name).items():
                found[shard][Topic(rank)] = Chunk.of(
                    Topic(rank),
                    [m.offset() for m in messages],
                    [m.timestamp()[1] for m in messages],
                    [m.key() for m in messages],
                    [m.value() for m in messages],
                    [tuple(m.headers() or ()) for m in messages],
                )
        return found

    def journal(self) -> dict[int, list[bytes]]:
        """Every journal record, by shard."""
        return {shard: [message.value() for message in messages] for shard, messages in self.read(JOURNAL.name).items()}

    def changes(self) -> dict[int, list[dict[str, Any]]]:
        """Every limit change, by shard."""
        return {shard: [json.loads(m.value()) for m in messages] for shard, messages in self.read(CHANGES.name).items()}

    def dead_letters(self) -> list[Any]:
        """Every dead letter."""
        return [message for messages in self.read(DEAD_LETTERS.name).values() for message in messages]

    def accounts(self, shard: int) -> dict[bytes, bytes]:
        """Every account in Redis."""

        async def all_accounts() -> dict[bytes, bytes]:
            client = Masters.of_settings(self.redis.settings)
            store = RedisStore(client, self.application, shard)
            held = {account: value for bucket in range(keys.BUCKETS) async for account, value in store.accounts(bucket)}
            await client.aclose()
            return held

        return asyncio.run(all_accounts())
