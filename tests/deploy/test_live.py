"""The demo's customers: their past is told once, to new topics only, and goes on where it ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from engine.local.kafka import KafkaBroker
from engine.stream import topics
from schemas.topics import COMMANDS, CONTROL, JOURNAL, PROFILES
from scripts import live
from scripts.counterpart import Counterpart
from scripts.live import Standing, publish_in_time, publish_past, standing, untold
from scripts.personas import DAY_MS, midnight_before
from scripts.spoil import Arrival
from scripts.traffic import Publisher

ACCOUNTS, DAYS, SEED = 3, 40, 1


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker of this module's own."""
    broker = KafkaBroker(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


def start_over(kafka: KafkaBroker) -> None:
    admin = topics.connect(kafka.settings)
    present = [state.name for state in topics.describe(admin) if state.partitions]
    if present:
        admin.delete_topics(present)
    topics.create(admin, 3, 1, {PROFILES.name: -1})
    admin.close()


def put(kafka: KafkaBroker, topic: str, at_ms: int) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka.address)
    producer.send(topic, key=b"a", value=b"{}", timestamp_ms=at_ms).get(timeout=10)
    producer.close()


@pytest.mark.real
def test_the_past_is_told_once_and_goes_on_where_it_ended(kafka: KafkaBroker) -> None:
    start_over(kafka)
    now = datetime.now(UTC)
    midnight_ms = midnight_before(now, DAYS)
    there = standing(kafka.address)
    assert there == Standing(None, None, was_read=False)
    assert there.start_ms(midnight_ms) == midnight_ms

    half_ms, now_ms = midnight_ms + DAYS // 2 * DAY_MS, now.timestamp() * 1000
    everything = sum(arrival.at_ms <= now_ms for arrival in untold(there, midnight_ms, ACCOUNTS, DAYS, SEED))
    first, to_come = publish_past(Publisher(kafka.address), untold(there, midnight_ms, ACCOUNTS, DAYS, SEED), half_ms)
    assert 0 < first < everything
    assert next(to_come).at_ms > half_ms

    put(kafka, JOURNAL.name, half_ms)  # a worker began to read meanwhile
    there = standing(kafka.address)
    assert there.was_read
    assert there.start_ms(midnight_ms + DAY_MS) == midnight_ms  # the next day, the same lives
    second, _ = publish_past(Publisher(kafka.address), untold(there, midnight_ms, ACCOUNTS, DAYS, SEED), now_ms)
    assert first + second == everything


@pytest.mark.real
@pytest.mark.parametrize("topic", [JOURNAL.name, COMMANDS.name, PROFILES.name])
def test_topics_in_use_are_told_no_past(kafka: KafkaBroker, topic: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    start_over(kafka)
    put(kafka, topic, midnight_before(datetime.now(UTC), DAYS) + DAY_MS // 2)
    monkeypatch.setattr("sys.argv", ["live", f"--kafka={kafka.address}", f"--ready={tmp_path / 'ready'}"])
    with pytest.raises(SystemExit, match="in use"):
        live.main()
    assert not (tmp_path / "ready").exists()


@pytest.mark.real
def test_what_is_for_every_shard_goes_to_every_partition(kafka: KafkaBroker) -> None:
    start_over(kafka)
    publisher = Publisher(kafka.address)
    at_ms = midnight_before(datetime.now(UTC), DAYS)
    record = b'{"kind": "appetite"}'
    publisher.publish(Arrival(at_ms, 0, CONTROL.name, b"", record))
    partitions = [TopicPartition(CONTROL.name, partition) for partition in range(3)]
    consumer = KafkaConsumer(bootstrap_servers=kafka.address, isolation_level="read_committed", auto_offset_reset="earliest")
    consumer.assign(partitions)
    found: dict[TopicPartition, list[tuple[int, Any]]] = {}
    deadline = time.monotonic() + 20
    while len(found) < len(partitions) and time.monotonic() < deadline:
        for partition, records in consumer.poll(timeout_ms=500).items():
            found.setdefault(partition, []).extend((told.timestamp, json.loads(told.value)) for told in records)
    consumer.close()
    assert found == {partition: [(at_ms, json.loads(record))] for partition in partitions}


class Clock:
    """Stands in for the module ``time``."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        assert 0 < seconds <= live.LOOK_EVERY_S
        self.now += seconds


def test_what_is_to_come_comes_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(1_000.0)
    monkeypatch.setattr(live, "time", clock)
    published: list[tuple[int, float]] = []

    class Recorder(Publisher):
        def __init__(self) -> None:
            pass

        def publish(self, arrival: Arrival) -> None:
            published.append((arrival.at_ms, clock.now))

        def settle(self) -> None:
            pass

    arrivals: list[Any] = [Arrival(at_ms, at_ms, "purchases", b"a", b"{}") for at_ms in (999_000, 1_000_500, 1_500_000)]
    publish_in_time(Recorder(), iter(arrivals), Counterpart(1, 0), clock.pass_by)
    assert published == [(999_000, 1_000.0), (1_000_500, 1_000.5), (1_500_000, 1_500.0)]


def test_an_answer_comes_in_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(1_000.0)
    monkeypatch.setattr(live, "time", clock)
    published: list[tuple[str, int, float]] = []

    class Recorder(Publisher):
        def __init__(self) -> None:
            pass

        def publish(self, arrival: Arrival) -> None:
            published.append((arrival.topic, arrival.at_ms, clock.now))

        def settle(self) -> None:
            pass

    counterpart = Counterpart(1, 0)

    def listen(seconds: float) -> None:
        if clock.now == 1_000.0:
            at = {"occurred_at": "1970-01-01T00:16:40Z", "account_id": "a", "event_id": "e"}
            counterpart.hear(at | {"kind": "suspected_takeover"})
        clock.pass_by(seconds)

    end_ms = 1_000_000 + 4 * DAY_MS
    publish_in_time(Recorder(), iter([Arrival(end_ms, 1, "purchases", b"a", b"{}")]), counterpart, listen)
    (command, answered_ms, now), last = published
    assert (command, answered_ms) == (COMMANDS.name, int(now * 1000))
    assert 1_000_000 < answered_ms < end_ms
    assert last == ("purchases", end_ms, end_ms / 1000)
