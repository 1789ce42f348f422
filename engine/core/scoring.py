"""Scorecard and bands: from features to points, from points to a band or rate tier with hysteresis (docs/policy.md §7)."""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import MISSING, Col
from engine.core.tables import BAND, BIN, CHARACTERISTIC, Ba, Bi, Ca, Ints, Se


@compiled
def score_of(t: Ints, segment: int, values: Ints, bins: Ints) -> int:
    """Base points plus the points of each characteristic's bin; ``bins`` (C,) receives the bin's place in its characteristic, -1 for missing."""
    score = t[segment + Se.BASE_POINTS]
    place = 0
    for characteristic in range(t[segment + Se.CARD], t[segment + Se.CARD_END], CHARACTERISTIC):
        value = values[t[characteristic + Ca.FEATURE]]
        if value == MISSING:
            bins[place] = -1
            score += t[characteristic + Ca.MISSING_POINTS]
        else:
            first = t[characteristic + Ca.BINS]
            b = t[characteristic + Ca.BINS_END] - BIN
            while b > first and t[b + Bi.LOWER] > value:
                b -= BIN
            bins[place] = (b - first) // BIN
            score += t[b + Bi.POINTS]
        place += 1
    return score


@compiled
def standing_band(t: Ints, segment: int, row: Ints) -> int:
    """Place of the segment's band that the standing has: by name, else the highest one whose limit is not above the standing limit."""
    first, end = t[segment + Se.BANDS], t[segment + Se.BANDS_END]
    for band in range(first, end, BAND):
        if t[band + Ba.CODE] == row[Col.BAND]:
            return band
    band = end - BAND
    while band > first and t[band + Ba.LIMIT] > row[Col.LIMIT]:
        band -= BAND
    return band


@compiled
def step_of(t: Ints, first: int, end: int, score: int, standing: int) -> int:
    """Place of the step (band or rate tier) that a score leads to. The steps lie from ``first`` to ``end``; ``standing`` is the place of the one
    that stands, -1 without."""
    rising = end - BAND
    while rising > first and score < t[rising + Ba.LOWER] + t[rising + Ba.UP_MARGIN]:
        rising -= BAND
    if rising > standing:
        return rising
    if score >= t[standing + Ba.LOWER] - t[standing + Ba.DOWN_MARGIN]:
        return standing
    falling = end - BAND
    while falling > first and score < t[falling + Ba.LOWER]:
        falling -= BAND
    return falling
