"""Rows survive the store: what is encoded is read back, under the same policy and under its next version."""

from __future__ import annotations

import contextlib
from random import Random

import numpy as np
import ormsgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import (
    ATTRIBUTES_AT,
    FIGURES,
    FIGURES_AT,
    FINGERPRINTS_AT,
    FINGERPRINTS_MAX,
    INSTALMENT_FIELDS,
    INSTALMENTS_AT,
    INSTALMENTS_MAX,
    MISSING,
    MOVEMENTS_AT,
    MOVEMENTS_MAX,
    Col,
)
from engine.core.rows import blank_row
from engine.core.tables import Ints, Me, RowLayout
from engine.policy.compile import compile_policy
from engine.state.codec import RowCodec, StateFormatError, forgotten_sequence
from tests.generate import seeded_policy

EDGES = [0, 1, -1, 127, 128, -32, -33, 255, 256, -128, -129, 65535, 65536, -32769, 2**31, 2**32, 2**53 - 1, -(2**53), 2**63 - 1, MISSING]


def random_row(layout: RowLayout, random: Random) -> Ints:
    """A row in which every part holds something, edges of the encoding included."""
    row = blank_row(layout)

    def value() -> int:
        return random.choice(EDGES) if random.random() < 0.5 else random.randrange(-(2**62), 2**62)

    row[Col.CLOCK] = random.randrange(0, 2**42)
    for count, places, fields in (
        (Col.MOVEMENTS, MOVEMENTS_MAX, 2),
        (Col.INSTALMENTS, INSTALMENTS_MAX, INSTALMENT_FIELDS),
        (Col.FINGERPRINTS, FINGERPRINTS_MAX, 1),
    ):
        at = {Col.MOVEMENTS: MOVEMENTS_AT, Col.INSTALMENTS: INSTALMENTS_AT, Col.FINGERPRINTS: FINGERPRINTS_AT}[count]
        row[count] = random.randrange(places + 1)
        for cell in range(at, at + int(row[count]) * fields):
            row[cell] = value()
    for cell in [*range(FIGURES_AT, FIGURES_AT + FIGURES), *range(ATTRIBUTES_AT, ATTRIBUTES_AT + len(layout.attributes))]:
        row[cell] = value()
    for measure in layout.measures:
        for tile in range(int(measure[Me.TILES])):
            if random.random() < 0.2:
                row[measure[Me.BASE] + tile] = value() or 1
    return row


def stored_width(layout: RowLayout) -> int:
    return int((layout.measures[:, Me.BASE] + layout.measures[:, Me.TILES]).max())


@pytest.mark.parametrize("seed", range(30))
def test_what_is_written_is_read(seed: int, key: FingerprintKey) -> None:
    layout = compile_policy(seeded_policy(seed), key).layout
    random = Random(seed)
    rows = np.stack([random_row(layout, random) for _ in range(12)])
    codec = RowCodec(layout)
    slots = np.array([3, 0, 11, 5])
    values = codec.encode(rows, slots)
    back = np.stack([blank_row(layout)] * 12)
    codec.decode([b"a"] * 4, values, back, slots)
    width = stored_width(layout)
    for slot in slots:
        unwritten = [cell for cell in range(width) if rows[slot, cell] == MISSING]
        assert (np.delete(back[slot, :width], unwritten) == np.delete(rows[slot, :width], unwritten)).all()
    assert codec.encode(back, slots) == values


def test_any_language_can_read_a_value(key: FingerprintKey) -> None:
    compiled = compile_policy(seeded_policy(1), key)
    row = random_row(compiled.layout, Random(1))
    (value,) = RowCodec(compiled.layout).encode(row.reshape(1, -1), np.array([0]))
    plain = ormsgpack.unpackb(value, option=ormsgpack.OPT_NON_STR_KEYS)
    assert plain[0] == 1
    assert plain[1] == [None if cell == MISSING else int(cell) for cell in row[: len(Col)]]
    assert set(plain[7]) <= set(compiled.layout.measures[:, Me.COLUMN].tolist())


def test_a_new_version_reads_the_columns_it_knows(key: FingerprintKey) -> None:
    layout = compile_policy(seeded_policy(2), key).layout
    row = random_row(layout, Random(2))
    (value,) = RowCodec(layout).encode(row.reshape(1, -1), np.array([0]))
    kept = layout.measures[::2].copy()
    base = ATTRIBUTES_AT
    for measure in kept:
        measure[Me.BASE] = base
        base += int(measure[Me.TILES])
    newer = RowLayout((), kept, base)
    back = blank_row(newer).reshape(1, -1)
    RowCodec(newer).decode([b"a"], [value], back, np.array([0]))
    for old, new in zip(layout.measures[::2], kept, strict=True):
        tiles = int(old[Me.TILES])
        assert (row[old[Me.BASE] : old[Me.BASE] + tiles] == back[0, new[Me.BASE] : new[Me.BASE] + tiles]).all()


@pytest.mark.parametrize("seed", range(3))
def test_damage_is_named(seed: int, key: FingerprintKey) -> None:
    layout = compile_policy(seeded_policy(seed), key).layout
    (value,) = RowCodec(layout).encode(random_row(layout, Random(seed)).reshape(1, -1), np.array([0]))
    codec = RowCodec(layout)
    for cut in range(len(value)):
        with pytest.raises(StateFormatError, match="a-17"):
            codec.decode([b"a-17"], [value[:cut]], blank_row(layout).reshape(1, -1), np.array([0]))
    newer = value[:1] + b"\x02" + value[2:]
    with pytest.raises(StateFormatError, match="run a newer engine"):
        codec.decode([b"a-17"], [newer], blank_row(layout).reshape(1, -1), np.array([0]))


@given(data=st.data())
@settings(max_examples=400)
def test_damage_never_reaches_memory_that_is_not_its_own(data: st.DataObject, key: FingerprintKey) -> None:
    """Compiled code checks no bounds: a damaged value must be told or read as another value, and leave the rows beside it alone."""
    layout = compile_policy(seeded_policy(0), key).layout
    (value,) = RowCodec(layout).encode(random_row(layout, Random(3)).reshape(1, -1), np.array([0]))
    damaged = bytearray(value)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        # Heads of long arrays and maps, the largest integers, and whatever else.
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"\xdc\xff\xff", b"\xde\xff\xff", b"\xcf" + b"\x7f" * 8, b"\xd9\xff", b"\0"])
            | st.binary(min_size=1, max_size=3)
        )
    rows = np.stack([blank_row(layout)] * 3)
    guard = rows[0].copy()
    with contextlib.suppress(StateFormatError):
        RowCodec(layout).decode([b"a"], [bytes(damaged)], rows, np.array([1]))
    assert (rows[[0, 2]] == guard).all()


@pytest.mark.parametrize("sequence", [1, 127, 128, 70_000, 2**40])
def test_of_a_forgotten_account_the_sequence_is_kept_and_nothing_else(sequence: int, key: FingerprintKey) -> None:
    layout = compile_policy(seeded_policy(4), key).layout
    codec, row = RowCodec(layout), blank_row(layout)
    row[Col.SEQUENCE] = sequence
    rows = np.stack([random_row(layout, Random(4)), row, blank_row(layout), random_row(layout, Random(5))])
    values = codec.encode(rows, np.arange(4))
    assert ormsgpack.unpackb(values[1]) == [1, sequence]
    assert values[2] == b""  # of which nothing is known: it has no value
    assert [forgotten_sequence(value) for value in values] == [None, sequence, None, None]
    back = np.stack([blank_row(layout)] * 4)
    codec.decode([b"a"] * 3, [values[0], values[1], values[3]], back, np.array([0, 1, 3]))
    assert (back[1] == row).all()
    assert codec.encode(back, np.array([0, 3])) == [values[0], values[3]]


def test_damage_of_what_is_left_of_a_forgotten_account_is_named(key: FingerprintKey) -> None:
    layout = compile_policy(seeded_policy(4), key).layout
    for value in (
        b"\x92\x01",
        b"\x92\x01\x00",
        b"\x92\x01\xff",
        b"\x92\x01\xc0",
        b"\x92\x01\x05\x05",
        b"\x92\x01\xcd\x05",
        b"\x92\x02\x05",
        b"",
    ):
        rows = np.stack([blank_row(layout)] * 3)
        with pytest.raises(StateFormatError, match="a-17"):
            RowCodec(layout).decode([b"a-17"], [value], rows, np.array([1]))
        assert (rows[0] == blank_row(layout)).all()
        assert (rows[2] == blank_row(layout)).all()
    with pytest.raises(StateFormatError, match="damaged"):
        forgotten_sequence(b"\x92\x01\xcd\x05")
