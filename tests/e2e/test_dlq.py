"""A topic full of dead letters after a producer's mistakes: listed, shown, replayed and corrected on a deployment at work, each event once."""

from __future__ import annotations

import json
import time
import zlib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer
from typer.testing import Result

from engine.errors import EngineError
from engine.policy.promote import promote
from engine.policy.source import load_policy
from engine.stream.backlog import Letter, Place
from engine.stream.copies import Copy
from engine.stream.decode.misrouting import partition_of
from engine.stream.redrive import Outcome, resending, send
from schemas import dead_letters as names
from tests.cli.program import say
from tests.e2e.audit import audit_shard
from tests.e2e.deployment import ROOT, Deployment
from tests.e2e.publisher import Publisher

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS


def account_elsewhere(partitions: int) -> str:
    """An account that librdkafka's default partitioner places elsewhere than Kafka's own."""
    names_ = (f"account-{n}" for n in range(100))
    return next(name for name in names_ if zlib.crc32(name.encode()) % partitions != partition_of(name.encode(), partitions))


def rfc3339(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


class Mistakes:
    """Publishes what a producer gets wrong: with librdkafka's own partitioner, or straight into the account's partition."""

    def __init__(self, d: Deployment, publisher: Publisher) -> None:
        self._publisher, self._key = publisher, publisher.account.encode()
        self._crc32 = Producer({"bootstrap.servers": d.kafka.address, "partitioner": "consistent"})
        self._straight = Producer({"bootstrap.servers": d.kafka.address})

    def misroute(self, record: dict[str, Any]) -> None:
        headers = [("ce_id", record["event_id"].encode()), ("ce_source", b"/cards")]
        self._crc32.produce("purchases", json.dumps(record).encode(), self._key, headers=headers)

    def publish(self, value: bytes | None, timestamp_ms: int = 0, topic: str = "purchases", key: bytes | None = None) -> None:
        partition = self._publisher.partition
        self._straight.produce(topic, value, self._key if key is None else key, partition, timestamp=timestamp_ms)

    def flush(self) -> None:
        assert self._crc32.flush(30) == 0
        assert self._straight.flush(30) == 0


def lines(done: Result, code: int = 0) -> list[dict[str, Any]]:
    """What a command printed with --json."""
    assert done.exit_code == code, (done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def results(found: list[dict[str, Any]]) -> dict[str, str]:
    """Result by place."""
    return {one["place"]: one["result"] for one in found}


@pytest.mark.timeout(400)
def test_each_event_is_replayed_once(deployment: Deployment, tmp_path: Path) -> None:
    d = deployment
    policy, start_ms = load_policy(ROOT / "policies" / "minimal.yaml"), int(time.time() * 1000)
    d.promote(policy, start_ms)
    d.start_worker()
    d.wait(lambda: d.taken() >= d.partitions, "the policy is in force everywhere", 180)
    account = account_elsewhere(d.partitions)
    publisher = Publisher(d, account)
    mistakes = Mistakes(d, publisher)

    def dlq(command: str, *words: str) -> Result:
        of_redis = ("--redis", d.redis.url) if command == "replay" else ()
        return say("dlq", command, *words, "--kafka", d.kafka.address, *of_redis)

    assert lines(dlq("list", "--json")) == []
    nothing = dlq("replay", "--all")
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "there is nothing to replay\n")

    misrouted = [publisher.good() for _ in range(3)]
    for record in (*misrouted, misrouted[2]):  # the last one by a producer that tries again
        mistakes.misroute(record)
    in_quotes, with_note, cut_off, of_nobody = publisher.good(), publisher.good(), publisher.good(), publisher.good()
    mistakes.publish(json.dumps(in_quotes | {"amount_minor": "100"}).encode())
    mistakes.publish(json.dumps(with_note | {"note": "x"}).encode())
    mistakes.publish(json.dumps(cut_off).encode()[:70])
    mistakes.publish(json.dumps(of_nobody).encode(), key=b"somebody-else")
    mistakes.publish(json.dumps(publisher.good(occurred_at=rfc3339(start_ms - 1_000))).encode(), start_ms - HOUR_MS)
    mistakes.publish(json.dumps(publisher.good(occurred_at=rfc3339(start_ms - 40 * DAY_MS))).encode())
    mistakes.publish(None)
    mistakes.publish(b'{"kind": "explode"}', topic="limit-control")
    mistakes.publish(b"\xff\xfe")
    mistakes.flush()
    d.wait(lambda: len(d.dead_letters()) == 13, "all of them are dead letters", 60)

    # Listed, without keys and values
    listed = lines(dlq("list", "--json"))
    assert Counter(one["disposition"] for one in listed) == {
        "misrouted": 4, "invalid": 3, "not_json": 2, "unknown_field": 1, "key_mismatch": 1, "in_the_future": 1, "too_old": 1,
    }  # fmt: skip
    table = dlq("list").stdout
    assert table.count("\n") > len(listed)
    for told in (table, json.dumps(listed)):
        assert account not in told
        assert "somebody-else" not in told
    place = {one["disposition"]: one["place"] for one in listed}
    of_purchases = {one["message"]: one["place"] for one in listed if one["topic"] == "purchases"}
    assert lines(dlq("list", "--json", "--until", rfc3339(start_ms))) == []
    assert lines(dlq("list", "--json", "--since", rfc3339(start_ms), "--topic", "limit-control"))[0]["disposition"] == "invalid"
    superseded = [one for one in listed if one["superseded_by"] is not None]
    assert [one["disposition"] for one in superseded] == ["misrouted"]
    assert [one["place"] for one in lines(dlq("list", "--json", "--open", "--disposition", "misrouted"))] == [
        one["place"] for one in listed if one["disposition"] == "misrouted" and one not in superseded
    ]

    # Shown, whole
    shown = dlq("show", place["unknown_field"]).stdout
    for part in (account, '"note": "x"', "note: Extra inputs are not permitted", "leave the field out", "purchases-"):
        assert part in shown
    (noise,) = [one for one in lines(dlq("show", "--json", *of_purchases.values())) if "base64" in (one["value"] or {})]
    assert (noise["value"]["base64"], noise["disposition"], noise["key"]) == ("//4=", "not_json", {"text": account})
    absent = dlq("show", "0@999999", place["misrouted"])
    assert absent.exit_code == 2
    assert absent.stderr.startswith("error dead-letters: there is no dead letter at 0@999999\n")

    # Nothing is sent yet
    dry = lines(dlq("replay", "--all", "--dry-run", "--json"), 1)
    assert Counter(results(dry).values()) == {"would_be_sent": 5, "refused": 7}
    assert len(d.dead_letters()) == 13

    # What can be taken is taken, in the right partition; what cannot is not sent, and told
    with resending(d.kafka.settings) as earlier:
        replayed = lines(dlq("replay", "--all", "--json"), 1)
        nobody = Letter(Place("dead-letters", 0, 0), 0, Place("purchases", 0, 0), 0, "misrouted", "", b"a", b"{}", (), None)
        with pytest.raises(EngineError, match="another replay has begun"):
            list(send(earlier, [Outcome(nobody, "would_be_sent", copy=Copy(nobody, 0, start_ms, b"a", b"{}", (), False, None))]))
    taken = [one for one in replayed if one["result"] == "taken"]
    assert {one["place"]: one["result"] for one in dry if one["result"] == "refused"} == {
        one["place"]: one["result"] for one in replayed if one["result"] == "refused"
    }
    assert len(taken) == 5, replayed
    assert all(one["sent_to"].startswith(f"purchases-{publisher.partition}@") for one in taken)
    why = {one["place"]: one.get("why") for one in replayed}
    assert "it would be refused again: unknown_field: note: Extra inputs are not permitted" in why.values()
    assert any("policy promote" in (told or "") for told in why.values())
    assert "it has no value: there is nothing to replay" in why.values()
    held = d.inspected(account)
    assert (held["events_accepted"], held["standing"]["limit_minor"]) == (5, 100_000)
    at_ms = {one["place"]: one["timestamp_ms"] for one in taken}
    assert at_ms[place["in_the_future"]] == start_ms - 1_000, "its own time, since it was refused by its timestamp"
    assert at_ms[place["too_old"]] == start_ms - 40 * DAY_MS
    (copy,) = [
        m
        for m in d.read("purchases")[publisher.partition]
        if dict(m.headers() or ()).get(names.REPLAY_OF) and m.value() == json.dumps(misrouted[0]).encode()
    ]
    assert copy.key() == account.encode()
    assert copy.headers()[:2] == [("ce_id", misrouted[0]["event_id"].encode()), ("ce_source", b"/cards")]
    assert len(copy.headers()) == 3
    assert dict(copy.headers())[names.REPLAY_OF].decode().removeprefix("dead-letters-") in at_ms
    assert copy.timestamp()[1] == min(m.timestamp()[1] for p in d.read("purchases").values() for m in p if m.value() == copy.value())

    # Not a second time: neither by name, nor with all, nor the other dead letter of an event
    assert set(results(lines(dlq("replay", "--all", "--json"), 1)).values()) == {"refused"}
    again = lines(dlq("replay", "--json", *at_ms, superseded[0]["place"]), 1)
    assert set(results(again).values()) == {"replayed_before"}
    assert d.inspected(account)["events_accepted"] == 5
    repeated = lines(dlq("replay", "--json", "--again", place["too_old"]))
    assert results(repeated) == {place["too_old"]: "taken"}
    assert d.inspected(account)["events_accepted"] == 5, "a repetition"

    # Refused again is told with its new place, which stands for the event from then on
    (died,) = lines(dlq("replay", "--as-is", "--json", place["unknown_field"]), 1)
    assert (died["result"], died["why"]) == ("dead_again", "unknown_field: note: Extra inputs are not permitted")
    (new,) = lines(dlq("list", "--json", "--open", "--disposition", "unknown_field"))
    assert new["place"] == died["dead_letter"]
    (old,) = [one for one in lines(dlq("list", "--json")) if one["place"] == place["unknown_field"]]
    assert old["superseded_by"] == new["place"]

    # Corrected copies keep their id; mistakes in them are told together, and nothing is sent
    file = tmp_path / "corrected.ndjson"
    wrong = [{**in_quotes, "currency": "USD"}, {**cut_off, "event_id": "nobody"}, with_note, with_note, {"x": 1}, misrouted[0]]
    file.write_text("".join(json.dumps(record) + "\n" for record in wrong) + "{\n")
    refused = dlq("replay", "--corrected", str(file))
    assert (refused.exit_code, refused.stdout) == (2, "")
    for told in (
        "corrected.ndjson:1: ", "refused again: currency_mismatch: the record is in USD", "corrected.ndjson:2: none of these dead letters has",
        "corrected.ndjson:4: ", "stands in", "corrected.ndjson:5: it has no event_id", "corrected.ndjson:6: ", "its event lies in purchases-",
        "corrected.ndjson:7: not a JSON object", "6 mistakes in the corrected values: nothing was sent",
    ):  # fmt: skip
        assert told in refused.stderr
    file.write_text("".join(json.dumps(record) + "\n" for record in (in_quotes, with_note, cut_off)))
    corrected = lines(dlq("replay", "--corrected", str(file), "--json"))
    assert [one["result"] for one in corrected] == ["taken"] * 3
    assert all(one["corrected"] for one in corrected)
    assert results(lines(dlq("replay", "--rekey", "--json", place["key_mismatch"]))) == {place["key_mismatch"]: "taken"}
    held = d.inspected(account)
    assert held["events_accepted"] == 9, "each event once"
    assert [one["disposition"] for one in lines(dlq("list", "--json", "--open"))].count("invalid") == 2
    assert "replay_of dead-letters-" in d.command("tail", "dead-letters", "--from-start", "-n", "20").stdout

    # An auditor finds the journal made of what lies in the topics
    promoted = promote(policy, None, datetime.fromtimestamp(start_ms / 1000, UTC))
    inputs, journal, announced = d.inputs(), d.journal(), d.changes()
    counts: Counter[str] = Counter()
    for p in range(d.partitions):
        counts.update(audit_shard(promoted, inputs[p], journal[p], announced[p], d.accounts(p), p, d.partitions))
    assert counts["dead_letters"] == 14

    # No worker: it is told
    d.workers[0].stop(20)
    waiting = dlq("replay", "--again", "--wait", "1", "--json", place["too_old"])
    assert results(lines(waiting, 1)) == {place["too_old"]: "not_taken_yet"}
    assert "problem 1 of 1 were not taken within 1 s\n  cure is a worker running?" in waiting.stderr
    assert results(lines(dlq("replay", "--again", "--wait", "0", "--json", place["too_old"]))) == {place["too_old"]: "sent"}
