"""Two states of a shard, compared field by field at one moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from engine.core.decide import move_clock
from engine.core.layout import FIGURES_AT, Col, Fig
from engine.core.packed import Packed
from engine.core.rows import blank_row
from engine.core.tables import FACTS
from engine.core.windows import rebuild
from engine.policy.compile import CompiledPolicy, compile_policy
from engine.policy.document import Policy
from engine.state import keys
from engine.state.codec import RowCodec
from tests.stream.runs import KEY

# What only rules look at and nobody is told: which advisory was told last (docs/recovery.md).
FORGOTTEN: Final = range(Col.WARNED, Col.MISMATCH_UNTIL + 1)
NAMES: Final = {int(column): column.name for column in Col} | {FIGURES_AT + int(figure): figure.name for figure in Fig}

State = tuple[Mapping[str, bytes], Mapping[bytes, bytes]]  # the shard's fields, and its accounts


def policy_of(fields: Mapping[str, bytes]) -> CompiledPolicy:
    """The policy in force."""
    return compile_policy(Policy.from_plain(json.loads(fields[keys.POLICY])), KEY)


def row_at(policy: CompiledPolicy, account: bytes, value: bytes, at_ms: int) -> dict[str, int]:
    """Every field of an account that is kept, at a moment; what has ended by then as what is not there."""
    blank = blank_row(policy.layout)
    rows = blank.reshape(1, -1).copy()
    RowCodec(policy.layout).decode(Packed.of([account]), Packed.of([value]), rows, np.zeros(1, np.int64))
    row = rows[0]
    if row[Col.CLOCK] != blank[Col.CLOCK]:
        rebuild(policy.program, row, row[Col.CLOCK])
        move_clock(policy.program, row, row[Col.CLOCK], at_ms, np.zeros(FACTS, np.int64))
    if row[Col.HOLD_UNTIL] <= at_ms:
        row[Col.HOLD_UNTIL] = blank[Col.HOLD_UNTIL]
    if row[Col.OVERRIDE_UNTIL] <= at_ms:
        row[[Col.OVERRIDE_LIMIT, Col.OVERRIDE_UNTIL]] = blank[[Col.OVERRIDE_LIMIT, Col.OVERRIDE_UNTIL]]
    return {NAMES.get(i, f"column {i}"): value for i, value in enumerate(row.tolist()) if i not in FORGOTTEN}


def differing(before: Sequence[State], after: Sequence[State]) -> dict[str, dict[str, tuple[int, int]]]:
    """The fields that differ, by account; before and after have the same shards and accounts."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for (fields, held), (now, made) in zip(before, after, strict=True):
        assert held.keys() == made.keys()
        policy, tick_ms = policy_of(fields), max(int(fields[keys.TICK_MS]), int(now[keys.TICK_MS]))
        for account in held:
            was, is_now = row_at(policy, account, held[account], tick_ms), row_at(policy, account, made[account], tick_ms)
            mine = {name: (was[name], is_now[name]) for name in was if was[name] != is_now[name]}
            if mine:
                found[account.decode()] = mine
    return found
