"""A closed account is forgotten by command on a deployment at work: in Redis, after Redis was lost, and in its next life."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
import redis

from engine.policy.promote import promote
from engine.policy.source import load_policy
from engine.state import keys
from engine.state.codec import forgotten_sequence
from schemas import dead_letters as names
from tests.e2e.audit import audit_shard
from tests.e2e.deployment import ROOT, Deployment
from tests.e2e.publisher import Publisher


def held(d: Deployment, publisher: Publisher) -> bytes | None:
    """What Redis holds of a publisher's account."""
    return d.accounts(publisher.partition).get(publisher.account.encode())


def publish_status(publisher: Publisher, status: str) -> None:
    """Hand the account's profile over."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    fields = {"event_id": f"{publisher.account}-{status}-{now}", "account_id": publisher.account, "occurred_at": now, "as_of": now}
    profile = fields | {"segment": "individual", "status": status, "currency": "CNY"}
    publisher.publish("account-profiles", json.dumps(profile).encode(), publisher.account.encode())


@pytest.mark.timeout(400)
def test_a_closed_account_is_forgotten(deployment: Deployment) -> None:
    d = deployment
    policy, start_ms = load_policy(ROOT / "policies" / "minimal.yaml"), int(time.time() * 1000)
    d.promote(policy, start_ms)
    d.start_worker()
    d.wait(lambda: d.taken() >= d.partitions, "the policy is in force everywhere", 180)
    one, two = Publisher(d, "account-1"), Publisher(d, "account-2")

    def taken(*publishers: Publisher) -> None:
        for publisher in publishers:
            publisher.flush()
        d.wait(d.is_all_taken, "everything is taken", 60)

    for publisher in (one, one, one, two):
        publisher.publish_good()
    taken(one, two)

    # Refused: unknown, open by command, open by a tombstone
    unknown = d.command("account", "forget", "account-9", "--yes")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    refused = d.command("account", "forget", "account-1", "--yes")
    assert refused.returncode == 1
    assert "account-1: its line is open (limit 100000 CNY minor): close it first" in refused.stderr
    one.publish("account-profiles", None, b"account-1")
    taken(one)
    (letter,) = d.dead_letters()
    told = {name: value.decode() for name, value in letter.headers()}
    assert (letter.key(), letter.value(), told[names.DISPOSITION], told[names.TOPIC]) == (b"account-1", None, "invalid", "account-profiles")
    assert "close it first" in told[names.MESSAGE]
    assert d.inspected("account-1")["events_accepted"] == 3

    # Closed, then forgotten
    publish_status(one, "closed")
    taken(one)
    done = d.command("account", "forget", "account-1", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    assert (plain["removed"], plain["sequence"]) == ({"standing": "closed", "events_accepted": 4}, 2)
    assert {"limit-changes", "limit-journal", "purchases", "account-profiles"} <= plain["stays"].keys()
    assert forgotten_sequence(held(d, one) or b"") == 2
    shown = d.command("account", "show", "account-1")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "account-1: was forgotten" in shown.stderr
    again = d.command("account", "forget", "account-1", "--yes")
    assert again.returncode == 1
    assert "there is nothing to remove" in again.stderr

    # Redis is lost: what the journal tells again is forgotten again
    with redis.Redis.from_url(d.redis.url) as client:
        client.flushall()
    d.wait(lambda: keys.SEQUENCE in d.fields(one.partition) and d.is_all_taken(), "Redis is brought up again", 60)
    assert forgotten_sequence(held(d, one) or b"") == 2

    # Another life of the id goes on counting
    for _ in range(3):
        one.publish_good()
    taken(one)
    assert d.inspected("account-1")["events_accepted"] == 3
    changes = [(change["kind"], change["sequence"]) for change in d.changes()[one.partition] if change["account_id"] == "account-1"]
    assert changes == [("increase", 1), ("close", 2), ("increase", 3)]

    # No worker: it is said, and done once there is one
    publish_status(two, "closed")
    taken(two)
    d.workers[0].stop(20)
    waited = d.command("account", "forget", "account-2", "--yes", "--wait", "1")
    assert waited.returncode == 2
    assert "was not taken within 1 s" in waited.stderr
    d.start_worker()
    d.wait(d.is_all_taken, "the tombstone is taken", 60)
    assert forgotten_sequence(held(d, two) or b"") == 1

    d.run_consumer_to_the_end()
    assert d.consumed()["account-1"]["sequence"] == 3
    promoted = promote(policy, None, datetime.fromtimestamp(start_ms / 1000, UTC))
    inputs, journal, announced = d.inputs(), d.journal(), d.changes()
    counts: Counter[str] = Counter()
    for p in range(d.partitions):
        counts.update(audit_shard(promoted, inputs[p], journal[p], announced[p], d.accounts(p), p, d.partitions))
    assert (counts["dead_letters"], counts["changes"]) == (1, 4)
    assert d.command("doctor", "--quiet").returncode == 0
