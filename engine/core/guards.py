"""Guards: what may hold a change back, asked in one written order (docs/policy.md §9.7, ``layout.Guard``)."""

from __future__ import annotations

from engine.core.instalments import in_cure
from engine.core.jit import compiled
from engine.core.layout import FIGURES_AT, MISSING, Col, Fig, Guard
from engine.core.tables import REQUIREMENT, El, Ints, Se
from engine.core.windows import day_of


@compiled
def failed_requirement(t: Ints, segment: int, row: Ints, values: Ints) -> int:
    """The first requirement (its place) that the account fails; -1 if it is eligible."""
    today = day_of(t, row[Col.CLOCK])
    for requirement in range(t[segment + Se.ELIGIBILITY], t[segment + Se.ELIGIBILITY_END], REQUIREMENT):
        value = values[t[requirement + El.SOURCE]] if t[requirement + El.IS_FEATURE] == 1 else row[t[requirement + El.SOURCE]]
        if value == MISSING:
            if t[requirement + El.PASS_UNKNOWN] == 0:
                return requirement
            continue
        if t[requirement + El.IS_WORD] == 1:
            if (t[requirement + El.MASK] >> value) & 1 == 0:
                return requirement
            continue
        if t[requirement + El.AGE] == 1:
            value = today - value
        if value < t[requirement + El.LOW] or value > t[requirement + El.HIGH]:
            return requirement
    return -1


@compiled
def arrears_guard(t: Ints, segment: int, row: Ints, bucket: int, values: Ints) -> int:
    """The guards that a first grant and an increase share."""
    if bucket > 0:
        return Guard.IN_ARREARS
    if in_cure(t, row, row[Col.CLOCK]):
        return Guard.IN_CURE
    if failed_requirement(t, segment, row, values) >= 0:
        return Guard.NOT_ELIGIBLE
    return Guard.NONE


@compiled
def grant_guard(t: Ints, segment: int, row: Ints, bucket: int, values: Ints) -> int:
    """What stops a first grant: the shared guards, then an application that is missing or older than the line's closing."""
    guard = arrears_guard(t, segment, row, bucket, values)
    if guard != Guard.NONE:
        return guard
    applied_at = row[FIGURES_AT + Fig.APPLIED_AT]
    if applied_at == MISSING or day_of(t, applied_at) <= row[Col.CLOSED_DAY]:
        return Guard.CONSENT_MISSING
    return Guard.NONE


@compiled
def increase_guard(t: Ints, segment: int, row: Ints, bucket: int, values: Ints) -> int:
    """What stops an increase."""
    if row[Col.BLOCKS] != 0:
        return Guard.BLOCKED
    guard = arrears_guard(t, segment, row, bucket, values)
    if guard == Guard.NONE and rests(t, row, row[Col.LAST_CHANGE_DAY], t[segment + Se.UP_DAYS]):
        return Guard.COOL_DOWN_UP
    return guard


@compiled
def decrease_guard(t: Ints, segment: int, row: Ints, warming_up: bool) -> int:
    """What stops a decrease that nothing forces."""
    if rests(t, row, row[Col.LAST_DECREASE_DAY], t[segment + Se.DOWN_DAYS]):
        return Guard.COOL_DOWN_DOWN
    return Guard.WARMING_UP if warming_up else Guard.NONE


@compiled
def rests(t: Ints, row: Ints, since_day: int, days: int) -> bool:
    """Whether fewer than ``days`` days have gone by since a day that is known."""
    return since_day != MISSING and day_of(t, row[Col.CLOCK]) - since_day < days
