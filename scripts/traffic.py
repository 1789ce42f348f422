"""Let synthetic customers live: publish a population's records to the input topics, at a set rate or as fast as it goes.

Months pass in minutes: the records carry the times of the simulated months, so the worker must run with LIMITS_CLOCK=records. With --answer
customers, risk desk, core banking and risk committee read what the engine announces and answer it (``scripts/counterpart.py``); without it
nothing is read, and the records are the seed's alone.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from confluent_kafka import KafkaException, Message, Producer

from engine.settings import load_settings
from engine.stream import control
from schemas.topics import CONTROL
from scripts.committee import Committee
from scripts.counterpart import Counterpart, Listener
from scripts.personas import midnight_before, population
from scripts.spoil import LATE_DAYS, Arrival, Shares, spoil

STEP_S = 0.02


class Publisher:
    """Publishes arrivals; Kafka's own partitioner, their own record times. What is meant for every shard goes to every partition."""

    def __init__(self, bootstrap: str) -> None:
        self.failed: list[str] = []
        self._kafka = load_settings(kafka={"bootstrap": bootstrap}).kafka
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 10,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 200_000,
            }
        )

    def publish(self, arrival: Arrival) -> None:
        """Hand one record over; waits while the producer's queue is full. A control record is written when all before it is, and before this
        returns: no shard may get ahead of it."""
        if arrival.topic == CONTROL.name:
            self.settle()
            control.publish(self._kafka, json.loads(arrival.value), arrival.at_ms)
            return
        while True:
            try:
                self._producer.produce(arrival.topic, arrival.value, arrival.key, timestamp=arrival.at_ms, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def settle(self) -> None:
        """Wait until every record has arrived. Raises KafkaException if one has not."""
        self._producer.flush()
        if self.failed:
            raise KafkaException(f"{len(self.failed)} records did not arrive, the first because of: {self.failed[0]}")

    def poll(self) -> None:
        """Take the answers that have come."""
        self._producer.poll(0)

    def _delivered(self, error: object, _message: Message) -> None:
        if error is not None:
            self.failed.append(str(error))


def at_rate(arrivals: Iterator[Arrival], rate: float) -> Iterator[list[Arrival]]:
    """Portions of the arrivals, ``rate`` a second (0: as fast as they are taken)."""
    began, given = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * rate) - given if rate else 10_000
        portion = list(islice(arrivals, due))
        given += len(portion)
        if portion:
            yield portion
        elif due > 0:
            return
        if rate:
            time.sleep(STEP_S)  # the pace itself: nothing else is waited for


def main() -> None:
    """Publish until the lives are over or SIGTERM; a summary on stdout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--accounts", type=int, default=300)
    parser.add_argument("--days", type=int, default=360)
    parser.add_argument("--rate", type=float, default=0.0, help="records a second; 0: as fast as it goes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start-ms", type=int, help="midnight in China at which the lives begin; default: so that all has come by today")
    parser.add_argument("--answer", action="store_true", help="answer what the engine announces")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    start_ms = options.start_ms or midnight_before(datetime.now(UTC), options.days + LATE_DAYS)
    faults: Counter[str] = Counter()
    arrivals = spoil(population(options.accounts, options.seed, start_ms, options.days), options.seed, Shares(), faults)
    publisher, sent = Publisher(options.kafka), 0
    listener = None
    if options.answer:
        counterpart = Counterpart(options.seed, start_ms, Committee(start_ms, start_ms))
        listener = Listener(options.kafka, counterpart)
        arrivals = counterpart.among(arrivals)
    try:
        for portion in at_rate(arrivals, options.rate):
            for arrival in portion:
                publisher.publish(arrival)
            publisher.poll()
            sent += len(portion)
            if listener is not None:
                listener.listen()
    finally:
        publisher.settle()
        print(json.dumps({"records": sent, "seed": options.seed, **dict(sorted(faults.items()))}), flush=True)


if __name__ == "__main__":
    main()
