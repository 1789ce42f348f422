"""Money that goes round: in from a counterparty and out to it again within some days, or the other way (docs/policy.md §3).

Theory of operation. A ``round_trips`` measure remembers the newest transfers, at most ``ROUND_TRIPS_MAX``, in order of arrival. A transfer the
other way with the same counterparty is set off against them, the first to arrive first: what has gone round of the earlier one is taken back
from the measures that are ``net_of`` it, in the earlier one's own tile, and of the later one only the rest counts.
"""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import DAY_MS, LEG_FIELDS, MISSING, ROUND_TRIPS_MAX, Direction, Leg
from engine.core.tables import Ints, Me

LEGS_CELLS = LEG_FIELDS * ROUND_TRIPS_MAX


@compiled
def legs_held(row: Ints, first: int) -> int:
    """How many transfers are remembered."""
    held = 0
    while held < ROUND_TRIPS_MAX and row[first + held * LEG_FIELDS + Leg.AT] != 0:
        held += 1
    return held


@compiled
def drop_leg(row: Ints, first: int, index: int) -> None:
    """Take one out; the later ones move up."""
    for cell in range(first + index * LEG_FIELDS, first + LEGS_CELLS - LEG_FIELDS):
        row[cell] = row[cell + LEG_FIELDS]
    row[first + LEGS_CELLS - LEG_FIELDS : first + LEGS_CELLS] = 0


@compiled
def leg_day(t: Ints, measure: int, at_ms: int) -> int:
    """The measure's day of an instant."""
    return (at_ms + t[measure + Me.OFFSET]) // DAY_MS


@compiled
def forget_legs(t: Ints, measure: int, row: Ints, clock: int) -> None:
    """Drop what happened more than the measure's days before the clock."""
    first, index = t[measure + Me.BASE], 0
    if row[first + Leg.AT] == 0:
        return
    oldest = leg_day(t, measure, clock) - t[measure + Me.DAYS]
    while index < ROUND_TRIPS_MAX and row[first + index * LEG_FIELDS + Leg.AT] != 0:
        if leg_day(t, measure, row[first + index * LEG_FIELDS + Leg.AT]) < oldest:
            drop_leg(row, first, index)
        else:
            index += 1


@compiled
def opposite(direction: int) -> int:
    """The other direction."""
    return Direction.IN + Direction.OUT - direction


@compiled
def find_partner(t: Ints, measure: int, row: Ints, party: int, direction: int, at_ms: int, start: int) -> int:
    """Cell of the first remembered transfer from place ``start`` on that came the other way, of the same counterparty, at most the measure's days
    apart, and has a rest; -1 if none."""
    first = t[measure + Me.BASE]
    for leg in range(start, first + LEGS_CELLS, LEG_FIELDS):
        if row[leg + Leg.AT] == 0:
            break
        apart = leg_day(t, measure, at_ms) - leg_day(t, measure, row[leg + Leg.AT])
        if (
            row[leg + Leg.PARTY] == party
            and row[leg + Leg.WORDS] & 3 == opposite(direction)
            and row[leg + Leg.REST] > 0
            and abs(apart) <= t[measure + Me.DAYS]
        ):
            return leg
    return -1


@compiled
def find_original(t: Ints, measure: int, row: Ints, party: int, words: int, at_ms: int) -> int:
    """Cell of the first remembered transfer of this counterparty, direction, purpose and instant; -1 if none."""
    first = t[measure + Me.BASE]
    for leg in range(first, first + LEGS_CELLS, LEG_FIELDS):
        if row[leg + Leg.AT] != 0 and row[leg + Leg.PARTY] == party and row[leg + Leg.WORDS] == words and row[leg + Leg.AT] == at_ms:
            return leg
    return -1


@compiled
def remember_leg(t: Ints, measure: int, row: Ints, party: int, words: int, amount: int, rest: int, at_ms: int, clock: int) -> None:
    """Remember a transfer in the last place; where all are taken the first to arrive is forgotten."""
    if party == MISSING or amount <= 0 or leg_day(t, measure, at_ms) < leg_day(t, measure, clock) - t[measure + Me.DAYS]:
        return
    first = t[measure + Me.BASE]
    held = legs_held(row, first)
    if held == ROUND_TRIPS_MAX:
        drop_leg(row, first, 0)
        held -= 1
    leg = first + held * LEG_FIELDS
    row[leg + Leg.PARTY] = party
    row[leg + Leg.AT] = at_ms
    row[leg + Leg.WORDS] = words
    row[leg + Leg.AMOUNT] = amount
    row[leg + Leg.REST] = rest
