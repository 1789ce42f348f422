"""Looks each second at how a deployment does: what its workers' memory is, how much each shard has taken, and how much lies there for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final

import psutil
import redis
from confluent_kafka import Consumer, TopicPartition

from engine.state import keys
from schemas.topics import INPUTS
from tests.chaos.ground import Ground

MB: Final = 1_000_000
HOUR_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Look:
    """At one moment (monotonic): resident bytes by worker; records taken by shard, None while Redis does not tell; records there by shard."""

    at: float
    resident: tuple[int, ...]
    taken: tuple[int, ...] | None
    there: tuple[int, ...]

    def lag(self) -> int:
        """Records that nobody has taken, where Redis tells."""
        return 0 if self.taken is None else sum(self.there) - sum(self.taken)


class Gauge:
    """The looks, in a thread of its own; also in ``looks.jsonl`` of the deployment's directory."""

    def __init__(self, ground: Ground, every_s: float) -> None:
        self.looks: list[Look] = []
        self.failed: BaseException | None = None
        self._ground = ground
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gauge", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Raises what a look has failed of."""
        self._over.set()
        self._thread.join()
        if self.failed is not None:
            raise self.failed

    def since(self, moment: float, until: float | None = None) -> list[Look]:
        """The looks from a moment on."""
        return [look for look in self.looks if look.at >= moment and (until is None or look.at < until)]

    def _watch(self) -> None:
        consumer = Consumer({"bootstrap.servers": self._ground.kafka.address, "group.id": "gauge", "log_level": 0})
        client = redis.Redis.from_url(self._ground.redis.url, socket_timeout=1.0, retry=None)
        kept = (self._ground.directory / "looks.jsonl").open("w", buffering=1)
        try:
            while not self._over.wait(self._every_s):
                look = Look(time.monotonic(), tuple(self._resident()), taken(client, self._ground), tuple(self._there(consumer)))
                self.looks.append(look)
                kept.write(json.dumps(asdict(look)) + "\n")
        except BaseException as error:
            self.failed = error
        finally:
            kept.close()
            consumer.close()
            client.close()

    def _resident(self) -> Iterator[int]:
        for slot in self._ground.slots:
            if slot.process is not None:
                with suppress(psutil.NoSuchProcess):
                    yield int(psutil.Process(slot.process.pid).memory_info().rss)

    def _there(self, consumer: Consumer) -> Iterator[int]:
        for shard in range(self._ground.partitions):
            ends = (consumer.get_watermark_offsets(TopicPartition(spec.name, shard), timeout=10)[1] for spec in INPUTS[1:])
            yield sum(ends)


def taken(client: redis.Redis, ground: Ground) -> tuple[int, ...] | None:
    """How many records each shard has taken, by the store; control records do not count. None: it does not tell."""
    names = [keys.next_offset(spec.name) for spec in INPUTS[1:]]
    try:
        with client.pipeline(transaction=False) as pipeline:
            for shard in range(ground.partitions):
                pipeline.hmget(keys.ShardKeys(ground.application, shard).shard, names)
            told: Any = pipeline.execute()
    except redis.RedisError:
        return None
    return tuple(sum(int(value or 0) for value in values) for values in told)


def rates(looks: list[Look], partitions: int) -> list[float]:
    """Records a second that each shard has taken between the first and the last of these looks at which the store told."""
    told = [(look.at, look.taken) for look in looks if look.taken is not None]
    if len(told) < 2:
        return [0.0] * partitions
    (began, before), (ended, after) = told[0], told[-1]
    return [(b - a) / (ended - began) for a, b in zip(before, after, strict=True)]


def slope(looks: list[Look]) -> float:
    """By how many MB an hour the resident memory of all workers grows, by least squares."""
    times = [look.at / HOUR_S for look in looks]
    sizes = [sum(look.resident) / MB for look in looks]
    mean_t, mean_s = sum(times) / len(times), sum(sizes) / len(sizes)
    return sum((t - mean_t) * (s - mean_s) for t, s in zip(times, sizes, strict=True)) / sum((t - mean_t) ** 2 for t in times)
