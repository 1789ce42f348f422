"""Advice: the least that a customer can do to come one band higher, by the very arithmetic of the score (docs/policy.md §12).

Theory of operation. The decision's row says into which bin each characteristic fell. A feature with ``advice`` can be moved one way: each bin
further that way with more points than all nearer ones is an *option*, so many bins away, for so many points. ``smallest_set`` takes at most
one option of each feature and finds the smallest set whose points lift the score to where the next band is entered. Everything is compared by
names and whole numbers, so the order in which a policy declares things decides nothing.

Which set it is follows from the segment, what the score lacks and the bins alone, and of that there is little: the sets found last are
remembered. What is told of an option is the same each time but for the value that the feature has now (``engine.policy.fragments``).

What is advised is what the evaluation would do with the values advised; whether the limit follows is for the caps and guards, and those that
would still hold it are named behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

from engine.core.layout import DAY_MS, VALUES_AT, Kind, Out
from engine.policy import document as doc
from engine.policy.compile import CompiledPolicy
from engine.policy.fragments import NULL, REMEMBERED, encoded, moment, quoted
from engine.policy.outlook import HOLD_TEXTS, Hold, holds_after
from engine.policy.units import PLACEHOLDERS, date_of, spoken, unit_of

CHANGES_MAX: Final = 3
MOVES: Final = frozenset(map(int, (Kind.GRANT, Kind.INCREASE, Kind.OFFER_ACCEPTED, Kind.DECREASE)))
_KIND, _SEGMENT, _SCORE, _TARGET_BAND, _CLOCK = int(Out.KIND), int(Out.SEGMENT), int(Out.SCORE), int(Out.TARGET_BAND), int(Out.CLOCK)


class Option(NamedTuple):
    """A bin that a feature can reach: so many bins away, so many points more, and the nearest value that lies in it."""

    steps: int
    points: int
    value_needed: int


class Pick(NamedTuple):
    """One feature of a set, by its place among those that can be moved, and the option taken of it."""

    place: int
    option: Option


class ToDo(NamedTuple):
    """One thing to do, as the contract has it: what stands before the value that the feature has now, where that is in a decision, and what
    stands behind it. Those of most points come first."""

    order: tuple[int, str]
    before: bytes
    value_at: int
    after: bytes


class Lever:
    """A characteristic that a customer can move, where its bin stands in a decision's row, and its options by bin."""

    def __init__(self, feature: doc.Feature, characteristic: doc.Characteristic, bin_at: int) -> None:
        assert feature.advice is not None
        self.feature = feature
        self.advice = feature.advice
        self.bin_at = bin_at
        self.options = [options_of(characteristic, place, feature.advice.direction) for place in range(len(characteristic.bins))]


class Outlook:
    """What a segment advises by: its levers in order of their features' names, what takes their bins off a decision, and of each band the score
    that a higher one is entered at (None: there is none)."""

    def __init__(self, segment: doc.Segment, levers: list[Lever]) -> None:
        self.segment = segment
        self.levers = levers
        self.bins = columns([lever.bin_at for lever in levers])
        entered = [None if band.lower is None else band.lower + band.up_margin for band in segment.bands]
        higher = [[at for at in entered[place + 1 :] if at is not None] for place in range(len(entered))]
        self.next_band_at = [min(scores) if scores else None for scores in higher]


def columns(places: Sequence[int]) -> Callable[[Sequence[int]], tuple[int, ...]]:
    """What takes these columns of a decision's row."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda decision: tuple(decision[place] for place in places)


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
    """Advises on the decisions made under one policy. A decision is its row, (decision_columns,) as Python integers; what is told is JSON."""

    def __init__(self, policy: CompiledPolicy) -> None:
        self._policy = policy
        self._outlooks = [None if segment is None else Outlook(segment, list(self._levers_of(segment))) for segment in policy.segments]
        self._changes = lru_cache(REMEMBERED)(self._find_changes)
        self._to_do = cache(self._tell_option)  # as many as there are; the sets found share them
        self._hold = lru_cache(REMEMBERED)(self._tell_hold)

    def _levers_of(self, segment: doc.Segment) -> Iterator[Lever]:
        """The characteristics that a customer can move, in order of their names."""
        for place, characteristic in sorted(enumerate(segment.scorecard), key=lambda item: item[1].feature):
            feature = self._policy.features_by_name[characteristic.feature]
            if feature.advice is not None:
                yield Lever(feature, characteristic, self._policy.bins_at + place)

    def advise(self, decision: Sequence[int]) -> list[bytes]:
        """What to do after a change of the limit, most points first, and then what would still hold the limit; empty where nothing is advised."""
        changes = self.to_do(decision) if decision[_KIND] in MOVES else []
        if not changes:
            return []
        today = (decision[_CLOCK] + self._policy.document.utc_offset_minutes * 60_000) // DAY_MS
        holds = holds_after(self._policy.document, self._outlook(decision).segment, decision, today)
        return changes + [self._hold(hold) for hold in holds]

    def to_do(self, decision: Sequence[int]) -> list[bytes]:
        """What lifts an evaluated account by a band, whatever was decided, most points first."""
        outlook = self._outlook(decision)
        entered_at = outlook.next_band_at[decision[_TARGET_BAND]]
        if entered_at is None:
            return []
        changes = self._changes(decision[_SEGMENT], entered_at - decision[_SCORE], outlook.bins(decision))
        return [b"%b%d%b" % (change.before, decision[change.value_at], change.after) for change in changes]

    def _outlook(self, decision: Sequence[int]) -> Outlook:
        outlook = self._outlooks[decision[_SEGMENT]]
        assert outlook is not None, "a decision was made in a segment that its policy does not define"
        return outlook

    def _find_changes(self, segment: int, need: int, bins: Sequence[int]) -> list[ToDo]:
        """What brings ``need`` points where the levers are in these bins."""
        outlook = self._outlooks[segment]
        assert outlook is not None
        # A missing value is nobody's to move: a negative bin has no options.
        chosen = [(lever, lever.options[place]) for lever, place in zip(outlook.levers, bins, strict=True) if place >= 0]
        levers = [(lever, options) for lever, options in chosen if options]
        picks = smallest_set([options for _, options in levers], need)
        return sorted(self._to_do(levers[pick.place][0], pick.option) for pick in picks)

    def _tell_option(self, lever: Lever, option: Option) -> ToDo:
        feature, direction, currency = lever.feature, lever.advice.direction, self._policy.document.currency
        unit = unit_of(feature, self._policy.document)
        bound = option.value_needed if direction == "raise" else option.value_needed + 1
        texts = {
            language: text.replace(PLACEHOLDERS[direction], spoken(bound, unit, language, currency))
            for language, text in sorted(lever.advice.text.items())
        }
        before = f'{{"code":{quoted(f"{feature.name}_{direction}")},"feature":{quoted(feature.name)},"value":'
        after = f',"value_needed":{option.value_needed},"points":{option.points},"until":null,"text":'
        value_at = VALUES_AT + self._policy.feature_numbers[feature.name]
        return ToDo((-option.points, feature.name), before.encode(), value_at, after.encode() + encoded(texts) + b"}")

    def _tell_hold(self, hold: Hold) -> bytes:
        texts: Mapping[str, str] = dict(sorted(HOLD_TEXTS[hold.code].items()))
        until = NULL
        if hold.until_day is not None:
            until = moment(hold.until_day * DAY_MS - self._policy.document.utc_offset_minutes * 60_000)
            texts = {language: text.format(day=date_of(hold.until_day)) for language, text in texts.items()}
        told = f'{{"code":{quoted(hold.code)},"feature":null,"value":null,"value_needed":null,"points":null,"until":{until},"text":'
        return told.encode() + encoded(texts) + b"}"
