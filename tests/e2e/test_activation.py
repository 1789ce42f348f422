"""Another version comes into force while events flow and workers die: each shard switches at its control record, and nothing is lost."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.core.layout import Topic
from engine.local.ports import LOOPBACK, choose_port
from engine.policy.document import Policy
from engine.policy.promote import canonical_bytes, policy_hash
from engine.policy.source import parse_policy
from engine.state import keys
from engine.state.record import JournalRecord
from engine.stream import control
from schemas import dead_letters as names
from schemas.topics import INPUTS
from scripts.personas import midnight_before
from scripts.spoil import LATE_DAYS
from tests.e2e.audit import Shard, audit, fold, milliseconds
from tests.e2e.conftest import deployed
from tests.e2e.deployment import Deployment
from tests.oracle.time_rules import DAY_MS, HOUR_MS, day_of, midnight

PARTITIONS: Final = 12
ACCOUNTS: Final = 360
DAYS: Final = 60
RATE: Final = 1_600
SEED: Final = 11
WINDOW_DAYS: Final = 14  # of the feature that the second version adds
FIRST: Final = Path(__file__).with_name("first_version.yaml").read_text("utf-8")
SECOND: Final = {  # what the second version says instead
    "version: 1": "version: 2",
    # A new measure, under a feature whose low bin costs two bands: who cannot have been seen yet must not fall into it.
    "  - {name: spent, ": "  - {name: essentials, event: purchase, kind: count, where: [{field: category, in: [groceries, dining, transport]}]}\n"
    "  - {name: spent, ",
    "  - {name: spent_14d, ": "  - {name: essentials_14d, kind: total, measure: essentials, window_days: 14, when_partial: missing}\n"
    "  - {name: spent_14d, ",
    "      - {feature: spent_14d, ": "      - {feature: essentials_14d, bins: [{points: -80}, {at_least: 2, points: 5}], missing: 0}\n"
    "      - {feature: spent_14d, ",
    # One of another name, one that looks further back than it was kept, one that is gone
    "{name: behind, ": "{name: fallen_behind, ",
    "measure: behind, ": "measure: fallen_behind, ",
    "{name: salary_35d, kind: total, measure: salary, window_days: 35}": "{name: salary_49d, kind: total, measure: salary, window_days: 49}",
    "{feature: salary_35d, ": "{feature: salary_49d, ",
    "  - {name: merchants, event: purchase, kind: distinct, of: merchant_id, tile: week}\n": "",
    "  - {name: merchants_4w, kind: distinct, measure: merchants, window_weeks: 4}\n": "",
    "      - {feature: merchants_4w, bins: [{points: 0}, {at_least: 4, points: 10}, {at_least: 8, points: 20}], missing: 0}\n": "",
    # A band of another name, one that is gone, and other thresholds
    "{name: regular, lower: 170, ": "{name: solid, lower: 160, ",
    "      - {name: basic, lower: 140, up_margin: 5, down_margin: 5, limit_minor: 300_000}\n": "",
    "{name: starter, lower: 110, ": "{name: starter, lower: 120, ",
    "{name: premier, lower: 210, up_margin: 5, ": "{name: premier, lower: 215, ",
}


def versions() -> tuple[Policy, Policy]:
    """The policy and its next version, as an analyst writes them."""
    text = FIRST
    for before, after in SECOND.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return parse_policy(FIRST.encode(), "first"), parse_policy(text.encode(), "second")


def of_all_at_once(policy: Policy) -> Policy:
    """The version that takes the new measure's window as it stands."""
    features = tuple(f.model_copy(update={"when_partial": "as_is"}) if f.name == "essentials_14d" else f for f in policy.features)
    return policy.model_copy(update={"features": features})


@pytest.fixture
def twelve(tmp_path: Path) -> Iterator[Deployment]:
    yield from deployed(tmp_path, PARTITIONS)


class Fleet:
    """The deployment's workers, each with metrics on a port of its own."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._ports: list[int] = []

    def start(self) -> None:
        """Start one more."""
        self._ports.append(choose_port(0, service="metrics", option=""))
        self._deployment.settings["LIMITS_METRICS_PORT"] = str(self._ports[-1])
        self._deployment.start_worker()

    def told(self) -> dict[int, list[tuple[str, str, str]]]:
        """By shard, the versions that the metrics of all workers at work name."""
        found: dict[int, list[tuple[str, str, str]]] = {}
        for port, worker in zip(self._ports, self._deployment.workers, strict=True):
            if worker.is_running():
                with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=10) as answer:
                    text = answer.read().decode()
                for family in text_string_to_metric_families(text):
                    for sample in family.samples if family.name == "limits_policy_info" else ():
                        named = sample.labels
                        found.setdefault(int(named["shard"]), []).append((named["policy"], named["version"], named["hash"]))
        return found


def status(d: Deployment) -> tuple[int, dict[int, str], str | None]:
    """What ``policy status`` says: its exit code, the hash by shard, and what it finds wrong."""
    told = d.command("policy", "status", "--json")
    plain = json.loads(told.stdout)
    return told.returncode, {shard["shard"]: shard["hash"] for shard in plain["shards"]}, plain["problem"]


def broken_activations(first: Policy, second: Policy) -> list[dict[str, Any]]:
    """One of a version that was never promoted, and one whose hash is another version's."""
    never = parse_policy(FIRST.replace("version: 1", "version: 3").encode(), "third")
    common = {"issued_at": "2026-01-01T00:00:00Z", "issued_by": "test", "kind": "activate"}
    return [
        common | {"control_id": "never-promoted", "policy": json.loads(canonical_bytes(never)), "policy_hash": policy_hash(never)},
        common | {"control_id": "wrong-hash", "policy": json.loads(canonical_bytes(first)), "policy_hash": policy_hash(second)},
    ]


def decreased_at_once(second: Policy, inputs: Shard, journal: list[bytes], until_ms: int) -> int:
    """How many accounts of a shard would have lost limit until then, had the second version taken the new measure's window as it stands."""
    records = [JournalRecord.decode(raw) for raw in journal]
    other = of_all_at_once(second)
    emitted = fold(records, inputs, {policy_hash(second): other}).emitted.values()
    return sum(any(e.kind == "decrease" and by == policy_hash(other) and e.clock < until_ms for e, by in mine) for mine in emitted)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_another_version_comes_into_force_under_load(twelve: Deployment) -> None:
    d, fleet = twelve, Fleet(twelve)
    d.settings = {"LIMITS_KAFKA__SESSION_TIMEOUT_S": "6", "LIMITS_SHARD__BATCH_RECORDS": "50"}
    start_ms = midnight_before(datetime.now(UTC), DAYS + LATE_DAYS)
    first, second = versions()
    first = d.promote(first, start_ms)
    one = policy_hash(first)
    for _ in range(3):
        fleet.start()
    d.wait(lambda: d.taken() >= PARTITIONS, "the policy is in force everywhere", 180)
    options = {"--kafka": d.kafka.address, "--accounts": ACCOUNTS, "--days": DAYS, "--rate": RATE, "--start-ms": start_ms, "--seed": SEED}
    traffic = d.run("-m", "scripts.traffic", *(str(word) for pair in options.items() for word in pair), log="traffic.log")

    def run(wanted: str, shards: list[int]) -> list[bool]:
        held = d.status()
        return [version is not None and version.hash == wanted for version in (held[shard].version for shard in shards)]

    every = list(range(PARTITIONS))
    d.wait(lambda: d.tick_ms() > start_ms + DAYS * DAY_MS * 2 // 5, "two fifths of the days have passed", 60)
    assert status(d) == (0, dict.fromkeys(every, one), None)
    assert fleet.told() == {shard: [("successive", "1", one)] for shard in every}

    # One worker has stopped before the activation and dies without having seen it, another dies in the middle of it.
    d.workers[0].pause()
    at_ms = d.tick_ms() + 6 * HOUR_MS
    second = d.promote(second, at_ms, first)
    two = policy_hash(second)
    d.wait(lambda: any(run(two, d.shards_of(1))), "a shard of the second worker has switched", 30)
    d.workers[1].kill()
    d.wait(lambda: all(run(two, d.shards_of(2))), "every shard of the third worker has switched", 30)
    code, by_shard, problem = status(d)
    assert code == 1
    assert {by_shard[shard] for shard in d.shards_of(0)} == {one}
    assert problem is not None
    assert f"successive version 1 ({one[:12]})" in problem
    assert f"successive version 2 ({two[:12]})" in problem
    assert traffic.is_running(), "events flow meanwhile"
    d.workers[0].kill()
    fleet.start()
    fleet.start()
    d.wait(lambda: all(run(two, every)), "every shard has switched", 60)

    # The lender lends the weakest less.
    words = ["individual", "contraction", "--expected-decreases", "9", "--reason", "a test", "--issued-by", "committee"]
    assert d.command("appetite", "set", *words, "--approved-by", "committee").returncode == 2, "one person alone"
    record = control.appetite(
        second, "individual", "contraction", 9, "a downturn", "committee", "board", datetime.fromtimestamp(d.tick_ms() / 1000, UTC)
    )
    control.publish(d.kafka.settings, record, d.tick_ms())

    # What is no activation changes nothing.
    for record in broken_activations(first, second):
        control.publish(d.kafka.settings, record, d.tick_ms())
    d.wait(lambda: not traffic.is_running(), "all events are sent", 60)
    d.wait(d.is_all_taken, "everything is taken", 60)
    d.wait(lambda: all(shard.buckets_swept == keys.BUCKETS for shard in d.status()), "every sweep is done", 60)
    assert status(d) == (0, dict.fromkeys(every, two), None)
    d.wait(lambda: fleet.told().keys() == set(every), "every shard has an owner", 30)
    assert fleet.told() == {shard: [("successive", "2", two)] for shard in every}
    told = json.loads(d.command("appetite", "status", "--json").stdout)
    assert told["agree"]
    assert {(a["segment"], a["mode"]) for shard in told["shards"] for a in shard["appetites"]} == {("individual", "contraction")}

    inputs, journal, changes = d.inputs(), d.journal(), d.changes()
    warm_ms = midnight(second, day_of(second, at_ms) + WINDOW_DAYS)
    counts = audit(second, inputs, journal, changes, d.accounts)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        cuts = [pool.submit(decreased_at_once, second, inputs[p], journal[p], warm_ms) for p in every[::3]]
        would_have_cut = sum(cut.result() for cut in cuts)
    print({"would_have_cut": would_have_cut})
    refused = [{name: value.decode() for name, value in letter.headers()} for letter in d.dead_letters()]
    of_control = Counter(told[names.MESSAGE].partition(":")[0] for told in refused if told[names.TOPIC] == INPUTS[Topic.CONTROL].name)
    assert of_control == {
        "the policy has measures without a column": PARTITIONS,
        "policy_hash is not the SHA-256 of this policy's canonical bytes": PARTITIONS,
    }
    assert counts["dead_letters"] == len(refused)
    check_changes([change for mine in changes.values() for change in mine], second, warm_ms)
    held = {account for p in every[::3] for account in d.accounts(p)}
    assert would_have_cut > len(held) // 2


def check_changes(changes: list[dict[str, Any]], second: Policy, warm_ms: int) -> None:
    """The new version's decisions: nobody falls because of what cannot have been seen yet, and standings of old names go on."""
    by_two = [change for change in changes if change["policy"]["version"] == 2]
    assert len(by_two) < len(changes), "both versions decided"
    assert {change["cause"]["kind"] for change in by_two} >= {"event", "tick"}  # a day's sweep soon takes the place of the activation's
    bands = {band.name for segment in second.segments for band in segment.bands}
    assert {change["standing"]["band"] for change in by_two if change["kind"] in ("increase", "decrease")} <= bands
    assert any(change["previous"]["band"] not in bands for change in by_two), "someone stood in a band that is gone"
    newest = {change["account_id"]: change for change in changes}
    stays = [change for change in newest.values() if change["standing"]["band"] == "regular"]
    assert stays, "a band's new name alone is no change of anybody's limit"
    decreases = [change for change in by_two if change["kind"] == "decrease"]
    assert any(change["trace"]["bound_by"] == "appetite" for change in decreases)
    by_score = [change for change in decreases if is_by_score(change)]
    early = [change for change in by_score if milliseconds(change["occurred_at"]) < warm_ms]
    assert len(early) <= ACCOUNTS // 20, "those whose own doing it is"
    assert not any(change["trace"]["warming_up"] for change in by_score)
    assert len(by_score) > len(early), "once it is seen in full it counts"


def is_by_score(change: dict[str, Any]) -> bool:
    """Whether a decrease is one that the score asks for; law, arrears, a ceiling or an override ask for others."""
    trace = change["trace"]
    asked = trace["forced"] or trace["bound_by"] in ("ceiling", "override")
    return not asked and trace["caps"]["band"] < change["previous"]["limit_minor"]
