"""Why a decision was made: which reasons are told, by number, the rule that bound the outcome first, then the characteristics that weigh most.

The reasons themselves, and their numbers, are the policy's (``engine.policy.explain``); -1 stands for none.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from engine.core.jit import compiled
from engine.core.layout import CAPS_AT, Announced, Block, Bound, Col, Guard, Kind, Out, Refused, before
from engine.core.tables import Ints

REASONS_MAX: Final = 4
NONE: Final = -1
BAND_CAP: Final = CAPS_AT + Bound.BAND
HELD: Final = before(Col.LIMIT)


class Ru(IntEnum):
    """Places in the table of rules, which has the number of each rule's reason."""

    SCORE = 0
    RATE_CHANGE = 1
    CLOSED_BY_COMMAND = 2
    LINE_ENDED = 3
    KINDS = 4  # by Kind: of those that are their own reason
    BOUNDS = KINDS + len(Kind)  # by Bound
    GUARDS = BOUNDS + len(Bound)
    BLOCKS = GUARDS + len(Guard)
    LIFTED = BLOCKS + len(Block)  # by Block
    END = LIFTED + len(Block)


class Sg(IntEnum):
    """Columns of a segment: which of all segments' characteristics, warnings and signals are its own, and the numbers of the first reasons of its
    characteristics (``Ending``) and tests."""

    FIRST = 0
    FIRST_END = 1
    WARNINGS = 2
    WARNINGS_END = 3
    SIGNALS = 4
    SIGNALS_END = 5
    FEATURES = 6
    TESTS = 7


class Ending(IntEnum):
    """The reasons that a characteristic can give, behind each other: its value is not known, adverse, or favourable."""

    MISSING = 0
    LOW = 1
    GOOD = 2


ENDINGS: Final = len(Ending)


@compiled
def add_features(ranks: Ints, by_rank: Ints, segment: Ints, decision: Ints, bins_at: int, is_adverse: bool, found: Ints, count: int) -> int:
    """Add the characteristics of the highest ranks behind the ``count`` reasons that are found, as many as there is room for; of those below the
    number of characteristics none. Returns how many are found then."""
    first, size, missing = segment[Sg.FIRST], segment[Sg.FIRST_END] - segment[Sg.FIRST], ranks.shape[2] - 1
    end = count
    for row in range(size):
        chosen = decision[bins_at + row]
        own = ranks[1 if is_adverse else 0, first + row, chosen if chosen >= 0 else missing]
        if own < size or (end == REASONS_MAX and (end == count or own <= found[end - 1])):
            continue
        end = min(end + 1, REASONS_MAX)
        place = end - 1
        while place > count and found[place - 1] < own:
            found[place] = found[place - 1]
            place -= 1
        found[place] = own
    for place in range(count, end):
        row = by_rank[first + found[place] % size]
        ending = Ending.MISSING if decision[bins_at + row] < 0 else Ending.LOW if is_adverse else Ending.GOOD
        found[place] = segment[Sg.FEATURES] + ENDINGS * row + ending
    return end


@compiled
def tell_target(
    rules: Ints, ranks: Ints, by_rank: Ints, segment: Ints, decision: Ints, bins_at: int, is_adverse: bool, by_score: bool, found: Ints
) -> None:
    """The rule that bound the target, and, if it was ``by_score``, the characteristics."""
    found[0] = rules[Ru.BOUNDS + decision[Out.BOUND_BY]]
    count = 1 if found[0] != NONE else 0
    if by_score:
        count = add_features(ranks, by_rank, segment, decision, bins_at, is_adverse, found, count)
    if count == 0:
        found[0] = rules[Ru.SCORE]


@compiled
def tell_block(rules: Ints, segment: Ints, signals: Ints, decision: Ints, block: int, found: Ints) -> None:
    """The block, and behind a takeover's the signals that held."""
    found[0] = rules[Ru.BLOCKS + block]
    count = 1
    if block == Block.TAKEOVER:
        for signal in range(segment[Sg.SIGNALS], segment[Sg.SIGNALS_END]):
            if decision[Out.SIGNALS] & signals[signal, 0] != 0 and count < REASONS_MAX:
                found[count] = signals[signal, 1]
                count += 1


@compiled
def guard_reason(rules: Ints, segment: Ints, decision: Ints) -> int:
    """The requirement that was not met, or the guard that withheld."""
    if decision[Out.REQUIREMENT] >= 0:
        return segment[Sg.TESTS] + decision[Out.REQUIREMENT]
    return rules[Ru.GUARDS + decision[Out.GUARD]]


@compiled
def warning_reason(segment: Ints, warnings: Ints, code: int) -> int:
    """The warning of a code."""
    for warning in range(segment[Sg.WARNINGS], segment[Sg.WARNINGS_END]):
        if warnings[warning, 0] == code:
            return warnings[warning, 1]
    return NONE


@compiled
def tell(
    rules: Ints, ranks: Ints, by_rank: Ints, segment: Ints, warnings: Ints, signals: Ints, decision: Ints, bins_at: int, found: Ints
) -> None:
    """Write the reasons of one decision to ``found`` (REASONS_MAX,), which is none: those of the score only where the score alone, by its band's
    limit, would have moved the limit the same way."""
    kind, cause, by_band, held = decision[Out.KIND], decision[Out.CAUSE], decision[BAND_CAP], decision[HELD]
    if kind == Kind.GRANT or kind == Kind.INCREASE or kind == Kind.OFFER or kind == Kind.OFFER_ACCEPTED:
        tell_target(rules, ranks, by_rank, segment, decision, bins_at, False, by_band > held, found)
    elif kind == Kind.ANNOUNCE and cause == Announced.RATE:
        found[0] = rules[Ru.RATE_CHANGE]
    elif kind == Kind.DECREASE or kind == Kind.ANNOUNCE:
        tell_target(rules, ranks, by_rank, segment, decision, bins_at, True, by_band < held, found)
    elif (kind == Kind.INCREASE_WITHHELD and decision[Out.GUARD] == Guard.NOT_EARNED) or (
        kind == Kind.COMMAND_REFUSED and cause == Refused.NOT_RAISED and decision[Out.TARGET_LIMIT] <= held
    ):
        tell_target(rules, ranks, by_rank, segment, decision, bins_at, True, by_band <= held, found)
    elif kind == Kind.INCREASE_WITHHELD or (kind == Kind.COMMAND_REFUSED and cause > Refused.GUARD):
        found[0] = guard_reason(rules, segment, decision)
    elif kind == Kind.FREEZE:
        tell_block(rules, segment, signals, decision, cause, found)
    elif kind == Kind.SUSPECTED_TAKEOVER:
        tell_block(rules, segment, signals, decision, Block.TAKEOVER, found)
    elif kind == Kind.UNFREEZE:
        found[0] = rules[Ru.LIFTED + cause]
    elif kind == Kind.CLOSE:
        found[0] = rules[Ru.CLOSED_BY_COMMAND if cause != 0 else Ru.LINE_ENDED]
    elif kind == Kind.OVER_BORROWING:
        found[0] = warning_reason(segment, warnings, cause)
    else:
        found[0] = rules[Ru.KINDS + kind]


@compiled
def tell_all(
    rules: Ints, ranks: Ints, by_rank: Ints, segments: Ints, warnings: Ints, signals: Ints, decisions: Ints, bins_at: int, found: Ints
) -> None:
    """Write the numbers of the reasons of ``decisions`` (n, columns) to ``found`` (n, REASONS_MAX).

    ``rules`` (Ru.END,); ``ranks`` (2, characteristics of all segments, bins + 1) of a bin where points are won, and where they are lost, the last
    one for a missing value; ``by_rank`` (characteristics,) each segment's by what is left of a rank divided by their number; ``segments``
    (segments, len(Sg)); ``warnings`` and ``signals`` (m, 2) their code or bit, and the number of their reason.
    """
    found[:] = NONE
    for i in range(decisions.shape[0]):
        segment = segments[decisions[i, Out.SEGMENT]]
        tell(rules, ranks, by_rank, segment, warnings, signals, decisions[i], bins_at, found[i])


@compiled
def count_missing(segments: Ints, decisions: Ints, bins_at: int, found: Ints) -> None:
    """Write of how many characteristics the value was missing in each of ``decisions`` (n, columns) to ``found`` (n,)."""
    for i in range(decisions.shape[0]):
        segment = segments[decisions[i, Out.SEGMENT]]
        found[i] = 0
        for row in range(segment[Sg.FIRST_END] - segment[Sg.FIRST]):
            found[i] += decisions[i, bins_at + row] < 0
