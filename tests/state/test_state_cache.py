"""The encoded states that are kept: never another one than was written last, within their bytes, and those that were written last stay."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.packed import Packed
from engine.state.state_cache import StateCache

NAMES: Final = [b"a" * (1 + n % 3) + b"-%d" % n for n in range(40)]
STATES: Final = st.one_of(st.none(), st.integers(0, 300).map(bytes))
BATCHES: Final = st.lists(st.dictionaries(st.sampled_from(NAMES), STATES, max_size=12), max_size=40)


def keep(cache: StateCache, states: dict[bytes, bytes | None]) -> None:
    """Hold these."""
    cache.keep(Packed.of(states), Packed.of(states.values()))


def recalled(cache: StateCache, accounts: list[bytes]) -> dict[bytes, bytes]:
    """Those that are held."""
    found = zip(accounts, cache.recall(Packed.of(accounts)), strict=True)
    return {account: state for account, state in found if state is not None}


@settings(max_examples=300, deadline=None)
@given(BATCHES, st.integers(0, 4_000), st.integers(0, 2**32))
def test_it_holds_nothing_but_what_was_written_last(batches: list[dict[bytes, bytes | None]], size: int, seed: int) -> None:
    cache, random, written = StateCache(size), Random(seed), dict[bytes, bytes | None]()
    for batch in batches:
        states = {account: state and random.randbytes(len(state)) for account, state in batch.items()}
        keep(cache, states)
        written |= states
        held = recalled(cache, NAMES)
        assert len(cache) == len(held)
        assert all(written[account] == state for account, state in held.items())
        assert sum(map(len, held.values())) <= size
    cache.forget()
    assert len(cache) == 0
    assert recalled(cache, NAMES) == {}


@pytest.mark.parametrize("bytes_of_one", [1, 20, 100])
def test_those_written_last_stay(bytes_of_one: int) -> None:
    cache, random, order = StateCache(64_000), Random(bytes_of_one), list[bytes]()
    names = [b"%d" % n for n in range(2_000)]
    for _ in range(200):
        batch = random.sample(names, 50)
        keep(cache, {account: random.randbytes(bytes_of_one + random.randrange(8)) for account in batch})
        order = [account for account in order if account not in batch] + batch
        last = order[-150:]  # a quarter of what there is room for
        assert recalled(cache, last).keys() == set(last)
    assert 300 < len(cache) < len(names)


def test_what_is_always_written_never_goes() -> None:
    cache = StateCache(20_000)
    for n in range(2_000):
        keep(cache, {b"busy": b"%d" % n * 10, b"other %d" % n: bytes(50)})
        assert recalled(cache, [b"busy"]) == {b"busy": b"%d" % n * 10}


def test_few_accounts_take_few_bytes_however_often_they_are_written() -> None:
    cache, random = StateCache(64_000_000), Random(1)
    names = [b"%d" % n for n in range(500)]
    for _ in range(300):
        keep(cache, {account: random.randbytes(random.randrange(600)) for account in random.sample(names, 100)})
    assert cache.size < 4 * 500 * 800
    keep(cache, {b"%d" % n: bytes(500) for n in range(10_000)})
    assert len(cache) == 10_000
    assert cache.size < 4 * 10_000 * 700


def test_a_state_as_large_as_half_of_it_is_not_held() -> None:
    cache = StateCache(1_024)
    keep(cache, {b"a": bytes(300)})
    keep(cache, {b"b": bytes(600)})
    assert recalled(cache, [b"a", b"b"]) == {b"a": bytes(300)}
    keep(cache, {b"a": bytes(600)})
    assert len(cache) == 0
