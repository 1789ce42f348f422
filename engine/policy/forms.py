"""Forms (``engine.core.forms``) put together from parts: each part is a form itself, and behind each other they are one.

What is written is JSON, with no spaces and with text in UTF-8: the very bytes that ``engine.policy.fragments.encoded`` gives for the same as
plain data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np

from engine.core.forms import Bl, Do, fill_rows
from engine.core.layout import MISSING
from engine.core.packed import PADDING, Packed, words_of
from engine.core.tables import Ints
from engine.policy.fragments import BOOLEANS, NULL, quoted

WIDEST: Final = 32  # bytes of a number or an instant, or of a string's length
SWELLING: Final = {Do.STRING: 1, Do.SIZED_STRING: 1, Do.JSON_STRING: 6}  # bytes that a byte of a string becomes at most
UNKNOWN: Final = "unknown-"  # before the code of a name that a policy does not know


class Blank(NamedTuple):
    """What is done at one place of a form (``Do``), with which column, and with what (of a string: which of the row's); ``texts`` are the
    fragments it may write."""

    do: Do
    column: int = 0
    value: int = 0
    skip: int = 0
    texts: tuple[bytes, ...] = ()


Form = tuple[Blank, ...]


def text(known: str | bytes) -> Form:
    """What is the same in each row."""
    return (Blank(Do.TEXT, texts=(in_bytes(known),)),)


def in_bytes(known: str | bytes) -> bytes:
    """A fragment as it is written."""
    return known.encode() if isinstance(known, str) else known


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


def one_of(column: int, texts: Iterable[str | bytes]) -> Form:
    """The text of a number from 0 on."""
    return (Blank(Do.ONE_OF, column, texts=tuple(map(in_bytes, texts))),)


def date(column: int) -> Form:
    """The JSON of a day since 1970."""
    return (*text('"'), Blank(Do.DATE, column), *text('"'))


def string(number: int) -> Form:
    """A string of the row's as it is."""
    return (Blank(Do.STRING, value=number),)


def quoted_string(number: int) -> Form:
    """The JSON of a string of the row's, which is UTF-8."""
    return (*text('"'), Blank(Do.JSON_STRING, value=number), *text('"'))


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


def written_together(form: Form) -> Form:
    """The form with texts that always follow each other made one."""
    ways = {place + 1 + blank.skip for place, blank in enumerate(form) if blank.do >= Do.GO}
    found: list[Blank] = []
    places = []  # of each blank among those found
    for place, blank in enumerate(form):
        if found and place not in ways and blank.do == found[-1].do == Do.TEXT:
            found[-1] = Blank(Do.TEXT, texts=(found[-1].texts[0] + blank.texts[0],))
        else:
            found.append(blank)
        places.append(len(found) - 1)
    places.append(len(found))
    for place, blank in enumerate(form):
        if blank.do >= Do.GO:
            found[places[place]] = blank._replace(skip=places[place + 1 + blank.skip] - places[place] - 1)
    return tuple(found)


class Forms:
    """Numbered forms, to be filled in."""

    def __init__(self, forms: Sequence[Form]) -> None:
        numbers: dict[tuple[bytes, ...], int] = {}  # of the first of texts that must stand together
        fragments: list[bytes] = []
        table, bounds, longest, swelling = [], [0], [], Counter[int]()
        for form in map(written_together, forms):
            for blank in form:
                if blank.texts not in numbers:
                    numbers[blank.texts] = len(fragments)
                    fragments += blank.texts
                table.append((*blank[:4], numbers[blank.texts]))
            bounds.append(len(table))
            longest.append(sum(max(map(len, blank.texts), default=WIDEST) for blank in form))
            own = Counter[int]()
            for blank in form:
                own[blank.value] += SWELLING.get(blank.do, 0)
            swelling |= own
        self._blanks: Ints = np.array(table, np.int64).reshape(-1, len(Bl))
        self._bounds: Ints = np.array(bounds, np.int64)
        self._fragments = Packed.of(fragments)
        self._longest: Ints = np.array(longest, np.int64)  # bytes of a form without its strings, by number
        self._swelling = dict(swelling)  # bytes that a byte of a string becomes at most in a form, by the string's number

    def fill(self, rows: Ints, forms: Ints, strings: Sequence[Packed] = ()) -> Packed:
        """For each of ``rows`` (n, columns) the forms of its numbers in ``forms`` (n, k) as they are for the row and its strings, all of them
        (n * k) one behind the other. ``strings`` are columns (n,) of which none is absent."""
        forms = np.ascontiguousarray(forms)
        room = int(self._longest[forms].sum())
        room += sum(forms.shape[1] * self._swelling.get(number, 0) * column.size() for number, column in enumerate(strings))
        together, own = Packed.joined(strings) if strings else Packed.empty(0), self._fragments
        string_begins, string_ends = (at.reshape(len(strings), len(rows)).T.copy() for at in (together.begins, together.ends))
        out = np.empty(room + PADDING, np.uint8)
        begins, ends = np.zeros(forms.shape, np.int64), np.zeros(forms.shape, np.int64)
        fragments, texts = (own.words, own.begins, own.ends), (together.words, string_begins, string_ends)
        fill_rows(self._blanks, self._bounds, *fragments, rows, *texts, forms, out, words_of(out), begins, ends)
        return Packed(out, begins.reshape(-1), ends.reshape(-1))
