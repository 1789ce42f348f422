"""``decide``: a log's decisions without Kafka and Redis, to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from tests.cli.program import DATA, ended, say, started

POLICY = DATA / "policy.yaml"
LOG = DATA / "log.ndjson"
DECIDED = (DATA / "decided.ndjson").read_bytes()
LINES = LOG.read_text("utf-8").splitlines(keepends=True)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_expected_bytes(encoding: str, tmp_path: Path) -> None:
    """A difference here is one that every consumer of limit-changes will see. The terminal's encoding is none of it."""
    program = started("decide", LOG, "--policy", POLICY, directory=tmp_path, PYTHONIOENCODING=encoding)
    assert ended(program) == (0, DECIDED, "")


def test_what_is_expected_tells_a_story() -> None:
    values = [json.loads(line)["value"] for line in DECIDED.splitlines()]
    assert [(value["account_id"], value["kind"], value.get("standing", {}).get("limit_minor")) for value in values] == [
        ("li-lei", "grant", 100_000),
        ("han-meimei", "grant", 100_000),
        ("li-lei", "increase", 500_000),
        ("li-lei", "freeze", 500_000),
        ("li-lei", "command_result", None),
        ("li-lei", "unfreeze", 500_000),
        ("li-lei", "command_result", None),
        ("han-meimei", "command_result", None),
        ("han-meimei", "command_result", None),
        ("li-lei", "decrease", 100_000),
        ("li-lei", "increase_withheld", None),
        ("han-meimei", "close", 0),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_lines_does_not_matter(seed: int, tmp_path: Path) -> None:
    """No two records of the log are of one moment."""
    lines = LINES.copy()
    Random(seed).shuffle(lines)
    assert lines != LINES
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    first.write_text("".join(lines[:9]), "utf-8")
    second.write_text("\n" + "".join(lines[9:]), "utf-8")
    assert say("decide", first, second, "--policy", POLICY).stdout_bytes == DECIDED


def test_stdin() -> None:
    text = LOG.read_bytes()
    assert say("decide", "-", "--policy", POLICY, stdin=text).stdout_bytes == DECIDED
    assert say("decide", "-", "--policy", POLICY, stdin=text.replace(b"\n", b"\r\n")).stdout_bytes == DECIDED
    assert say("decide", "-", "--policy", POLICY, stdin=b"\xef\xbb\xbf" + text).stdout_bytes == DECIDED


def test_nothing_gives_nothing() -> None:
    told = say("decide", "-", "--policy", POLICY, stdin="\n\n")
    assert (told.exit_code, told.stdout, told.stderr) == (0, "", "")


def changed(line: str, **other: object) -> str:
    """A line of the log with other fields in its value."""
    plain = json.loads(line)
    return json.dumps({**plain, "value": plain["value"] | other}, ensure_ascii=False) + "\n"


REJECTED = {  # what stands behind a good line, and what is said of it
    "invalid": (changed(LINES[2], amount_minor="25"), "invalid: amount_minor: "),
    "unknown_field": (changed(LINES[2], note="x"), "unknown_field: note: "),
    "currency_mismatch": (changed(LINES[2], currency="USD"), "currency_mismatch: the record is in USD, the policy in CNY"),
    "no time": (changed(LINES[2], occurred_at=None), "invalid: occurred_at: "),
    "a number for a time": (changed(LINES[2], occurred_at=5), "invalid: occurred_at: "),
    "an impossible time": (changed(LINES[2], occurred_at="2026-02-30T00:00:00+08:00"), "invalid: occurred_at: "),
    "no object": ('{"topic": "purchases", "value": [1]}\n', "invalid: value: "),
    "nothing": ('{"topic": "purchases", "value": null}\n', "invalid: value: "),
    "half a character": (changed(LINES[2]).replace("m-1", r"\ud800"), "not_json: "),
    "a policy of its own": ('{"topic": "limit-control", "value": {"kind": "activate"}}\n', "invalid: activate.control_id: "),
}


@pytest.mark.parametrize("case", REJECTED)
def test_a_record_that_cannot_be_taken_is_told_by_its_line(case: str, tmp_path: Path) -> None:
    bad, words = REJECTED[case]
    file = tmp_path / "log.ndjson"
    file.write_text("".join([*LINES[:5], "\n", bad, *LINES[5:], bad]), "utf-8")
    told = say("decide", file, "--policy", POLICY)
    assert told.exit_code == 1
    first, second = sorted(told.stderr.splitlines(), key=len)
    assert first.startswith(f"{file}:7: {words}")
    assert second.startswith(f"{file}:20: {words}")
    events = [json.loads(line)["value"]["event_id"] for line in told.stdout.splitlines()]
    assert events == [json.loads(line)["value"]["event_id"] for line in DECIDED.splitlines()]


FORGET = '{"topic": "account-profiles", "key": "%s", "occurred_at": "2026-12-31T00:00:00+08:00", "value": null}\n'


def test_a_tombstone_forgets_an_account_whose_line_is_closed(tmp_path: Path) -> None:
    """han-meimei's line is closed by then, li-lei's is open; nobody-s does not matter."""
    file = tmp_path / "log.ndjson"
    file.write_text("".join([*(FORGET % name for name in ("han-meimei", "li-lei", "nobody")), *LINES]), "utf-8")
    told = say("decide", file, "--policy", POLICY)
    assert (told.exit_code, told.stdout_bytes) == (1, DECIDED)
    assert told.stderr.startswith(f"{file}:2: invalid: the account's line is open: close it first")
    assert len(told.stderr.splitlines()) == 1


UNREADABLE = {
    "a tombstone of nobody": (b'{"topic": "account-profiles", "value": null}\n', "a profile without a value forgets an account, and says"),
    "a tombstone without a time": (
        b'{"topic": "account-profiles", "key": "a", "occurred_at": "yesterday", "value": null}\n',
        "a profile without a value forgets an account, and says",
    ),
    "not JSON": (b"not json\n", "each line is a JSON object"),
    "cut off": (LINES[0].encode()[:-9], "each line is a JSON object"),
    "a list": (b"[1, 2]\n", 'each line is a JSON object {"topic": ..., "value": {...}}'),
    "a record without its topic": (json.dumps(json.loads(LINES[0])["value"]).encode(), 'each line is a JSON object {"topic": ...'),
    "no value": (b'{"topic": "purchases"}\n', 'each line is a JSON object {"topic": ...'),
    "an unknown topic": (
        b'{"topic": "purchase", "value": {}}\n',
        "'purchase' is not an input topic; there are limit-control, account-prof",
    ),
    "a topic of the engine's own": (b'{"topic": "limit-changes", "value": {}}\n', "'limit-changes' is not an input topic"),
    "a list for a topic": (b'{"topic": [], "value": {}}\n', "[] is not an input topic"),
    "not UTF-8": (b"\xe9\xff\n", "codec can't decode"),
    "a thousand brackets": (b'{"topic": "purchases", "value": ' + b"[" * 100_000, "each line is a JSON object"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_line_that_is_no_record_ends_it(case: str, tmp_path: Path) -> None:
    raw, words = UNREADABLE[case]
    file = tmp_path / "log.ndjson"
    file.write_bytes(LINES[0].encode() + raw)
    told = say("decide", file, "--policy", POLICY)
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith(f"error {file}:2: ")
    assert words in told.stderr


def test_a_near_miss_of_a_topic_is_recognised() -> None:
    told = say("decide", "-", "--policy", POLICY, stdin='{"topic": "purchase", "value": {}}')
    assert "(did you mean 'purchases'?)" in told.stderr
    assert told.stderr.startswith("error stdin:1: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for file, what in ((tmp_path / "nothing.ndjson", "No such file or directory"), (tmp_path, "Is a directory")):
        told = say("decide", LOG, file, "--policy", POLICY)
        assert (told.exit_code, told.stdout, told.stderr) == (2, "", f"error {file}: {what}\n")


def test_a_policy_with_mistakes() -> None:
    told = say("decide", LOG, "--policy", DATA / "mistakes.yaml")
    assert (told.exit_code, told.stdout) == (2, "")
    assert len(told.stderr.splitlines()) == 6
    assert told.stderr.startswith(f"{DATA / 'mistakes.yaml'}:3:11: currency: ")
    told = say("decide", LOG, "--policy", "nothing.yaml")
    assert (told.exit_code, told.stderr) == (2, "nothing.yaml: cannot be read: No such file or directory\n")
    assert say("decide", LOG).exit_code == 2


def test_what_happened_before_1970_comes_first() -> None:
    early = changed(LINES[2], occurred_at="1969-12-31T00:00:00Z", event_id="early")
    told = say("decide", "-", "--policy", POLICY, stdin="".join([*LINES, early]))
    assert (told.exit_code, told.stderr) == (0, "")
    causes, expected = ([json.loads(line)["value"]["cause"] for line in text.splitlines()] for text in (told.stdout_bytes, DECIDED))
    assert causes == [cause | {"offset": cause["offset"] + 1} if "offset" in cause else cause for cause in expected]
