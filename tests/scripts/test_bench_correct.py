"""The benchmark's check finds a change that the oracle does not decide, and one that is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from engine.core.layout import Topic
from engine.policy.promote import promote
from engine.policy.source import load_policy
from engine.state.outputs import Output, Outputs
from engine.state.record import JournalRecord
from engine.state.states import States
from engine.stream import offline
from engine.stream.records import TOPICS
from schemas.topics import ADVISORIES, CHANGES, INPUTS
from scripts.benchmark import correct
from scripts.benchmark.load import Load, events, ranked
from scripts.benchmark.scene import POLICIES
from tests.core.bridge import KEY
from tests.e2e.audit import Shard
from tests.e2e.books import Message, chunk

START = datetime(2026, 1, 1, tzinfo=UTC)
LOAD = Load(events=1_500, accounts=20, start_ms=round(START.timestamp() * 1000), days=60)
Run = tuple[list[Message], Shard, list[Message]]


@pytest.fixture(scope="module")
def run() -> Run:
    """The journal, the sample's inputs and its changes, of a shard that has taken a load."""
    activation = offline.activation(promote(load_policy(POLICIES["engine"], START), None, START))
    inputs: dict[Topic, list[Message]] = {Topic(rank): [] for rank in range(len(INPUTS))}
    log = [activation]
    control = Message(activation.offset, activation.at_ms, activation.key, activation.value, ())
    inputs[Topic.CONTROL].append(control)
    for arrival in events(LOAD):
        topic = TOPICS[arrival.topic]
        log.append(offline.LogRecord(topic, len(inputs[topic]), arrival.at_ms, arrival.key, arrival.value))
        inputs[topic].append(Message(len(inputs[topic]), arrival.at_ms, arrival.key, arrival.value, ()))
    records = list(offline.decide_as_they_come(log, KEY, "limits"))
    journal = [Message(place, 0, b"", record.encode(), ()) for place, record in enumerate(records)]
    outputs = [output for record in records for output in record.outputs if output.topic == CHANGES.name]
    sampled = frozenset(account.encode() for account in correct.sample(LOAD, 8))
    told = [Message(place, 0, output.key, output.value, ()) for place, output in enumerate(outputs) if output.key in sampled]
    chunks = {
        topic: chunk(topic, correct.inputs_of(messages, None if topic is Topic.CONTROL else sampled)) for topic, messages in inputs.items()
    }
    return journal, chunks, told


def journaled(run: Run) -> list[JournalRecord]:
    """The records of a run's journal, as they are compared."""
    before, total, announced = correct.journal_of(run[0], 0)
    assert len(before) == total
    assert announced >= len(run[2])
    return before


def test_what_comes_behind_a_brake_is_left_out() -> None:
    def record(sequence: int, *topics: str) -> Message:
        outputs = Outputs.of(Output(topic, b"a", b"{}", ()) for topic in topics)
        made = JournalRecord("limits", 0, sequence, "", "", 0, 0, (), States.of(()), (), outputs, (), ())
        return Message(sequence, 0, b"", made.encode(), ())

    journal = [record(1, CHANGES.name, ADVISORIES.name), record(2), record(3, ADVISORIES.name, CHANGES.name), record(4)]
    told = [Message(place, 0, b"a", value, ()) for place, value in enumerate((b'{"kind":"other"}', b'{"kind":"budget_spent"}'))]
    assert [correct.before_brake(told[:n]) for n in (0, 1, 2)] == [0, 1, 1]
    before, total, announced = correct.journal_of(journal, 1)
    assert ([each.sequence for each in before], total, announced) == ([1, 2], 4, 1)


def test_a_sample_of_a_load_agrees(run: Run) -> None:
    assert len(run[2]) > 8
    correct.compare(journaled(run), run[1], run[2], is_whole=True)


@pytest.mark.parametrize("field", ["limit_minor", "band"])
def test_a_change_that_was_not_decided_contradicts(run: Run, field: str) -> None:
    *before, last = run[2]
    plain = json.loads(last.value or b"")
    plain["standing"][field] = {"limit_minor": 10_000, "band": "starter"}[field] if plain["standing"][field] != "starter" else "none"
    spoilt = [*before, replace(last, value=json.dumps(plain).encode())]
    with pytest.raises(AssertionError, match=plain["account_id"]):
        correct.compare(journaled(run), run[1], spoilt, is_whole=True)


def test_a_change_that_is_missing_contradicts(run: Run) -> None:
    with pytest.raises(AssertionError, match="account-"):
        correct.compare(journaled(run), run[1], run[2][:-1], is_whole=True)


def test_a_record_that_was_never_taken_contradicts(run: Run) -> None:
    records = journaled(run)
    with pytest.raises(AssertionError, match="never taken"):
        correct.compare(records[: len(records) // 2], run[1], run[2], is_whole=True)


def test_a_sample_is_the_seeds_own_and_has_busier_accounts() -> None:
    load = replace(LOAD, accounts=1_000)
    chosen = correct.sample(load, 100)
    assert chosen == correct.sample(load, 100) != correct.sample(replace(load, seed=2), 100)
    assert 90 <= len(chosen) <= 100
    assert len(chosen & set(ranked(load)[10:100])) >= 50


def test_times_that_go_back_are_noticed() -> None:
    messages = [Message(0, 2, b"a", b"", ()), Message(1, 1, b"b", b"", ())]
    with pytest.raises(AssertionError, match="go back"):
        list(correct.inputs_of(messages, frozenset()))
