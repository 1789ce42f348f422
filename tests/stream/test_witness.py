"""What was announced, read back: a standing's columns are those that it was rendered from; and what is learned from causes."""

from __future__ import annotations

import json

from engine.core.layout import MISSING, STANDING_COLUMNS, Col, Topic
from engine.policy.compile import compile_policy
from engine.state.account_rows import row_of
from engine.stream.witness import Witness, columns_of, milliseconds
from schemas.topics import CHANGES
from tests.stream.runs import KEY, START_MS, Shard, lives, promoted


async def test_a_standing_read_back_is_the_one_that_was_held() -> None:
    """Of every account the last change's standing is what its row says, but for what has ended since."""
    policy = promoted("default")
    inputs = lives(policy, 40, 200, seed=3)
    shard = Shard.of(inputs, cache_accounts=100)
    journal = await shard.journal()
    said = Witness()
    states: dict[bytes, bytes] = {}
    for record in journal:
        states |= {account: value for account, value in record.accounts if value is not None}
        for output in record.outputs:
            if output.topic == CHANGES.name:
                said.note_change(output.key, json.loads(output.value))
            else:
                said.note_advisory(json.loads(output.value))
    assert len(said.changes) > 30
    compiled = compile_policy(policy, KEY)
    until = (Col.HOLD_UNTIL, Col.OVERRIDE_LIMIT, Col.OVERRIDE_UNTIL)
    for account, changes in said.changes.items():
        assert [change.sequence for change in changes] == list(range(1, len(changes) + 1))
        held = row_of(compiled, account, states[account])[Col.STANDING : Col.STANDING + STANDING_COLUMNS].tolist()
        told = list(changes[-1].row[3:])
        kept = [k for k in range(STANDING_COLUMNS) if k + Col.STANDING not in until]
        assert [held[k] for k in kept] == [told[k] for k in kept], account
    positions = {topic: int(chunk.offsets[-1]) for topic, chunk in inputs.items() if len(chunk)}
    assert all(said.taken[topic] <= positions[topic] for topic in said.taken)
    assert said.tick_ms == MISSING, "nothing was swept"


def test_what_time_alone_has_caused_is_a_tick() -> None:
    said = Witness()
    at = "2026-03-01T16:00:00.000Z"
    assert said.note_cause({"kind": "tick", "id": "day:2026-03-02", "at": at}, milliseconds(at)) == (None, 0)
    assert said.tick_ms == milliseconds(at) > START_MS
    control = {"kind": "control", "topic": "limit-control", "partition": 0, "offset": 4, "id": "c"}
    assert said.note_cause(control, milliseconds(at)) == (None, 0)
    event = {"kind": "event", "topic": "purchases", "partition": 0, "offset": 17, "id": "p"}
    assert said.note_cause(event, 0) == (Topic.PURCHASE, 17)
    assert said.taken == {Topic.CONTROL: 4, Topic.PURCHASE: 17}


def test_a_name_that_no_policy_knew_is_told_by_its_code() -> None:
    blank = {
        "state": "open", "limit_minor": 5, "limit_in_force_minor": 5, "currency": "CNY", "band": "unknown-1f", "rate_tier": None,
        "drawing_allowed": False, "blocks": ["customer", "over_cap"], "ceiling_minor": None, "temporary": None,
        "offer": {"offer_id": "offer-7", "limit_minor": 9, "expires_at": "2026-03-01T16:00:00.000Z"}, "pending": None,
        "pending_rate": None, "hold_until": None, "override": None, "exposure_minor": None, "exposure_as_of": None,
    }  # fmt: skip
    told = dict(zip(range(Col.STANDING, Col.PENDING_RATE_AT + 1), columns_of(blank), strict=True))
    assert (told[Col.BAND], told[Col.BLOCKS], told[Col.OFFER]) == (0x1F, 0b1000001, 7)
    assert told[Col.OFFER_UNTIL] == milliseconds("2026-03-01T16:00:00Z")
    assert told[Col.PENDING_LIMIT] == told[Col.RATE_TIER] == MISSING
