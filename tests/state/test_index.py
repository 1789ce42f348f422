"""The index of a cache is a dictionary from accounts to slots, of accounts that hash alike too."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.packed import Packed
from engine.state import index
from engine.state.index import ID_WORDS, UNKNOWN, put

SLOTS = 6
IDS = [b"", b"a", b"b", b"a" * 8, b"a" * 9, b"b" * 16, "额".encode() * 64, b"c", b"d", b"e"]
STEPS = st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(IDS), min_size=1, max_size=4)), max_size=40)


@pytest.fixture(scope="module", params=["spread", "all alike"])
def hashing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Once with the hashes as they are, once (interpreted) with one for all."""
    if request.param == "spread":
        yield
        return
    names = ("find", "put", "remove", "place_of", "is_id")
    with mock.patch.multiple(index, hash_of=lambda *_: np.uint64(5), **{name: getattr(index, name).py_func for name in names}):
        yield


@given(STEPS)
def test_it_is_a_dictionary(hashing: None, steps: list[tuple[bool, list[bytes]]]) -> None:
    table, hashes = np.zeros(16, np.int64), np.zeros(SLOTS, np.uint64)
    ids, lengths = np.zeros((SLOTS, ID_WORDS), np.uint64), np.zeros(SLOTS, np.int64)
    held: dict[bytes, int] = {}
    for gives, accounts in steps:
        packed, wanted = Packed.of(accounts), np.ones(len(accounts), np.bool_)
        found = np.zeros(len(accounts), np.int64)
        keys = packed.words, packed.begins, packed.ends
        unknown = index.find(table, hashes, ids, lengths, *keys, wanted, found)
        assert found.tolist() == [held.get(account, UNKNOWN) for account in accounts]
        assert unknown == sum(account not in held for account in accounts)
        new = list(dict.fromkeys(account for account in accounts if account not in held))
        room = np.array([slot for slot in range(SLOTS) if slot not in found], np.int64)
        if gives:
            given_slots = index.put(table, hashes, ids, lengths, *keys, wanted, found, room)
            assert given_slots == len(new)
            taken = set(room[:given_slots].tolist())
            held = {account: slot for account, slot in held.items() if slot not in taken}
            held |= dict(zip(new, room[:given_slots].tolist(), strict=True))
            assert found.tolist() == [held[account] for account in accounts]
        else:
            for account in set(accounts) & held.keys():
                index.remove(table, hashes, held.pop(account))


def test_too_little_room_is_said() -> None:
    table, hashes = np.zeros(16, np.int64), np.zeros(1, np.uint64)
    ids, lengths = np.zeros((1, ID_WORDS), np.uint64), np.zeros(1, np.int64)
    packed, wanted = Packed.of([b"a", b"b"]), np.ones(2, np.bool_)
    found = np.full(2, UNKNOWN)
    room = np.zeros(1, np.int64)
    assert put(table, hashes, ids, lengths, packed.words, packed.begins, packed.ends, wanted, found, room) == -1
