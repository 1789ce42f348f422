"""``policy check`` and ``policy promote``, as far as they come without Kafka."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.program import DATA, ROOT, say

MISTAKES = [  # line, column, where, how the message begins, hint
    (3, 11, "currency", "must be a currency of three capital letters", ""),
    (6, 42, "measures[1].kind", "must be count, sum, max, distinct, balance, last_seen, top or round_trips", "did you mean 'sum'?"),
    (10, 14, "features[0].measure", "there is no measure 'purchase'", "did you mean 'purchases'?"),
    (15, 84, "segments[0].scorecard[0].bins[1].points", "must be a whole number, not 10.5", "amounts are in minor units"),
    (16, 43, "segments[0].bands[1].limit_minor", "is missing", ""),
    (16, 70, "segments[0].bands[1].limit", "unknown key", "did you mean 'limit_minor'?"),
]


@pytest.mark.parametrize("file", [*sorted((ROOT / "policies").glob("*.yaml")), DATA / "policy.yaml"], ids=lambda file: file.stem)
def test_a_good_policy(file: Path) -> None:
    told = say("policy", "check", file)
    assert (told.exit_code, told.stdout) == (0, "")
    assert told.stderr.startswith(f"{'corner_shop' if file.stem == 'policy' else file.stem} version ")
    plain = say("policy", "check", file, "--json")
    assert (plain.exit_code, plain.stderr) == (0, "")
    assert len(plain.stdout.splitlines()) == 1
    found = json.loads(plain.stdout)
    assert (found["file"], found["errors"]) == (str(file), [])
    assert all(segment["bands"] for segment in found["segments"].values())


def test_several_mistakes_at_once() -> None:
    file = DATA / "mistakes.yaml"
    told = say("policy", "check", file)
    assert (told.exit_code, told.stdout) == (1, "")
    *lines, count = told.stderr.splitlines()
    assert count == "6 mistakes"
    for line, (row, column, where, message, hint) in zip(lines, MISTAKES, strict=True):
        assert line.startswith(f"{file}:{row}:{column}: {where}: {message}"), line
        assert hint in line
    plain = say("policy", "check", file, "--json")
    assert (plain.exit_code, plain.stderr) == (1, "")
    found = json.loads(plain.stdout)
    assert [(e["line"], e["column"], e["where"]) for e in found["errors"]] == [mistake[:3] for mistake in MISTAKES]
    assert [f"{file}:{e['line']}:{e['column']}: {e['where']}: {e['message']}" for e in found["errors"]] == [
        line.partition(" (")[0] for line in lines
    ]


def test_one_mistake_is_one(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.touch()
    told = say("policy", "check", file)
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr.startswith(f"{file}:1:1: a policy is a mapping of keys to values, and this is empty")
    assert told.stderr.endswith("\n1 mistake\n")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "image.yaml"
    file.write_bytes(b"policy: x\n\x89PNG")
    told = say("policy", "check", file)
    assert told.exit_code == 1
    assert f"{file}:2:1: byte 0x89 is not UTF-8" in told.stderr


@pytest.mark.parametrize("command", ["check", "promote"])
@pytest.mark.parametrize("what", ["missing", "directory"])
def test_a_file_that_cannot_be_read(command: str, what: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    if what == "directory":
        file.mkdir()
    for options in ([], ["--json"]):
        told = say("policy", command, file, *options)
        assert (told.exit_code, told.stdout) == (2, "")
        assert f"{file}: cannot be read: " in told.stderr


def test_without_a_file() -> None:
    told = say("policy", "check")
    assert told.exit_code == 2
    assert "Missing argument 'FILE'" in told.stderr


def test_promote_tells_mistakes_before_it_asks_kafka() -> None:
    file = DATA / "mistakes.yaml"
    told = say("policy", "promote", file, "--kafka", "127.0.0.1:1")
    assert (told.exit_code, told.stdout) == (1, "")
    assert [line.partition(": ")[0] for line in told.stderr.splitlines()] == [f"{file}:{row}:{column}" for row, column, *_ in MISTAKES]


PACK = """\
pack: law
title: A law
rules:
  - name: law.cap
    demands: A cap.
    source: Act 1
    valid_from: 2026-01-01
    checked_on: 2026-11-25
    applies_to: all
    legal_cap_minor: 10_000
    currency: CNY
  - {name: law.duty, demands: Tell., source: Act 2, valid_from: 2026-01-01, checked_on: recalled, applies_to: all, duty: Tell it.}
  - name: law.income
    demands: Know.
    source: Act 3
    valid_from: 2026-03-01
    checked_on: recalled
    applies_to: all
    requirement: {code: income, figure: income_monthly_minor, at_least: 1, text: {zh: 无, en: No}}
"""


def under_a_law(directory: Path) -> Path:
    """The minimal policy, and a pack beside it."""
    (directory / "law.yaml").write_text(PACK, "utf-8")
    file = directory / "policy.yaml"
    minimal = (ROOT / "policies" / "minimal.yaml").read_text("utf-8")
    file.write_text(minimal + "packs: [{pack: law.yaml, consumer: [individual]}]\n", "utf-8")
    return file


def test_what_the_law_demands_and_changed_is_told(tmp_path: Path) -> None:
    file = under_a_law(tmp_path)
    told = say("policy", "check", file, "--on", "2026-02-01")
    assert (told.exit_code, told.stdout) == (0, "")
    assert told.stderr.splitlines()[2:] == [
        "law on 2026-02-01: 2 rules in force",
        "  law.cap: legal_cap_minor",
        "  law.duty (from memory: read it at its source): duty: Tell it.",
        "changed by the law:",
        "  individual: legal_cap_minor 20,000,000 → 10,000 by law.cap",
        "warning 1 of these rules were written from memory",
        "note: law.income is soon in force: promote again on 2026-03-01, as the next version",
    ]
    later = say("policy", "check", file, "--on", "2026-03-01")
    assert "  individual: requirement income by law.income" in later.stderr.splitlines()
    assert "note:" not in later.stderr
    before = say("policy", "check", file, "--on", "2025-01-01")
    assert before.stderr.splitlines()[2:] == ["law on 2025-01-01: 0 rules in force", "changed by the law: nothing"]


def test_what_the_law_changed_is_told_as_json(tmp_path: Path) -> None:
    found = json.loads(say("policy", "check", under_a_law(tmp_path), "--on", "2026-02-01", "--json").stdout)
    cap, duty = found["law"]
    assert (cap["rule"], cap["segment"], cap["before"], cap["after"], cap["source"]) == (
        "law.cap",
        "individual",
        20_000_000,
        10_000,
        "Act 1",
    )
    assert (duty["rule"], duty["duty"], duty["checked_on"]) == ("law.duty", "Tell it.", "recalled")
    assert [rule["name"] for rule in found["coming"]] == ["law.income"]
    assert "law" not in json.loads(say("policy", "check", DATA / "policy.yaml", "--json").stdout)


def test_a_mistake_in_a_pack_names_its_own_file(tmp_path: Path) -> None:
    file = under_a_law(tmp_path)
    (tmp_path / "law.yaml").write_text(PACK.replace("source: Act 2, ", ""), "utf-8")
    told = say("policy", "check", file)
    assert told.exit_code == 1
    assert told.stderr.startswith(f"{tmp_path / 'law.yaml'}:12:5: rules[1].source: is missing")
    plain = json.loads(say("policy", "check", file, "--json").stdout)
    assert [error["file"] for error in plain["errors"]] == [str(tmp_path / "law.yaml")]


def test_a_log_is_decided_under_the_law_of_a_day(tmp_path: Path) -> None:
    file = under_a_law(tmp_path)
    what = {"category": "dining", "channel": "pos", "merchant_id": "m", "funded_by": "own"}
    purchase = {"account_id": "a", "occurred_at": "2026-05-01T08:00:00Z", "amount_minor": 5, "currency": "CNY"} | what
    records = [{"topic": "purchases", "value": purchase | {"event_id": f"e{i}"}} for i in range(3)]
    log = tmp_path / "log.ndjson"
    log.write_text("\n".join(json.dumps(record) for record in records), "utf-8")
    told = [say("decide", "--policy", file, "--on", day, log) for day in ("2025-01-01", "2026-02-01", "2026-02-02")]
    assert [one.stderr for one in told] == [""] * 3
    limits = [json.loads(one.stdout.splitlines()[0])["value"]["standing"]["limit_minor"] for one in told]
    assert limits == [100_000, 10_000, 10_000]
    assert told[1].stdout == told[2].stdout != told[0].stdout
