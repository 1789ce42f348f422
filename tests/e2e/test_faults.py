"""Three workers, two of them killed, one stopped for ten seconds, and Redis put back to an older copy, while events flow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.policy.promote import promote
from engine.policy.source import load_policy
from scripts.personas import midnight_before
from scripts.spoil import LATE_DAYS
from tests.e2e.audit import audit
from tests.e2e.conftest import deployed
from tests.e2e.deployment import ROOT, Deployment

EVENTS = 40_000
ACCOUNTS = 150
DAYS = 200
PARTITIONS = 12
RATE = 1_500


@pytest.fixture
def twelve(tmp_path: Path) -> Iterator[Deployment]:
    yield from deployed(tmp_path, PARTITIONS)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_is_lost_and_nothing_is_done_twice(twelve: Deployment) -> None:
    d = twelve
    d.settings = {"LIMITS_KAFKA__SESSION_TIMEOUT_S": "6", "LIMITS_SHARD__BATCH_RECORDS": "500", "LIMITS_SHARD__CACHE_ACCOUNTS": "8"}
    start_ms = midnight_before(datetime.now(UTC), DAYS + LATE_DAYS)
    policy = load_policy(ROOT / "policies" / "default.yaml", datetime.now(UTC))
    d.promote(policy, start_ms)
    for _ in range(3):
        d.start_worker()
    d.wait(lambda: d.taken() >= PARTITIONS, "the policy is in force everywhere", 180)
    options = {"--kafka": d.kafka.address, "--accounts": ACCOUNTS, "--days": DAYS, "--rate": RATE, "--start-ms": start_ms, "--seed": 7}
    traffic = d.run("-m", "scripts.traffic", *(str(word) for pair in options.items() for word in pair), log="traffic.log")

    consumer = d.start_consumer()

    def until(share: float) -> None:
        nonlocal consumer
        d.wait(lambda: d.taken() >= share * EVENTS, f"{share:.0%} taken", 180)
        consumer.kill()
        consumer = d.start_consumer()

    until(0.10)
    d.workers[0].kill()
    d.start_worker()
    until(0.30)
    d.redis.copy_to(d.directory / "older")
    until(0.40)
    d.redis.come_back_with(d.directory / "older")
    until(0.50)
    d.workers[1].pause()
    assert not d.workers[2].ends_within(10), "the others go on meanwhile"
    d.workers[1].resume()
    until(0.70)
    d.workers[2].kill()
    d.start_worker()
    d.wait(lambda: not traffic.is_running(), "all events are sent", 300)
    d.wait(d.is_all_taken, "everything is taken", 180)

    consumer.kill()
    d.run_consumer_to_the_end()

    inputs, journal, changes = d.inputs(), d.journal(), d.changes()
    promoted = promote(policy, None, datetime.fromtimestamp(start_ms / 1000, UTC))
    counts = audit(promoted, inputs, journal, changes, d.accounts)
    assert counts["records"] >= EVENTS
    assert counts["dead_letters"] == len(d.dead_letters()) > 50
    assert counts["changes"] > 2 * ACCOUNTS
    # The reference consumer, killed and started again all the while, holds what was announced last of every account.
    newest = {change["account_id"]: {**change["standing"], "sequence": change["sequence"]} for mine in changes.values() for change in mine}
    assert d.consumed() == newest
