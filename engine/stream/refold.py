"""The machine of a rebuild from the inputs: a shard's batches once more, measured and not judged (``engine.core.refold``).

Where an account is in what was announced of it is told by its row alone, by the number of its last change; so a rebuild that was broken off
goes on from the state that it has written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import FIGURES, MISSING, Col, Ev, Topic, Verdict
from engine.core.packed import Packed
from engine.core.refold import SAID_COLUMNS, Span, refold, restore_standings
from engine.core.tables import FACTS, Ints
from engine.state.cache import Room
from engine.state.outputs import NO_OUTPUTS, Outputs
from engine.state.record import JournalRecord
from engine.state.states import States
from engine.stream.decode.columns import epoch_ms
from engine.stream.turn import DecisionMachine, Prepared
from engine.stream.witness import Change, Witness
from schemas.control import ReleaseBreaker

REFOLDED: Final = "refolded"


class Refold(DecisionMachine):
    """Says nothing. ``taken`` is where each topic stands before the next batch; nothing is known of the time before ``horizon_ms``."""

    def __init__(
        self, application: str, shard: int, partitions: int, key: FingerprintKey, room: Room, witness: Witness, horizon_ms: int
    ) -> None:
        super().__init__(application, shard, partitions, key, room)
        self.taken: dict[Topic, int] = {}
        self._released: dict[str | None, int] = {}  # when breakers were released, by segment; None: all
        self._witness = witness
        self._horizon_ms = horizon_ms

    def _decide(self, prepared: Prepared) -> tuple[States, Outputs, Counter[str], list[int]]:
        """See ``DecisionMachine``: the same of records that were decided before."""
        policy, cache = self.policy, self._cache
        assert policy is not None
        assert cache is not None
        events, order, origin = self._events(prepared)
        profiles = prepared.decoded[Topic.PROFILE].profiles if Topic.PROFILE in prepared.decoded else np.zeros((0, FIGURES), np.int64)
        said: list[tuple[int, ...]] = []
        spans, accepted = np.zeros((len(Span), events.shape[1]), np.int64), np.zeros(events.shape[1], np.int64)
        passed = dict(self.taken)
        places: dict[bytes, int] = {}
        for place, number, index in zip(*(column.tolist() for column in (order, *origin(order))), strict=True):
            topic = Topic(number)
            chunk = prepared.batch.chunks[topic]
            account, offset = chunk.keys[index], int(chunk.offsets[index])
            assert account is not None
            passed[topic] = offset
            accepted[place] = topic is Topic.COMMAND and offset in self._witness.accepted
            changes = self._witness.changes.get(account)
            if changes is None:
                continue
            at = places[account] if account in places else self._next(changes, int(cache.rows[events[Ev.SLOT, place], Col.SEQUENCE]))
            before = at
            while at < len(changes) and is_before(changes[at], passed, int(events[Ev.CLOCK, place])):
                at += 1
            after = at
            while at < len(changes) and (changes[at].topic, changes[at].offset) == (topic, offset):
                at += 1
            spans[:, place] = len(said), after - before, len(said) + after - before, at - after
            said += [change.row for change in changes[before:at]]
            places[account] = at
        verdicts = np.full(events.shape[1], -1, np.int64)
        facts = np.zeros(FACTS, np.int64)
        refold(policy.program, cache.rows, events, order, profiles, matrix_of(said), spans, accepted, self._horizon_ms, verdicts, facts)
        open_lines = origin(np.flatnonzero(verdicts == Verdict.LINE_OPEN))[1].tolist()
        changed = (verdicts == Verdict.ACCEPTED) | (verdicts == Verdict.NO_PROFILE) | (verdicts == Verdict.FORGOTTEN)
        changed |= (spans[Span.BEFORE_COUNT] > 0) | (spans[Span.AFTER_COUNT] > 0)
        return cache.written(np.unique(events[Ev.SLOT, changed])), NO_OUTPUTS, Counter({REFOLDED: len(order)}), open_lines

    def _release(self, release: ReleaseBreaker) -> bool:
        """See ``DecisionMachine``; no breaker trips here, but when they were released counts."""
        self._released[release.segment] = epoch_ms(release.issued_at)
        return super()._release(release)

    def released_ms(self, segment: str) -> int:
        """When a segment's breaker was released last; MISSING if never."""
        return max(self._released.get(segment, MISSING), self._released.get(None, MISSING))

    def finish(self, accounts: Sequence[bytes], tick_ms: int) -> JournalRecord | None:
        """Put in force what is left to be said of accounts (ascending, admitted); None if there is nothing."""
        policy, cache = self.policy, self._cache
        assert policy is not None
        assert cache is not None
        slots = cache.slots(accounts)
        said: list[tuple[int, ...]] = []
        spans = np.zeros((len(Span), len(accounts)), np.int64)
        for place, (account, slot) in enumerate(zip(accounts, slots.tolist(), strict=True)):
            changes = self._witness.changes[account]
            left = changes[self._next(changes, int(cache.rows[slot, Col.SEQUENCE])) :]
            spans[Span.BEFORE, place], spans[Span.BEFORE_COUNT, place] = len(said), len(left)
            said += [change.row for change in left]
        if not said:
            return None
        mine = np.flatnonzero(spans[Span.BEFORE_COUNT] > 0)
        facts = np.zeros(FACTS, np.int64)
        restore_standings(policy.program, cache.rows, slots[mine], matrix_of(said), spans[:, mine], self._horizon_ms, facts)
        changed = cache.written(slots[mine])
        record = self._record(tick_ms, None)
        return replace(record, accounts=changed, counts=((REFOLDED, len(changed)),))

    def close(self, tick_ms: int, fields: dict[str, bytes]) -> JournalRecord:
        """The last record of a rebuild."""
        record = self._record(tick_ms, None)
        return replace(record, fields=tuple(sorted({**dict(record.fields), **fields}.items())))

    def missing(self, accounts: Sequence[bytes]) -> Packed:
        """Those of these accounts that must be admitted before ``finish``."""
        assert self._cache is not None
        self._cache.begin()
        self._cache.take(Packed.of(accounts), np.ones(len(accounts), np.bool_))
        return self._cache.missing()

    @staticmethod
    def _next(changes: Sequence[Change], sequence: int) -> int:
        """The place of the first change after a number."""
        return bisect_right(changes, sequence, key=lambda change: change.sequence)


def is_before(change: Change, passed: dict[Topic, int], clock_ms: int) -> bool:
    """Whether a change came before the record at hand: its own record did, or its tick was earlier."""
    return change.at_ms < clock_ms if change.topic is None else change.offset < passed.get(change.topic, 0)


def matrix_of(said: Sequence[tuple[int, ...]]) -> Ints:
    """(n, SAID_COLUMNS) the rows of changes."""
    return np.array(said, np.int64) if said else np.full((0, SAID_COLUMNS), MISSING, np.int64)
