"""An account's row as bytes: packed to the bit, compiled.

Theory of operation. Redis and the journal hold every account over and over, so a value has as few bits as what it says, in the terms of
``engine.state.bits``:

    8 bits        format number
    1 bit         1: the account was forgotten; only the number of its last change follows
    number        the account's clock, in ms
    sparse        the fixed columns, then the profile figures: a bit for each that says whether it is other than in a row without history,
                  then the numbers that are
    numbers       the movements, time and amount
    instalments   each: a bit that says whether it is of the loan of the one before, else 64 bits of the loan; then the numbers due at, due,
                  left to pay, flags
    48 bits each  the recent fingerprints
    attributes    count of them, each: 8 bits of length, the name in UTF-8, a number
    tiles         of each measure that has any: count of columns from the one before (at first -1), 2 bits of coding, count of cells, count
                  that is the age of the newest, gaps, cells; then a count of 0

Times are told as milliseconds before the clock. Of a measure only the cells that are not empty are written: the age of the newest one in tiles
before the clock, then how many empty ones lie before each older one (of two cells or more: a count that says how many bits each gap has, and
they); what has no tiles is written likewise, as if its cells stood in a ring with the first one at its head. The cells have as many bits as the
longest of them, as 6 bits say (63 for 64), plain or, if any is negative, folded; or they are sets of 64 (sketches); or numbers of their own. A
set is a count of its members and, from the lowest on, how many non-members lie before each, in Rice's code (1979): the multiples of a power of
two as ones up to a zero, then the rest; a count of 0 stands before all 64 bits of a full one. So a value does not depend on the shape of the
policy's rows: a new version reads the columns that it knows, and what it does not know is gone at the account's next write.

A row of which nothing at all is known has no value. Window values are not stored; ``engine.core.windows.rebuild`` makes them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from engine.core.bit_counts import ONE, ZERO, bits_of, bits_set, lowest_bit
from engine.core.jit import compiled
from engine.core.layout import (
    ATTRIBUTES_AT,
    FIGURES,
    FIGURES_AT,
    FINGERPRINT_BITS,
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
    Fig,
    Inst,
)
from engine.core.packed import Bytes, Packed, padded
from engine.core.rings import mark
from engine.core.rows import blank_row
from engine.core.tables import Ints, Me, MeasureKind, RowLayout
from engine.core.windows import tile_of
from engine.state.bits import (
    NUMBER_BITS_MAX,
    WIDTH_BITS,
    WIDTH_MAX,
    Words,
    folded,
    folded_width_of,
    get_bits,
    get_count,
    get_number,
    put_bits,
    put_count,
    put_number,
    signed,
    unfolded,
    width_of,
)
from engine.state.keys import bucket_of

FORMAT: Final = 1
BUFFER_WORDS: Final = 1 << 17
GAP_BITS_MAX: Final = 20
CELLS_MAX: Final = 1 << 14  # of one measure
COLUMN_BITS_MAX: Final = 4 * NUMBER_BITS_MAX  # what is told of a measure besides its cells
CODING_BITS: Final = 2
PLAIN: Final = 0
FOLDED: Final = 1
SETS: Final = 2
NUMBERS: Final = 3
SET_BITS: Final = 64
SET_MAX: Final = 16  # members of a set that is not written as its bits


def _mask(columns: Sequence[int]) -> np.uint64:
    return np.uint64(sum(1 << column for column in columns))


DAMAGED: Final = "the value is damaged: restore a backup of Redis; the rest comes from the journal"
FIXED_TIMES: Final = _mask(
    [
        *(Col.FIRST_AT, Col.TEMPORARY_UNTIL, Col.OFFER_UNTIL, Col.PENDING_AT, Col.HOLD_UNTIL, Col.OVERRIDE_UNTIL, Col.PENDING_RATE_AT),
        *(Col.LAST_CHANGE_AT, Col.WARNED_UNTIL, Col.WITHHELD_UNTIL, Col.MISMATCH_UNTIL, Col.OLDER_UNTIL),
    ]
)
FIGURE_TIMES: Final = _mask([Fig.AS_OF, Fig.APPLIED_AT])


class StateFormatError(Exception):
    """An encoded state that this engine cannot read. It is told by the bucket that it lies in: an account's id belongs in no log."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}: {cure}")
        self.what = what
        self.cure = cure


# Writing


@compiled
def put_sparse(out: Words, at: int, row: Ints, blank: Ints, first: int, count: int, times: np.uint64) -> int:
    """Write the columns of ``row[first:first + count]`` that are other than in the blank row; those in ``times`` as time before the clock."""
    present = ZERO
    for i in range(count):
        if row[first + i] != blank[first + i] and first + i != Col.CLOCK:
            present |= ONE << np.uint64(i)
    at = put_bits(out, at, present, count)
    while present != ZERO:
        i = lowest_bit(present)
        present &= present - ONE
        value = row[first + i]
        at = put_number(out, at, row[Col.CLOCK] - value if (times >> np.uint64(i)) & ONE else value)
    return at


@compiled
def put_instalments(out: Words, at: int, row: Ints) -> int:
    """Write the instalments that are held."""
    loan = 0
    for place in range(INSTALMENTS_AT, INSTALMENTS_AT + INSTALMENT_FIELDS * row[Col.INSTALMENTS], INSTALMENT_FIELDS):
        is_same = row[place + Inst.LOAN] == loan
        at = put_bits(out, at, np.uint64(is_same), 1)
        if not is_same:
            loan = row[place + Inst.LOAN]
            at = put_bits(out, at, np.uint64(loan), 64)
        at = put_number(out, at, row[Col.CLOCK] - row[place + Inst.DUE_AT])
        at = put_number(out, at, row[place + Inst.DUE])
        at = put_number(out, at, row[place + Inst.DUE] - row[place + Inst.PAID])
        at = put_number(out, at, row[place + Inst.FLAGS])
    return at


@compiled
def put_attributes(out: Words, at: int, row: Ints, names: Bytes, bounds: Ints) -> int:
    """Write the known attributes by name."""
    known = 0
    for a in range(bounds.shape[0] - 1):
        known += row[ATTRIBUTES_AT + a] != MISSING
    at = put_count(out, at, known)
    for a in range(bounds.shape[0] - 1):
        if row[ATTRIBUTES_AT + a] != MISSING:
            at = put_bits(out, at, np.uint64(bounds[a + 1] - bounds[a]), 8)
            for i in range(bounds[a], bounds[a + 1]):
                at = put_bits(out, at, np.uint64(names[i]), 8)
            at = put_number(out, at, row[ATTRIBUTES_AT + a])
    return at


@compiled
def gather_down(row: Ints, base: int, index: int, newest: int, lowest: int, age: int, found: Ints, n: int, before: int) -> tuple[int, int]:
    """Gather a ring's cells from the place ``newest``, which has this age, down to ``lowest``; ``before`` is the age of the last one that was put
    into ``found[:n]``. Returns both anew."""
    for word in range(newest >> 6, (lowest >> 6) - 1, -1):
        left = np.uint64(row[index + word])
        if word == newest >> 6:
            left &= ~ZERO >> np.uint64(63 - (newest & 63))
        if word == lowest >> 6:
            left &= ~ZERO << np.uint64(lowest & 63)
        while left != ZERO:
            bit = bits_of(left) - 1
            left ^= ONE << np.uint64(bit)
            own, cell = age + newest - (64 * word + bit), row[base + 64 * word + bit]
            if cell != 0:
                found[n], found[n + 1] = own - before, cell
                n, before = n + 2, own
    return n, before


@compiled
def gather(row: Ints, measure: Ints, found: Ints) -> int:
    """Put what is stored of a measure into ``found``: the gap and the cell of each tile that is not empty, newest first. How many integers. The
    moment of a last-seen is told as time before the clock."""
    base, tiles = measure[Me.BASE], measure[Me.TILES]
    if measure[Me.KIND] == MeasureKind.LAST_SEEN:
        found[0], found[1] = 0, row[Col.CLOCK] - row[base]
        return 0 if row[base] == MISSING else 2
    n, before = 0, 0
    if measure[Me.WIDTH] == 0:
        for age in range(tiles):
            cell = row[base + (tiles - age) % tiles]
            if cell != 0:
                found[n], found[n + 1] = age - before, cell
                n, before = n + 2, age
        return n
    head, index = tile_of(row[Col.CLOCK], measure[Me.OFFSET], measure[Me.WIDTH]) % tiles, measure[Me.INDEX]
    n, before = gather_down(row, base, index, head, 0, 0, found, 0, 0)
    if head + 1 < tiles:
        n, _ = gather_down(row, base, index, tiles - 1, head + 1, head + 1, found, n, before)
    return n


@compiled
def rest_bits(count: int) -> int:
    """How many bits of a gap are written as they are, by the members of the set: about those of the mean gap."""
    bits = 0
    while count << (bits + 1) <= SET_BITS:
        bits += 1
    return bits


@compiled
def put_set(out: Words, at: int, cell: int) -> int:
    """Write a cell as the set of its bits."""
    count = bits_set(cell)
    if count > SET_MAX:
        return put_bits(out, put_count(out, at, 0), np.uint64(cell), SET_BITS)
    at = put_count(out, at, count)
    rest, left, begin = rest_bits(count), np.uint64(cell), 0
    while left != ZERO:
        member = lowest_bit(left)
        gap = member - begin
        ones = gap >> rest
        at = put_bits(out, at, (ONE << np.uint64(ones)) - ONE, ones + 1)
        at = put_bits(out, at, np.uint64(gap - (ones << rest)), rest)
        begin = member + 1
        left &= left - ONE
    return at


@compiled
def put_measure(out: Words, at: int, measure: Ints, found: Ints, n: int) -> int:
    """Write what ``gather`` found of a measure, ``found[:n]``, behind its column."""
    count, is_set = n // 2, measure[Me.KIND] == MeasureKind.DISTINCT
    coding = NUMBERS if measure[Me.WIDTH] == 0 else SETS if is_set else PLAIN
    width = width_of(found, 1, 2, count)
    if coding == PLAIN and width == 64:
        coding, width = FOLDED, folded_width_of(found, 1, 2, count)
    at = put_bits(out, at, np.uint64(coding), CODING_BITS)
    at = put_count(out, at, count)
    at = put_count(out, at, found[0])
    if count > 1:
        for i in range(2, n, 2):
            found[i] -= 1
        gap_width = width_of(found, 2, 2, count - 1)
        at = put_count(out, at, gap_width)
        for i in range(2, n, 2):
            at = put_bits(out, at, np.uint64(found[i]), gap_width)
    if coding <= FOLDED:
        width = 64 if width == WIDTH_MAX else width
        at = put_bits(out, at, np.uint64(min(width, WIDTH_MAX)), WIDTH_BITS)
    for i in range(1, n, 2):
        if coding == SETS:
            at = put_set(out, at, found[i])
        elif coding == NUMBERS:
            at = put_number(out, at, found[i])
        else:
            at = put_bits(out, at, folded(found[i]) if coding == FOLDED else np.uint64(found[i]), width)
    return at


@compiled
def put_row(out: Words, at: int, row: Ints, blank: Ints, measures: Ints, names: Bytes, bounds: Ints, found: Ints) -> int:
    """Write one row from the first bit of a word on. ``found`` is scratch. Returns the place behind it; ``at`` of a row of which nothing is
    known."""
    is_forgotten = row[Col.CLOCK] == MISSING
    if is_forgotten and row[Col.SEQUENCE] == 0:
        return at
    out[at >> 6] = ZERO
    at = put_bits(out, at, np.uint64(FORMAT), 8)
    at = put_bits(out, at, np.uint64(is_forgotten), 1)
    if is_forgotten:
        return put_number(out, at, row[Col.SEQUENCE])
    at = put_number(out, at, row[Col.CLOCK])
    at = put_sparse(out, at, row, blank, 0, FIXED_COLUMNS, FIXED_TIMES)
    at = put_sparse(out, at, row, blank, FIGURES_AT, FIGURES, FIGURE_TIMES)
    for place in range(MOVEMENTS_AT, MOVEMENTS_AT + 2 * row[Col.MOVEMENTS], 2):
        at = put_number(out, put_number(out, at, row[Col.CLOCK] - row[place]), row[place + 1])
    at = put_instalments(out, at, row)
    for place in range(FINGERPRINTS_AT, FINGERPRINTS_AT + min(row[Col.FINGERPRINTS], FINGERPRINTS_MAX)):
        at = put_bits(out, at, np.uint64(row[place]), FINGERPRINT_BITS)
    at = put_attributes(out, at, row, names, bounds)
    before = -1
    for m in range(measures.shape[0]):
        n = gather(row, measures[m], found)
        if n > 0:
            at = put_count(out, at, measures[m, Me.COLUMN] - before)
            before = measures[m, Me.COLUMN]
            at = put_measure(out, at, measures[m], found, n)
    return put_count(out, at, 0)


@compiled
def put_rows(
    out: Words,
    rows: Ints,
    slots: Ints,
    row_words_max: int,
    blank: Ints,
    measures: Ints,
    names: Bytes,
    bounds: Ints,
    found: Ints,
    begins: Ints,
    ends: Ints,
) -> int:
    """Write the rows of some slots, each from a word on, until ``out`` might overflow; ``begins[i]`` and ``ends[i]`` are row i's first byte and
    the one behind it. Returns how many were written."""
    word = 0
    for i in range(slots.shape[0]):
        if word + row_words_max > out.shape[0]:
            return i
        begins[i] = 8 * word
        at = put_row(out, 64 * word, rows[slots[i]], blank, measures, names, bounds, found)
        ends[i] = (at + 7) // 8
        word = (at + 63) // 64
    return slots.shape[0]


# Reading


@compiled
def get_sparse(data: Words, at: int, end: int, row: Ints, first: int, count: int, times: np.uint64) -> int:
    """Inverse of ``put_sparse``, into a blank row. Returns the place behind it, -1 if it is cut off."""
    present, at = get_bits(data, at, count, end)
    while present != ZERO:
        i = lowest_bit(present)
        present &= present - ONE
        value, at = get_number(data, at, end)
        row[first + i] = row[Col.CLOCK] - value if (times >> np.uint64(i)) & ONE else value
    return at


@compiled
def get_instalments(data: Words, at: int, end: int, row: Ints) -> int:
    """Inverse of ``put_instalments``."""
    loan = 0
    for place in range(INSTALMENTS_AT, INSTALMENTS_AT + INSTALMENT_FIELDS * row[Col.INSTALMENTS], INSTALMENT_FIELDS):
        is_same, at = get_bits(data, at, 1, end)
        if not is_same:
            own, at = get_bits(data, at, 64, end)
            loan = signed(own)
        row[place + Inst.LOAN] = loan
        before, at = get_number(data, at, end)
        row[place + Inst.DUE_AT] = row[Col.CLOCK] - before
        row[place + Inst.DUE], at = get_number(data, at, end)
        left, at = get_number(data, at, end)
        row[place + Inst.PAID] = row[place + Inst.DUE] - left
        row[place + Inst.FLAGS], at = get_number(data, at, end)
    return at


@compiled
def name_at(name: Bytes, length: int, names: Bytes, bounds: Ints) -> int:
    """Number of the attribute whose name is the first ``length`` bytes of ``name``; -1 if the policy does not read it."""
    for a in range(bounds.shape[0] - 1):
        if bounds[a + 1] - bounds[a] == length:
            same = True
            for i in range(length):
                same = same and name[i] == names[bounds[a] + i]
            if same:
                return a
    return -1


@compiled
def get_attributes(data: Words, at: int, end: int, row: Ints, name: Bytes, names: Bytes, bounds: Ints) -> int:
    """Read the attributes that the policy knows; ``name`` is scratch of 255 bytes. Returns the place behind them, -1 if they are malformed."""
    count, at = get_count(data, at, end)
    for _ in range(count if at >= 0 else 0):
        length, at = get_bits(data, at, 8, end)
        for i in range(signed(length)):
            letter, at = get_bits(data, at, 8, end)
            name[i] = letter
        value, at = get_number(data, at, end)
        if at < 0:
            return -1
        attribute = name_at(name, signed(length), names, bounds)
        if attribute >= 0:
            row[ATTRIBUTES_AT + attribute] = value
    return at


@compiled
def get_set(data: Words, at: int, end: int) -> tuple[int, int]:
    """Inverse of ``put_set``."""
    count, at = get_count(data, at, end)
    if count == 0:
        whole, at = get_bits(data, at, SET_BITS, end)
        return signed(whole), at
    if count > SET_MAX:
        return 0, -1
    rest, cell, member = rest_bits(count), ZERO, -1
    for _ in range(count):
        member += 1
        one, at = get_bits(data, at, 1, end)
        while one:
            member += 1 << rest
            one, at = get_bits(data, at, 1, end)
        more, at = get_bits(data, at, rest, end)
        member += signed(more)
        if member >= SET_BITS:
            return 0, -1
        cell |= ONE << np.uint64(member)
    return signed(cell), at


@compiled
def get_measure(data: Words, at: int, end: int, row: Ints, measures: Ints, m: int, ages: Ints) -> int:
    """Read what is written of a measure behind its column; ``m`` -1 skips it, ``ages`` is scratch. Returns the place behind it, -1 if it is
    malformed."""
    said, at = get_bits(data, at, CODING_BITS, end)
    coding = signed(said)
    count, at = get_count(data, at, end)
    age, at = get_count(data, at, end)
    if at < 0 or not 0 < count <= ages.shape[0]:
        return -1
    ages[0] = age
    if count > 1:
        gap_width, at = get_count(data, at, end)
        if gap_width > GAP_BITS_MAX:
            return -1
        for i in range(1, count):
            gap, at = get_bits(data, at, gap_width, end)
            ages[i] = ages[i - 1] + 1 + signed(gap)
    width = 0
    if coding <= FOLDED:
        said, at = get_bits(data, at, WIDTH_BITS, end)
        width = 64 if signed(said) == WIDTH_MAX else signed(said)
    place = 0
    if m >= 0 and measures[m, Me.WIDTH] > 0:
        place = tile_of(row[Col.CLOCK], measures[m, Me.OFFSET], measures[m, Me.WIDTH]) % measures[m, Me.TILES]
    for i in range(count):
        value = 0
        if coding == SETS:
            value, at = get_set(data, at, end)
        elif coding == NUMBERS:
            value, at = get_number(data, at, end)
        else:
            held, at = get_bits(data, at, width, end)
            value = unfolded(held) if coding == FOLDED else signed(held)
        if at < 0:
            return -1
        if m >= 0 and ages[i] < measures[m, Me.TILES]:
            cell = place - ages[i] if ages[i] <= place else place - ages[i] + measures[m, Me.TILES]
            if measures[m, Me.WIDTH] > 0:
                mark(row, measures[m, Me.INDEX], cell)
            row[measures[m, Me.BASE] + cell] = row[Col.CLOCK] - value if measures[m, Me.KIND] == MeasureKind.LAST_SEEN else value
    return at


@compiled
def get_row(data: Words, at: int, end: int, row: Ints, measures: Ints, names: Bytes, bounds: Ints, name: Bytes, ages: Ints) -> bool:
    """Read one value, the bits from ``at`` to ``end``, into a blank row; ``name`` and ``ages`` are scratch. False if it is malformed: then the
    row may hold anything, but nothing outside of row and data was touched."""
    form, at = get_bits(data, at, 8, end)
    is_forgotten, at = get_bits(data, at, 1, end)
    if at < 0 or form != np.uint64(FORMAT):
        return False
    value, at = get_number(data, at, end)
    if is_forgotten:
        row[Col.SEQUENCE] = value
        return is_end(at, end) and value > 0
    row[Col.CLOCK] = value
    at = get_sparse(data, at, end, row, 0, FIXED_COLUMNS, FIXED_TIMES)
    at = get_sparse(data, at, end, row, FIGURES_AT, FIGURES, FIGURE_TIMES)
    if not (0 <= row[Col.MOVEMENTS] <= MOVEMENTS_MAX and 0 <= row[Col.INSTALMENTS] <= INSTALMENTS_MAX and row[Col.FINGERPRINTS] >= 0):
        return False
    for place in range(MOVEMENTS_AT, MOVEMENTS_AT + 2 * row[Col.MOVEMENTS], 2):
        before, at = get_number(data, at, end)
        row[place] = row[Col.CLOCK] - before
        row[place + 1], at = get_number(data, at, end)
    at = get_instalments(data, at, end, row)
    for place in range(FINGERPRINTS_AT, FINGERPRINTS_AT + min(row[Col.FINGERPRINTS], FINGERPRINTS_MAX)):
        held, at = get_bits(data, at, FINGERPRINT_BITS, end)
        row[place] = signed(held)
    at = get_attributes(data, at, end, row, name, names, bounds)
    column, m = -1, 0
    while True:
        more, at = get_count(data, at, end)
        if more == 0 or at < 0:
            return is_end(at, end)
        column += more
        while m < measures.shape[0] and measures[m, Me.COLUMN] < column:
            m += 1
        is_known = m < measures.shape[0] and measures[m, Me.COLUMN] == column
        at = get_measure(data, at, end, row, measures, m if is_known else -1, ages)


@compiled
def is_end(at: int, end: int) -> bool:
    """Whether only the bits that fill the last byte are left."""
    return at >= 0 and 0 <= end - at < 8


@compiled
def get_rows(
    data: Words,
    begins: Ints,
    ends: Ints,
    rows: Ints,
    slots: Ints,
    measures: Ints,
    names: Bytes,
    bounds: Ints,
    name: Bytes,
    ages: Ints,
) -> int:
    """Read value i, the bytes from ``begins[i]`` to ``ends[i]``, into the blank ``rows[slots[i]]``; nothing of one that is absent. Returns the
    first malformed one, -1 if none is."""
    for i in range(slots.shape[0]):
        if ends[i] >= begins[i] and not get_row(data, 8 * begins[i], 8 * ends[i], rows[slots[i]], measures, names, bounds, name, ages):
            return i
    return -1


class RowCodec:
    """Encodes and decodes the rows of one layout."""

    def __init__(self, layout: RowLayout) -> None:
        self._measures = layout.measures[np.argsort(layout.measures[:, Me.COLUMN])]
        self._blank = blank_row(layout)
        encoded = [name.encode() for name in layout.attributes]
        self._names = np.frombuffer(b"".join(encoded) or b"\0", np.uint8)
        self._bounds = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
        bits = NUMBER_BITS_MAX * layout.width + COLUMN_BITS_MAX * len(layout.measures) + 8 * (len(self._names) + len(encoded))
        self._row_words_max = bits // 64 + 8
        self._out = np.empty(max(BUFFER_WORDS, self._row_words_max), np.uint64)
        self._found = np.empty(2 * max([1, *(int(measure[Me.TILES]) for measure in layout.measures)]), np.int64)
        self._name = np.empty(255, np.uint8)
        self._ages = np.empty(CELLS_MAX, np.int64)

    def encode(self, rows: Ints, slots: Ints) -> Packed:
        """The values of ``rows[slots]``, in that order; empty of a row of which nothing is known."""
        parts = [Packed.empty(0)]
        first = 0
        while first < len(slots):
            tables = self._blank, self._measures, self._names, self._bounds, self._found
            begins, ends = np.zeros((2, len(slots) - first), np.int64)
            stop = put_rows(self._out, rows, slots[first:], self._row_words_max, *tables, begins, ends)
            data = padded(memoryview(self._out[: ends[stop - 1] // 8 + 1]).cast("B"))
            parts.append(Packed(data, begins[:stop], ends[:stop]))
            first += stop
        return Packed.joined(parts[1:] if len(parts) == 2 else parts)

    def decode(self, accounts: Packed, values: Packed, rows: Ints, slots: Ints) -> None:
        """Read ``values`` into the blank ``rows[slots]``; nothing where one is absent. Raises StateFormatError."""
        data = values.data[: len(values.data) // 8 * 8].view(np.uint64)  # what is cut off is padding
        tables = self._measures, self._names, self._bounds, self._name, self._ages
        bad = get_rows(data, values.begins, values.ends, rows, slots, *tables)
        if bad >= 0:
            account, value = accounts[bad] or b"", values[bad]
            held = value[0] if value else None
            raise StateFormatError(
                f"the state of an account in bucket {bucket_of(account)} has format {held}, and this engine reads {FORMAT}",
                cure="run a newer engine" if held is not None and held > FORMAT else DAMAGED,
            )


def forgotten_sequence(value: bytes) -> int | None:
    """The sequence of an account's last change if that is all its value tells, because it was forgotten; else None. Raises StateFormatError."""
    bits = int.from_bytes(value, "little")
    if value[:1] != bytes([FORMAT]) or not bits >> 8 & 1:
        return None
    width = bits >> 9 & WIDTH_MAX
    width = 64 if width == WIDTH_MAX else width
    held = bits >> 15
    if 15 + width > 8 * len(value) or held >> width or held & 1 or held == 0:
        raise StateFormatError("the value of a forgotten account cannot be read", cure=DAMAGED)
    return held >> 1
