"""A shard whose topics are not those that its state was made from stops, by name and with its cure; it announces nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

from engine.policy.source import load_policy
from engine.stream import topics
from schemas.topics import JOURNAL
from tests.e2e.conftest import deployed
from tests.e2e.deployment import ROOT, Deployment
from tests.e2e.publisher import Publisher


@pytest.fixture
def worked(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of one shard that has decided for one account and is stopped."""
    deployments = deployed(tmp_path, 1)
    d = next(deployments)
    d.promote(load_policy(ROOT / "policies" / "minimal.yaml"), int(time.time() * 1000))
    d.start_worker()
    publish(d, 3)
    d.wait(lambda: len(d.changes()[0]) == 1, "it decides", 120)
    d.wait(d.is_all_taken, "everything is taken", 30)
    d.stop()
    yield d
    next(deployments, None)


@pytest.fixture
def admin(worked: Deployment) -> Iterator[KafkaAdminClient]:
    client = topics.connect(worked.kafka.settings)
    yield client
    client.close()


def publish(d: Deployment, count: int, account: str = "account-1") -> None:
    publisher = Publisher(d, account)
    for _ in range(count):
        publisher.publish_good()
    publisher.flush()


def stop_of_new_worker(d: Deployment) -> dict[str, str]:
    """What the shard of one more worker says when it stops."""
    number = len(d.workers)
    d.start_worker()
    d.wait(lambda: '"event": "stopped"' in d.log_of(number), "the shard has stopped", 60)
    (told,) = [line for line in map(json.loads, d.log_of(number).splitlines()) if line["event"] == "stopped"]
    return dict(told)


def test_a_topic_that_was_made_anew(worked: Deployment, admin: KafkaAdminClient) -> None:
    admin.delete_topics(["purchases"])
    worked.wait(lambda: "purchases" not in admin.list_topics(), "the topic is gone", 30)
    worked.create_topics()
    publish(worked, 5)
    told = stop_of_new_worker(worked)
    assert "purchases is another topic" in told["reason"]
    assert "begin anew" in told["cure"]
    assert len(worked.changes()[0]) == 1


def test_records_that_were_deleted_before_they_were_read(worked: Deployment, admin: KafkaAdminClient) -> None:
    publish(worked, 4)
    admin.delete_records({TopicPartition("purchases", 0): 6})
    publish(worked, 4, "account-2")
    told = stop_of_new_worker(worked)
    assert "purchases does not have offset 3" in told["reason"]
    assert "begin anew" in told["cure"]
    # The cure works: a new journal and an empty Redis begin where the inputs do.
    worked.stop()
    admin.delete_topics([JOURNAL.name])
    worked.wait(lambda: JOURNAL.name not in admin.list_topics(), "the journal is gone", 30)
    worked.create_topics()
    with redis.Redis.from_url(worked.redis.url) as client:
        client.flushall()
    worked.start_worker()
    worked.wait(lambda: len(worked.changes()[0]) == 2, "it decides again", 60)
    assert worked.inspected("account-2")["events_accepted"] == 4
    assert worked.inspected("account-1")["events_accepted"] == 1


def test_another_application_on_the_same_topics(worked: Deployment) -> None:
    worked.application = "others"
    told = stop_of_new_worker(worked)
    assert "the journal is application 'limits'" in told["reason"]
    assert "LIMITS_APPLICATION=limits" in told["cure"]
    assert len(worked.changes()[0]) == 1
