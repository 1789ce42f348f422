"""The decision machine: its memory's size, its restarts and bad neighbours change nothing, and its journal can be made again from its inputs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final, get_args

import ormsgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.layout import Topic
from engine.core.packed import Packed
from engine.policy.document import Policy
from engine.policy.promote import promote
from engine.policy.source import load_policy, parse_policy
from engine.state.cache import Room
from engine.state.codec import forgotten_sequence
from engine.state.memory_store import MemoryStore
from engine.state.outputs import NO_OUTPUTS, TOPICS, Output, Outputs
from engine.state.record import DeadLetterRef, InputCut, JournalRecord
from engine.state.states import States
from engine.stream.decode.misrouting import partition_of
from engine.stream.records import Chunk
from engine.stream.replay import Replay, differences
from engine.stream.turn import DecisionMachine
from schemas.common import VALUE_BYTES_MAX
from schemas.dead_letters import Disposition
from scripts.personas import DAY_MS, instant
from tests.stream.runs import KEY, NOW, POLICIES, START_MS, Inputs, Shard, activation, between, control, encoded, lives, promoted

DEFAULT: Final = promoted("default")
MINIMAL: Final = promoted("minimal")

# The record itself

NUMBERS = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(max_size=8)
PAIRS = st.tuples(st.binary(max_size=8), st.none() | st.binary(max_size=20))
RECORDS = st.builds(
    JournalRecord,
    shard=NUMBERS,
    sequence=NUMBERS,
    engine_version=NAMES,
    policy_hash=NAMES,
    tick_ms=NUMBERS,
    events=NUMBERS,
    cuts=st.lists(st.builds(InputCut, NAMES, NUMBERS, NUMBERS, NUMBERS), max_size=3).map(tuple),
    accounts=st.lists(PAIRS, max_size=3).map(States.of),
    fields=st.lists(st.tuples(NAMES, st.binary(max_size=8)), max_size=3).map(tuple),
    outputs=st.lists(
        st.builds(
            Output,
            st.sampled_from(TOPICS),
            st.binary(max_size=8),
            st.binary(max_size=20),
            st.lists(st.tuples(NAMES, st.binary(max_size=8)), max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(Outputs.of),
    dead_letters=st.lists(st.builds(DeadLetterRef, NAMES, NUMBERS, NAMES, NAMES), max_size=3).map(tuple),
    counts=st.lists(st.tuples(NAMES, NUMBERS), max_size=3).map(tuple),
)


@given(RECORDS)
def test_a_journal_record_is_read_as_it_was_written(record: JournalRecord) -> None:
    raw = record.encode()
    assert JournalRecord.decode(raw) == replace(record, outputs=NO_OUTPUTS, said=record.output_refs)
    assert JournalRecord.decode(raw).encode() == raw


def test_a_journal_record_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 1; this engine reads 3: run the engine that wrote it, or a newer one"):
        JournalRecord.decode(ormsgpack.packb((1, "whatever")))


# Memory and restarts


@pytest.fixture(scope="module")
def few() -> Inputs:
    """A month of forty customers."""
    return lives(DEFAULT, accounts=40, days=30, seed=4)


async def test_a_small_cache_decides_as_a_large_one() -> None:
    inputs = lives(DEFAULT, accounts=300, days=60, seed=3)
    large, small = Shard.of(inputs, 5_000), Shard.of(inputs, 100)
    journal = await large.journal(accounts_max=100)
    assert sum(len(record.outputs) for record in journal) > 300
    assert len({account for record in journal for account, _ in record.accounts}) == 300
    assert list(encoded(await small.journal(accounts_max=100))) == list(encoded(journal))


async def test_a_cache_of_one_decides_as_a_large_one(few: Inputs) -> None:
    large, single = [await Shard.of(few, cache).journal(records_max=50, accounts_max=1) for cache in (5_000, 1)]
    assert max(len(record.accounts) for record in large) == 1
    assert list(encoded(single)) == list(encoded(large))


async def test_a_machine_that_was_restored_goes_on_as_if_nothing_had_happened(few: Inputs) -> None:
    whole = await Shard.of(few, 5_000).journal(accounts_max=30)
    shard, random = Shard.of(few, 5_000), Random(1)
    taken = []
    while (record := await shard.turn(2_000, 30)) is not None:
        taken.append(record)
        is_new = random.random() < 0.3
        if is_new:
            shard.machine = DecisionMachine("limits", 0, 1, KEY, Room(random.choice([30, 1_000]), 20_000))
        if is_new or random.random() < 0.3:
            shard.machine.restore(await shard.store.shard_fields())
    assert list(encoded(taken)) == list(encoded(whole))


async def test_the_last_states_do_not_depend_on_where_batches_are_cut(few: Inputs) -> None:
    stories = []
    for records_max, accounts_max in ((2_000, 40), (2_000, 7), (31, 40)):
        shard = Shard.of(few, 40)
        journal = await shard.journal(records_max, accounts_max)
        stories.append(
            (
                {account: value for record in journal for account, value in record.accounts},
                [output for record in journal for output in record.outputs],
                [ref for record in journal for ref in sorted(record.dead_letters, key=lambda ref: (ref.topic, ref.offset))],
            )
        )
    first, *others = stories
    assert all((states, outputs) == first[:2] for states, outputs, _ in others)
    assert all(set(letters) == set(first[2]) for _, _, letters in others)


async def test_a_batch_with_more_accounts_than_the_cache_holds_is_refused(few: Inputs) -> None:
    with pytest.raises(ValueError, match="do not fit a cache of 3"):
        await Shard.of(few, 3).journal(accounts_max=30)


# Bad neighbours

Posting = tuple[int, int, str, bytes | None]  # offset, number, key, value

SHARD, PARTITIONS = 0, 2
ID: Final = next(name for name in (f"a-{i}" for i in range(99)) if partition_of(name.encode(), PARTITIONS) == SHARD)
ELSEWHERE: Final = next(name for name in (f"a-{i}" for i in range(99)) if partition_of(name.encode(), PARTITIONS) != SHARD)


def purchase(number: int, **other: Any) -> dict[str, Any]:
    """A good purchase of one day after the other; ``other`` fields take the place of its own."""
    fields = {
        "event_id": f"e-{number}",
        "account_id": ID,
        "occurred_at": instant(START_MS + number * DAY_MS // 4),
        "currency": "CNY",
        "amount_minor": 1_000 + number,
        "category": "groceries",
        "channel": "app",
        "merchant_id": "m-1",
        "funded_by": "own",
    }
    return fields | other


def raw(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


BAD: Final[dict[str, Callable[[int], tuple[str, bytes | None]]]] = {  # number -> key and value of a bad record
    "not_json": lambda n: (ID, raw(purchase(n))[:-9]),
    "invalid": lambda n: (ID, raw(purchase(n, amount_minor=-1))),
    "unknown_field": lambda n: (ID, raw(purchase(n, note="x"))),
    "currency_mismatch": lambda n: (ID, raw(purchase(n, currency="USD"))),
    "key_mismatch": lambda n: (ID, raw(purchase(n, account_id="someone-else"))),
    "misrouted": lambda n: (ELSEWHERE, raw(purchase(n, account_id=ELSEWHERE))),
    "in_the_future": lambda n: (ID, raw(purchase(n + 3))),
    "too_old": lambda n: (ID, raw(purchase(n, occurred_at="2023-01-01T00:00:00Z"))),
    "too_large": lambda n: (ID, raw(purchase(n, merchant_id="m" * VALUE_BYTES_MAX))),
}


def of_purchases(records: list[Posting]) -> Inputs:
    """A shard's topics with these purchases: (offset, number, key, value), their record times by their numbers."""
    offsets, numbers, names, values = (list(column) for column in zip(*records, strict=True))
    times = [START_MS + number * DAY_MS // 4 for number in numbers]
    keys: list[bytes | None] = [name.encode() for name in names]
    return {Topic.CONTROL: control(activation(MINIMAL)), Topic.PURCHASE: Chunk.of(Topic.PURCHASE, offsets, times, keys, values, None)}


def test_there_is_a_bad_record_for_each_disposition() -> None:
    assert set(BAD) == set(get_args(Disposition))


@pytest.mark.parametrize("disposition", BAD)
@pytest.mark.parametrize("records_max", [3, 1_000])
async def test_a_reject_harms_nobody(disposition: str, records_max: int) -> None:
    good: list[Posting] = [(3 * n, n, ID, raw(purchase(n))) for n in range(40)]
    bad: list[Posting] = [(3 * n + 1, n, *BAD[disposition](n)) for n in range(0, 40, 3)]
    alone = await Shard.of(of_purchases(good), 10, SHARD, PARTITIONS).journal()
    among = await Shard.of(of_purchases(sorted(good + bad, key=lambda record: record[0])), 10, SHARD, PARTITIONS).journal(records_max)
    outputs = [output for record in among for output in record.outputs]
    assert outputs == [output for record in alone for output in record.outputs]
    assert outputs
    assert among[-1].accounts == alone[-1].accounts
    letters = [ref for record in among for ref in record.dead_letters]
    assert [(ref.topic, ref.offset, ref.disposition) for ref in letters] == [("purchases", 3 * n + 1, disposition) for n in range(0, 40, 3)]
    assert all(ref.message for ref in letters)
    assert sum(dict(record.counts).get("accepted", 0) for record in among) == len(good)


# Forgetting

THREE: Final = [purchase(n) for n in range(3)]  # raise the limit under the minimal policy, which needs no profile


def profile(hour: int, /, **other: Any) -> dict[str, Any]:
    """The account's profile as of an hour."""
    at = instant(START_MS + hour * DAY_MS // 24)
    fields = {
        "event_id": f"p-{hour}",
        "account_id": ID,
        "occurred_at": at,
        "as_of": at,
        "segment": "individual",
        "status": "active",
        "currency": "CNY",
    }
    return fields | other


def hourly(profiles: Mapping[int, dict[str, Any] | None], purchases: Mapping[int, dict[str, Any]]) -> Inputs:
    """A shard's topics under the minimal policy with records at these hours, of one account; a profile without a value is a tombstone."""
    inputs = {Topic.CONTROL: control(activation(MINIMAL))}
    for topic, records in ((Topic.PROFILE, profiles), (Topic.PURCHASE, purchases)):
        times = [START_MS + hour * DAY_MS // 24 for hour in records]
        values = [None if value is None else raw(value) for value in records.values()]
        keys: list[bytes | None] = [ID.encode()] * len(times)
        inputs[topic] = Chunk.of(topic, list(range(len(times))), times, keys, values, None)
    return inputs


def bought(first: int, count: int) -> dict[int, dict[str, Any]]:
    """A purchase an hour."""
    return {hour: purchase(hour, occurred_at=instant(START_MS + hour * DAY_MS // 24)) for hour in range(first, first + count)}


LIFE: Final = hourly(
    {4: None, 5: profile(5, status="closed"), 6: None, 7: None, 14: profile(14, status="closed"), 15: profile(15)},
    bought(0, 4) | bought(8, 5) | bought(16, 3),
)  # granted; not to be forgotten yet; closed; forgotten; again, in vain; another life: granted, closed, granted


async def told_of(inputs: Inputs, records_max: int) -> tuple[list[JournalRecord], dict[bytes, bytes | None], list[dict[str, Any]]]:
    """The journal, the last states and the changes."""
    journal = await Shard.of(inputs, 10, SHARD, PARTITIONS).journal(records_max)
    states = {account: value for record in journal for account, value in record.accounts}
    return journal, states, [json.loads(output.value) for record in journal for output in record.outputs]


@pytest.mark.parametrize("records_max", [1, 3, 1_000])
async def test_a_closed_account_is_forgotten_and_its_next_life_goes_on_counting(records_max: int) -> None:
    journal, _, changes = await told_of(LIFE, records_max)
    counts = Counter[str]()
    for record in journal:
        counts.update(dict(record.counts))
    assert (counts["forgotten"], counts["nothing_held"], counts["line_open"]) == (1, 1, 1)
    assert [(c["kind"], c["sequence"]) for c in changes][:2] == [("increase", 1), ("close", 2)]
    assert [change["sequence"] for change in changes] == list(range(1, len(changes) + 1))
    assert len({change["event_id"] for change in changes}) == len(changes) >= 4
    reborn = changes[2]
    assert (reborn["kind"], reborn["sequence"], reborn["previous"]["limit_minor"]) == ("increase", 3, 0)
    (letter,) = [ref for record in journal for ref in record.dead_letters]
    assert (letter.topic, letter.offset, letter.disposition) == ("account-profiles", 0, "invalid")
    assert "close it first" in letter.message
    assert ID not in letter.message


async def test_of_a_forgotten_account_the_sequence_stays_and_nothing_else() -> None:
    inputs = hourly({5: profile(5, status="closed"), 6: None}, bought(0, 4))
    _, states, _ = await told_of(inputs, 1)
    assert {account: value and forgotten_sequence(value) for account, value in states.items()} == {ID.encode(): 2}


async def test_an_account_of_which_nothing_was_announced_leaves_nothing() -> None:
    inputs = hourly({5: None}, {})
    inputs[Topic.CONTROL] = control(activation(DEFAULT))  # needs a profile: without one there is no standing
    before = Chunk.of(Topic.PURCHASE, [0], [START_MS], [ID.encode()], [raw(purchase(0))])
    for records_max in (1, 10):
        shard = Shard.of({**inputs, Topic.PURCHASE: before}, 10, SHARD, PARTITIONS)
        journal = await shard.journal(records_max)
        assert [(a, v) for record in journal for a, v in record.accounts][-1] == (ID.encode(), None)
        assert list((await shard.store.load(Packed.of([ID.encode()]))).values) == [None]
        assert [record for record in journal if record.dead_letters] == []


async def test_forgetting_does_not_depend_on_memory_and_restarts() -> None:
    whole = await Shard.of(LIFE, 10, SHARD, PARTITIONS).journal(1)
    shard = Shard.of(LIFE, 10, SHARD, PARTITIONS)
    taken = []
    while (record := await shard.turn(1, 10)) is not None:
        taken.append(record)
        shard.machine = DecisionMachine("limits", SHARD, PARTITIONS, KEY, Room(1, 0))
        shard.machine.restore(await shard.store.shard_fields())
    assert list(encoded(taken)) == list(encoded(whole))


@pytest.mark.parametrize("records_max", [1, 1_000])
async def test_a_replay_forgets_as_the_shard_did(records_max: int) -> None:
    journal = list(encoded(await Shard.of(LIFE, 10, SHARD, PARTITIONS).journal(records_max)))
    assert await replayed(LIFE, journal, SHARD, PARTITIONS) == []
    profiles = LIFE[Topic.PROFILE]
    kept = replace(profiles, values=Packed.of(raw(profile(6)) if i == 2 else value for i, value in enumerate(profiles.values)))
    assert await replayed({**LIFE, Topic.PROFILE: kept}, journal, SHARD, PARTITIONS) != []


# Control records


def unpromoted() -> Policy:
    return load_policy(POLICIES / "minimal.yaml")


COMMON: Final = {"control_id": "c", "issued_at": "2025-01-01T00:00:00Z", "issued_by": "test"}
REFUSED: Final[dict[str, tuple[bytes, str, str]]] = {  # value, disposition, words of the message
    "wrong hash": (activation(MINIMAL, policy_hash="0" * 64), "invalid", "policy_hash is not the SHA-256"),
    "another policy's hash": (activation(MINIMAL, policy=json.loads(activation(DEFAULT))["policy"]), "invalid", "policy_hash is not"),
    "never promoted": (activation(unpromoted()), "invalid", "promote it with `limit-engine policy promote`"),
    "no policy": (activation(MINIMAL, policy={"policy": "x"}), "invalid", "is missing"),
    "appetite": (
        raw(COMMON | {"kind": "appetite", "segment": "individual", "mode": "contraction", "reason": "a downturn"}),
        "invalid",
        "approved_by",
    ),
    "a kind that nobody knows": (raw(COMMON | {"kind": "explode"}), "invalid", "kind"),
    "an unknown field": (activation(MINIMAL, note="x"), "unknown_field", "note"),
    "no JSON": (b"{", "not_json", "EOF"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_control_record_that_cannot_be_followed_is_a_dead_letter(case: str) -> None:
    """Before any policy and under one; the policy in force stays, and a good record after it is followed."""
    value, disposition, words = REFUSED[case]
    shard = Shard.of({Topic.CONTROL: control(value, activation(DEFAULT), value, activation(MINIMAL), value)}, 10)
    in_force = []
    journal = []
    while (record := await shard.turn(10, 10)) is not None:
        journal.append(record)
        in_force.append(None if shard.machine.policy is None else shard.machine.policy.document.policy)
    assert in_force == [None, "default", "default", "minimal", "minimal"]
    letters = [[(ref.topic, ref.offset, ref.disposition) for ref in record.dead_letters] for record in journal]
    assert letters == [[("limit-control", n, disposition)] if n % 2 == 0 else [] for n in range(5)]
    assert all(words in ref.message for record in journal for ref in record.dead_letters)
    followed = ["brakes", "policy", "sweep"]  # the one has brakes, the other has none any more
    assert [[name for name, _ in record.fields] for record in journal] == [["partitions"], followed, [], followed, []]


async def test_the_same_policy_again_changes_nothing(few: Inputs) -> None:
    middle = START_MS + 15 * DAY_MS
    again = {**few, Topic.CONTROL: Chunk.of(Topic.CONTROL, [0, 1], [START_MS, middle], [None] * 2, [activation(DEFAULT)] * 2, None)}
    expected, shard = Shard.of(few, 100), Shard.of(again, 100)
    outputs = [output for record in await expected.journal() for output in record.outputs]
    assert [output for record in await shard.journal() for output in record.outputs] == outputs


async def test_a_new_version_goes_on_from_the_states_that_it_finds() -> None:
    """Two purchases under the first version and one under the second are three."""
    text = (POLICIES / "minimal.yaml").read_text("utf-8")
    second = promote(parse_policy(text.replace("version: 1", "version: 2").encode(), "minimal"), MINIMAL, NOW)
    inputs = of_purchases([(n, n, ID, raw(purchase(n))) for n in range(3)])
    inputs[Topic.CONTROL] = Chunk.of(
        Topic.CONTROL, [0, 1], [START_MS, START_MS + DAY_MS // 4 + 1], [None] * 2, [activation(MINIMAL), activation(second)], None
    )
    journal = await Shard.of(inputs, 10, SHARD, PARTITIONS).journal()
    assert [record.events for record in journal] == [1, 2, 1, 1]
    (output,) = [output for record in journal for output in record.outputs]
    change = json.loads(output.value)
    assert (change["kind"], change["cause"]["offset"], change["policy"]["version"]) == ("increase", 2, 2)
    assert [feature["value"] for feature in change["trace"]["features"]] == [3]


# The journal again from its inputs


async def replayed(inputs: Inputs, journal: list[bytes], shard: int = 0, partitions: int = 1) -> list[int]:
    """The sequences that a replay reports."""

    async def entries() -> AsyncIterator[tuple[JournalRecord, bytes, Inputs]]:
        for written in journal:
            record = JournalRecord.decode(written)
            yield record, written, between(inputs, record)

    replay = Replay(DecisionMachine("limits", shard, partitions, KEY, Room(2_000, 20_000)), MemoryStore())
    return [sequence async for sequence in differences(replay, entries())]


async def test_a_replay_gives_the_journal_byte_for_byte(few: Inputs) -> None:
    records = await Shard.of(few, 50).journal(records_max=97, accounts_max=13)
    assert len(records) > 50
    assert [b.sequence - a.sequence for a, b in pairwise(records)] == [1] * (len(records) - 1)
    assert await replayed(few, list(encoded(records))) == []


async def test_sweeps_are_made_again_from_where_they_stood(few: Inputs, tmp_path: Path) -> None:
    """Slices of any size between batches of any size; days that come faster than their sweeps end, and an activation among them."""
    text = (POLICIES / "default.yaml").read_text("utf-8").replace("version: 1", "version: 2").replace("up_days: 30", "up_days: 0")
    quicker = tmp_path / "quicker.yaml"
    quicker.write_text(text, "utf-8")
    versions: list[bytes | None] = [activation(DEFAULT), activation(promote(load_policy(quicker, NOW), DEFAULT, NOW))]
    times = [START_MS, START_MS + 15 * DAY_MS + DAY_MS // 2]  # no limit is raised in the quiet hours
    inputs = {**few, Topic.CONTROL: Chunk.of(Topic.CONTROL, [0, 1], times, [None] * 2, versions, None)}
    records = await Shard.of(inputs, 50).journal(records_max=97, accounts_max=13, sweeps=Random(5))
    causes = {json.loads(output.value)["cause"]["kind"] for record in records if not record.cuts for output in record.outputs}
    assert causes == {"tick", "control"}
    assert await replayed(inputs, list(encoded(records))) == []


async def test_a_sweep_comes_to_each_account_once() -> None:
    accounts = [f"a-{n}".encode() for n in range(300)]
    shard = Shard.of(
        of_purchases([(n, 0, name.decode(), raw(purchase(0, account_id=name.decode()))) for n, name in enumerate(accounts)]), 500
    )
    await shard.journal(accounts_max=400)
    shard.alignment.tick_ms += DAY_MS
    swept = [record async for record in slices(shard, Random(1))]
    assert sum(dict(record.counts)["swept"] for record in swept) == len(accounts)
    assert len(swept) > 10
    assert shard.machine.sweep_at(shard.alignment.tick_ms) is None


async def slices(shard: Shard, random: Random) -> AsyncIterator[JournalRecord]:
    """The slices of a sweep, of any size."""
    while (record := await shard.slice(random.randrange(1, 60), random.randrange(1, 40))) is not None:
        yield record


TAMPERED: Final[dict[str, Callable[[JournalRecord], JournalRecord]]] = {
    "an output is changed": lambda r: replace(
        r, outputs=Outputs.of([replace(r.outputs[0], value=r.outputs[0].value.replace(b"limit", b"limlt", 1))])
    ),
    "an output is left out": lambda r: replace(r, outputs=NO_OUTPUTS),
    "a state is changed": lambda r: replace(
        r, accounts=States.of([(r.accounts[0][0], (r.accounts[0][1] or b"") + b"\0"), *r.accounts[1:]])
    ),
    "a dead letter is hidden": lambda r: replace(r, dead_letters=()),
    "a count is changed": lambda r: replace(r, counts=tuple((name, count + 1) for name, count in r.counts)),
    "another policy is named": lambda r: replace(r, policy_hash="0" * 64),
}


@pytest.mark.parametrize("what", TAMPERED)
async def test_a_replay_names_the_record_that_was_tampered_with(what: str, few: Inputs) -> None:
    records = await Shard.of(few, 50).journal(records_max=400, accounts_max=40)
    place = next(i for i, r in enumerate(records) if r.outputs and r.dead_letters and r.sequence > 3)
    journal = list(encoded(records))
    journal[place] = TAMPERED[what](records[place]).encode()
    assert journal[place] != records[place].encode()
    assert await replayed(few, journal) == [records[place].sequence]


async def test_a_replay_names_the_record_whose_input_is_not_what_was_taken(few: Inputs) -> None:
    records = await Shard.of(few, 50).journal(records_max=400, accounts_max=40)
    chunk = few[Topic.PURCHASE]
    place = next(i for i in range(len(chunk) // 2, len(chunk)) if b'"reverses"' not in (chunk.values[i] or b""))
    plain = json.loads(chunk.values[place] or b"")
    other = raw(plain | {"amount_minor": plain["amount_minor"] + 1})
    changed = {**few, Topic.PURCHASE: replace(chunk, values=Packed.of([*chunk.values[:place], other, *chunk.values[place + 1 :]]))}
    offset = int(chunk.offsets[place])
    expected = next(r.sequence for r in records for c in r.cuts if c.topic == "purchases" and c.first <= offset < c.next)
    assert (await replayed(changed, list(encoded(records))))[0] == expected


async def test_a_replay_without_all_inputs_is_refused(few: Inputs) -> None:
    records = await Shard.of(few, 50).journal(records_max=400, accounts_max=40)
    chunk = few[Topic.TRANSFER]
    fewer = {**few, Topic.TRANSFER: chunk.slice(0, len(chunk) - 1)}
    with pytest.raises(ValueError, match=rf"sequence {records[-1].sequence} took {records[-1].events} records, its cuts give \d+"):
        await replayed(fewer, list(encoded(records)))
