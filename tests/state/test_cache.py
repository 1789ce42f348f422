"""The cache of a shard's accounts: bounded, it lets the longest unused go and never one of the batch at hand, and what it gives back is what
was put in."""

from __future__ import annotations

from random import Random
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import Col
from engine.core.packed import Packed
from engine.core.rows import blank_row
from engine.policy.compile import compile_policy
from engine.state.cache import AccountCache, Room
from engine.state.codec import StateFormatError
from engine.state.index import UNKNOWN
from engine.state.keys import bucket_of
from tests.generate import seeded_policy
from tests.state.rows import random_row

KEY: Final = FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f")
POLICY: Final = compile_policy(seeded_policy(3), KEY)
CAPACITY: Final = 4
NAMES: Final = [f"a-{n}".encode() for n in range(11)]
BATCHES: Final = st.lists(st.sets(st.sampled_from(NAMES), min_size=1, max_size=CAPACITY).map(sorted), min_size=1, max_size=40)


def begun(cache: AccountCache, accounts: list[bytes]) -> list[bytes]:
    """Begin a batch of these accounts; those that must be loaded."""
    cache.begin()
    cache.take(Packed.of(accounts), np.ones(len(accounts), np.bool_))
    return cache.missing().present()


class Shard:
    """A cache in use: each batch adds one to its accounts' count of accepted events and stores their states, as a turn does."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.cache = AccountCache(POLICY, Room(capacity, 0))
        self.stored: dict[bytes, bytes | None] = {}

    def take(self, accounts: list[bytes]) -> list[bytes]:
        """One batch; the accounts that had to be loaded."""
        missing = begun(self.cache, accounts)
        self.cache.admit(Packed.of(map(self.stored.get, missing)))
        slots = self.cache.slots(accounts)
        self.cache.rows[slots, Col.CLOCK] = 0
        self.cache.rows[slots, Col.ACCEPTED] += 1
        self.stored.update(zip(accounts, self.cache.encoded(slots), strict=True))
        return missing

    def held(self) -> set[bytes]:
        """The accounts that are in the cache."""
        return {name for name, slot in zip(NAMES, self.cache.slots(NAMES).tolist(), strict=True) if slot != UNKNOWN}


def accepted(shard: Shard, account: bytes) -> int:
    """The count that the cache holds of an account."""
    return int(shard.cache.rows[shard.cache.slots([account])[0], Col.ACCEPTED])


@settings(max_examples=200, deadline=None)
@given(BATCHES)
def test_it_is_bounded_and_keeps_what_was_used_last(batches: list[list[bytes]]) -> None:
    shard, last_used, taken = Shard(), dict.fromkeys(NAMES, -1), dict.fromkeys(NAMES, 0)
    for number, batch in enumerate(batches):
        before = shard.held()
        missing = shard.take(batch)
        held = shard.held()
        assert missing == [account for account in batch if account not in before]
        assert len(shard.cache) == len(held) <= CAPACITY
        assert set(batch) <= held <= before | set(batch)
        # Nothing goes while there is room, and who goes was used no later than any who stays
        assert len(held) == min(CAPACITY, len(before | set(batch)))
        stay, gone = held - set(batch), before - held
        assert all(last_used[a] <= last_used[b] for a in gone for b in stay)
        for account in batch:
            last_used[account] = number
            taken[account] += 1
        slots = shard.cache.slots(sorted(held)).tolist()
        assert len(set(slots)) == len(slots)
        assert {account: accepted(shard, account) for account in held} == {account: taken[account] for account in held}


@settings(max_examples=100, deadline=None)
@given(BATCHES, st.lists(st.booleans(), min_size=40, max_size=40))
def test_forgetting_changes_nothing_but_the_loading(batches: list[list[bytes]], forgets: list[bool]) -> None:
    forgetful, other = Shard(), Shard()
    for batch, forgets_now in zip(batches, forgets, strict=False):
        if forgets_now:
            forgetful.cache.forget()
            assert len(forgetful.cache) == 0
        loaded = forgetful.take(batch)
        assert loaded == batch or not forgets_now
        other.take(batch)
        assert forgetful.stored == other.stored


def test_a_new_account_is_blank_where_another_was() -> None:
    shard = Shard(1)
    shard.take([b"a"])
    shard.cache.rows[0] = random_row(POLICY.layout, Random(1))
    assert begun(shard.cache, [b"b"]) == [b"b"]
    shard.cache.admit(Packed.of([None]))
    assert shard.cache.slots([b"b"]).tolist() == [0]
    assert np.array_equal(shard.cache.rows[0], blank_row(POLICY.layout))


def test_a_batch_larger_than_the_cache_is_refused() -> None:
    cache = AccountCache(POLICY, Room(3, 0))
    assert begun(cache, NAMES[:3]) == NAMES[:3]
    with pytest.raises(ValueError, match="the accounts of the batch do not fit a cache of 3"):
        begun(cache, NAMES[:4])


def test_a_damaged_state_is_not_held() -> None:
    shard = Shard()
    shard.take(NAMES[:2])
    assert begun(shard.cache, NAMES[1:4]) == NAMES[2:4]
    with pytest.raises(StateFormatError, match=f"in bucket {bucket_of(b'a-3')} "):
        shard.cache.admit(Packed.of([None, b"\x00\x01"]))
    assert begun(shard.cache, NAMES[1:4]) == NAMES[2:4]
    assert accepted(shard, NAMES[1]) == 1
