"""Malformed records in masses, among good ones, in every codec, around transactions that are aborted: no crash, one dead letter for each bad
record, and the good ones decided as if the others were not there. ``LIMITS_TEST_FUZZ=100000`` sends as many."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from engine.core.layout import Topic
from engine.policy.compile import compile_policy
from engine.policy.source import load_policy
from engine.stream.decode.decoder import Decoder
from engine.stream.records import TOPICS, Chunk
from schemas import dead_letters as names
from tests.core.bridge import KEY
from tests.e2e.audit import audit
from tests.e2e.conftest import deployed
from tests.e2e.deployment import ROOT, Deployment
from tests.e2e.publisher import Publisher

RECORDS: Final = int(os.environ.get("LIMITS_TEST_FUZZ", "20000"))
CODECS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
BYTES: Final = b'"\\{}[],:0123456789-+.eE\x00\x1f \x80\xc3\xe2\xf0\xed\xa0TZtrufalsn'
ODD: Final = ("", "x" * 65, "x" * 10_000, "\ud800", "\x00")
VALUES: Final[tuple[Any, ...]] = (None, True, -1, 0, 12.5, 1e400, 10**40, *ODD, [], {}, [[]], {"full": True})
SPECIAL: Final = (
    b"[" * 10_000,
    b'{"a":' * 10_000,
    b"{}",
    b"",
    b"null",
    b"\xef\xbb\xbf{}",
    b"\xed\xa0\x80",
    b" " * 900_000,  # a few hundred bytes on the wire
    b'{"amount_minor": 1' + b"0" * 500_000 + b"}",
    b'{"event_id": "' + b"\\ud800" * 1_000 + b'"}',
)


def malformed(good: dict[str, Any], chance: Random) -> bytes:
    """A record that something has befallen; now and then it stays good."""
    match chance.randrange(9):
        case 0:
            good[chance.choice(list(good))] = chance.choice(VALUES)
        case 1:
            del good[chance.choice(list(good))]
        case 2:
            good[chance.choice(("note", "", "Amount_minor", "x" * 300))] = chance.choice(VALUES)
        case 3:
            place = good
            for _ in range(chance.choice((1, 50, 5_000))):
                place["reverses"] = place = {}
        case 4 if chance.random() < 0.01:
            return chance.choice(SPECIAL)
        case _:
            pass
    try:
        text = json.dumps(good, ensure_ascii=chance.random() < 0.5)
    except RecursionError:
        return b'{"reverses":' * 5_000
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    match chance.randrange(6):
        case 0:
            for _ in range(chance.choice((1, 1, 2, 5))):
                data[chance.randrange(len(data))] = chance.choice(BYTES)
        case 1:
            del data[chance.randrange(len(data)) :]
        case 2:
            data *= 2
        case 3:
            name = chance.choice(list(good))
            data[-1:] = f", {json.dumps(name)}: {json.dumps(good[name])}}}".encode("utf-8", "surrogatepass")
        case _:
            pass
    return bytes(data)


class Torrent:
    """Sends from a seed, with a producer of each codec; and, in transactions that are aborted, what must never be seen."""

    def __init__(self, deployment: Deployment, seed: int) -> None:
        self._chance = Random(seed)
        common = {"bootstrap.servers": deployment.kafka.address, "message.max.bytes": 2_000_000, "linger.ms": 20}
        self._producers = [Producer({**common, "compression.type": codec, "enable.idempotence": True}) for codec in CODECS]
        self._aborted = Producer({**common, "transactional.id": "aborts", "compression.type": "gzip"})
        self._aborted.init_transactions(30)
        self._accounts = [Publisher(deployment, f"account-{n}") for n in range(30)]

    def send(self, records: int) -> None:
        """Send so many records, and some more that are aborted."""
        for number in range(records):
            publisher = self._chance.choice(self._accounts)
            topic = self._chance.choice(("purchases", "transfers", "repayments"))
            good = publisher.good(topic)
            value = json.dumps(good).encode() if self._chance.random() < 0.3 else malformed(good, self._chance)
            key, partition = publisher.account.encode(), publisher.partition
            if self._chance.random() < 0.01:
                key = self._chance.choice((b"", b"\xff\xfe", b"account-0", b"k" * 5_000))
            if self._chance.random() < 0.01:
                partition = 1 - partition
            producer = self._chance.choice(self._producers)
            producer.produce(topic, value, key, partition=partition, headers=self._headers())
            if number % 500 == 0:
                for each in self._producers:
                    each.flush(60)
            if number % 2_000 == 0:
                self._abort(topic, partition)
        assert not any(each.flush(60) for each in self._producers)

    def _headers(self) -> list[tuple[str, str | bytes | None]]:
        if self._chance.random() < 0.95:
            return []
        words = ("ce_id", "ce_type", "ce_specversion", "content-type", "traceparent", "", "\u0436")
        return [(self._chance.choice(words), self._chance.choice((None, b"", b"\xff", b"1.0", b"application/json"))) for _ in range(3)]

    def _abort(self, topic: str, partition: int) -> None:
        self._aborted.begin_transaction()
        for _ in range(20):
            self._aborted.produce(topic, b"never to be seen", b"account-0", partition=partition)
        self._aborted.flush(30)
        self._aborted.abort_transaction(30)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Deployment]:
    yield from deployed(tmp_path, 2)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_bad_records_in_masses(two: Deployment) -> None:
    d, seed = two, int(time.time())
    print(f"seed {seed}")
    d.settings = {"LIMITS_SHARD__REJECT_RATIO_MAX": "1.0", "LIMITS_SHARD__REJECT_RUN_MAX": "1000000000"}
    policy = load_policy(ROOT / "policies" / "minimal.yaml")
    at_ms = int(time.time() * 1000)
    promoted = d.promote(policy, at_ms)
    d.start_worker()
    Torrent(d, seed).send(RECORDS)
    d.wait(d.is_all_taken, "everything is taken", 600)
    assert d.workers[0].is_running()
    assert "Traceback" not in d.log_of(0)

    inputs, journal, changes = d.inputs(), d.journal(), d.changes()
    assert not any(value == b"never to be seen" for mine in inputs.values() for chunk in mine.values() for value in chunk.values)
    expected = {
        (topic, shard, offset): value
        for shard, mine in inputs.items()
        for topic, chunk in mine.items()
        if topic not in (Topic.CONTROL, Topic.PROFILE, Topic.COMMAND)
        for offset, value in refused(promoted, chunk, shard)
    }
    assert RECORDS * 0.3 < len(expected) < RECORDS * 0.7
    letters = {}
    for letter in d.dead_letters():
        told = {name: value.decode() for name, value in letter.headers() if name.startswith("__streams")}
        place = TOPICS[told[names.TOPIC]], int(told[names.PARTITION]), int(told[names.OFFSET])
        assert place not in letters, f"{place} is dead twice"
        letters[place] = letter.value()
    assert letters == expected
    counts = audit(promoted, inputs, journal, changes, d.accounts)
    assert counts["records"] == RECORDS + 2


def refused(policy: Any, chunk: Chunk, shard: int) -> Iterator[tuple[int, bytes | None]]:
    """The offsets and values that the judge alone, without the scanner in front of it, refuses."""
    decoder = Decoder(compile_policy(policy, KEY).decode, KEY, shard, 2)
    decoder._tables = {}
    accepted = decoder.decode(chunk).accepted
    for place, offset in enumerate(chunk.offsets.tolist()):
        if not accepted[place]:
            yield offset, chunk.values[place]
