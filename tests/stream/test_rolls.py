"""Rolls between arrears buckets: what has rolled in and out of a bucket is what stands there, however the inputs are cut and swept."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest

from engine.core.layout import Col, Segment
from engine.core.rows import blank_row
from engine.policy.compile import compile_policy
from engine.state import keys
from engine.state.account_rows import row_of
from engine.stream.rolls import rolls, swept
from tests.stream.runs import KEY, Shard, lives, promoted

DEFAULT = promoted("default")


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_account_rolled_to_where_it_stands(seed: int) -> None:
    shard = Shard.of(lives(DEFAULT, accounts=40, days=150, seed=6), 60)
    journal = await shard.journal(records_max=300 * seed, sweeps=Random(seed))
    policy = compile_policy(DEFAULT, KEY)
    stands: Counter[int] = Counter()
    for bucket in range(keys.BUCKETS):
        async for account, value in shard.store.accounts(bucket):
            stands[int(row_of(policy, account, value)[Col.BUCKET])] += 1
    counted: Counter[str] = Counter()
    for record in journal:
        counted.update(dict(record.counts))
    into: Counter[int] = Counter()
    for name, count in counted.items():
        match name.split(":"):
            case ["rolled", _, old, new]:
                into[int(new)] += count
                into[int(old)] -= count
    assert {bucket: count for bucket, count in into.items() if count and bucket} == {b: n for b, n in stands.items() if b}
    assert counted["rolled:individual:0:1"] > 5
    assert sum(count for name, count in counted.items() if name.startswith("swept:")) == counted["swept"] > 0


def test_the_segment_is_that_by_which_an_account_is_judged() -> None:
    policy = compile_policy(promoted("minimal"), KEY)  # has no enterprises: they are judged as individuals
    rows = np.tile(blank_row(policy.layout), (4, 1))
    rows[:, Col.BUCKET] = [0, 1, 1, 4]
    slots = np.array([0, 2, 3])
    assert rolls(policy.program, rows, slots[1:], np.array([0, 3])) == {"rolled:individual:0:1": 1, "rolled:individual:3:4": 1}
    assert swept(policy.program, rows, slots) == {"swept:individual:0": 1, "swept:individual:1": 1, "swept:individual:4": 1}
    assert Segment.ENTERPRISE > Segment.INDIVIDUAL
