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
