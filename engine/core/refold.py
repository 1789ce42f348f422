"""The kernel of a rebuild: what came is measured again, and what stands is taken from what was announced.

Theory of operation. A rebuild decides nothing. An event moves its account's clock and does its work on the row as in ``engine.core.decide``,
without being judged; the changes that were announced because of it then put their standing in the row's place, and with it what follows from a
change (its number, the days of the last change, decrease, closing, end of an offer). Changes that time alone has caused come before the event
that was later than they. So at each event the row's standing is what it was when the event was decided, and what is measured of the line's usage
is exact.

The commands that are answered without a change of their own (hold, override, ceiling, opting out, the release of the former) are done again
if they were answered with yes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from engine.core.decide import forget, is_duplicate, is_evaluated, move_clock, remember, start_standing, take_profile
from engine.core.exposure import remember_movement
from engine.core.instalments import observe_arrears, repay
from engine.core.jit import compiled
from engine.core.layout import FIGURES_AT, MISSING, STANDING_COLUMNS, Block, Col, Command, Ev, Fig, Kind, Released, Standing, Topic, Verdict
from engine.core.measures import measure_event, measure_usage
from engine.core.tables import Ints
from engine.core.windows import day_of


class Said(IntEnum):
    """Columns of a change that was announced; behind them its standing (STANDING_COLUMNS)."""

    AT = 0
    KIND = 1
    SEQUENCE = 2


STANDING_AT: Final = len(Said)
SAID_COLUMNS: Final = STANDING_AT + STANDING_COLUMNS


class Span(IntEnum):
    """Rows of the matrix that says which changes belong to an event: first one and count of those before it, likewise of those because of it."""

    BEFORE = 0
    BEFORE_COUNT = 1
    AFTER = 2
    AFTER_COUNT = 3


@compiled
def clamp_first(row: Ints, horizon: int) -> None:
    """Nothing is known of the time before ``horizon``, so no account's history begins before it."""
    if row[Col.FIRST_AT] != MISSING and row[Col.FIRST_AT] < horizon:
        row[Col.FIRST_AT] = horizon


@compiled
def stand(t: Ints, row: Ints, said: Ints) -> None:
    """Put an announced standing in the row's place, at the row's clock."""
    kind, today = said[Said.KIND], day_of(t, row[Col.CLOCK])
    offer_before = row[Col.OFFER]
    for k in range(STANDING_COLUMNS):
        row[Col.STANDING + k] = said[STANDING_AT + k]
    row[Col.SEQUENCE] = said[Said.SEQUENCE]
    row[Col.LAST_CHANGE_AT] = row[Col.CLOCK]
    if kind == Kind.GRANT or kind == Kind.INCREASE or kind == Kind.DECREASE or kind == Kind.OFFER_ACCEPTED:
        row[Col.LAST_CHANGE_DAY] = today
    if kind == Kind.DECREASE:
        row[Col.LAST_DECREASE_DAY] = today
    if kind == Kind.CLOSE:
        row[Col.CLOSED_DAY] = today
    if offer_before != MISSING and row[Col.OFFER] != offer_before:
        row[Col.OFFER_ENDED_DAY] = today


@compiled
def stand_at(t: Ints, row: Ints, said: Ints, first: int, count: int, horizon: int, facts: Ints) -> None:
    """The changes ``said[first:first + count]``, each at its own time."""
    for k in range(first, first + count):
        move_clock(t, row, said[k, Said.AT], said[k, Said.AT], facts)
        clamp_first(row, horizon)
        stand(t, row, said[k])


@compiled
def heed(t: Ints, row: Ints, events: Ints, i: int) -> None:
    """A command that was answered with yes, as far as it makes no change."""
    kind, of = events[Ev.COMMAND_KIND, i], events[Ev.COMMAND_OF, i]
    if kind == Command.HOLD:
        row[Col.HOLD_UNTIL] = events[Ev.COMMAND_UNTIL, i]
    elif kind == Command.OVERRIDE:
        row[Col.OVERRIDE_LIMIT], row[Col.OVERRIDE_UNTIL] = events[Ev.COMMAND_LIMIT, i], events[Ev.COMMAND_UNTIL, i]
    elif kind == Command.RELEASE and of == Released.HOLD:
        row[Col.HOLD_UNTIL] = MISSING
    elif kind == Command.RELEASE and of == Released.OVERRIDE:
        row[Col.OVERRIDE_LIMIT], row[Col.OVERRIDE_UNTIL] = MISSING, MISSING
    elif kind == Command.SET_CEILING:
        row[Col.CEILING] = events[Ev.COMMAND_LIMIT, i]
    elif kind == Command.OPT_OUT:
        row[Col.OPTED_OUT_DAY] = day_of(t, row[Col.CLOCK])
    elif kind == Command.UNFREEZE and events[Ev.CAUSE, i] == Block.TAKEOVER:
        row[Col.TAKEOVER_LIFTED_DAY] = day_of(t, row[Col.CLOCK])


@compiled
def take_again(t: Ints, row: Ints, events: Ints, i: int, profiles: Ints, accepted: int, facts: Ints) -> int:
    """One event on its account's row, unjudged. ``accepted``: a command was answered with yes. Returns its Verdict."""
    topic, profile_row = events[Ev.TOPIC, i], events[Ev.PROFILE_ROW, i]
    if topic == Topic.PROFILE and profile_row == MISSING:
        return forget(t, row)
    if is_duplicate(row, events[Ev.FINGERPRINT, i]):
        return Verdict.DUPLICATE
    if topic == Topic.PROFILE and profiles[profile_row, Fig.AS_OF] <= row[FIGURES_AT + Fig.AS_OF]:
        return Verdict.STALE
    remember(row, events[Ev.FINGERPRINT, i])
    row[Col.ACCEPTED] += 1
    move_clock(t, row, events[Ev.OCCURRED_AT, i], events[Ev.CLOCK, i], facts)
    if topic == Topic.PROFILE:
        take_profile(t, row, profiles[profile_row])
    start_standing(t, row)
    if topic == Topic.COMMAND:
        if accepted == 1:
            heed(t, row, events, i)
    elif topic != Topic.PROFILE:
        measure_event(t, row, events, i, facts)
        if topic == Topic.REPAYMENT:
            repay(t, row, events, i, facts)
        remember_movement(row, events, i)
    if topic != Topic.COMMAND:
        measure_usage(t, row, facts)
    observe_arrears(t, row, row[Col.CLOCK])
    return Verdict.ACCEPTED if is_evaluated(t, row) else Verdict.NO_PROFILE


@compiled
def refold(
    t: Ints,
    rows: Ints,
    events: Ints,
    order: Ints,
    profiles: Ints,
    said: Ints,
    spans: Ints,
    accepted: Ints,
    horizon: int,
    verdicts: Ints,
    facts: Ints,
) -> None:
    """Take events ``order`` again. ``said`` (k, SAID_COLUMNS) holds what was announced, ``spans`` (4, n) which of it belongs to each event
    (``Span``), ``accepted`` (n,) which commands were answered with yes; the other arguments are those of ``decide.run``."""
    for i in order:
        row = rows[events[Ev.SLOT, i]]
        stand_at(t, row, said, spans[Span.BEFORE, i], spans[Span.BEFORE_COUNT, i], horizon, facts)
        verdicts[i] = take_again(t, row, events, i, profiles, accepted[i], facts)
        clamp_first(row, horizon)
        for k in range(spans[Span.AFTER, i], spans[Span.AFTER, i] + spans[Span.AFTER_COUNT, i]):
            if row[Col.CLOCK] == MISSING:
                move_clock(t, row, said[k, Said.AT], said[k, Said.AT], facts)
                clamp_first(row, horizon)
            stand(t, row, said[k])


@compiled
def restore_standings(t: Ints, rows: Ints, slots: Ints, said: Ints, spans: Ints, horizon: int, facts: Ints) -> None:
    """What is left to be said of accounts ``rows[slots]``: their changes ``spans`` (2, n; first and count) of ``said``. Of an account of which
    nothing came and whose line is not open only the number of its last change is kept, as of one that was forgotten."""
    for place in range(slots.shape[0]):
        row, first, count = rows[slots[place]], spans[Span.BEFORE, place], spans[Span.BEFORE_COUNT, place]
        last = first + count - 1
        if row[Col.CLOCK] == MISSING and said[last, STANDING_AT] != Standing.OPEN:
            row[Col.SEQUENCE] = said[last, Said.SEQUENCE]
        else:
            stand_at(t, row, said, first, count, horizon, facts)
