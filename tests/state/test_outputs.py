"""Outputs as columns are the outputs that they were made of, however they are put together and taken apart."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.core.packed import padded
from engine.state.headers import header_bytes, read_headers
from engine.state.outputs import TOPICS, Fact, Facts, Names, Output, Outputs

HEADERS: Final = st.lists(st.tuples(st.text(max_size=70), st.none() | st.binary(max_size=70)), max_size=3).map(tuple)
OUTPUTS: Final[st.SearchStrategy[list[Output]]] = st.lists(
    st.builds(Output, st.sampled_from(TOPICS), st.none() | st.binary(max_size=9), st.none() | st.binary(max_size=20), HEADERS), max_size=6
)
NAMES: Final = Names(["individual"], {}, np.array([3]))


@given(OUTPUTS, st.data())
def test_columns_are_the_outputs_one_by_one(listed: list[Output], data: st.DataObject) -> None:
    outputs = Outputs.of(listed)
    assert list(outputs) == listed
    assert outputs == listed
    assert outputs != [*listed, *Outputs.of([Output(TOPICS[0], b"", b"", ())])]
    assert outputs.refs() == tuple(output.ref for output in listed)
    first = data.draw(st.integers(0, len(listed)))
    assert outputs[first:] == listed[first:]
    some = data.draw(st.lists(st.integers(0, len(listed) - 1), max_size=4)) if listed else []
    assert outputs.at(np.array(some, np.int64)) == [listed[place] for place in some]
    told = {topic: list(own) for topic, own in outputs.by_topic()}
    assert told == {topic: mine for topic in TOPICS if (mine := [output for output in listed if output.topic == topic])}
    assert outputs.sizes().tolist() == [
        len(output.key or b"") + len(output.value or b"") + len(header_bytes(output.headers)) for output in listed
    ]


@given(st.lists(OUTPUTS, max_size=4))
def test_joined(parts: list[list[Output]]) -> None:
    joined = Outputs.joined([Outputs.of(part) for part in parts])
    assert joined == [output for part in parts for output in part]
    assert joined.refs() == tuple(output.ref for part in parts for output in part)


def with_facts(*scores: int) -> Outputs:
    made = Outputs.of([Output(TOPICS[0], b"a", b"%d" % score, ()) for score in scores])
    columns = np.array([[score if fact is Fact.SCORE else 0 for score in scores] for fact in Fact])
    return Outputs(made.topics, made.keys, made.values, made.headers, made.header_counts, Facts(columns, NAMES))


def test_facts_go_with_their_outputs() -> None:
    letter = Outputs.of([Output(TOPICS[2], b"a", b"b", ())])
    for outputs in (with_facts(1, 2, 3)[1:], Outputs.joined([with_facts(2), with_facts(3)]), with_facts(1, 2, 3).at(np.array([1, 2]))):
        assert outputs.facts is not None
        assert outputs.facts[Fact.SCORE].tolist() == [int(output.value) for output in outputs] == [2, 3]
    assert letter.facts is None
    assert Outputs.joined([with_facts(1), letter]).facts is None


@given(HEADERS)
def test_headers_are_read_as_they_were_written(headers: tuple[Any, ...]) -> None:
    raw = header_bytes(headers)
    assert tuple(read_headers(padded(raw), raw, 0, len(headers))) == headers
