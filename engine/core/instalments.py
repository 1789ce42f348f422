"""Instalments, days past due and cure (docs/policy.md §4).

An account holds at most ``INSTALMENTS_MAX`` instalments in order of arrival, each (loan, due_at, due, paid, flags). A settled one is kept for
``SETTLED_KEEP_DAYS`` after its due day, so that an overpayment or a reversal that comes late finds it.
"""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import (
    DAY_MS,
    INSTALMENT_FIELDS,
    INSTALMENTS_AT,
    INSTALMENTS_MAX,
    MISSING,
    SETTLED_BIT,
    SETTLED_KEEP_DAYS,
    SHARED_BIT,
    Col,
    Ev,
    Inst,
    Outcome,
)
from engine.core.measures import measure_outcome
from engine.core.tables import Ints, Ru
from engine.core.windows import day_of, saturate


@compiled
def entry_at(index: int) -> int:
    """Where the row holds the instalment of that index."""
    return INSTALMENTS_AT + index * INSTALMENT_FIELDS


@compiled
def drop(row: Ints, index: int) -> None:
    """Take one instalment out; the later ones move up."""
    count = row[Col.INSTALMENTS] - 1
    for cell in range(entry_at(index), entry_at(count)):
        row[cell] = row[cell + INSTALMENT_FIELDS]
    row[entry_at(count) : entry_at(count + 1)] = 0
    row[Col.INSTALMENTS] = count


@compiled
def count_once(t: Ints, row: Ints, entry: int, outcome: int, at_ms: int, clock: int, facts: Ints) -> None:
    """Count an outcome of the instalment, unless it was counted before."""
    bit = 1 << outcome
    if row[entry + Inst.FLAGS] & bit:
        return
    row[entry + Inst.FLAGS] |= bit
    days_late = day_of(t, at_ms) - day_of(t, row[entry + Inst.DUE_AT])
    measure_outcome(t, row, outcome, row[entry + Inst.DUE], days_late, at_ms, clock, facts)


@compiled
def settle(t: Ints, row: Ints, clock: int, facts: Ints) -> None:
    """The clock has moved: forget what was settled long ago, count what has become past due."""
    today = day_of(t, clock)
    index = 0
    while index < row[Col.INSTALMENTS]:
        entry = entry_at(index)
        settled = row[entry + Inst.FLAGS] & SETTLED_BIT != 0
        if settled and day_of(t, row[entry + Inst.DUE_AT]) + SETTLED_KEEP_DAYS < today:
            drop(row, index)
        else:
            index += 1
    for i in range(row[Col.INSTALMENTS]):
        entry = entry_at(i)
        past_due_from = day_of(t, row[entry + Inst.DUE_AT]) + t[Ru.GRACE_DAYS] + 1
        if row[entry + Inst.FLAGS] & SETTLED_BIT or past_due_from > today:
            continue
        outcome = Outcome.PARTIAL if row[entry + Inst.PAID] > 0 else Outcome.MISSED
        count_once(t, row, entry, outcome, past_due_from * DAY_MS - t[Ru.UTC_OFFSET], clock, facts)


@compiled
def find(row: Ints, loan: int, due_at: int) -> int:
    """Index of the instalment, or -1."""
    for index in range(row[Col.INSTALMENTS]):
        entry = entry_at(index)
        if row[entry + Inst.LOAN] == loan and row[entry + Inst.DUE_AT] == due_at:
            return index
    return -1


@compiled
def make_room(row: Ints) -> bool:
    """Drop the settled instalment with the smallest due_at; False if none is settled."""
    oldest = -1
    for index in range(row[Col.INSTALMENTS]):
        entry = entry_at(index)
        if row[entry + Inst.FLAGS] & SETTLED_BIT and (oldest < 0 or row[entry + Inst.DUE_AT] < row[entry_at(oldest) + Inst.DUE_AT]):
            oldest = index
    if oldest < 0:
        return False
    drop(row, oldest)
    return True


@compiled
def repay(t: Ints, row: Ints, events: Ints, i: int, facts: Ints) -> None:
    """What repayment ``i`` does to its instalment."""
    reversal = events[Ev.REVERSES_AT, i] != MISSING
    amount, due = events[Ev.AMOUNT, i], events[Ev.AMOUNT_DUE, i]
    index = find(row, events[Ev.LOAN, i], events[Ev.DUE_AT, i])
    if index >= 0:
        entry = entry_at(index)
        if reversal:
            row[entry + Inst.PAID] = saturate(row[entry + Inst.PAID] - amount)
        else:
            row[entry + Inst.PAID] = saturate(row[entry + Inst.PAID] + amount)
            if row[entry + Inst.FLAGS] & SHARED_BIT == 0:
                row[entry + Inst.DUE] = due
    else:
        paid = due - amount if reversal else amount
        if row[Col.INSTALMENTS] < INSTALMENTS_MAX or make_room(row):
            entry = entry_at(row[Col.INSTALMENTS])
            row[Col.INSTALMENTS] += 1
            row[entry + Inst.LOAN] = events[Ev.LOAN, i]
            row[entry + Inst.DUE_AT] = events[Ev.DUE_AT, i]
            row[entry + Inst.DUE] = due
            row[entry + Inst.PAID] = paid
            row[entry + Inst.FLAGS] = 0
        else:
            entry = entry_at(INSTALMENTS_MAX - 1)
            row[entry + Inst.FLAGS] |= SHARED_BIT
            row[entry + Inst.DUE] = saturate(row[entry + Inst.DUE] + due)
            row[entry + Inst.PAID] = saturate(row[entry + Inst.PAID] + paid)
    was_settled = row[entry + Inst.FLAGS] & SETTLED_BIT != 0
    if row[entry + Inst.PAID] < row[entry + Inst.DUE] - t[Ru.TOLERANCE]:
        row[entry + Inst.FLAGS] &= ~SETTLED_BIT
        return
    row[entry + Inst.FLAGS] |= SETTLED_BIT
    if not was_settled and not reversal:
        at_ms = events[Ev.OCCURRED_AT, i]
        in_time = day_of(t, at_ms) <= day_of(t, row[entry + Inst.DUE_AT]) + t[Ru.GRACE_DAYS]
        count_once(t, row, entry, Outcome.ON_TIME if in_time else Outcome.LATE, at_ms, row[Col.CLOCK], facts)


@compiled
def days_past_due(t: Ints, row: Ints, clock: int) -> int:
    """Days past due of the oldest open instalment beyond its grace days; 0 when current."""
    today = day_of(t, clock)
    largest = 0
    for index in range(row[Col.INSTALMENTS]):
        entry = entry_at(index)
        if row[entry + Inst.FLAGS] & SETTLED_BIT == 0:
            late = today - day_of(t, row[entry + Inst.DUE_AT])
            if late > t[Ru.GRACE_DAYS]:
                largest = max(largest, late)
    return largest


@compiled
def bucket_of(t: Ints, past_due: int) -> int:
    """Arrears bucket 0 (current) .. 4."""
    bucket = 0
    for lower in range(Ru.BUCKET_1, Ru.BUCKET_4 + 1):
        if past_due >= t[lower]:
            bucket += 1
    return bucket


@compiled
def observe_arrears(t: Ints, row: Ints, clock: int) -> int:
    """Note arrears or cure as they stand now; returns the bucket."""
    bucket = bucket_of(t, days_past_due(t, row, clock))
    if bucket > 0:
        row[Col.CURED_ON] = MISSING
    elif row[Col.BUCKET] > 0:
        row[Col.CURED_ON] = day_of(t, clock)
    row[Col.BUCKET] = bucket
    return bucket


@compiled
def in_cure(t: Ints, row: Ints, clock: int) -> bool:
    """Whether the account was in arrears too recently to be raised."""
    cured_on = row[Col.CURED_ON]
    return cured_on != MISSING and day_of(t, clock) - cured_on < t[Ru.CURE_DAYS]
