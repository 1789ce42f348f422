"""The lender's appetite contracts: a sweep brings the quiet accounts at its pace, each once, also when a worker is killed in the middle of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from engine.policy.document import Policy
from engine.policy.source import parse_policy
from engine.state import keys
from engine.state.record import JournalRecord
from engine.stream.sweep import Sweep
from schemas.topics import JOURNAL
from tests.cli.program import say
from tests.e2e.audit import audit
from tests.e2e.conftest import deployed
from tests.e2e.deployment import Deployment
from tests.e2e.publisher import GOOD

PARTITIONS: Final = 3
QUIET: Final = 3_600
BUSY: Final = 20  # accounts that have records meanwhile
PACE: Final = 60.0  # accounts a second of each shard: some twenty seconds
LARGE: Final = 250_000  # a purchase that gives an account its limit
POLICY: Final = """
policy: shrinking
version: 1
currency: CNY
utc_offset_minutes: 480
needs_profile: false
measures:
  - {name: spent, event: purchase, kind: sum}
features:
  - {name: spent_14d, kind: total, measure: spent, window_days: 14}
segments:
  - name: individual
    base_points: 100
    scorecard:
      - {feature: spent_14d, bins: [{points: 0}, {at_least: 200_000, points: 20}], missing: 0}
    bands:
      - {name: none, limit_minor: 0}
      - {name: starter, lower: 110, limit_minor: 100_000}
    limits: {product_cap_minor: 100_000, legal_cap_minor: 20_000_000, round_to_minor: 10_000}
    appetite: {contraction: [{band: starter, percent: 50}]}
    cool_down: {up_days: 0, down_days: 0}
    initial_standing: {limit_minor: 0, band: none}
"""


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Deployment]:
    yield from deployed(tmp_path, PARTITIONS)


@dataclass(frozen=True)
class Slice:
    """A slice by its journal record: when it was committed by the worker's clock, in seconds, its accounts, and how far the sweep was then."""

    at: float
    accounts: int
    sweep: Sweep


class Purchases:
    """A producer of purchases, now."""

    def __init__(self, deployment: Deployment) -> None:
        self._producer = Producer({"bootstrap.servers": deployment.kafka.address, "partitioner": "murmur2_random"})
        self._serial = 0

    def of(self, accounts: list[str], amount_minor: int) -> None:
        """One of each account."""
        for account in accounts:
            self._serial += 1
            value = GOOD["purchases"] | {
                "event_id": f"p-{self._serial}",
                "account_id": account,
                "occurred_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "amount_minor": amount_minor,
                "currency": "CNY",
            }
            self._producer.produce("purchases", json.dumps(value).encode(), account.encode())
        assert self._producer.flush(30) == 0


def policy_of_today() -> Policy:
    """The policy in a time zone where it is about noon: no day ends during the test."""
    text = POLICY.replace("utc_offset_minutes: 480", f"utc_offset_minutes: {(12 - datetime.now(UTC).hour) * 60}")
    return parse_policy(text.encode(), "shrinking")


def slices(d: Deployment, cause: str) -> dict[int, list[Slice]]:
    """The slices of a cause's sweep, by shard."""
    found: dict[int, list[Slice]] = {}
    for shard, messages in d.read(JOURNAL.name).items():
        records = [(message.timestamp()[1] / 1000, JournalRecord.decode(message.value())) for message in messages]
        told = [(at, dict(r.counts)["swept"], Sweep.decode(dict(r.fields)[keys.SWEEP])) for at, r in records if not r.cuts]
        found[shard] = [Slice(*each) for each in told if each[2].cause == cause]
    return found


def status(d: Deployment) -> list[dict[str, Any]]:
    """What ``appetite status`` says of each shard."""
    told = say("appetite", "status", "--redis", d.redis.url, "--application", d.application, "--json")
    return list(json.loads(told.stdout)["shards"])


def follow(d: Deployment, purchases: Purchases, until: int) -> list[list[int]]:
    """How far the shards said they were, time after time until each was so far; meanwhile accounts have records."""
    told: list[list[int]] = []

    def is_there() -> bool:
        purchases.of([f"busy-{n}" for n in range(BUSY)], 100)
        shards = status(d)
        told.append([shard["buckets_followed"] for shard in shards])
        return all(shard["sweep"]["buckets_swept"] >= until for shard in shards)

    d.wait(is_there, f"{until} buckets are swept", 60)
    return told


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_contraction_comes_to_the_quiet_accounts_at_its_pace(three: Deployment) -> None:
    d = three
    d.settings = {"LIMITS_CLOCK": "wall", "LIMITS_KAFKA__SESSION_TIMEOUT_S": "6", "LIMITS_SHARD__SWEEP_PER_SECOND": str(PACE)}
    policy = d.promote(policy_of_today(), round(datetime.now(UTC).timestamp() * 1000))
    d.start_worker()
    d.wait(lambda: d.taken() >= PARTITIONS, "the policy is in force everywhere", 180)
    purchases = Purchases(d)
    purchases.of([f"{kind}-{n}" for kind, count in (("quiet", QUIET), ("busy", BUSY)) for n in range(count)], LARGE)
    d.wait(d.is_all_taken, "everything is taken", 60)

    words = ["individual", "contraction", "--expected-decreases", str(QUIET), "--reason", "a downturn", "--issued-by", "committee"]
    set_by = d.command("appetite", "set", *words, "--approved-by", "board", "--json")
    assert set_by.returncode == 0, set_by.stderr
    cause = json.loads(set_by.stdout)["control_id"]
    d.wait(lambda: all(s["appetites"] and s["sweep"]["cause"] == cause for s in status(d)), "every shard has switched", 30)

    told = follow(d, purchases, keys.BUCKETS * 2 // 5)
    d.workers[0].kill()
    killed_at = datetime.now(UTC).timestamp()
    killed = slices(d, cause)
    assert all(mine[-1].sweep.left for mine in killed.values()), "killed in the middle of it"
    print(d.command("appetite", "status").stdout)
    d.start_worker()
    told += follow(d, purchases, keys.BUCKETS)
    d.wait(d.is_all_taken, "everything is taken", 60)

    # Progress was shown, and ended where all are
    for shard in range(PARTITIONS):
        shown = [each[shard] for each in told]
        assert shown == sorted(shown)
        assert len(set(shown)) > 10
        assert shown[-1] == keys.BUCKETS

    # Each account once, and at the pace
    found = slices(d, cause)
    for shard, mine in found.items():
        check_once(mine, len(d.accounts(shard)))
        assert mine[: len(killed[shard])] == killed[shard]
    parts = {shard: [pace_of([s for s in mine if (s.at < killed_at) is early]) for early in (True, False)] for shard, mine in found.items()}
    print({"accounts and seconds before and behind the kill": parts})
    for before, behind in parts.values():
        accounts, seconds = before[0] + behind[0], before[1] + behind[1]
        assert seconds > 10
        assert 0.9 * PACE < accounts / seconds < 1.05 * PACE

    # What it was for, once each; and all the rest
    inputs, journal, changes = d.inputs(), d.journal(), d.changes()
    check_decreases([change for mine in changes.values() for change in mine], cause)
    counts = audit(policy, inputs, journal, changes, d.accounts)
    assert counts["accounts"] == QUIET + BUSY
    assert counts["dead_letters"] == 0


def check_once(mine: list[Slice], accounts: int) -> None:
    """That the slices go through all buckets from one to the next, and have each account once."""
    places = [(keys.BUCKETS - s.sweep.left, s.sweep.after) for s in mine]
    assert all(a < b for a, b in pairwise(places))
    assert mine[-1].sweep.left == 0
    assert sum(s.accounts for s in mine) == accounts


def pace_of(mine: list[Slice]) -> tuple[int, float]:
    """How many accounts were swept in how many seconds: the first slice's were due before."""
    return sum(s.accounts for s in mine[1:]), mine[-1].at - mine[0].at


def check_decreases(changes: list[dict[str, Any]], cause: str) -> None:
    """That every quiet account was halved by the sweep, and nothing was ever said of it but that and its first limit."""
    said: dict[str, list[tuple[str, int, str | None]]] = {}
    for change in changes:
        by = change["cause"]["id"] if change["cause"]["kind"] == "control" else None
        said.setdefault(change["account_id"], []).append((change["kind"], change["standing"]["limit_minor"], by))
    quiet = {account: mine for account, mine in said.items() if account.startswith("quiet-")}
    assert len(quiet) == QUIET
    assert {tuple(mine) for mine in quiet.values()} == {(("increase", 100_000, None), ("decrease", 50_000, cause))}
