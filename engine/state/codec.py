"""An account's row as bytes: MessagePack that any language can read, compiled.

Theory of operation. A value is an array of eight: format number; the fixed columns; the profile figures; the movements; the instalments; the
recent fingerprints; the attributes by name; the tiles by column. Nil stands for MISSING. Of a measure only the tiles that are not empty are
written, under its column number, as ``[age, cell, gap, cell, gap, cell ...]``: the age of the newest one in tiles before the account's clock,
then how many tiles older the next one is. What has no tiles is written likewise, as if its cells stood in a ring with the first one at its
head: a balance or last-seen is ``[0, cell]``. So a value does not depend on the shape of the policy's
rows: a new version reads the columns that it knows, and what it does not know is gone at the account's next write.

Of an account that was forgotten, and of which changes had been announced, only an array of two is left: format number, sequence of its last
change. A row of which nothing at all is known has no value.

Window values are not stored; ``engine.core.windows.rebuild`` makes them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import ormsgpack

from engine.core.jit import compiled
from engine.core.layout import (
    ATTRIBUTES_AT,
    FIGURES,
    FIGURES_AT,
    FINGERPRINTS_AT,
    FINGERPRINTS_MAX,
    FIXED_COLUMNS,
    INSTALMENT_FIELDS,
    INSTALMENTS_AT,
    INSTALMENTS_MAX,
    MISSING,
    MOVEMENTS_AT,
    MOVEMENTS_MAX,
    Col,
)
from engine.core.tables import Ints, Me, MeasureKind, RowLayout
from engine.core.windows import tile_of
from engine.state.messagepack import INTEGER_BYTES_MAX, PADDING, Bytes, get_integer, get_length, put_bytes, put_integer, put_length

FORMAT: Final = 1
PARTS: Final = 8
FORGOTTEN_PARTS: Final = 2
BUFFER_BYTES: Final = 1 << 20
GAP_MAX: Final = 1 << 32


class StateFormatError(Exception):
    """An encoded state that this engine cannot read."""


# Writing


@compiled
def put_cells(out: Bytes, at: int, row: Ints, first: int, count: int) -> int:
    """Write cells of a row as an array."""
    at = put_length(out, at, count, 0x90, 0xDC)
    for i in range(first, first + count):
        at = put_integer(out, at, row[i])
    return at


@compiled
def put_attributes(out: Bytes, at: int, row: Ints, names: Bytes, name_bounds: Ints) -> int:
    """Write the known attributes as a map by name."""
    known = 0
    for a in range(name_bounds.shape[0] - 1):
        known += row[ATTRIBUTES_AT + a] != MISSING
    at = put_length(out, at, known, 0x80, 0xDE)
    for a in range(name_bounds.shape[0] - 1):
        if row[ATTRIBUTES_AT + a] != MISSING:
            for i in range(name_bounds[a], name_bounds[a + 1]):
                out[at] = names[i]
                at += 1
            at = put_integer(out, at, row[ATTRIBUTES_AT + a])
    return at


@compiled
def gather_down(row: Ints, newest: int, count: int, age: int, found: Ints, n: int, before: int) -> tuple[int, int]:
    """Gather ``count`` cells from ``newest`` downwards, the first of which has this age; ``before`` is the age of the last one that was put
    into ``found[:n]``. Returns both anew. Most cells are empty, so they are looked at by four."""
    i = 0
    while i < count:
        at = newest - i
        if i + 4 <= count and row[at] | row[at - 1] | row[at - 2] | row[at - 3] == 0:
            i += 4
            continue
        if row[at] != 0:
            found[n], found[n + 1] = age + i - before, row[at]
            n, before = n + 2, age + i
        i += 1
    return n, before


@compiled
def gather(row: Ints, measure: Ints, found: Ints) -> int:
    """Put what is stored of a measure into ``found``: the gap and the cell of each tile that is not empty, newest first. How many integers."""
    base, tiles = measure[Me.BASE], measure[Me.TILES]
    if measure[Me.KIND] == MeasureKind.LAST_SEEN:
        found[0], found[1] = 0, row[base]
        return 0 if row[base] == MISSING else 2
    head = 0 if measure[Me.WIDTH] == 0 else tile_of(row[Col.CLOCK], measure[Me.OFFSET], measure[Me.WIDTH]) % tiles
    n, before = gather_down(row, base + head, head + 1, 0, found, 0, 0)
    n, _ = gather_down(row, base + tiles - 1, tiles - head - 1, head + 1, found, n, before)
    return n


@compiled
def put_forgotten(out: Bytes, at: int, sequence: int) -> int:
    """Write what is left of a forgotten account: nothing if nothing was announced of it. Returns the place behind it."""
    if sequence == 0:
        return at
    out[at] = 0x90 | FORGOTTEN_PARTS
    out[at + 1] = FORMAT
    return put_integer(out, at + 2, sequence)


@compiled
def put_row(out: Bytes, at: int, row: Ints, measures: Ints, names: Bytes, name_bounds: Ints, found: Ints) -> int:
    """Write one row. ``found`` is scratch. Returns the place behind it."""
    if row[Col.CLOCK] == MISSING:
        return put_forgotten(out, at, row[Col.SEQUENCE])
    out[at] = 0x90 | PARTS
    out[at + 1] = FORMAT
    at = put_cells(out, at + 2, row, 0, FIXED_COLUMNS)
    at = put_cells(out, at, row, FIGURES_AT, FIGURES)
    at = put_cells(out, at, row, MOVEMENTS_AT, 2 * row[Col.MOVEMENTS])
    at = put_cells(out, at, row, INSTALMENTS_AT, INSTALMENT_FIELDS * row[Col.INSTALMENTS])
    at = put_cells(out, at, row, FINGERPRINTS_AT, min(row[Col.FINGERPRINTS], FINGERPRINTS_MAX))
    at = put_attributes(out, at, row, names, name_bounds)
    out[at] = 0xDE  # how many measures are filled is known behind them
    count_at, filled = at + 1, 0
    at += 3
    for m in range(measures.shape[0]):
        length = gather(row, measures[m], found)
        if length > 0:
            filled += 1
            at = put_cells(out, put_integer(out, at, measures[m, Me.COLUMN]), found, 0, length)
    put_bytes(out, count_at, filled, 2)
    return at


@compiled
def put_rows(
    out: Bytes,
    rows: Ints,
    slots: Ints,
    first: int,
    row_bytes_max: int,
    measures: Ints,
    names: Bytes,
    bounds: Ints,
    found: Ints,
    ends: Ints,
) -> int:
    """Write rows ``slots[first:]`` one behind the other until ``out`` might overflow; ``ends[i]`` is the place behind row i. Returns the first
    place of ``slots`` that was not written."""
    at = 0
    for i in range(first, slots.shape[0]):
        if at + row_bytes_max > out.shape[0]:
            return i
        at = put_row(out, at, rows[slots[i]], measures, names, bounds, found)
        ends[i] = at
    return slots.shape[0]


# Reading


@compiled
def get_cells(data: Bytes, at: int, row: Ints, first: int, most: int) -> int:
    """Read an array of at most ``most`` integers into a row. Returns the place behind it, -1 if it is none."""
    length, at = get_length(data, at, 0x90, 0xDC)
    if at < 0 or length > most:
        return -1
    for i in range(first, first + length):
        value, at = get_integer(data, at)
        if at < 0:
            return -1
        row[i] = value
    return at


@compiled
def name_at(data: Bytes, at: int, length: int, names: Bytes, bounds: Ints) -> int:
    """Number of the attribute whose encoded name is the ``length`` bytes at ``at``; -1 if the policy does not read it."""
    for a in range(bounds.shape[0] - 1):
        if bounds[a + 1] - bounds[a] == length:
            same = True
            for i in range(length):
                same = same and data[at + i] == names[bounds[a] + i]
            if same:
                return a
    return -1


@compiled
def get_attributes(data: Bytes, at: int, row: Ints, names: Bytes, bounds: Ints) -> int:
    """Read the attributes that the policy knows. Returns the place behind them, -1 if they are malformed."""
    length, at = get_length(data, at, 0x80, 0xDE)
    for _ in range(length if at >= 0 else 0):
        if at + 2 > data.shape[0]:
            return -1
        head = np.int64(data[at])
        size = 1 + (head & 0x1F) if head & 0xE0 == 0xA0 else 2 + np.int64(data[at + 1]) if head == 0xD9 else 0
        if size == 0 or at + size > data.shape[0]:
            return -1
        attribute = name_at(data, at, size, names, bounds)
        value, at = get_integer(data, at + size)
        if at < 0:
            return -1
        if attribute >= 0:
            row[ATTRIBUTES_AT + attribute] = value
    return at


@compiled
def get_tiles(data: Bytes, at: int, row: Ints, measures: Ints, m: int) -> int:
    """Read one measure's tiles; ``m`` -1 skips them. Returns the place behind them, -1 if they are malformed."""
    length, at = get_length(data, at, 0x90, 0xDC)
    place = 0
    if m >= 0 and measures[m, Me.WIDTH] > 0:
        place = tile_of(row[Col.CLOCK], measures[m, Me.OFFSET], measures[m, Me.WIDTH]) % measures[m, Me.TILES]
    age = np.int64(0)
    for _ in range(length // 2 if at >= 0 else 0):
        gap, at = get_integer(data, at)
        if at < 0 or not 0 <= gap < GAP_MAX:
            return -1
        value, at = get_integer(data, at)
        if at < 0:
            return -1
        age += gap
        if m >= 0 and age < measures[m, Me.TILES]:
            row[measures[m, Me.BASE] + (place - age if age <= place else place - age + measures[m, Me.TILES])] = value
    return at


@compiled
def get_row(data: Bytes, at: int, end: int, row: Ints, measures: Ints, names: Bytes, bounds: Ints) -> bool:
    """Read one value into a blank row; behind the last value ``data`` goes on for PADDING bytes. False if it is malformed: then the row may
    hold anything, also of the next value, but nothing outside of row and data was touched."""
    if data[at] == 0x90 | FORGOTTEN_PARTS and data[at + 1] == FORMAT:
        sequence, at = get_integer(data, at + 2)
        row[Col.SEQUENCE] = sequence
        return at == end and sequence > 0
    if data[at] != 0x90 | PARTS or data[at + 1] != FORMAT:
        return False
    at = get_cells(data, at + 2, row, 0, FIXED_COLUMNS)
    at = get_cells(data, at, row, FIGURES_AT, FIGURES)
    at = get_cells(data, at, row, MOVEMENTS_AT, 2 * MOVEMENTS_MAX)
    at = get_cells(data, at, row, INSTALMENTS_AT, INSTALMENT_FIELDS * INSTALMENTS_MAX)
    at = get_cells(data, at, row, FINGERPRINTS_AT, FINGERPRINTS_MAX)
    if not (0 <= row[Col.MOVEMENTS] <= MOVEMENTS_MAX and 0 <= row[Col.INSTALMENTS] <= INSTALMENTS_MAX and row[Col.FINGERPRINTS] >= 0):
        return False
    at = get_attributes(data, at, row, names, bounds)
    columns, at = get_length(data, at, 0x80, 0xDE)
    guess = 0
    for _ in range(columns):
        column, at = get_integer(data, at)
        if at < 0:
            return False
        found = -1
        for step in range(measures.shape[0]):
            m = (guess + step) % measures.shape[0]
            if measures[m, Me.COLUMN] == column:
                found, guess = m, m + 1
                break
        at = get_tiles(data, at, row, measures, found)
    return at == end


@compiled
def get_rows(data: Bytes, bounds: Ints, rows: Ints, slots: Ints, measures: Ints, names: Bytes, name_bounds: Ints) -> int:
    """Read value i, ``data[bounds[i]:bounds[i + 1]]``, into the blank ``rows[slots[i]]``. Returns the first malformed one, -1 if none is."""
    for i in range(slots.shape[0]):
        if not get_row(data, bounds[i], bounds[i + 1], rows[slots[i]], measures, names, name_bounds):
            return i
    return -1


class RowCodec:
    """Encodes and decodes the rows of one layout."""

    def __init__(self, layout: RowLayout) -> None:
        self._measures = np.ascontiguousarray(layout.measures)
        encoded = [_name(name) for name in layout.attributes]
        self._names = np.frombuffer(b"".join(encoded) or b"\0", np.uint8)
        self._bounds = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
        self._row_bytes_max = INTEGER_BYTES_MAX * (layout.width + len(layout.measures)) + len(self._names) + 4 * len(layout.measures) + 64
        self._out = np.empty(max(BUFFER_BYTES, self._row_bytes_max), np.uint8)
        self._found = np.empty(2 * max([1, *(int(measure[Me.TILES]) for measure in layout.measures)]), np.int64)

    def encode(self, rows: Ints, slots: Ints) -> list[bytes]:
        """The values of ``rows[slots]``, in that order; empty of a row of which nothing is known."""
        values: list[bytes] = []
        ends = np.zeros(len(slots), np.int64)
        first = 0
        while first < len(slots):
            stop = put_rows(
                self._out, rows, slots, first, self._row_bytes_max, self._measures, self._names, self._bounds, self._found, ends
            )
            buffer = self._out[: ends[stop - 1]].tobytes()
            begin = 0
            for end in ends[first:stop].tolist():
                values.append(buffer[begin:end])
                begin = end
            first = stop
        return values

    def decode(self, accounts: Sequence[bytes], values: Sequence[bytes], rows: Ints, slots: Ints) -> None:
        """Read ``values`` into the blank ``rows[slots]``. Raises StateFormatError naming the account."""
        data = np.frombuffer(b"".join(values) + bytes(PADDING), np.uint8)
        bounds = np.cumsum([0, *map(len, values)])
        bad = get_rows(data, bounds, rows, slots, self._measures, self._names, self._bounds)
        if bad >= 0:
            held = values[bad][1] if len(values[bad]) > 1 else None
            raise StateFormatError(
                f"the state of account {accounts[bad].decode(errors='replace')} has format {held}; this engine reads {FORMAT}: "
                + ("run a newer engine" if held is not None and held > FORMAT else "the value is damaged, restore it from the journal")
            )


def forgotten_sequence(value: bytes) -> int | None:
    """The sequence of an account's last change if that is all its value tells, because it was forgotten; else None. Raises StateFormatError."""
    if value[:2] != bytes([0x90 | FORGOTTEN_PARTS, FORMAT]):
        return None
    try:
        return int(ormsgpack.unpackb(value)[1])
    except (ValueError, TypeError) as error:
        raise StateFormatError("the value of a forgotten account is damaged, restore it from the journal") from error


def _name(name: str) -> bytes:
    raw = name.encode()
    return bytes([0xA0 | len(raw)]) + raw if len(raw) < 32 else bytes([0xD9, len(raw)]) + raw
