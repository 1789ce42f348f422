"""A shard that must not go on stops, by name and with its cure; it announces nothing, and the others go on."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions

from engine.local.kafka import KafkaBroker
from engine.policy.source import load_policy
from engine.state import keys
from engine.stream import topics
from engine.stream.decode.misrouting import partition_of
from schemas.topics import ADVISORIES, CHANGES, DEAD_LETTERS, JOURNAL
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


def lose(d: Deployment, admin: KafkaAdminClient, *names: str) -> None:
    """Delete topics and make them anew."""
    admin.delete_topics(names)
    d.wait(lambda: not {*names} & {*admin.list_topics()}, f"gone: {names}", 30)
    d.create_topics()


def stop_of_new_worker(d: Deployment) -> dict[str, str]:
    """What the shard of one more worker says when it stops."""
    number = len(d.workers)
    d.start_worker()
    d.wait(lambda: '"event": "stopped"' in d.log_of(number), "the shard has stopped", 60)
    (told,) = [line for line in map(json.loads, d.log_of(number).splitlines()) if line["event"] == "stopped"]
    return dict(told)


def test_a_topic_that_was_made_anew(worked: Deployment, admin: KafkaAdminClient) -> None:
    lose(worked, admin, "purchases")
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
    # The cure works: with a new journal, an empty Redis and nothing announced it begins where the inputs do.
    worked.stop()
    lose(worked, admin, JOURNAL.name)
    with redis.Redis.from_url(worked.redis.url) as client:
        client.flushall()
    told = stop_of_new_worker(worked)
    assert "1 outputs were announced, of which Redis counts 0" in told["reason"]
    assert "`limit-engine rebuild`" in told["cure"]
    worked.stop()
    lose(worked, admin, CHANGES.name, ADVISORIES.name)
    worked.start_worker()
    worked.wait(lambda: len(worked.changes()[0]) == 1, "it decides again", 60)
    assert worked.inspected("account-2")["events_accepted"] == 4
    assert worked.inspected("account-1")["events_accepted"] == 1


def test_another_application_on_the_same_topics(worked: Deployment) -> None:
    worked.application = "others"
    told = stop_of_new_worker(worked)
    assert "the journal is application 'limits'" in told["reason"]
    assert "LIMITS_APPLICATION=limits" in told["cure"]
    assert len(worked.changes()[0]) == 1


@dataclass
class Running:
    """A deployment whose worker has decided for one account in each shard."""

    d: Deployment
    redis: redis.Redis
    accounts: list[str]

    def start(self) -> None:
        self.d.start_worker()
        newest = len(self.d.workers) - 1
        self.d.wait(lambda: '"assigned"' in self.d.log_of(newest), "the shards are assigned", 60)

    def stopped(self) -> dict[int, dict[str, Any]]:
        """What the stopped shards of the newest worker say, by shard."""
        lines = map(json.loads, self.d.log_of(len(self.d.workers) - 1).splitlines())
        return {line["shard"]: line for line in lines if line["event"] == "stopped"}

    def sequences(self) -> list[int]:
        return [int(self.d.fields(shard).get(keys.SEQUENCE, 0)) for shard in range(self.d.partitions)]

    def publish(self) -> None:
        for account in self.accounts:
            publish(self.d, 1, account)

    def expect(self, stops: dict[int, tuple[str, str]]) -> None:
        """These shards of the newest worker stop, each for its reason and with its cure, and announce nothing; the others go on."""
        asked = time.monotonic()
        self.d.wait(lambda: self.stopped().keys() == stops.keys(), f"stopped: {stops}", 30)
        print(f"{sorted({reason for reason, _ in stops.values()})}: after {time.monotonic() - asked:.1f} s")
        for shard, (reason, cure) in stops.items():
            told = self.stopped()[shard]
            assert (shard, reason in told["reason"], cure in told["cure"]) == (shard, True, True), told
        before, journal = self.sequences(), self.d.journal()
        self.publish()
        others = set(range(self.d.partitions)) - stops.keys()
        self.d.wait(lambda: all(self.sequences()[shard] > before[shard] for shard in others), "the others go on", 30)
        for shard in stops:
            assert self.d.journal()[shard] == journal[shard]

    def goes_on(self) -> None:
        """A new worker takes what has come meanwhile."""
        self.d.stop()
        self.start()
        self.d.wait(self.d.is_all_taken, "everything is taken", 60)
        assert not self.stopped()


def running(directory: Path, partitions: int) -> Iterator[Running]:
    """Start, give, end."""
    deployments = deployed(directory, partitions)
    d = next(deployments)
    d.promote(load_policy(ROOT / "policies" / "minimal.yaml"), int(time.time() * 1000))
    by_shard = {partition_of(f"account-{n}".encode(), partitions): f"account-{n}" for n in range(20 * partitions)}
    with redis.Redis.from_url(d.redis.url) as client:
        found = Running(d, client, [by_shard[shard] for shard in range(partitions)])
        found.publish()
        found.start()
        d.wait(d.is_all_taken, "everything is taken", 120)
        yield found
    next(deployments, None)


@pytest.fixture
def eight(tmp_path: Path) -> Iterator[Running]:
    yield from running(tmp_path, 8)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Running]:
    yield from running(tmp_path, 2)


def test_what_redis_says_is_looked_at(eight: Running) -> None:
    d = eight.d
    eight.redis.config_set("maxmemory-policy", "volatile-lru")
    eight.expect(dict.fromkeys(range(8), ("maxmemory-policy is volatile-lru", "noeviction")))
    eight.redis.config_set("maxmemory-policy", "noeviction")
    eight.goes_on()

    # Without room it is waited for, and nothing is lost.
    eight.redis.config_set("maxmemory", "1mb")
    eight.publish()
    d.wait(lambda: "used memory > 'maxmemory'" in d.log_of(len(d.workers) - 1), "it says that Redis has no room", 30)
    assert not d.is_all_taken()
    eight.redis.config_set("maxmemory", "0")
    d.wait(d.is_all_taken, "everything is taken", 30)

    d.stop()
    spoiled = [
        (keys.FORMAT, b"9", "its state has format 9", "newer engine"),
        (keys.topic_id("purchases"), b"another", "purchases is another topic", "belong together"),
        (keys.topic_id(JOURNAL.name), b"another", "limit-journal is another topic", "belong together"),
        (keys.PARTITIONS, b"7", "made with 7 partitions", "limit-engine reshard"),
        (keys.JOURNAL_OFFSET, b"9999", "the journal ends at", "restore"),
    ]
    held = [d.fields(shard)[field] for shard, (field, *_) in enumerate(spoiled)]
    for shard, (field, value, *_) in enumerate(spoiled):
        eight.redis.hset(keys.ShardKeys("limits", shard).shard, field, value)
    # Of an account, too, the format may be newer. It is seen when a record of it comes.
    account = eight.accounts[5].encode()
    bucket = keys.ShardKeys("limits", 5).accounts(keys.bucket_of(account))
    state = eight.redis.hget(bucket, account)
    assert isinstance(state, bytes)
    eight.redis.hset(bucket, account, bytes([state[0] + 1]) + state[1:])
    publish(d, 1, eight.accounts[5])
    eight.start()
    stops = {shard: (reason, cure) for shard, (*_, reason, cure) in enumerate(spoiled)}
    eight.expect({**stops, 5: ("format", "newer engine")})
    assert eight.accounts[5] not in d.log_of(len(d.workers) - 1)

    for shard, (field, *_) in enumerate(spoiled):
        eight.redis.hset(keys.ShardKeys("limits", shard).shard, field, held[shard])
    eight.redis.hset(bucket, account, state)
    eight.goes_on()


def test_redis_is_caught_up_as_far_as_the_journal_reaches(pair: Running) -> None:
    d = pair.d
    d.redis.copy_to(d.directory / "backup")
    accounts = [d.accounts(shard) for shard in range(2)]
    pair.redis.flushall()
    d.wait(lambda: [d.accounts(shard) for shard in range(2)] == accounts, "the emptied Redis is caught up", 30)
    pair.publish()
    d.wait(d.is_all_taken, "everything is taken", 30)
    d.stop()
    admin = topics.connect(d.kafka.settings)
    admin.delete_records({TopicPartition(JOURNAL.name, 0): 2})
    admin.close()
    pair.redis.flushall()
    pair.start()
    pair.expect({0: ("Redis needs the journal from sequence 1 on", "restore a newer backup")})
    d.stop()
    d.redis.come_back_with(d.directory / "backup")
    pair.goes_on()


def test_a_dead_letter_that_cannot_be_written(pair: Running) -> None:
    """It is not dropped: its shard stops until it can be."""
    d = pair.d
    admin = topics.connect(d.kafka.settings)

    def allow(bytes_max: int) -> None:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, DEAD_LETTERS.name, {"max.message.bytes": str(bytes_max)})])

    allow(2_000)
    bad = Publisher(d, pair.accounts[0])
    bad.publish("purchases", random.randbytes(50_000), pair.accounts[0].encode())
    bad.flush()
    pair.expect({0: ("Kafka does not take what is written to dead-letters", "max.message.bytes")})
    assert not d.dead_letters()
    allow(DEAD_LETTERS.bytes_max)
    admin.close()
    pair.goes_on()
    assert [letter.partition() for letter in d.dead_letters()] == [0]


def test_topics_that_change_under_a_running_worker(pair: Running, tmp_path: Path) -> None:
    # The same application on another cluster finds that this Redis is not its own.
    other = KafkaBroker(tmp_path / "other")
    other.start()
    there = Deployment(other, pair.d.redis, tmp_path / "there", 2)
    there.directory.mkdir()
    try:
        there.create_topics()
        there.promote(load_policy(ROOT / "policies" / "minimal.yaml"), int(time.time() * 1000))
        there.start_worker()
        not_its_own = Running(there, pair.redis, [])
        there.wait(lambda: len(not_its_own.stopped()) == 2, "both shards of the other one have stopped", 60)
        assert all("is another topic" in told["reason"] for told in not_its_own.stopped().values())
        assert not any(there.journal().values())
    finally:
        there.stop()
        other.stop()
    pair.publish()
    pair.d.wait(pair.d.is_all_taken, "this one goes on", 30)

    admin = topics.connect(pair.d.kafka.settings)
    admin.delete_topics(["transfers"])
    pair.d.wait(lambda: "transfers" not in admin.list_topics(), "the topic is gone", 30)
    pair.d.create_topics()
    admin.close()
    pair.expect(dict.fromkeys(range(2), ("transfers", "begin anew")))


def test_partitions_that_are_added_under_a_running_worker(pair: Running) -> None:
    admin = topics.connect(pair.d.kafka.settings)
    admin.create_partitions({"purchases": NewPartitions(3)})
    admin.close()
    reason = "purchases had 2 partitions when the worker was started, and now has 3"
    pair.expect(dict.fromkeys(range(2), (reason, "limit-engine reshard")))
