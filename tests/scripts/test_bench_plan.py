"""What the benchmark runs when it is asked for all, for little, and for one thing."""

from __future__ import annotations

import argparse

import pytest

from scripts.benchmark.load import Load, events, two_days
from scripts.benchmark.plan import acts, names
from scripts.personas import DAY_MS

LOAD = Load(events=1_000, accounts=100_000, start_ms=1_700_000_000_000)
SIDE_BY_SIDE = ["engine", "plain-agent", "faust-tables", "quix-streams", "bytewax", "roofline"]


def planned(only: str | None = None, *, quick: bool = False) -> list[list[str]]:
    """The names of the contenders of each act."""
    asked = argparse.Namespace(only=only, quick=quick, partitions=4, plain_seconds=1.0, sizes=[10_000, 100_000])
    return [[contender.name for contender in act.contenders] for act in acts(asked, LOAD)]


def test_everything_is_run_where_nothing_is_named() -> None:
    assert planned() == [SIDE_BY_SIDE, ["engine-complete"], ["hot-account"], ["two-workers"], ["accounts-10000"]]


def test_quick_is_what_stands_side_by_side() -> None:
    assert planned(quick=True) == [SIDE_BY_SIDE, ["engine-complete"]]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("engine", [["engine"]]),
        ("bytewax", [["bytewax"]]),
        ("engine-complete", [["engine-complete"]]),
        ("hot-account", [["engine"], ["hot-account"]]),
        ("two-workers", [["engine"], ["two-workers"]]),
        ("accounts", [["engine"], ["accounts-10000"]]),
        ("sweep", []),
    ],
)
def test_one_thing_brings_along_what_it_is_compared_with(only: str, expected: list[list[str]]) -> None:
    assert planned(only) == planned(only, quick=True) == expected
    assert only in names()


def test_a_hot_account_has_its_share() -> None:
    load = Load(events=4_000, accounts=1_000, start_ms=1_700_000_000_000, hot_share=0.5)
    keys = [arrival.key for arrival in events(load)]
    assert 0.45 < max(map(keys.count, set(keys))) / len(keys) < 0.65


def test_two_days_are_two_days_apart_and_no_account_is_left_out() -> None:
    load = Load(events=50, accounts=20, start_ms=1_700_000_000_000)
    arrivals = list(two_days(load))
    assert len({arrival.key for arrival in arrivals[:20]}) == 20
    assert arrivals[19].at_ms < load.start_ms + 60_001
    assert all(0 <= arrival.at_ms - load.start_ms - 2 * DAY_MS < 60_000 for arrival in arrivals[20:])
    assert [arrival.at_ms for arrival in arrivals] == sorted(arrival.at_ms for arrival in arrivals)
