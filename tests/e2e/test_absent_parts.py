"""What the engine needs is not there, not right, or goes away: it refuses or waits, says what and why, and goes on by itself; nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
import redis
from kafka.admin import NewTopic

from engine.policy.promote import promote
from engine.policy.source import load_policy
from engine.stream import topics
from tests.e2e.audit import audit_shard
from tests.e2e.conftest import deployed
from tests.e2e.deployment import ROOT, Deployment
from tests.e2e.publisher import Publisher


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Deployment]:
    """A Kafka without topics, and a Redis."""
    yield from deployed(tmp_path, 2, with_topics=False)


def refusal(d: Deployment) -> str:
    """What a worker says that refuses to start."""
    done = d.command("run")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_refuses_what_is_not_right_and_waits_for_what_is_not_there(bare: Deployment) -> None:
    d = bare
    said = refusal(d)
    assert "purchases" in said
    assert "not there" in said
    assert "limit-engine topics create" in said

    admin = topics.connect(d.kafka.settings)
    admin.create_topics([NewTopic("purchases", 3, 1)])
    d.create_topics()
    said = refusal(d)
    assert "unequal partition counts" in said
    assert "purchases 3" in said
    admin.delete_topics(["purchases"])
    d.wait(lambda: "purchases" not in admin.list_topics(), "the odd topic is gone", 30)
    d.create_topics()
    admin.close()

    with redis.Redis.from_url(d.redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        said = refusal(d)
        assert "allkeys-lru" in said
        assert "CONFIG SET maxmemory-policy noeviction" in said
        client.config_set("maxmemory-policy", "noeviction")

    d.kafka.stop()
    d.redis.stop()
    worker = d.start_worker()
    d.wait(lambda: "waiting for Kafka" in d.log_of(0), "it says that it waits for Kafka", 60)
    d.kafka.start()
    d.wait(lambda: "waiting for Redis" in d.log_of(0), "it says that it waits for Redis", 60)
    d.redis.start()
    d.wait(lambda: d.log_of(0).count("limit-engine policy promote") == d.partitions, "it says that it waits for a policy", 120)
    assert worker.is_running()
    policy = d.command("policy", "promote", "policies/minimal.yaml")
    assert policy.returncode == 0, policy.stderr
    publisher = Publisher(d, "account-1")
    for _ in range(3):
        publisher.publish_good()
    publisher.flush()
    d.wait(lambda: len(d.changes()[publisher.partition]) == 1, "it decides", 60)


@pytest.mark.slow
def test_kafka_and_redis_may_go_away_for_a_while(deployment: Deployment) -> None:
    d = deployment
    policy, moment = load_policy(ROOT / "policies" / "minimal.yaml"), datetime.now(UTC)
    d.promote(policy, int(moment.timestamp() * 1000))
    d.start_worker()
    d.wait(lambda: d.taken() >= d.partitions, "the policy is in force everywhere", 180)
    publishers = [Publisher(d, f"account-{n}") for n in range(40)]
    is_over = threading.Event()
    sent = 0

    def publish() -> None:
        nonlocal sent
        while not is_over.wait(0.01):
            publishers[sent % len(publishers)].publish_good()
            sent += 1

    thread = threading.Thread(target=publish)
    thread.start()
    try:

        def goes_on(what: str) -> None:
            before = d.taken()
            d.wait(lambda: d.taken() > before + 100, f"it goes on {what}", 120)

        goes_on("at first")
        d.redis.pause()
        d.wait(lambda: d.log_of(0).count('"reason": "Redis: ') >= 1, "it says that Redis is silent", 30)
        d.redis.resume()
        goes_on("when Redis answers again")
        d.redis.kill()
        d.wait(lambda: d.log_of(0).count('"reason": "Redis: ') > d.partitions, "it says that Redis is away", 30)
        d.redis.start()
        goes_on("when Redis is back")
        d.kafka.kill()
        d.wait(lambda: "waiting for Kafka" in d.log_of(0), "it says that Kafka is away", 60)
        d.kafka.start()
        goes_on("when Kafka is back")
    finally:
        is_over.set()
        thread.join()
    for publisher in publishers:
        publisher.flush()
    d.wait(d.is_all_taken, "everything is taken", 60)
    assert d.workers[0].is_running()
    inputs, journal, changes = d.inputs(), d.journal(), d.changes()
    promoted = promote(policy, None, moment.replace(microsecond=moment.microsecond // 1000 * 1000))
    counts = [audit_shard(promoted, inputs[p], journal[p], changes[p], d.accounts(p), p, d.partitions) for p in range(d.partitions)]
    assert sum(count["records"] for count in counts) == sent + d.partitions
    assert sum(count["changes"] for count in counts) == len(publishers)
    assert "Traceback" not in d.log_of(0)


SLOW_TO_START: Final = """
import sys
import time
from pathlib import Path
from typing import Final
from engine import app
from engine.settings import load_settings
begun, goes_on = map(Path, sys.argv[1:])

def compile_slowly():
    begun.touch()
    while not goes_on.exists():
        time.sleep(0.05)

app.warm_up = compile_slowly
sys.exit(app.run_worker(load_settings()))
"""


def test_kafka_may_go_away_while_a_worker_starts(bare: Deployment) -> None:
    d = bare
    d.create_topics()
    begun, goes_on = d.directory / "begun", d.directory / "goes-on"
    worker = d.run("-c", SLOW_TO_START, str(begun), str(goes_on), log="slow.log")
    d.wait(begun.exists, "it has seen Kafka, and compiles", 60)
    d.kafka.stop()
    goes_on.touch()
    log = d.directory / "slow.log"
    d.wait(lambda: "gone away since the worker began to start" in log.read_text(), "it says that it waits", 60)
    d.kafka.start()
    d.wait(lambda: log.read_text().count("limit-engine policy promote") == d.partitions, "it has joined", 60)
    assert "Traceback" not in log.read_text()
    worker.stop(20)
