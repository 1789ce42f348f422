"""Commands: what may be done to a line in which state, and what is done (docs/policy.md §8).

``ALLOWED`` is the table state x command; what else a command asks for is in ``refusal``.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.core.instalments import bucket_of, days_past_due, in_cure
from engine.core.jit import compiled
from engine.core.layout import FIGURES_AT, MISSING, Block, Col, Command, Ev, Fig, Kind, Refused, Released, Standing
from engine.core.standing import close_line, end_offer, in_force, say, set_block, set_temporary
from engine.core.tables import Ints, Se
from engine.core.windows import day_of

ANY_BUT_CLOSED: Final = frozenset({Command.SET_CEILING, Command.OPT_OUT, Command.ACCEPT_OFFER, Command.DECLINE_OFFER})
ALLOWED: Final = np.array(  # (Command, Standing) 1: do, 0: not_open
    [[int(s == Standing.OPEN or (s == Standing.NONE and command in ANY_BUT_CLOSED)) for s in Standing] for command in Command]
)


@compiled
def is_decided_later(kind: int) -> bool:
    """Whether a command asks for a decision of the evaluation's."""
    return kind == Command.ACCEPT_OFFER or kind == Command.REQUEST_INCREASE


@compiled
def end_refusal(t: Ints, segment: int, row: Ints, until: int) -> int:
    """What is wrong with the end that a command sets."""
    if until <= row[Col.CLOCK]:
        return Refused.ENDS_IN_THE_PAST
    return Refused.ENDS_TOO_LATE if until - row[Col.CLOCK] > t[segment + Se.LONGEST_MS] else Refused.NONE


@compiled
def limit_refusal(t: Ints, segment: int, row: Ints, kind: int, limit: int, has_second_person: bool) -> int:
    """What is wrong with the limit that a command sets."""
    if limit > t[segment + Se.LEGAL_CAP]:
        return Refused.ABOVE_LEGAL_CAP
    if row[Col.CEILING] != MISSING and limit > row[Col.CEILING]:
        return Refused.ABOVE_CEILING
    if kind == Command.OVERRIDE and in_force(row, Col.HOLD_UNTIL):
        return Refused.ON_HOLD
    if limit > row[Col.LIMIT]:
        if bucket_of(t, days_past_due(t, row, row[Col.CLOCK])) > 0:
            return Refused.IN_ARREARS
        if in_cure(t, row, row[Col.CLOCK]):
            return Refused.IN_CURE
    second_from = t[segment + Se.SECOND_PERSON_FROM]
    return Refused.SECOND_PERSON_NEEDED if second_from != MISSING and limit >= second_from and not has_second_person else Refused.NONE


@compiled
def is_released(row: Ints, what: int) -> bool:
    """Whether what a release is to end is in force."""
    if what == Released.HOLD:
        return in_force(row, Col.HOLD_UNTIL)
    return in_force(row, Col.OVERRIDE_UNTIL if what == Released.OVERRIDE else Col.TEMPORARY_UNTIL)


@compiled
def refusal(t: Ints, segment: int, row: Ints, events: Ints, i: int) -> int:
    """Why command ``i`` cannot be done (Refused), NONE if it can."""
    kind, limit, of = events[Ev.COMMAND_KIND, i], events[Ev.COMMAND_LIMIT, i], events[Ev.COMMAND_OF, i]
    if ALLOWED[kind, row[Col.STANDING]] == 0:
        return Refused.NOT_OPEN
    if kind == Command.FREEZE or kind == Command.UNFREEZE:
        is_set = (row[Col.BLOCKS] >> events[Ev.CAUSE, i]) & 1 == 1
        if is_set == (kind == Command.FREEZE):
            return Refused.ALREADY_IN_FORCE if is_set else Refused.NOT_IN_FORCE
    if kind == Command.HOLD or kind == Command.OVERRIDE or kind == Command.SET_TEMPORARY_LIMIT:
        refused = end_refusal(t, segment, row, events[Ev.COMMAND_UNTIL, i])
        if refused == Refused.NONE and kind != Command.HOLD:
            refused = limit_refusal(t, segment, row, kind, limit, events[Ev.SECOND_PERSON, i] == 1)
        return refused
    if kind == Command.RELEASE and not is_released(row, of):
        return Refused.NOT_IN_FORCE
    if kind == Command.SET_CEILING and limit == row[Col.CEILING]:
        return Refused.ALREADY_IN_FORCE
    if kind == Command.OPT_OUT and row[Col.OPTED_OUT_DAY] != MISSING and row[FIGURES_AT + Fig.CONSENT_AT] <= row[Col.OPTED_OUT_DAY]:
        return Refused.ALREADY_IN_FORCE
    if (kind == Command.ACCEPT_OFFER or kind == Command.DECLINE_OFFER) and (of == MISSING or of != row[Col.OFFER]):
        return Refused.OFFER_UNKNOWN
    if kind == Command.REQUEST_INCREASE and limit <= row[Col.LIMIT]:
        return Refused.NOT_RAISED
    return Refused.NONE


@compiled
def do(t: Ints, row: Ints, events: Ints, i: int, d: Ints, n: int) -> int:
    """Do command ``i``, as far as it is not decided later. Returns the number of decisions."""
    kind, limit, until = events[Ev.COMMAND_KIND, i], events[Ev.COMMAND_LIMIT, i], events[Ev.COMMAND_UNTIL, i]
    if kind == Command.FREEZE or kind == Command.UNFREEZE:
        if kind == Command.UNFREEZE and events[Ev.CAUSE, i] == Block.TAKEOVER:
            row[Col.TAKEOVER_LIFTED_DAY] = day_of(t, row[Col.CLOCK])
        return set_block(d, n, row, events[Ev.CAUSE, i], kind == Command.FREEZE)
    if kind == Command.HOLD:
        row[Col.HOLD_UNTIL] = until
    elif kind == Command.OVERRIDE:
        row[Col.OVERRIDE_LIMIT], row[Col.OVERRIDE_UNTIL] = limit, until
    elif kind == Command.SET_TEMPORARY_LIMIT:
        return set_temporary(d, n, row, Kind.TEMPORARY_START, limit, until)
    elif kind == Command.RELEASE:
        if events[Ev.COMMAND_OF, i] == Released.TEMPORARY:
            return set_temporary(d, n, row, Kind.TEMPORARY_END, MISSING, MISSING)
        if events[Ev.COMMAND_OF, i] == Released.HOLD:
            row[Col.HOLD_UNTIL] = MISSING
        else:
            row[Col.OVERRIDE_LIMIT], row[Col.OVERRIDE_UNTIL] = MISSING, MISSING
    elif kind == Command.SET_CEILING:
        row[Col.CEILING] = limit
    elif kind == Command.DECLINE_OFFER:
        return end_offer(t, d, n, row, Kind.OFFER_DECLINED)
    elif kind == Command.OPT_OUT:
        row[Col.OPTED_OUT_DAY] = day_of(t, row[Col.CLOCK])
    elif kind == Command.CLOSE:
        return close_line(t, d, n, row, True)
    return n


@compiled
def answer(d: Ints, n: int, row: Ints, refused: int) -> int:
    """The answer to a command. Returns the number of decisions."""
    return say(d, n, row, Kind.COMMAND_ACCEPTED if refused == Refused.NONE else Kind.COMMAND_REFUSED, refused)


@compiled
def obey(t: Ints, segment: int, row: Ints, events: Ints, i: int, d: Ints, n: int) -> tuple[int, int]:
    """Do command ``i`` and answer it. Returns the number of decisions, and the kind of the command if it is still to be decided, else NONE."""
    kind = events[Ev.COMMAND_KIND, i]
    refused = refusal(t, segment, row, events, i)
    if refused == Refused.NONE:
        if is_decided_later(kind):
            return n, kind
        n = do(t, row, events, i, d, n)
    return answer(d, n, row, refused), Command.NONE
