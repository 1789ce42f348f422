"""The scanner: from the JSON texts of events and profiles to columns, compiled.

Theory of operation. The contract (``schemas``, pydantic) says which records are right; asking it costs microseconds for an event and a hundred
for a profile. The scanner takes the records that are *certainly* right and says nothing about the others: whatever it has not been taught (an
escape in a string, a fraction, a time with a leap second, an unknown or repeated field, a wrong type, a key that is not the account) it leaves
to the judge, which has the only say in what is wrong and why. So a doubt costs time and never an answer, and two properties are worth testing:
what the scanner takes is what the judge would have accepted, with the same columns; and ordinary traffic is taken.

One pass over the records where they lie. A record is read field by field: the name is looked for by its first two 64-bit
words in the topic's table of fields (``fields``), beginning with the one that followed the last time, since a producer writes its fields
in one order; then the value is read by the field's kind and goes to its column. Bits of the fields seen find the repeated and the absent. An
object inside has a table of its own; nothing nests deeper, so which one is read is the whole stack. Of a list of related parties each is read
like such an object, and noted when it ends. An attribute that no policy reads is known by its fingerprint: two that differ are two names. What
lies behind a record's end is readable but never part of it: positions only grow, and the closing brace must be the last byte but white space
before the end. Only whole numbers occur; no float is ever made.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.core.fingerprint import BAND_MASK
from engine.core.jit import compiled
from engine.core.layout import AMOUNT_MAX, EVENT_COLUMNS, MISSING, Ev, Fig
from engine.core.packed import Bytes, Words, masked
from engine.core.tables import Ints
from engine.stream.decode.fields import FIELD, FOUND_BY, NOTED, OTHERS_MAX, WORD_CELLS, WORD_MAX, Fi, FieldKind, No, Ob, Role, Ta
from engine.stream.decode.text import first_special, same, siphash_words, string_end
from engine.stream.decode.times import day_number, time_ms

DIGITS_MAX: Final = 16
TEXT_MAX: Final = 64
JURISDICTION_MAX: Final = 6
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
    """The field of ``first .. end`` whose name begins with these sixteen bytes, -1 if there is none; ``guess`` is looked at first."""
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
def enum_code(table: Ints, place: int, end: int, low: int, high: int) -> int:
    """Code of a word of at most sixteen bytes in a list of words; -1 if it is not in it."""
    for i in range(place, end, WORD_CELLS):
        if table[i] == low and table[i + 1] == high:
            return table[i + 2]
    return -1


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
def is_named(table: Ints, field: int, words: Words, at: int, length: int) -> bool:
    """Whether a field that was found by the first sixteen bytes of its name has a name of so many bytes, and these behind them."""
    if table[field + Fi.NAME_LENGTH] != length:
        return False
    if length <= FOUND_BY:
        return True
    third, fourth = first_bytes(words, at + FOUND_BY, length - FOUND_BY)
    return table[field + Fi.NAME_THIRD] == third and table[field + Fi.NAME_FOURTH] == fourth


@compiled
def first_bytes(words: Words, at: int, length: int) -> tuple[int, int]:
    """The first ``length`` (1 to 16) bytes from ``at`` on as two words, the others zero."""
    high = np.int64(masked(words, at + 8, min(length, 16) - 8)) if length > 8 else np.int64(0)
    return np.int64(masked(words, at, min(length, 8))), high


@compiled
def jurisdiction(data: Bytes, at: int, end: int) -> int:
    """``fingerprint.jurisdiction_code`` of a text like ``CN`` or ``CN-31``; MISSING if it is none."""
    if end - at > JURISDICTION_MAX or end - at < 2 or end - at == 3:
        return MISSING
    code = np.int64(0)
    for place in range(at, end):
        byte, nth = np.int64(data[place]), place - at
        is_letter, is_digit = 0x41 <= byte <= 0x5A, 0x30 <= byte <= 0x39
        if (nth < 2 and not is_letter) or (nth == 2 and byte != 0x2D) or (nth > 2 and not is_letter and not is_digit):
            return MISSING
        code = code << 8 | byte
    return code


@compiled
def is_other(data: Bytes, words: Words, at: int, end: int, low: np.uint64, high: np.uint64, noted: Ints, others: int) -> bool:
    """Whether a name that is not in the table is one of an attribute, and none of the ``others`` of this profile. It is noted as the next of
    them."""
    if others == OTHERS_MAX:
        return False
    for place in range(at, end):
        byte = data[place] | 0x20  # letters are small ones then, and the others as they are, but for "_"
        is_one = 0x61 <= byte <= 0x7A or 0x30 <= data[place] <= 0x39
        if not is_one and data[place] != 0x5F and data[place] != 0x2E and data[place] != 0x2D:
            return False
    print_ = siphash_words(words, at, end, low, high)
    for place in range(others):
        if noted[No.OTHERS + place] == print_:
            return False
    noted[No.OTHERS + others] = print_
    return True


@compiled
def note_party(row: Ints, party: Ints) -> None:
    """Tell the figures of a related party, of whom this is noted."""
    role = party[No.ROLE]
    if role == Role.PRINCIPAL:
        eligible = party[No.ELIGIBLE]
        party[No.PRINCIPALS] |= 4 if eligible == MISSING else 2 - eligible
        told = party[No.PRINCIPALS]
        row[Fig.PRINCIPAL_ELIGIBLE] = 0 if told & 2 != 0 else 1 if told == 1 else MISSING
    elif role != Role.GUARANTOR and party[No.EXPOSURE] != MISSING:
        row[Fig.RELATED_EXPOSURE] = min(AMOUNT_MAX, max(row[Fig.RELATED_EXPOSURE], 0) + party[No.EXPOSURE])
    row[Fig.RELATED_DAYS_PAST_DUE] = max(row[Fig.RELATED_DAYS_PAST_DUE], party[No.DAYS_PAST_DUE])
    for column in range(No.PRINCIPALS):
        party[column] = MISSING


@compiled
def enter(data: Bytes, at: int, limit: int, is_list: bool) -> tuple[int, bool]:
    """The place behind where an object, or a list of them, begins at ``at``, and whether it is empty, then behind where it ends; -1 if none
    does."""
    if is_list:
        if data[at] != 0x5B:
            return -1, False
        at = skip_space(data, at + 1, limit)
        if data[at] == 0x5D:
            return at + 1, True
    if data[at] != 0x7B:
        return -1, False
    behind = skip_space(data, at + 1, limit)
    is_empty = data[behind] == 0x7D and not is_list
    return behind + is_empty, is_empty


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
    row: Ints,
) -> bool:
    """Write one record's columns, and the figures of a profile to ``row``. False if it is for the judge (then what was written means nothing)."""
    begin, own = at, table[Ta.OBJECT]
    first, end = table[own + Ob.FIELDS], table[own + Ob.FIELDS_END]
    inside, parties, parties_most = np.int64(0), np.int64(0), np.int64(0)  # the object inside that is read; the parties begun
    seen, seen_outside = np.int64(0), np.int64(0)
    noted, others = row[row.shape[0] - NOTED :], np.int64(0)
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
        if data[stop] != 0x22 or not 1 <= length <= TEXT_MAX:
            return False
        name_low, name_high = first_bytes(words, at, length)
        field = find_field(table, first, end, table[last + Fi.NEXT], name_low, name_high)
        if field < 0 or not is_named(table, field, words, at, length):
            field = table[inside + Ob.OTHERS] if inside != 0 else np.int64(0)
            if field == 0 or not is_other(data, words, at, stop, low, high, noted, others):
                return False
            others += 1
        if seen & table[field + Fi.BIT] != 0:
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
        value = np.int64(MISSING)
        if data[at] == 0x6E:
            if table[field + Fi.NULLABLE] == 0 or masked(words, at, 4) != NULL:
                return False
            at += 4
        elif kind <= FieldKind.LAST_STRING:
            if data[at] != 0x22:
                return False
            at += 1
            stop = string_end(data, words, at, limit, TEXT_MAX)
            if stop < 0:
                return False
            length = stop - at
            if kind == FieldKind.ENUM:
                word_low, word_high = first_bytes(words, at, length)
                value = enum_code(table, table[field + Fi.WORDS], table[field + Fi.WORDS_END], word_low, word_high)
                if value < 0 or length > WORD_MAX:
                    return False
            elif kind == FieldKind.TIME:
                value = time_ms(data, words, at, stop)
                if value == MISSING:
                    return False
            elif kind == FieldKind.CURRENCY:
                if length != 3 or np.int64(masked(words, at, 3)) != table[Ta.CURRENCY]:
                    return False
            elif kind == FieldKind.ACCOUNT:
                if length != key_length or not same(words, at, key_words, key_at, length):
                    return False
            elif kind == FieldKind.DAY:
                value = day_number(data, words, at, stop, table[Ta.UTC_OFFSET])
                if value == MISSING:
                    return False
            elif kind == FieldKind.JURISDICTION:
                value = jurisdiction(data, at, stop)
                if value == MISSING:
                    return False
            elif kind == FieldKind.BAND:
                value = siphash_words(words, at, stop, np.uint64(0), np.uint64(0)) & BAND_MASK
            elif kind != FieldKind.NAME:
                print_ = siphash_words(words, at, stop, low, high)
                if kind == FieldKind.WORD:
                    value = word_code(table, table[field + Fi.WORDS], table[field + Fi.WORDS_END], print_)
                    columns[table[field + Fi.HASH_COLUMN], i] = print_
                elif kind == FieldKind.PRINT:
                    value = print_
                else:
                    if id_length > 0 and (length != id_length or not same(words, at, id_words, id_at, length)):
                        return False
                    columns[column, i] ^= print_
                    columns[Ev.ID_AT, i], columns[Ev.ID_END, i] = at - begin, stop - begin
            at = stop + 1
        elif kind == FieldKind.NUMBER:
            is_negative = data[at] == 0x2D
            value, at = integer(data, at + is_negative)
            if value < 0 or (is_negative and value == 0):
                return False
            value = -value if is_negative else value
            if value < table[field + Fi.LOW] or value > table[field + Fi.HIGH]:
                return False
        elif kind == FieldKind.TRUTH:
            if masked(words, at, 4) == TRUE:
                value = 1
                at += 4
            elif masked(words, at, 5) == FALSE:
                value = 0
                at += 5
            else:
                return False
        else:
            is_list, within = kind == FieldKind.PARTIES, table[field + Fi.WORDS]
            at, is_empty = enter(data, at, limit, is_list)
            if at < 0 or (is_empty and not is_list and table[within + Ob.REQUIRED] != 0):
                return False
            if not is_empty:
                inside, parties, parties_most = within, np.int64(is_list), table[field + Fi.HIGH]
                seen_outside, seen = seen, np.int64(0)
                first, end = table[inside + Ob.FIELDS], table[inside + Ob.FIELDS_END]
                continue
        if column >= EVENT_COLUMNS:
            row[column - EVENT_COLUMNS] = value
        elif value != MISSING:
            columns[column, i] = value
        # What comes behind it.
        at = skip_space(data, at, limit)
        if inside != 0 and data[at] == 0x7D:
            if seen & table[inside + Ob.REQUIRED] != table[inside + Ob.REQUIRED]:
                return False
            at = skip_space(data, at + 1, limit)
            if parties > 0:
                note_party(row, noted)
                if data[at] == 0x2C:
                    at = skip_space(data, at + 1, limit)
                    if data[at] != 0x7B or parties == parties_most:
                        return False
                    at, seen, parties = at + 1, np.int64(0), parties + 1
                    continue
                if data[at] != 0x5D:
                    return False
                at, parties = skip_space(data, at + 1, limit), np.int64(0)
            inside, seen = np.int64(0), seen_outside
            first, end = table[own + Ob.FIELDS], table[own + Ob.FIELDS_END]
        if data[at] == 0x2C:
            at += 1
            continue
        if data[at] != 0x7D or inside != 0:
            return False
        return seen & table[own + Ob.REQUIRED] == table[own + Ob.REQUIRED] and skip_space(data, at + 1, limit) == limit


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
    figures: Ints,
    taken: npt.NDArray[np.bool_],
) -> None:
    """Read the records that ``taken`` (n,) marks, and leave the mark only on those that the contract certainly accepts.

    Values, keys and CloudEvents ids (empty: none) are packed (``engine.core.packed``); a marked record has a value. ``columns``
    (EVENT_COLUMNS, n) holds what a record without any field would have, with everything of FINGERPRINT but the event id's, and ``figures``
    (n, FIGURES + attributes + NOTED) the like of profiles; both are written in place. Of other topics ``figures`` has one row, which is left.
    """
    for i in range(taken.shape[0]):
        if taken[i]:
            key_at, id_at = key_begins[i], id_begins[i]
            key_length, id_length = key_ends[i] - key_at, id_ends[i] - id_at
            taken[i] = scan_record(
                *(data, words, begins[i], ends[i], key_words, key_at, key_length, id_words, id_at, id_length),
                *(table, low, high, columns, i, figures[min(i, figures.shape[0] - 1)]),
            )
