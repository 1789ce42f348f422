"""Changes of the standing and how they are told: each is a decision with the standing before and after it (docs/policy.md §8, §9).

Every function that emits takes the decision matrix ``d`` and the number ``n`` of decisions in it, and returns the number after it.
"""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import DAY_MS, MISSING, STANDING_COLUMNS, Announced, Block, Col, Kind, Out, Standing
from engine.core.tables import SEGMENT, Ba, Ints, Ru, Se
from engine.core.windows import day_of


@compiled
def in_force(row: Ints, until: int) -> bool:
    """Whether what ends at the instant in column ``until`` has not ended yet; False if there is nothing."""
    return row[until] > row[Col.CLOCK]


@compiled
def limit_in_force(row: Ints) -> int:
    """The limit that draws are checked against: the temporary one while it is in force."""
    return row[Col.TEMPORARY_LIMIT] if in_force(row, Col.TEMPORARY_UNTIL) else row[Col.LIMIT]


@compiled
def midnight_after(t: Ints, row: Ints, days: int) -> int:
    """The local midnight that begins the day so many days after today, in ms."""
    return (day_of(t, row[Col.CLOCK]) + days) * DAY_MS - t[Ru.UTC_OFFSET]


@compiled
def has_passed(t: Ints, row: Ints, since_day: int, days: int) -> bool:
    """Whether a day is unknown or at least ``days`` days ago."""
    return since_day == MISSING or day_of(t, row[Col.CLOCK]) - since_day >= days


@compiled
def begin(d: Ints, n: int, row: Ints, kind: int, cause: int) -> None:
    """Begin decision ``n``: its kind, and the standing before it."""
    out = d[n]
    out[Out.KIND] = kind
    out[Out.CAUSE] = cause
    for k in range(STANDING_COLUMNS):
        out[Out.PREVIOUS + k] = row[Col.STANDING + k]


@compiled
def finish(d: Ints, n: int, row: Ints) -> int:
    """Finish decision ``n``: the standing after it."""
    out = d[n]
    out[Out.SEQUENCE] = row[Col.SEQUENCE]
    for k in range(STANDING_COLUMNS):
        out[Out.NEW + k] = row[Col.STANDING + k]
    return n + 1


@compiled
def finish_change(d: Ints, n: int, row: Ints) -> int:
    """Finish decision ``n``, a change: it takes the next sequence number."""
    row[Col.SEQUENCE] += 1
    row[Col.LAST_CHANGE_AT] = row[Col.CLOCK]
    return finish(d, n, row)


@compiled
def say(d: Ints, n: int, row: Ints, kind: int, cause: int) -> int:
    """Emit what leaves the standing as it is: an advisory, or the answer to a command."""
    begin(d, n, row, kind, cause)
    return finish(d, n, row)


@compiled
def set_block(d: Ints, n: int, row: Ints, block: int, wanted: bool) -> int:
    """Bring one block to ``wanted``; emits freeze or unfreeze if it was otherwise."""
    bit = 1 << block
    if (row[Col.BLOCKS] & bit != 0) == wanted:
        return n
    begin(d, n, row, Kind.FREEZE if wanted else Kind.UNFREEZE, block)
    row[Col.BLOCKS] ^= bit
    return finish_change(d, n, row)


@compiled
def give_up(row: Ints, first: int, last: int) -> None:
    """Clear the columns ``first .. last`` of a standing."""
    for column in range(first, last + 1):
        row[column] = MISSING


@compiled
def drop_offer(t: Ints, row: Ints) -> None:
    """The offer, if there is one, has ended today."""
    if row[Col.OFFER] != MISSING:
        give_up(row, Col.OFFER, Col.OFFER_UNTIL)
        row[Col.OFFER_ENDED_DAY] = day_of(t, row[Col.CLOCK])


@compiled
def close_line(t: Ints, d: Ints, n: int, row: Ints, by_command: bool) -> int:
    """End an open line, with everything that only an open line has."""
    if row[Col.STANDING] != Standing.OPEN:
        return n
    begin(d, n, row, Kind.CLOSE, by_command)
    row[Col.STANDING] = Standing.CLOSED
    row[Col.LIMIT] = 0
    row[Col.BAND] = MISSING
    row[Col.BLOCKS] &= ~((1 << Block.PAST_DUE) | (1 << Block.OVER_CAP))
    drop_offer(t, row)
    give_up(row, Col.TEMPORARY_LIMIT, Col.PENDING_RATE_AT)
    row[Col.CLOSED_DAY] = day_of(t, row[Col.CLOCK])
    return finish_change(d, n, row)


@compiled
def change_limit(t: Ints, d: Ints, n: int, row: Ints, kind: int, band: int, limit: int, tier: int) -> int:
    """Emit grant, increase, decrease or offer_accepted. ``band`` and ``tier`` are places of the policy, the latter -1 without one. A pending
    limit ends, a raise ends a live offer, and who had no line gets the tier."""
    begin(d, n, row, kind, 0)
    today = day_of(t, row[Col.CLOCK])
    if row[Col.STANDING] != Standing.OPEN and tier >= 0:
        row[Col.RATE_TIER] = t[tier + Ba.CODE]
    row[Col.STANDING] = Standing.OPEN
    row[Col.LIMIT] = limit
    row[Col.BAND] = t[band + Ba.CODE]
    give_up(row, Col.PENDING_LIMIT, Col.PENDING_AT)
    row[Col.LAST_CHANGE_DAY] = today
    if kind == Kind.DECREASE:
        row[Col.LAST_DECREASE_DAY] = today
    else:
        drop_offer(t, row)
    return finish_change(d, n, row)


@compiled
def end_offer(t: Ints, d: Ints, n: int, row: Ints, kind: int) -> int:
    """The offer is declined or has expired."""
    begin(d, n, row, kind, 0)
    drop_offer(t, row)
    return finish_change(d, n, row)


@compiled
def may_offer(t: Ints, segment: int, row: Ints) -> bool:
    """Whether no offer is live and the last one ended long enough ago."""
    return not in_force(row, Col.OFFER_UNTIL) and has_passed(t, row, row[Col.OFFER_ENDED_DAY], t[segment + Se.OFFER_REST_DAYS])


@compiled
def make_offer(t: Ints, segment: int, d: Ints, n: int, row: Ints, limit: int) -> int:
    """Offer a limit."""
    begin(d, n, row, Kind.OFFER, 0)
    row[Col.OFFER] = row[Col.SEQUENCE] + 1
    row[Col.OFFER_LIMIT] = limit
    row[Col.OFFER_UNTIL] = midnight_after(t, row, t[segment + Se.OFFER_DAYS])
    return finish_change(d, n, row)


@compiled
def set_temporary(d: Ints, n: int, row: Ints, kind: int, limit: int, until: int) -> int:
    """Begin (TEMPORARY_START) or end (TEMPORARY_END, MISSING) a temporary limit."""
    begin(d, n, row, kind, 0)
    row[Col.TEMPORARY_LIMIT], row[Col.TEMPORARY_UNTIL] = limit, until
    return finish_change(d, n, row)


@compiled
def set_pending(d: Ints, n: int, row: Ints, kind: int, what: int, value: int, at: int) -> int:
    """Announce (ANNOUNCE) a limit or rate, or withdraw it (ANNOUNCE_WITHDRAWN, MISSING); ``what`` is of ``Announced``."""
    begin(d, n, row, kind, what)
    column = Col.PENDING_LIMIT if what == Announced.LIMIT else Col.PENDING_RATE
    row[column], row[column + 1] = value, at
    return finish_change(d, n, row)


@compiled
def end_what_has_ended(t: Ints, d: Ints, n: int, row: Ints) -> int:
    """Temporary limits and offers whose end has come."""
    if row[Col.TEMPORARY_UNTIL] != MISSING and not in_force(row, Col.TEMPORARY_UNTIL):
        n = set_temporary(d, n, row, Kind.TEMPORARY_END, MISSING, MISSING)
    if row[Col.OFFER_UNTIL] != MISSING and not in_force(row, Col.OFFER_UNTIL):
        n = end_offer(t, d, n, row, Kind.OFFER_EXPIRED)
    return n


@compiled
def segment_number(t: Ints, segment: int) -> int:
    """Number of the segment at a place."""
    return (segment - t[Ru.SEGMENTS]) // SEGMENT
