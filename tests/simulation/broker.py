"""Kafka as far as the protocol leans on it: logs with offsets, transactions with epochs, and what of them may be read.

A transaction's end is decided in one moment and its markers reach the partitions after it, each at its own time: until all have, the
transactional id answers that it is busy. A request to end a transaction ends whichever is open under its epoch; a transaction that is open for
too long is aborted, and its producer fenced.

A broker that dies there may lose markers (``loses``): the transaction counts as complete, and what it has written hangs where it has no marker.
The next marker of the same producer ends that, too, as it ends its own. The answer to who has asked for the end may still come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidProducerEpoch,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
)

from engine.stream.records import Headers
from schemas.topics import JOURNAL
from tests.simulation.network import Network

OPEN: Final = "open"
COMMITTED: Final = "committed"
ABORTED: Final = "aborted"


@dataclass(slots=True, eq=False)
class Transaction:
    """From the first partition to the last marker."""

    producer: int
    epoch: int
    fate: str = OPEN
    partitions: set[str] = field(default_factory=set)
    unmarked: set[str] = field(default_factory=set)  # decided, and no marker there yet


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in a log, or (``is_marker``) the end of a transaction."""

    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    transaction: Transaction | None
    is_marker: bool = False


class Log:
    """One partition."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.begins = 0  # what lies before is deleted; the auditor still sees it
        self._undecided: dict[Transaction, int] = {}  # to its first offset
        self.fates: dict[Transaction, str] = {}  # as markers have it

    @property
    def end(self) -> int:
        """The offset that the next record gets."""
        return len(self.entries)

    @property
    def stable(self) -> int:
        """The last stable offset."""
        return min(self._undecided.values(), default=self.end)

    def append(
        self, time_ms: int, key: bytes | None, value: bytes | None, headers: Headers = (), transaction: Transaction | None = None
    ) -> int:
        """Write a record; its offset."""
        offset = self.end
        if transaction is not None:
            self._undecided.setdefault(transaction, offset)
        self.entries.append(Entry(offset, time_ms, key, value, headers, transaction))
        return offset

    def mark(self, transaction: Transaction, time_ms: int) -> list[Transaction]:
        """Write a transaction's marker; those that hung here and that it has ended, too."""
        hung = [other for other in self._undecided if other.producer == transaction.producer and other is not transaction]
        for ended in (transaction, *hung):
            self._undecided.pop(ended, None)
            self.fates[ended] = transaction.fate
        self.entries.append(Entry(self.end, time_ms, None, None, (), transaction, is_marker=True))
        return hung

    def committed(self, first: int, end: int) -> Iterator[Entry]:
        """The records that a reader of committed ones gets between two offsets."""
        for entry in self.entries[first:end]:
            if not entry.is_marker and (entry.transaction is None or self.fates.get(entry.transaction) == COMMITTED):
                yield entry


@dataclass(slots=True)
class Transactional:
    """What a coordinator knows of a transactional id."""

    producer: int
    timeout_s: float
    epoch: int = -1
    now: Transaction | None = None
    last: str = ""  # the fate of the one before
    sequences: dict[str, tuple[int, int, dict[int, int]]] = field(default_factory=dict)  # by log: epoch, next sequence, offsets by sequence


class Broker:
    """One Kafka. Methods raise the error that it answers with."""

    def __init__(self, network: Network, chance: Random, wall_ms: Callable[[], int]) -> None:
        self.logs: dict[str, Log] = {}
        self.on_commit: Callable[[Transaction], None] = lambda _: None
        self.on_loss: Callable[[Transaction], None] = lambda _: None  # the journal's end of one that is committed
        self.on_death: list[Callable[[float], None]] = []  # of connections: it has died, and they notice in seconds
        self.loses = 0.0  # how often it dies between a transaction's end and the markers
        self._network = network
        self._chance = chance
        self._wall_ms = wall_ms
        self._ids: dict[str, Transactional] = {}

    def log(self, topic: str) -> Log:
        """A topic's only partition."""
        return self.logs.setdefault(topic, Log())

    def begin_producer(self, name: str, timeout_s: float) -> tuple[int, int]:
        """A producer id and an epoch: what the ones before have left open is aborted."""
        mine = self._ids.setdefault(name, Transactional(len(self._ids) + 1, timeout_s))
        if mine.now is not None:
            if mine.now.fate == OPEN:
                mine.epoch += 1
                self._decide(mine, ABORTED)
            raise ConcurrentTransactions
        mine.epoch += 1
        mine.last = ""
        mine.sequences.clear()
        return mine.producer, mine.epoch

    def add_partitions(self, name: str, epoch: int, topics: list[str]) -> None:
        """Let partitions take part in the open transaction, or begin one."""
        mine = self._of(name, epoch)
        if mine.now is not None and mine.now.fate != OPEN:
            raise ConcurrentTransactions
        if mine.now is None:
            mine.now = Transaction(mine.producer, epoch)
            self._network.later(mine.timeout_s, self._expire, mine, mine.now)
        mine.now.partitions.update(topics)

    def produce(
        self, name: str, epoch: int, topic: str, sequence: int, records: list[tuple[int, bytes | None, bytes | None, Headers]]
    ) -> int:
        """Write records; the first one's offset, also when they come once more."""
        mine = self._of(name, epoch)
        known_epoch, following, offsets = mine.sequences.get(topic, (epoch, 0, {}))
        if known_epoch == epoch and sequence in offsets:
            return offsets[sequence]
        if mine.now is None or mine.now.fate != OPEN or topic not in mine.now.partitions:
            raise InvalidTxnState
        if known_epoch != epoch:
            following, offsets = 0, {}
        if sequence != following:
            raise OutOfOrderSequenceNumber
        log = self.log(topic)
        first = log.end
        for time_ms, key, value, headers in records:
            log.append(time_ms, key, value, headers, mine.now)
        mine.sequences[topic] = (epoch, following + len(records), {**offsets, sequence: first})
        return first

    def end(self, name: str, epoch: int, *, is_commit: bool) -> None:
        """End the open transaction."""
        mine = self._of(name, epoch)
        fate = COMMITTED if is_commit else ABORTED
        if mine.now is None:
            if mine.last != fate:
                raise InvalidTxnState
        elif mine.now.fate == OPEN:
            self._decide(mine, fate)
        elif mine.now.fate == fate:
            raise ConcurrentTransactions
        else:
            raise InvalidTxnState

    def publish(self, topic: str, values: Sequence[tuple[bytes | None, bytes | None]], fate: str | None = None) -> None:
        """Write records of other producers; ``fate``: as a transaction that ends so at once."""
        log, now_ms = self.log(topic), self._wall_ms()
        transaction = None if fate is None else Transaction(0, 0, fate)
        for key, value in values:
            log.append(now_ms, key, value, (), transaction)
        if transaction is not None:
            log.mark(transaction, now_ms)

    def _of(self, name: str, epoch: int) -> Transactional:
        mine = self._ids[name]
        if epoch != mine.epoch:
            self._network.counts["fenced"] += 1
            raise InvalidProducerEpoch
        return mine

    def _decide(self, mine: Transactional, fate: str) -> None:
        transaction = mine.now
        assert transaction is not None
        transaction.fate, transaction.unmarked = fate, set(transaction.partitions)
        if self._chance.random() < self.loses:
            self._die(mine, transaction)
        if fate == COMMITTED:
            (self.on_loss if self._hangs(transaction, JOURNAL.name) else self.on_commit)(transaction)
        slow = self._chance.random() < 0.1
        for topic in sorted(transaction.unmarked):
            self._network.later(self._chance.uniform(0.0, 1.0 if slow else 0.004), self._mark, mine, transaction, topic)

    def _mark(self, mine: Transactional, transaction: Transaction, topic: str) -> None:
        hung = self.log(topic).mark(transaction, self._wall_ms())
        if topic == JOURNAL.name and transaction.fate == COMMITTED:
            for ended in hung:
                self.on_commit(ended)
        transaction.unmarked.discard(topic)
        if not transaction.unmarked:
            mine.now, mine.last = None, transaction.fate

    def _die(self, mine: Transactional, transaction: Transaction) -> None:
        """Lose some of a transaction's markers, and every connection."""
        self._network.counts["deaths"] += 1
        lost = [topic for topic in sorted(transaction.partitions) if self._chance.random() < 0.7]
        transaction.unmarked.difference_update(lost)
        if not transaction.unmarked:
            mine.now, mine.last = None, transaction.fate
        for cut in self.on_death:
            cut(self._chance.choice((0.0, 0.002, 0.01)))

    def _hangs(self, transaction: Transaction, topic: str) -> bool:
        """Whether something that a transaction wrote to a topic has no end there, and gets none by itself."""
        return topic not in transaction.unmarked and any(entry.transaction is transaction for entry in self.log(topic).entries)

    def _expire(self, mine: Transactional, transaction: Transaction) -> None:
        if transaction.fate == OPEN:
            self._network.counts["expired transactions"] += 1
            mine.epoch += 1
            self._decide(mine, ABORTED)
