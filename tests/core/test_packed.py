"""Packed byte strings are the strings that were packed, wherever they lie."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.core.packed import PADDING, Packed, hash_of, padded

STRINGS = st.lists(st.none() | st.binary(max_size=40), max_size=30)


@given(STRINGS)
def test_what_is_packed_comes_out(strings: list[bytes | None]) -> None:
    packed = Packed.of(strings)
    assert list(packed) == strings == [packed[place] for place in range(len(strings))]
    assert packed.size() == sum(len(string) for string in strings if string is not None)
    assert len(packed.data) >= packed.size() + PADDING
    assert packed.lengths().tolist() == [-1 if string is None else len(string) for string in strings]


@given(st.lists(STRINGS, min_size=1, max_size=5), st.data())
def test_slices_are_joined(parts: list[list[bytes | None]], data: st.DataObject) -> None:
    cuts = [sorted((data.draw(st.integers(0, len(part))), data.draw(st.integers(0, len(part))))) for part in parts]
    joined = Packed.joined([Packed.of(part)[first:last] for part, (first, last) in zip(parts, cuts, strict=True)])
    assert list(joined) == [string for part, (first, last) in zip(parts, cuts, strict=True) for string in part[first:last]]
    assert len(joined.data) >= joined.size() + PADDING


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=30))
def test_a_hash_is_of_the_bytes_alone(strings: list[bytes]) -> None:
    packed = Packed.of(strings)
    words = Packed(padded(b"\xff" * 3 + b"".join(strings) + b"\xff"), packed.begins + 3, packed.ends + 3)
    assert packed.hashes().tolist() == words.hashes().tolist()
    assert len({int(found) for found in packed.hashes()}) == len(set(strings))
    assert packed.hashes()[0] == hash_of(packed.words, 0, len(strings[0]))
