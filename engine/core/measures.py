"""Measures: from one event to the tiles it contributes to (docs/policy.md §3)."""

from __future__ import annotations

import numpy as np

from engine.core.exposure import exposure_of
from engine.core.jit import compiled
from engine.core.layout import DAY_MS, HOUR_MS, LEG_FIELDS, MISSING, Col, Ev, Leg, Topic
from engine.core.round_trips import find_original, find_partner, remember_leg
from engine.core.tables import CONDITION, INSTALMENT_SOURCE, MEASURE, USAGE_SOURCE, Co, Fact, Ints, Me, MeasureKind, Ru
from engine.core.tops import add_top
from engine.core.windows import add_to_tile, day_of, join_tile, saturate


@compiled
def tested(t: Ints, row: Ints, condition: int, facts: Ints) -> int:
    """The number that a condition with bounds looks at; MISSING if there is none."""
    test = t[condition + Co.RANGE]
    if test == 1:
        return facts[t[condition + Co.FACT]]
    last_seen = row[t[condition + Co.FACT]]
    if last_seen == MISSING:
        return MISSING
    if test == 2:
        return day_of(t, facts[Fact.AT]) - day_of(t, last_seen)
    return (facts[Fact.AT] - last_seen) // HOUR_MS


@compiled
def holds(t: Ints, row: Ints, first: int, end: int, facts: Ints) -> bool:
    """Whether every condition of ``first .. end`` holds. A missing number fails; a word's code is a bit of the mask."""
    for condition in range(first, end, CONDITION):
        if t[condition + Co.RANGE] != 0:
            value = tested(t, row, condition, facts)
            if value == MISSING or value < t[condition + Co.LOW] or value > t[condition + Co.HIGH]:
                return False
        elif (t[condition + Co.MASK] >> facts[t[condition + Co.FACT]]) & 1 == 0:
            return False
    return True


@compiled
def concerns(t: Ints, row: Ints, measure: int, facts: Ints) -> bool:
    """Whether the event of ``facts`` meets the measure's conditions."""
    if t[measure + Me.LOCAL_HOUR] == 1:
        facts[Fact.LOCAL_HOUR] = (facts[Fact.AT] + t[measure + Me.OFFSET]) % DAY_MS // HOUR_MS
    return holds(t, row, t[measure + Me.WHERE], t[measure + Me.WHERE_END], facts)


@compiled
def contribute(t: Ints, row: Ints, measure: int, facts: Ints, clock: int, word: int, sign: int, full: bool, amount: int) -> None:
    """Add one event to ``measure``: ``sign`` -1 takes it back (then a count only if ``full``; max, distinct, last seen never).

    ``word`` is the bit of a distinct measure (-1: none) or the fingerprint of a top's word. ``amount`` counts in the place of the event's own
    unless it is MISSING.
    """
    if not concerns(t, row, measure, facts):
        return
    kind, cell, at_ms = t[measure + Me.KIND], t[measure + Me.BASE], facts[Fact.AT]
    if kind == MeasureKind.COUNT:
        if sign > 0 or full:
            add_to_tile(t, measure, row, at_ms, clock, sign)
        return
    if kind == MeasureKind.LAST_SEEN:
        if sign > 0:
            row[cell] = max(row[cell], at_ms)
        return
    if kind == MeasureKind.DISTINCT:
        if sign > 0 and word >= 0:
            join_tile(t, measure, row, at_ms, clock, np.int64(1) << word)
        return
    if amount == MISSING:
        amount = facts[Fact.AMOUNT] if kind == MeasureKind.TOP else facts[t[measure + Me.VALUE]]
    if amount == MISSING:
        return
    if kind == MeasureKind.TOP:
        if word != MISSING:
            add_top(t, measure, row, word, amount, at_ms, sign)
        return
    if kind == MeasureKind.MAX:
        if sign > 0:
            join_tile(t, measure, row, at_ms, clock, saturate(amount))
        return
    minus, minus_end = t[measure + Me.MINUS], t[measure + Me.MINUS_END]
    if minus < minus_end and holds(t, row, minus, minus_end, facts):
        sign = -sign
    if kind == MeasureKind.SUM:
        add_to_tile(t, measure, row, at_ms, clock, sign * amount)
    else:
        row[cell] = saturate(row[cell] + sign * amount)


@compiled
def word_of(t: Ints, measure: int, facts: Ints, events: Ints, i: int) -> int:
    """What event ``i`` is to a distinct or top measure: the bit that it sets (-1 for no word, or one outside a closed set), or its word's
    fingerprint (MISSING for none)."""
    kind, value, closed = t[measure + Me.KIND], t[measure + Me.VALUE], t[measure + Me.CLOSED_SET]
    if kind == MeasureKind.TOP:
        return events[value, i]
    if kind != MeasureKind.DISTINCT:
        return -1
    if closed >= 0:
        return t[closed + facts[value]]
    word = events[value, i]
    return -1 if word == MISSING else word & 63


@compiled
def contribute_net(
    t: Ints, row: Ints, trips: int, events: Ints, i: int, facts: Ints, clock: int, sign: int, full: bool, amount: int
) -> None:
    """Add event ``i`` as ``facts`` tell it to every measure that is net of ``trips``."""
    watching = t[Ru.SOURCES] + 2 * Topic.TRANSFER
    for measure in range(t[watching], t[watching + 1], MEASURE):
        if t[measure + Me.NET_OF] == trips:
            contribute(t, row, measure, facts, clock, word_of(t, measure, facts, events, i), sign, full, amount)


@compiled
def set_off_leg(t: Ints, row: Ints, trips: int, leg: int, amount: int, events: Ints, i: int, facts: Ints, clock: int) -> None:
    """``amount`` of the remembered transfer at ``leg`` has gone round: take it back where it counted."""
    row[leg + Leg.REST] -= amount
    own_amount, own_direction, own_purpose, own_at = facts[Fact.AMOUNT], facts[Fact.DIRECTION], facts[Fact.PURPOSE], facts[Fact.AT]
    facts[Fact.AMOUNT] = row[leg + Leg.AMOUNT]
    facts[Fact.DIRECTION] = row[leg + Leg.WORDS] & 3
    facts[Fact.PURPOSE] = row[leg + Leg.WORDS] >> 2
    facts[Fact.AT] = row[leg + Leg.AT]
    contribute_net(t, row, trips, events, i, facts, clock, -1, row[leg + Leg.REST] == 0, amount)
    facts[Fact.AMOUNT], facts[Fact.DIRECTION], facts[Fact.PURPOSE], facts[Fact.AT] = own_amount, own_direction, own_purpose, own_at


@compiled
def go_round(t: Ints, row: Ints, trips: int, events: Ints, i: int, facts: Ints, clock: int, sign: int, full: bool) -> None:
    """Set transfer ``i`` off against the remembered ones, add what is left of it to the measures net of ``trips``, and remember it."""
    party, at_ms, amount = events[Ev.COUNTERPARTY_HASH, i], facts[Fact.AT], facts[Fact.AMOUNT]
    words = facts[Fact.DIRECTION] + 4 * facts[Fact.PURPOSE]
    known = party != MISSING and facts[Fact.DIRECTION] != 0
    if sign < 0:
        leg = find_original(t, trips, row, party, words, at_ms) if known else -1
        if leg < 0:
            contribute_net(t, row, trips, events, i, facts, clock, sign, full, MISSING)
        elif row[leg + Leg.REST] > 0:
            taken = min(amount, row[leg + Leg.REST])
            row[leg + Leg.REST] -= taken
            contribute_net(t, row, trips, events, i, facts, clock, sign, full, taken)
        return
    if not known or not concerns(t, row, trips, facts):
        contribute_net(t, row, trips, events, i, facts, clock, sign, full, MISSING)
        return
    rest = amount
    leg = find_partner(t, trips, row, party, facts[Fact.DIRECTION], at_ms, t[trips + Me.BASE])
    while leg >= 0 and rest > 0:
        gone = min(rest, row[leg + Leg.REST])
        rest -= gone
        set_off_leg(t, row, trips, leg, gone, events, i, facts, clock)
        leg = find_partner(t, trips, row, party, facts[Fact.DIRECTION], at_ms, leg + LEG_FIELDS)
    if rest > 0 or amount == 0:
        contribute_net(t, row, trips, events, i, facts, clock, sign, full, rest)
    remember_leg(t, trips, row, party, words, amount, rest, at_ms, clock)


@compiled
def measure_event(t: Ints, row: Ints, events: Ints, i: int, facts: Ints) -> None:
    """Contribute event ``i`` (a repayment, purchase or transfer) to every measure that watches its topic. ``facts`` is scratch (FACTS,).

    Conditions look at what was seen *before* the event: of each source the program has the last_seen measures last.
    """
    reversal = events[Ev.REVERSES_AT, i] != MISSING
    at_ms = events[Ev.REVERSES_AT, i] if reversal else events[Ev.OCCURRED_AT, i]
    clock = row[Col.CLOCK]
    facts[Fact.AT] = at_ms
    facts[Fact.AMOUNT] = events[Ev.AMOUNT, i]
    facts[Fact.AMOUNT_DUE] = events[Ev.AMOUNT_DUE, i]
    due_at = events[Ev.DUE_AT, i]
    facts[Fact.DAYS_LATE] = MISSING if due_at == MISSING else day_of(t, at_ms) - day_of(t, due_at)
    facts[Fact.CATEGORY] = events[Ev.CATEGORY, i]
    facts[Fact.CHANNEL] = events[Ev.CHANNEL, i]
    facts[Fact.PRODUCT] = events[Ev.PRODUCT, i]
    facts[Fact.FUNDED_BY] = events[Ev.FUNDED_BY, i]
    facts[Fact.DIRECTION] = events[Ev.DIRECTION, i]
    facts[Fact.PURPOSE] = events[Ev.PURPOSE, i]
    facts[Fact.MERCHANT] = events[Ev.MERCHANT, i]
    facts[Fact.COUNTERPARTY] = events[Ev.COUNTERPARTY, i]
    facts[Fact.OUTCOME] = 0
    facts[Fact.UTILISATION] = MISSING
    sign = -1 if reversal else 1
    full = events[Ev.REVERSES_FULL, i] == 1
    watching = t[Ru.SOURCES] + 2 * events[Ev.TOPIC, i]
    for measure in range(t[watching], t[watching + 1], MEASURE):
        if t[measure + Me.NET_OF] >= 0:
            continue
        if t[measure + Me.KIND] == MeasureKind.ROUND_TRIPS:
            go_round(t, row, measure, events, i, facts, clock, sign, full)
        else:
            contribute(t, row, measure, facts, clock, word_of(t, measure, facts, events, i), sign, full, MISSING)


@compiled
def measure_derived(t: Ints, row: Ints, source: int, facts: Ints, clock: int) -> None:
    """Contribute an event that the engine made itself (an instalment's outcome, the usage of the line) to the measures that watch it."""
    watching = t[Ru.SOURCES] + 2 * source
    for measure in range(t[watching], t[watching + 1], MEASURE):
        bit = -1
        if t[measure + Me.KIND] == MeasureKind.DISTINCT and t[measure + Me.CLOSED_SET] >= 0:
            bit = t[t[measure + Me.CLOSED_SET] + facts[t[measure + Me.VALUE]]]
        contribute(t, row, measure, facts, clock, bit, 1, False, MISSING)


@compiled
def measure_outcome(t: Ints, row: Ints, outcome: int, due: int, days_late: int, at_ms: int, clock: int, facts: Ints) -> None:
    """Contribute an instalment's outcome to the measures that watch instalments. ``facts`` is scratch (FACTS,)."""
    facts[:] = 0
    facts[Fact.AT] = at_ms
    facts[Fact.AMOUNT] = due
    facts[Fact.AMOUNT_DUE] = due
    facts[Fact.DAYS_LATE] = days_late
    facts[Fact.OUTCOME] = outcome
    measure_derived(t, row, INSTALMENT_SOURCE, facts, clock)


@compiled
def measure_usage(t: Ints, row: Ints, facts: Ints) -> None:
    """Contribute the exposure as it stands, and its share of the limit in force, to the measures that watch the usage of the line."""
    watching = t[Ru.SOURCES] + 2 * USAGE_SOURCE
    exposure = exposure_of(row) if t[watching] < t[watching + 1] else MISSING
    if exposure == MISSING:
        return
    facts[:] = 0
    facts[Fact.AT] = row[Col.CLOCK]
    facts[Fact.AMOUNT] = exposure
    facts[Fact.UTILISATION] = 100 * exposure // row[Col.LIMIT] if row[Col.LIMIT] > 0 else MISSING
    measure_derived(t, row, USAGE_SOURCE, facts, row[Col.CLOCK])
