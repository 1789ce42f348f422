"""Guards: what may hold a change back, asked in one written order (docs/policy.md §9.8, ``layout.Guard``).

Where a guard is a failed requirement, the requirement is told by its place: those of eligibility first, then the warnings of over-borrowing.
"""

from __future__ import annotations

from engine.core.instalments import in_cure
from engine.core.jit import compiled
from engine.core.layout import DAY_MS, FIGURES_AT, HOUR_MS, MISSING, Col, Fig, Guard, Status
from engine.core.standing import has_passed, in_force
from engine.core.tables import REQUIREMENT, El, Ints, Ru, Se
from engine.core.windows import day_of


@compiled
def passes(t: Ints, test: int, row: Ints, values: Ints) -> bool:
    """Whether a test (its place) is passed."""
    value = values[t[test + El.SOURCE]] if t[test + El.IS_FEATURE] == 1 else row[t[test + El.SOURCE]]
    if value == MISSING:
        return t[test + El.PASS_UNKNOWN] == 1
    if t[test + El.IS_WORD] == 1:
        return (t[test + El.MASK] >> value) & 1 == 1
    if t[test + El.IS_WORD] == 2:
        for place in range(t[test + El.LOW], t[test + El.HIGH]):
            if t[place] == value:
                return True
        return False
    if t[test + El.AGE] == 1:
        value = day_of(t, row[Col.CLOCK]) - value
    return t[test + El.LOW] <= value <= t[test + El.HIGH]


@compiled
def first_warning(t: Ints, segment: int, row: Ints, values: Ints) -> int:
    """Place of the first warning of over-borrowing that holds, -1 if none does."""
    for warning in range(t[segment + Se.WARNINGS], t[segment + Se.WARNINGS_END], REQUIREMENT):
        if passes(t, warning, row, values):
            return warning
    return -1


@compiled
def failed_requirement(t: Ints, segment: int, row: Ints, values: Ints, heeds_warnings: bool) -> tuple[int, int]:
    """The guard of the first requirement that fails, or of a warning that holds, and which one it is; NONE and -1 if nothing stands against it.
    Requirements lie in the order in which their guards are asked, so warnings, of the last of these guards, come behind."""
    first, end = t[segment + Se.ELIGIBILITY], t[segment + Se.ELIGIBILITY_END]
    for requirement in range(first, end, REQUIREMENT):
        if not passes(t, requirement, row, values):
            return t[requirement + El.GUARD], (requirement - first) // REQUIREMENT
    warning = first_warning(t, segment, row, values) if heeds_warnings else -1
    if warning >= 0:
        return Guard.OVER_INDEBTED, (end - first + warning - t[segment + Se.WARNINGS]) // REQUIREMENT
    return Guard.NONE, -1


@compiled
def soundness_guard(t: Ints, segment: int, row: Ints, bucket: int, values: Ints, heeds_warnings: bool) -> tuple[int, int]:
    """The guards that a first limit and a higher one share."""
    if bucket > 0:
        return Guard.IN_ARREARS, -1
    if in_cure(t, row, row[Col.CLOCK]):
        return Guard.IN_CURE, -1
    if row[FIGURES_AT + Fig.STATUS] == Status.FORBEARANCE:
        return Guard.FORBEARANCE, -1
    return failed_requirement(t, segment, row, values, heeds_warnings)


@compiled
def has_applied(t: Ints, row: Ints) -> bool:
    """Whether the profile asks for a line, and since the last one was closed."""
    applied_at = row[FIGURES_AT + Fig.APPLIED_AT]
    return applied_at != MISSING and (row[Col.CLOSED_DAY] == MISSING or day_of(t, applied_at) > row[Col.CLOSED_DAY])


@compiled
def has_opted_out(t: Ints, row: Ints) -> bool:
    """Whether the customer wants no increases unasked: opted out, and consented no later day."""
    today, consent = day_of(t, row[Col.CLOCK]), row[FIGURES_AT + Fig.CONSENT_AT]
    opted_out: int = MISSING
    for day in (row[Col.OPTED_OUT_DAY], row[FIGURES_AT + Fig.OPTED_OUT_AT]):
        if day <= today:
            opted_out = max(opted_out, day)
    return opted_out != MISSING and consent <= opted_out


@compiled
def is_quiet(t: Ints, segment: int, row: Ints) -> bool:
    """Whether it is an hour in which nothing is raised or offered."""
    if t[segment + Se.QUIET] == 0:
        return False
    hour = (row[Col.CLOCK] + t[Ru.UTC_OFFSET]) // HOUR_MS % 24
    first, end = t[segment + Se.QUIET_FROM], t[segment + Se.QUIET_TO]
    return first <= hour < end if first < end else hour >= first or hour < end


@compiled
def unasked_guard(t: Ints, segment: int, row: Ints) -> int:
    """What stops a rise that the customer did not ask for."""
    if has_opted_out(t, row):
        return Guard.OPTED_OUT
    return Guard.QUIET_HOURS if is_quiet(t, segment, row) else Guard.NONE


@compiled
def increase_guard(t: Ints, segment: int, row: Ints, bucket: int, values: Ints, is_asked_for: bool, is_correction: bool) -> tuple[int, int]:
    """What stops an increase, and the requirement if it is one; consent is left to the caller."""
    if in_force(row, Col.HOLD_UNTIL):
        return Guard.HOLD, -1
    if in_force(row, Col.OVERRIDE_UNTIL):
        if bucket > 0:
            return Guard.IN_ARREARS, -1
        return (Guard.IN_CURE if in_cure(t, row, row[Col.CLOCK]) else Guard.NONE), -1
    if row[Col.BLOCKS] != 0:
        return Guard.BLOCKED, -1
    guard, requirement = soundness_guard(t, segment, row, bucket, values, True)
    if guard != Guard.NONE:
        return guard, requirement
    guard = Guard.NONE if is_asked_for else unasked_guard(t, segment, row)
    if guard != Guard.NONE:
        return guard, -1
    if not is_correction and not has_passed(t, row, row[Col.LAST_CHANGE_DAY], t[segment + Se.UP_DAYS]):
        return Guard.COOL_DOWN_UP, -1
    return (Guard.NOTICE_RUNNING if row[Col.PENDING_LIMIT] != MISSING else Guard.NONE), -1


@compiled
def guard_until(t: Ints, segment: int, row: Ints, guard: int) -> int:
    """When a guard lets go if nothing happens, in ms; MISSING if only an event can make it."""
    day: int = MISSING
    if guard == Guard.COOL_DOWN_UP:
        day = row[Col.LAST_CHANGE_DAY] + t[segment + Se.UP_DAYS]
    elif guard == Guard.COOL_DOWN_DOWN:
        day = row[Col.LAST_DECREASE_DAY] + t[segment + Se.DOWN_DAYS]
    elif guard == Guard.IN_CURE:
        day = row[Col.CURED_ON] + t[Ru.CURE_DAYS]
    elif guard == Guard.BUDGET_SPENT:
        day = t[segment + Se.BRAKE_DAY] + 1
    elif guard == Guard.HOLD:
        return row[Col.HOLD_UNTIL]
    elif guard == Guard.OVERRIDE:
        return row[Col.OVERRIDE_UNTIL]
    elif guard == Guard.NOTICE_RUNNING:
        return row[Col.PENDING_AT]
    return MISSING if day == MISSING else day * DAY_MS - t[Ru.UTC_OFFSET]


@compiled
def has_consented(t: Ints, segment: int, row: Ints) -> bool:
    """Whether increases need no further yes of the customer's."""
    consent = row[FIGURES_AT + Fig.CONSENT_AT]
    return t[segment + Se.CONSENT_NEEDED] == 0 or (consent != MISSING and consent <= day_of(t, row[Col.CLOCK]))


@compiled
def decrease_guard(t: Ints, segment: int, row: Ints, is_young: bool) -> int:
    """What stops a decrease that nothing forces and nobody asked for."""
    if not has_passed(t, row, row[Col.LAST_DECREASE_DAY], t[segment + Se.DOWN_DAYS]):
        return Guard.COOL_DOWN_DOWN
    return Guard.WARMING_UP if is_young else Guard.NONE
