"""Forms (``engine.core.forms``) put together from parts: each part is a form itself, and behind each other they are one.

What is written is JSON, with no spaces and with text in UTF-8: the very bytes that ``engine.policy.fragments.encoded`` gives for the same as
plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np

from engine.core.forms import Bl, Do, fill_rows
from engine.core.layout import MISSING
from engine.core.packed import PADDING, Packed, words_of
from engine.core.tables import Ints
from engine.policy.fragments import BOOLEANS, NULL, quoted

WIDEST: Final = 32  # bytes of a number or an instant
UNKNOWN: Final = "unknown-"  # before the code of a name that a policy does not know


class Blank(NamedTuple):
    """What is done at one place of a form (``Do``), with which column, and with what; ``texts`` are the fragments it may write."""

    do: Do
    column: int = 0
    value: int = 0
    skip: int = 0
    texts: tuple[str, ...] = ()


Form = tuple[Blank, ...]


def text(known: str) -> Form:
    """What is the same in each row."""
    return (Blank(Do.TEXT, texts=(known,)),)


def record(members: Mapping[str, Form]) -> Form:
    """An object with these members, in their order."""
    parts = (text(f"{',' if place else ''}{quoted(name)}:") + part for place, (name, part) in enumerate(members.items()))
    return (*text("{"), *chain.from_iterable(parts), *text("}"))


def array(items: Sequence[Form]) -> Form:
    """An array of these items."""
    parts = (text(",") * (place > 0) + item for place, item in enumerate(items))
    return (*text("["), *chain.from_iterable(parts), *text("]"))


def digits(column: int) -> Form:
    """A number, which is there."""
    return (Blank(Do.NUMBER, column),)


def one_of(column: int, texts: Iterable[str]) -> Form:
    """The text of a number from 0 on."""
    return (Blank(Do.ONE_OF, column, texts=tuple(texts)),)


def when(test: Blank, then: Form, otherwise: Form = ()) -> Form:
    """One part where a test holds, else the other."""
    way_out = (Blank(Do.GO, skip=len(otherwise)),) if otherwise else ()
    return (test._replace(skip=len(then) + len(way_out)), *then, *way_out, *otherwise)


def equals(column: int, value: int) -> Blank:
    """The test whether a column is a value."""
    return Blank(Do.IS, column, value)


def below(column: int, value: int) -> Blank:
    """The test whether a column is less than a value."""
    return Blank(Do.BELOW, column, value)


def has(column: int, bits: int) -> Blank:
    """The test whether a column has one of these bits."""
    return Blank(Do.HAS, column, bits)


def later(column: int, other: int) -> Blank:
    """The test whether a column is greater than another one."""
    return Blank(Do.LATER, column, other)


def known(column: int, part: Form) -> Form:
    """A part where a column is not MISSING, else null."""
    return when(equals(column, MISSING), text(NULL), part)


def number(column: int) -> Form:
    """The JSON of a number that may be missing."""
    return known(column, digits(column))


def moment(column: int) -> Form:
    """The JSON of an instant that may be missing."""
    return known(column, instant(column))


def instant(column: int) -> Form:
    """The JSON of an instant, which is there."""
    return (*text('"'), Blank(Do.INSTANT, column), *text('"'))


def truth(column: int) -> Form:
    """The JSON of whether a column is other than 0."""
    return when(equals(column, 0), *map(text, BOOLEANS))


def those_that_hold(brackets: str, items: Iterable[tuple[Blank, Form]]) -> Form:
    """The items whose tests hold, with commas between and these brackets around."""
    parts = (when(test, item + text(",")) for test, item in items)
    return (*text(brackets[0]), *chain.from_iterable(parts), Blank(Do.END_LIST), *text(brackets[1]))


def named(column: int, names: Mapping[int, str]) -> Form:
    """The JSON of the name with a column's code, null where it is MISSING; one that is not known is told by its code."""
    form: Form = (*text(f'"{UNKNOWN}'), Blank(Do.HEX, column), *text('"'))
    for code, name in names.items():
        form = when(equals(column, code), text(name), form)
    return known(column, form)


class Forms:
    """Numbered forms, to be filled in."""

    def __init__(self, forms: Sequence[Form]) -> None:
        numbers: dict[tuple[str, ...], int] = {}  # of the first of texts that must stand together
        fragments: list[str] = []
        table, bounds, longest = [], [0], 0
        for form in forms:
            for blank in form:
                if blank.texts not in numbers:
                    numbers[blank.texts] = len(fragments)
                    fragments += blank.texts
                table.append((*blank[:4], numbers[blank.texts]))
            bounds.append(len(table))
            longest = max(longest, sum(max((len(told.encode()) for told in blank.texts), default=WIDEST) for blank in form))
        self._blanks: Ints = np.array(table, np.int64).reshape(-1, len(Bl))
        self._bounds: Ints = np.array(bounds, np.int64)
        self._fragments = Packed.of(told.encode() for told in fragments)
        self._longest = longest

    def fill(self, rows: Ints, forms: Ints) -> Packed:
        """For each of ``rows`` (n, columns) the form of its number in ``forms`` (n,) as it is for the row."""
        out = np.empty(len(rows) * self._longest + PADDING, np.uint8)
        found = Packed(out, np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64))
        own = self._fragments
        fill_rows(self._blanks, self._bounds, own.words, own.begins, own.ends, rows, forms, out, words_of(out), found.begins, found.ends)
        return found
