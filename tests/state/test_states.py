"""The columns of touched accounts: the bytes that compiled code writes are those of the libraries."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import hiredis
import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.packed import Packed
from engine.state.keys import bucket_of
from engine.state.packing import QuickConnection
from engine.state.states import NO_STATES, States, asked_for

Pair = tuple[bytes, bytes | None]

SIZES = st.sampled_from([0, 1, 7, 8, 9, 15, 16, 17, 64, 255, 256, 257, 999, 1_000, 65_535, 65_536, 70_001])
VALUES = st.none() | SIZES.flatmap(lambda size: st.binary(min_size=1, max_size=3).map(lambda some: (some * size)[:size]))
PAIRS = st.dictionaries(st.text(min_size=1, max_size=64).map(str.encode), VALUES, max_size=40).map(lambda held: sorted(held.items()))


@given(PAIRS)
def test_it_is_a_sequence_of_what_it_was_made_of(pairs: list[Pair]) -> None:
    states = States.of(pairs)
    assert list(states) == [states[place] for place in range(len(states))] == pairs
    assert list(states[1:3]) == pairs[1:3]
    assert states == States.of(pairs)
    assert states != States.of([*pairs, (b"\xff", b"")])


@given(PAIRS)
def test_the_journal_has_the_bytes_of_the_library(pairs: list[Pair]) -> None:
    assert States.of(pairs).as_msgpack() == ormsgpack.packb(pairs)


@pytest.mark.parametrize("count", [15, 16, 65_535, 65_536])
def test_any_number_of_accounts_is_written(count: int) -> None:
    pairs = [(b"%07d" % number, b"v") for number in range(count)]
    assert States.of(pairs).as_msgpack() == ormsgpack.packb(pairs)


@given(PAIRS, st.lists(st.binary(max_size=9), max_size=5))
def test_redis_gets_what_its_client_would_send(pairs: list[Pair], before: list[bytes]) -> None:
    words: list[Any] = []
    touched = []
    for bucket, own in groupby(sorted(pairs, key=lambda pair: bucket_of(pair[0])), key=lambda pair: bucket_of(pair[0])):
        mine = list(own)
        kept = [word for account, state in mine if state is not None for word in (account, state)]
        removed = [account for account, state in mine if state is None]
        words += [b"%d" % len(kept), *kept, b"%d" % len(removed), *removed]
        touched.append(bucket)
    buckets, arguments = States.of(pairs).by_bucket()
    assert buckets == touched
    sent = QuickConnection().pack_command("EVALSHA", *before, arguments)
    whole: Any = ("EVALSHA", *before, *words)
    assert b"".join(sent) == hiredis.pack_command(whole)


@given(st.lists(st.text(min_size=1, max_size=64).map(str.encode), unique=True, max_size=40))
def test_accounts_are_asked_for_by_bucket(accounts: list[bytes]) -> None:
    words: list[Any] = []
    touched = []
    for bucket, own in groupby(sorted(accounts, key=bucket_of), key=bucket_of):
        mine = list(own)
        words += [b"%d" % len(mine), *mine]
        touched.append(bucket)
    buckets, order, arguments = asked_for(Packed.of(accounts))
    assert buckets == touched
    assert [accounts[place] for place in order.tolist()] == sorted(accounts, key=bucket_of)
    whole: Any = ("EVALSHA", *words)
    assert b"".join(QuickConnection().pack_command("EVALSHA", arguments)) == hiredis.pack_command(whole)


def test_no_states_are_an_empty_array() -> None:
    assert NO_STATES.as_msgpack() == ormsgpack.packb([])
    assert NO_STATES.by_bucket() == ([], (0, b""))
