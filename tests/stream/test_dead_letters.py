"""The limit of rejects: what stops a shard, and what does not."""

from __future__ import annotations

from engine.state.record import DeadLetterRef
from engine.stream.dead_letters import RejectLimit


def refs(count: int) -> tuple[DeadLetterRef, ...]:
    return tuple(DeadLetterRef("purchases", offset, "invalid", "") for offset in range(count))


def test_a_batch_without_rejects_stops_nobody() -> None:
    """Good records that leave the window raise the share; only the next reject is one too many."""
    limit = RejectLimit(0.3, 1_000)
    assert limit.problem(1_900, ()) is None
    assert limit.problem(1_000, refs(700)) is None
    assert limit.problem(1_000, ()) is None
    told = limit.problem(1, refs(1))
    assert told is not None
    assert told[0] == "701 of the last 2001 records are rejected, most as invalid in purchases"
