"""The population stability index of the score and of each characteristic, between two periods.

With r and a the shares of a bin in the reference period and in the actual one, PSI = Σ (a − r) · (ln a − ln r) over the bins. A share
below ``FLOOR`` counts as ``FLOOR``, so that an empty bin weighs much and not infinitely. Each term is at least 0, whatever the shares; the
terms are added by ``math.fsum``, which does not depend on their order.

Only counts are kept, so the order of the records does not matter, nor does their number for memory: per characteristic, version of the
policy and bin how many values fell into it, the least and the greatest of them. Two versions of a policy may have other bins: a bound that
one of them has and that lies within a bin of the other (between its least and its greatest value) cannot be compared and is left out, which
merges the bins on both of its sides. Under one version no bound is ever left out.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from engine.monitor.announced import Evaluation

FLOOR: Final = 0.0001
MOVED: Final = 0.1
LIMIT: Final = 0.25
CHANGES_MIN: Final = 500
DECILES: Final = 10

Status = Literal["stable", "moved", "above_limit", "not_judged"]
Cells = dict[tuple[str, int | None], "Cell"]


@dataclass(slots=True)
class Cell:
    """The values of one bin of one version's scorecard."""

    count: int
    least: int
    greatest: int

    def add(self, value: int) -> None:
        """One more value."""
        self.count += 1
        self.least, self.greatest = min(self.least, value), max(self.greatest, value)


@dataclass(slots=True)
class Characteristic:
    """What a period's evaluations tell of one feature: bins by version and lower bound, and how often it was missing."""

    cells: Cells = field(default_factory=dict)
    missing: int = 0

    def add(self, version: str, value: int | None, at_least: int | None) -> None:
        """One more evaluation."""
        if value is None:
            self.missing += 1
            return
        cell = self.cells.get((version, at_least))
        if cell is None:
            self.cells[version, at_least] = Cell(1, value, value)
        else:
            cell.add(value)

    @property
    def count(self) -> int:
        """Evaluations that asked for the feature."""
        return self.missing + sum(cell.count for cell in self.cells.values())


@dataclass(slots=True)
class Sample:
    """A segment's evaluations in a period, each counted once."""

    scores: Counter[int] = field(default_factory=Counter)
    features: dict[str, Characteristic] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)

    def add(self, evaluation: Evaluation) -> None:
        """Count an evaluation, unless another change of it was counted."""
        if evaluation.identity in self._seen:
            return
        self._seen.add(evaluation.identity)
        self.scores[evaluation.score] += 1
        for row in evaluation.rows:
            self.features.setdefault(row.feature, Characteristic()).add(evaluation.version, row.value, row.at_least)

    @property
    def count(self) -> int:
        """Evaluations."""
        return len(self._seen)


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin and how many evaluations fell into it; ``at_least`` None: the lowest one. ``missing``: the bin of what is not known."""

    at_least: int | None
    missing: bool
    reference: int
    actual: int


@dataclass(frozen=True, slots=True)
class Stability:
    """The index of the score (``feature`` None) or of a characteristic of a segment; ``psi`` None: not judged, and ``why``.

    ``by_chance`` is about what two samples of this size from one and the same population would give. ``left_out`` are bounds that the
    versions of the policy do not share.
    """

    segment: str
    feature: str | None
    reference: int
    actual: int
    psi: float | None
    by_chance: float | None
    status: Status
    bins: tuple[Bin, ...] = ()
    left_out: tuple[int, ...] = ()
    why: str | None = None


def psi(reference: Sequence[int], actual: Sequence[int]) -> float:
    """The index of two rows of counts, bin by bin; neither row may be empty of counts."""
    in_reference, in_actual = sum(reference), sum(actual)
    shares = ((max(r / in_reference, FLOOR), max(a / in_actual, FLOOR)) for r, a in zip(reference, actual, strict=True))
    return math.fsum((a - r) * (math.log(a) - math.log(r)) for r, a in shares)


def by_chance(bins: int, reference: int, actual: int) -> float:
    """The expected index of two samples from one population with so many bins: (bins − 1) · (1/n + 1/m)."""
    return (bins - 1) * (1 / reference + 1 / actual)


def score_bounds(scores: Counter[int]) -> list[int]:
    """Where the bins of the score begin, by the deciles of the reference period.

    The k-th decile is the score at place ⌈k·n/10⌉ of the n ascending scores; a bin ends with each of them. One on which several deciles fall
    is a bin of its own, so that a score that many have is not merged with those below it.
    """
    n, places, below, bounds = scores.total(), list(range(1, DECILES)), 0, set()
    for score in sorted(scores):
        below += scores[score]
        here = [k for k in places if below * DECILES >= k * n]
        places = places[len(here) :]
        if here:
            bounds.add(score + 1)
        if len(here) > 1:
            bounds.add(score)
    return sorted(bounds)


def feature_bounds(cells: Iterable[tuple[tuple[str, int | None], Cell]]) -> tuple[list[int], list[int]]:
    """The bounds that all versions respect, and those that are left out; both ascending."""
    cells = list(cells)
    bounds = sorted({at_least for (_, at_least), _ in cells if at_least is not None})
    left_out = [bound for bound in bounds if any(cell.least < bound <= cell.greatest for _, cell in cells)]
    return [bound for bound in bounds if bound not in left_out], left_out


def compare(reference: dict[str, Sample], actual: dict[str, Sample], limit: float = LIMIT, least: int = CHANGES_MIN) -> list[Stability]:
    """The indices of every segment, by name: of its score, then of its features by name. What has fewer than ``least`` evaluations in a
    period is not judged."""
    found = []
    for segment in sorted(reference.keys() | actual.keys()):
        before, now = reference.get(segment, Sample()), actual.get(segment, Sample())
        found.append(_of_score(segment, before, now, limit, least))
        for feature in sorted(before.features.keys() | now.features.keys()):
            was, is_now = before.features.get(feature, Characteristic()), now.features.get(feature, Characteristic())
            found.append(_of_feature(segment, feature, was, is_now, limit, least))
    return found


def _of_score(segment: str, before: Sample, now: Sample, limit: float, least: int) -> Stability:
    if min(before.count, now.count) < least:
        return _not_judged(segment, None, before.count, now.count, least)
    bounds = score_bounds(before.scores)
    rows = [[0] * (len(bounds) + 1) for _ in range(2)]
    for row, scores in zip(rows, (before.scores, now.scores), strict=True):
        for score, count in scores.items():
            row[bisect_right(bounds, score)] += count
    bins = [Bin(at_least, False, r, a) for at_least, r, a in zip([None, *bounds], *rows, strict=True)]
    return _judged(segment, None, bins, [], limit)


def _of_feature(segment: str, feature: str, before: Characteristic, now: Characteristic, limit: float, least: int) -> Stability:
    if min(before.count, now.count) < least:
        return _not_judged(segment, feature, before.count, now.count, least)
    bounds, left_out = feature_bounds([*before.cells.items(), *now.cells.items()])
    rows = [[0] * (len(bounds) + 1) for _ in range(2)]
    for row, characteristic in zip(rows, (before, now), strict=True):
        for cell in characteristic.cells.values():
            row[bisect_right(bounds, cell.least)] += cell.count
    bins = [Bin(at_least, False, r, a) for at_least, r, a in zip([None, *bounds], *rows, strict=True)]
    return _judged(segment, feature, [*bins, Bin(None, True, before.missing, now.missing)], left_out, limit)


def _judged(segment: str, feature: str | None, bins: list[Bin], left_out: list[int], limit: float) -> Stability:
    """The index of bins; those that are empty in both periods are not told."""
    told = tuple(one for one in bins if one.reference or one.actual)
    before, now = [one.reference for one in told], [one.actual for one in told]
    index = psi(before, now)
    status: Status = "above_limit" if index > limit else "moved" if index > MOVED else "stable"
    chance = by_chance(len(told), sum(before), sum(now))
    return Stability(segment, feature, sum(before), sum(now), index, chance, status, told, tuple(left_out))


def _not_judged(segment: str, feature: str | None, reference: int, actual: int, least: int) -> Stability:
    what = "evaluations" if feature is None else "evaluations that ask for it"
    periods = [name for name, count in (("reference", reference), ("actual", actual)) if count < least]
    why = f"fewer than {least} {what} in the {' and the '.join(periods)} period"
    return Stability(segment, feature, reference, actual, None, None, "not_judged", why=why)
