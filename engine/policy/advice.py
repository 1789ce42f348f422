"""Advice: the least that a customer can do to come one band higher, by the very arithmetic of the score (docs/policy.md §12).

Theory of operation. The decision's row says into which bin each characteristic fell. A feature with ``advice`` can be moved one way: each bin
further that way with more points than all nearer ones is an *option*, so many bins away, for so many points. ``smallest_set`` takes at most
one option of each feature and finds the smallest set whose points lift the score to where the next band is entered. Everything is compared by
names and whole numbers, so the order in which a policy declares things decides nothing.

What is advised is what the evaluation would do with the values advised; whether the limit follows is for the caps and guards, and those that
would still hold it are named behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from engine.core.layout import DAY_MS, VALUES_AT, Kind, Out
from engine.policy import document as doc
from engine.policy.compile import CompiledPolicy
from engine.policy.outlook import HOLD_TEXTS, Hold, holds_after
from engine.policy.units import PLACEHOLDERS, Unit, date_of, spoken, unit_of

CHANGES_MAX: Final = 3
MOVES: Final = (Kind.GRANT, Kind.INCREASE, Kind.OFFER_ACCEPTED, Kind.DECREASE)


class Advice(NamedTuple):
    """One thing to do (``feature`` from ``value`` to ``value_needed`` or beyond, for ``points``), or, without a feature, what would still
    hold the limit, and until when (epoch ms) where it ends by itself."""

    code: str
    feature: str | None
    value: int | None
    value_needed: int | None
    points: int | None
    until: int | None
    text: dict[str, str]


class Option(NamedTuple):
    """A bin that a feature can reach: so many bins away, so many points more, and the nearest value that lies in it."""

    steps: int
    points: int
    value_needed: int


class Pick(NamedTuple):
    """One feature of a set, by its place among those that can be moved, and the option taken of it."""

    place: int
    option: Option


class Lever:
    """A characteristic that a customer can move, and where its bin and value stand in a decision's row."""

    def __init__(self, feature: doc.Feature, characteristic: doc.Characteristic, value_at: int, bin_at: int, unit: Unit) -> None:
        assert feature.advice is not None
        self.feature = feature.name
        self.advice = feature.advice
        self.value_at = value_at
        self.bin_at = bin_at
        self.unit = unit
        self.options = [options_of(characteristic, place, feature.advice.direction) for place in range(len(characteristic.bins))]


def options_of(characteristic: doc.Characteristic, place: int, direction: str) -> tuple[Option, ...]:
    """The options from a bin, nearest first; each has more points than all before it."""
    bins = characteristic.bins
    found: list[Option] = []
    others = range(place + 1, len(bins)) if direction == "raise" else range(place - 1, -1, -1)
    for other in others:
        gain = bins[other].points - bins[place].points
        if gain > (found[-1].points if found else 0):
            bound = bins[other].at_least if direction == "raise" else bins[other + 1].at_least
            assert bound is not None, "only the first bin has no lower bound"
            found.append(Option(abs(other - place), gain, bound if direction == "raise" else bound - 1))
    return tuple(found)


def points_to_next_band(segment: doc.Segment, band: int, score: int) -> int | None:
    """What the score lacks for a band above ``band`` to be entered from below; None if it is the highest."""
    enters = [b.lower + b.up_margin for b in segment.bands[band + 1 :] if b.lower is not None]
    return min(enters) - score if enters else None


def smallest_set(rows: Sequence[Sequence[Option]], need: int) -> tuple[Pick, ...]:
    """The smallest set of at most ``CHANGES_MAX`` options of different rows that brings ``need`` points (more than 0); empty if none does.

    ``rows`` are in order of their features' names, each with at least one option, nearest first. Smallest is: fewest options; then fewest
    bins crossed in all; then most points in all; then the first by (place, steps) of its options.
    """
    most = sorted((options[-1].points for options in rows), reverse=True)[:CHANGES_MAX]
    size = next((n for n in range(1, len(most) + 1) if sum(most[:n]) >= need), 0)
    if size == 0:
        return ()
    best = _best_points(rows, size)
    steps = min(steps for steps, points in best[0][size].items() if points >= need)
    points = best[0][size][steps]
    picks: list[Pick] = []
    for left in range(size - 1, -1, -1):
        first = picks[-1].place + 1 if picks else 0
        pick = next(
            Pick(place, option)
            for place in range(first, len(rows))
            for option in rows[place]
            if best[place + 1][left].get(steps - option.steps) == points - option.points
        )
        picks.append(pick)
        steps, points = steps - pick.option.steps, points - pick.option.points
    return tuple(picks)


def _best_points(rows: Sequence[Sequence[Option]], size: int) -> list[list[dict[int, int]]]:
    """[first][n]: for each number of bins crossed, the most points that ``n`` options of the rows from ``first`` on bring together."""
    best: list[list[dict[int, int]]] = [[{0: 0}, *({} for _ in range(size))]]
    for options in reversed(rows):
        behind = best[-1]
        here = [dict(points) for points in behind]
        for n in range(1, size + 1):
            for steps, points in behind[n - 1].items():
                for option in options:
                    crossed = steps + option.steps
                    here[n][crossed] = max(here[n].get(crossed, 0), points + option.points)
        best.append(here)
    return best[::-1]


class Adviser:
    """Advises on the decisions made under one policy."""

    def __init__(self, policy: CompiledPolicy) -> None:
        self._policy = policy
        self._levers = [[] if segment is None else list(self._levers_of(segment)) for segment in policy.segments]

    def _levers_of(self, segment: doc.Segment) -> Iterator[Lever]:
        """The characteristics that a customer can move, in order of their names."""
        bins_at = VALUES_AT + len(self._policy.document.features)
        for place, characteristic in sorted(enumerate(segment.scorecard), key=lambda item: item[1].feature):
            feature = self._policy.features_by_name[characteristic.feature]
            if feature.advice is not None:
                value_at = VALUES_AT + self._policy.feature_numbers[feature.name]
                unit = unit_of(feature, self._policy.document)
                yield Lever(feature, characteristic, value_at, bins_at + place, unit)

    def advise(self, decision: Sequence[int]) -> list[Advice]:
        """What to do after a change of the limit, most points first, and then what would still hold the limit; empty where nothing is advised.
        ``decision`` is its row, (decision_columns,) as Python integers."""
        changes = self.to_do(decision) if decision[Out.KIND] in MOVES else []
        if not changes:
            return []
        segment = self._policy.segments[decision[Out.SEGMENT]]
        assert segment is not None
        today = self._day_of(decision[Out.CLOCK])
        return changes + [self._hold(hold) for hold in holds_after(self._policy.document, segment, decision, today)]

    def to_do(self, decision: Sequence[int]) -> list[Advice]:
        """What lifts an evaluated account by a band, whatever was decided, most points first."""
        number = decision[Out.SEGMENT]
        segment = self._policy.segments[number]
        assert segment is not None, "a decision was made in a segment that its policy does not define"
        need = points_to_next_band(segment, decision[Out.TARGET_BAND], decision[Out.SCORE])
        if need is None:
            return []
        # A missing value is nobody's to move: a negative bin has no options.
        chosen = [(lever, decision[lever.bin_at]) for lever in self._levers[number]]
        levers = [(lever, lever.options[place]) for lever, place in chosen if place >= 0 and lever.options[place]]
        picks = smallest_set([options for _, options in levers], need)
        changes = [self._change(levers[pick.place][0], pick.option, decision) for pick in picks]
        return sorted(changes, key=lambda change: (-(change.points or 0), change.feature))

    def _change(self, lever: Lever, option: Option, decision: Sequence[int]) -> Advice:
        direction, currency = lever.advice.direction, self._policy.document.currency
        bound = option.value_needed if direction == "raise" else option.value_needed + 1
        texts: dict[str, str] = {
            language: text.replace(PLACEHOLDERS[direction], spoken(bound, lever.unit, language, currency))
            for language, text in sorted(lever.advice.text.items())
        }
        code = f"{lever.feature}_{direction}"
        return Advice(code, lever.feature, decision[lever.value_at], option.value_needed, option.points, None, texts)

    def _hold(self, hold: Hold) -> Advice:
        texts = sorted(HOLD_TEXTS[hold.code].items())
        if hold.until_day is None:
            return Advice(hold.code, None, None, None, None, None, dict(texts))
        until = hold.until_day * DAY_MS - self._policy.document.utc_offset_minutes * 60_000
        day = date_of(hold.until_day)
        return Advice(hold.code, None, None, None, None, until, {language: text.format(day=day) for language, text in texts})

    def _day_of(self, at_ms: int) -> int:
        return (at_ms + self._policy.document.utc_offset_minutes * 60_000) // DAY_MS
