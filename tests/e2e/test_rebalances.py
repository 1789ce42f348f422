"""Workers join and leave while events flow: every shard finds its next owner, and the audit finds nothing wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.local.process import ServerProcess
from engine.policy.document import Policy
from engine.policy.promote import promote
from engine.policy.source import load_policy
from engine.state import keys
from scripts.personas import midnight_before
from scripts.spoil import LATE_DAYS
from tests.e2e.audit import audit
from tests.e2e.conftest import deployed
from tests.e2e.deployment import ROOT, Deployment

PARTITIONS = 4
ACCOUNTS = 100
DAYS = 250
RATE = 800


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Deployment]:
    yield from deployed(tmp_path, PARTITIONS)


def started(d: Deployment) -> tuple[Policy, int, ServerProcess]:
    """The policy that is in force, from when on, and traffic for a worker."""
    d.settings = {"LIMITS_KAFKA__SESSION_TIMEOUT_S": "6", "LIMITS_SHARD__BATCH_RECORDS": "50"}
    start_ms = midnight_before(datetime.now(UTC), DAYS + LATE_DAYS)
    policy = load_policy(ROOT / "policies" / "minimal.yaml")
    d.promote(policy, start_ms)
    d.start_worker()
    d.wait(lambda: d.taken() >= PARTITIONS, "the policy is in force everywhere", 180)
    options = {"--kafka": d.kafka.address, "--accounts": ACCOUNTS, "--days": DAYS, "--rate": RATE, "--start-ms": start_ms, "--seed": 3}
    return policy, start_ms, d.run("-m", "scripts.traffic", *(str(word) for pair in options.items() for word in pair), log="traffic.log")


@pytest.mark.slow
def test_from_one_worker_to_five_and_back(four: Deployment) -> None:
    d = four
    policy, start_ms, traffic = started(d)

    def goes_on() -> None:
        before = d.taken()
        d.wait(lambda: d.taken() > before + RATE, "it goes on", 60)

    goes_on()
    # One joins at a time; the fifth finds no shard left and stands by.
    for number in range(1, 5):
        d.start_worker()
        d.wait(lambda number=number: '"event": "assigned"' in d.log_of(number), f"worker {number} is in the group", 60)  # type: ignore[misc]
        goes_on()
    assert sorted(len(d.shards_of(number)) for number in range(5)) == [0, 1, 1, 1, 1]
    # They leave, in good order and otherwise; who is left takes over.
    for number, worker in enumerate(d.workers[:4]):
        if number % 2:
            worker.kill()
        else:
            worker.stop(20)
            assert '"level": "error"' not in d.log_of(number)
        goes_on()
    d.wait(lambda: d.shards_of(4) == list(range(PARTITIONS)), "the last one has every shard", 30)
    d.wait(lambda: not traffic.is_running(), "all events are sent", 120)
    d.wait(d.is_all_taken, "everything is taken", 60)

    inputs, journal, changes = d.inputs(), d.journal(), d.changes()
    promoted = promote(policy, None, datetime.fromtimestamp(start_ms / 1000, UTC))
    counts = audit(promoted, inputs, journal, changes, d.accounts)
    assert counts["records"] > 20 * RATE
    assert counts["dead_letters"] == len(d.dead_letters())


@pytest.mark.slow
def test_who_leaves_in_good_order_leaves_nothing_to_be_applied(four: Deployment) -> None:
    d = four
    _, _, traffic = started(d)
    for life in range(5):
        if life:
            d.start_worker()
        before = d.taken()
        d.wait(lambda before=before: d.taken() > before + RATE, "it goes on", 60)  # type: ignore[misc]
        d.workers[-1].stop(20)
        assert traffic.is_running()
        applied = {shard: int(d.fields(shard)[keys.SEQUENCE]) for shard in range(PARTITIONS)}
        assert applied == {shard: len(records) for shard, records in d.journal().items()}
