"""The audit of a deployment after a test: its topics and its Redis against the oracle and against themselves."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from dataclasses import fields as fields_of
from datetime import date, datetime
from itertools import pairwise, zip_longest
from multiprocessing import get_context
from typing import Any, Final, get_args

import numpy as np

from engine.core.fingerprint import band_code
from engine.core.layout import MISSING, Topic
from engine.core.packed import Packed
from engine.core.rows import blank_row
from engine.policy.compile import compile_policy
from engine.policy.document import Policy
from engine.policy.promote import policy_hash
from engine.state import keys
from engine.state.cache import Room
from engine.state.codec import RowCodec
from engine.state.memory_store import MemoryStore
from engine.state.record import JournalRecord
from engine.stream.records import TOPICS, Chunk
from engine.stream.replay import Replay, differences
from engine.stream.sweep import Sweep
from engine.stream.turn import DecisionMachine
from schemas.common import parse_day, parse_instant
from tests.core.bridge import KEY, Kernel, oracle_state, word_bit
from tests.oracle.account import OracleAccount, Step
from tests.oracle.line import Change, Emission
from tests.oracle.portfolio import Portfolio
from tests.oracle.records import Applied, Command, Forget, Granted, Profile, Purchase, Record, Repayment, Transfer
from tests.oracle.time_rules import DAY_MS, MINUTE_MS, day_of

BRAKED: Final = ("budget_spent", "breaker_tripped")
RECORDS: Final = {Topic.REPAYMENT: Repayment, Topic.PURCHASE: Purchase, Topic.TRANSFER: Transfer}
Shard = dict[Topic, Chunk]


def milliseconds(text: str) -> int:
    """An RFC 3339 instant in ms."""
    return round(parse_instant(text).timestamp() * 1000)


def oracle_record(topic: Topic, value: bytes, record_time: int, clock: int, policy: Policy) -> Record:
    """A valid record (bare JSON) as the oracle takes it."""
    plain = json.loads(value)
    common: dict[str, Any] = {"account_id": plain["account_id"], "record_time": record_time, "clock": clock}
    if topic is Topic.COMMAND:
        return command_record(common, plain)
    common |= {"event_id": plain["event_id"], "occurred_at": milliseconds(plain["occurred_at"])}
    if topic is Topic.PROFILE:
        return profile_record(common, plain, policy)
    names = {field.name for field in fields_of(RECORDS[topic])} - {"due_at"}
    fields = {name: value for name, value in plain.items() if name in names and name not in common}
    if topic is Topic.REPAYMENT:
        fields["due_at"] = milliseconds(plain["due_at"])
    if plain.get("reverses"):
        fields |= {"reverses_at": milliseconds(plain["reverses"]["occurred_at"]), "reverses_full": plain["reverses"]["full"]}
    made: Record = RECORDS[topic](**common, **fields)
    return made


def command_record(common: dict[str, Any], plain: dict[str, Any]) -> Command:
    """A command, flattened."""
    until = plain.get("until") or plain.get("expires_at")
    limits = [plain[name] for name in ("limit_minor", "requested_limit_minor", "ceiling_minor") if plain.get(name) is not None]
    return Command(
        **common,
        event_id=plain["command_id"],
        occurred_at=milliseconds(plain["issued_at"]),
        kind=plain["kind"],
        cause=plain.get("cause"),
        until=None if until is None else milliseconds(until),
        limit_minor=limits[0] if limits else None,
        of=plain.get("of"),
        offer_id=plain.get("offer_id"),
        second_person=plain.get("approved_by") not in (None, plain["issued_by"]),
    )


def profile_record(common: dict[str, Any], plain: dict[str, Any], policy: Policy) -> Profile:
    """A profile with its figures by the names that policies give them."""

    def day(value: str | None) -> int | None:
        if value is None:
            return None
        parsed = parse_day(value)
        if isinstance(parsed, datetime):
            return (round(parsed.timestamp() * 1000) + policy.utc_offset_minutes * MINUTE_MS) // DAY_MS
        return (parsed - date(1970, 1, 1)).days

    income, credit, business = (plain.get(name) or {} for name in ("income", "credit_record", "business"))
    related = plain.get("related") or []
    eligible = [party.get("eligible") for party in related if party["role"] == "principal"]
    past_due = [party["days_past_due"] for party in related if party.get("days_past_due") is not None]
    exposures = [party["exposure_minor"] for party in related if party.get("exposure_minor") is not None]
    dates = ("opened_on", "identity_verified_until", "consent_at", "opted_out_at", "device_changed_at", "contact_changed_at")
    same = (
        "status",
        "employment",
        "jurisdiction",
        "debt_service_monthly_minor",
        "assets_minor",
        "external_debt_minor",
        "external_limits_minor",
    )
    figures: dict[str, Any] = {
        **{name: plain.get(name) for name in same},
        **{name: day(plain.get(name)) for name in dates},
        "income_proof": income.get("proof"),
        "income_monthly_minor": income.get("monthly_minor"),
        "income_as_of": day(income.get("as_of")),
        "credit_months": credit.get("months"),
        "credit_completeness_percent": credit.get("completeness_percent"),
        "delinquencies_24m": credit.get("delinquencies_24m"),
        "persistent_debt_months": credit.get("persistent_debt_months"),
        "revenue_yearly_minor": business.get("revenue_yearly_minor"),
        "bank_flow_monthly_minor": business.get("bank_flow_monthly_minor"),
        "ecosystem_activity_monthly": business.get("ecosystem_activity_monthly"),
        "principal_eligible": 0 if False in eligible else 1 if eligible and None not in eligible else None,
        "related_days_past_due": max(past_due, default=None),
        "related_exposure_minor": sum(exposures) if exposures else None,
    }
    granted = plain.get("granted")
    return Profile(
        **common,
        as_of=milliseconds(plain["as_of"]),
        segment=plain["segment"],
        applied_at=milliseconds(plain["applied_at"]) if plain.get("applied_at") else None,
        requested_limit_minor=plain.get("requested_limit_minor"),
        exposure_minor=plain.get("exposure_minor"),
        granted=Granted(granted["limit_minor"], granted["band"], day(granted["since"]) or 0) if granted else None,
        applied=Applied(**plain["applied"]) if plain.get("applied") else None,
        corrects=plain.get("corrects", False),
        figures={name: value for name, value in figures.items() if value is not None},
        attributes=plain.get("attributes") or {},
    )


def taken_in_order(records: list[JournalRecord], inputs: Shard) -> Iterator[tuple[Topic | Sweep, int, int]]:
    """Every input record of a shard as the journal says it was taken: topic, place in its chunk, shard clock. Between them the slices of sweeps:
    where the sweep stood after it, 0, and the tick.

    Within a batch by (running maximum of the topic's record times, rank, offset).
    """
    places = {topic: {offset: i for i, offset in enumerate(chunk.offsets.tolist())} for topic, chunk in inputs.items()}
    topic_clock: defaultdict[Topic, int] = defaultdict(lambda: MISSING)
    tick = MISSING
    for record in records:
        batch = []
        for cut in record.cuts:
            topic = TOPICS[cut.topic]
            for offset in range(cut.first, cut.next):
                place = places[topic].get(offset)
                if place is not None:
                    topic_clock[topic] = max(topic_clock[topic], int(inputs[topic].times_ms[place]))
                    batch.append((topic_clock[topic], topic, offset, place))
        clock = tick
        for time, topic, _, place in sorted(batch):
            clock = max(clock, time)
            yield topic, place, clock
        tick = max(tick, record.tick_ms)
        if not record.cuts:
            yield Sweep.decode(dict(record.fields)[keys.SWEEP]), 0, tick


def swept(accounts: Mapping[str, OracleAccount], before: Sweep | None, after: Sweep) -> list[str]:
    """The accounts of a slice, in the order in which a sweep goes through them; ``before`` is where the one before it ended."""
    goes_on = before is not None and before.cause == after.cause
    first = before if before is not None and goes_on else Sweep(after.day, bucket=before.bucket if before else 0, left=keys.BUCKETS)

    def place(account_id: str) -> tuple[int, bytes]:
        return (keys.bucket_of(account_id.encode()) - first.bucket) % keys.BUCKETS, account_id.encode()

    end = first.left - after.left
    known = sorted(accounts, key=place)
    return [account_id for account_id in known if (0, first.after) < place(account_id) <= (end, after.after)]


@dataclass
class Fold:
    """The oracle's accounts of a shard. ``policy`` is in force; ``before`` were, the first one first. ``emitted`` has each account's changes with
    the hash of the version that decided, ``braked`` at whom a brake of the portfolio's was told, ``tombstones`` what was said to each by its
    offset."""

    policy: Policy
    portfolio: Portfolio
    before: list[Policy] = field(default_factory=list)
    accounts: dict[str, OracleAccount] = field(default_factory=dict)
    emitted: defaultdict[str, list[tuple[Emission, str]]] = field(default_factory=lambda: defaultdict(list))
    braked: list[tuple[str, str]] = field(default_factory=list)
    tombstones: dict[int, str] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    appetites: dict[str, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._hash = policy_hash(self.policy)
        self.bands = {self._hash: bands_of(self.policy)}

    def follow(self, policy: Policy) -> None:
        """Another version comes into force, for every account at once."""
        self.before.append(self.policy)
        self.policy, self._hash = policy, policy_hash(policy)
        self.bands[self._hash] = bands_of(policy)
        self.portfolio.follow(policy)
        for account in self.accounts.values():
            account.follow(policy)

    def hear(self, control: dict[str, Any]) -> None:
        """What else a control record says."""
        if control["kind"] == "appetite":
            self.appetites[control["segment"]] = control["mode"], day_of(self.policy, milliseconds(control["issued_at"]))
            self.portfolio.expect(control["segment"], control["expected_decreases"])
        else:
            assert control["kind"] == "release_breaker"
            self.portfolio.release(control.get("segment"))

    def account(self, account_id: str) -> OracleAccount:
        """The oracle's account, a new one where there is none."""
        return self.accounts.setdefault(account_id, OracleAccount(self.policy, word_bit, self.appetites, self.portfolio))

    def band_told(self, band: str | None, version: str) -> str | None:
        """What a version calls a standing's band: one that it does not have by its code."""
        return band if band is None or band in self.bands[version] else f"unknown-{band_code(band):x}"

    def note(self, account_id: str, step: Step) -> None:
        """Remember the changes of a step, and what it tells of the brakes."""
        self.braked += [(account_id, emission.kind) for emission in step.emissions if emission.kind in BRAKED]
        self.emitted[account_id] += [(emission, self._hash) for emission in changes_of(step)]

    def forget(self, chunk: Chunk, place: int, clock: int) -> None:
        """Take a tombstone; ``misplaced`` if it names no account of the shard's."""
        key, at = chunk.keys[place], int(chunk.times_ms[place])
        verdict = "misplaced"
        if key is not None and 0 < len(key.decode()) <= 64:
            wish = Forget(account_id=key.decode(), event_id="", occurred_at=at, record_time=at, clock=clock)
            held = self.accounts.get(wish.account_id, OracleAccount(self.policy, word_bit, self.appetites, self.portfolio))
            verdict = held.apply(wish).verdict
            self.forgotten |= {wish.account_id} if verdict == "forgotten" else set()
        self.tombstones[int(chunk.offsets[place])] = verdict


def bands_of(policy: Policy) -> set[str]:
    """The names of a version's bands."""
    return {band.name for segment in policy.segments for band in segment.bands}


def kind_of(value: bytes | None) -> str:
    """The kind of a control record."""
    assert value is not None
    return str(json.loads(value)["kind"])


def activated(value: bytes | None) -> Policy:
    """The policy of a control record."""
    assert value is not None
    return Policy.from_plain(json.loads(value)["policy"])


def fold(records: list[JournalRecord], inputs: Shard, instead: Mapping[str, Policy] | None = None) -> Fold:
    """What the oracle makes of a shard's inputs, in the order in which the journal says they were taken. Each version is in force from the place
    of its control record on; ``instead`` names, by hash, versions that others take the place of (what would have been)."""
    rejected = rejects_of(records)
    taken = [
        (what, place, clock)
        for what, place, clock in taken_in_order(records, inputs)
        if isinstance(what, Sweep) or what is Topic.PROFILE or (what, inputs[what].offsets[place]) not in rejected
    ]
    switches = [i for i, (what, _, _) in enumerate(taken) if what is Topic.CONTROL]
    found: Fold | None = None
    sweep: Sweep | None = None
    for i, (what, place, clock) in enumerate(taken):
        if isinstance(what, Sweep):
            assert found is not None
            for account_id in swept(found.accounts, sweep, what):
                account = found.accounts[account_id]
                if account.now is not None:  # not forgotten
                    # Whom a sweep says nothing about it leaves as it was. That is seen by a version to come (without one the clock may move),
                    # and by the portfolio's count, for which the account remembers where its clock was left.
                    found.note(account_id, account.tick(clock) if i < switches[-1] else account.pass_time(clock))
            sweep = what
            continue
        chunk = inputs[what]
        value = chunk.values[place]
        if what is Topic.CONTROL and kind_of(value) != "activate":
            assert found is not None
            assert value is not None
            found.hear(json.loads(value))
            continue
        if what is Topic.CONTROL:
            policy = activated(value)
            policy = (instead or {}).get(policy_hash(policy), policy)
            if found is None:
                found = Fold(policy, portfolio_of(records))
            else:
                found.follow(policy)
            continue
        assert found is not None, "a record was taken before a policy was in force"
        if what is Topic.PROFILE and value is None:
            found.forget(chunk, place, clock)
        elif (what, chunk.offsets[place]) not in rejected:
            assert value is not None
            record = oracle_record(what, value, int(chunk.times_ms[place]), clock, found.policy)
            found.note(record.account_id, found.account(record.account_id).apply(record))
    assert found is not None, "no policy was ever in force"
    return found


def portfolio_of(records: list[JournalRecord]) -> Portfolio:
    """The portfolio of a shard, of which nothing is known yet."""
    return Portfolio(records[0].shard, int(dict(records[0].fields)[keys.PARTITIONS]))


def rejects_of(records: Iterable[JournalRecord]) -> dict[tuple[Topic, int], str]:
    """The disposition of each rejected record, by topic and offset."""
    return {(TOPICS[ref.topic], ref.offset): ref.disposition for record in records for ref in record.dead_letters}


def versions_told(records: list[JournalRecord], inputs: Shard) -> list[str]:
    """For each journal record the hash of the version that it should name: from the record of its activation on."""
    rejected, places = rejects_of(records), {offset: i for i, offset in enumerate(inputs[Topic.CONTROL].offsets)}
    told, now = [], ""
    for record in records:
        for cut in record.cuts:
            if TOPICS[cut.topic] is Topic.CONTROL:
                offsets = [offset for offset in range(cut.first, cut.next) if offset in places and (Topic.CONTROL, offset) not in rejected]
                assert record.events == 1, "a control record makes a batch of its own"
                value = inputs[Topic.CONTROL].values[places[offsets[0]]] if offsets else None
                now = policy_hash(activated(value)) if value is not None and kind_of(value) == "activate" else now
        told.append(now)
    return told


def audit_shard(
    policy: Policy,
    inputs: Shard,
    journal: list[bytes],
    changes: list[dict[str, Any]],
    redis: Mapping[bytes, bytes],
    shard: int,
    partitions: int,
) -> dict[str, int]:
    """Check everything about one shard; what was counted. ``policy`` is the one in force in the end. Raises AssertionError."""
    records = [JournalRecord.decode(raw) for raw in journal]
    assert [record.sequence for record in records] == list(range(1, len(records) + 1)), "the journal has gaps"
    for topic, chunk in inputs.items():
        cuts = [cut for record in records for cut in record.cuts if TOPICS[cut.topic] is topic]
        assert all(a.next == b.first for a, b in pairwise(cuts)), "records were left out, or taken twice"
        assert not len(chunk) or (cuts[0].first == 0 and cuts[-1].next > chunk.offsets[-1])
    assert [record.policy_hash for record in records] == versions_told(records, inputs)
    # Each change once and in order
    told: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for change in changes:
        told[change["account_id"]].append(change)
    for mine in told.values():
        assert [change["sequence"] for change in mine] == list(range(1, len(mine) + 1))
    # The oracle's fold
    rejected = rejects_of(records)
    folded = fold(records, inputs)
    assert policy_hash(folded.policy) == policy_hash(policy)
    for offset, verdict in folded.tombstones.items():
        assert (verdict == "line_open") == (rejected.get((Topic.PROFILE, offset)) == "invalid")
    assert_told(folded, told)
    for account_id, mine in told.items():  # after it was forgotten an account begins anew
        if account_id not in folded.forgotten:
            assert all(a["standing"]["limit_minor"] == b["previous"]["limit_minor"] for a, b in pairwise(mine))
    check_states(folded, redis)
    # The journal again from its inputs
    assert asyncio.run(_differing(records, journal, inputs, shard, partitions)) == []
    return {"records": sum(r.events for r in records), "accounts": len(redis), "changes": len(changes), "dead_letters": len(rejected)}


def assert_told(folded: Fold, told: Mapping[str, list[dict[str, Any]]]) -> None:
    """That each account's changes are those of the fold."""
    assert told.keys() <= folded.emitted.keys()
    for account_id, expected in folded.emitted.items():
        got = [
            (c["kind"], c["sequence"], c["standing"]["limit_minor"], c["standing"]["band"], c["score"], c["policy"]["hash"])
            for c in told.get(account_id, [])
        ]
        folds = [
            (e.kind, e.sequence, e.new.limit, folded.band_told(e.new.band, by), e.trace.score if e.trace else None, by)
            for e, by in expected
        ]
        differs = next((i for i, pair in enumerate(zip_longest(got, folds)) if pair[0] != pair[1]), None)
        assert differs is None, f"{account_id}, change {differs}: told {got[differs:][:2]}, the fold has {expected[differs:][:2]}"


def audit(
    policy: Policy,
    inputs: Mapping[int, Shard],
    journal: Mapping[int, list[bytes]],
    changes: Mapping[int, list[dict[str, Any]]],
    accounts: Callable[[int], Mapping[bytes, bytes]],
) -> Counter[str]:
    """``audit_shard`` of every shard, two at a time; what was counted in all. ``accounts`` gives what Redis holds of a shard."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(audit_shard, policy, inputs[p], journal[p], changes[p], accounts(p), p, len(journal)) for p in sorted(journal)]
        counts = sum((Counter(job.result()) for job in jobs), Counter[str]())
    print(dict(counts))
    return counts


def check_states(folded: Fold, redis: Mapping[bytes, bytes]) -> None:
    """That Redis holds the oracle's accounts."""
    accounts = {name: account for name, account in folded.accounts.items() if account.now is not None or account.sequence}
    assert {account_id.encode() for account_id in accounts} == set(redis)
    kernel = Kernel(folded.policy, [], folded.before)
    compiled = compile_policy(folded.policy, KEY)
    codec, blank = RowCodec(compiled.layout), blank_row(compiled.layout)
    for account_id, account in accounts.items():
        rows = blank.reshape(1, -1).copy()
        codec.decode(Packed.of([account_id.encode()]), Packed.of([redis[account_id.encode()]]), rows, np.zeros(1, np.int64))
        kernel.accounts, kernel.rows = [account_id], rows
        kernel.pass_time(account.now)
        if account.now is not None:
            account._move_clock(account.now)  # as well: the same moment once more lets go what a last record settled long after it was due
        held, wanted = kernel.state(account_id), oracle_state(account)
        differs = {name: (held.get(name), wanted.get(name)) for name in held.keys() | wanted if held.get(name) != wanted.get(name)}
        assert not differs, f"{account_id}, held and wanted: {differs}"


def changes_of(step: Step) -> list[Emission]:
    """The changes of a step, without the advisories."""
    return [emission for emission in step.emissions if emission.kind in get_args(Change)]


async def _differing(records: list[JournalRecord], journal: list[bytes], inputs: Shard, shard: int, partitions: int) -> list[int]:
    async def entries() -> AsyncIterator[tuple[JournalRecord, bytes, Shard]]:
        for record, raw in zip(records, journal, strict=True):
            yield record, raw, {TOPICS[cut.topic]: between(inputs[TOPICS[cut.topic]], cut.first, cut.next) for cut in record.cuts}

    machine = DecisionMachine("limits", shard, partitions, KEY, Room(2_000, 20_000))
    return [sequence async for sequence in differences(Replay(machine, MemoryStore()), entries())]


def between(chunk: Chunk, first: int, end: int) -> Chunk:
    """The records between two offsets."""
    low, high = (int(np.searchsorted(chunk.offsets, offset)) for offset in (first, end))
    part = chunk.slice(low, high)
    return part if part.headers and any(part.headers) else replace(part, headers=None)
