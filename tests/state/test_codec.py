"""Rows survive the store: what is encoded is read back, under the same policy and under its next version."""

from __future__ import annotations

import contextlib
from itertools import accumulate
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import (
    ATTRIBUTES_AT,
    FIGURES,
    FIGURES_AT,
    FINGERPRINT_BITS,
    FINGERPRINTS_AT,
    INSTALMENT_FIELDS,
    INSTALMENTS_AT,
    MISSING,
    MOVEMENTS_AT,
    Col,
)
from engine.core.packed import Packed
from engine.core.rings import index_words
from engine.core.rows import blank_row
from engine.core.tables import Ints, Me, MeasureKind, RowLayout
from engine.policy.compile import compile_policy
from engine.state.codec import FIGURE_TIMES, FIXED_TIMES, RowCodec, StateFormatError, forgotten_sequence
from engine.state.keys import bucket_of
from tests.generate import seeded_policy
from tests.state.rows import random_row

BUCKET_OF_A_17 = f"in bucket {bucket_of(b'a-17')} "


def stored_width(layout: RowLayout) -> int:
    return int((layout.measures[:, Me.BASE] + layout.measures[:, Me.TILES]).max())


def encoded(codec: RowCodec, rows: Ints, slots: Ints) -> list[bytes]:
    """The values one by one."""
    return [value or b"" for value in codec.encode(rows, slots)]


@pytest.mark.parametrize("seed", range(30))
def test_what_is_written_is_read(seed: int, key: FingerprintKey) -> None:
    layout = compile_policy(seeded_policy(seed), key).layout
    random = Random(seed)
    rows = np.stack([random_row(layout, random) for _ in range(12)])
    codec = RowCodec(layout)
    slots = np.array([3, 0, 11, 5])
    values = encoded(codec, rows, slots)
    back = np.stack([blank_row(layout)] * 12)
    codec.decode(Packed.of([b"a"] * 4), Packed.of(values), back, slots)
    width = stored_width(layout)
    for slot in slots:
        unwritten = [cell for cell in range(width) if rows[slot, cell] == MISSING]
        assert (np.delete(back[slot, :width], unwritten) == np.delete(rows[slot, :width], unwritten)).all()
    assert encoded(codec, back, slots) == values


@pytest.mark.parametrize("seed", range(10))
def test_any_language_can_read_a_value(seed: int, key: FingerprintKey) -> None:
    """By what the codec's page says of it, from the first bit to the last."""
    layout = compile_policy(seeded_policy(seed), key).layout
    row, blank = random_row(layout, Random(seed)), blank_row(layout)
    (value,) = encoded(RowCodec(layout), row.reshape(1, -1), np.array([0]))
    bits = Bits(value)
    assert (bits.take(8), bits.take(1), bits.number()) == (1, 0, row[Col.CLOCK])
    for first, count in ((0, len(Col)), (FIGURES_AT, FIGURES)):
        present = bits.take(count)
        told = [column for column in range(count) if present >> column & 1]
        assert told == [c for c in range(count) if row[first + c] != blank[first + c] and first + c != Col.CLOCK]
        times = FIXED_TIMES if first == 0 else FIGURE_TIMES
        for column in told:
            assert bits.time_or_number(row, is_time=int(times) >> column & 1 == 1) == row[first + column]
    for place in range(MOVEMENTS_AT, MOVEMENTS_AT + 2 * int(row[Col.MOVEMENTS])):
        assert bits.time_or_number(row, is_time=(place - MOVEMENTS_AT) % 2 == 0) == row[place]
    loan = 0
    for place in range(INSTALMENTS_AT, INSTALMENTS_AT + INSTALMENT_FIELDS * int(row[Col.INSTALMENTS]), INSTALMENT_FIELDS):
        loan = loan if bits.take(1) else int64(bits.take(64))
        assert (loan, bits.time_or_number(row, is_time=True)) == tuple(row[place : place + 2])
        due, left, flags = (bits.number() for _ in range(3))
        assert [due, int64(due - left), flags] == row[place + 2 : place + INSTALMENT_FIELDS].tolist()
    for place in range(FINGERPRINTS_AT, FINGERPRINTS_AT + int(row[Col.FINGERPRINTS])):
        assert bits.take(FINGERPRINT_BITS) == row[place]
    attributes = [(bytes(bits.take(8) for _ in range(bits.take(8))).decode(), bits.number()) for _ in range(bits.count())]
    held = zip(layout.attributes, row[ATTRIBUTES_AT:].tolist(), strict=False)
    assert attributes == [(name, number) for name, number in held if number != MISSING]
    tiles, column = {}, -1
    while more := bits.count():
        column += more
        tiles[column] = bits.measure()
    for measure in layout.measures:
        base, width, count = int(measure[Me.BASE]), int(measure[Me.WIDTH]), int(measure[Me.TILES])
        newest = (int(row[Col.CLOCK]) + int(measure[Me.OFFSET])) // width % count if width else 0
        cells = {age: int(row[base + (newest - age) % count]) for age in range(count)}
        if measure[Me.KIND] == MeasureKind.LAST_SEEN:
            cells = {age: int64(int(row[Col.CLOCK]) - at) if at != MISSING else 0 for age, at in cells.items()}
        assert tiles.get(int(measure[Me.COLUMN]), {}) == {age: cell for age, cell in cells.items() if cell != 0}
    assert bits.left < 8


def int64(value: int) -> int:
    """As 64 bits hold it."""
    return (value + 2**63) % 2**64 - 2**63


def unfolded(value: int) -> int:
    return value >> 1 if value % 2 == 0 else -(value >> 1) - 1


class Bits:
    """A value read bit by bit, by the page of ``engine.state.bits``."""

    def __init__(self, value: bytes) -> None:
        self._bits = int.from_bytes(value, "little")
        self.left = 8 * len(value)

    def take(self, width: int) -> int:
        assert width <= self.left
        self.left -= width
        taken = self._bits & ((1 << width) - 1)
        self._bits >>= width
        return taken

    def number(self) -> int:
        width = self.take(6)
        return unfolded(self.take(64 if width == 63 else width))

    def time_or_number(self, row: Ints, *, is_time: bool) -> int:
        return int64(int(row[Col.CLOCK]) - self.number()) if is_time else self.number()

    def count(self) -> int:
        group = self.take(4)
        return (group >> 1) + (8 * self.count() if group & 1 else 0)

    def set(self) -> int:
        count = self.count()
        if count == 0:
            return self.take(64)
        rest = (64 // count).bit_length() - 1
        cell, member = 0, -1
        for _ in range(count):
            member += 1
            while self.take(1):
                member += 1 << rest
            member += self.take(rest)
            cell |= 1 << member
        return cell

    def measure(self) -> dict[int, int]:
        coding, count, age = self.take(2), self.count(), self.count()
        gap_width = self.count() if count > 1 else 0
        ages = list(accumulate((1 + self.take(gap_width) for _ in range(count - 1)), initial=age))
        match coding:
            case 0 | 1:
                width = self.take(6)
                held = [self.take(64 if width == 63 else width) for _ in range(count)]
                cells = [unfolded(value) for value in held] if coding else held
            case 2:
                cells = [int64(self.set()) for _ in range(count)]
            case _:
                cells = [self.number() for _ in range(count)]
        return dict(zip(ages, cells, strict=True))


def test_a_new_version_reads_the_columns_it_knows(key: FingerprintKey) -> None:
    layout = compile_policy(seeded_policy(2), key).layout
    row = random_row(layout, Random(2))
    (value,) = encoded(RowCodec(layout), row.reshape(1, -1), np.array([0]))
    kept = layout.measures[::2].copy()
    base = ATTRIBUTES_AT
    for measure in kept:
        measure[Me.INDEX] = base
        measure[Me.BASE] = base + index_words(int(measure[Me.TILES]))
        base = int(measure[Me.BASE] + measure[Me.TILES])
    newer = RowLayout((), kept, base)
    back = blank_row(newer).reshape(1, -1)
    RowCodec(newer).decode(Packed.of([b"a"]), Packed.of([value]), back, np.array([0]))
    for old, new in zip(layout.measures[::2], kept, strict=True):
        tiles = int(old[Me.TILES])
        assert (row[old[Me.BASE] : old[Me.BASE] + tiles] == back[0, new[Me.BASE] : new[Me.BASE] + tiles]).all()


@pytest.mark.parametrize("seed", range(3))
def test_damage_is_named(seed: int, key: FingerprintKey) -> None:
    layout = compile_policy(seeded_policy(seed), key).layout
    (value,) = encoded(RowCodec(layout), random_row(layout, Random(seed)).reshape(1, -1), np.array([0]))
    codec = RowCodec(layout)
    for cut in range(len(value)):
        with pytest.raises(StateFormatError, match=BUCKET_OF_A_17):
            codec.decode(Packed.of([b"a-17"]), Packed.of([value[:cut]]), blank_row(layout).reshape(1, -1), np.array([0]))
    newer = b"\x02" + value[1:]
    with pytest.raises(StateFormatError, match="run a newer engine"):
        codec.decode(Packed.of([b"a-17"]), Packed.of([newer]), blank_row(layout).reshape(1, -1), np.array([0]))


@given(data=st.data())
@settings(max_examples=400)
def test_damage_never_reaches_memory_that_is_not_its_own(data: st.DataObject, key: FingerprintKey) -> None:
    """Compiled code checks no bounds: a damaged value must be told or read as another value, and leave the rows beside it alone."""
    layout = compile_policy(seeded_policy(0), key).layout
    (value,) = encoded(RowCodec(layout), random_row(layout, Random(3)).reshape(1, -1), np.array([0]))
    damaged = bytearray(value)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        # Long counts, the largest integers, nothing at all, and whatever else.
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"\xff" * 9, b"\x7f" * 9, b"\0" * 9, b"\0"]) | st.binary(min_size=1, max_size=3)
        )
    rows = np.stack([blank_row(layout)] * 3)
    guard = rows[0].copy()
    with contextlib.suppress(StateFormatError):
        RowCodec(layout).decode(Packed.of([b"a"]), Packed.of([bytes(damaged)]), rows, np.array([1]))
    assert (rows[[0, 2]] == guard).all()


@pytest.mark.parametrize("sequence", [1, 127, 128, 70_000, 2**40])
def test_of_a_forgotten_account_the_sequence_is_kept_and_nothing_else(sequence: int, key: FingerprintKey) -> None:
    layout = compile_policy(seeded_policy(4), key).layout
    codec, row = RowCodec(layout), blank_row(layout)
    row[Col.SEQUENCE] = sequence
    rows = np.stack([random_row(layout, Random(4)), row, blank_row(layout), random_row(layout, Random(5))])
    values = encoded(codec, rows, np.arange(4))
    bits = Bits(values[1])
    assert (bits.take(8), bits.take(1), bits.number()) == (1, 1, sequence)
    assert bits.left < 8
    assert values[2] == b""  # of which nothing is known: it has no value
    assert [forgotten_sequence(value) for value in values] == [None, sequence, None, None]
    back = np.stack([blank_row(layout)] * 4)
    codec.decode(Packed.of([b"a"] * 3), Packed.of([values[0], values[1], values[3]]), back, np.array([0, 1, 3]))
    assert (back[1] == row).all()
    assert encoded(codec, back, np.array([0, 3])) == [values[0], values[3]]


def forgotten(sequence: int, width: int, form: int = 1) -> bytes:
    """What is left of a forgotten account, as it may have been damaged."""
    held = 2 * sequence if sequence >= 0 else -2 * sequence - 1
    bits = form | 1 << 8 | width << 9 | held << 15
    return bits.to_bytes((15 + max(width, held.bit_length()) + 7) // 8, "little")


def test_damage_of_what_is_left_of_a_forgotten_account_is_named(key: FingerprintKey) -> None:
    layout = compile_policy(seeded_policy(4), key).layout
    codec, row = RowCodec(layout), blank_row(layout)
    row[Col.SEQUENCE] = 5
    whole = forgotten(5, 4)
    assert encoded(codec, row.reshape(1, -1), np.array([0])) == [whole]
    for value in (
        whole[:1],
        whole[:2],
        forgotten(0, 0),
        forgotten(-5, 4),
        whole + b"\0",
        forgotten(5, 4, form=2),
        forgotten(70_000, 3),
        b"",
    ):
        rows = np.stack([blank_row(layout)] * 3)
        with pytest.raises(StateFormatError, match=BUCKET_OF_A_17):
            codec.decode(Packed.of([b"a-17"]), Packed.of([value]), rows, np.array([1]))
        assert (rows[0] == blank_row(layout)).all()
        assert (rows[2] == blank_row(layout)).all()
    for value in (whole[:2], forgotten(0, 0), forgotten(-5, 4), forgotten(70_000, 3)):
        with pytest.raises(StateFormatError, match="cannot be read"):
            forgotten_sequence(value)
