"""The policies that come with the engine, and what any mutilation of them is told."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.policy import document as doc
from engine.policy import verify_segments
from engine.policy.cost import example_cost
from engine.policy.errors import PolicyErrors
from engine.policy.expand import expanded_measures, measures_read, tiles_kept
from engine.policy.promote import promote
from engine.policy.source import from_plain, load_policy, parse_policy
from engine.policy.verify import verify

POLICIES = Path(__file__).parents[2] / "policies"
DEFAULT = POLICIES / "default.yaml"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def policy() -> doc.Policy:
    return load_policy(DEFAULT, NOW)


@pytest.mark.parametrize("file", sorted(POLICIES.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_policy_can_be_promoted(file: Path) -> None:
    promoted = promote(load_policy(file, NOW), None, NOW)
    assert promoted.policy == file.stem
    assert verify(promoted) == []


def test_minimal_is_minimal() -> None:
    assert len((POLICIES / "minimal.yaml").read_text("utf-8").splitlines()) <= 15
    assert load_policy(POLICIES / "minimal.yaml").needs_profile is False


def test_default_has_every_kind(policy: doc.Policy) -> None:
    measures = Counter(measure.kind for measure in policy.measures)
    assert set(measures) == set(get_args(doc.Measure.model_fields["kind"].annotation))
    kinds = {get_args(model.model_fields["kind"].annotation)[0] for model in get_args(get_args(doc.Feature)[0])}
    features = Counter(feature.kind for feature in policy.features)
    assert len(kinds) == 18
    assert set(features) == kinds
    assert {measure.event for measure in policy.measures} == set(get_args(doc.SourceEvent))
    assert {measure.tile for measure in policy.measures} == set(get_args(doc.Measure.model_fields["tile"].annotation))
    assert {feature.about for feature in policy.features} == set(get_args(doc.About))
    assert all(feature.about for feature in policy.features)
    conditions = {condition.field for measure in policy.measures for condition in measure.where}
    assert {"days_since", "local_hour", "amount_minor"} <= conditions


def every_test(segment: doc.Segment) -> list[doc.Test]:
    """Every test of a segment: requirements, signals, warnings."""
    return [test for test, _ in verify_segments.tests_with_paths(segment, ())]


def test_default_protects(policy: doc.Policy) -> None:
    """Both clienteles: no sign alone freezes, no increase by night, by surprise or against a consent, time to arrange for a lower limit."""
    for segment in policy.segments:
        takeover, increases = segment.protection.takeover, segment.increases
        assert takeover is not None
        assert all(2 * signal.points < takeover.freeze_from for signal in takeover.signals)
        assert segment.protection.over_borrowing
        assert segment.notices.decrease_days >= 7
        assert increases.quiet_hours is not None
        assert increases.quiet_hours.to_hour <= policy.sweep_hour < increases.quiet_hours.from_hour
        assert not increases.unsolicited_offers
        assert segment.commands.second_person_from_minor is not None
        assert segment.commands.second_person_from_minor < segment.bands[-1].limit_minor
        assert segment.limits.step_up_minor is not None
        assert {r.guard for r in segment.eligibility} >= {"not_eligible", "identity_lapsed", "over_indebted"}
    consents = {s.name: (s.increases.consent, any(r.code == "consent_not_given" for r in s.eligibility)) for s in policy.segments}
    assert consents == {"individual": ("needed", False), "enterprise": ("not_needed", True)}, "a requirement would leave no offer to make"


def test_default_costs_less_than_courts_protect(policy: doc.Policy) -> None:
    for segment in policy.segments:
        assert segment.rates is not None
        dear, *_, cheap = (example_cost(segment.rates.example, tier).apr_effective_bp for tier in segment.rates.tiers)
        assert cheap < dear < 2_400
        assert segment.rates.rise_notice_days >= 30


def measures_needed(measure: doc.Measure) -> tuple[str, ...]:
    """Names of the measures that another one looks at: what its conditions measure time from, and what it is net of."""
    since = [condition.of for condition in (*measure.where, *measure.minus) if condition.of is not None]
    return tuple(dict.fromkeys(since if measure.net_of is None else [*since, measure.net_of]))


def test_default_uses_what_it_defines(policy: doc.Policy) -> None:
    scored = {c.feature for segment in policy.segments for c in segment.scorecard}
    required = {test.feature for segment in policy.segments for test in every_test(segment)}
    assert {feature.name for feature in policy.features} == scored | (required - {None})
    assert len(scored) >= 25
    read = {name for feature in policy.features for name in measures_read(feature)}
    needed = {name for measure in policy.measures for name in measures_needed(measure)}
    assert {measure.name for measure in expanded_measures(policy)} == read | needed
    assert sum(tiles_kept(policy).values()) < 3000, "an account's row should stay small"


def test_default_serves_persons_and_businesses(policy: doc.Policy) -> None:
    assert (policy.currency, policy.utc_offset_minutes, policy.needs_profile) == ("CNY", 480, True)
    highest = {segment.name: segment.bands[-1].limit_minor for segment in policy.segments}
    assert highest == {"individual": 20_000_000, "enterprise": 100_000_000}
    for segment in policy.segments:
        assert 5 <= len(segment.bands) <= 6
        assert segment.bands[0].limit_minor == 0
        assert all(band.up_margin and band.down_margin for band in segment.bands[1:])
        assert len(segment.scorecard) >= 25
        best = segment.base_points + sum(max(b.points for b in c.bins) for c in segment.scorecard)
        highest_band = segment.bands[-1]
        assert highest_band.lower is not None
        assert best > highest_band.lower + highest_band.up_margin + 100, "the best band is within reach"
        unknown = segment.base_points + sum(c.missing for c in segment.scorecard)
        assert segment.bands[1].lower is not None
        assert unknown < segment.bands[1].lower, "nothing known is nothing granted"


def test_default_speaks_to_customers(policy: doc.Policy) -> None:
    """Every reason can be told in both languages, in words of its own."""
    scorecards = [characteristic for segment in policy.segments for characteristic in segment.scorecard]
    favourable = {c.feature for c in scorecards if max(b.points for b in c.bins) > 0}
    texts = [feature.text for feature in policy.features]
    texts += [feature.adverse_text for feature in policy.features if feature.name in {c.feature for c in scorecards}]
    texts += [feature.favourable_text for feature in policy.features if feature.name in favourable]
    texts += [test.text for segment in policy.segments for test in every_test(segment)]
    assert all(set(text) == {"zh", "en"} for text in texts)
    assert {feature.name for feature in policy.features if feature.favourable_text} == favourable, "said only where points can be won"
    for language in get_args(doc.Total.model_fields["text"].annotation)[0].__args__:
        told = [
            text[language] for feature in policy.features for text in (feature.text, feature.favourable_text, feature.adverse_text) if text
        ]
        assert len(set(told)) == len(told)
        assert not [text for text in told if "_" in text or text.endswith((".", "。"))]


def test_default_advises(policy: doc.Policy) -> None:
    """Both clienteles, each way and in words of its own; nothing that only waiting would change."""
    advice = {feature.name: feature.advice for feature in policy.features if feature.advice is not None}
    for segment in policy.segments:
        assert sum(characteristic.feature in advice for characteristic in segment.scorecard) >= 8
    assert {said.direction for said in advice.values()} == {"raise", "lower"}
    assert not [feature.name for feature in policy.features if feature.kind == "tenure" and feature.name in advice]
    for language in ("zh", "en"):
        told = [said.text[language] for said in advice.values()]
        assert len(set(told)) == len(told)
        assert not [text for text in told if text.replace("{at_least}", "").count("_") or text.endswith((".", "。"))]


def test_default_gives_nothing_for_what_is_not_known(policy: doc.Policy) -> None:
    """So a reason for a grant or an increase is never a missing value."""
    assert [c.feature for segment in policy.segments for c in segment.scorecard if c.missing > 0] == []


# Whatever is broken, the answer is a list of mistakes

SMALL = (POLICIES / "minimal.yaml").read_bytes()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_torn_file_is_told(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SMALL)))
    end = data.draw(st.integers(start, min(len(SMALL), start + 30)))
    raw = SMALL[:start] + data.draw(st.binary(max_size=3) | st.sampled_from([b"\t", b"- ", b": ", b"'", b"[", b"&a ", b"*a"])) + SMALL[end:]
    try:
        parse_policy(raw, "x.yaml")
    except PolicyErrors as found:
        assert found.errors
        assert all(error.line and error.column and error.message for error in found.errors)


@cache
def default_plain() -> dict[str, Any]:
    """The default policy as plain values; not to be changed."""
    return load_policy(DEFAULT, NOW).model_dump(mode="json", by_alias=True, exclude_none=True)


@settings(max_examples=150, deadline=None)
@given(st.data())
@example(None)
def test_any_value_in_any_place_is_told(data: st.DataObject | None) -> None:
    plain = deepcopy(default_plain())
    for _ in range(3 if data is not None else 0):
        assert data is not None
        _mutilate(plain, data)
    try:
        assert verify(from_plain(plain, "x")) == []
    except PolicyErrors as found:
        assert data is not None
        assert found.errors
        assert len({str(error) for error in found.errors}) == len(found.errors)


def _mutilate(plain: Any, data: st.DataObject) -> None:
    """Replace or remove a value somewhere inside."""
    while True:
        places = list(plain) if isinstance(plain, dict) else list(range(len(plain)))
        place = data.draw(st.sampled_from(places))
        inner = plain[place]
        if isinstance(inner, dict | list) and inner and data.draw(st.integers(0, 4)):
            plain = inner
            continue
        if data.draw(st.booleans()):
            del plain[place]
        else:
            plain[place] = data.draw(st.sampled_from([None, True, -1, 10**30, 0.5, "", "x" * 100, "in", [], {}, [[]], {"kind": 5}]))
        return
