"""What is sent instead of a dead letter: where to, with which key and timestamp, and what is not sent."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from engine.core.fingerprint import FingerprintKey
from engine.policy.compile import compile_policy
from engine.policy.source import load_policy
from engine.settings import DEFAULT_KEY
from engine.stream.backlog import Backlog, Event, Letter, Place
from engine.stream.copies import CURES, OF_A_WISH, OF_CONTROL, OF_NOTHING, Copies, Copy, cure_of
from engine.stream.corrections import corrections, matched
from engine.stream.decode.misrouting import partition_of
from engine.stream.records import Headers
from engine.stream.redrive import Orders, planned
from engine.stream.topics import TopicState, settings_of
from schemas import dead_letters as names
from schemas.topics import FOREVER, TOPICS
from tests.cli.program import ROOT

NOW: Final = 1_790_812_800_000  # 2026-10-01
HOUR, DAY = 3_600_000, 86_400_000
KEY: Final = FingerprintKey.from_hex(DEFAULT_KEY)
RULES: Final = compile_policy(load_policy(ROOT / "policies" / "minimal.yaml"), KEY).decode
PARTITIONS: Final = 12
HOME: Final = partition_of(b"acc-1001", PARTITIONS)


def copies(now_ms: int = NOW, *, for_ever: bool = False) -> Copies:
    """Under the minimal policy (its horizon is 30 days), on topics as they are created."""
    states = [TopicState(spec.name, "id", PARTITIONS, 1, settings_of(spec, FOREVER if for_ever else spec.retention_ms)) for spec in TOPICS]
    return Copies(RULES, KEY, states, now_ms)


def rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def purchase(at_ms: int = NOW - HOUR, **fields: Any) -> bytes:
    record = {
        "event_id": "pu-1", "account_id": "acc-1001", "occurred_at": rfc3339(at_ms), "amount_minor": 100, "currency": "CNY",
        "category": "dining", "channel": "app", "merchant_id": "m-1", "funded_by": "own",
    }  # fmt: skip
    return json.dumps(record | fields).encode()


def letter(
    value: bytes | None, recorded_ms: int = NOW - HOUR, key: bytes | None = b"acc-1001", headers: Headers = (), topic: str = "purchases"
) -> Letter:
    event = Event(topic, "", "acc-1001", "pu-1")
    return Letter(Place("dead-letters", 5, 17), NOW - HOUR, Place(topic, 5, 4), recorded_ms, "misrouted", "why", key, value, headers, event)


def test_a_misrouted_record_goes_to_its_keys_partition_as_it_came() -> None:
    own: Headers = (("ce_source", b"/a"), ("empty", None), (names.REPLAY_OF, b"dead-letters-1@1"))
    copy = copies().of(letter(purchase(), headers=own))
    assert (copy.partition, copy.key, copy.value, copy.timestamp_ms) == (HOME, b"acc-1001", purchase(), NOW - HOUR)
    assert copy.headers == (("ce_source", b"/a"), (names.REPLAY_OF, b"dead-letters-5@17")), "it names the newest dead letter alone"
    assert (copy.reject, copy.is_corrected) == (None, False)


def refused(copy: Copy) -> str | None:
    return None if copy.reject is None else copy.reject.disposition


def test_what_would_be_refused_again_is_known_before() -> None:
    made = copies()
    assert refused(made.of(letter(purchase(note="x")))) == "unknown_field"
    assert refused(made.of(letter(purchase(currency="USD")))) == "currency_mismatch"
    assert refused(made.of(letter(b"{"))) == "not_json"
    assert refused(made.of(letter(purchase(), headers=(("ce_id", b"other"),)))) == "invalid"
    for key in (b"acc-7", None):
        keyed = made.of(letter(purchase(), key=key))
        assert refused(keyed) == "key_mismatch"
        assert keyed.partition == (5 if key is None else partition_of(key, PARTITIONS))
        rekeyed = made.of(letter(purchase(), key=key), rekey=True)
        assert (refused(rekeyed), rekeyed.key, rekeyed.partition) == (None, b"acc-1001", HOME)
    assert refused(made.of(letter(b"[]"), rekey=True)) == "invalid"


def test_a_corrected_copy_is_keyed_by_its_account() -> None:
    copy = copies().of(letter(b"{", key=b"acc-7"), purchase())
    assert (refused(copy), copy.key, copy.partition, copy.value, copy.is_corrected) == (None, b"acc-1001", HOME, purchase(), True)
    structured = (("content-type", b"application/cloudevents+json"),)
    whole = json.dumps({"specversion": "1.0", "id": "pu-1", "source": "/a", "type": "t", "data": json.loads(purchase())}).encode()
    assert refused(copies().of(letter(b"{", key=None, headers=structured), whole)) is None
    assert refused(copies().of(letter(b"{", key=None, headers=structured), purchase())) == "invalid"


TIMES: Final = {
    "on time": (NOW - HOUR, NOW - HOUR, NOW - HOUR, None),
    "late, as at first": (NOW - 20 * DAY, NOW - 2 * DAY, NOW - 2 * DAY, None),
    "from later, which has come": (NOW - HOUR, NOW - 2 * HOUR, NOW - HOUR, None),
    "from later, which is still to come": (NOW + HOUR, NOW - HOUR, NOW, "in_the_future"),
    "history": (NOW - 40 * DAY, NOW, NOW - 15 * DAY, None),
    "history that its topic would not keep": (NOW - 46 * DAY, NOW, NOW - 15 * DAY, "too_old"),
    "on time, but its topic would not keep it": (NOW - 40 * DAY, NOW - 40 * DAY, NOW - 15 * DAY, None),
}


@pytest.mark.parametrize("case", TIMES)
def test_the_timestamp(case: str) -> None:
    occurred_ms, recorded_ms, sent_ms, disposition = TIMES[case]
    copy = copies().of(letter(purchase(occurred_ms), recorded_ms))
    assert (copy.timestamp_ms, refused(copy)) == (sent_ms, disposition)


def test_where_everything_is_kept_history_has_its_own_time() -> None:
    copy = copies(for_ever=True).of(letter(purchase(NOW - 400 * DAY), NOW))
    assert (copy.timestamp_ms, refused(copy)) == (NOW - 400 * DAY, None)


def test_a_snapshot_has_two_times_and_its_topic_deletes_nothing() -> None:
    profile = {
        "event_id": "pr-1", "account_id": "acc-1001", "occurred_at": rfc3339(NOW - 90 * DAY), "as_of": rfc3339(NOW - 89 * DAY),
        "segment": "individual", "status": "active", "currency": "CNY",
    }  # fmt: skip
    copy = copies().of(letter(json.dumps(profile).encode(), NOW - 90 * DAY, topic="account-profiles"))
    assert (copy.timestamp_ms, refused(copy)) == (NOW - 89 * DAY, None)
    command = {
        "command_id": "c-1",
        "account_id": "acc-1001",
        "issued_at": rfc3339(NOW - HOUR),
        "issued_by": "me",
        "reason": "r",
        "kind": "close",
    }
    copy = copies().of(letter(json.dumps(command).encode(), NOW - 2 * HOUR, topic="limit-commands"))
    assert (copy.timestamp_ms, refused(copy)) == (NOW - HOUR, None)


def test_what_is_never_sent_says_what_to_do() -> None:
    assert cure_of(letter(b"{}", topic="limit-control")) == OF_CONTROL
    assert cure_of(letter(None, topic="account-profiles")) == OF_A_WISH
    assert cure_of(letter(None)) == OF_NOTHING
    assert cure_of(letter(purchase())) == CURES["misrouted"]
    for never in (letter(b"{}", topic="limit-control"), letter(None)):
        backlog = Backlog({never.place: never}, {}, {})
        ((outcome,), mistakes) = planned([never], backlog, copies(), [], Orders(as_is=True, again=True))
        assert (outcome.result, outcome.copy, mistakes) == ("refused", None, [])


def test_corrected_values_and_their_mistakes() -> None:
    given, mistakes = corrections(
        [purchase() + b"\n", b"\n", b"{\n", b"[]\n", b'{"event_id": ""}\n', b'{"command_id": "c-1"}\n', purchase(amount_minor=5)], "file"
    )
    assert [(one.where, one.id) for one in given] == [("file:1", "pu-1"), ("file:6", "c-1")]
    assert [told.partition(": ")[0] for told in mistakes] == ["file:3", "file:4", "file:5", "file:7"]
    first = letter(purchase())
    newer = replace(first, place=Place("dead-letters", 0, 1), written_ms=NOW)
    found, mistakes = matched([newer, first], given)
    assert found == {newer.place: given[0]}
    assert mistakes == ["file:6: none of these dead letters has the id 'c-1'"]
    elsewhere = replace(first, place=Place("dead-letters", 0, 2), event=Event("transfers", "", "acc-1001", "pu-1"))
    _, mistakes = matched([newer, first, elsewhere], given[:1])
    assert mistakes == ["file:1: 'pu-1' is the id of several events (0@2, 0@1): name the one that is meant"]
    of_another = replace(first, place=Place("dead-letters", 0, 3), event=Event("purchases", "", "acc-7", "pu-1"))
    both, mistakes = matched([first, of_another], [*given[:1], *corrections([purchase(account_id="acc-7")], "other")[0]])
    assert ({place.short: one.where for place, one in both.items()}, mistakes) == ({"5@17": "file:1", "0@3": "other:1"}, [])
    _, mistakes = matched([first], [*given[:1], *corrections([purchase(account_id="acc-7")], "other")[0]])
    assert mistakes == ["other:1: 5@17 is corrected in file:1 already"], "no other has this id"


def test_a_plan_leaves_out_what_is_settled_unless_it_is_named() -> None:
    first = letter(purchase())
    newer = replace(first, place=Place("dead-letters", 0, 1), written_ms=NOW)
    held = Backlog({first.place: first, newer.place: newer}, {}, {})

    def results(backlog: Backlog, orders: Orders) -> list[str]:
        return [outcome.result for outcome in planned(backlog.letters.values(), backlog, copies(), [], orders)[0]]

    assert results(held, Orders(open=True)) == ["would_be_sent"]
    assert sorted(results(held, Orders())) == ["superseded", "would_be_sent"]
    assert results(held, Orders(corrected=True)) == []
    replayed = replace(held, copies={newer.place: Place("purchases", 4, 1)})
    assert results(replayed, Orders(open=True)) == []
    assert results(replayed, Orders()) == ["replayed_before"] * 2
    assert results(replayed, Orders(again=True)) == ["would_be_sent"] * 2
    given, _ = corrections([purchase()], "file")
    _, mistakes = planned(replayed.letters.values(), replayed, copies(), given, Orders(corrected=True))
    assert mistakes == ["file:1: 0@1: its event lies in purchases-4@1"]
