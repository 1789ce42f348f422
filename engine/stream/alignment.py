"""The shard's topics in step: which records make the next batch, and in which order.

Theory of operation. Each topic keeps its offset order and has a clock, the running maximum of its record times. The merged order is that of
(topic clock at the record, topic's rank, offset). Of a topic that has more to read than lies here, the records to come stand behind its
newest one in that order; so a batch ends at the smallest of these newest ones, and a catch-up after an outage decides as a quiet day would. A
topic of which nothing more can be read holds nobody back. Over the same records the order does not depend on where batches are cut.

The merged order of what lies here up to that end is worked out once and then taken from batch by batch: what is still to come stands behind
it. Only records of a topic of which nothing more could be read then may stand before; when such come, it is worked out again.

A control record changes what the others mean, so it makes a batch of its own; without a policy control records are all that is taken, whatever
their time. The clock that a record is decided at is the largest topic clock that the merge has let through, and never less than the last tick.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from engine.core.layout import MISSING, Topic
from engine.core.packed import within_distinct
from engine.core.tables import Ints
from engine.stream.records import Batch, Chunk, Delivery

NEVER: Final = MISSING
Number = TypeVar("Number", np.int64, np.uint64)


class GapError(Exception):
    """A delivery does not continue where the last one ended: the transport must seek to ``expected``."""

    def __init__(self, topic: Topic, expected: int, found: int) -> None:
        super().__init__(f"{topic.name.lower()}: expected offset {expected}, got {found}")


@dataclass(slots=True)
class _Lane:
    """One topic's part: what is buffered, and where it stands."""

    topic: Topic
    taken: int = 0  # offset from which the next batch continues
    position: int = 0  # offset up to which records lie here
    stable: int | None = None  # how far could be read; None: not known yet
    clock_ms: int = NEVER
    chunks: deque[Chunk] = field(default_factory=deque)
    count: int = 0
    bytes: int = 0  # of memory that the buffered records take

    @property
    def lags(self) -> bool:
        """Whether more can be read than lies here."""
        return self.stable is None or self.position < self.stable

    def times(self) -> Ints:
        """The topic's clock at each buffered record."""
        times = np.concatenate([np.zeros(0, np.int64), *(chunk.times_ms for chunk in self.chunks)])
        return np.maximum(np.maximum.accumulate(times), self.clock_ms)

    def head(self, most: int) -> Chunk:
        """The first ``most`` buffered records."""
        parts, left = [], most
        for chunk in self.chunks:
            if left > 0:
                parts.append(chunk.slice(0, left))
                left -= len(chunk)
        return Chunk.joined(self.topic, parts)

    def drop(self, count: int) -> None:
        """Forget the first ``count`` buffered records."""
        self.count -= count
        while count:
            chunk = self.chunks.popleft()
            if len(chunk) > count:
                self.chunks.appendleft(chunk.slice(count, len(chunk)))
                chunk = chunk.slice(0, count)
            self.bytes -= chunk.memory_bytes()
            count -= len(chunk)


@dataclass(frozen=True, slots=True)
class _Order:
    """Records in merged order: the topic's clock at each, and its topic's rank, both (n,) int64."""

    times: Ints
    ranks: Ints

    @classmethod
    def empty(cls) -> _Order:
        """No records."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.ranks)

    def first(self, count: int) -> _Order:
        """At most the first ``count``."""
        return self if count >= len(self) else _Order(self.times[:count], self.ranks[:count])

    def after(self, count: int) -> _Order:
        """What stands behind the first ``count``."""
        return _Order(self.times[count:], self.ranks[count:])

    def counts(self) -> Ints:
        """How many there are of each topic, by rank."""
        return np.bincount(self.ranks, minlength=len(Topic))


class Alignment:
    """The buffers of one shard."""

    def __init__(self) -> None:
        self._lanes = {topic: _Lane(topic) for topic in Topic}
        self._next = _Order.empty()
        self._expected: set[Topic] = set()  # of which more was to come when ``_next`` was worked out
        self.tick_ms = NEVER

    def restore(self, next_offsets: Mapping[Topic, int], clocks_ms: Mapping[Topic, int], tick_ms: int) -> None:
        """Begin again: empty buffers, at these offsets, topic clocks and tick."""
        self._lanes = {
            topic: _Lane(topic, taken=next_offsets.get(topic, 0), position=next_offsets.get(topic, 0), clock_ms=clocks_ms.get(topic, NEVER))
            for topic in Topic
        }
        self._next = _Order.empty()
        self.tick_ms = tick_ms

    def positions(self) -> dict[Topic, int]:
        """The offset that each topic's next delivery must begin at."""
        return {topic: lane.position for topic, lane in self._lanes.items()}

    def buffered(self, topic: Topic) -> int:
        """Number of records that lie here of a topic."""
        return self._lanes[topic].count

    def buffered_bytes(self, topic: Topic) -> int:
        """How much memory what lies here of a topic takes, about."""
        return self._lanes[topic].bytes

    def memory_bytes(self) -> int:
        """Likewise of all topics."""
        return sum(lane.bytes for lane in self._lanes.values())

    def is_read(self, topic: Topic) -> bool:
        """Whether nothing more of a topic can be read, and none of its records lies here."""
        return not self._lanes[topic].lags and not self._lanes[topic].count

    def lag(self) -> int:
        """Records that lie here or could be read, over all topics (a bound: the latter may be markers of transactions). A topic that nothing is
        known of yet counts as one."""
        return sum(lane.count + (1 if lane.stable is None else max(0, lane.stable - lane.position)) for lane in self._lanes.values())

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery in; what lies here already is left out. Raises GapError."""
        lane = self._lanes[delivery.chunk.topic]
        if delivery.first > lane.position:
            raise GapError(lane.topic, lane.position, delivery.first)
        chunk = delivery.chunk
        assert not len(chunk) or delivery.first <= chunk.offsets[0] <= chunk.offsets[-1] < delivery.next, "records outside their delivery"
        known = int(np.searchsorted(chunk.offsets, lane.position))
        if known:
            chunk = chunk.slice(known, len(chunk))
        if len(chunk):
            lane.chunks.append(chunk)
            lane.count += len(chunk)
            lane.bytes += chunk.memory_bytes()
            if lane.topic not in self._expected:
                self._next = _Order.empty()
        lane.position = max(lane.position, delivery.next)
        lane.stable = max(lane.stable or 0, delivery.stable)

    def take(self, events_max: int, accounts_max: int, bytes_max: int, *, has_policy: bool) -> Batch | None:
        """The next batch within these bounds (but at least one record), None if there is none yet."""
        if not has_policy:
            return self._control_batch() if self._lanes[Topic.CONTROL].count else None
        if not len(self._next):
            self._next = self._in_step()
        order = self._next.first(events_max)
        if not len(order):
            return None
        controls = np.flatnonzero(order.ranks == Topic.CONTROL)
        if len(controls):
            if controls[0] == 0:
                return self._control_batch()
            order = order.first(int(controls[0]))
        heads = {Topic(rank): self._lanes[Topic(rank)].head(int(count)) for rank, count in enumerate(order.counts()) if count}
        order = order.first(min(within_accounts(heads, order.ranks, accounts_max), within_bytes(heads, order.ranks, bytes_max)))
        return self._cut(heads, order)

    def settle(self, batch: Batch, tick_ms: int) -> None:
        """The batch is decided with this tick, and let go of."""
        for topic, chunk in batch.chunks.items():
            lane = self._lanes[topic]
            lane.drop(len(chunk))
            _, lane.taken, lane.clock_ms = batch.cuts[topic]
        self._next = self._next.after(len(batch))
        self.tick_ms = tick_ms

    def _in_step(self) -> _Order:
        """The merged order of the buffered records that stand before everything that is still to come."""
        self._expected = {topic for topic, lane in self._lanes.items() if lane.lags}
        clocks = {topic: lane.times() for topic, lane in self._lanes.items() if lane.count}
        if not clocks:
            return _Order.empty()
        times = np.concatenate(list(clocks.values()))
        ranks = np.concatenate([np.full(len(own), topic, np.int64) for topic, own in clocks.items()])
        order = np.lexsort((ranks, times))  # stable: a topic's own records stay in order
        times, ranks = times[order], ranks[order]
        n = len(times)
        for topic, lane in self._lanes.items():
            if topic in self._expected:
                newest = int(clocks[topic][-1]) if topic in clocks else lane.clock_ms
                n = min(n, int(np.searchsorted(times, newest, "left")) + int(np.count_nonzero(ranks[times == newest] <= topic)))
        return _Order(times[:n], ranks[:n])

    def _control_batch(self) -> Batch:
        """The first control record alone. It moves the shard's clock only if a policy is in force already (``_cut``)."""
        lane = self._lanes[Topic.CONTROL]
        return self._cut({Topic.CONTROL: lane.head(1)}, _Order(lane.times()[:1], np.array([Topic.CONTROL], np.int64)))

    def _cut(self, heads: Mapping[Topic, Chunk], order: _Order) -> Batch:
        """The batch of these records; ``heads`` has at least as many of each topic."""
        chunks, cuts, index = {}, {}, np.zeros(len(order), np.int64)
        caught_up = True
        for (topic, lane), count in zip(self._lanes.items(), order.counts().tolist(), strict=True):
            if count:
                mine = order.ranks == topic
                index[mine] = np.arange(count)
                chunk = heads[topic].slice(0, count)
                after = lane.position if count == lane.count else int(chunk.offsets[-1]) + 1
                chunks[topic] = chunk
                cuts[topic] = (lane.taken, after, int(order.times[mine][-1]))
            caught_up &= not lane.lags and count == lane.count
        clock = np.maximum(order.times, self.tick_ms)
        return Batch(chunks, order.ranks, index, clock, cuts, int(clock[-1]), caught_up)


def in_order(heads: Mapping[Topic, Chunk], ranks: Ints, column: Callable[[Chunk], npt.NDArray[Number]]) -> npt.NDArray[Number]:
    """A column of the merged records, by a function that gives it for each topic's own."""
    own = [(topic, column(head)) for topic, head in heads.items()]
    merged = np.zeros(len(ranks), own[0][1].dtype)
    for topic, values in own:
        mine = np.flatnonzero(ranks == topic)
        merged[mine] = values[: len(mine)]
    return merged


def within_bytes(heads: Mapping[Topic, Chunk], ranks: Ints, bytes_max: int) -> int:
    """How many of the first merged records have values of at most ``bytes_max`` together, at least 1. ``heads`` are their topics' records."""
    sizes = in_order(heads, ranks, lambda head: np.maximum(head.values.lengths(), 0))
    return max(1, int(np.searchsorted(np.cumsum(sizes), bytes_max, "right")))


def within_accounts(heads: Mapping[Topic, Chunk], ranks: Ints, accounts_max: int) -> int:
    """How many of the first merged records have at most ``accounts_max`` different keys. ``heads`` are their topics' records."""
    if len(ranks) <= accounts_max:
        return len(ranks)
    hashes = in_order(heads, ranks, lambda head: head.keys.hashes())
    return within_distinct(hashes, accounts_max, np.zeros(1 << (2 * accounts_max).bit_length(), np.uint64))
