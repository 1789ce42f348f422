"""Exposure between two snapshots of the core banking system: the profile's figure plus what moved since (docs/policy.md §5)."""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import (
    AMOUNT_MAX,
    FIGURES_AT,
    MISSING,
    MOVEMENTS_AT,
    MOVEMENTS_MAX,
    Col,
    Ev,
    Fig,
    Funding,
    Purpose,
    Topic,
)
from engine.core.tables import Ints
from engine.core.windows import saturate


@compiled
def movement_of(events: Ints, i: int) -> int:
    """What event ``i`` adds to the exposure, before any reversal; 0 if nothing."""
    topic = events[Ev.TOPIC, i]
    if topic == Topic.REPAYMENT:
        return -events[Ev.AMOUNT, i]
    if topic == Topic.TRANSFER and events[Ev.PURPOSE, i] == Purpose.DRAW:
        return events[Ev.AMOUNT, i]
    if topic == Topic.PURCHASE and events[Ev.FUNDED_BY, i] == Funding.CREDIT:
        return events[Ev.AMOUNT, i]
    return 0


@compiled
def remove_movement(row: Ints, index: int) -> None:
    """Take one movement out; the later ones move up."""
    count = row[Col.MOVEMENTS] - 1
    for cell in range(MOVEMENTS_AT + 2 * index, MOVEMENTS_AT + 2 * count):
        row[cell] = row[cell + 2]
    row[MOVEMENTS_AT + 2 * count : MOVEMENTS_AT + 2 * count + 2] = 0
    row[Col.MOVEMENTS] = count


@compiled
def remember_movement(row: Ints, events: Ints, i: int) -> None:
    """Remember event ``i`` if it moved the exposure after the held snapshot; the oldest of too many is merged."""
    amount = movement_of(events, i)
    at_ms = events[Ev.OCCURRED_AT, i]
    if events[Ev.REVERSES_AT, i] != MISSING:
        amount, at_ms = -amount, events[Ev.REVERSES_AT, i]
    as_of = row[FIGURES_AT + Fig.AS_OF]
    if amount == 0 or (as_of != MISSING and at_ms <= as_of):
        return
    count = row[Col.MOVEMENTS]
    if count == MOVEMENTS_MAX:
        oldest, oldest_at = -1, at_ms
        for index in range(count):
            if row[MOVEMENTS_AT + 2 * index] < oldest_at or (oldest < 0 and row[MOVEMENTS_AT + 2 * index] == oldest_at):
                oldest, oldest_at = index, row[MOVEMENTS_AT + 2 * index]
        merged = amount if oldest < 0 else row[MOVEMENTS_AT + 2 * oldest + 1]
        row[Col.OLDER_SUM] = saturate(row[Col.OLDER_SUM] + merged)
        row[Col.OLDER_UNTIL] = max(row[Col.OLDER_UNTIL], oldest_at)
        if oldest < 0:
            return
        remove_movement(row, oldest)
        count -= 1
    row[MOVEMENTS_AT + 2 * count] = at_ms
    row[MOVEMENTS_AT + 2 * count + 1] = amount
    row[Col.MOVEMENTS] = count + 1


@compiled
def take_snapshot(row: Ints, as_of: int) -> None:
    """A newer profile is held: forget the movements it already contains."""
    index = 0
    while index < row[Col.MOVEMENTS]:
        if row[MOVEMENTS_AT + 2 * index] <= as_of:
            remove_movement(row, index)
        else:
            index += 1
    if row[Col.OLDER_UNTIL] != MISSING and row[Col.OLDER_UNTIL] <= as_of:
        row[Col.OLDER_SUM] = 0
        row[Col.OLDER_UNTIL] = MISSING


@compiled
def exposure_of(row: Ints) -> int:
    """Exposure now, 0 .. 2^53 - 1; MISSING while no profile has told one."""
    snapshot = row[FIGURES_AT + Fig.EXPOSURE]
    if snapshot == MISSING:
        return MISSING
    total = snapshot + row[Col.OLDER_SUM]
    for index in range(row[Col.MOVEMENTS]):
        total += row[MOVEMENTS_AT + 2 * index + 1]
    return max(0, min(AMOUNT_MAX, total))
