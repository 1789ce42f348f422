"""Forms: texts with blanks, filled in with the numbers and strings of many rows at once.

Theory of operation. Of the text that tells a decision nearly all is known when the policy is, and between go the decision's own numbers, and a
few strings that come from outside. A form is a run of *blanks*, rows of int64. Most blanks write something: a *fragment* (a string that is known
beforehand), a column's digits, the instant that it holds, a string of the row's own. A test looks at a column and, where it fails, goes on some
blanks further; so what is told only sometimes has its place too. Nothing of this is compiled for a policy: one function fills in any form.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np

from engine.core.jit import compiled
from engine.core.layout import DAY_MS
from engine.core.packed import Bytes, Words, copy
from engine.core.record_batch import put_varint
from engine.core.tables import Ints

ZERO_DIGIT: Final = 0x30
COMMA: Final = 0x2C
LETTERS: Final = 0x61 - 10  # from the value of a digit above nine to its letter
TEN: Final = np.uint64(10)
DAYS_BEFORE_1970: Final = 719_468  # from the first of March of the year 0
ERA_DAYS: Final = 146_097  # of 400 years
BACKSLASH: Final = 0x5C
SHORT_ESCAPES: Final = np.frombuffer(
    b"uuuuuuuubtnufruuuuuuuuuuuuuuuuuu", np.uint8
)  # what stands behind the backslash, by control character


class Do(IntEnum):
    """What is done at a blank. From GO on nothing is written; the tests behind it go on where they hold, and else SKIP blanks further."""

    TEXT = 0  # the fragment FIRST
    ONE_OF = 1  # the fragment FIRST + column
    NUMBER = 2  # the column in decimal digits
    HEX = 3  # in hexadecimal ones
    INSTANT = 4  # the column's milliseconds as RFC 3339 in UTC
    DATE = 5  # the column's day since 1970 as YYYY-MM-DD
    SIZED_NUMBER = 6  # how many decimal digits, as a variable-length integer, and the digits
    STRING = 7  # the row's string VALUE
    SIZED_STRING = 8  # its length as a variable-length integer, and the string
    JSON_STRING = 9  # the string as it stands between JSON's quotes
    END_LIST = 10  # the comma that stands last is taken back
    GO = 11  # SKIP blanks further
    IS = 12  # the column is VALUE
    BELOW = 13  # is less than VALUE
    HAS = 14  # has a bit of VALUE
    LATER = 15  # is greater than the column VALUE


class Bl(IntEnum):
    """The columns of a blank."""

    DO = 0
    COLUMN = 1
    VALUE = 2
    SKIP = 3
    FIRST = 4


@compiled
def digits_in(number: np.uint64) -> int:
    """How many decimal digits a number has."""
    count = 1
    while number >= TEN:
        number //= TEN
        count += 1
    return count


@compiled
def put_digits(out: Bytes, at: int, number: int) -> int:
    """Write a whole number in decimal digits. Returns the place behind it."""
    if number < 0:
        out[at] = 0x2D
        at += 1
    rest = np.uint64(abs(number))
    end = at + digits_in(rest)
    for place in range(end - 1, at - 1, -1):
        out[place] = ZERO_DIGIT + np.int64(rest % TEN)
        rest //= TEN
    return end


@compiled
def put_hex(out: Bytes, at: int, number: int) -> int:
    """Write a number that is not negative in hexadecimal digits. Returns the place behind it."""
    shift = 0
    while number >> shift > 0xF:
        shift += 4
    while shift >= 0:
        digit = (number >> shift) & 0xF
        out[at] = digit + (ZERO_DIGIT if digit < 10 else LETTERS)
        at, shift = at + 1, shift - 4
    return at


@compiled
def put_padded(out: Bytes, at: int, number: int, width: int) -> int:
    """Write a number that is not negative in so many decimal digits. Returns the place behind it."""
    for place in range(at + width - 1, at - 1, -1):
        out[place] = ZERO_DIGIT + number % 10
        number //= 10
    return at + width


@compiled
def put_date(out: Bytes, at: int, day: int) -> int:
    """Write a day since 1970, of the years 1 to 9999, as YYYY-MM-DD. Returns the place behind it.

    By H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days: years begin in March, so a leap day ends one.
    """
    day += DAYS_BEFORE_1970
    era, day_of_era = day // ERA_DAYS, day % ERA_DAYS
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // (ERA_DAYS - 1)) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153  # from March on
    at = put_padded(out, at, year_of_era + 400 * era + (month >= 10), 4)
    out[at] = 0x2D
    at = put_padded(out, at + 1, month + 3 if month < 10 else month - 9, 2)
    out[at] = 0x2D
    return put_padded(out, at + 1, day_of_year - (153 * month + 2) // 5 + 1, 2)


@compiled
def put_instant(out: Bytes, at: int, at_ms: int) -> int:
    """Write an instant of the years 1 to 9999 as RFC 3339 in UTC with milliseconds. Returns the place behind it."""
    at, ms = put_date(out, at, at_ms // DAY_MS), at_ms % DAY_MS
    out[at] = 0x54
    at = put_padded(out, at + 1, ms // 3_600_000, 2)
    out[at] = 0x3A
    at = put_padded(out, at + 1, ms // 60_000 % 60, 2)
    out[at] = 0x3A
    at = put_padded(out, at + 1, ms // 1_000 % 60, 2)
    out[at] = 0x2E
    at = put_padded(out, at + 1, ms % 1_000, 3)
    out[at] = 0x5A
    return at + 1


@compiled
def put_json(words: Words, begin: int, end: int, out: Bytes, at: int) -> int:
    """Write a string in UTF-8 as it stands between JSON's quotes: quote, backslash and control characters escaped (RFC 8259, section 7), those
    with a short form by it. Returns the place behind it."""
    for place in range(begin, end):
        byte = int(words[place] & np.uint64(0xFF))
        if byte >= 0x20 and byte != 0x22 and byte != BACKSLASH:
            out[at] = byte
            at += 1
            continue
        out[at] = BACKSLASH
        out[at + 1] = SHORT_ESCAPES[byte] if byte < 0x20 else byte
        at += 2
        if out[at - 1] == 0x75:
            out[at] = out[at + 1] = ZERO_DIGIT
            out[at + 2] = ZERO_DIGIT + (byte >> 4)
            put_hex(out, at + 3, byte & 0xF)
            at += 4
    return at


@compiled
def holds(do: int, row: Ints, number: int, value: int) -> bool:
    """Whether a test holds of a column that is ``number``."""
    if do == Do.IS:
        return number == value
    if do == Do.BELOW:
        return number < value
    if do == Do.HAS:
        return number & value != 0
    return number > row[value]


@compiled
def fill(
    blanks: Ints,
    place: int,
    end: int,
    fragments: Words,
    begins: Ints,
    ends: Ints,
    row: Ints,
    strings: Words,
    string_begins: Ints,
    string_ends: Ints,
    out: Bytes,
    out_words: Words,
    at: int,
) -> int:
    """Write the form of the blanks ``place`` to ``end`` as it is for a row and its strings. Returns the place in ``out`` behind it."""
    while place < end:
        do, number, value = blanks[place, Bl.DO], row[blanks[place, Bl.COLUMN]], blanks[place, Bl.VALUE]
        skip, fragment = blanks[place, Bl.SKIP], blanks[place, Bl.FIRST]
        place += 1
        if do <= Do.ONE_OF:
            if do == Do.ONE_OF:
                fragment += number
            at = copy(fragments, begins[fragment], ends[fragment] - begins[fragment], out_words, at)
        elif do == Do.NUMBER:
            at = put_digits(out, at, number)
        elif do == Do.HEX:
            at = put_hex(out, at, number)
        elif do == Do.INSTANT:
            at = put_instant(out, at, number)
        elif do == Do.DATE:
            at = put_date(out, at, number)
        elif do == Do.SIZED_NUMBER:
            at = put_digits(out, put_varint(out, at, digits_in(np.uint64(number))), number)
        elif do <= Do.JSON_STRING:
            first, length = string_begins[value], string_ends[value] - string_begins[value]
            if do == Do.JSON_STRING:
                at = put_json(strings, first, first + length, out, at)
            else:
                if do == Do.SIZED_STRING:
                    at = put_varint(out, at, length)
                at = copy(strings, first, length, out_words, at)
        elif do == Do.END_LIST:
            at -= out[at - 1] == COMMA
        elif do == Do.GO or not holds(do, row, number, value):
            place += skip
    return at


@compiled
def fill_rows(
    blanks: Ints,
    bounds: Ints,
    fragments: Words,
    begins: Ints,
    ends: Ints,
    rows: Ints,
    strings: Words,
    string_begins: Ints,
    string_ends: Ints,
    forms: Ints,
    out: Bytes,
    out_words: Words,
    out_begins: Ints,
    out_ends: Ints,
) -> None:
    """Write for each of ``rows`` (n, columns), whose strings are those of ``strings`` (n, s), the forms of its numbers in ``forms`` (n, k), one
    behind the other, and say where they lie (n, k).

    The blanks of form f are ``blanks[bounds[f] : bounds[f + 1]]``. ``out`` has room for the longest there can be, and 7 bytes more.
    """
    at = 0
    for i in range(forms.shape[0]):
        for k in range(forms.shape[1]):
            form = forms[i, k]
            out_begins[i, k] = at
            at = fill(
                *(blanks, bounds[form], bounds[form + 1], fragments, begins, ends, rows[i]),
                *(strings, string_begins[i], string_ends[i]),
                *(out, out_words, at),
            )
            out_ends[i, k] = at
