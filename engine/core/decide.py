"""The kernel: every event of a batch in order, from the account's row to the decisions it causes.

Theory of operation. ``run`` takes the events in merged order. One event moves its account's clock (tiles leave their windows, instalments
become past due), does its work on the row, and is then judged: features, score, band, target, guards, decision. Everything is int64 in
matrices; no Python object, no allocation per event, no clock, no I/O, so the same batch gives the same rows and decisions on every machine.

Emissions of one event, in this order: the command's freeze or unfreeze and its answer; ``close``; what arrears block or release; grant,
increase or decrease; what the legal cap blocks or releases. ``EMISSIONS_MAX`` bounds them, and ``run`` stops before an
event for which the decision matrix might not have room: the caller takes the decisions out and calls again.
"""

from __future__ import annotations

from typing import Final

from engine.core.exposure import exposure_of, remember_movement, take_snapshot
from engine.core.features import compute_features
from engine.core.guards import decrease_guard, grant_guard, increase_guard
from engine.core.instalments import days_past_due, observe_arrears, repay, settle
from engine.core.jit import compiled
from engine.core.layout import (
    ATTRIBUTES_AT,
    CAPS_AT,
    FIGURES,
    FIGURES_AT,
    FINGERPRINTS_AT,
    FINGERPRINTS_MAX,
    MISSING,
    VALUES_AT,
    Block,
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
from engine.core.limits import is_forced, target_limit
from engine.core.measures import measure_event
from engine.core.rows import make_blank
from engine.core.scoring import band_of, score_of, standing_band
from engine.core.tables import BAND, SEGMENT, Ba, Ints, Ru, Se
from engine.core.windows import advance, day_of

EMISSIONS_MAX: Final = 6
TRACE: Final = int(Out.EXPOSURE)  # from this column on a decision's row is the trace of its evaluation


@compiled
def is_duplicate(row: Ints, fingerprint: int) -> bool:
    """Whether the fingerprint is among the account's last accepted ones."""
    for i in range(min(row[Col.FINGERPRINTS], FINGERPRINTS_MAX)):
        if row[FINGERPRINTS_AT + i] == fingerprint:
            return True
    return False


@compiled
def remember(row: Ints, fingerprint: int) -> None:
    """Put the fingerprint in the place of the oldest."""
    row[FINGERPRINTS_AT + row[Col.FINGERPRINTS] % FINGERPRINTS_MAX] = fingerprint
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
        row[Col.LAST_CHANGE_DAY] = profile[Fig.GRANTED_SINCE]


@compiled
def start_standing(t: Ints, row: Ints) -> None:
    """Put the segment's initial standing in force for an account that never had one."""
    known = row[FIGURES_AT + Fig.AS_OF] != MISSING or t[Ru.NEEDS_PROFILE] == 0
    segment = segment_of(t, row)
    if known and row[Col.STANDING] == Standing.NONE and t[segment + Se.INITIAL_LIMIT] != MISSING and not is_over(row):
        row[Col.STANDING] = Standing.OPEN
        row[Col.LIMIT] = t[segment + Se.INITIAL_LIMIT]
        row[Col.BAND] = t[segment + Se.INITIAL_BAND]


@compiled
def open_decision(d: Ints, n: int, row: Ints, kind: int, cause: int) -> None:
    """Begin decision ``n``: the standing before it, and the kind."""
    out = d[n]
    out[Out.KIND] = kind
    out[Out.CAUSE] = cause
    out[Out.PREVIOUS_LIMIT] = row[Col.LIMIT]
    out[Out.PREVIOUS_BAND] = row[Col.BAND]
    out[Out.PREVIOUS_BLOCKS] = row[Col.BLOCKS]
    out[Out.PREVIOUS_STANDING] = row[Col.STANDING]


@compiled
def close_decision(d: Ints, n: int, row: Ints) -> None:
    """Finish decision ``n``: the standing after it."""
    out = d[n]
    out[Out.SEQUENCE] = row[Col.SEQUENCE]
    out[Out.LIMIT] = row[Col.LIMIT]
    out[Out.BAND] = row[Col.BAND]
    out[Out.BLOCKS] = row[Col.BLOCKS]
    out[Out.STANDING] = row[Col.STANDING]


@compiled
def set_block(d: Ints, n: int, row: Ints, block: int, wanted: bool) -> int:
    """Bring one block to ``wanted``; emits freeze or unfreeze if it was otherwise. Returns the number of decisions."""
    bit = 1 << block
    if (row[Col.BLOCKS] & bit != 0) == wanted:
        return n
    open_decision(d, n, row, Kind.FREEZE if wanted else Kind.UNFREEZE, block)
    row[Col.BLOCKS] ^= bit
    row[Col.SEQUENCE] += 1
    close_decision(d, n, row)
    return n + 1


@compiled
def refusal(row: Ints, kind: int, block: int, evaluated: bool) -> int:
    """Why a command cannot be done (Refused), NONE if it can."""
    if not evaluated:
        return Refused.NO_PROFILE
    if kind == Command.OTHER:
        return Refused.NOT_SUPPORTED
    if row[Col.STANDING] != Standing.OPEN:
        return Refused.NOT_OPEN
    is_set = (row[Col.BLOCKS] >> block) & 1 == 1
    if kind == Command.FREEZE and is_set:
        return Refused.ALREADY_IN_FORCE
    if kind == Command.UNFREEZE and not is_set:
        return Refused.NOT_IN_FORCE
    return Refused.NONE


@compiled
def obey(row: Ints, kind: int, block: int, evaluated: bool, d: Ints, n: int) -> int:
    """Do a command and answer it. Returns the number of decisions."""
    refused = refusal(row, kind, block, evaluated)
    if refused == Refused.NONE:
        n = set_block(d, n, row, block, kind == Command.FREEZE)
    open_decision(d, n, row, Kind.COMMAND_ACCEPTED if refused == Refused.NONE else Kind.COMMAND_REFUSED, refused)
    close_decision(d, n, row)
    return n + 1


@compiled
def close_line(t: Ints, d: Ints, n: int, row: Ints) -> int:
    """End an open line. Returns the number of decisions."""
    if row[Col.STANDING] != Standing.OPEN:
        return n
    open_decision(d, n, row, Kind.CLOSE, 0)
    row[Col.STANDING] = Standing.CLOSED
    row[Col.LIMIT] = 0
    row[Col.BAND] = MISSING
    row[Col.BLOCKS] &= ~((1 << Block.PAST_DUE) | (1 << Block.OVER_CAP))
    row[Col.CLOSED_DAY] = day_of(t, row[Col.CLOCK])
    row[Col.SEQUENCE] += 1
    close_decision(d, n, row)
    return n + 1


@compiled
def change_limit(t: Ints, d: Ints, n: int, row: Ints, kind: int, band: int, limit: int) -> int:
    """Emit grant, increase or decrease. Returns the number of decisions."""
    open_decision(d, n, row, kind, 0)
    today = day_of(t, row[Col.CLOCK])
    row[Col.STANDING] = Standing.OPEN
    row[Col.LIMIT] = limit
    row[Col.BAND] = t[band + Ba.CODE]
    row[Col.LAST_CHANGE_DAY] = today
    if kind == Kind.DECREASE:
        row[Col.LAST_DECREASE_DAY] = today
    row[Col.SEQUENCE] += 1
    close_decision(d, n, row)
    return n + 1


@compiled
def choose_change(
    t: Ints, segment: int, row: Ints, target: int, bucket: int, values: Ints, warming_up: bool, forced: bool
) -> tuple[int, int]:
    """The kind of change that the target asks for, or -1, and the guard that withheld it."""
    if row[Col.STANDING] != Standing.OPEN:
        if target == 0:
            return -1, Guard.NONE
        guard = grant_guard(t, segment, row, bucket, values)
        return (Kind.GRANT if guard == Guard.NONE else -1), guard
    if target > row[Col.LIMIT]:
        guard = increase_guard(t, segment, row, bucket, values)
        return (Kind.INCREASE if guard == Guard.NONE else -1), guard
    if target < row[Col.LIMIT]:
        guard = Guard.NONE if forced else decrease_guard(t, segment, row, warming_up)
        return (Kind.DECREASE if guard == Guard.NONE else -1), guard
    return -1, Guard.NONE


@compiled
def share_trace(d: Ints, first: int, n: int) -> None:
    """The decisions of one evaluation have one trace: copy it from the first to the others."""
    for k in range(first + 1, n):
        for column in range(TRACE, d.shape[1]):
            d[k, column] = d[first, column]


@compiled
def evaluate(t: Ints, row: Ints, d: Ints, first: int, n: int, bucket: int) -> int:
    """Judge the account as it stands; decisions ``first .. n`` are the command's own. Returns the number of decisions.

    The trace is written to row ``first`` whether or not anything is emitted there.
    """
    segment = segment_of(t, row)
    is_open = row[Col.STANDING] == Standing.OPEN
    out = d[first]
    bins_at = d.shape[1] - t[Ru.CHARACTERISTICS_MAX]
    caps, values, bins = out[CAPS_AT:VALUES_AT], out[VALUES_AT:bins_at], out[bins_at:]
    warming_up = compute_features(t, segment, row, values)
    score = score_of(t, segment, values, bins)
    band = band_of(t, segment, score, standing_band(t, segment, row) if is_open else -1)
    exposure = exposure_of(row)
    target, bound = target_limit(t, segment, row, band, bucket, exposure, caps)
    forced = is_open and is_forced(t, segment, row, bucket)
    guard: int = Guard.CLOSED
    if is_over(row):
        n = close_line(t, d, n, row)
    else:
        if is_open:
            n = set_block(d, n, row, Block.PAST_DUE, bucket >= t[Ru.BLOCK_DRAWING_BUCKET])
        kind, guard = choose_change(t, segment, row, target, bucket, values, warming_up, forced)
        if kind >= 0:
            n = change_limit(t, d, n, row, kind, band, target)
        if row[Col.STANDING] == Standing.OPEN:
            n = set_block(d, n, row, Block.OVER_CAP, row[Col.LIMIT] > t[segment + Se.LEGAL_CAP])
    out[Out.SEGMENT] = (segment - t[Ru.SEGMENTS]) // SEGMENT
    out[Out.EXPOSURE] = exposure
    out[Out.EXPOSURE_AS_OF] = row[FIGURES_AT + Fig.AS_OF]
    out[Out.SCORE] = score
    out[Out.TARGET_BAND] = (band - t[segment + Se.BANDS]) // BAND
    out[Out.TARGET_LIMIT] = target
    out[Out.BOUND_BY] = bound
    out[Out.BUCKET] = bucket
    out[Out.DAYS_PAST_DUE] = days_past_due(t, row, row[Col.CLOCK])
    out[Out.WARMING_UP] = warming_up
    out[Out.FORCED] = forced
    out[Out.GUARD] = guard
    return n


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
    move_clock(t, row, events[Ev.OCCURRED_AT, i], events[Ev.CLOCK, i], facts)
    if topic == Topic.PROFILE:
        take_profile(t, row, profiles[profile_row])
    start_standing(t, row)
    evaluated = row[FIGURES_AT + Fig.AS_OF] != MISSING or t[Ru.NEEDS_PROFILE] == 0
    n = first
    if topic == Topic.COMMAND:
        n = obey(row, events[Ev.COMMAND_KIND, i], events[Ev.CAUSE, i], evaluated, d, n)
    elif topic != Topic.PROFILE:
        measure_event(t, row, events, i, facts)
        if topic == Topic.REPAYMENT:
            repay(t, row, events, i, facts)
        remember_movement(row, events, i)
    bucket = observe_arrears(t, row, row[Col.CLOCK])
    if evaluated:
        n = evaluate(t, row, d, first, n, bucket)
    d[first, Out.EVALUATED] = evaluated
    share_trace(d, first, n)
    return (Verdict.ACCEPTED if evaluated else Verdict.NO_PROFILE), n


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
        for k in range(n, end):
            d[k, Out.EVENT] = i
            d[k, Out.SLOT] = events[Ev.SLOT, i]
            d[k, Out.CLOCK] = row[Col.CLOCK]
        n = end
    return order.shape[0], n
