"""The books of a deployment: all that Kafka holds of a shard, against itself and, in the end, against the store.

``audit_shard`` compares the journal and the changes with the oracle's fold of the inputs, and the journal with its own replay. Here is the rest:
that every output topic says what the journal says, each once and in order, that each rejected record is a dead letter once and as it came, and
that the store is byte for byte what the journal makes of it. Nothing is believed because a worker said so.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise, zip_longest
from multiprocessing import get_context
from typing import Any, Final, overload

import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition

from engine.core.layout import MISSING, Topic
from engine.policy.document import Policy
from engine.settings import Redis
from engine.state import keys
from engine.state.masters import connect
from engine.state.outputs import OutputRef
from engine.state.record import JournalRecord
from engine.state.redis_store import RedisStore
from engine.state.store import fields_of
from engine.stream.records import Chunk, Headers
from engine.stream.render import OUTPUT_SEQUENCE_HEADER
from schemas import cloudevents as ce
from schemas import dead_letters as names
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, INPUTS, JOURNAL
from tests.e2e.audit import Shard, activated, audit_shard, kind_of, rejects_of

AT_ONCE: Final = 10_000
TOLD_OF_DEAD: Final = {
    names.EXCEPTION, names.MESSAGE, names.STACKTRACE, names.TOPIC, names.PARTITION, names.OFFSET, names.TIMESTAMP, names.DISPOSITION,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """A committed record of a topic, as it lies there."""

    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Records(Sequence[JournalRecord]):
    """The records of a journal, decoded each time they are looked at: those of a shard that was flooded are some gigabytes."""

    def __init__(self, journal: Sequence[Message]) -> None:
        self._journal = journal

    def __len__(self) -> int:
        return len(self._journal)

    @overload
    def __getitem__(self, place: int) -> JournalRecord: ...

    @overload
    def __getitem__(self, place: slice) -> Records: ...

    def __getitem__(self, place: int | slice) -> JournalRecord | Records:
        return Records(self._journal[place]) if isinstance(place, slice) else JournalRecord.decode(self._journal[place].value or b"")


@dataclass
class Books:
    """What the topics hold of one shard, in offset order."""

    shard: int
    partitions: int
    inputs: Shard
    journal: list[Message]
    changes: list[Message]
    advisories: list[Message]
    dead_letters: list[Message]

    @property
    def records(self) -> Records:
        """The journal's records."""
        return Records(self.journal)

    def policy(self) -> Policy:
        """The version in force in the end, as the control records say."""
        rejected, control = rejects_of(self.records), self.inputs[Topic.CONTROL]
        taken = (
            value
            for offset, value in zip(control.offsets, control.values, strict=True)
            if (Topic.CONTROL, offset) not in rejected and kind_of(value) == "activate"
        )
        return activated(list(taken)[-1])


# Reading


def read_books(bootstrap: str, shard: int, partitions: int) -> Books:
    """Everything that is committed in partition ``shard`` of every topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "auditor",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.message.max.bytes": 16_000_000,
        }
    )
    try:
        inputs = {Topic(rank): chunk(Topic(rank), read(consumer, spec.name, shard)) for rank, spec in enumerate(INPUTS)}
        outputs = (list(read(consumer, spec.name, shard)) for spec in (JOURNAL, CHANGES, ADVISORIES, DEAD_LETTERS))
        return Books(shard, partitions, inputs, *outputs)
    finally:
        consumer.close()


def read(consumer: Consumer, topic: str, partition: int) -> Iterator[Message]:
    """The committed records of a partition, up to the end that it has now. ``consumer`` tells ends."""
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
    consumer.assign([TopicPartition(topic, partition, 0)])
    while end:
        for message in consumer.consume(AT_ONCE, timeout=0.2):
            error = message.error()
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                if (message.offset() or 0) >= end:
                    return
                continue
            headers: Any = message.headers()
            yield Message(message.offset() or 0, message.timestamp()[1], message.key(), message.value(), tuple(headers or ()))


def chunk(topic: Topic, messages: Iterable[Message]) -> Chunk:
    """Messages as columns, made part by part: a flooded topic has millions."""
    parts = [Chunk.of(topic, headers=[])]
    rest = iter(messages)
    while held := list(islice(rest, AT_ONCE)):
        columns = zip(*((m.offset, m.time_ms, m.key, m.value, m.headers) for m in held), strict=True)
        offsets, times_ms, keys_, values, headers = map(list, columns)
        parts.append(Chunk.of(topic, offsets, times_ms, keys_, values, headers))
    return Chunk.joined(topic, parts)


# Checking


def check_journal(books: Books) -> None:
    """One record a commit, in order, all of this shard and of one application."""
    assert all(a.offset < b.offset for a, b in pairwise(books.journal)), "the journal's offsets do not rise"
    tick_ms = MISSING
    for expected, record in enumerate(books.records, 1):
        assert record.sequence == expected, f"sequence {record.sequence} of the journal where {expected} comes next"
        assert record.tick_ms >= tick_ms, "the journal's ticks go back"
        assert (record.application, record.shard) == ("limits", books.shard), "another's record in the journal"
        tick_ms = record.tick_ms


def check_announced(books: Books) -> None:
    """What was announced is what the journal says, each once and in order, and the shard's numbers have no gap."""
    numbers: list[int] = []
    for name, told in ((CHANGES.name, books.changes), (ADVISORIES.name, books.advisories)):
        said = (ref for record in books.records for ref in record.output_refs if ref.topic == name)
        for place, (expected, message) in enumerate(zip_longest(said, told)):
            got = message and OutputRef.of(name, message.key, message.value, without_time(message.headers))
            assert expected == got, f"{name}, record {place}: it says {message}, which is {got}; the journal says {expected}"
        numbers += [int(dict(m.headers)[OUTPUT_SEQUENCE_HEADER] or b"") for m in told]
    for expected_number, number in enumerate(sorted(numbers), 1):
        assert number == expected_number, f"output {number} where {expected_number} comes next"


def check_dead_letters(books: Books) -> None:
    """Each rejected record is a dead letter once, in order, and as it came."""
    inputs = {INPUTS[topic].name: held for topic, held in books.inputs.items()}
    letters = [message for message in books.dead_letters if names.REPLAYED_AS not in dict(message.headers)]
    refs = [ref for record in books.records for ref in record.dead_letters]
    for ref, letter in zip_longest(refs, letters):
        assert ref is not None, f"a dead letter at {letter.offset} that the journal does not name"
        where = f"{ref.topic}@{ref.offset}"
        assert letter is not None, f"{where} was rejected, and there is no dead letter of it"
        held = inputs[ref.topic]
        place = int(np.searchsorted(held.offsets, ref.offset))
        assert held.offsets[place : place + 1].tolist() == [ref.offset], f"{where} was rejected, and is not there"
        told = dict(letter.headers)
        expected = {
            names.TOPIC: ref.topic,
            names.PARTITION: str(books.shard),
            names.OFFSET: str(ref.offset),
            names.TIMESTAMP: str(held.times_ms[place]),
            names.MESSAGE: ref.message,
            names.DISPOSITION: ref.disposition,
        }
        for name, value in expected.items():
            assert told.get(name) == value.encode(), f"the dead letter at {letter.offset} says {name} {told.get(name)!r}, not {value!r}"
        own = tuple((name, value) for name, value in letter.headers if name not in TOLD_OF_DEAD)
        came = (held.keys[place], held.values[place], held.headers[place] if held.headers else ())
        assert (letter.key, letter.value, own) == came, f"the dead letter at {letter.offset} is not {where} as it came"


def check_fold(books: Books, accounts: Mapping[bytes, bytes]) -> Counter[str]:
    """What ``audit_shard`` checks: the oracle's fold and the replay."""
    raw = [message.value or b"" for message in books.journal]
    changes = [json.loads(message.value or b"") for message in books.changes]
    return Counter(audit_shard(books.policy(), books.inputs, raw, changes, accounts, books.shard, books.partitions))


def check_store(books: Books, fields: Mapping[str, bytes], accounts: Mapping[bytes, bytes]) -> None:
    """The store is what the journal makes of it, byte for byte."""
    expected: dict[bytes, bytes] = {}
    told: dict[str, bytes] = {}
    for message, record in zip(books.journal, books.records, strict=True):
        told |= fields_of(record, message.offset)
        for account, state in record.accounts:
            if state is None:
                expected.pop(account, None)
            else:
                expected[account] = state
    assert fields.get(keys.SEQUENCE) == told.get(keys.SEQUENCE), (
        f"sequence {fields.get(keys.SEQUENCE)!r} is applied of {len(books.journal)}"
    )
    differing = sorted(name for name in told.keys() | fields.keys() if told.get(name) != fields.get(name))
    assert not differing, f"the store's fields {differing} are not the journal's"
    odd = sorted(account for account in expected.keys() | accounts.keys() if expected.get(account) != accounts.get(account))
    assert not odd, f"the store's accounts {odd[:3]} ({len(odd)} in all) are not the journal's"


def check_taken(books: Books) -> None:
    """Every input record was taken once: each topic's cuts join, and leave nothing behind them."""
    for topic, held in books.inputs.items():
        name, reached = INPUTS[topic].name, 0
        for cut in (cut for record in books.records for cut in record.cuts if cut.topic == name):
            assert cut.first == reached, f"{name}: a batch begins at {cut.first} where the one before it ended at {reached}"
            reached = cut.next
        assert not len(held) or held.offsets[-1] < reached, f"{name}: {held.offsets[-1]} was never taken: the last batch ended at {reached}"


def without_time(headers: Headers) -> Headers:
    """Headers but for the time of sending, which the journal does not have."""
    return tuple((name, value) for name, value in headers if name != ce.TIME)


def inconsistencies(books: Books, fields: Mapping[str, bytes], accounts: Mapping[bytes, bytes]) -> list[str]:
    """Where the topics and the store contradict each other, without deciding anything again: the first place that each check finds."""
    checks = (check_journal, check_announced, check_dead_letters)
    return failed(books.shard, *(partial(check, books) for check in checks), lambda: check_store(books, fields, accounts))


def problems(
    books: Books, fields: Mapping[str, bytes], accounts: Mapping[bytes, bytes], *, is_folded: bool = True
) -> tuple[Counter[str], list[str]]:
    """What was counted, and everything that is wrong with a shard. ``is_folded``: the oracle decides everything again; else only that nothing was
    left out is checked."""
    counts = Counter(commits=len(books.journal), advisories=len(books.advisories))
    found = inconsistencies(books, fields, accounts)
    if is_folded:
        found += failed(books.shard, lambda: counts.update(check_fold(books, accounts)))
    else:
        found += failed(books.shard, lambda: check_taken(books))
        counts += Counter(records=sum(record.events for record in books.records), accounts=len(accounts), changes=len(books.changes))
    return counts, found


def failed(shard: int, *checks: Callable[[], object]) -> list[str]:
    """What the checks that fail say."""
    found = []
    for check in checks:
        try:
            check()
        except Exception as error:  # whatever a spoilt log makes them stumble over
            found.append(f"shard {shard}: {told_of(error)}")
    return found


def told_of(error: Exception) -> str:
    """An error with the line of code that it comes from, if it says nothing itself."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} {error} at {frame.filename.rpartition('/')[2]}:{frame.lineno}: {frame.line}"


# A whole deployment


def audit_one(
    bootstrap: str, redis_url: str, application: str, shard: int, partitions: int, is_folded: bool
) -> tuple[Counter[str], list[str]]:
    """Read and check one shard."""
    fields, accounts = asyncio.run(stored(redis_url, application, shard))
    return problems(read_books(bootstrap, shard, partitions), fields, accounts, is_folded=is_folded)


async def stored(redis_url: str, application: str, shard: int) -> tuple[dict[str, bytes], dict[bytes, bytes]]:
    """What Redis holds of a shard."""
    client = connect(Redis(url=redis_url))
    store = RedisStore(client, application, shard)
    try:
        fields = await store.shard_fields()
        return fields, {account: value for bucket in range(keys.BUCKETS) async for account, value in store.accounts(bucket)}
    finally:
        await client.aclose()


def audit_books(
    bootstrap: str,
    redis_url: str,
    application: str,
    partitions: int,
    told: Callable[[int], Any] = lambda _: None,
    unfolded: Collection[int] = (),
) -> tuple[Counter[str], list[str]]:
    """Every shard, two at a time; what was counted, and everything that is wrong. ``told`` hears how many are done; ``unfolded`` are shards
    that have too many records for the oracle."""
    counts: Counter[str] = Counter()
    found: list[str] = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(audit_one, bootstrap, redis_url, application, shard, partitions, shard not in unfolded)
            for shard in range(partitions)
        ]
        for done, job in enumerate(jobs, 1):
            mine, wrong = job.result()
            counts += mine
            found += wrong
            told(done)
    return counts, found
