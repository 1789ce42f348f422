"""Bad records through the real parts: one dead letter each, with the bytes that came; the neighbours are decided; too many stop the shard."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.request import urlopen

import pytest
from ruamel.yaml import YAML

from engine.local.ports import choose_port
from engine.policy.source import load_policy
from schemas import dead_letters as names
from tests.e2e.deployment import ROOT, Deployment
from tests.e2e.publisher import Publisher

CANARY: Final = "canary-5f1b"
CASES: Final[list[dict[str, Any]]] = YAML(typ="safe").load(Path(__file__).with_name("bad_records.yaml"))


def publish_bad(publisher: Publisher, case: dict[str, Any]) -> bytes | None:
    """Hand the record of a case over; its value."""
    value = value_of(publisher, case)
    key = case.get("key", publisher.account)
    wrong = (publisher.partition + 1) % publisher.partitions if case.get("partition") == "wrong" else None
    publisher.publish(case["topic"], value, None if key is None else key.encode(), wrong)
    return value


def value_of(publisher: Publisher, case: dict[str, Any]) -> bytes | None:
    """The value of a case's record."""
    if case.get("tombstone"):
        return None
    if "bytes" in case:
        return bytes.fromhex(case["bytes"])
    if "noise" in case:
        return Random(1).randbytes(case["noise"])
    if "value" in case:
        return str(case["value"]).encode()
    record = publisher.good(case["topic"]) | case.get("change", {})
    text = json.dumps({name: value for name, value in record.items() if value is not None})
    if "raw_amount" in case:
        text = text.replace('"amount_minor": 100', f'"amount_minor": {case["raw_amount"]}')
    return text.encode() + b" " * int(case.get("spaces", 0))


@pytest.fixture
def minimal(deployment: Deployment) -> Deployment:
    """A worker at work under the minimal policy: three purchases raise the limit."""
    deployment.settings["LIMITS_METRICS_PORT"] = str(choose_port(0, service="metrics", option=""))
    deployment.promote(load_policy(ROOT / "policies" / "minimal.yaml"), int(time.time() * 1000))
    deployment.start_worker()
    deployment.wait(lambda: deployment.taken() >= deployment.partitions, "the policy is in force everywhere", 180)
    return deployment


def test_bad_records_are_dead_letters_and_too_many_stop_the_shard(minimal: Deployment) -> None:
    d = minimal
    publisher = Publisher(d, f"{CANARY}-account")
    sent = []
    for case in CASES:
        sent.append((case, publish_bad(publisher, case)))
        publisher.publish_good()
    publisher.flush()
    d.wait(d.is_all_taken, "everything is taken", 60)

    letters = d.dead_letters()
    told = {(headers(m)[names.TOPIC], m.value(), headers(m)[names.DISPOSITION]) for m in letters}
    for case, value in sent:
        assert (case["topic"], value, case["disposition"]) in told, (case["name"], [t for t in told if t[1] == value])
    assert len(letters) == len(CASES)
    for letter in letters:
        assert {names.EXCEPTION, names.MESSAGE, names.STACKTRACE, names.PARTITION, names.OFFSET, names.TIMESTAMP} <= headers(letter).keys()
        assert CANARY not in headers(letter)[names.MESSAGE], "a message names fields, never an account"
    (change,) = d.changes()[publisher.partition]
    assert (change["kind"], change["standing"]["limit_minor"]) == ("increase", 100_000)
    assert d.inspected(publisher.account)["events_accepted"] == len(CASES)

    # More of it than a producer's slip: the shard stops instead of draining the topic, and says what to do.
    for _ in range(1_500):
        publisher.publish("purchases", b"{}", CANARY.encode())
    publisher.flush()
    d.wait(lambda: '"cure"' in d.log_of(0), "the shard has stopped", 60)
    (stop,) = [line for line in map(json.loads, d.log_of(0).splitlines()) if "cure" in line]
    assert stop["shard"] == publisher.partition
    assert "rejected" in stop["reason"]
    assert "LIMITS_SHARD__REJECT_RATIO_MAX" in stop["cure"]
    assert len(d.dead_letters()) < len(CASES) + 1_500

    # The other shards go on.
    other = next(p for p in (Publisher(d, f"other-{n}") for n in range(100)) if p.partition != publisher.partition)
    for _ in range(3):
        other.publish_good()
    other.flush()
    d.wait(lambda: len(d.changes()[other.partition]) == 1, "another shard decides", 30)

    # Nobody's id and nothing of what came stands in what a worker writes for its operators.
    with urlopen(f"http://127.0.0.1:{d.settings['LIMITS_METRICS_PORT']}/metrics", timeout=5) as answer:
        metrics = answer.read().decode()
    assert "limits_dead_letters_total" in metrics
    assert CANARY not in metrics
    assert "assigned" in d.log_of(0)
    assert CANARY not in d.log_of(0)


def headers(message: Any) -> dict[str, str]:
    """A message's headers as text."""
    return {name: value.decode() for name, value in message.headers()}
