"""Drift and fairness in one report: collected record by record, then told as plain values."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from engine.monitor.announced import Announced
from engine.monitor.fairness import GroupRates, Groups, Outcomes, not_seen, rates_by_group, without_group
from engine.monitor.stability import FLOOR, MOVED, Sample, Stability, compare
from schemas.common import format_instant

PeriodName = Literal["reference", "actual"]


class Period(NamedTuple):
    """From an instant (inclusive) to another (exclusive), in milliseconds since 1970."""

    from_ms: int
    to_ms: int

    def __contains__(self, at_ms: object) -> bool:
        return isinstance(at_ms, int) and self.from_ms <= at_ms < self.to_ms

    def overlaps(self, other: Period) -> bool:
        """Whether there is an instant in both."""
        return self.from_ms < other.to_ms and other.from_ms < self.to_ms

    def plain(self) -> dict[str, str]:
        """As JSON tells it."""
        return {"from": format_instant(self.from_ms), "to": format_instant(self.to_ms)}

    def __str__(self) -> str:
        return f"{format_instant(self.from_ms)} to {format_instant(self.to_ms)}"


@dataclass(slots=True)
class Collected:
    """What was read of one period. Outcomes of accounts are kept only where there are groups to count them by."""

    keeps_outcomes: bool
    samples: dict[str, Sample] = field(default_factory=dict)
    outcomes: Outcomes = field(default_factory=Outcomes)
    versions: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    changes: int = 0
    advisories: int = 0

    def add_change(self, change: Announced) -> None:
        """Take a limit change in."""
        self.changes += 1
        self.versions[change.policy] += 1
        if change.evaluation is not None:
            self.samples.setdefault(change.evaluation.segment, Sample()).add(change.evaluation)
        if self.keeps_outcomes:
            self.outcomes.add(change.account, change.outcome)

    def add_advisory(self, advisory: Announced) -> None:
        """Take an advisory in."""
        self.advisories += 1
        if self.keeps_outcomes:
            self.outcomes.add(advisory.account, advisory.outcome)

    def told_versions(self) -> list[dict[str, Any]]:
        """The policies that decided, by name and version, with their changes."""
        return [
            {"policy": name, "version": version, "hash": hash_, "changes": n} for (name, version, hash_), n in sorted(self.versions.items())
        ]


@dataclass(frozen=True, slots=True)
class Fairness:
    """The rates by group, and how much of the file and of what was read they do not cover."""

    groups: list[GroupRates]
    lines_not_seen: list[int]
    accounts_without_group: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the command tells. ``fairness`` None: no groups were given."""

    periods: dict[PeriodName, Period]
    collected: dict[PeriodName, Collected]
    limit: float
    changes_min: int
    stabilities: list[Stability]
    fairness: Fairness | None

    @property
    def above(self) -> list[Stability]:
        """The indices above the limit."""
        return [one for one in self.stabilities if one.status == "above_limit"]

    @property
    def marked(self) -> list[tuple[str, str]]:
        """Group and outcome of the ratios to look at."""
        groups = self.fairness.groups if self.fairness is not None else []
        return [(one.group, rate.outcome) for one in groups for rate in one.rates or () if rate.marked]

    @property
    def is_nothing_judged(self) -> bool:
        """Whether no index could be told at all."""
        return all(one.psi is None for one in self.stabilities)

    @property
    def has_findings(self) -> bool:
        """Whether somebody should look: an index above the limit, a ratio that is marked, or nothing to judge by."""
        return bool(self.above or self.marked or self.is_nothing_judged)

    def plain(self) -> dict[str, Any]:
        """As JSON tells it; no account is in it, nor a line of the file."""
        collected = self.collected
        return {
            "periods": {
                name: period.plain()
                | {
                    "changes": collected[name].changes,
                    "evaluations": sum(sample.count for sample in collected[name].samples.values()),
                    "policies": collected[name].told_versions(),
                }
                for name, period in self.periods.items()
            },
            "stability": {
                "limit": self.limit,
                "moved_above": MOVED,
                "changes_min": self.changes_min,
                "share_floor": FLOOR,
                "indices": [asdict(one) for one in self.stabilities],
            },
            "fairness": None
            if self.fairness is None
            else {
                "groups": [asdict(group) for group in self.fairness.groups],
                "accounts_not_seen": len(self.fairness.lines_not_seen),
                "accounts_without_group": self.fairness.accounts_without_group,
            },
            "findings": {
                "above_limit": [[one.segment, one.feature or "score"] for one in self.above],
                "marked_ratios": [list(pair) for pair in self.marked],
                "nothing_judged": self.is_nothing_judged,
            },
        }


def reported(
    periods: dict[PeriodName, Period], collected: dict[PeriodName, Collected], limit: float, changes_min: int, fairness: Fairness | None
) -> Report:
    """The report of what was collected."""
    stabilities = compare(collected["reference"].samples, collected["actual"].samples, limit, changes_min)
    return Report(periods, collected, limit, changes_min, stabilities, fairness)


def fairness_of(groups: Groups, outcomes: Outcomes, reference: str, group_min: int) -> Fairness:
    """The fairness part of a report, of the actual period's outcomes."""
    return Fairness(rates_by_group(groups, outcomes, reference, group_min), not_seen(groups, outcomes), without_group(groups, outcomes))
