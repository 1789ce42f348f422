"""Scorecard and bands: from features to points, from points to a band with hysteresis (docs/policy.md §7)."""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import MISSING, Col
from engine.core.tables import Ba, Bi, Ca, Ints, PolicyTables, Se


@compiled
def score_of(t: PolicyTables, segment: int, values: Ints, bins: Ints) -> int:
    """Base points plus the points of each characteristic's bin; ``bins`` (C,) receives the bin's place in its characteristic, -1 for missing."""
    card = t.segments[segment, Se.CARD]
    score = t.segments[segment, Se.BASE_POINTS]
    for c in range(card, t.segments[segment, Se.CARD_END]):
        value = values[t.cards[c, Ca.FEATURE]]
        if value == MISSING:
            bins[c - card] = -1
            score += t.cards[c, Ca.MISSING_POINTS]
            continue
        first = t.cards[c, Ca.BINS]
        b = t.cards[c, Ca.BINS_END] - 1
        while b > first and t.bins[b, Bi.LOWER] > value:
            b -= 1
        bins[c - card] = b - first
        score += t.bins[b, Bi.POINTS]
    return score  # type: ignore[no-any-return]


@compiled
def standing_band(t: PolicyTables, segment: int, row: Ints) -> int:
    """The segment's band that the standing has: by name, else the highest one whose limit is not above the standing limit."""
    first, end = t.segments[segment, Se.BANDS], t.segments[segment, Se.BANDS_END]
    for band in range(first, end):
        if t.bands[band, Ba.CODE] == row[Col.BAND]:
            return band
    band = end - 1
    while band > first and t.bands[band, Ba.LIMIT] > row[Col.LIMIT]:
        band -= 1
    return band


@compiled
def band_of(t: PolicyTables, segment: int, score: int, standing: int) -> int:
    """Target band (a row of ``bands``) for a score; ``standing`` is the standing band's row, -1 without a standing."""
    first, end = t.segments[segment, Se.BANDS], t.segments[segment, Se.BANDS_END]
    rising = end - 1
    while rising > first and score < t.bands[rising, Ba.LOWER] + t.bands[rising, Ba.UP_MARGIN]:
        rising -= 1
    if rising > standing:
        return rising
    if score >= t.bands[standing, Ba.LOWER] - t.bands[standing, Ba.DOWN_MARGIN]:
        return standing
    falling = end - 1
    while falling > first and score < t.bands[falling, Ba.LOWER]:
        falling -= 1
    return falling
