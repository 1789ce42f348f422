"""The portfolio's brakes: what a shard keeps of its segments, whatever account brings it (docs/policy.md §9c)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from engine.policy import document as doc


def share(total: int, shard: int, partitions: int) -> int:
    """What a shard has of a number."""
    return total // partitions + (1 if shard < total % partitions else 0)


@dataclass
class Kept:
    """What is kept of a segment; day 0: nothing was evaluated yet."""

    day: int = 0
    raised: int = 0
    evaluated: int = 0
    lowered: int = 0
    expected: int = 0
    is_tripped: bool = False
    is_spent_told: bool = False


class Portfolio:
    """All segments of one shard. Its accounts share it, and come to it in the order in which they are evaluated."""

    def __init__(self, shard: int = 0, partitions: int = 1) -> None:
        self.shard = shard
        self.partitions = partitions
        self.kept: defaultdict[str, Kept] = defaultdict(Kept)

    def share(self, total: int) -> int:
        """What this shard has of a number."""
        return share(total, self.shard, self.partitions)

    # What a control record says

    def follow(self, policy: doc.Policy) -> None:
        """Another version is in force: what belongs to a brake that it does not have is forgotten."""
        brakes: dict[str, doc.Brakes] = {segment.name: segment.brakes or doc.Brakes() for segment in policy.segments}
        for name, kept in self.kept.items():
            has = brakes.get(name, doc.Brakes())
            if has.budget_minor is None:
                kept.raised, kept.is_spent_told = 0, False
            if has.breaker is None:
                kept.evaluated, kept.lowered, kept.expected, kept.is_tripped = 0, 0, 0, False

    def expect(self, segment: str, decreases: int) -> None:
        """Another appetite: so many decreases are expected of all shards, in place of what was left."""
        self.kept[segment].expected = self.share(decreases)

    def release(self, segment: str | None = None) -> None:
        """Let a tripped breaker go, of one segment or of all."""
        for name, kept in self.kept.items():
            if name == (segment or name) and kept.is_tripped:
                kept.is_tripped, kept.lowered, kept.evaluated = False, 0, 0

    # What an evaluation asks

    def begin(self, segment: doc.Segment, day: int, *, is_counted: bool) -> None:
        """An account is evaluated on a day of the shard's clock."""
        if not has_brakes(segment):
            return
        kept = self.kept[segment.name]
        if kept.day != day:
            kept.day, kept.raised, kept.evaluated, kept.lowered, kept.is_spent_told = day, 0, 0, 0, False
        kept.evaluated += is_counted

    def is_spent(self, segment: doc.Segment, rise: int) -> bool:
        """Whether the day's budget has no room for a rise."""
        if segment.brakes is None or segment.brakes.budget_minor is None:
            return False
        return self.kept[segment.name].raised + rise > self.share(segment.brakes.budget_minor)

    def raise_by(self, segment: doc.Segment, rise: int) -> None:
        """A limit was raised."""
        if has_brakes(segment):
            self.kept[segment.name].raised += rise

    def is_tripped(self, segment: doc.Segment) -> bool:
        """Whether the breaker has tripped."""
        return self.kept[segment.name].is_tripped

    def lets_lower(self, segment: doc.Segment, *, is_the_appetites: bool) -> bool:
        """Whether a decrease passes the breaker, which counts it, or trips."""
        breaker = segment.brakes.breaker if segment.brakes is not None else None
        if breaker is None:
            return True
        kept = self.kept[segment.name]
        if kept.is_tripped:
            return False
        if is_the_appetites and kept.expected > 0:
            kept.expected -= 1
            return True
        if (kept.lowered + 1) * 100 > breaker.percent * max(kept.evaluated, self.share(breaker.min_evaluations)):
            kept.is_tripped = True
            return False
        kept.lowered += 1
        return True

    def tell_spent(self, segment: doc.Segment) -> bool:
        """The budget has withheld something; whether that is to be told, as nothing was on this day."""
        kept = self.kept[segment.name]
        was_told, kept.is_spent_told = kept.is_spent_told, True
        return not was_told

    def brakes(self, segment: doc.Segment) -> tuple[int, int, int, int]:
        """The segment's day, and what was raised, evaluated and lowered; all 0 without brakes."""
        kept = self.kept[segment.name] if has_brakes(segment) else Kept()
        return kept.day, kept.raised, kept.evaluated, kept.lowered


def has_brakes(segment: doc.Segment) -> bool:
    """Whether a segment has a budget or a breaker."""
    return segment.brakes is not None and (segment.brakes.budget_minor is not None or segment.brakes.breaker is not None)
