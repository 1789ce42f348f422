"""What a shard has counted for the portfolio's brakes, as a field of its hash, and its share of what the policy allows (docs/policy.md §9c)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Self

from engine.core import layout
from engine.core.brakes import TRIPPED_AND_TOLD
from engine.core.tables import SEGMENT, Ints, Ru, Se
from engine.policy.document import Policy
from engine.policy.units import date_of


@dataclass(frozen=True, slots=True)
class Counts:
    """One segment's: the policy day (0: none yet) and, of it, by how much limits were raised, how many accounts were evaluated, how many limits
    lowered, and whether the budget was told to be spent; whether the breaker is tripped; how many decreases by the appetite are still expected.
    """

    day: int = 0
    raised_minor: int = 0
    evaluated: int = 0
    lowered: int = 0
    is_told: bool = False
    is_tripped: bool = False
    expected_decreases: int = 0


@dataclass(frozen=True, slots=True)
class Brakes:
    """The counts of every segment that has brakes, by its name."""

    by_segment: Mapping[str, Counts]

    def encode(self) -> bytes:
        """As a field of the shard hash."""
        plain = {name: asdict(counts) for name, counts in self.by_segment.items()}
        return json.dumps(plain, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Inverse of ``encode``; nothing was counted yet where there is nothing."""
        return cls({name: Counts(**plain) for name, plain in json.loads(raw or b"{}").items()})

    @classmethod
    def read(cls, program: Ints, policy: Policy) -> Self:
        """What the kernel has counted in a compiled policy's program."""
        found: dict[str, Counts] = {}
        for segment in policy.segments:
            if segment.brakes is not None:
                at = place_of(program, segment.name)
                day, raised, evaluated, lowered, told, tripped, expected = program[at + Se.BRAKE_DAY : at + Se.EXPECTED + 1].tolist()
                found[segment.name] = Counts(day, raised, evaluated, lowered, told != 0, tripped != 0, expected)
        return cls(found)

    def write(self, program: Ints, policy: Policy, shard: int, partitions: int) -> None:
        """Let the kernel go on from these counts, with the shard's share of what the policy allows."""
        for segment in policy.segments:
            at = place_of(program, segment.name)
            brakes = segment.brakes
            if brakes is None:
                continue
            counts = self.by_segment.get(segment.name, Counts())
            if brakes.budget_minor is not None:
                program[at + Se.BUDGET] = share(brakes.budget_minor, shard, partitions)
            if brakes.breaker is not None:
                program[at + Se.MIN_EVALUATIONS] = share(brakes.breaker.min_evaluations, shard, partitions)
            tripped = TRIPPED_AND_TOLD if counts.is_tripped else 0
            told = counts.day, counts.raised_minor, counts.evaluated, counts.lowered, counts.is_told, tripped, counts.expected_decreases
            program[at + Se.BRAKE_DAY : at + Se.EXPECTED + 1] = told

    def under(self, policy: Policy) -> Brakes:
        """As a newly activated version of the policy goes on from them: what it has no brake for is forgotten."""
        kept: dict[str, Counts] = {}
        for segment in policy.segments:
            if segment.brakes is not None:
                counts = self.by_segment.get(segment.name, Counts())
                if segment.brakes.budget_minor is None:
                    counts = replace(counts, raised_minor=0, is_told=False)
                if segment.brakes.breaker is None:
                    counts = replace(counts, evaluated=0, lowered=0, is_tripped=False, expected_decreases=0)
                kept[segment.name] = counts
        return Brakes(kept)

    def released(self, segment: str | None) -> Brakes:
        """These with the tripped breakers of a segment, or of all, released."""
        return Brakes(
            {
                name: replace(counts, is_tripped=False, lowered=0, evaluated=0) if counts.is_tripped and segment in (name, None) else counts
                for name, counts in self.by_segment.items()
            }
        )

    def expecting(self, segment: str, decreases: int) -> Brakes:
        """These with so many decreases by a segment's appetite expected."""
        if segment not in self.by_segment:
            return self
        return Brakes({**self.by_segment, segment: replace(self.by_segment[segment], expected_decreases=decreases)})


def share(total: int, shard: int, partitions: int) -> int:
    """A shard's share of a number: all shards' shares together are the number."""
    return total // partitions + (shard < total % partitions)


def place_of(program: Ints, segment: str) -> int:
    """Where a segment's entry stands in a program."""
    return int(program[Ru.SEGMENTS]) + layout.Segment[segment.upper()] * SEGMENT


def check_breaker(policy: Policy, segment: str | None) -> None:
    """Raise ValueError if a policy has no breaker in a segment, or in none."""
    braked = [each.name for each in policy.segments if each.brakes is not None and each.brakes.breaker is not None]
    if not braked or segment not in (None, *braked):
        where = "any segment" if segment is None else f"segment {segment}"
        raise ValueError(
            f"the policy in force, {policy.policy} version {policy.version}, has no breaker in {where}: write one under segments.brakes.breaker"
        )


def told(policy: Policy, brakes: Brakes, shard: int, partitions: int) -> list[dict[str, object]]:
    """What a shard has counted, by segment, beside its share of what the policy allows, as JSON tells it."""
    found: list[dict[str, object]] = []
    for segment in policy.segments:
        if segment.brakes is None:
            continue
        counts, budget, breaker = brakes.by_segment.get(segment.name, Counts()), segment.brakes.budget_minor, segment.brakes.breaker
        found.append(
            {
                "segment": segment.name,
                "day": date_of(counts.day) if counts.day else None,
                "raised_minor": counts.raised_minor,
                "budget_minor": None if budget is None else share(budget, shard, partitions),
                "evaluated": counts.evaluated,
                "lowered": counts.lowered,
                "expected_decreases": counts.expected_decreases,
                "breaker": None if breaker is None else "tripped" if counts.is_tripped else "ready",
            }
        )
    return found
