"""A form filled in is the JSON of the same as plain data, whatever its parts and whatever the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from engine.core.forms import Do
from engine.core.layout import MISSING
from engine.core.packed import Packed
from engine.policy.forms import (
    Blank,
    Form,
    Forms,
    array,
    below,
    date,
    digits,
    equals,
    has,
    instant,
    known,
    later,
    moment,
    named,
    number,
    one_of,
    quoted_string,
    record,
    string,
    text,
    those_that_hold,
    truth,
    when,
    written_together,
)
from engine.policy.fragments import encoded
from engine.policy.fragments import instant as told_instant
from engine.state.headers import sized

COLUMNS: Final = 4
LAST_MS: Final = 253_402_300_799_999  # of the year 9999
NUMBERS: Final = st.one_of(st.just(MISSING), st.integers(-9, 9), st.integers(MISSING, 2**63 - 1))
INSTANTS: Final = st.one_of(st.just(MISSING), st.integers(-62_135_596_800_000, LAST_MS))
ROWS: Final = st.lists(st.tuples(st.integers(0, 2), NUMBERS, NUMBERS, INSTANTS), min_size=1, max_size=4)  # COLUMNS each
TEXTS: Final = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.characters(max_codepoint=0x7F)), max_size=80)
DAYS: Final = st.integers(-719_162, 2_932_896)  # of the years 1 to 9999
NAMES: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)

Row = Sequence[int]
Part = tuple[Form, Callable[[Row], Any]]  # a form, and what it says as plain data
Test = tuple[Blank, Callable[[Row], bool]]

column: Final = st.integers(0, COLUMNS - 1)
words: Final = st.lists(NAMES, min_size=3, max_size=3)


def a_test(data: tuple[int, int, int, int]) -> Test:
    """One of the four tests."""
    kind, at, other, value = data
    return (
        (equals(at, value), lambda row: row[at] == value),
        (below(at, value), lambda row: row[at] < value),
        (has(at, value), lambda row: row[at] & value != 0),
        (later(at, other), lambda row: row[at] > row[other]),
    )[kind]


def choose(test: Test, then: Part, otherwise: Part) -> Part:
    return when(test[0], then[0], otherwise[0]), lambda row: (then if test[1](row) else otherwise)[1](row)


def list_of(items: list[tuple[Test, Part]]) -> Part:
    form = those_that_hold("[]", [(test, part) for (test, _), (part, _) in items])
    return form, lambda row: [plain(row) for (_, holds), (_, plain) in items if holds(row)]


def name_of(at: int, names: dict[int, str]) -> Part:
    form = named(at, {code: encoded(name).decode() for code, name in names.items()})
    return form, lambda row: None if row[at] == MISSING else names.get(row[at], f"unknown-{row[at]:x}")


def or_null(row: Row, at: int) -> int | None:
    return None if row[at] == MISSING else row[at]


TESTS: Final = st.tuples(st.integers(0, 3), column, column, NUMBERS).map(a_test)
LEAVES: Final = st.one_of(
    NAMES.map(lambda name: (text(encoded(name).decode()), lambda _: name)),
    column.map(lambda at: (digits(at), lambda row: row[at])),
    column.map(lambda at: (number(at), lambda row: or_null(row, at))),
    column.map(lambda at: (truth(at), lambda row: row[at] != 0)),
    words.map(lambda names: (one_of(0, (encoded(name).decode() for name in names)), lambda row: names[row[0]])),
    st.builds(name_of, st.just(0), st.dictionaries(st.integers(0, 3), NAMES, max_size=3)),
    st.just((moment(3), lambda row: None if row[3] == MISSING else told_instant(row[3]))),
    st.just((known(3, instant(3)), lambda row: None if row[3] == MISSING else told_instant(row[3]))),
)
PARTS: Final = st.recursive(
    LEAVES,
    lambda part: st.one_of(
        st.builds(choose, TESTS, part, part),
        st.lists(st.tuples(TESTS, part), max_size=3).map(list_of),
        st.lists(part, max_size=3).map(lambda parts: (array([form for form, _ in parts]), lambda row: [plain(row) for _, plain in parts])),
        st.dictionaries(NAMES, part, max_size=3).map(
            lambda parts: (
                record({name: form for name, (form, _) in parts.items()}),
                lambda row: {name: plain(row) for name, (_, plain) in parts.items()},
            )
        ),
    ),
    max_leaves=12,
)


@given(st.lists(PARTS, min_size=1, max_size=4), ROWS, st.data())
def test_a_form_filled_in(parts: list[Part], rows: list[Row], data: st.DataObject) -> None:
    numbers = data.draw(st.lists(st.integers(0, len(parts) - 1), min_size=len(rows), max_size=len(rows)))
    filled = Forms([form for form, _ in parts]).fill(np.array(rows), np.array(numbers)[:, None])
    assert filled.present() == [to_json(parts[number][1](row)) for number, row in zip(numbers, rows, strict=True)]


@given(st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 2**62), DAYS), min_size=1, max_size=4))
def test_strings_of_a_row(rows: list[tuple[str, str, int, int]]) -> None:
    """As they are, as JSON has them, and behind their lengths, as Kafka's headers have them; two forms of a row lie behind each other."""
    plain = record({"a": quoted_string(0), "b": quoted_string(1), "day": date(1)})
    sized_ones = (Blank(Do.SIZED_STRING, value=1), Blank(Do.SIZED_NUMBER, 0), *string(0))
    strings = [Packed.of(each.encode() for each in column) for column in ([row[0] for row in rows], [row[1] for row in rows])]
    numbers = np.array([row[2:] for row in rows])
    filled = Forms([plain, sized_ones]).fill(numbers, np.tile([0, 1], (len(rows), 1)), strings)
    days = [(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat() for *_, day in rows]
    for place, (first, second, count, _) in enumerate(rows):
        assert filled[2 * place] == to_json({"a": first, "b": second, "day": days[place]})
        assert filled[2 * place + 1] == sized(second.encode()) + sized(str(count).encode()) + first.encode()
        assert filled.ends[2 * place] == filled.begins[2 * place + 1]


def test_texts_that_follow_each_other_are_written_together() -> None:
    """But not over the place where a way out ends."""
    whole = record({"a": text("1"), "b": digits(0), "c": text("2")})
    assert [blank.texts for blank in written_together(whole)] == [(b'{"a":1,"b":',), (), (b',"c":2}',)]
    assert len(written_together(when(below(0, 0), text("a"), text("b")) + text("c"))) == 5


@given(st.integers(0, 2**63 - 1))
def test_a_code_in_hexadecimal(code: int) -> None:
    assert Forms([named(0, {})]).fill(np.array([[code]]), np.array([[0]])).present() == [b'"unknown-%x"' % code]
