"""Guards: what may hold a change back, asked in one written order (docs/policy.md §9.7, ``layout.Guard``)."""

from __future__ import annotations

from engine.core.instalments import in_cure
from engine.core.jit import compiled
from engine.core.layout import FIGURES_AT, MISSING, Col, Fig, Guard
from engine.core.tables import El, Ints, PolicyTables, Se
from engine.core.windows import day_of


@compiled
def failed_requirement(t: PolicyTables, segment: int, row: Ints, values: Ints) -> int:
    """The first requirement (a row of ``eligibility``) that the account fails; -1 if it is eligible."""
    today = day_of(t.rules, row[Col.CLOCK])
    for e in range(t.segments[segment, Se.ELIGIBILITY], t.segments[segment, Se.ELIGIBILITY_END]):
        requirement = t.eligibility[e]
        value = values[requirement[El.SOURCE]] if requirement[El.IS_FEATURE] == 1 else row[requirement[El.SOURCE]]
        if value == MISSING:
            if requirement[El.PASS_UNKNOWN] == 0:
                return e
            continue
        if requirement[El.MASK_ROW] >= 0:
            if t.word_masks[requirement[El.MASK_ROW], value] == 0:
                return e
            continue
        if requirement[El.AGE] == 1:
            value = today - value
        if value < requirement[El.LOW] or value > requirement[El.HIGH]:
            return e
    return -1


@compiled
def arrears_guard(t: PolicyTables, segment: int, row: Ints, bucket: int, values: Ints) -> int:
    """The guards that a first grant and an increase share."""
    if bucket > 0:
        return Guard.IN_ARREARS
    if in_cure(t.rules, row, row[Col.CLOCK]):
        return Guard.IN_CURE
    if failed_requirement(t, segment, row, values) >= 0:
        return Guard.NOT_ELIGIBLE
    return Guard.NONE


@compiled
def grant_guard(t: PolicyTables, segment: int, row: Ints, bucket: int, values: Ints) -> int:
    """What stops a first grant: the shared guards, then an application that is missing or older than the line's closing."""
    guard = arrears_guard(t, segment, row, bucket, values)
    if guard != Guard.NONE:
        return guard
    applied_at = row[FIGURES_AT + Fig.APPLIED_AT]
    if applied_at == MISSING or day_of(t.rules, applied_at) <= row[Col.CLOSED_DAY]:
        return Guard.CONSENT_MISSING
    return Guard.NONE


@compiled
def increase_guard(t: PolicyTables, segment: int, row: Ints, bucket: int, values: Ints) -> int:
    """What stops an increase."""
    if row[Col.BLOCKS] != 0:
        return Guard.BLOCKED
    guard = arrears_guard(t, segment, row, bucket, values)
    if guard == Guard.NONE and rests(t, row, row[Col.LAST_CHANGE_DAY], t.segments[segment, Se.UP_DAYS]):
        return Guard.COOL_DOWN_UP
    return guard


@compiled
def decrease_guard(t: PolicyTables, segment: int, row: Ints, warming_up: bool) -> int:
    """What stops a decrease that nothing forces."""
    if rests(t, row, row[Col.LAST_DECREASE_DAY], t.segments[segment, Se.DOWN_DAYS]):
        return Guard.COOL_DOWN_DOWN
    return Guard.WARMING_UP if warming_up else Guard.NONE


@compiled
def rests(t: PolicyTables, row: Ints, since_day: int, days: int) -> bool:
    """Whether fewer than ``days`` days have gone by since a day that is known."""
    return since_day != MISSING and day_of(t.rules, row[Col.CLOCK]) - since_day < days
