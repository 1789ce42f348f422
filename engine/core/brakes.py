"""The portfolio's brakes: a budget of increases and a breaker against mass decreases, for a segment as a whole (docs/policy.md §9c).

Theory of operation. What is counted stands in the segment's entry of the program, the only part of it that the kernel writes: one shard's counts
of one day, which the shard takes out and journals with the accounts (``engine.stream.brakes``). The order of a shard's evaluations is that of
its inputs and sweeps, so a replay counts the same and brakes at the same account.
"""

from __future__ import annotations

from typing import Final

from engine.core.jit import compiled
from engine.core.layout import MISSING, Col, Guard, Kind, Out
from engine.core.standing import change_limit, say
from engine.core.tables import Ints, Se
from engine.core.windows import day_of

TRIPPED: Final = 1
TRIPPED_AND_TOLD: Final = 2


@compiled
def has_brakes(t: Ints, segment: int) -> bool:
    """Whether anything is counted of the segment."""
    return t[segment + Se.BUDGET] != MISSING or t[segment + Se.BREAKER_PERCENT] > 0


@compiled
def count_evaluation(t: Ints, segment: int, shard_clock: int, is_new: bool) -> None:
    """An evaluation of the segment has come; ``is_new``: it counts as one of the day's."""
    if not has_brakes(t, segment):
        return
    today = day_of(t, shard_clock)
    if today != t[segment + Se.BRAKE_DAY]:
        t[segment + Se.BRAKE_DAY] = today
        t[segment + Se.RAISED] = 0
        t[segment + Se.EVALUATED] = 0
        t[segment + Se.LOWERED] = 0
        t[segment + Se.BUDGET_TOLD] = 0
    t[segment + Se.EVALUATED] += is_new


@compiled
def budget_guard(t: Ints, segment: int, rise: int) -> int:
    """What stops a rise that nothing else does."""
    budget = t[segment + Se.BUDGET]
    return Guard.BUDGET_SPENT if budget != MISSING and t[segment + Se.RAISED] + rise > budget else Guard.NONE


@compiled
def raise_limit(t: Ints, segment: int, d: Ints, n: int, row: Ints, kind: int, band: int, limit: int, tier: int) -> int:
    """``change_limit`` upwards, out of the budget. Returns the number of decisions."""
    if has_brakes(t, segment):
        t[segment + Se.RAISED] += limit - row[Col.LIMIT]
    return change_limit(t, d, n, row, kind, band, limit, tier)


@compiled
def breaker_guard(t: Ints, segment: int, by_appetite: bool) -> int:
    """What stops a decrease that nothing else does; if nothing does either, it is counted. ``by_appetite``: it is the lender's appetite that asks
    for it."""
    percent = t[segment + Se.BREAKER_PERCENT]
    if percent == 0:
        return Guard.NONE
    if t[segment + Se.TRIPPED] != 0:
        return Guard.BREAKER
    if by_appetite and t[segment + Se.EXPECTED] > 0:
        t[segment + Se.EXPECTED] -= 1
        return Guard.NONE
    if (t[segment + Se.LOWERED] + 1) * 100 > percent * max(t[segment + Se.EVALUATED], t[segment + Se.MIN_EVALUATIONS]):
        t[segment + Se.TRIPPED] = TRIPPED
        return Guard.BREAKER
    t[segment + Se.LOWERED] += 1
    return Guard.NONE


@compiled
def is_tripped(t: Ints, segment: int) -> bool:
    """Whether the breaker stops every decrease."""
    return t[segment + Se.BREAKER_PERCENT] > 0 and t[segment + Se.TRIPPED] != 0


@compiled
def tell_brake(t: Ints, segment: int, row: Ints, guard: int, d: Ints, n: int) -> int:
    """Tell that a brake has bitten: the budget the first time on a day, the breaker when it trips. Returns the number of decisions."""
    if guard == Guard.BUDGET_SPENT and t[segment + Se.BUDGET_TOLD] == 0:
        t[segment + Se.BUDGET_TOLD] = 1
        return say(d, n, row, Kind.BUDGET_SPENT, 0)
    if guard == Guard.BREAKER and t[segment + Se.TRIPPED] == TRIPPED:
        t[segment + Se.TRIPPED] = TRIPPED_AND_TOLD
        return say(d, n, row, Kind.BREAKER_TRIPPED, 0)
    return n


@compiled
def write_counts(t: Ints, segment: int, out: Ints) -> None:
    """The counts, into a trace."""
    out[Out.BRAKE_DAY] = t[segment + Se.BRAKE_DAY]
    out[Out.BRAKE_RAISED] = t[segment + Se.RAISED]
    out[Out.BRAKE_EVALUATED] = t[segment + Se.EVALUATED]
    out[Out.BRAKE_LOWERED] = t[segment + Se.LOWERED]
