"""Whether a run's results are right: for a sample of accounts, what ``limit-changes`` announced against the oracle's fold of the same inputs.

The oracle (``tests/oracle``) is the specification in code. It takes the sample's records in the order, and with the ticks and slices of sweeps,
that the journal tells (``tests/e2e/audit.py``), and each change of each account must be the fold's: kind, sequence, limit, band, score, version.
To fold every account would take hours. Leaving the others out changes nothing for those that are folded, with one exception: the brakes of the
portfolio count every account. So what was decided from the first moment at which a shard told of a brake is not compared.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, takewhile
from multiprocessing import get_context
from random import Random
from typing import Any, Final

from confluent_kafka import Consumer

from engine.core.layout import Topic
from engine.state.record import JournalRecord
from engine.state.states import States
from schemas.topics import ADVISORIES, CHANGES, INPUTS, JOURNAL
from scripts.benchmark.load import Load, ranked
from scripts.benchmark.scene import Scene
from scripts.benchmark.screen import Show
from tests.e2e.audit import BRAKED, Shard, assert_told, fold
from tests.e2e.books import Message, chunk, read, told_of

AT_ONCE_MIN: Final = 100  # accounts
BRAKE_WORDS: Final = tuple(f'"{kind}"'.encode() for kind in BRAKED)


@dataclass(frozen=True, slots=True)
class Checked:
    """What was compared, how long it took, and what contradicts the oracle."""

    accounts: int
    records: int
    changes: int
    unbraked_percent: int  # of the journal's records: those before a brake was told
    seconds: float
    contradictions: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "accounts": self.accounts,
            "records": self.records,
            "changes": self.changes,
            "unbraked_percent": self.unbraked_percent,
            "seconds": round(self.seconds, 1),
            "contradictions": list(self.contradictions),
        }


@dataclass(frozen=True, slots=True)
class Part:
    """The same of one shard."""

    records: int
    changes: int
    journaled: int
    compared: int
    contradictions: tuple[str, ...]


def sample(load: Load, size: int) -> frozenset[str]:
    """Some of the load's accounts, by its seed: half from among all, which mostly have few events, half from among the busier ones. The busiest
    hundredth is not among these: it would take the oracle longer than all others together."""
    rng, names = Random(f"{load.seed}/sample"), ranked(load)
    busier = names[load.accounts // 100 : load.accounts // 10]
    return frozenset(rng.sample(names, min(size - size // 2, len(names))) + rng.sample(busier, min(size // 2, len(busier))))


def check(scene: Scene, size: int, show: Show, *, is_done: bool) -> Checked:
    """Compare what the engine announced in a scene, two shards at a time. ``is_done``: it has told that it took all records."""
    began, accounts = time.monotonic(), sample(scene.load, size)
    job = partial(check_shard, scene.kafka.address, accounts, is_done=is_done)
    parts = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        # A few are compared sooner than another process has begun.
        for part in (map if size < AT_ONCE_MIN else pool.map)(job, range(scene.partitions)):
            parts.append(part)
            show(len(parts), scene.partitions)
    return Checked(
        len(accounts),
        sum(part.records for part in parts),
        sum(part.changes for part in parts),
        100 * sum(part.compared for part in parts) // max(1, sum(part.journaled for part in parts)),
        time.monotonic() - began,
        tuple(line for part in parts for line in part.contradictions),
    )


def check_shard(bootstrap: str, accounts: frozenset[str], shard: int, *, is_done: bool) -> Part:
    """Fold and compare the accounts of one shard."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "benchmark-check",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 16_000_000,
            "fetch.wait.max.ms": 20,  # nothing comes any more: an end need not be waited for
        }
    )
    sampled = frozenset(account.encode() for account in accounts)
    try:
        inputs = {
            Topic(rank): chunk(Topic(rank), inputs_of(read(consumer, spec.name, shard), None if rank == Topic.CONTROL else sampled))
            for rank, spec in enumerate(INPUTS)
        }
        unbraked = before_brake(read(consumer, ADVISORIES.name, shard))
        records, journaled, announced = journal_of(read(consumer, JOURNAL.name, shard), unbraked)
        changes = [message for message in islice(read(consumer, CHANGES.name, shard), announced) if message.key in sampled]
    finally:
        consumer.close()
    count = sum(len(held) for topic, held in inputs.items() if topic is not Topic.CONTROL)
    try:
        compare(records, inputs, changes, is_whole=is_done and len(records) == journaled)
    except Exception as error:  # whatever contradicting topics make the fold stumble over
        return Part(count, len(changes), journaled, len(records), (f"shard {shard}: {told_of(error)}",))
    return Part(count, len(changes), journaled, len(records), ())


def inputs_of(messages: Iterable[Message], accounts: frozenset[bytes] | None) -> Iterator[Message]:
    """Those of the accounts (None: all). A record's clock is the newest time among its topic's before it: it is the record's own only where times
    never go back, so what is left out must not matter to it."""
    newest = 0
    for message in messages:
        assert message.time_ms >= newest, "the times of the load go back"
        newest = message.time_ms
        if accounts is None or message.key in accounts:
            yield message


def before_brake(advisories: Iterable[Message]) -> int:
    """How many advisories stand before the first one that tells of a brake; all where none does."""
    return sum(1 for _ in takewhile(lambda message: not any(word in (message.value or b"") for word in BRAKE_WORDS), advisories))


def journal_of(messages: Iterable[Message], unbraked: int) -> tuple[list[JournalRecord], int, int]:
    """The journal's records before the one with which there are more than ``unbraked`` advisories, without what they touched and said; how many
    there are in all; and how many changes those before it announced."""
    before: list[JournalRecord] = []
    total = announced = advisories = 0
    for message in messages:
        total += 1
        if advisories > unbraked:
            continue
        record = JournalRecord.decode(message.value or b"")
        topics = Counter(ref.topic for ref in record.output_refs)
        advisories += topics[ADVISORIES.name]
        if advisories <= unbraked:
            announced += topics[CHANGES.name]
            before.append(replace(record, accounts=States.of(()), said=()))
    return before, total, announced


def compare(records: list[JournalRecord], inputs: Shard, changes: Iterable[Message], *, is_whole: bool) -> None:
    """Raises AssertionError where what was announced is not what the oracle decides. ``is_whole``: the records
    are a journal in which every input must have been taken."""
    reached: defaultdict[str, int] = defaultdict(int)
    for cut in (cut for record in records for cut in record.cuts):
        assert cut.first == reached[cut.topic], f"{cut.topic}: a batch begins at {cut.first}, and not at {reached[cut.topic]}"
        reached[cut.topic] = cut.next
    for topic, held in inputs.items():
        name = INPUTS[topic].name
        assert not is_whole or not len(held) or held.offsets[-1] < reached[name], f"{name}: {held.offsets[-1]} was never taken"
    if not records:
        return
    told: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for message in changes:
        plain = json.loads(message.value or b"")
        told[plain["account_id"]].append(plain)
    folded = fold(records, inputs)
    assert not folded.braked, "the sample alone makes the oracle brake: it has to be smaller"
    assert_told(folded, told)
