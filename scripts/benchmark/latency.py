"""How long a change takes: ``python -m scripts.benchmark.latency``, from when Kafka had an event to when the change that it caused can be read
with ``isolation.level=read_committed``; and from when the event was handed to Kafka's client, which waits some milliseconds for others.

Publisher, broker, worker, Redis and reader share the machine. The broker notes when it appends a record (``LogAppendTime``, here alone), and a
change names the place of its cause; an event's id is the moment at which it was handed over.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Final, NamedTuple

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from engine.settings import Kafka
from engine.stream import topics
from schemas.topics import CHANGES, PURCHASES, REPAYMENTS, TRANSFERS
from scripts.benchmark.contest import scene
from scripts.benchmark.load import Load, account_name, event
from scripts.benchmark.plan import ENGINE
from scripts.benchmark.scene import LOOK_EVERY_S, START_WITHIN_S
from scripts.benchmark.screen import messages
from scripts.traffic import Publisher

WARM_UP_S: Final = 5.0
STEP_S: Final = 0.01
READ_WITHIN_S: Final = 60.0
EVENTS: Final = (PURCHASES.name, TRANSFERS.name, REPAYMENTS.name)

Place = tuple[str, int, int]


class Read(NamedTuple):
    """A change that was read: where its cause lies, when that was handed to the client, and when the change came; in seconds."""

    cause: Place
    published_at: float
    read_at: float


class Reader(threading.Thread):
    """Notes the changes that come until it is told to stop."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(daemon=True)
        self.found: list[Read] = []
        self.is_done = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "latency", "isolation.level": "read_committed"})
        self._consumer.subscribe([CHANGES.name])

    def run(self) -> None:
        """See the class."""
        while not self.is_done.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and not message.error():
                read_at = time.time()
                cause = json.loads(message.value() or b"")["cause"]
                self.found.append(
                    Read((cause["topic"], cause["partition"], cause["offset"]), float(cause["id"].partition("-")[0]), read_at)
                )
        self._consumer.close()


def note_appending(kafka: Kafka) -> None:
    """Let the broker's time of appending be that of the events' records."""
    admin = topics.connect(kafka)
    setting = {"message.timestamp.type": "LogAppendTime"}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=setting) for topic in EVENTS])
    admin.close()


def appended_at(bootstrap: str, partitions: int) -> dict[Place, float]:
    """When each event was appended, in seconds. Raises TimeoutError."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "latency-causes", "enable.partition.eof": False})
    places = [TopicPartition(topic, partition, 0) for topic in EVENTS for partition in range(partitions)]
    left = sum(consumer.get_watermark_offsets(place, READ_WITHIN_S)[1] for place in places)
    consumer.assign(places)
    found: dict[Place, float] = {}
    deadline = time.monotonic() + READ_WITHIN_S
    while len(found) < left:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{left - len(found):,} events of {left:,} could not be read")
        for message in consumer.consume(10_000, 1.0):
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert partition is not None
            assert offset is not None
            found[topic, partition, offset] = message.timestamp()[1] / 1000
    consumer.close()
    return found


def quantiles(took: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    p50, p99, longest = (round(1000 * float(found), 1) for found in (*np.percentile(took, [50, 99]), max(took)))
    return {"p50_ms": p50, "p99_ms": p99, "max_ms": longest}


def publish(publisher: Publisher, rate: float, seconds: float, accounts: int) -> None:
    """Publish events of now at a rate."""
    rng, began, sent = Random(1), time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        for number in range(sent, int(passed * rate)):
            now = time.time()
            arrival = event(rng, number, account_name(rng.randrange(accounts)), int(now * 1000))
            publisher.publish(replace(arrival, value=arrival.value.replace(b"e-%09d" % number, b"%.6f-%d" % (now, number), 1)))
        sent = int(passed * rate)
        publisher.poll()
        time.sleep(max(0.0, STEP_S - (time.monotonic() - began - passed)))
    publisher.settle()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="latency", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=20_000, help="events a second (default 20,000)")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--accounts", type=int, default=20_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    nothing = Load(0, asked.accounts, int(datetime.now(UTC).timestamp() * 1000))
    with scene(nothing, asked.partitions, ENGINE, is_quiet=True) as there, there.running(ENGINE) as running:
        deadline = time.monotonic() + START_WITHIN_S
        while running.look(LOOK_EVERY_S).records < asked.partitions:  # the activation, on each shard
            if time.monotonic() > deadline:
                raise SystemExit(f"the engine has not begun; {running.last_words()}")
        note_appending(there.kafka.settings)
        reader = Reader(there.kafka.address)
        reader.start()
        messages.print(f"publishing {asked.rate:,.0f} events a second for {asked.seconds + WARM_UP_S:g} s ...")
        began = time.time()
        publish(Publisher(there.kafka.address), asked.rate, asked.seconds + WARM_UP_S, asked.accounts)
        running.look(1.0)
        reader.is_done.set()
        reader.join()
        appended = appended_at(there.kafka.address, asked.partitions)
    counted = [change for change in reader.found if change.published_at >= began + WARM_UP_S]
    if not counted:
        raise SystemExit("no change was announced: ask for more events")
    told = {
        "rate": asked.rate,
        "changes": len(counted),
        "from_kafka": quantiles([change.read_at - appended[change.cause] for change in counted]),
        "from_the_client": quantiles([change.read_at - change.published_at for change in counted]),
    }
    if asked.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
