"""The kernel: every event of a batch in order, from the account's row to the decisions it causes.

Theory of operation. ``run`` takes the events in merged order. One event moves its account's clock (tiles leave their windows, instalments
become past due), does its work on the row, and is then judged: features, score, band, target, guards, decision. ``sweep`` does the same for
accounts that time alone goes by for. Everything is int64 in matrices; no Python object, no allocation per event, no clock, no I/O, so the same
batch gives the same rows and decisions on every machine.

The order of an evaluation, and so of what it emits, is that of docs/policy.md §9: ends, command, closing, arrears, temporary limit, takeover,
limit, rate, legal cap, advisories. ``EMISSIONS_MAX`` bounds what one evaluation emits, and ``run`` stops before an event for which the decision
matrix might not have room: the caller takes the decisions out and calls again.
"""

from __future__ import annotations

from typing import Final

from engine.core.brakes import breaker_guard, budget_guard, count_evaluation, is_tripped, raise_limit, tell_brake, write_counts
from engine.core.commands import answer, is_decided_later, obey
from engine.core.exposure import exposure_of, remember_movement, take_snapshot
from engine.core.features import compute_features
from engine.core.guards import decrease_guard, guard_until, has_applied, has_consented, increase_guard, soundness_guard, unasked_guard
from engine.core.instalments import days_past_due, observe_arrears, repay, settle
from engine.core.jit import compiled
from engine.core.layout import (
    ATTRIBUTES_AT,
    CAPS_AT,
    FIGURES,
    FIGURES_AT,
    FINGERPRINT_BITS,
    FINGERPRINTS_AT,
    FINGERPRINTS_MAX,
    MISSING,
    VALUES_AT,
    Announced,
    Block,
    Bound,
    Col,
    Command,
    Ev,
    Fig,
    Guard,
    Kind,
    Out,
    Refused,
    Standing,
    Status,
    Topic,
    Verdict,
)
from engine.core.limits import NO_CAP, is_forced, is_own, target_limit
from engine.core.measures import measure_event, measure_usage
from engine.core.protection import heed_takeover, tell_mismatch, tell_withheld, warn
from engine.core.rates import follow_rate, target_tier
from engine.core.rows import make_blank
from engine.core.scoring import score_of, standing_band, step_of
from engine.core.standing import (
    change_limit,
    close_line,
    drop_offer,
    end_offer,
    end_what_has_ended,
    finish,
    in_force,
    make_offer,
    may_offer,
    midnight_after,
    segment_number,
    set_block,
    set_pending,
    set_temporary,
)
from engine.core.tables import BAND, REQUIREMENT, SEGMENT, El, Ints, Ru, Se
from engine.core.windows import advance, day_of

EMISSIONS_MAX: Final = 16
FINGERPRINT_MASK: Final = (1 << FINGERPRINT_BITS) - 1
TRACE: Final = int(Out.EXPOSURE)  # from this column on a decision's row is the trace of its evaluation


@compiled
def is_duplicate(row: Ints, fingerprint: int) -> bool:
    """Whether the fingerprint is among the account's last accepted ones."""
    for i in range(min(row[Col.FINGERPRINTS], FINGERPRINTS_MAX)):
        if row[FINGERPRINTS_AT + i] == fingerprint & FINGERPRINT_MASK:
            return True
    return False


@compiled
def remember(row: Ints, fingerprint: int) -> None:
    """Put the fingerprint in the place of the oldest."""
    row[FINGERPRINTS_AT + row[Col.FINGERPRINTS] % FINGERPRINTS_MAX] = fingerprint & FINGERPRINT_MASK
    row[Col.FINGERPRINTS] += 1


@compiled
def move_clock(t: Ints, row: Ints, occurred_at: int, clock: int, facts: Ints) -> None:
    """Now = max(now, occurred_at, shard clock), and what follows from it."""
    old = row[Col.CLOCK]
    now = max(old, occurred_at, clock)
    row[Col.CLOCK] = now
    if old == MISSING:
        row[Col.FIRST_AT] = occurred_at
        return
    advance(t, row, old, now)
    settle(t, row, now, facts)
    observe_arrears(t, row, now)


@compiled
def segment_of(t: Ints, row: Ints) -> int:
    """Place of the account's segment; the default one without a profile or where the policy does not define it."""
    number = row[FIGURES_AT + Fig.SEGMENT]
    if number == MISSING or t[t[Ru.SEGMENTS] + number * SEGMENT + Se.DEFINED] == 0:
        number = t[Ru.DEFAULT_SEGMENT]
    return t[Ru.SEGMENTS] + number * SEGMENT


@compiled
def is_over(row: Ints) -> bool:
    """Whether the profile's status ends the line."""
    status = row[FIGURES_AT + Fig.STATUS]
    return status == Status.CLOSED or status == Status.DECEASED or status == Status.INSOLVENT or status == Status.WRITTEN_OFF


@compiled
def is_evaluated(t: Ints, row: Ints) -> bool:
    """Whether the account is judged at all: it has a profile, or the policy needs none."""
    return row[FIGURES_AT + Fig.AS_OF] != MISSING or t[Ru.NEEDS_PROFILE] == 0


@compiled
def take_profile(t: Ints, row: Ints, profile: Ints) -> None:
    """Replace the held snapshot; ``granted`` is the standing of an account that never had one."""
    for figure in range(FIGURES):
        row[FIGURES_AT + figure] = profile[figure]
    for attribute in range(t[Ru.ATTRIBUTES]):
        row[ATTRIBUTES_AT + attribute] = profile[FIGURES + attribute]
    take_snapshot(row, profile[Fig.AS_OF])
    if row[Col.STANDING] == Standing.NONE and profile[Fig.GRANTED_LIMIT] != MISSING:
        row[Col.STANDING] = Standing.OPEN
        row[Col.LIMIT] = profile[Fig.GRANTED_LIMIT]
        row[Col.BAND] = profile[Fig.GRANTED_BAND]
        drop_offer(t, row)
        row[Col.LAST_CHANGE_DAY] = profile[Fig.GRANTED_SINCE]


@compiled
def start_standing(t: Ints, row: Ints) -> None:
    """Put the segment's initial standing in force for an account that never had one."""
    segment = segment_of(t, row)
    if is_evaluated(t, row) and row[Col.STANDING] == Standing.NONE and t[segment + Se.INITIAL_LIMIT] != MISSING and not is_over(row):
        row[Col.STANDING] = Standing.OPEN
        row[Col.LIMIT] = t[segment + Se.INITIAL_LIMIT]
        row[Col.BAND] = t[segment + Se.INITIAL_BAND]
        drop_offer(t, row)


@compiled
def decide_acceptance(t: Ints, segment: int, row: Ints, band: int, target: int, tier: int, guard: int, d: Ints, n: int) -> tuple[int, int]:
    """Answer ``accept_offer``, decided with the target as it is now; ``guard`` is what withholds the limit but for the budget. Returns the number
    of decisions and the guard that withheld it."""
    if guard != Guard.NONE:
        return answer(d, n, row, Refused.GUARD + guard), guard
    if target < row[Col.OFFER_LIMIT] or target == 0:
        n = answer(d, n, row, Refused.OFFER_STALE)
        return end_offer(t, d, n, row, Kind.OFFER_EXPIRED), Guard.NONE
    guard = budget_guard(t, segment, row[Col.OFFER_LIMIT] - row[Col.LIMIT])
    if guard != Guard.NONE:
        return answer(d, n, row, Refused.GUARD + guard), guard
    n = raise_limit(t, segment, d, n, row, Kind.OFFER_ACCEPTED, band, row[Col.OFFER_LIMIT], tier)
    return answer(d, n, row, Refused.NONE), Guard.NONE


@compiled
def decide_offer(t: Ints, segment: int, row: Ints, target: int, d: Ints, n: int) -> tuple[int, int]:
    """Offer what only the customer's yes is missing for. Returns the number of decisions and the guard that withheld it."""
    if not may_offer(t, segment, row):
        return n, Guard.CONSENT_MISSING
    guard = budget_guard(t, segment, target - row[Col.LIMIT])
    return (n, guard) if guard != Guard.NONE else (make_offer(t, segment, d, n, row, target), Guard.NONE)


@compiled
def decide_first(
    t: Ints, segment: int, row: Ints, band: int, target: int, tier: int, bucket: int, values: Ints, ask: int, d: Ints, n: int
) -> tuple[int, int, int]:
    """The first limit of a line, or none. Returns the number of decisions, the guard that withheld it, and the requirement that bit."""
    if target == 0 and ask != Command.ACCEPT_OFFER:
        return n, (Guard.NOT_EARNED if has_applied(t, row) else Guard.NONE), -1
    guard, requirement = soundness_guard(t, segment, row, bucket, values, False)
    if ask == Command.ACCEPT_OFFER:
        n, guard = decide_acceptance(t, segment, row, band, target, tier, guard, d, n)
        return n, guard, requirement
    if guard != Guard.NONE:
        return n, guard, requirement
    if has_applied(t, row):
        guard = budget_guard(t, segment, target - row[Col.LIMIT])
        if guard == Guard.NONE:
            n = raise_limit(t, segment, d, n, row, Kind.GRANT, band, target, tier)
        return n, guard, -1
    if row[Col.CLOSED_DAY] == MISSING and t[segment + Se.UNSOLICITED] == 1:
        guard = unasked_guard(t, segment, row)
        if guard == Guard.NONE:
            n, guard = decide_offer(t, segment, row, target, d, n)
        return n, guard, -1
    return n, Guard.CONSENT_MISSING, -1


@compiled
def decide_increase(
    t: Ints, segment: int, row: Ints, band: int, target: int, bucket: int, values: Ints, ask: int, is_correction: bool, d: Ints, n: int
) -> tuple[int, int, int]:
    """A higher limit of an open line, by itself or because it was asked for. Returns as ``decide_first``."""
    guard, requirement = increase_guard(t, segment, row, bucket, values, ask != Command.NONE, is_correction)
    if ask == Command.ACCEPT_OFFER:
        if in_force(row, Col.OVERRIDE_UNTIL):
            guard, requirement = Guard.OVERRIDE, -1
        n, guard = decide_acceptance(t, segment, row, band, target, -1, guard, d, n)
        return n, guard, requirement
    is_overridden = in_force(row, Col.OVERRIDE_UNTIL)
    needs_consent = ask != Command.REQUEST_INCREASE and not is_overridden and not has_consented(t, segment, row)
    if guard == Guard.NONE and needs_consent:
        n, guard = decide_offer(t, segment, row, target, d, n)
        return n, guard, -1
    if guard == Guard.NONE and is_overridden:
        n = change_limit(t, d, n, row, Kind.INCREASE, band, target, -1)
    elif guard == Guard.NONE:
        guard = budget_guard(t, segment, target - row[Col.LIMIT])
        if guard == Guard.NONE:
            n = raise_limit(t, segment, d, n, row, Kind.INCREASE, band, target, -1)
    if ask == Command.REQUEST_INCREASE:
        n = answer(d, n, row, Refused.NONE if guard == Guard.NONE else Refused.GUARD + guard)
    return n, guard, requirement


@compiled
def decide_decrease(
    t: Ints, segment: int, row: Ints, band: int, target: int, is_young: bool, by_appetite: bool, forced: bool, own: bool, d: Ints, n: int
) -> tuple[int, int]:
    """A lower limit of an open line; ``is_young``: it is the score that asks for it, with windows that reach back before the account's first
    record; ``by_appetite``: it is the lender's appetite. Returns the number of decisions and the guard that withheld it."""
    if in_force(row, Col.HOLD_UNTIL) and not forced:
        return n, Guard.HOLD
    if forced or own or in_force(row, Col.OVERRIDE_UNTIL):
        return change_limit(t, d, n, row, Kind.DECREASE, band, target, -1), Guard.NONE
    if row[Col.PENDING_LIMIT] != MISSING:
        if row[Col.PENDING_AT] > row[Col.CLOCK]:
            return n, Guard.NOTICE_RUNNING
        if is_tripped(t, segment):
            return n, Guard.BREAKER
        return change_limit(t, d, n, row, Kind.DECREASE, band, max(target, row[Col.PENDING_LIMIT]), -1), Guard.NONE
    guard = decrease_guard(t, segment, row, is_young)
    if guard == Guard.NONE:
        guard = breaker_guard(t, segment, by_appetite)
    if guard != Guard.NONE:
        return n, guard
    days = t[segment + Se.NOTICE_DAYS]
    if days > 0:
        return set_pending(d, n, row, Kind.ANNOUNCE, Announced.LIMIT, target, midnight_after(t, row, days)), Guard.NONE
    return change_limit(t, d, n, row, Kind.DECREASE, band, target, -1), Guard.NONE


@compiled
def decide_limit(
    t: Ints,
    segment: int,
    row: Ints,
    band: int,
    target: int,
    tier: int,
    bucket: int,
    values: Ints,
    is_young: bool,
    by_appetite: bool,
    forced: bool,
    own: bool,
    ask: int,
    is_correction: bool,
    d: Ints,
    n: int,
) -> tuple[int, int, int]:
    """Step 8: what becomes of the limit. Returns as ``decide_first``."""
    if row[Col.STANDING] != Standing.OPEN:
        return decide_first(t, segment, row, band, target, tier, bucket, values, ask, d, n)
    is_due = row[Col.PENDING_LIMIT] != MISSING and row[Col.PENDING_AT] <= row[Col.CLOCK] and not in_force(row, Col.OVERRIDE_UNTIL)
    if ask == Command.NONE and is_due and target >= row[Col.LIMIT]:
        return set_pending(d, n, row, Kind.ANNOUNCE_WITHDRAWN, Announced.LIMIT, MISSING, MISSING), Guard.NONE, -1
    if ask != Command.NONE or target > row[Col.LIMIT]:
        return decide_increase(t, segment, row, band, target, bucket, values, ask, is_correction, d, n)
    if target < row[Col.LIMIT]:
        n, guard = decide_decrease(t, segment, row, band, target, is_young, by_appetite, forced, own, d, n)
        return n, guard, -1
    return n, Guard.NONE, -1


@compiled
def share_trace(d: Ints, first: int, n: int) -> None:
    """The decisions of one evaluation have one trace: copy it from the first to the others."""
    for k in range(first + 1, n):
        for column in range(TRACE, d.shape[1]):
            d[k, column] = d[first, column]


@compiled
def requirement_code(t: Ints, segment: int, requirement: int) -> int:
    """Code of the requirement or warning of a number (``guards.failed_requirement``), MISSING for -1."""
    if requirement < 0:
        return MISSING
    place = t[segment + Se.ELIGIBILITY] + requirement * REQUIREMENT
    if place >= t[segment + Se.ELIGIBILITY_END]:
        place += t[segment + Se.WARNINGS] - t[segment + Se.ELIGIBILITY_END]
    return t[place + El.CODE]


@compiled
def write_trace(t: Ints, segment: int, row: Ints, out: Ints, score: int, band: int, bucket: int, warming_up: bool) -> None:
    """The part of a trace that every evaluation has; where nothing is judged the guard is CLOSED."""
    out[Out.SEGMENT] = segment_number(t, segment)
    out[Out.EXPOSURE] = exposure_of(row)
    out[Out.EXPOSURE_AS_OF] = row[FIGURES_AT + Fig.AS_OF]
    out[Out.SCORE] = score
    out[Out.TARGET_BAND] = (band - t[segment + Se.BANDS]) // BAND
    out[Out.TARGET_LIMIT] = 0
    out[Out.BOUND_BY] = Bound.BAND
    out[Out.BUCKET] = bucket
    out[Out.DAYS_PAST_DUE] = days_past_due(t, row, row[Col.CLOCK])
    out[Out.WARMING_UP] = warming_up
    out[Out.FORCED] = False
    out[Out.GUARD] = Guard.CLOSED
    out[Out.REQUIREMENT] = -1
    out[Out.SIGNALS] = 0
    out[Out.GUARD_UNTIL] = MISSING
    out[Out.CURED_ON] = row[Col.CURED_ON]
    out[Out.APPLIED_SEQUENCE] = row[FIGURES_AT + Fig.APPLIED_SEQUENCE]
    out[Out.APPLIED_LIMIT] = row[FIGURES_AT + Fig.APPLIED_LIMIT]
    for column in range(Out.BRAKE_DAY, Out.BRAKE_LOWERED + 1):
        out[column] = 0


@compiled
def end_temporary(t: Ints, segment: int, row: Ints, bucket: int, d: Ints, n: int) -> int:
    """A temporary limit that law, the customer's ceiling or arrears do not allow any more ends. Returns the number of decisions."""
    limit = row[Col.TEMPORARY_LIMIT]
    if not in_force(row, Col.TEMPORARY_UNTIL):
        return n
    is_above = limit > t[segment + Se.LEGAL_CAP] or (row[Col.CEILING] != MISSING and limit > row[Col.CEILING])
    if is_above or (bucket > 0 and limit > row[Col.LIMIT]):
        return set_temporary(d, n, row, Kind.TEMPORARY_END, MISSING, MISSING)
    return n


@compiled
def evaluate(
    t: Ints,
    row: Ints,
    d: Ints,
    first: int,
    n: int,
    bucket: int,
    ask: int,
    asked: int,
    is_correction: bool,
    shard_clock: int,
    is_new: bool,
) -> int:
    """Judge the account as it stands; decisions ``first .. n`` are those of what has ended and of the command. ``ask`` is a command that is
    decided here (``is_decided_later``), ``asked`` its limit; ``is_new``: the evaluation is one of those that the brakes count. Returns the number
    of decisions.

    The trace is written to row ``first`` whether or not anything is emitted there.
    """
    segment = segment_of(t, row)
    out = d[first]
    bins_at = d.shape[1] - t[Ru.CHARACTERISTICS_MAX]
    caps, values, bins = out[CAPS_AT:VALUES_AT], out[VALUES_AT:bins_at], out[bins_at:]
    is_ended = is_over(row)
    if is_ended:
        n = close_line(t, d, n, row, False)
        drop_offer(t, row)
    is_open = row[Col.STANDING] == Standing.OPEN
    warming_up = compute_features(t, segment, row, values)
    score = score_of(t, segment, values, bins)
    band = step_of(t, t[segment + Se.BANDS], t[segment + Se.BANDS_END], score, standing_band(t, segment, row) if is_open else -1)
    write_trace(t, segment, row, out, score, band, bucket, warming_up)
    if is_ended:
        caps[:] = NO_CAP  # the row may be that of another account before
        n = answer(d, n, row, Refused.NOT_OPEN) if is_decided_later(ask) else n
        return tell_mismatch(t, segment, row, d, n)
    if is_open:
        n = set_block(d, n, row, Block.PAST_DUE, bucket >= t[Ru.BLOCK_DRAWING_BUCKET])
        n = end_temporary(t, segment, row, bucket, d, n)
        n, out[Out.SIGNALS] = heed_takeover(t, segment, row, values, d, n)
    forced = is_open and is_forced(t, segment, row, bucket)
    own = is_open and not forced and is_own(t, segment, row)
    target, bound = target_limit(t, segment, row, band, bucket, out[Out.EXPOSURE], caps, forced, own)
    wanted = target
    if ask == Command.REQUEST_INCREASE:
        wanted = min(target, asked // t[segment + Se.ROUND_TO] * t[segment + Se.ROUND_TO])
    tier = target_tier(t, segment, row, score)
    limit_before = row[Col.LIMIT]
    count_evaluation(t, segment, shard_clock, is_new)
    guard: int = Guard.NONE
    requirement = -1
    if ask == Command.REQUEST_INCREASE and wanted <= limit_before:
        n = answer(d, n, row, Refused.NOT_RAISED)
    else:
        by_score = caps[Bound.BAND] < limit_before
        by_appetite = not by_score and caps[Bound.APPETITE] < limit_before
        is_young = warming_up and by_score
        n, guard, requirement = decide_limit(
            t, segment, row, band, wanted, tier, bucket, values, is_young, by_appetite, forced, own, ask, is_correction, d, n
        )
        if wanted < target and guard == Guard.NONE:
            target, bound = wanted, Bound.REQUESTED
    if row[Col.STANDING] == Standing.OPEN:
        n = follow_rate(t, segment, d, n, row, tier, bucket)
        n = set_block(d, n, row, Block.OVER_CAP, row[Col.LIMIT] > t[segment + Se.LEGAL_CAP])
    n = tell_brake(t, segment, row, guard, d, n)
    if row[Col.STANDING] == Standing.OPEN:
        n = warn(t, segment, row, values, d, n)
    if ask == Command.NONE and (not is_open or target > limit_before):
        n = tell_withheld(t, segment, row, guard, requirement_code(t, segment, requirement), target, d, n)
    write_counts(t, segment, out)
    out[Out.TARGET_LIMIT] = target
    out[Out.BOUND_BY] = bound
    out[Out.FORCED] = forced
    out[Out.GUARD] = guard
    out[Out.GUARD_UNTIL] = guard_until(t, segment, row, guard)
    out[Out.REQUIREMENT] = requirement
    return tell_mismatch(t, segment, row, d, n)


@compiled
def forget(t: Ints, row: Ints) -> int:
    """Do the wish to forget an account without an open line: nothing stays but the number of its last change, so that a later life under the
    same id goes on counting. Returns the Verdict."""
    if row[Col.STANDING] == Standing.OPEN:
        return Verdict.LINE_OPEN
    if row[Col.CLOCK] == MISSING:
        return Verdict.NOTHING_HELD
    sequence = row[Col.SEQUENCE]
    make_blank(t, row)
    row[Col.SEQUENCE] = sequence
    return Verdict.FORGOTTEN


@compiled
def take_event(t: Ints, row: Ints, events: Ints, i: int, profiles: Ints, facts: Ints, d: Ints, first: int) -> tuple[int, int]:
    """One event on its account's row. Returns its Verdict and the number of decisions after it."""
    topic = events[Ev.TOPIC, i]
    profile_row = events[Ev.PROFILE_ROW, i]
    if topic == Topic.PROFILE and profile_row == MISSING:
        return forget(t, row), first
    if is_duplicate(row, events[Ev.FINGERPRINT, i]):
        return Verdict.DUPLICATE, first
    if topic == Topic.PROFILE and profiles[profile_row, Fig.AS_OF] <= row[FIGURES_AT + Fig.AS_OF]:
        return Verdict.STALE, first
    remember(row, events[Ev.FINGERPRINT, i])
    row[Col.ACCEPTED] += 1
    day_before = day_of(t, row[Col.CLOCK]) if row[Col.CLOCK] != MISSING else MISSING
    move_clock(t, row, events[Ev.OCCURRED_AT, i], events[Ev.CLOCK, i], facts)
    if topic == Topic.PROFILE:
        take_profile(t, row, profiles[profile_row])
    start_standing(t, row)
    evaluated = is_evaluated(t, row)
    n = end_what_has_ended(t, d, first, row) if evaluated and not is_over(row) else first
    ask: int = Command.NONE
    if topic == Topic.COMMAND:
        if evaluated:
            n, ask = obey(t, segment_of(t, row), row, events, i, d, n)
        else:
            n = answer(d, n, row, Refused.NO_PROFILE)
    elif topic != Topic.PROFILE:
        measure_event(t, row, events, i, facts)
        if topic == Topic.REPAYMENT:
            repay(t, row, events, i, facts)
        remember_movement(row, events, i)
    if topic != Topic.COMMAND:
        measure_usage(t, row, facts)
    bucket = observe_arrears(t, row, row[Col.CLOCK])
    if evaluated:
        is_correction = topic == Topic.PROFILE and profiles[profile_row, Fig.CORRECTS] == 1
        asked, clock = events[Ev.COMMAND_LIMIT, i], events[Ev.CLOCK, i]
        n = evaluate(t, row, d, first, n, bucket, ask, asked, is_correction, clock, day_before < day_of(t, clock))
    d[first, Out.EVALUATED] = evaluated
    share_trace(d, first, n)
    return (Verdict.ACCEPTED if evaluated else Verdict.NO_PROFILE), n


@compiled
def stamp(d: Ints, first: int, n: int, event: int, slot: int, clock: int) -> None:
    """Say in decisions ``first .. n`` what they are about."""
    for k in range(first, n):
        d[k, Out.EVENT] = event
        d[k, Out.SLOT] = slot
        d[k, Out.CLOCK] = clock


@compiled
def take_tick(t: Ints, row: Ints, clock: int, facts: Ints, d: Ints, first: int) -> int:
    """Time has gone by for an account: its clock moves on to the shard's, and it is judged. Returns the number of decisions after it."""
    move_clock(t, row, MISSING, clock, facts)
    start_standing(t, row)
    if not is_evaluated(t, row):
        return first
    n = end_what_has_ended(t, d, first, row) if not is_over(row) else first
    n = evaluate(t, row, d, first, n, observe_arrears(t, row, row[Col.CLOCK]), Command.NONE, MISSING, False, clock, True)
    d[first, Out.EVALUATED] = True
    share_trace(d, first, n)
    return n


@compiled
def sweep(t: Ints, rows: Ints, slots: Ints, start: int, clock: int, facts: Ints, d: Ints) -> tuple[int, int]:
    """Let time go by for the accounts ``rows[slots[start:]]`` until the end or until ``d`` might overflow; the arguments are those of ``run``.
    Returns the place in ``slots`` to go on from and the number of decisions in ``d``."""
    n = 0
    for place in range(start, slots.shape[0]):
        if n + EMISSIONS_MAX > d.shape[0]:
            return place, n
        row = rows[slots[place]]
        end = take_tick(t, row, clock, facts, d, n) if row[Col.CLOCK] != MISSING else n
        stamp(d, n, end, place, slots[place], row[Col.CLOCK])
        n = end
    return slots.shape[0], n


@compiled
def run(
    t: Ints, rows: Ints, events: Ints, order: Ints, profiles: Ints, start: int, d: Ints, verdicts: Ints, facts: Ints
) -> tuple[int, int]:
    """Take events ``order[start:]`` in order until the end or until ``d`` might overflow.

    ``rows`` (accounts, width) is changed in place; ``events`` (EVENT_COLUMNS, n), ``order`` (n,) indices into it, ``profiles``
    (p, figures + attributes), ``d`` (D, decision_columns), ``verdicts`` (n,) by event, ``facts``
    (FACTS,) scratch. Returns the place in ``order`` to go on from and the number of decisions in ``d``.
    """
    n = 0
    for place in range(start, order.shape[0]):
        if n + EMISSIONS_MAX > d.shape[0]:
            return place, n
        i = order[place]
        row = rows[events[Ev.SLOT, i]]
        verdict, end = take_event(t, row, events, i, profiles, facts, d, n)
        verdicts[i] = verdict
        stamp(d, n, end, i, events[Ev.SLOT, i], row[Col.CLOCK])
        n = end
    return order.shape[0], n


@compiled
def look(t: Ints, row: Ints, clock: int, facts: Ints, d: Ints, told: Ints) -> bool:
    """What stands at a moment and how the account would be judged, in row 0 of ``told`` (1, decision_columns), which is zeros; ``row`` and ``d``
    are used up. Returns False if it is not judged, for want of a profile."""
    move_clock(t, row, row[Col.CLOCK], clock, facts)
    told[0, Out.CLOCK] = row[Col.CLOCK]
    finish(told, 0, row)
    if row[FIGURES_AT + Fig.AS_OF] == MISSING and t[Ru.NEEDS_PROFILE]:
        told[0, Out.EXPOSURE] = told[0, Out.EXPOSURE_AS_OF] = MISSING
        return False
    bucket = observe_arrears(t, row, row[Col.CLOCK])
    evaluate(t, row, d, 0, 0, bucket, Command.NONE, MISSING, False, row[Col.CLOCK], False)
    for column in range(Out.EXPOSURE, d.shape[1]):
        told[0, column] = d[0, column]
    return True
