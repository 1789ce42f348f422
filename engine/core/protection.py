"""What protects the customer, and what is said without a change: takeovers, over-borrowing, withheld increases, mismatches (docs/policy.md
§9.6, §9.10)."""

from __future__ import annotations

from engine.core.guards import first_warning, passes
from engine.core.jit import compiled
from engine.core.layout import FIGURES_AT, MISSING, Block, Col, Fig, Guard, Kind, Standing
from engine.core.standing import has_passed, limit_in_force, midnight_after, say, set_block
from engine.core.tables import REQUIREMENT, El, Ints, Ru, Se


@compiled
def heed_takeover(t: Ints, segment: int, row: Ints, values: Ints, d: Ints, n: int) -> tuple[int, int]:
    """Freeze an open line that somebody else seems to use, and tell the risk desk. Returns the number of decisions, and the bit set of the
    signals that hold."""
    points, held = 0, 0
    for signal in range(t[segment + Se.SIGNALS], t[segment + Se.SIGNALS_END], REQUIREMENT):
        if passes(t, signal, row, values):
            points += t[signal + El.POINTS]
            held |= 1 << ((signal - t[segment + Se.SIGNALS]) // REQUIREMENT)
    is_suspected = held != 0 and points >= t[segment + Se.FREEZE_FROM] and (row[Col.BLOCKS] >> Block.TAKEOVER) & 1 == 0
    if is_suspected and has_passed(t, row, row[Col.TAKEOVER_LIFTED_DAY], t[segment + Se.TAKEOVER_REST_DAYS]):
        n = set_block(d, n, row, Block.TAKEOVER, True)
        n = say(d, n, row, Kind.SUSPECTED_TAKEOVER, 0)
    return n, held


@compiled
def warn(t: Ints, segment: int, row: Ints, values: Ints, d: Ints, n: int) -> int:
    """Tell an open line's customer that they borrow too much. Returns the number of decisions."""
    warning = first_warning(t, segment, row, values)
    if warning < 0 or (row[Col.WARNED] == t[warning + El.CODE] and row[Col.WARNED_UNTIL] > row[Col.CLOCK]):
        return n
    row[Col.WARNED] = t[warning + El.CODE]
    row[Col.WARNED_UNTIL] = midnight_after(t, row, t[segment + Se.ADVISORY_DAYS])
    return say(d, n, row, Kind.OVER_BORROWING, row[Col.WARNED])


@compiled
def tell_withheld(t: Ints, segment: int, row: Ints, guard: int, code: int, target: int, d: Ints, n: int) -> int:
    """Tell what withholds a first or a higher limit; ``code`` is that of the requirement. Returns the number of decisions."""
    if guard == Guard.NONE or guard == Guard.QUIET_HOURS or guard == Guard.HOLD or guard == Guard.CONSENT_MISSING:
        return n
    is_told = row[Col.WITHHELD] == guard and row[Col.WITHHELD_CODE] == code and row[Col.WITHHELD_TARGET] == target
    if is_told and row[Col.WITHHELD_UNTIL] > row[Col.CLOCK]:
        return n
    row[Col.WITHHELD], row[Col.WITHHELD_CODE], row[Col.WITHHELD_TARGET] = guard, code, target
    row[Col.WITHHELD_UNTIL] = midnight_after(t, row, t[segment + Se.ADVISORY_DAYS])
    return say(d, n, row, Kind.INCREASE_WITHHELD, guard)


@compiled
def tell_mismatch(t: Ints, segment: int, row: Ints, d: Ints, n: int) -> int:
    """Tell that core banking has applied something else for too long. Returns the number of decisions."""
    applied, changed_at = row[FIGURES_AT + Fig.APPLIED_SEQUENCE], row[Col.LAST_CHANGE_AT]
    if t[Ru.RECONCILE_MS] == MISSING or row[Col.STANDING] == Standing.NONE or applied == MISSING:
        return n
    if changed_at != MISSING and row[FIGURES_AT + Fig.AS_OF] - changed_at < t[Ru.RECONCILE_MS]:
        return n
    if applied == row[Col.SEQUENCE] and row[FIGURES_AT + Fig.APPLIED_LIMIT] == limit_in_force(row):
        return n
    if row[Col.MISMATCH] == row[Col.SEQUENCE] and row[Col.MISMATCH_UNTIL] > row[Col.CLOCK]:
        return n
    row[Col.MISMATCH] = row[Col.SEQUENCE]
    row[Col.MISMATCH_UNTIL] = midnight_after(t, row, t[segment + Se.ADVISORY_DAYS])
    return say(d, n, row, Kind.STANDING_MISMATCH, 0)
