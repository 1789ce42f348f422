"""Another version takes over in the middle of a log: rows written under the one and read under the other go on as the oracle's accounts do."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import pytest

from engine.core.layout import DAY_MS, Out
from engine.core.packed import Packed
from engine.core.rows import blank_row
from engine.core.windows import rebuild_rows
from engine.policy.document import Policy
from engine.policy.promote import promote
from engine.policy.source import load_policy
from engine.state.codec import RowCodec
from tests.core.bridge import Kernel, assert_same_state, comparable_emission, word_bit
from tests.generate import seeded_log, seeded_policy
from tests.generate.policies import random_brakes
from tests.oracle.account import OracleAccount
from tests.oracle.records import Profile, Purchase, Record
from tests.oracle.shard import OracleShard, Sweep

RECORDS: Final = 150
POLICIES: Final = Path(__file__).parents[2] / "policies"
START: Final = datetime(2020, 1, 1, tzinfo=UTC)
LONGEST: Final = {  # of the spans of features
    "window_hours": 24,
    "window_days": 180,
    "window_weeks": 26,
    "window_months": 6,
    "before_hours": 24,
    "before_days": 90,
    "before_weeks": 26,
}
Plain = dict[str, Any]


def next_version(policy: Policy, seed: int) -> Policy:
    """Some of a policy's features and bands, with other windows, names and thresholds, and some of another policy's, in another order."""
    random = Random(f"version {seed}")
    plain = policy.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    other = seeded_policy(seed + 1_000).model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    other = json.loads(re.sub(r'"([mf]\d+_)', r'"other_\1', json.dumps(other)))
    plain["version"] += 1
    plain["measures"] = random.sample([*plain["measures"], *other["measures"]], len(plain["measures"]) + len(other["measures"]))
    for feature in plain["features"]:
        for span, longest in LONGEST.items():
            if span in feature:
                scaled = min(longest, int(feature[span] * random.choice((0.5, 1, 1, 2))))
                in_months = feature["kind"] in ("active_months", "regularity")
                feature[span] = max(8, scaled // 4 * 4) if in_months and span == "window_weeks" else max(2 if in_months else 1, scaled)
        if "when_partial" in feature:
            feature["when_partial"] = random.choice(("as_is", "missing"))
    plain["features"] += other["features"]
    for segment in plain["segments"]:
        rows = [*segment["scorecard"], *other["segments"][0]["scorecard"]]
        segment["scorecard"] = random.sample(rows, random.randint(1, len(rows)))
        change_bands(segment, random)
        change_brakes(segment, Random(f"brakes of version {seed}"))
        segment["eligibility"] = other["segments"][0].get("eligibility", [])
    return Policy.from_plain(plain)


def change_bands(segment: Plain, random: Random) -> None:
    """Other names for some bands, and one band less."""
    named = {band["name"]: f"{band['name']}_new" if random.random() < 0.4 else band["name"] for band in segment["bands"]}
    initial = segment.get("initial_standing", {"band": segment["bands"][0]["name"]})
    gone = random.choice(segment["bands"][1:])["name"]
    if gone != initial["band"] and len(segment["bands"]) > 2:
        segment["bands"] = [band for band in segment["bands"] if band["name"] != gone]
    for band in segment["bands"]:
        band["name"] = named[band["name"]]
    initial["band"] = named[initial["band"]]


def change_brakes(segment: Plain, random: Random) -> None:
    """Some of the brakes that there are, and some others."""
    brakes = {**segment.pop("brakes", {}), **random_brakes(random, [band["limit_minor"] for band in segment["bands"]])}
    if chosen := random.choice(([], ["budget_minor"], ["breaker"], list(brakes))):
        segment["brakes"] = {name: brakes[name] for name in chosen}


def carry_over(kernel: Kernel, to: Kernel) -> None:
    """Write the rows of a kernel and read them into another one of the same log, as the store and its cache do."""
    layout = to.policy.layout
    slots = np.arange(len(kernel.accounts))
    values = RowCodec(kernel.policy.layout).encode(kernel.rows, slots).without_empty()
    to.rows[:] = blank_row(layout)
    RowCodec(layout).decode(Packed.of(account.encode() for account in kernel.accounts), values, to.rows, slots)
    rebuild_rows(to.policy.program, to.rows, slots[values.is_present()])


def assert_goes_on(first: Policy, second: Policy, log: Sequence[Record], middle: int, random: Random) -> dict[str, OracleAccount]:
    """Record by record, with sweeps between them; the second version is in force from record ``middle`` on. The accounts in the end."""
    before, after = Kernel(first, log, [second]), Kernel(second, log, [first])
    policy, kernel, shard = first, before, OracleShard(first, word_bit)
    for i, record in enumerate(log):
        if i == middle:
            policy, kernel = second, after
            carry_over(before, after)
            shard.follow(second)
            kernel.keep(shard.portfolio)
        ((_, step),) = shard.take(record)
        told = [comparable_emission(kernel.emission(decision), policy) for decision in kernel.take(i, i + 1)]
        assert kernel.verdict(i) == step.verdict, record
        assert told == [comparable_emission(emission, policy) for emission in step.emissions], record
        if random.random() < 0.2:
            swept = [(kernel.accounts[d[Out.SLOT]], comparable_emission(kernel.emission(d), policy)) for d in kernel.sweep(record.clock)]
            expected = [(name, emission) for name, step in shard.take(Sweep(record.clock)) for emission in step.emissions]
            assert swept == [(name, comparable_emission(emission, policy)) for name, emission in expected]
    assert_same_state(kernel, shard)
    return shard.accounts


@pytest.mark.parametrize("seed", range(60))
def test_another_version_goes_on_from_what_it_finds(seed: int) -> None:
    first = promote(seeded_policy(seed), None, START)
    text = next_version(seeded_policy(seed), seed)
    log = seeded_log(text, seed, RECORDS)
    middle = RECORDS // 2
    second = promote(text, first, datetime.fromtimestamp(log[middle].clock / 1000, UTC))
    assert_goes_on(first, second, log, middle, Random(seed))


def test_a_jurisdiction_means_the_same_under_every_version() -> None:
    """Whatever words the versions name besides."""

    def living_in(*places: str) -> Policy:
        plain = load_policy(POLICIES / "minimal.yaml").model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        plain["segments"][0]["eligibility"] = [{"code": "home", "figure": "jurisdiction", "in": places, "text": {"zh": "-", "en": "-"}}]
        return Policy.from_plain({**plain, "version": 1 + len(places)})

    at, places = int(START.timestamp() * 1000), {"a": "CN", "b": "HK", "c": "AU"}

    def common(account_id: str, number: int) -> Plain:
        now = at + number * DAY_MS
        return {"account_id": account_id, "event_id": f"{account_id}-{number}", "occurred_at": now, "record_time": now, "clock": now}

    log: list[Record] = [Profile(**common(name, 0), as_of=at, figures={"jurisdiction": place}) for name, place in places.items()]
    log += [Purchase(**common(name, 1 + n), amount_minor=100) for n in range(3) for name in places]
    first = promote(living_in("CN"), None, START)
    second = promote(living_in("AU", "HK"), first, START)
    accounts = assert_goes_on(first, second, log, len(places), Random(0))
    assert [accounts[name].line.limit for name in "abc"] == [0, 100_000, 100_000]
