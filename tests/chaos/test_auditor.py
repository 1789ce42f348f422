"""The auditor audited: a shard's true books pass, and whatever is taken out of them, doubled, swapped or altered is noticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

import numpy as np
import pytest

from engine.core.layout import DAY_MS, Topic
from engine.core.packed import Packed
from engine.policy.promote import promote
from engine.policy.source import load_policy
from engine.state import keys
from engine.state.outputs import Output
from engine.state.record import JournalRecord
from engine.state.states import States
from engine.stream.dead_letters import dead_letters
from engine.stream.records import TOPICS, Batch, Chunk
from schemas import cloudevents as ce
from schemas.topics import ADVISORIES, CHANGES
from tests.e2e.audit import rejects_of
from tests.e2e.books import Books, Message, inconsistencies, problems
from tests.e2e.deployment import ROOT
from tests.stream.runs import NOW, Inputs, Shard, between, lives

ACCOUNTS: Final = 12
DAYS: Final = 60
POLICY: Final = ROOT / "scripts" / "benchmark" / "simple.yaml"
SENT: Final = (ce.TIME, b"2026-01-01T00:00:00.000Z")


@dataclass(frozen=True)
class Deployment:
    """The books of a shard and its store."""

    books: Books
    fields: dict[str, bytes]
    accounts: dict[bytes, bytes]

    def problems(self) -> list[str]:
        state = (self.books, self.fields, self.accounts)
        return inconsistencies(*state) or problems(*state)[1]


@pytest.fixture(scope="module")
def true() -> Deployment:
    """A shard's life, as its topics and its store would have it."""
    return asyncio.run(lived())


async def lived() -> Deployment:
    policy = promote(load_policy(POLICY), None, NOW)
    inputs = lives(policy, ACCOUNTS, DAYS, seed=4)
    shard = Shard.of(inputs, 6)
    journal = await shard.journal(300, 6, Random(1))
    accounts = {account: value for bucket in range(keys.BUCKETS) async for account, value in shard.store.accounts(bucket)}
    fields = await shard.store.shard_fields() | {keys.JOURNAL_OFFSET: b"%d" % (2 * (len(journal) - 1))}
    return Deployment(written(inputs, journal), fields, accounts)


def written(inputs: Inputs, journal: list[JournalRecord]) -> Books:
    """The topics after these commits; between two of them lies a transaction's marker."""
    outputs: dict[str, list[Message]] = {CHANGES.name: [], ADVISORIES.name: []}
    letters: list[Output] = []
    for record in journal:
        for output in record.outputs:
            outputs[output.topic].append(Message(len(outputs[output.topic]), 0, output.key, output.value, (*output.headers, SENT)))
        taken = Batch(between(inputs, record), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), {}, 0, caught_up=False)
        letters += dead_letters(taken, record.dead_letters, 0)
    whole = {topic: inputs.get(topic, Chunk.of(topic)) for topic in Topic}
    return Books(
        0,
        1,
        whole,
        [Message(2 * i, 0, None, record.encode(), ()) for i, record in enumerate(journal)],
        outputs[CHANGES.name],
        outputs[ADVISORIES.name],
        [Message(i, 0, letter.key, letter.value, letter.headers) for i, letter in enumerate(letters)],
    )


def test_true_books_pass(true: Deployment) -> None:
    counts, found = problems(true.books, true.fields, true.accounts)
    assert found == []
    print(dict(counts))
    assert min(counts[name] for name in ("commits", "changes", "advisories", "dead_letters")) > 2
    assert len(true.books.dead_letters) == counts["dead_letters"]
    assert any(not record.cuts for record in true.books.records), "sweeps among them"


# What is done to a topic


def taken_out(log: list[Message], at: int) -> list[Message]:
    return log[:at] + log[at + 1 :]


def doubled(log: list[Message], at: int) -> list[Message]:
    return [*log[: at + 1], replace(log[at], offset=log[at].offset + 1), *log[at + 1 :]]


def swapped(log: list[Message], at: int) -> list[Message]:
    at = min(at, len(log) - 2)
    return [*log[:at], replace(log[at + 1], offset=log[at].offset), replace(log[at], offset=log[at + 1].offset), *log[at + 2 :]]


def altered(log: list[Message], at: int) -> list[Message]:
    value = bytearray(log[at].value or b"")
    value[len(value) // 2] ^= 1
    return [*log[:at], replace(log[at], value=bytes(value)), *log[at + 1 :]]


Spoil = Callable[[list[Message], int], list[Message]]


@pytest.mark.parametrize("where", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
@pytest.mark.parametrize("spoil", [taken_out, doubled, swapped, altered])
@pytest.mark.parametrize("topic", ["journal", "changes", "advisories", "dead_letters"])
def test_a_spoilt_topic_is_noticed(true: Deployment, topic: str, spoil: Spoil, where: float) -> None:
    log: list[Message] = getattr(true.books, topic)
    spoilt = spoil(log, int(where * (len(log) - 1)))
    assert spoilt != log
    changed: dict[str, Any] = {topic: spoilt}
    assert replace(true, books=replace(true.books, **changed)).problems()


# What is done to the inputs


def column(values: Any, places: list[int]) -> list[Any] | None:
    return None if values is None else [values[place] for place in places]


def arranged(chunk: Chunk, places: list[int], offsets: list[int]) -> Chunk:
    """The records at these places of a chunk, at other offsets."""
    picked: list[Any] = [column(values, places) for values in (chunk.times_ms, chunk.keys, chunk.values, chunk.headers)]
    return Chunk.of(chunk.topic, offsets, *picked)


def accepted(books: Books, topic: Topic) -> int:
    """The place of a record, not far from the middle of an input, that was taken, and after which time goes on."""
    chunk, rejected = books.inputs[topic], rejects_of(books.records)
    from_the_middle = sorted(range(len(chunk) - 1), key=lambda place: abs(place - len(chunk) // 2))
    return next(i for i in from_the_middle if (topic, chunk.offsets[i]) not in rejected and chunk.times_ms[i] != chunk.times_ms[i + 1])


def with_input(true: Deployment, chunk: Chunk) -> list[str]:
    return replace(true, books=replace(true.books, inputs=true.books.inputs | {chunk.topic: chunk})).problems()


@pytest.mark.parametrize("topic", [Topic.PROFILE, Topic.REPAYMENT, Topic.TRANSFER, Topic.PURCHASE])
@pytest.mark.parametrize("done", ["taken out", "doubled", "swapped", "altered"])
def test_a_spoilt_input_is_noticed(true: Deployment, topic: Topic, done: str) -> None:
    chunk, at = true.books.inputs[topic], accepted(true.books, topic)
    everything, offsets = list(range(len(chunk))), chunk.offsets.tolist()
    match done:
        case "taken out":
            spoilt = arranged(chunk, everything[:at] + everything[at + 1 :], offsets[:at] + offsets[at + 1 :])
        case "doubled":
            spoilt = arranged(chunk, [*everything[: at + 1], *everything[at:]], [*offsets[: at + 1], offsets[at] + 1, *offsets[at + 1 :]])
        case "swapped":
            spoilt = arranged(chunk, [*everything[:at], at + 1, at, *everything[at + 2 :]], offsets)
        case _:
            plain = json.loads(chunk.values[at] or b"")
            plain |= {"as_of": plain["applied_at"]} if "applied_at" in plain else {}
            spoilt = replace(
                chunk, values=Packed.of([*chunk.values[:at], json.dumps(plain | later(plain)).encode(), *chunk.values[at + 1 :]])
            )
    assert with_input(true, spoilt)


def later(plain: dict[str, Any]) -> dict[str, Any]:
    """A figure of a record that is another one."""
    if "amount_minor" in plain:
        return {"amount_minor": plain["amount_minor"] + 1}
    return {"exposure_minor": (plain.get("exposure_minor") or 0) + 1}


def test_a_record_that_nobody_took_is_noticed(true: Deployment) -> None:
    chunk = true.books.inputs[Topic.PURCHASE]
    everything = list(range(len(chunk)))
    assert with_input(true, arranged(chunk, [*everything, len(chunk) - 1], [*chunk.offsets, chunk.offsets[-1] + 2]))


# What the journal might say although nobody else would


def rewritten(true: Deployment, at: int, **fields: Any) -> list[str]:
    log = true.books.journal
    record = replace(true.books.records[at], **fields)
    spoilt = [*log[:at], replace(log[at], value=record.encode()), *log[at + 1 :]]
    return replace(true, books=replace(true.books, journal=spoilt)).problems()


def test_each_part_of_a_journal_record_counts(true: Deployment) -> None:
    records = true.books.records
    at = next(i for i, r in enumerate(records) if i > len(records) // 2 and r.cuts and r.said)
    record = records[at]
    cut = record.cuts[-1]
    assert TOPICS[cut.topic] in true.books.inputs
    state = record.accounts[0][1] or b""
    spoilt: dict[str, Any] = {
        "application": "another",
        "shard": 1,
        "sequence": record.sequence + 1,
        "policy_hash": "0" * 64,
        "tick_ms": record.tick_ms + DAY_MS,
        "events": record.events + 1,
        "cuts": (*record.cuts[:-1], replace(cut, next=cut.next + 2)),
        "accounts": States.of([(record.accounts[0][0], bytes([*state[:-1], state[-1] ^ 1])), *record.accounts[1:]]),
        "said": record.said[1:],
        "counts": (*record.counts, ("invented", 1)),
    }
    for name, value in spoilt.items():
        assert rewritten(true, at, **{name: value}), name


# What a store might be


def test_a_store_that_is_behind_or_another_is_noticed(true: Deployment) -> None:
    account, value = next(iter(true.accounts.items()))
    behind = {keys.SEQUENCE: b"%d" % (len(true.books.journal) - 1)}
    assert replace(true, fields=true.fields | behind).problems()
    assert replace(true, fields=true.fields | {keys.JOURNAL_OFFSET: b"1"}).problems()
    assert replace(true, accounts={name: held for name, held in true.accounts.items() if name != account}).problems()
    assert replace(true, accounts=true.accounts | {account: value[:-1] + bytes([value[-1] ^ 1])}).problems()
