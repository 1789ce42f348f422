"""What has become of dead letters, read off their topic alone."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest

from engine.state.record import DeadLetterRef
from engine.stream.backlog import Backlog, Event, Fate, Filter, Letter, Place, collected, event_of, letter_of, note_of
from engine.stream.dead_letters import dead_letters
from engine.stream.records import TOPICS, Batch, Chunk, Headers
from schemas import dead_letters as names

VALUE: Final = b'{"event_id": "e-1"}'


def record(partition: int, offset: int, headers: Headers, value: bytes | None = VALUE, at_ms: int = 1_000) -> Any:
    """A record of dead-letters as a consumer gives it."""
    return SimpleNamespace(
        topic="dead-letters", partition=partition, offset=offset, timestamp=at_ms, key=b"acc-1", value=value, headers=list(headers)
    )


def dead(
    place: str, origin: str, value: bytes | None = VALUE, own: Headers = (), disposition: str = "misrouted", at_ms: int = 1_000
) -> Any:
    """A dead letter as the engine writes it."""
    at, lay = Place.parse(place), Place.parse(origin)
    chunk = Chunk.of(TOPICS[lay.topic], [lay.offset], [500], [b"acc-1"], [value], [own])
    one = np.zeros(1, np.int64)
    batch = Batch({TOPICS[lay.topic]: chunk}, one, one, one, {}, 500, caught_up=True)
    (output,) = dead_letters(batch, [DeadLetterRef(lay.topic, lay.offset, disposition, "why")], lay.partition)
    return record(at.partition, at.offset, output.headers, value, at_ms)


def note(place: str, letter: str, copy: str) -> Any:
    """The note of a replay."""
    at = Place.parse(place)
    headers = ((names.REPLAY_OF, f"dead-letters-{letter}".encode()), (names.REPLAYED_AS, copy.encode()))
    return record(at.partition, at.offset, headers, None)


def backlog(*records: Any) -> Backlog:
    return collected(records, {0: 9}, lambda _: True)


def fates(*records: Any) -> dict[str, Fate]:
    """What has become of each, by its short place."""
    return {place.short: fate for place, fate in backlog(*records).fates().items()}


def test_places() -> None:
    assert Place.parse("2@17") == Place.parse("dead-letters-2@17") == Place("dead-letters", 2, 17)
    assert str(Place.parse("account-profiles-0@3")) == "account-profiles-0@3"
    for wrong in ("", "2", "2@", "@1", "a@1", "2@1x", "2@-1", "-2@1", "²@1", " 2@1"):
        with pytest.raises(ValueError, match="is no place"):
            Place.parse(wrong)


def test_a_dead_letter_is_read_as_it_was_written() -> None:
    own = ((names.TOPIC, b"theirs"), (names.DISPOSITION, b"theirs"), ("ce_source", b"/cards"))
    letter = letter_of(dead("1@7", "purchases-1@4", own=own))
    assert letter is not None
    assert (letter.place.short, str(letter.origin), letter.recorded_ms, letter.written_ms) == ("1@7", "purchases-1@4", 500, 1_000)
    assert (letter.disposition, letter.message, letter.key, letter.value) == ("misrouted", "why", b"acc-1", VALUE)
    assert letter.headers == own, "headers of the same names that came with the record are its own"
    assert letter.event == Event("purchases", "/cards", "acc-1", "e-1")


def test_what_others_write_there_is_left_out() -> None:
    of_streams = tuple((name, b"1") for name in (names.EXCEPTION, names.MESSAGE, names.PARTITION, names.OFFSET, names.TIMESTAMP))
    found = backlog(
        record(0, 0, ()),
        record(0, 1, of_streams),
        record(0, 2, (*of_streams, (names.TOPIC, b"not-ours"), (names.DISPOSITION, b"x"))),
        note("0@3", "0@1", "purchases-0@5"),
    )
    assert (found.letters, found.strangers) == ({}, 3)
    assert note_of(record(0, 0, ((names.REPLAY_OF, b"dead-letters-0@1"),))) is None


def test_values_are_kept_where_they_are_wanted() -> None:
    records = [dead("0@0", "purchases-0@0"), dead("0@1", "purchases-0@1")]
    found = collected(records, {0: 2}, lambda letter: letter.place.offset == 1)
    assert [(letter.value, letter.event) for letter in found.letters.values()] == [
        (None, Event("purchases", "", "acc-1", "e-1")),
        (VALUE, Event("purchases", "", "acc-1", "e-1")),
    ]


def value(event_id: str) -> bytes:
    return json.dumps({"event_id": event_id}).encode()


def test_a_note_says_that_a_dead_letter_was_replayed() -> None:
    copy = Place.parse("purchases-3@9")
    assert fates(dead("0@0", "purchases-0@0", value("a")), dead("0@1", "purchases-0@1", value("b")), note("0@2", "0@0", str(copy))) == {
        "0@0": Fate(copy=copy),
        "0@1": Fate(),
    }


def test_the_newest_dead_letter_of_an_event_stands_for_it() -> None:
    first, second, other = dead("0@0", "purchases-0@0"), dead("2@5", "purchases-2@8", at_ms=2_000), dead("0@1", "transfers-0@0")
    newest = Place.parse("2@5")
    assert fates(second, first, other) == {"0@0": Fate(follower=newest), "2@5": Fate(), "0@1": Fate()}, "ids are those of a topic"
    # whichever of them was replayed: the event is settled
    copy = Place.parse("purchases-1@1")
    for one in ("0@0", "2@5"):
        told = fates(first, second, note(f"{one[0]}@8", one, str(copy)))
        assert told == {"0@0": Fate(copy=copy), "2@5": Fate(copy=copy)}


def test_what_is_dead_again_is_open_in_its_new_place() -> None:
    first, tried_again = dead("0@0", "purchases-0@0"), dead("0@1", "purchases-0@1")
    died = dead("1@4", "purchases-1@6", own=((names.REPLAY_OF, b"dead-letters-0@1"),), at_ms=3_000)
    told = fates(first, tried_again, note("0@2", "0@1", "purchases-1@6"), died)
    new = Place.parse("1@4")
    assert told == {"0@0": Fate(follower=new), "0@1": Fate(follower=new), "1@4": Fate()}
    copy = Place.parse("purchases-1@7")
    told = fates(first, tried_again, note("0@2", "0@1", "purchases-1@6"), died, note("1@5", "1@4", str(copy)))
    assert told == {"0@0": Fate(copy=copy), "0@1": Fate(follower=new), "1@4": Fate(copy=copy)}


def test_without_an_id_each_stands_for_itself() -> None:
    letters = [dead("0@0", "purchases-0@0", b"\xff"), dead("0@1", "purchases-0@1", b"\xff"), dead("0@2", "purchases-1@3", b"\xff")]
    told = fates(*letters, note("0@3", "0@1", "purchases-1@3"))
    assert told == {"0@0": Fate(), "0@1": Fate(follower=Place.parse("0@2")), "0@2": Fate()}


STRUCTURED: Final = (("content-type", b"application/cloudevents+json"),)
EVENTS: Final[dict[str, tuple[str, bytes | None, Headers, tuple[str, str] | None]]] = {
    "bare": ("purchases", VALUE, (), ("", "e-1")),
    "with a source": ("purchases", VALUE, (("CE_SOURCE", b"/a"), ("ce_id", b"other")), ("/a", "e-1")),
    "a command": ("limit-commands", b'{"command_id": "c", "event_id": "e"}', (), ("", "c")),
    "structured": ("purchases", b'{"source": "/s", "id": "i", "data": {"event_id": "e-2"}}', STRUCTURED, ("/s", "e-2")),
    "no id but that of the envelope": ("purchases", b"{}", (("ce_id", b"e-3"),), ("", "e-3")),
    "an id that is no word": ("purchases", b'{"event_id": 5}', (), None),
    "cut off": ("purchases", b'{"event_id" : "e-4", "acc', (), ("", "e-4")),
    "cut off, and only another's id is left": ("purchases", b'{"reverses": {"event_id": "e-5", "acc', (), None),
    "cut off, with an envelope": ("purchases", b'{"event_id": "e-4", "acc', (("ce_id", b"e-6"),), ("", "e-6")),
    "noise": ("purchases", b"\xff\xfe", (), None),
    "a list": ("purchases", b"[1]", (), None),
    "nothing": ("purchases", None, (), None),
    "a control record": ("limit-control", b'{"event_id": "e"}', (), None),
}  # fmt: skip


@pytest.mark.parametrize("case", EVENTS)
def test_the_event_of_a_refused_record(case: str) -> None:
    topic, value, headers, told = EVENTS[case]
    assert event_of(topic, b"acc-1", value, headers) == (None if told is None else Event(topic, told[0], "acc-1", told[1]))
    if told is not None:
        assert event_of(topic, None, value, headers) == Event(topic, told[0], "", told[1])


def test_accounts_may_have_the_same_ids() -> None:
    of_one, of_two = (json.dumps({"event_id": "e-1", "account_id": account}).encode() for account in ("acc-1", "acc-2"))
    first, second = dead("0@0", "purchases-0@0", of_one), dead("0@1", "purchases-0@1", of_two)
    assert fates(first, second, note("0@2", "0@1", "purchases-1@6")) == {
        "0@0": Fate(),
        "0@1": Fate(copy=Place.parse("purchases-1@6")),
    }


def test_filters() -> None:
    letter = letter_of(dead("1@7", "purchases-1@4"))
    assert isinstance(letter, Letter)
    for fits in (Filter(), Filter(since_ms=1_000), Filter(until_ms=1_001), Filter(disposition="misrouted", topic="purchases", partition=1)):
        assert fits.takes(letter)
    for other in (
        Filter(since_ms=1_001),
        Filter(until_ms=1_000),
        Filter(disposition="invalid"),
        Filter(topic="transfers"),
        Filter(partition=0),
    ):
        assert not other.takes(letter)
