"""``policy monitor`` on a real Kafka: what lies in the two periods and was committed is counted, once, and nothing else."""

from __future__ import annotations

import json
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families
from pydantic import TypeAdapter

from engine.local.ports import LOOPBACK, choose_port
from engine.metrics import LABELS
from engine.monitor.announced import announced
from engine.monitor.fairness import parse_groups
from engine.monitor.report import Collected, Period, PeriodName, fairness_of, reported
from engine.policy.source import load_policy
from engine.stream import offline
from engine.stream.announcements import CLOCKS_APART_MS, read_windows
from schemas.advisories import Advisory
from schemas.changes import LimitChange
from schemas.topics import ADVISORIES, CHANGES
from scripts.personas import population
from tests.e2e.conftest import deployed
from tests.e2e.deployment import ROOT, Deployment
from tests.e2e.publisher import Publisher
from tests.personas.lives import KEY, POLICY, START_MS, log_of

PARTITIONS: Final = 3
ACCOUNTS, DAYS, SEED = 40, 240, 3
DAY_MS: Final = 86_400_000
NOW_MS: Final = int(datetime.now(UTC).timestamp()) * 1000
BEGAN_MS: Final = NOW_MS - 220 * DAY_MS
REFERENCE: Final = Period(BEGAN_MS + 60 * DAY_MS, BEGAN_MS + 140 * DAY_MS)
ACTUAL: Final = Period(BEGAN_MS + 150 * DAY_MS, NOW_MS)
MIN_CHANGES: Final = 30
OF_DRIFT: Final = {name.removesuffix("_total") for name in LABELS} - {"limits_policy_info", "limits_stage_seconds"}
Told = tuple[int, str, str, bytes]  # timestamp, topic, account, value


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Deployment]:
    yield from deployed(tmp_path, PARTITIONS)


def decided() -> list[Told]:
    """What some lives led to up to now, each at the time of its cause: that is when a shard that keeps up decides."""
    log = log_of(population(ACCOUNTS, SEED, START_MS, DAYS))
    found = []
    for record in offline.decide([offline.activation(POLICY), *log], KEY, "limits"):
        for output in record.outputs:
            value = json.loads(output.value)
            at_ms = round(datetime.fromisoformat(value["occurred_at"]).timestamp() * 1000) - START_MS + BEGAN_MS
            if at_ms <= NOW_MS:
                found.append((at_ms, output.topic, value["account_id"], output.value))
    return sorted(found, key=lambda told: told[0])


def among(told: list[Told]) -> list[Told]:
    """The records with more changes at the very ends of the periods, and one of the reference period that was written, by a clock that was late,
    behind others that are past it."""
    _, topic, account, raw = next(one for one in told if one[1] == CHANGES.name)
    value = json.loads(raw)
    late_ms = REFERENCE.to_ms + CLOCKS_APART_MS // 2
    written = [(end + by, end + by) for end in (*REFERENCE, *ACTUAL) for by in (-1, 0)] + [
        (late_ms, late_ms),
        (late_ms + 1, REFERENCE.to_ms - 60_000),
    ]
    found = [(at_ms, one) for one in told for at_ms in one[:1]]
    for number, (written_ms, at_ms) in enumerate(written):
        again = value | {"event_id": f"{number:08}-0000-5000-8000-000000000000", "cause": value["cause"] | {"id": f"edge-{number}"}}
        found.append((written_ms, (at_ms, topic, account, json.dumps(again).encode())))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def publish(producer: Producer, told: list[Told], partitions: int) -> None:
    """Write records in this order, an account's always to the same partition."""
    for at_ms, topic, account, value in told:
        producer.produce(topic, value, account.encode(), partition=sum(account.encode()) % partitions, timestamp=at_ms)
        producer.poll(0)
    producer.flush()


def committed(d: Deployment, told: list[Told]) -> None:
    """Commit these records, and abort an attempt with others of the actual period."""
    producer = Producer({"bootstrap.servers": d.kafka.address, "transactional.id": "test", "compression.type": "zstd"})
    producer.init_transactions()
    producer.begin_transaction()
    publish(producer, told, d.partitions)
    producer.commit_transaction()
    producer.begin_transaction()
    publish(
        producer, [(at_ms, topic, f"never-{n}", value) for n, (at_ms, topic, _, value) in enumerate(told) if at_ms in ACTUAL], d.partitions
    )
    producer.abort_transaction()


def instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def monitored(d: Deployment, *words: str) -> Any:
    options = ["--since", instant(ACTUAL.from_ms), "--until", instant(ACTUAL.to_ms)]
    options += ["--against", f"{instant(REFERENCE.from_ms)}..{instant(REFERENCE.to_ms)}", "--min-changes", str(MIN_CHANGES)]
    return d.command("policy", "monitor", *options, *words)


def test_drift_and_fairness_of_what_was_committed(three: Deployment, tmp_path: Path) -> None:
    d = three
    empty = monitored(d, "--json")
    assert (empty.returncode, json.loads(empty.stdout)["findings"]["nothing_judged"]) == (1, True)
    assert "limit-changes has nothing of the actual period" in empty.stderr

    told = among(decided())
    for _, topic, _, value in told:
        TypeAdapter(LimitChange if topic == CHANGES.name else Advisory).validate_json(value)
    committed(d, told)

    # The accounts of the file are half of those that there are, and some that there are not.
    accounts = sorted({account for _, _, account, _ in told})
    lines = [f"{account},{'odd' if number % 2 else 'even'}\n" for number, account in enumerate(accounts) if number % 4 < 2]
    file = tmp_path / "groups.csv"
    file.write_text("account_id,group\n" + "".join(lines) + "nobody,even\n")
    groups = parse_groups(file.read_text().splitlines(keepends=True))

    periods: dict[PeriodName, Period] = {"reference": REFERENCE, "actual": ACTUAL}
    collected: dict[PeriodName, Collected] = {name: Collected(keeps_outcomes=True) for name in periods}
    for at_ms, topic, _, value in told:
        for name, period in periods.items():
            if at_ms in period:
                (collected[name].add_change if topic == CHANGES.name else collected[name].add_advisory)(announced(json.loads(value)))
    expected = reported(periods, collected, 0.25, MIN_CHANGES, fairness_of(groups, collected["actual"].outcomes, "even", 5)).plain()
    assert min(expected["periods"][name]["evaluations"] for name in periods) > 50
    assert any(one["psi"] for one in expected["stability"]["indices"])
    assert any(
        rate["count"] for group in expected["fairness"]["groups"] for rate in group["rates"] if rate["outcome"] == "increase_withheld"
    )

    done = monitored(d, "--groups", str(file), "--min-group", "5", "--json")
    assert json.loads(done.stdout) == json.loads(json.dumps(expected))
    assert done.returncode == (1 if expected["findings"]["above_limit"] or expected["findings"]["marked_ratios"] else 0)
    assert not any(account in done.stdout + done.stderr for account in (*accounts, "nobody"))
    for people in (monitored(d, "--groups", str(file), "--min-group", "5"), monitored(d)):
        assert "Stability of individual" in people.stdout
        assert "Traceback" not in people.stderr
    assert "Group odd" not in monitored(d).stdout

    # Each record once, also where the periods nearly touch.
    windows = [(REFERENCE.from_ms, REFERENCE.to_ms), (REFERENCE.to_ms + 1, ACTUAL.to_ms)]
    steps: list[tuple[int, int]] = []
    read = list(read_windows(d.kafka.settings, CHANGES.name, windows, lambda done, every: steps.append((done, every))))
    places = [place for _, place, _ in read]
    assert len(places) == len(set(places))
    wanted = [value for at_ms, topic, _, value in told if topic == CHANGES.name and any(a <= at_ms < b for a, b in windows)]
    assert sorted(value for _, _, value in read) == sorted(wanted)
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    of_advisories = [list(read_windows(d.kafka.settings, ADVISORIES.name, [(0, end)], lambda *_: None)) for end in (2**40, 2**41)]
    assert [len(found) for found in of_advisories] == [0, sum(topic == ADVISORIES.name for _, topic, _, _ in told)]


def scraped(port: int) -> dict[tuple[str, ...], float]:
    """A worker's metrics of drift that are not 0, of all shards together: by name and the other labels in the order of their names."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for sample in (sample for family in families if family.name in OF_DRIFT for sample in family.samples):
        found[sample.name, *(value for label, value in sorted(sample.labels.items()) if label != "shard")] += sample.value
    return {name: value for name, value in found.items() if value}


def test_a_worker_counts_what_it_announced(three: Deployment) -> None:
    d, port = three, choose_port(0, service="metrics", option="")
    d.settings = {"LIMITS_METRICS_PORT": str(port)}
    since = instant(int(datetime.now(UTC).timestamp()) * 1000)
    d.promote(load_policy(ROOT / "policies" / "minimal.yaml"), NOW_MS)
    d.start_worker()
    d.wait(lambda: d.taken() >= PARTITIONS, "the policy is in force", 180)
    assert scraped(port) == {}
    publishers = [Publisher(d, f"account-{number}") for number in range(5)]
    for publisher in publishers:
        for _ in range(3):
            publisher.publish_good()
        publisher.flush()
    wanted = {
        ("limits_arrears_total", "0", "individual"): 5.0,
        ("limits_band_changes_total", "none", "individual", "regular"): 5.0,
        ("limits_features_total", "individual", "known"): 5.0,
    }
    d.wait(lambda: wanted.items() <= scraped(port).items(), "five accounts have moved up", 60)
    buckets = {name[1]: value for name, value in scraped(port).items() if name[0] == "limits_score_bucket"}
    assert buckets["+Inf"] == buckets["50.0"] == 5  # a score of 10
    assert "0.0" not in buckets
    done = d.command("policy", "monitor", "--since", since, "--against", "2026-01-01..2026-02-01", "--min-changes", "5", "--json")
    assert done.returncode == 1, done.stderr
    plain = json.loads(done.stdout)
    assert (plain["periods"]["actual"]["changes"], plain["periods"]["actual"]["evaluations"]) == (5, 5)
    assert {one["status"] for one in plain["stability"]["indices"]} == {"not_judged"}
