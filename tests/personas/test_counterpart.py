"""Core banking tells what it has applied and nothing that it cannot know; who answers does so once, in time, and by the contract."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

import pytest
from pydantic import TypeAdapter

from schemas.commands import Command
from scripts.counterpart import ASK_SHARE, REVIEW_DAYS, REVIEW_SHARE, THINK_DAYS, CoreBanking, Counterpart, ms_of
from scripts.personas import DAY_MS, HOUR_MS, instant
from scripts.spoil import Arrival, encode

NOON_MS: Final = ms_of("2026-03-02T12:00:00+08:00")
SEED: Final = 1
OFFERS: Final = 400


def change(sequence: int, limit_minor: int, at_ms: int = NOON_MS, account: str = "a", **standing: Any) -> dict[str, Any]:
    """As much of a limit change as is read."""
    full = {"limit_minor": limit_minor, "temporary": None} | standing
    about = {"event_id": f"{account}/{sequence}", "account_id": account, "occurred_at": instant(at_ms)}
    return about | {"kind": "increase", "sequence": sequence, "standing": full}


def offer(n: int, at_ms: int = NOON_MS) -> dict[str, Any]:
    """An offer of 7,000 yuan to the n-th account, which has 2,000."""
    return change(2, 200_000, at_ms, f"a{n}", offer={"offer_id": "offer-2", "limit_minor": 700_000}) | {"kind": "offer"}


def profile(at_ms: int, account: str = "a", **figures: Any) -> Arrival:
    """A snapshot as it arrives."""
    return Arrival(at_ms, 1, "account-profiles", account.encode(), encode({"account_id": account, "as_of": instant(at_ms)} | figures))


def applied(core: CoreBanking, arrival: Arrival) -> dict[str, int] | None:
    """What a snapshot tells of it."""
    told: dict[str, int] | None = json.loads(core.snapshot(arrival).value).get("applied")
    return told


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> CoreBanking:
    """One to which nothing gets lost."""
    monkeypatch.setattr("scripts.counterpart.LOST_SHARE", 0)
    return CoreBanking(SEED)


def test_the_last_change_is_told(core: CoreBanking) -> None:
    for sequence in (1, 3, 2, 3):  # one comes late, one twice
        core.hear(change(sequence, 1_000 * sequence))
    assert applied(core, profile(NOON_MS + HOUR_MS)) == {"sequence": 3, "limit_minor": 3_000}
    core.heard_ms = NOON_MS
    assert applied(core, profile(NOON_MS + HOUR_MS, "b")) == {"sequence": 0, "limit_minor": 0}
    assert applied(core, profile(NOON_MS + HOUR_MS, "b", granted={"limit_minor": 7})) == {"sequence": 0, "limit_minor": 7}


def test_a_temporary_limit_ends_by_itself(core: CoreBanking) -> None:
    core.hear(change(1, 1_000, temporary={"limit_minor": 5_000, "until": instant(NOON_MS + HOUR_MS)}))
    assert applied(core, profile(NOON_MS + HOUR_MS - 1)) == {"sequence": 1, "limit_minor": 5_000}
    assert applied(core, profile(NOON_MS + HOUR_MS)) == {"sequence": 1, "limit_minor": 1_000}


def test_who_is_behind_tells_nothing(core: CoreBanking) -> None:
    assert applied(core, profile(NOON_MS)) is None
    core.hear(change(1, 1_000))
    assert applied(core, profile(NOON_MS + DAY_MS)) is not None
    assert applied(core, profile(NOON_MS + DAY_MS + 1)) is None
    core.hear(change(1, 1_000, NOON_MS + DAY_MS, "b"), shard=1)
    assert applied(core, profile(NOON_MS + DAY_MS + 1)) is None
    core.hear(change(1, 1_000, NOON_MS + DAY_MS, "c"))
    assert applied(core, profile(NOON_MS + DAY_MS + 1)) is not None


def test_what_was_lost_is_found_when_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    core = CoreBanking(SEED)
    core.hear(change(1, 1_000))
    monkeypatch.setattr("scripts.counterpart.LOST_SHARE", 1)
    core.hear(change(2, 2_000))
    assert applied(core, profile(NOON_MS)) == {"sequence": 1, "limit_minor": 1_000}
    about = {"event_id": "m", "account_id": "a", "occurred_at": instant(NOON_MS)}
    core.hear(about | {"kind": "standing_mismatch", "sequence": 2, "limit_minor": 2_000})
    assert applied(core, profile(NOON_MS)) == {"sequence": 2, "limit_minor": 2_000}


def test_other_records_pass_as_they_are(core: CoreBanking) -> None:
    core.hear(change(1, 1_000))
    purchase = Arrival(NOON_MS, 1, "purchases", b"a", b"{broken")
    assert core.snapshot(purchase) is purchase


def answers(days: int) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """What so many offers are answered with day by day: of each account when, and the command."""
    counterpart = Counterpart(SEED, NOON_MS)
    for n in range(OFFERS):
        counterpart.hear(offer(n))
    found: dict[str, list[tuple[int, dict[str, Any]]]] = {f"a{n}": [] for n in range(OFFERS)}
    for day in range(days):
        for arrival in counterpart.due(NOON_MS + day * DAY_MS):
            value = json.loads(arrival.value)
            TypeAdapter(Command).validate_json(arrival.value)
            assert (arrival.topic, arrival.key) == ("limit-commands", value["account_id"].encode())
            assert arrival.at_ms - DAY_MS < ms_of(value["issued_at"]) <= arrival.at_ms
            found[value["account_id"]].append((day, value))
    assert not list(counterpart.due(NOON_MS + 100 * DAY_MS))
    return found


def test_offers_are_answered_once_within_the_days_that_people_think() -> None:
    kinds: Counter[str] = Counter()
    for told in answers(THINK_DAYS + 3).values():
        mine = [value["kind"] for _, value in told if value["issued_by"] == "app"]
        kinds[" ".join(mine)] += 1
        assert all(day <= THINK_DAYS + 1 for day, value in told if value["kind"] in ("accept_offer", "decline_offer"))
    assert kinds.keys() == {"", "accept_offer", "decline_offer", "set_ceiling accept_offer request_increase"}
    assert kinds["accept_offer"] > kinds["decline_offer"] > kinds["set_ceiling accept_offer request_increase"] > OFFERS // 10
    assert kinds[""] > OFFERS // 20


def test_half_of_an_offer_is_what_lies_between() -> None:
    half = [value for told in answers(THINK_DAYS + 3).values() for _, value in told if value["kind"] in ("set_ceiling", "request_increase")]
    assert {value.get("ceiling_minor", value.get("requested_limit_minor")) for value in half} == {450_000}


def test_the_desk_looks_into_some_before_they_can_answer() -> None:
    """It keeps the limit as it is until the offer is gone."""
    reviewed = [told for told in answers(THINK_DAYS + 3).values() if told and told[0][1]["kind"] == "override"]
    assert 0.5 * REVIEW_SHARE < len(reviewed) / OFFERS < 1.5 * REVIEW_SHARE
    for (_, override), *others in reviewed:
        assert override["limit_minor"] == 200_000
        assert ms_of(override["until"]) - ms_of(override["issued_at"]) == REVIEW_DAYS * DAY_MS
        assert all(ms_of(override["issued_at"]) < ms_of(value["issued_at"]) for _, value in others)


def test_the_answer_is_the_outputs() -> None:
    """Not that of the order in which outputs are heard."""
    there, back = Counterpart(SEED, NOON_MS), Counterpart(SEED, NOON_MS)
    for n in range(OFFERS):
        there.hear(offer(n))
        back.hear(offer(OFFERS - 1 - n))
    end_ms = NOON_MS + 30 * DAY_MS
    assert list(there.due(end_ms)) == list(back.due(end_ms))


def test_what_was_due_before_is_not_answered() -> None:
    counterpart = Counterpart(SEED, NOON_MS)
    for n in range(OFFERS):
        counterpart.hear(offer(n, NOON_MS - (THINK_DAYS + 1) * DAY_MS))
    assert not list(counterpart.due(NOON_MS + 30 * DAY_MS))


def test_few_ask_for_more() -> None:
    counterpart = Counterpart(SEED, 0)
    about = {"account_id": "a", "occurred_at": instant(NOON_MS), "kind": "increase_withheld"}
    for n in range(1_000):
        counterpart.hear(about | {"event_id": f"e{n}"})
    asked = [json.loads(arrival.value) for arrival in counterpart.due(NOON_MS + 3 * DAY_MS)]
    assert {value["kind"] for value in asked} == {"request_increase"}
    assert 0.5 * ASK_SHARE < len(asked) / 1_000 < 2 * ASK_SHARE


def test_answers_stand_where_they_are_due() -> None:
    counterpart = Counterpart(SEED, 0)
    arrivals = iter([profile(NOON_MS), profile(NOON_MS + 4 * DAY_MS), profile(NOON_MS + 5 * DAY_MS)])
    stream = counterpart.among(arrivals)
    assert next(stream).at_ms == NOON_MS
    counterpart.hear({"account_id": "a", "occurred_at": instant(NOON_MS), "kind": "suspected_takeover", "event_id": "e"})
    rest = list(stream)
    assert [arrival.topic for arrival in rest] == ["limit-commands", "account-profiles", "account-profiles"]
    assert [arrival.at_ms for arrival in rest] == sorted(arrival.at_ms for arrival in rest)
