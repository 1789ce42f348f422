"""Dead letters: the record as it came, with why it was not taken in headers; and the limit above which a shard stops instead.

A topic must never be drained into the dead letters because a producer changed its format: a run or a share of rejects above the limits stops
the shard, and names the cure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

import numpy as np

from engine.state.outputs import Output, Outputs
from engine.state.record import DeadLetterRef
from engine.stream.records import TOPICS, Batch
from schemas import dead_letters as names
from schemas.topics import DEAD_LETTERS

WINDOW_RECORDS: Final = 2_000
ENOUGH_RECORDS: Final = 200
CURES: Final = {
    "misrouted": "its producer must place keys by Kafka's murmur2 (librdkafka: partitioner=murmur2_random)",
    "key_mismatch": "its producer must key every record by its account_id",
    "currency_mismatch": "one deployment has one currency, its policy's",
}
OTHERWISE: Final = "mend its producer (the dead-letters topic has the records with their reasons)"


def dead_letters(batch: Batch, refs: Iterable[DeadLetterRef], shard: int) -> Outputs:
    """The dead letters that a journal record names, with the bytes that came."""
    found = []
    for ref in refs:
        topic = TOPICS[ref.topic]
        chunk = batch.chunks[topic]
        i = int(np.searchsorted(chunk.offsets, ref.offset))
        told = {
            names.EXCEPTION: "org.credit-limit-engine.Refusal",
            names.MESSAGE: ref.message,
            names.STACKTRACE: "",
            names.TOPIC: ref.topic,
            names.PARTITION: str(shard),
            names.OFFSET: str(ref.offset),
            names.TIMESTAMP: str(chunk.times_ms[i]),
            names.DISPOSITION: ref.disposition,
        }
        own = chunk.headers[i] if chunk.headers is not None else ()
        headers = (*own, *((name, value.encode()) for name, value in told.items()))
        # A record without key and value could not be told from nothing: keys and values stay as they came, None included.
        found.append(Output(DEAD_LETTERS.name, chunk.keys[i], chunk.values[i], headers))  # type: ignore[arg-type]
    return Outputs.of(found)


class RejectLimit:
    """Watches the rejects of a shard's last batches."""

    def __init__(self, ratio_max: float, run_max: int) -> None:
        self._ratio_max = ratio_max
        self._run_max = run_max
        self._batches: deque[tuple[int, int]] = deque()
        self._run = 0

    def problem(self, records: int, refs: tuple[DeadLetterRef, ...]) -> tuple[str, str] | None:
        """What is wrong and its cure if a batch of ``records`` with these rejects goes beyond a limit, else None."""
        self._run = self._run + len(refs) if len(refs) == records else 0
        self._batches.append((records, len(refs)))
        while sum(n for n, _ in self._batches) - self._batches[0][0] >= WINDOW_RECORDS:
            self._batches.popleft()
        seen, rejected = (sum(column) for column in zip(*self._batches, strict=True))
        is_within = self._run <= self._run_max and (seen < ENOUGH_RECORDS or rejected <= self._ratio_max * seen)
        if is_within or not refs:  # a share can also rise because good records leave the window: that stops nobody
            return None
        worst = max({ref.disposition for ref in refs}, key=lambda disposition: sum(ref.disposition == disposition for ref in refs))
        topic = next(ref.topic for ref in refs if ref.disposition == worst)
        what = f"{rejected} of the last {seen} records are rejected, most as {worst} in {topic}"
        return what, f"{CURES.get(worst, OTHERWISE)}; or raise LIMITS_SHARD__REJECT_RATIO_MAX to let them pass, and start the worker again"
