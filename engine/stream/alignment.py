"""The shard's topics in step: which records make the next batch, and in which order.

Theory of operation. Each topic keeps its offset order and has a clock, the running maximum of its record times. The merged order is that of
(topic clock at the record, topic's rank, offset). Of a topic that has more to read than lies here, the records to come stand behind its
newest one in that order; so a batch ends at the smallest of these newest ones, and a catch-up after an outage decides as a quiet day would. A
topic of which nothing more can be read holds nobody back. Over the same records the order does not depend on where batches are cut.

A control record changes what the others mean, so it makes a batch of its own; without a policy control records are all that is taken, whatever
their time. The clock that a record is decided at is the largest topic clock that the merge has let through, and never less than the last tick.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.core.layout import MISSING, Topic
from engine.stream.records import Batch, Chunk, Delivery, Headers

Ints = npt.NDArray[np.int64]
NEVER: Final = MISSING


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

    @property
    def lags(self) -> bool:
        """Whether more can be read than lies here."""
        return self.stable is None or self.position < self.stable

    def head(self, most: int) -> Chunk:
        """The first ``most`` buffered records."""
        keys: list[bytes | None] = []
        values: list[bytes | None] = []
        offsets: list[int] = []
        times: list[int] = []
        headers: list[Headers] = []
        has_headers = False
        for chunk in self.chunks:
            part = chunk if len(offsets) + len(chunk) <= most else chunk.slice(0, most - len(offsets))
            offsets += part.offsets
            times += part.times_ms
            keys += part.keys
            values += part.values
            has_headers |= part.headers is not None
            headers += part.headers if part.headers is not None else [()] * len(part)
            if len(offsets) == most:
                break
        return Chunk(self.topic, offsets, times, keys, values, headers if has_headers else None)

    def drop(self, count: int) -> None:
        """Forget the first ``count`` buffered records."""
        self.count -= count
        while count:
            chunk = self.chunks.popleft()
            if len(chunk) > count:
                self.chunks.appendleft(chunk.slice(count, len(chunk)))
                return
            count -= len(chunk)


class Alignment:
    """The buffers of one shard."""

    def __init__(self) -> None:
        self._lanes = {topic: _Lane(topic) for topic in Topic}
        self.tick_ms = NEVER

    def restore(self, next_offsets: Mapping[Topic, int], clocks_ms: Mapping[Topic, int], tick_ms: int) -> None:
        """Begin again: empty buffers, at these offsets, topic clocks and tick."""
        self._lanes = {
            topic: _Lane(topic, taken=next_offsets.get(topic, 0), position=next_offsets.get(topic, 0), clock_ms=clocks_ms.get(topic, NEVER))
            for topic in Topic
        }
        self.tick_ms = tick_ms

    def positions(self) -> dict[Topic, int]:
        """The offset that each topic's next delivery must begin at."""
        return {topic: lane.position for topic, lane in self._lanes.items()}

    def buffered(self, topic: Topic) -> int:
        """Number of records that lie here of a topic."""
        return self._lanes[topic].count

    def lag(self) -> int:
        """Records that lie here or could be read, over all topics (a bound: the latter may be markers of transactions)."""
        return sum(lane.count + max(0, (lane.stable or 0) - lane.position) for lane in self._lanes.values())

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery in; what lies here already is left out. Raises GapError."""
        lane = self._lanes[delivery.chunk.topic]
        if delivery.first > lane.position:
            raise GapError(lane.topic, lane.position, delivery.first)
        chunk = delivery.chunk
        assert not chunk.offsets or delivery.first <= chunk.offsets[0] <= chunk.offsets[-1] < delivery.next, (
            "records outside their delivery"
        )
        known = int(np.searchsorted(chunk.offsets, lane.position)) if chunk.offsets else 0
        if known:
            chunk = chunk.slice(known, len(chunk))
        if len(chunk):
            lane.chunks.append(chunk)
            lane.count += len(chunk)
        lane.position = max(lane.position, delivery.next)
        lane.stable = max(lane.stable or 0, delivery.stable)

    def take(self, events_max: int, accounts_max: int, *, has_policy: bool) -> Batch | None:
        """The next batch, None if there is none yet."""
        control = self._lanes[Topic.CONTROL]
        if not has_policy:
            return self._control_batch() if control.count else None
        heads = {topic: lane.head(events_max) for topic, lane in self._lanes.items() if lane.count}
        if not heads:
            return None
        times, ranks, index = self._merged(heads)
        n = self._in_step(heads, times, ranks)
        controls = np.flatnonzero(ranks[:n] == Topic.CONTROL)
        if len(controls):
            if controls[0] == 0:
                return self._control_batch()
            n = int(controls[0])
        n = within_accounts(heads, ranks, index, min(n, events_max), accounts_max)
        return self._cut(heads, times[:n], ranks[:n], index[:n]) if n else None

    def settle(self, batch: Batch, tick_ms: int) -> None:
        """The batch is committed with this tick."""
        for topic, chunk in batch.chunks.items():
            lane = self._lanes[topic]
            lane.drop(len(chunk))
            _, lane.taken, lane.clock_ms = batch.cuts[topic]
        self.tick_ms = tick_ms

    def _merged(self, heads: Mapping[Topic, Chunk]) -> tuple[Ints, Ints, Ints]:
        """Topic clock, rank and index in its head of every buffered record, in merged order."""
        times = np.concatenate(
            [
                np.maximum(np.maximum.accumulate(np.array(head.times_ms, np.int64)), self._lanes[topic].clock_ms)
                for topic, head in heads.items()
            ]
        )
        ranks = np.concatenate([np.full(len(head), topic, np.int64) for topic, head in heads.items()])
        index = np.concatenate([np.arange(len(head)) for head in heads.values()])
        order = np.lexsort((index, ranks, times))
        return times[order], ranks[order], index[order]

    def _in_step(self, heads: Mapping[Topic, Chunk], times: Ints, ranks: Ints) -> int:
        """How many records of the merged order stand before everything that is still to come."""
        n = len(times)
        for topic, lane in self._lanes.items():
            here = len(heads[topic]) if topic in heads else 0
            if not lane.lags and here == lane.count:
                continue
            newest = int(times[ranks == topic].max()) if here else lane.clock_ms
            n = min(n, int(np.searchsorted(times, newest, "left")) + int(np.count_nonzero(ranks[times == newest] <= topic)))
        return n

    def _control_batch(self) -> Batch:
        """The first control record alone. It moves the shard's clock only if a policy is in force already (``_cut``)."""
        head = self._lanes[Topic.CONTROL].head(1)
        time = np.maximum(np.array(head.times_ms, np.int64), self._lanes[Topic.CONTROL].clock_ms)
        return self._cut({Topic.CONTROL: head}, time, np.array([Topic.CONTROL], np.int64), np.zeros(1, np.int64))

    def _cut(self, heads: Mapping[Topic, Chunk], times: Ints, ranks: Ints, index: Ints) -> Batch:
        chunks, cuts = {}, {}
        caught_up = True
        for topic, lane in self._lanes.items():
            count = int(np.count_nonzero(ranks == topic))
            if count:
                chunk = heads[topic].slice(0, count)
                after = lane.position if count == lane.count else chunk.offsets[-1] + 1
                chunks[topic] = chunk
                cuts[topic] = (lane.taken, after, int(times[ranks == topic][-1]))
            caught_up &= not lane.lags and count == lane.count
        clock = np.maximum(times, self.tick_ms)
        return Batch(chunks, ranks, index, clock, cuts, int(clock[-1]), caught_up)


def within_accounts(heads: Mapping[Topic, Chunk], ranks: Ints, index: Ints, n: int, accounts_max: int) -> int:
    """How many of the first ``n`` merged records have at most ``accounts_max`` different keys."""
    if n <= accounts_max:
        return n
    seen: set[bytes | None] = set()
    keys = {int(topic): head.keys for topic, head in heads.items()}
    for place, (rank, i) in enumerate(zip(ranks[:n].tolist(), index[:n].tolist(), strict=True)):
        seen.add(keys[rank][i])
        if len(seen) > accounts_max:
            return place
    return n
