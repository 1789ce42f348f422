"""The scanner: from the JSON texts of flat events to columns, compiled.

Theory of operation. The contract (``schemas``, pydantic) says which records are right; asking it for each one costs microseconds. The scanner
takes the records that are *certainly* right and says nothing about the others: whatever it has not been taught (an escape in a string, a
fraction, a time with a leap second, an unknown or repeated field, a wrong type, a key that is not the account) it leaves to the judge, which
has the only say in what is wrong and why. So a doubt costs time and never an answer, and two properties are worth testing: what the scanner
takes is what the judge would have accepted, with the same columns; and ordinary traffic is taken.

One pass over the records where they lie. A record is read field by field: the name is compared as two 64-bit
words with the topic's table of fields (``fields``), beginning with the one that followed the last time, since a producer writes its fields
in one order; then the value is read by the field's kind and goes to its column. Bits of the fields seen find the repeated and the absent. The
nested object ``reverses`` has a table of its own; nothing nests deeper, so one flag is the whole stack. What lies behind a record's end is
readable but never part of it: positions only grow, and the closing brace must be the last byte but white space before the end. Only whole
numbers occur; no float is ever made.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.core.jit import compiled
from engine.core.layout import MISSING, Ev
from engine.core.packed import Bytes, Words, masked
from engine.core.tables import Ints
from engine.stream.decode.fields import FIELD, Fi, FieldKind, Ta
from engine.stream.decode.text import first_special, same, siphash_words, string_end
from engine.stream.decode.times import time_ms

NAME_MAX: Final = 16
DIGITS_MAX: Final = 16
TEXT_MAX: Final = 64
TRUE: Final = np.uint64(int.from_bytes(b"true", "little"))
FALSE: Final = np.uint64(int.from_bytes(b"false", "little"))
NULL: Final = np.uint64(int.from_bytes(b"null", "little"))


@compiled
def skip_space(data: Bytes, at: int, limit: int) -> int:
    """The first place from ``at`` on that is not white space, at most ``limit`` unless it lay behind already."""
    while at < limit and (data[at] == 0x20 or data[at] == 0x0A or data[at] == 0x0D or data[at] == 0x09):
        at += 1
    return at


@compiled
def find_field(table: Ints, first: int, end: int, guess: int, low: int, high: int) -> int:
    """The field of ``first .. end`` with this name, -1 if there is none; ``guess`` is looked at first."""
    if first <= guess < end and table[guess + Fi.NAME_LOW] == low and table[guess + Fi.NAME_HIGH] == high:
        return guess
    for field in range(first, end, FIELD):
        if table[field + Fi.NAME_LOW] == low and table[field + Fi.NAME_HIGH] == high:
            return field
    return -1


@compiled
def word_code(table: Ints, place: int, mask: int, print_: int) -> int:
    """Code of the word with this fingerprint in a vocabulary (``fields.vocabulary``); 0 if it is not in it."""
    slot = print_ & mask
    while table[place + 2 * slot + 1] != 0:
        if table[place + 2 * slot] == print_:
            return table[place + 2 * slot + 1]
        slot = (slot + 1) & mask
    return 0


@compiled
def enum_code(table: Ints, place: int, end: int, word: int) -> int:
    """Code (1, 2, ...) of a word of at most eight bytes in a list of words; 0 if it is not in it."""
    for i in range(place, end):
        if table[i] == word:
            return i - place + 1
    return 0


@compiled
def integer(data: Bytes, at: int) -> tuple[int, int]:
    """The whole number that begins at ``at`` and the place behind it; -1 unless it has 1 to 16 digits, no sign and no leading zero."""
    first = at
    number = np.int64(0)
    while 48 <= data[at] <= 57 and at - first < DIGITS_MAX:
        number = number * 10 + np.int64(data[at]) - 48
        at += 1
    if at == first or (data[first] == 48 and at - first > 1):
        return -1, at
    return number, at


@compiled
def scan_record(
    data: Bytes,
    words: Words,
    at: int,
    limit: int,
    key_words: Words,
    key_at: int,
    key_length: int,
    id_words: Words,
    id_at: int,
    id_length: int,
    table: Ints,
    low: np.uint64,
    high: np.uint64,
    columns: Ints,
    i: int,
) -> bool:
    """Write one record's columns. False if it is for the judge (then what was written means nothing)."""
    begin, first, end, required = at, table[Ta.FIELDS], table[Ta.FIELDS_END], table[Ta.REQUIRED]
    nested = False
    seen = np.int64(0)
    last = first
    at = skip_space(data, at, limit)
    if data[at] != 0x7B:
        return False
    at += 1
    while True:
        # The name.
        at = skip_space(data, at, limit)
        if data[at] != 0x22:
            return False
        at += 1
        stop = first_special(words, at)
        length = stop - at
        if data[stop] != 0x22 or not 1 <= length <= NAME_MAX:
            return False
        name_low = masked(words, at, min(length, 8))
        name_high = masked(words, at + 8, length - 8) if length > 8 else np.uint64(0)
        field = find_field(table, first, end, table[last + Fi.NEXT], np.int64(name_low), np.int64(name_high))
        if field < 0 or seen & table[field + Fi.BIT] != 0:
            return False
        table[last + Fi.NEXT] = field
        last = field
        seen |= table[field + Fi.BIT]
        at = skip_space(data, stop + 1, limit)
        if data[at] != 0x3A:
            return False
        at = skip_space(data, at + 1, limit)
        # The value.
        kind = table[field + Fi.KIND]
        column = table[field + Fi.COLUMN]
        if kind <= FieldKind.LAST_STRING:
            if data[at] != 0x22:
                return False
            at += 1
            stop = string_end(data, words, at, limit, TEXT_MAX)
            if stop < 0:
                return False
            length = stop - at
            if kind == FieldKind.ENUM:
                code = enum_code(table, table[field + Fi.WORDS], table[field + Fi.WORDS_END], np.int64(masked(words, at, min(length, 8))))
                if code == 0 or length > 8:
                    return False
                columns[column, i] = code
            elif kind == FieldKind.TIME:
                moment = time_ms(data, words, at, stop)
                if moment == MISSING:
                    return False
                columns[column, i] = moment
            elif kind == FieldKind.CURRENCY:
                if length != 3 or np.int64(masked(words, at, 3)) != table[Ta.CURRENCY]:
                    return False
            elif kind == FieldKind.ACCOUNT:
                if length != key_length or not same(words, at, key_words, key_at, length):
                    return False
            elif kind != FieldKind.NAME:
                print_ = siphash_words(words, at, stop, low, high)
                if kind == FieldKind.WORD:
                    columns[column, i] = word_code(table, table[field + Fi.WORDS], table[field + Fi.WORDS_END], print_)
                    columns[table[field + Fi.HASH_COLUMN], i] = print_
                elif kind == FieldKind.PRINT:
                    columns[column, i] = print_
                else:
                    if id_length > 0 and (length != id_length or not same(words, at, id_words, id_at, length)):
                        return False
                    columns[column, i] ^= print_
                    columns[Ev.ID_AT, i], columns[Ev.ID_END, i] = at - begin, stop - begin
            at = stop + 1
        elif kind == FieldKind.AMOUNT:
            number, at = integer(data, at)
            if number < table[field + Fi.LOW] or number > table[field + Fi.HIGH]:
                return False
            columns[column, i] = number
        elif kind == FieldKind.TRUTH:
            if masked(words, at, 4) == TRUE:
                columns[column, i] = 1
                at += 4
            elif masked(words, at, 5) == FALSE:
                columns[column, i] = 0
                at += 5
            else:
                return False
        else:
            if data[at] != 0x7B:
                return False
            at += 1
            nested = True
            first, end = table[Ta.NESTED], table[Ta.NESTED_END]
            continue
        # What comes behind it.
        at = skip_space(data, at, limit)
        if nested and data[at] == 0x7D:
            if seen & table[Ta.NESTED_REQUIRED] != table[Ta.NESTED_REQUIRED]:
                return False
            nested = False
            first, end = table[Ta.FIELDS], table[Ta.FIELDS_END]
            at = skip_space(data, at + 1, limit)
        if data[at] == 0x2C:
            at += 1
            continue
        if data[at] != 0x7D or nested:
            return False
        return seen & required == required and skip_space(data, at + 1, limit) == limit


@compiled
def scan(
    data: Bytes,
    words: Words,
    begins: Ints,
    ends: Ints,
    key_words: Words,
    key_begins: Ints,
    key_ends: Ints,
    id_words: Words,
    id_begins: Ints,
    id_ends: Ints,
    table: Ints,
    low: np.uint64,
    high: np.uint64,
    columns: Ints,
    taken: npt.NDArray[np.bool_],
) -> None:
    """Read the records that ``taken`` (n,) marks, and leave the mark only on those that the contract certainly accepts.

    Values, keys and CloudEvents ids (empty: none) are packed (``engine.core.packed``); a marked record has a value. ``columns``
    (EVENT_COLUMNS, n) holds what a record without any field would have, with everything of FINGERPRINT but the event id's; it is written in
    place.
    """
    for i in range(taken.shape[0]):
        if taken[i]:
            key_at, id_at = key_begins[i], id_begins[i]
            key_length, id_length = key_ends[i] - key_at, id_ends[i] - id_at
            taken[i] = scan_record(
                *(data, words, begins[i], ends[i], key_words, key_at, key_length, id_words, id_at, id_length), table, low, high, columns, i
            )
