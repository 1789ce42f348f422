"""Constant inputs come to rest: can a limit swing for ever because its own height is part of the score?

A score may look at the limit: at utilisation, which falls when the limit rises. The argument, for an account of which nothing changes but its
limit (docs/policy.md §9a says it to analysts):

- A limit that moves up and down for ever moves between targets of bands, and by the last move up the score falls far enough to leave the
  highest of these bands. That band was entered from below at a limit La with score >= lower + up_margin, and left at a limit Lb with score
  < lower - down_margin. In between the limit moved up only, so La < Lb.
- So from La to Lb the features that read the limit took more than up_margin + down_margin points away. Points that fall as utilisation
  rises do the opposite: with them the limit settles.
- No decrease goes below the exposure, so utilisation is at most 1 in all of it, and it is Lb / La times as high at La as at Lb.
- Steps, rounding, caps and the minimum change decide how far a swing goes, not whether there is one; requirements, consent and quiet hours only
  withhold. A swing has an increase and a decrease, so ``up_days``, ``down_days`` or ``notices.decrease_days`` put days between its turns.

Measures of usage look at utilisation too, as it was. While only time goes by nothing enters them; with records they follow the limit behind
time. Whose value can only rise with utilisation, and whose points do not, settles like utilisation itself; once anything else swings, or the
value may move either way, all its points between best and worst may come at the wrong time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Final

from engine.policy import document as doc
from engine.policy.errors import Path, Problem, listed
from engine.policy.expand import measures_read
from engine.policy.verify_appetite import stages

UTILISATION: Final = "utilisation_percent"
SUMS_MAX: Final = 10_000

# How a value may move when utilisation rises: not at all (it does not read the limit), up, down, or either way.
Ways = frozenset[int]
NO_WAY: Final[Ways] = frozenset()
UPWARDS: Final[Ways] = frozenset({1})
EITHER_WAY: Final[Ways] = frozenset({1, -1})


@dataclass(frozen=True)
class Swing:
    """A band that a limit can swing around: how many points its own height can take away, and which rows of the scorecard do that."""

    band: doc.Band
    points: int
    rows: tuple[int, ...]


def swing_problems(policy: doc.Policy) -> Iterator[Problem]:
    """Segments in which, under one or another appetite, a limit can swing, and no cool-down or notice puts days between its turns."""
    for i, segment in enumerate(policy.segments):
        if days_between_turns(segment) > 0:
            continue
        ladders = [segment.bands, *(bands for _, _, bands in stages(segment))]
        for ladder in ladders:
            if found := swings(policy, segment.model_copy(update={"bands": ladder})):
                yield _problem(segment, found[0], ("segments", i))
                break


def days_between_turns(segment: doc.Segment) -> int:
    """The least number of days that an up and down of a limit takes; 0 if it may take none."""
    return max(segment.cool_down.up_days, segment.cool_down.down_days, segment.notices.decrease_days)


def _problem(segment: doc.Segment, swing: Swing, path: Path) -> Problem:
    band, row = swing.band, swing.rows[0]
    names = listed([repr(segment.scorecard[row].feature) for row in swing.rows], "and")
    takes = "takes" if len(swing.rows) == 1 else "take"
    message = (
        f"as the limit rises {names} {takes} up to {swing.points} points away, more than the margins of {band.name!r}, "
        f"{band.up_margin} + {band.down_margin}: nothing keeps the limit from going up and down for ever"
    )
    hint = f"say up_days: 1 or more, margins of {swing.points} together, or points that do not rise with utilisation"
    return Problem((*path, "scorecard", row), message, hint)


def swings(policy: doc.Policy, segment: doc.Segment) -> list[Swing]:
    """The bands around which a limit of the segment can swing if nothing else changes, whatever slows it down."""
    readers = _Readers.of(policy, segment)
    found = (_swing(segment, readers, place) for place in range(1, len(segment.bands)))
    return [swing for swing in found if swing is not None]


def _swing(segment: doc.Segment, readers: _Readers, place: int) -> Swing | None:
    """The swing around one band, if there can be any."""
    band, tops = segment.bands[place], [_top(segment, band) for band in segment.bands]
    lower = band.lower or 0
    least_move = max(1, segment.limits.minimum_change_minor)
    below = [
        b
        for b in range(place)
        if tops[place] - tops[b] >= least_move and lower + band.up_margin - (segment.bands[b + 1].lower or 0) < readers.span
    ]
    if not below:
        return None
    lowest = tops[below[0]]
    worst = 0
    for before, after in readers.falls(Fraction(tops[place], max(lowest, segment.limits.round_to_minor)), from_zero=lowest == 0):
        if readers.can_come_to(lower + band.up_margin - before, lower - band.down_margin - after):
            worst = max(worst, before - after)
    return Swing(band, worst, readers.rows) if worst > band.up_margin + band.down_margin else None


def _top(segment: doc.Segment, band: doc.Band) -> int:
    """The highest limit that a band leads to."""
    limits = segment.limits
    return min(band.limit_minor, limits.product_cap_minor, limits.legal_cap_minor) // limits.round_to_minor * limits.round_to_minor


@dataclass(frozen=True)
class _Readers:
    """The rows of a scorecard that read the limit, summed up.

    ``steps`` are the points of utilisation as it is: from which utilisation (0 to 1) on, how many; ``missing`` those of a limit of 0. ``late``
    are the least and most points of what usage measures tell, ``rest`` what base points and all other rows can come to, in ascending order.
    """

    rows: tuple[int, ...]
    steps: tuple[tuple[Fraction, int], ...]
    missing: int
    late: tuple[int, int]
    is_late_adverse: bool
    rest: Sequence[int]

    @classmethod
    def of(cls, policy: doc.Policy, segment: doc.Segment) -> _Readers:
        features = {feature.name: feature for feature in policy.features}
        measured = _measured_ways(policy)
        direct: list[tuple[int, doc.Characteristic, int]] = []
        late: list[tuple[int, doc.Characteristic, Ways]] = []
        others: list[doc.Characteristic] = []
        for row, characteristic in enumerate(segment.scorecard):
            feature = features.get(characteristic.feature)
            ways = NO_WAY if feature is None else _ways_of(feature, measured)
            if isinstance(feature, doc.Utilisation):
                direct.append((row, characteristic, feature.scale))
            elif ways:
                late.append((row, characteristic, ways))
            else:
                others.append(characteristic)
        ends = [_ends(_points(characteristic, with_missing=ways == EITHER_WAY)) for _, characteristic, ways in late]
        steps = _steps([(characteristic, scale) for _, characteristic, scale in direct])
        adverse = [row for row, c, _ in direct if _is_adverse(c, UPWARDS) or c.missing > c.bins[0].points]
        moved = [row for row, characteristic, _ in late if len(set(_points(characteristic, with_missing=True))) > 1]
        return cls(
            rows=tuple(sorted([*adverse, *moved])),
            steps=steps,
            missing=sum(characteristic.missing for _, characteristic, _ in direct),
            late=(sum(end[0] for end in ends), sum(end[1] for end in ends)),
            is_late_adverse=any(_is_adverse(characteristic, ways) for _, characteristic, ways in late),
            rest=_sums(segment.base_points, others),
        )

    @property
    def span(self) -> int:
        """How far apart two scores can be that differ by the limit alone."""
        points = [self.missing, *(points for _, points in self.steps)]
        return max(points) - min(points) + self.late[1] - self.late[0]

    def can_come_to(self, least: int, below: int) -> bool:
        """Whether the other rows can come to at least ``least`` and less than ``below``."""
        place = bisect_left(self.rest, least)
        return place < len(self.rest) and self.rest[place] < below

    def falls(self, ratio: Fraction, *, from_zero: bool) -> Iterator[tuple[int, int]]:
        """The points before and after a rise of the limit by up to ``ratio`` that takes some away; ``from_zero``: also from a limit of 0."""
        pairs = [(points, points) for _, points in self.steps] if self.is_late_adverse else []
        for (j, (_, low)), (i, (begin, high)) in combinations(enumerate(self.steps), 2):
            if high > low and i > j and begin < ratio * self.steps[j + 1][0]:
                pairs.append((high, low))
        if from_zero and self.missing > self.steps[0][1]:
            pairs.append((self.missing, self.steps[0][1]))
        for before, after in pairs:
            yield before + self.late[1], after + self.late[0]


def _sums(base: int, rows: Sequence[doc.Characteristic]) -> Sequence[int]:
    """What base and rows can come to, in ascending order; every number between the least and the most where there are too many to tell."""
    sums = {base}
    for row in rows:
        sums = {each + points for each in sums for points in set(_points(row, with_missing=True))}
        if len(sums) > SUMS_MAX:
            ends = [_ends(_points(row, with_missing=True)) for row in rows]
            return range(base + sum(least for least, _ in ends), base + sum(most for _, most in ends) + 1)
    return sorted(sums)


def _steps(rows: Sequence[tuple[doc.Characteristic, int]]) -> tuple[tuple[Fraction, int], ...]:
    """The points of all utilisation rows together, as steps over utilisation from 0 to 1."""
    bounds = {Fraction(bin_.at_least, scale) for row, scale in rows for bin_ in row.bins if bin_.at_least is not None}
    begins = [Fraction(0), *sorted(bound for bound in bounds if 0 < bound <= 1)]
    return tuple((begin, sum(_points_at(row, begin * scale) for row, scale in rows)) for begin in begins)


def _points_at(row: doc.Characteristic, value: Fraction) -> int:
    """The points of the last bin whose bound is not above the value."""
    reached = [bin_.points for bin_ in row.bins if bin_.at_least is None or bin_.at_least <= value]
    return reached[-1] if reached else 0


def _points(row: doc.Characteristic, *, with_missing: bool) -> list[int]:
    return [*(bin_.points for bin_ in row.bins), *([row.missing] if with_missing else [])]


def _ends(points: Sequence[int]) -> tuple[int, int]:
    return min(points), max(points)


def _is_adverse(row: doc.Characteristic, ways: Ways) -> bool:
    """Whether the points of a row can fall because the limit rose."""
    points = _points(row, with_missing=ways == EITHER_WAY)
    if ways == EITHER_WAY:
        return len(set(points)) > 1
    upwards = points if ways == UPWARDS else points[::-1]
    return any(after > before for before, after in combinations(upwards, 2))


def _measured_ways(policy: doc.Policy) -> dict[str, Ways]:
    """How each measure moves with utilisation."""
    seen: dict[str, Ways] = {measure.name: _own_ways(measure) for measure in policy.measures if measure.kind == "last_seen"}
    found = {}
    for measure in policy.measures:
        asked = [condition.of for condition in (*measure.where, *measure.minus) if condition.of is not None]
        is_told_late = any(seen.get(name) for name in asked)
        found[measure.name] = EITHER_WAY if is_told_late else _own_ways(measure)
    return found


def _own_ways(measure: doc.Measure) -> Ways:
    """How a measure moves with the utilisation that its own events tell."""
    ways = set(NO_WAY) | ({1} if measure.of == UTILISATION else set())
    for condition in measure.where:
        if condition.field == UTILISATION:
            ways |= {1} if (condition.at_least or 0) > 0 else {-1}
            ways |= {-1} if condition.at_most is not None else set()
    is_taken_back = any(condition.field == UTILISATION for condition in measure.minus) or (measure.minus and ways)
    return EITHER_WAY if is_taken_back or (ways and measure.kind == "last_seen") else frozenset(ways)


def _ways_of(feature: doc.Feature, measured: Mapping[str, Ways]) -> Ways:
    """How a feature moves with the utilisation that its measures were told."""
    names = [feature.measure] if isinstance(feature, doc.ShareAbove) else measures_read(feature)
    ways = [measured.get(name, NO_WAY) for name in names]
    if isinstance(feature, doc.Total | doc.Average | doc.Ratio):
        return ways[0] if not any(ways[1:]) else EITHER_WAY
    if isinstance(feature, doc.Reaching):
        return frozenset().union(*ways)
    return EITHER_WAY if any(ways) else NO_WAY
