"""A deployment whose workers reach Kafka and Redis through proxies, with clocks of their own; who dies unasked is started again."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.local.ports import LOOPBACK
from engine.local.process import ServerProcess
from engine.local.redis_server import RedisServer
from tests.chaos.clock import set_clock
from tests.chaos.proxy import Link, Proxies
from tests.chaos.requests import KafkaRequests, RedisRequests
from tests.chaos.servers import ListeningBroker, free_port
from tests.e2e.deployment import Deployment

COPIES: Final = 4
GRACE_S: Final = 30.0


@dataclass
class Slot:
    """A worker's place: its links, its clock, its process of the moment. ``is_wanted``: a process that ends is started again."""

    number: int
    kafka: Link
    redis: Link
    clock: Path
    process: ServerProcess | None = None
    is_wanted: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    def link(self, server: str) -> Link:
        """By the server's name."""
        return self.kafka if server == "Kafka" else self.redis


class Ground(Deployment):
    """See above. ``given_up`` has what workers ended with that nobody had ended."""

    slots: list[Slot]
    proxies: Proxies
    copies: list[Path]
    given_up: list[str]

    def prepare(self, slots: int) -> None:
        """Put the proxies between; no worker runs yet."""
        assert isinstance(self.kafka, ListeningBroker)
        self.proxies, self.slots, self.copies, self.given_up = Proxies(), [], [], []
        self.copied = 0
        for number in range(slots):
            kafka = self.proxies.link(self.kafka.outer[number], self.kafka.inner[number], KafkaRequests)
            redis = self.proxies.link(free_port("redis"), self.redis.port, RedisRequests)
            clock = self.directory / f"clock-{number}"
            set_clock(clock, 0.0)
            self.slots.append(Slot(number, kafka, redis, clock))

    def begin(self, slot: Slot) -> None:
        """Start a worker in its place."""
        slot.is_wanted = True
        addresses = {
            "LIMITS_KAFKA__BOOTSTRAP": f"{LOOPBACK}:{slot.kafka.port}",
            "LIMITS_REDIS__URL": f"redis://{LOOPBACK}:{slot.redis.port}/0",
        }
        slot.process = self.run("-m", "tests.chaos.clock", str(slot.clock), "run", log=f"worker-{slot.number}.log", **addresses)

    def leave(self, slot: Slot) -> None:
        """End a worker in good order."""
        slot.is_wanted = False
        if slot.process is not None:
            slot.process.stop(GRACE_S)

    def look_after(self) -> None:
        """Start again who has ended unasked, as a supervisor does."""
        for slot in self.slots:
            if not slot.lock.acquire(blocking=False):
                continue  # a fault is at it
            try:
                if slot.is_wanted and slot.process is not None and not slot.process.is_running():
                    self.given_up.append(f"worker {slot.number}: {last_words(self.log_of(slot.number))}")
                    self.begin(slot)
            finally:
                slot.lock.release()

    def log_of(self, number: int) -> str:
        """All that the workers of a place have said."""
        log = self.directory / f"worker-{number}.log"
        return log.read_text() if log.exists() else ""

    def said(self) -> Iterator[dict[str, Any]]:
        """All that workers have said, line by line."""
        for slot in self.slots:
            for line in self.log_of(slot.number).splitlines():
                try:
                    yield {"worker": slot.number, **json.loads(line)}
                except ValueError:
                    yield {"worker": slot.number, "level": "raw", "event": line}

    def copy_store(self) -> None:
        """Copy what Redis holds, and keep the last copies."""
        self.copied += 1
        copy = self.directory / f"copy-{self.copied}"
        self.redis.copy_to(copy)
        self.copies.append(copy)
        for old in self.copies[:-COPIES]:
            shutil.rmtree(old)
        del self.copies[:-COPIES]

    def stop(self) -> None:
        """End everything but the servers."""
        for slot in self.slots:
            slot.is_wanted = False
            for link in (slot.kafka, slot.redis):
                link.open(reset=False)
            if slot.process is not None:
                slot.process.resume()
                slot.process.stop(GRACE_S)
        self.proxies.stop()


def last_words(log: str) -> str:
    """The last thing that a worker complained about."""
    complaints = [line for line in log.splitlines() if '"error"' in line or '"critical"' in line]
    return (complaints or log.splitlines() or ["said nothing"])[-1][:500]


@contextmanager
def grounded(directory: Path, partitions: int, slots: int) -> Iterator[Ground]:
    """A ground with its servers started and its topics made."""
    directory.mkdir(parents=True, exist_ok=True)
    kafka, redis = ListeningBroker(directory / "kafka", slots), RedisServer(directory / "redis")
    found = Ground(kafka, redis, directory, partitions)
    found.slots = []
    try:
        redis.start()
        kafka.start()
        found.prepare(slots)
        found.create_topics()
        yield found
    finally:
        if found.slots:
            found.stop()
        kafka.stop()
        redis.stop()
