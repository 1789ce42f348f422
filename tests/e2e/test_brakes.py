"""The portfolio's brakes on a whole deployment: a day's increases stay within the budget through a rebalance, and a broken feed does not cut
everybody.

The same records are decided by one worker and, elsewhere, by three of which one dies at noon and others join. They lie within one day, so no
sweep takes turns with them: what is decided follows from the records alone, and must be the same.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from confluent_kafka import Producer

from engine.policy.document import Policy
from engine.policy.source import parse_policy
from engine.stream import control
from engine.stream.brakes import share
from engine.stream.decode.misrouting import partition_of
from tests.e2e.audit import audit
from tests.e2e.conftest import deployed
from tests.e2e.deployment import Deployment
from tests.oracle.time_rules import DAY_MS, HOUR_MS

PARTITIONS: Final = 12
ACCOUNTS: Final = 1_200
BUDGET: Final = 100_000_007
SEED: Final = 7
STILL_BROKEN: Final = 2  # accounts of each shard that the mended feed leaves out
DAY_ONE_MS: Final = round(datetime(2026, 3, 10, tzinfo=UTC).timestamp() * 1000)
POLICY: Final = parse_policy(Path(__file__).with_name("braked.yaml").read_bytes(), "braked.yaml")
NAMES: Final = [f"account-{number}" for number in range(ACCOUNTS)]
RISE: Final = ("grant", "increase", "offer_accepted")

deployment_in = contextmanager(deployed)


@dataclass
class Feed:
    """What is published: the profiles, each newer than the last, of one number."""

    deployment: Deployment
    serial: int = 0
    producer: Producer = field(init=False)

    def __post_init__(self) -> None:
        self.producer = Producer({"bootstrap.servers": self.deployment.kafka.address, "log_level": 2})  # the broker goes before it

    def profile(self, account: str, at_ms: int, grade: int) -> None:
        """Hand a snapshot over."""
        moment = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        times = {"occurred_at": moment, "as_of": moment, "applied_at": moment}
        what = {"segment": "individual", "status": "active", "currency": "CNY", "attributes": {"grade": grade}}
        self._hand_over("account-profiles", {"event_id": f"{account}-{self.serial}", "account_id": account, **times, **what}, at_ms)

    def command(self, account: str, at_ms: int, kind: str, **wish: Any) -> None:
        """Hand a command over."""
        moment = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        plain = {"command_id": f"{kind}-{account}", "account_id": account, "issued_at": moment, "issued_by": "desk", "reason": "a test"}
        self._hand_over("limit-commands", plain | {"kind": kind} | wish, at_ms)

    def _hand_over(self, topic: str, plain: dict[str, Any], at_ms: int) -> None:
        self.serial += 1
        partition = partition_of(plain["account_id"].encode(), PARTITIONS)
        self.producer.produce(topic, json.dumps(plain).encode(), plain["account_id"].encode(), partition=partition, timestamp=at_ms)
        self.producer.poll(0)

    def flush(self) -> None:
        """Wait until everything has arrived."""
        assert self.producer.flush(30) == 0


def good_times(feed: Feed, hours: range) -> None:
    """The morning, or the afternoon: everybody's profile, a third of them better by it."""
    rng = Random(f"{SEED}/{hours}")
    times = sorted(rng.randrange(hours.start * HOUR_MS, hours.stop * HOUR_MS) for _ in NAMES)
    for at_ms, account in zip(times, rng.sample(NAMES, ACCOUNTS), strict=True):
        grade = 10 if hours.start < 12 else 20
        feed.profile(account, DAY_ONE_MS + at_ms, grade + 10 * rng.randrange(2))
    feed.flush()


def started(d: Deployment, workers: int) -> None:
    """The policy put in force, and workers that have taken it."""
    d.settings = {"LIMITS_KAFKA__SESSION_TIMEOUT_S": "6", "LIMITS_SHARD__BATCH_RECORDS": "20"}
    d.promote(POLICY, DAY_ONE_MS)
    for _ in range(workers):
        d.start_worker()
    d.wait(lambda: d.taken() >= PARTITIONS, "the policy is in force everywhere", 180)


def decided(d: Deployment) -> dict[int, list[dict[str, Any]]]:
    """Every change and advisory, by shard, in the order of its decisions: without what names the deployment's own control record."""
    told: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for topic in ("limit-changes", "limit-advisories"):
        for shard, messages in d.read(topic).items():
            told[shard] += [(int(dict(m.headers())["output_sequence"]), json.loads(m.value())) for m in messages]
    return {shard: [value for _, value in sorted(mine, key=lambda item: item[0])] for shard, mine in told.items()}


def raised(outputs: list[dict[str, Any]]) -> int:
    """By how much limits were raised."""
    return sum(o["standing"]["limit_minor"] - o["previous"]["limit_minor"] for o in outputs if o["kind"] in RISE)


def brakes(d: Deployment) -> tuple[int, list[dict[str, Any]]]:
    """What ``brakes status`` says, and its exit code."""
    told = d.command("brakes", "status", "--json")
    return told.returncode, json.loads(told.stdout)["shards"]


def alone(directory: Path) -> dict[int, list[dict[str, Any]]]:
    """What one worker decides on the first day."""
    with deployment_in(directory, PARTITIONS) as d:
        started(d, 1)
        feed = Feed(d)
        good_times(feed, range(8, 12))
        good_times(feed, range(12, 18))
        d.wait(d.is_all_taken, "everything is taken", 60)
        return decided(d)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_budget_holds_through_a_rebalance_and_a_broken_feed_does_not_cut_everybody(tmp_path: Path) -> None:
    by_one = alone(tmp_path / "one")
    with deployment_in(tmp_path / "several", PARTITIONS) as d:
        started(d, 3)
        feed = Feed(d)
        good_times(feed, range(8, 12))
        d.wait(lambda: d.taken() > PARTITIONS + ACCOUNTS // 2, "half of the morning is decided", 60)
        d.workers[1].kill()
        d.start_worker()
        d.start_worker()
        good_times(feed, range(12, 18))
        d.wait(d.is_all_taken, "everything is taken", 90)
        by_several = decided(d)
        assert by_several == by_one
        check_budget(by_several)
        policy = a_broken_feed(d, feed, by_several)
        audit(policy, d.inputs(), d.journal(), d.changes(), d.accounts)


def check_budget(told: dict[int, list[dict[str, Any]]]) -> None:
    """To the unit, and used as far as it goes."""
    by_shard = {shard: raised(outputs) for shard, outputs in told.items()}
    assert len(by_shard) == PARTITIONS
    for shard, sum_minor in by_shard.items():
        mine = share(BUDGET, shard, PARTITIONS)
        assert mine - 100_000 < sum_minor <= mine, "the least rise does not fit any more"
        (spent,) = [output for output in told[shard] if output["kind"] == "budget_spent"]
        assert (spent["day"], spent["share_minor"]) == ("2026-03-10", mine)
    assert sum(by_shard.values()) <= BUDGET
    assert any(
        output["kind"] == "increase_withheld" and output["guard"] == "budget_spent" for outputs in told.values() for output in outputs
    )


def a_broken_feed(d: Deployment, feed: Feed, before: dict[int, list[dict[str, Any]]]) -> Policy:
    """Everybody's grade is told as 0; the policy in force."""
    lines = {o["account_id"]: o["standing"]["limit_minor"] for outputs in before.values() for o in outputs if "standing" in o}
    rng = Random(SEED)
    morning_ms = DAY_ONE_MS + DAY_MS + 9 * HOUR_MS
    for number, account in enumerate(rng.sample(NAMES, ACCOUNTS)):
        feed.profile(account, morning_ms + 1_000 * number, 0)
    feed.flush()
    d.workers[0].kill()
    d.start_worker()
    d.wait(d.is_all_taken, "the broken feed is taken", 90)
    code, counts = brakes(d)
    assert code == 1
    assert {shard["breaker"] for shard in counts} == {"tripped"}
    lowered = [o for mine in d.changes().values() for o in mine if o["kind"] == "decrease"]
    by_shard = Counter(partition_of(o["account_id"].encode(), PARTITIONS) for o in lowered)
    assert by_shard == {shard["shard"]: shard["lowered"] for shard in counts if shard["lowered"]}
    assert 0 < len(lowered) < len(lines) // 5
    tripped = [o for mine in decided(d).values() for o in mine if o["kind"] == "breaker_tripped"]
    assert sorted(partition_of(o["account_id"].encode(), PARTITIONS) for o in tripped) == list(range(PARTITIONS))

    # What a breaker never stops
    spared = sorted(set(lines) - {o["account_id"] for o in lowered})
    noon_ms = DAY_ONE_MS + DAY_MS + 12 * HOUR_MS
    feed.command(spared[0], noon_ms, "freeze", cause="risk_desk")
    feed.command(spared[1], noon_ms, "set_ceiling", ceiling_minor=50_000)
    feed.command(spared[2], noon_ms, "close")
    feed.flush()
    d.wait(d.is_all_taken, "the commands are taken", 30)
    newest = {o["account_id"]: o for mine in d.changes().values() for o in mine}
    assert [newest[account]["kind"] for account in spared[:3]] == ["freeze", "decrease", "close"]
    assert newest[spared[1]]["standing"]["limit_minor"] == 50_000

    # The feed is mended but for a few, and the breakers are released.
    evening_ms = noon_ms + 6 * HOUR_MS
    of_shard: defaultdict[int, list[str]] = defaultdict(list)
    for account in spared[3:]:
        of_shard[partition_of(account.encode(), PARTITIONS)].append(account)
    broken = {account for mine in of_shard.values() for account in mine[:STILL_BROKEN]}
    for account in NAMES:
        if account not in broken:
            feed.profile(account, evening_ms, 30)
    feed.flush()
    d.wait(d.is_all_taken, "the mended feed is taken", 60)
    assert brakes(d)[0] == 1, "nothing but a release lets go"
    refused = d.command("brakes", "release", "--issued-by", "committee")
    assert refused.returncode == 2
    assert "--reason" in refused.stderr
    words = ["--reason", "the feed is mended", "--issued-by", "committee", "--dry-run"]
    record = json.loads(d.command("brakes", "release", *words).stdout)
    control.publish(d.kafka.settings, record, evening_ms + 1)
    d.wait(lambda: brakes(d)[0] == 0, "every breaker is released", 30)
    d.wait(lambda: all(shard.sweep is not None and shard.sweep.left == 0 for shard in d.status()), "everybody was looked at", 60)
    newest = {o["account_id"]: o for mine in d.changes().values() for o in mine}
    assert {newest[account]["kind"] for account in broken} == {"decrease"}, "decided anew"
    assert {newest[account]["cause"]["kind"] for account in broken} == {"control"}
    return Policy.from_plain(json.loads(d.fields(0)["policy"]))
