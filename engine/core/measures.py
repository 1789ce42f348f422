"""Measures: from one event to the tiles it contributes to (docs/policy.md §3)."""

from __future__ import annotations

import numpy as np

from engine.core.jit import compiled
from engine.core.layout import DAY_MS, HOUR_MS, MISSING, Col, Ev
from engine.core.tables import FACTS, INSTALMENT_SOURCE, Co, Fact, Ints, Me, MeasureKind, PolicyTables
from engine.core.windows import cell_of, day_of, saturate


@compiled
def holds(conditions: Ints, first: int, end: int, facts: Ints) -> bool:
    """Whether every condition of ``first .. end`` holds. A missing number fails; a word's code is a bit of the mask."""
    for c in range(first, end):
        value = facts[conditions[c, Co.FACT]]
        if conditions[c, Co.RANGE] == 1:
            if value == MISSING or value < conditions[c, Co.LOW] or value > conditions[c, Co.HIGH]:
                return False
        elif (conditions[c, Co.MASK] >> value) & 1 == 0:
            return False
    return True


@compiled
def contribute(t: PolicyTables, row: Ints, m: int, facts: Ints, at_ms: int, clock: int, word_bit: int, sign: int, full: bool) -> None:
    """Add one event to measure ``m``: ``sign`` -1 takes it back (then a count only if ``full``; max, distinct, last seen never)."""
    measure = t.measures[m]
    if measure[Me.LOCAL_HOUR] == 1:
        facts[Fact.LOCAL_HOUR] = (at_ms + measure[Me.OFFSET]) % DAY_MS // HOUR_MS
    if not holds(t.conditions, measure[Me.WHERE], measure[Me.WHERE_END], facts):
        return
    cell = cell_of(measure, at_ms, clock)
    if cell < 0:
        return
    kind = measure[Me.KIND]
    if kind == MeasureKind.COUNT:
        if sign > 0 or full:
            row[cell] = saturate(row[cell] + sign)
    elif kind == MeasureKind.SUM or kind == MeasureKind.BALANCE:
        amount = facts[measure[Me.VALUE]]
        if amount == MISSING:
            return
        minus, minus_end = measure[Me.MINUS], measure[Me.MINUS_END]
        if minus < minus_end and holds(t.conditions, minus, minus_end, facts):
            amount = -amount
        row[cell] = saturate(row[cell] + sign * amount)
    elif sign > 0:
        if kind == MeasureKind.MAX:
            amount = facts[measure[Me.VALUE]]
            if amount != MISSING:
                row[cell] = max(row[cell], saturate(amount))
        elif kind == MeasureKind.LAST_SEEN:
            row[cell] = max(row[cell], at_ms)
        elif word_bit >= 0:
            row[cell] |= np.int64(1) << word_bit


@compiled
def word_bit_of(t: PolicyTables, m: int, facts: Ints, events: Ints, i: int) -> int:
    """The bit that a distinct measure sets for event ``i``; -1 for no word, or one outside a closed set."""
    value, closed = t.measures[m, Me.VALUE], t.measures[m, Me.CLOSED_SET]
    if closed >= 0:
        return t.closed_sets[closed, facts[value]]  # type: ignore[no-any-return]
    word = events[value, i]
    return -1 if word == MISSING else word & 63


@compiled
def measure_event(t: PolicyTables, row: Ints, events: Ints, i: int, facts: Ints) -> None:
    """Contribute event ``i`` (a repayment, purchase or transfer) to every measure that watches its topic. ``facts`` is scratch (FACTS,)."""
    reversal = events[Ev.REVERSES_AT, i] != MISSING
    at_ms = events[Ev.REVERSES_AT, i] if reversal else events[Ev.OCCURRED_AT, i]
    clock = row[Col.CLOCK]
    facts[Fact.AMOUNT] = events[Ev.AMOUNT, i]
    facts[Fact.AMOUNT_DUE] = events[Ev.AMOUNT_DUE, i]
    due_at = events[Ev.DUE_AT, i]
    facts[Fact.DAYS_LATE] = MISSING if due_at == MISSING else day_of(t.rules, at_ms) - day_of(t.rules, due_at)
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
    for m in range(t.measures.shape[0]):
        if t.measures[m, Me.SOURCE] != events[Ev.TOPIC, i]:
            continue
        word_bit = -1
        if t.measures[m, Me.KIND] == MeasureKind.DISTINCT:
            word_bit = word_bit_of(t, m, facts, events, i)
        contribute(t, row, m, facts, at_ms, clock, word_bit, sign, full)


@compiled
def measure_outcome(t: PolicyTables, row: Ints, outcome: int, due: int, days_late: int, at_ms: int, clock: int) -> None:
    """Contribute an instalment's outcome to the measures that watch instalments."""
    facts = np.zeros(FACTS, np.int64)
    facts[Fact.AMOUNT] = due
    facts[Fact.AMOUNT_DUE] = due
    facts[Fact.DAYS_LATE] = days_late
    facts[Fact.OUTCOME] = outcome
    for m in range(t.measures.shape[0]):
        if t.measures[m, Me.SOURCE] != INSTALMENT_SOURCE:
            continue
        word_bit = -1
        if t.measures[m, Me.KIND] == MeasureKind.DISTINCT and t.measures[m, Me.CLOSED_SET] >= 0:
            word_bit = t.closed_sets[t.measures[m, Me.CLOSED_SET], facts[t.measures[m, Me.VALUE]]]
        contribute(t, row, m, facts, at_ms, clock, word_bit, 1, False)
