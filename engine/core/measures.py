"""Measures: from one event to the tiles it contributes to (docs/policy.md §3)."""

from __future__ import annotations

import numpy as np

from engine.core.jit import compiled
from engine.core.layout import DAY_MS, HOUR_MS, MISSING, Col, Ev
from engine.core.tables import CONDITION, INSTALMENT_SOURCE, MEASURE, Co, Fact, Ints, Me, MeasureKind, Ru
from engine.core.windows import add_to_tile, day_of, join_tile, saturate


@compiled
def holds(t: Ints, first: int, end: int, facts: Ints) -> bool:
    """Whether every condition of ``first .. end`` holds. A missing number fails; a word's code is a bit of the mask."""
    for condition in range(first, end, CONDITION):
        value = facts[t[condition + Co.FACT]]
        if t[condition + Co.RANGE] == 1:
            if value == MISSING or value < t[condition + Co.LOW] or value > t[condition + Co.HIGH]:
                return False
        elif (t[condition + Co.MASK] >> value) & 1 == 0:
            return False
    return True


@compiled
def contribute(t: Ints, row: Ints, measure: int, facts: Ints, at_ms: int, clock: int, word_bit: int, sign: int, full: bool) -> None:
    """Add one event to ``measure``: ``sign`` -1 takes it back (then a count only if ``full``; max, distinct, last seen never)."""
    if t[measure + Me.LOCAL_HOUR] == 1:
        facts[Fact.LOCAL_HOUR] = (at_ms + t[measure + Me.OFFSET]) % DAY_MS // HOUR_MS
    if not holds(t, t[measure + Me.WHERE], t[measure + Me.WHERE_END], facts):
        return
    kind, cell = t[measure + Me.KIND], t[measure + Me.BASE]
    if kind == MeasureKind.COUNT:
        if sign > 0 or full:
            add_to_tile(t, measure, row, at_ms, clock, sign)
        return
    if kind == MeasureKind.LAST_SEEN:
        if sign > 0:
            row[cell] = max(row[cell], at_ms)
        return
    if kind == MeasureKind.DISTINCT:
        if sign > 0 and word_bit >= 0:
            join_tile(t, measure, row, at_ms, clock, np.int64(1) << word_bit)
        return
    amount = facts[t[measure + Me.VALUE]]
    if amount == MISSING:
        return
    if kind == MeasureKind.MAX:
        if sign > 0:
            join_tile(t, measure, row, at_ms, clock, saturate(amount))
        return
    minus, minus_end = t[measure + Me.MINUS], t[measure + Me.MINUS_END]
    if minus < minus_end and holds(t, minus, minus_end, facts):
        sign = -sign
    if kind == MeasureKind.SUM:
        add_to_tile(t, measure, row, at_ms, clock, sign * amount)
    else:
        row[cell] = saturate(row[cell] + sign * amount)


@compiled
def word_bit_of(t: Ints, measure: int, facts: Ints, events: Ints, i: int) -> int:
    """The bit that a distinct measure sets for event ``i``; -1 for no word, or one outside a closed set."""
    value, closed = t[measure + Me.VALUE], t[measure + Me.CLOSED_SET]
    if closed >= 0:
        return t[closed + facts[value]]
    word = events[value, i]
    return -1 if word == MISSING else word & 63


@compiled
def measure_event(t: Ints, row: Ints, events: Ints, i: int, facts: Ints) -> None:
    """Contribute event ``i`` (a repayment, purchase or transfer) to every measure that watches its topic. ``facts`` is scratch (FACTS,)."""
    reversal = events[Ev.REVERSES_AT, i] != MISSING
    at_ms = events[Ev.REVERSES_AT, i] if reversal else events[Ev.OCCURRED_AT, i]
    clock = row[Col.CLOCK]
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
    sign = -1 if reversal else 1
    full = events[Ev.REVERSES_FULL, i] == 1
    for measure in range(t[Ru.MEASURES], t[Ru.MEASURES_END], MEASURE):
        if t[measure + Me.SOURCE] != events[Ev.TOPIC, i]:
            continue
        word_bit = -1
        if t[measure + Me.KIND] == MeasureKind.DISTINCT:
            word_bit = word_bit_of(t, measure, facts, events, i)
        contribute(t, row, measure, facts, at_ms, clock, word_bit, sign, full)


@compiled
def measure_outcome(t: Ints, row: Ints, outcome: int, due: int, days_late: int, at_ms: int, clock: int, facts: Ints) -> None:
    """Contribute an instalment's outcome to the measures that watch instalments. ``facts`` is scratch (FACTS,)."""
    facts[:] = 0
    facts[Fact.AMOUNT] = due
    facts[Fact.AMOUNT_DUE] = due
    facts[Fact.DAYS_LATE] = days_late
    facts[Fact.OUTCOME] = outcome
    for measure in range(t[Ru.MEASURES], t[Ru.MEASURES_END], MEASURE):
        if t[measure + Me.SOURCE] != INSTALMENT_SOURCE:
            continue
        word_bit = -1
        if t[measure + Me.KIND] == MeasureKind.DISTINCT and t[measure + Me.CLOSED_SET] >= 0:
            word_bit = t[t[measure + Me.CLOSED_SET] + facts[t[measure + Me.VALUE]]]
        contribute(t, row, measure, facts, at_ms, clock, word_bit, 1, False)
