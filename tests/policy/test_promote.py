"""Promotion: a measure that stays the same keeps its column for ever, and no column is ever given twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.policy.document import Measure, Policy
from engine.policy.expand import expanded_measures
from engine.policy.promote import canonical_bytes, meaning, policy_hash, promote, rfc3339
from engine.policy.verify import verify
from tests.generate.policies import random_policy
from tests.policy.texts import policy_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(days=40)


def with_measures(policy: Policy, measures: list[Measure], features: list[Any] | None = None) -> Policy:
    changes: dict[str, Any] = {"measures": tuple(measures)}
    if features is not None:
        changes["features"] = tuple(features)
    return policy.model_copy(update=changes)


def columns(policy: Policy) -> dict[str, int]:
    return {measure.name: measure.column for measure in policy.measures if measure.column is not None}


def added(policy: Policy) -> dict[str, str | None]:
    return {measure.name: measure.added_at for measure in policy.measures}


def part(measures: str, features: str = "{name: f, kind: tenure}") -> Policy:
    return policy_of(f"measures: [{measures}]\nfeatures: [{features}]")


# The first version


def test_a_first_version_was_always_measured() -> None:
    promoted = promote(part("{name: a, event: purchase, kind: count}, {name: b, event: purchase, kind: sum}"), None, NOW)
    assert columns(promoted) == {"a": 0, "b": 1}
    assert added(promoted) == {"a": None, "b": None}
    assert promoted.next_column == 2


def test_what_the_source_says_of_columns_is_not_looked_at() -> None:
    source = part("{name: a, event: purchase, kind: count, column: 9, added_at: 2020-01-01T00:00:00Z}")
    promoted = promote(source.model_copy(update={"next_column": 77}), None, NOW)
    assert promoted == promote(part("{name: a, event: purchase, kind: count}"), None, NOW)


def test_derived_measures_are_written_out() -> None:
    policy = part(
        "{name: m, event: purchase, kind: sum, where: [{field: category, in: [a]}]}",
        "{name: f, kind: share_above, measure: m, amount_minor: 500, window_days: 30}",
    )
    promoted = promote(policy, None, NOW)
    assert columns(promoted) == {"m": 0, "m_from_500": 1}
    derived = promoted.measures[1].model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    assert derived["where"] == ({"field": "category", "in": ("a",)}, {"field": "amount_minor", "at_least": 500})
    assert verify(promoted) == []
    assert promote(policy, promoted, LATER) == promoted


# The next version


def test_what_is_the_same_stays_and_what_is_new_begins_now() -> None:
    first = promote(part("{name: a, event: purchase, kind: count}, {name: b, event: purchase, kind: sum}"), None, NOW)
    second = promote(part("{name: c, event: transfer, kind: sum}, {name: b, event: purchase, kind: sum}"), first, LATER)
    assert columns(second) == {"c": 2, "b": 1}
    assert added(second) == {"c": "2026-04-10T12:00:00.000Z", "b": None}
    third = promote(part("{name: b, event: purchase, kind: sum}"), second, LATER)
    fourth = promote(part("{name: b, event: purchase, kind: sum}, {name: c, event: transfer, kind: sum}"), third, LATER)
    assert (third.next_column, columns(fourth)) == (3, {"b": 1, "c": 3})


CHANGES = {
    "event": ("{name: a, event: purchase, kind: sum}", "{name: a, event: repayment, kind: sum}"),
    "kind": ("{name: a, event: purchase, kind: sum}", "{name: a, event: purchase, kind: count}"),
    "of": ("{name: a, event: repayment, kind: sum}", "{name: a, event: repayment, kind: sum, of: amount_due_minor}"),
    "where": (
        "{name: a, event: purchase, kind: sum, where: [{field: category, in: [x]}]}",
        "{name: a, event: purchase, kind: sum, where: [{field: category, in: [x, y]}]}",
    ),
    "minus": (
        "{name: a, event: transfer, kind: sum}",
        "{name: a, event: transfer, kind: sum, minus: [{field: direction, in: [in]}]}",
    ),
    "closed set": (
        "{name: a, event: purchase, kind: distinct, of: category, closed_set: [x, y]}",
        "{name: a, event: purchase, kind: distinct, of: category, closed_set: [y, x]}",
    ),
    "tile": ("{name: a, event: purchase, kind: sum}", "{name: a, event: purchase, kind: sum, tile: hour}"),
    "offset": ("{name: a, event: purchase, kind: sum}", "{name: a, event: purchase, kind: sum, utc_offset_minutes: 480}"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_measure_that_changes_is_a_new_one(change: str) -> None:
    before, after = CHANGES[change]
    first = promote(part(before), None, NOW)
    second = promote(part(after), first, LATER)
    assert columns(second) == {"a": 1}
    assert added(second) == {"a": rfc3339(LATER)}


SAMENESS = {
    "another name": ("{name: a, event: purchase, kind: sum}", "{name: z, event: purchase, kind: sum}"),
    "a default written out": (
        "{name: z, event: purchase, kind: sum}",
        "{name: z, event: purchase, kind: sum, of: amount_minor, tile: day}",
    ),
    "the policy's offset written out": (
        "{name: z, event: purchase, kind: sum}",
        "{name: z, event: purchase, kind: sum, utc_offset_minutes: 0}",
    ),
    "conditions and words in another order": (
        "{name: z, event: purchase, kind: sum, where: [{field: category, in: [x, y]}, {field: channel, in: [p]}]}",
        "{name: z, event: purchase, kind: sum, where: [{field: channel, in: [p]}, {field: category, in: [y, x]}]}",
    ),
}


@pytest.mark.parametrize("change", SAMENESS)
def test_a_measure_that_means_the_same_stays(change: str) -> None:
    before, after = SAMENESS[change]
    second = promote(part(after), promote(part(before), None, NOW), LATER)
    assert (columns(second), added(second)) == ({"z": 0}, {"z": None})


def test_of_equal_measures_the_name_decides() -> None:
    first = promote(part("{name: a, event: purchase, kind: sum}, {name: b, event: purchase, kind: sum}"), None, NOW)
    both = promote(part("{name: b, event: purchase, kind: sum}, {name: a, event: purchase, kind: sum}"), first, LATER)
    assert columns(both) == {"a": 0, "b": 1}
    renamed = promote(part("{name: c, event: purchase, kind: sum}, {name: b, event: purchase, kind: sum}"), first, LATER)
    assert columns(renamed) == {"c": 0, "b": 1}


def test_the_policy_s_offset_is_part_of_its_measures() -> None:
    source = part("{name: a, event: purchase, kind: sum}, {name: b, event: purchase, kind: sum, utc_offset_minutes: 60}")
    first = promote(source, None, NOW)
    second = promote(source.model_copy(update={"utc_offset_minutes": 480}), first, LATER)
    assert columns(second) == {"a": 2, "b": 1}


# How far back a measure has been kept


def total(days: int, kind: str = "count", window: str = "window_days", tile: str = "day") -> Policy:
    return part(f"{{name: m, event: purchase, kind: {kind}, tile: {tile}}}", f"{{name: f, kind: total, measure: m, {window}: {days}}}")


def test_a_longer_window_begins_with_the_oldest_tile() -> None:
    """30 days were kept: on 10 April that is from 12 March on."""
    first = promote(total(30), None, NOW)
    second = promote(total(90), first, LATER)
    assert columns(second) == {"m": 0}
    assert added(second) == {"m": "2026-03-12T00:00:00.000Z"}
    third = promote(total(90), second, LATER + timedelta(days=10))
    assert added(third) == added(second)
    shorter = promote(total(10), third, LATER + timedelta(days=20))
    assert added(shorter) == added(second)
    longer_again = promote(total(30), shorter, LATER + timedelta(days=30))
    assert added(longer_again) == {"m": "2026-05-01T00:00:00.000Z"}


def test_a_longer_window_on_hours_and_with_an_offset() -> None:
    first = promote(total(6, window="window_hours", tile="hour"), None, NOW)
    assert added(promote(total(24, window="window_hours", tile="hour"), first, LATER)) == {"m": "2026-04-10T07:00:00.000Z"}
    source = total(30).model_copy(update={"utc_offset_minutes": 480})
    grown = total(60).model_copy(update={"utc_offset_minutes": 480})
    assert added(promote(grown, promote(source, None, NOW), LATER)) == {"m": "2026-03-11T16:00:00.000Z"}


def test_a_measure_younger_than_its_tiles_stays_as_young() -> None:
    first = promote(part("{name: a, event: transfer, kind: sum}"), None, NOW - timedelta(days=100))
    second = promote(total(30), first, NOW)
    third = promote(total(90), second, NOW + timedelta(days=5))
    assert added(third) == added(second) == {"m": rfc3339(NOW)}


def test_a_balance_is_kept_for_ever() -> None:
    balance = part("{name: m, event: purchase, kind: balance}", "{name: f, kind: total, measure: m}")
    assert added(promote(balance, promote(part("{name: m, event: purchase, kind: balance}"), None, NOW), LATER)) == {"m": None}


# What is refused


def test_a_moment_needs_an_offset() -> None:
    with pytest.raises(ValueError, match="UTC offset"):
        promote(total(3), None, datetime(2026, 3, 1))  # noqa: DTZ001 - the mistake under test


def test_the_previous_version_was_promoted() -> None:
    with pytest.raises(ValueError, match="was not promoted"):
        promote(total(3), total(3), NOW)


def test_columns_run_out() -> None:
    first = promote(total(3), None, NOW).model_copy(update={"next_column": 65_536})
    assert promote(total(3), first, LATER) == first
    with pytest.raises(ValueError, match="at most 65536 measures"):
        promote(total(3, kind="sum"), first, LATER)


def test_instants_are_in_utc() -> None:
    assert rfc3339(datetime(2026, 3, 1, 8, 0, 0, 123999, timezone(timedelta(hours=8)))) == "2026-03-01T00:00:00.123Z"


# Properties

seeds = st.integers(0, 2**32)


@st.composite
def histories(draw: st.DrawFn) -> list[Policy]:
    """Versions of a policy: measures come, go, come back, change places and names."""
    pool = expanded_measures(random_policy(Random(draw(seeds)), 12))
    empty = part("{name: a, event: purchase, kind: count}")
    versions = []
    for _ in range(draw(st.integers(1, 6))):
        chosen = draw(st.lists(st.sampled_from(pool), min_size=1, unique_by=lambda measure: measure.name))
        suffix = draw(st.sampled_from(("", "", "_renamed")))
        versions.append(with_measures(empty, [m.model_copy(update={"name": m.name[:30] + suffix}) for m in chosen]))
    return versions


@settings(max_examples=100, deadline=None)
@given(histories())
def test_a_column_means_one_thing_for_ever(versions: list[Policy]) -> None:
    previous: Policy | None = None
    meanings: dict[int, object] = {}
    for day, version in enumerate(versions):
        promoted = promote(version, previous, NOW + timedelta(days=day))
        given_columns = columns(promoted)
        assert len(given_columns) == len(set(given_columns.values())) == len(promoted.measures)
        before = {measure.column for measure in previous.measures} if previous is not None else set()
        for measure in promoted.measures:
            assert measure.column is not None
            assert promoted.next_column is not None
            assert measure.column < promoted.next_column
            if measure.column not in before:
                assert measure.column not in meanings, "a number was given again"
            assert meanings.setdefault(measure.column, meaning(measure, promoted)) == meaning(measure, promoted)
        if previous is not None:
            held = [meaning(measure, previous) for measure in previous.measures]
            for measure in promoted.measures:
                new = measure.column not in before
                assert not new or held.count(meaning(measure, promoted)) < [meaning(m, promoted) for m in promoted.measures].count(
                    meaning(measure, promoted)
                )
        assert promote(promoted, promoted, NOW + timedelta(days=day + 1)) == promoted
        previous = promoted


@settings(max_examples=60, deadline=None)
@given(seeds, st.randoms(use_true_random=False))
def test_order_and_names_change_no_column(seed: int, random: Random) -> None:
    """Features of a reordered document still find their measures, so only the order changes here."""
    policy = random_policy(Random(seed), 10)
    first = promote(policy, None, NOW)
    measures = list(policy.measures)
    random.shuffle(measures)
    second = promote(with_measures(policy, measures), first, LATER)
    assert columns(second) == columns(first)
    assert added(second) == added(first)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_canonical_bytes_are_the_document(seed: int) -> None:
    policy = promote(random_policy(Random(seed), 10), None, NOW)
    raw = canonical_bytes(policy)
    again = Policy.from_plain(json.loads(raw))
    assert again == policy
    assert canonical_bytes(again) == raw
    assert policy_hash(again) == policy_hash(policy)
    assert b": " not in raw
    assert b"null" not in raw


def test_the_hash_is_the_sha256_of_the_canonical_bytes() -> None:
    policy = part("{name: a, event: purchase, kind: count}")
    assert canonical_bytes(policy) == (
        b'{"currency":"CNY","features":[{"kind":"tenure","name":"f"}],"measures":[{"event":"purchase","kind":"count","name":"a"}],'
        b'"policy":"small","segments":[{"bands":[{"limit_minor":0,"name":"none"}],"base_points":0,"cool_down":{"down_days":0,"up_days":0},'
        b'"limits":{"legal_cap_minor":0,"product_cap_minor":0,"round_to_minor":1},"name":"individual",'
        b'"scorecard":[{"bins":[{"points":0}],"feature":"f","missing":0}]}],"version":1}'
    )
    assert len(policy_hash(policy)) == 64
    assert policy_hash(policy) != policy_hash(policy.model_copy(update={"version": 2}))


def test_a_week_that_looks_further_back_is_filled_since_its_oldest_week() -> None:
    measure = "{name: m, event: purchase, kind: count, tile: week}"
    first = promote(part(measure, "{name: f, kind: total, measure: m, window_weeks: 2}"), None, NOW)
    second = promote(part(measure, "{name: f, kind: total, measure: m, window_weeks: 3}"), first, LATER)
    assert LATER.isoformat() == "2026-04-10T12:00:00+00:00"  # a Friday: the week began on the 9th, the one before on the 2nd
    assert added(second) == {"m": "2026-04-02T00:00:00.000Z"}


def test_a_measure_means_what_the_measures_it_names_mean() -> None:
    def policy(seen: str, trips: str, purpose: str = "loan", days: int = 5) -> Policy:
        return part(
            f"{{name: {seen}, event: transfer, kind: last_seen, where: [{{field: purpose, in: [{purpose}]}}]}}, "
            f"{{name: {trips}, event: transfer, kind: round_trips, within_days: {days}}}, "
            f"{{name: m, event: repayment, kind: count, where: [{{field: days_since, of: {seen}, at_most: 3}}]}}, "
            f"{{name: n, event: transfer, kind: sum, net_of: {trips}}}"
        )

    first = promote(policy("a", "b"), None, NOW)
    assert columns(first) == {"a": 0, "b": 1, "m": 2, "n": 3}
    renamed = promote(policy("c", "d"), first, LATER)
    assert columns(renamed) == {"c": 0, "d": 1, "m": 2, "n": 3}
    another_loan = promote(policy("a", "b", purpose="draw"), first, LATER)
    assert columns(another_loan) == {"a": 4, "b": 1, "m": 5, "n": 3}
    other_days = promote(policy("a", "b", days=6), first, LATER)
    assert columns(other_days) == {"a": 0, "b": 4, "m": 2, "n": 5}
