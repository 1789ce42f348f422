"""The same decisions without Kafka and Redis: a log of records through one machine, for ``limit-engine decide`` and for tests.

Records are taken in order of occurred_at (issued_at of commands and controls), which is also their record time; ties in the order of the
topics' ranks, then as they came. Their offset is their place in the log, counted from 1. Every day from the first record to the last is swept
at its very beginning, before the records of the day, as by a shard that had nothing else to do; ``until_ms`` lets time go by behind the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import MISSING, Topic
from engine.core.packed import Packed
from engine.policy.document import Policy
from engine.policy.promote import canonical_bytes, policy_hash, promote
from engine.state import keys
from engine.state.cache import Room
from engine.state.record import JournalRecord
from engine.state.states import States
from engine.stream.decode.columns import epoch_ms
from engine.stream.records import Batch, Chunk
from engine.stream.sweep import Sweep, day_begins, sweep_day
from engine.stream.turn import DecisionMachine
from schemas.common import parse_instant

BATCH_RECORDS: Final = 5_000
SWEPT_RECORDS: Final = 2_000
CACHE_ACCOUNTS: Final = 5_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of a log: ``offset`` is its place, ``at_ms`` its time, MISSING if its value tells none (it is taken last)."""

    topic: Topic
    offset: int
    at_ms: int
    key: bytes
    value: bytes | None


def log_record(topic: Topic, offset: int, value: bytes) -> LogRecord:
    """A record from its value; a value that cannot be read keeps its place and becomes a dead letter."""
    try:
        plain = json.loads(value)
        moment = parse_instant(plain.get("occurred_at", plain.get("issued_at")))
        return LogRecord(topic, offset, epoch_ms(moment), str(plain.get("account_id", "")).encode(), value)
    except (ValueError, AttributeError):
        return LogRecord(topic, offset, MISSING, b"", value)


def tombstone(offset: int, account: bytes, at_ms: int) -> LogRecord:
    """The wish to forget an account."""
    return LogRecord(Topic.PROFILE, offset, at_ms, account, None)


def in_time(record: LogRecord) -> tuple[bool, bool, int, Topic, int]:
    """Sorts records into the order in which they are taken; the activation is before everything."""
    return record.offset > 0, record.at_ms == MISSING, record.at_ms, record.topic, record.offset


def activation(policy: Policy) -> LogRecord:
    """The control record that puts a policy in force before everything else; a policy that was not promoted is promoted as a first version."""
    if any(measure.column is None for measure in policy.measures):
        policy = promote(policy, None, EPOCH)
    value = {
        "control_id": "offline",
        "issued_at": "1970-01-01T00:00:00Z",
        "issued_by": "offline",
        "kind": "activate",
        "policy": json.loads(canonical_bytes(policy)),
        "policy_hash": policy_hash(policy),
    }
    return LogRecord(Topic.CONTROL, 0, 0, b"", json.dumps(value).encode())


def decide(
    records: Iterable[LogRecord], key: FingerprintKey, application: str, cache_accounts: int = CACHE_ACCOUNTS, until_ms: int = MISSING
) -> Iterator[JournalRecord]:
    """What a single shard would have journaled of a log that begins with an activation, batch by batch and sweep by sweep. Raises ValueError if
    the activation is refused."""
    return decide_as_they_come(sorted(records, key=in_time), key, application, cache_accounts, until_ms)


def decide_as_they_come(
    records: Iterable[LogRecord], key: FingerprintKey, application: str, cache_accounts: int = CACHE_ACCOUNTS, until_ms: int = MISSING
) -> Iterator[JournalRecord]:
    """As ``decide``, of records in the order in which they are to be taken. No more of them are asked for than a batch and the one behind it, so
    that records may answer what was decided before."""
    machine = DecisionMachine(application, 0, 1, key, Room(cache_accounts, 0))
    states: dict[bytes, bytes | None] = {}
    tick_ms = MISSING
    for batch in batches(records, machine):
        for record in swept(machine, states, tick_ms, int(batch.clock_ms[0])):
            states.update(record.accounts)
            yield record
        prepared = machine.prepare(batch)
        if prepared.missing:
            machine.admit(Packed.of(map(states.get, prepared.missing.present())))
        tick_ms = max(tick_ms, batch.watermark_ms)
        record = machine.execute(prepared, tick_ms)
        states.update(record.accounts)
        if machine.policy is None:
            raise ValueError(f"the policy is not in force: {record.dead_letters[0].message}")
        yield record
    for record in swept(machine, states, tick_ms, until_ms):
        states.update(record.accounts)
        yield record


def swept(machine: DecisionMachine, states: Mapping[bytes, bytes | None], tick_ms: int, until_ms: int) -> Iterator[JournalRecord]:
    """The sweeps of the days that begin after ``tick_ms`` and not after ``until_ms``, and before them one that an activation has begun."""
    if machine.policy is None or tick_ms == MISSING:
        return
    policy = machine.policy.document
    days = range(sweep_day(policy, tick_ms) + 1, sweep_day(policy, until_ms) + 1)
    if not any(states.values()):  # the years between the activation and the first record, say
        days = days[-1:]
    for at_ms in (tick_ms, *(day_begins(policy, day) for day in days)):
        while (sweep := machine.sweep_at(at_ms)) is not None:
            held = {account: value for account, value in states.items() if value is not None}
            rest = sorted((keys.bucket_of(account), account) for account in held if is_ahead(sweep, account))
            taken = rest[:SWEPT_RECORDS]
            after = taken[-1][1] if len(rest) > len(taken) else b""
            buckets = taken[-1][0] - sweep.bucket if after else sweep.left
            yield machine.sweep(States.of((account, held[account]) for _, account in taken), buckets, after, at_ms)


def is_ahead(sweep: Sweep, account: bytes) -> bool:
    """Whether a sweep that began at bucket 0 has yet to come to an account."""
    return (keys.bucket_of(account), account) > (sweep.bucket, sweep.after)


def batches(records: Iterable[LogRecord], machine: DecisionMachine) -> Iterator[Batch]:
    """Sorted records as batches: each control record alone, the others by the thousand and of one day, as many accounts as the machine can
    take."""
    clock = MISSING
    held: list[LogRecord] = []
    accounts: set[bytes] = set()
    for record in records:
        is_full = len(held) == BATCH_RECORDS or len(accounts) >= machine.accounts_per_batch
        if held and (is_full or Topic.CONTROL in (record.topic, held[-1].topic) or is_new_day(machine, held[-1], record)):
            yield _batch(held, clock)
            clock = max(clock, held[-1].at_ms)
            held, accounts = [], set()
        held.append(record)
        accounts.add(record.key)
    if held:
        yield _batch(held, clock)


def is_new_day(machine: DecisionMachine, before: LogRecord, record: LogRecord) -> bool:
    """Whether a day's sweep is due between two records."""
    if machine.policy is None or record.at_ms == MISSING:
        return False
    policy = machine.policy.document
    return sweep_day(policy, record.at_ms) > sweep_day(policy, before.at_ms)


def _batch(records: list[LogRecord], clock_ms: int) -> Batch:
    chunks, cuts, index = {}, {}, np.zeros(len(records), np.int64)
    ranks = np.array([record.topic for record in records], np.int64)
    for topic in sorted({record.topic for record in records}):
        mine = [record for record in records if record.topic is topic]
        times = [clock_ms if record.at_ms == MISSING else record.at_ms for record in mine]
        chunks[topic] = Chunk.of(topic, [r.offset for r in mine], times, [r.key for r in mine], [r.value for r in mine], None)
        cuts[topic] = (mine[0].offset, mine[-1].offset + 1, times[-1])
        index[ranks == topic] = np.arange(len(mine))
    clocks = np.maximum.accumulate(np.maximum(np.array([record.at_ms for record in records], np.int64), clock_ms))
    return Batch(chunks, ranks, index, clocks, cuts, int(clocks[-1]), caught_up=True)
