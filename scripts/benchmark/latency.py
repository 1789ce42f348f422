"""How long a change takes: ``python -m scripts.benchmark.latency``, from when an event was handed to Kafka's client to when the change that it
caused can be read with ``isolation.level=read_committed``.

Publisher, broker, worker, Redis and reader share the machine. An event's id is the moment at which it was published, and a change names the id of
its cause, so nothing has to be looked up.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from typing import Final

import numpy as np
from confluent_kafka import Consumer

from schemas.topics import CHANGES
from scripts.benchmark.contest import scene
from scripts.benchmark.load import Load, account_name, event
from scripts.benchmark.plan import ENGINE
from scripts.benchmark.scene import LOOK_EVERY_S, START_WITHIN_S
from scripts.benchmark.screen import messages
from scripts.traffic import Publisher

WARM_UP_S: Final = 5.0
STEP_S: Final = 0.01


class Reader(threading.Thread):
    """Notes for each change how long it took, in seconds, until it is told to stop."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(daemon=True)
        self.found: list[tuple[float, float]] = []  # when the cause was published, and how long it took
        self.is_done = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "latency", "isolation.level": "read_committed"})
        self._consumer.subscribe([CHANGES.name])

    def run(self) -> None:
        """See the class."""
        while not self.is_done.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and not message.error():
                read_at = time.time()
                published_at = float(json.loads(message.value() or b"")["cause"]["id"].partition("-")[0])
                self.found.append((published_at, read_at - published_at))
        self._consumer.close()


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
        reader = Reader(there.kafka.address)
        reader.start()
        messages.print(f"publishing {asked.rate:,.0f} events a second for {asked.seconds + WARM_UP_S:g} s ...")
        began = time.time()
        publish(Publisher(there.kafka.address), asked.rate, asked.seconds + WARM_UP_S, asked.accounts)
        running.look(1.0)
        reader.is_done.set()
        reader.join()
    took = np.array([seconds for published_at, seconds in reader.found if published_at >= began + WARM_UP_S])
    if not len(took):
        raise SystemExit("no change was announced: ask for more events")
    p50, p99, longest = (round(1000 * float(found), 1) for found in (*np.percentile(took, [50, 99]), took.max()))
    if asked.json:
        print(json.dumps({"rate": asked.rate, "changes": len(took), "p50_ms": p50, "p99_ms": p99, "max_ms": longest}))
    else:
        print(f"{len(took):,} changes at {asked.rate:,.0f} events/s: p50 {p50} ms, p99 {p99} ms, longest {longest} ms")


if __name__ == "__main__":
    main()
