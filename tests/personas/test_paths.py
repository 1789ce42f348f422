"""Each synthetic customer's limits go the way that a risk analyst would expect of its description, under the default policy and any seed."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from schemas.changes import LimitChange
from scripts.personas import PERSONAS, Item, life
from tests.personas.lives import POLICY, START_MS, Outcome, at_ms_of, day_of, decided, log_of

DAYS: Final = 360
SEEDS: Final = range(12)
PATHS: Final[dict[str, dict[str, Any]]] = YAML(typ="safe", pure=True).load(Path(__file__).with_name("paths.yaml").read_text("utf-8"))
QUIET: Final = ("announce", "announce_withdrawn", "rate_change")  # they change neither the limit nor whether it may be drawn
EACH_LIFE: Final = pytest.mark.parametrize(("persona", "seed"), [(persona, seed) for persona in PERSONAS for seed in SEEDS])


def name_of(persona: str, seed: int) -> str:
    return f"{persona}-{seed}"


@pytest.fixture(scope="module")
def lives() -> dict[str, list[Item]]:
    """Every life, by account."""
    return {name_of(p, seed): life(p, name_of(p, seed), seed, START_MS, DAYS) for p in PERSONAS for seed in SEEDS}


@pytest.fixture(scope="module")
def outcome(lives: dict[str, list[Item]]) -> Outcome:
    """What the engine made of all of them together; offsets are places in the whole log, from 1."""
    return decided(log_of(sorted(item for items in lives.values() for item in items)))


def days_of(changes: list[dict[str, Any]], *kinds: str) -> list[int]:
    """The days of the changes of these kinds."""
    return [day_of(at_ms_of(change["occurred_at"])) for change in changes if change["kind"] in kinds]


def test_every_persona_has_a_path() -> None:
    assert list(PATHS) == list(PERSONAS)


def taken(outcome: Outcome) -> int:
    """Records that counted; some come before there is a profile."""
    return outcome.verdicts["accepted"] + outcome.verdicts["no_profile"]


def test_every_record_is_taken(outcome: Outcome, lives: dict[str, list[Item]]) -> None:
    assert outcome.dead_letters == []
    assert taken(outcome) == sum(map(len, lives.values()))


@EACH_LIFE
def test_the_limit_goes_its_way(persona: str, seed: int, outcome: Outcome) -> None:
    expected, changes = PATHS[persona], outcome.changes[name_of(persona, seed)]
    steps = [f"{change['kind']}:{change['standing']['band']}" for change in changes if change["kind"] not in QUIET]
    path = " ".join(step for step, _ in groupby(steps))
    assert re.fullmatch(expected["path"], path), path
    for kind, (first, last) in expected.get("first", {}).items():
        assert first <= days_of(changes, kind)[0] <= last, kind
    if "not_raised" in expected:
        first, last = expected["not_raised"]
        assert not [day for day in days_of(changes, "grant", "increase") if first <= day <= last]
    if "highest" in expected:
        least, most = expected["highest"]
        assert least <= max(change["standing"]["limit_minor"] for change in changes) <= most
    if "ends" in expected:
        standing, ends = changes[-1]["standing"], expected["ends"]
        assert re.fullmatch(ends["band"], standing["band"] or "")
        assert standing["blocks"] == ends["blocks"]
        assert standing["drawing_allowed"] == (standing["state"] == "open" and not ends["blocks"])
        assert ends["limit_minor"][0] <= standing["limit_minor"] <= ends["limit_minor"][1]


@EACH_LIFE
def test_the_customer_is_told_why(persona: str, seed: int, outcome: Outcome) -> None:
    """In both languages; of a raised limit only what added points, of a takeover the signs that held."""
    features = {feature.name: feature for feature in POLICY.features}
    takeover = POLICY.segments[0].protection.takeover
    assert takeover is not None
    signs = {signal.code: signal.text for signal in takeover.signals}
    for change in outcome.changes[name_of(persona, seed)]:
        assert 1 <= len(change["reasons"]) <= 4
        assert all(set(reason["text"]) == {"zh", "en"} and all(reason["text"].values()) for reason in change["reasons"])
        rows = {row["feature"]: row for row in change["trace"]["features"]}
        for reason in change["reasons"]:
            if change["kind"] == "freeze" and reason["feature"] is not None:
                assert reason["text"] == signs[reason["code"]]
            elif reason["feature"] is not None:
                feature, is_lowered = features[reason["feature"]], change["kind"] in ("decrease", "announce")
                assert is_lowered or rows[feature.name]["points"] > 0, reason["code"]
                if rows[feature.name]["value"] is None:
                    assert all(name in reason["text"][language] for language, name in feature.text.items())
                else:
                    assert reason["text"] == (feature.adverse_text if is_lowered else feature.favourable_text)


@EACH_LIFE
def test_the_customer_is_told_what_to_do(persona: str, seed: int, outcome: Outcome) -> None:
    """In both languages, with the value to reach written out, and only of what its scorecard shows at that moment."""
    for change in outcome.changes[name_of(persona, seed)]:
        LimitChange.model_validate_json(json.dumps(change))
        rows = {row["feature"]: row for row in change["trace"]["features"]}
        assert sum(advice["feature"] is not None for advice in change["advice"]) <= 3
        for advice in change["advice"]:
            assert set(advice["text"]) == {"zh", "en"}
            assert not [text for text in advice["text"].values() if not text or "{" in text]
            if advice["feature"] is not None:
                assert advice["value"] == rows[advice["feature"]]["value"]
                assert (advice["value_needed"] > advice["value"]) == advice["code"].endswith("_raise")


def test_there_is_something_to_do(outcome: Outcome) -> None:
    """After most grants and decreases; where nothing is advised, more than three things would be needed, or nothing is higher."""
    limits = [change for changes in outcome.changes.values() for change in changes if change["kind"] in ("grant", "decrease")]
    assert 2 * sum(bool(change["advice"]) for change in limits) > len(limits)
    assert not [c for changes in outcome.changes.values() for c in changes if c["kind"] in ("freeze", "unfreeze", "close") and c["advice"]]


def story_of(account: str, lives: dict[str, list[Item]], outcome: Outcome) -> list[tuple[Item, dict[str, Any]]]:
    """Each record of an account with the standing after it."""
    story, standing, place, changes = [], {"limit_minor": 0, "blocks": []}, 0, outcome.changes[account]
    for item in lives[account]:
        while place < len(changes) and is_done(changes[place]["cause"], item):
            standing = changes[place]["standing"]
            place += 1
        story.append((item, standing))
    return story


def is_done(cause: dict[str, Any], item: Item) -> bool:
    """Whether a change was caused by this record, or by a tick before it."""
    own = item.value.get("event_id", item.value.get("command_id"))
    return at_ms_of(cause["at"]) <= item.at_ms if cause["kind"] == "tick" else bool(cause["id"] == own)


@EACH_LIFE
def test_drawing_is_blocked_while_30_days_past_due(persona: str, seed: int, lives: dict[str, list[Item]], outcome: Outcome) -> None:
    """Counted anew from the repayments alone."""
    due: dict[tuple[str, str], int] = {}
    paid: dict[tuple[str, str], int] = {}
    for item, standing in story_of(name_of(persona, seed), lives, outcome):
        if item.topic == "repayments":
            instalment = item.value["loan_id"], item.value["due_at"]
            due[instalment] = item.value["amount_due_minor"]
            paid[instalment] = paid.get(instalment, 0) + item.value["amount_minor"]
        is_open = [due_at for (loan, due_at), amount in due.items() if paid[loan, due_at] < amount - POLICY.arrears.tolerance_minor]
        oldest = min((day_of(at_ms_of(due_at)) for due_at in is_open), default=day_of(item.at_ms))
        assert ("past_due" in standing["blocks"]) == (day_of(item.at_ms) - oldest >= 30), (item, oldest)


@EACH_LIFE
def test_nobody_draws_more_than_there_is(persona: str, seed: int, lives: dict[str, list[Item]], outcome: Outcome) -> None:
    """The lives do not know the limits, but they are meant for those of the default policy."""
    owed, limit = 0, 0
    over = []
    for item, standing in story_of(name_of(persona, seed), lives, outcome):
        value = item.value
        draws = value.get("purpose") == "draw" or value.get("funded_by") == "credit"
        if item.topic == "account-profiles":
            owed = value["exposure_minor"]
        elif draws:
            owed += value["amount_minor"]
            over += [value] if owed > limit else []
        elif item.topic == "repayments":
            owed = max(0, owed - value["amount_minor"])
        limit = standing["limit_minor"]
    assert not over or not PATHS[persona].get("in_limit", True)


@EACH_LIFE
def test_a_profile_says_what_is_owed_at_its_moment(persona: str, seed: int, lives: dict[str, list[Item]]) -> None:
    """Principal and interest of the loans drawn before it, without what was repaid before it."""
    items = lives[name_of(persona, seed)]
    drawn = items[0].value["exposure_minor"] if PATHS[persona].get("owes_before") else 0
    for item in items:
        if item.topic == "account-profiles":
            told = item.value["exposure_minor"]
            assert told >= drawn - sum(i.value["amount_minor"] for i in items if i.topic == "repayments" and i.at_ms < item.at_ms)
            assert told <= drawn * 3 // 2
        elif item.value.get("purpose") == "draw" or item.value.get("funded_by") == "credit":
            drawn += item.value["amount_minor"]


def test_a_life_is_its_seeds() -> None:
    for persona in PERSONAS:
        once, again, other = (life(persona, "a", seed, START_MS, 90) for seed in (1, 1, 2))
        assert [(item, item.value) for item in once] == [(item, item.value) for item in again]
        assert [item.value for item in once] != [item.value for item in other], persona


@pytest.mark.parametrize("days", [1, 29, 61, 500])
def test_a_life_may_be_of_any_length(days: int) -> None:
    items = sorted(item for persona in PERSONAS for item in life(persona, persona, 7, START_MS, days))
    outcome = decided(log_of(items))
    assert outcome.dead_letters == []
    assert taken(outcome) == len(items)
    assert all(0 <= day_of(item.at_ms) <= days for item in items)
