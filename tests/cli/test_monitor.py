"""``policy monitor``: mistakes are told before Kafka is asked, and a report says everything that it found, and no account."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import Result

from engine.stream import announcements
from engine.stream.announcements import CLOCKS_APART_MS, merged
from schemas.topics import CHANGES
from tests.cli.program import DATA, say

DAY_MS: Final = 86_400_000
SINCE_MS: Final = 1_790_812_800_000  # 2026-10-01
PERIODS: Final = ("--since", "2026-10-01", "--until", "2026-11-01", "--against", "2026-09-01..2026-10-01")
CHANGE: Final = json.loads((DATA / "decided.ndjson").read_text("utf-8").splitlines()[0])["value"]
NOWHERE: Final = ("--kafka", "127.0.0.1:1")

MISTAKES: Final = {
    "no day": (["--since", "2026-02-30", "--against", "2026-01-01..2026-02-01"], "--since: '2026-02-30' is no instant\n  cure give a date"),
    "no offset": (["--since", "2026-03-01T00:00:00", "--against", "2026-01-01..2026-02-01"], "--since: '2026-03-01T00:00:00' is no instant"),
    "no period": (["--since", "2026-03-01", "--against", "2026-01-01"], "--against '2026-01-01' is no period\n  cure give it as FROM..TO"),
    "half a period": (["--since", "2026-03-01", "--against", "2026-01-01.."], "--against: '' is no instant"),
    "a day in the period": (["--since", "2026-03-01", "--against", "2026-01-01..yesterday"], "--against: 'yesterday' is no instant"),
    "backwards": (["--since", "2026-03-01", "--against", "2026-02-01..2026-01-01"], "--against: the period 2026-02-01T00:00:00Z to 2026-01-01"),
    "until before since": ([*PERIODS, "--until", "2026-10-01"], "--until: the period 2026-10-01T00:00:00Z to 2026-10-01T00:00:00Z ends before"),
    "the future": (["--since", "2126-03-01", "--against", "2026-01-01..2026-02-01"], "--since: the period 2126-03-01T00:00:00Z to 2"),
    "overlapping": (["--since", "2026-01-31", "--against", "2026-01-01..2026-02-01"], "the periods overlap: 2026-01-01T00:00:00Z to 2026-02-01"),
    "before 1970": (["--since", "1969-01-01", "--against", "2026-01-01..2026-02-01"], "--since: '1969-01-01' lies before 1970"),
    "no file": ([*PERIODS, "--groups", "nothing.csv"], "nothing.csv: No such file or directory"),
    "a directory": ([*PERIODS, "--groups", "."], ".: Is a directory"),
    "a reference without groups": ([*PERIODS, "--reference", "north"], "--reference names a group of --groups FILE, which is not given"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told_before_kafka_is_asked(case: str) -> None:
    words, message = MISTAKES[case]
    told = say("policy", "monitor", *words, *NOWHERE)
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith(f"error {message}")


def test_mistakes_in_the_groups_are_told_by_line(tmp_path: Path) -> None:
    file = tmp_path / "groups.csv"
    file.write_text("account_id,group\nacc-1,north\nacc-2\nacc-1,south\n")
    told = say("policy", "monitor", *PERIODS, "--groups", file, *NOWHERE)
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.splitlines() == [
        f"{file}:3: 1 field instead of account_id,group",
        f"{file}:4: the account is in another group (line 2): an account is in one group, once",
        f"error {file} has 2 mistakes",
    ]
    file.write_text("account_id,group\n" + "acc-1\n" * 30)
    assert say("policy", "monitor", *PERIODS, "--groups", file, *NOWHERE).stderr.endswith("has 30 mistakes; 10 more are not shown\n")
    file.write_bytes("account_id,group\nacc-1,süd\n".encode("latin-1"))
    assert f"error {file}: is not UTF-8 " in say("policy", "monitor", *PERIODS, "--groups", file, *NOWHERE).stderr
    file.write_text("account_id,group\nacc-1,north\n")
    told = say("policy", "monitor", *PERIODS, "--groups", file, "--reference", "nroth", *NOWHERE)
    assert f"error {file}: --reference 'nroth' is not a group of the file; there are north" in told.stderr


def test_windows_of_time() -> None:
    later = CLOCKS_APART_MS
    assert merged([(5, 9)]) == [(5, 9 + later)]
    assert merged([(9 + later, 20 + later), (5, 9)]) == [(5, 20 + 2 * later)], "they touch"
    assert merged([(5, 9), (10 + later, 20 + later)]) == [(5, 9 + later), (10 + later, 20 + 2 * later)]
    assert merged([(5, 100 + later), (7, 9)]) == [(5, 100 + 2 * later)]


# The report, of records as the topics would give them (that they do is held by tests/e2e/test_monitor.py)


def change(account: str, kind: str, score: int, number: int) -> dict[str, Any]:
    trace = CHANGE["trace"] | {"score": score}
    return {**CHANGE, "account_id": account, "kind": kind, "score": score, "trace": trace, "cause": CHANGE["cause"] | {"id": f"e-{number}"}}


class Topics:
    """What the topics hold: (milliseconds, value)."""

    def __init__(self) -> None:
        self.records: dict[str, list[tuple[int, bytes]]] = {"limit-changes": [], "limit-advisories": []}

    def add(self, topic: str, at_ms: int, value: Any) -> None:
        self.records[topic].append((at_ms, json.dumps(value).encode()))

    def read(self, _bootstrap: str, topic: str, windows: Sequence[tuple[int, int]], progress: Any) -> Iterator[tuple[int, str, bytes]]:
        for offset, (at_ms, value) in enumerate(self.records[topic]):
            progress(offset + 1, len(self.records[topic]))
            if any(begin <= at_ms < end for begin, end in windows):
                yield at_ms, f"{topic}-0@{offset}", value


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Topics:
    held = Topics()
    monkeypatch.setattr(announcements, "read_windows", held.read)
    return held


def drifted(topics: Topics) -> None:
    """Forty changes a period, whose scores move from 400..439 to 430..469."""
    for number in range(40):
        topics.add(CHANGES.name, SINCE_MS - DAY_MS, change(f"acc-{number}", "increase", 400 + number, number))
        topics.add(CHANGES.name, SINCE_MS + number, change(f"acc-{number}", "decrease", 430 + number, 100 + number))


def asked(*words: str | Path) -> Result:
    return say("policy", "monitor", *PERIODS, *words)


def test_empty_topics(topics: Topics) -> None:
    told = asked("--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["findings"] == {"above_limit": [], "marked_ratios": [], "nothing_judged": True}
    assert "limit-changes has nothing of the reference period (2026-09-01T00:00:00Z to 2026-10-01T00:00:00Z)\n" in told.stderr
    assert told.stderr.endswith("  cure take longer periods, or say with --min-changes how few are enough\n")


def test_drift_is_told_and_ends_with_1(topics: Topics) -> None:
    drifted(topics)
    told = asked("--min-changes", "40")
    assert told.exit_code == 1
    assert "problem individual: the index of the score is " in told.stderr
    assert [line.split()[1] for line in told.stdout.splitlines() if "ABOVE LIMIT" in line] == ["score"]
    assert "days_past_due" in told.stdout, "names are not cut"
    plain = json.loads(asked("--min-changes", "40", "--json").stdout)
    assert plain["findings"]["above_limit"] == [["individual", "score"]]
    assert plain["fairness"] is None
    assert plain["periods"]["actual"]["changes"] == 40
    assert asked("--min-changes", "40", "--limit", "99").exit_code == 0


def test_too_few_changes_are_said_and_not_judged(topics: Topics) -> None:
    drifted(topics)
    told = asked()
    assert told.exit_code == 1, "there is nothing to judge by"
    assert "individual: not judged: fewer than 500 evaluations in the reference and the actual period (40 and 40)" in told.stderr
    assert "ABOVE LIMIT" not in told.stdout
    plain = json.loads(asked("--json").stdout)
    assert {one["status"] for one in plain["stability"]["indices"]} == {"not_judged"}


def test_a_small_segment_beside_a_large_one_is_no_finding(topics: Topics) -> None:
    for number in range(40):
        for at_ms in (SINCE_MS - DAY_MS, SINCE_MS):
            topics.add(CHANGES.name, at_ms, change("acc-1", "increase", 400, number))
    small = change("acc-9", "increase", 700, 900)
    topics.add(CHANGES.name, SINCE_MS, small | {"trace": small["trace"] | {"segment": "enterprise"}})
    told = asked("--min-changes", "40")
    assert told.exit_code == 0
    assert "enterprise: not judged: fewer than 40 evaluations in the reference and the actual period (0 and 1)" in told.stderr


def test_groups_are_told_and_accounts_are_not(topics: Topics, tmp_path: Path) -> None:
    for number in range(40):
        for at_ms in (SINCE_MS - DAY_MS, SINCE_MS):
            topics.add(CHANGES.name, at_ms, change(f"acc-{number}", "increase", 400, number))
    withheld = {"kind": "increase_withheld", "account_id": "acc-77", "policy": CHANGE["policy"]}
    topics.add("limit-advisories", SINCE_MS, withheld)
    topics.add("limit-advisories", SINCE_MS - DAY_MS, withheld)
    file = tmp_path / "groups.csv"
    # Of the north 40 of 50 had an increase, of the south none of 30 and one that was withheld; the east is small.
    rows = [f"acc-{n},{'north' if n < 50 else 'south' if n < 80 else '[red]east'}" for n in range(83)]
    file.write_text("\n".join(["account_id,group", *rows]))
    told = asked("--min-changes", "40", "--groups", file)
    assert told.exit_code == 1
    assert "acc-" not in told.stdout + told.stderr
    assert "problem group south: the ratio of increases lies outside of four fifths" in told.stderr
    assert f"{file}: nothing was announced of 42 of its accounts (lines 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, ...)" in told.stderr
    assert "[red]east" in told.stdout
    assert "too small" in told.stdout
    assert "BELOW 4/5" in told.stdout
    result = asked("--min-changes", "40", "--groups", file, "--json")
    assert "acc-" not in result.stdout
    north, east, south = json.loads(result.stdout)["fairness"]["groups"]
    assert (north["group"], north["role"], east["role"], east["rates"], south["role"]) == (
        "north",
        "reference",
        "too_small",
        None,
        "compared",
    )
    rates = {rate["outcome"]: rate for rate in south["rates"]}
    assert (rates["increases"]["ratio"], rates["increases"]["marked"]) == (0, True)
    assert (rates["increase_withheld"]["count"], rates["increase_withheld"]["ratio"]) == (1, None)
    small = asked("--min-changes", "40", "--groups", file, "--min-group", "60")
    assert (small.exit_code, "the reference group 'north' is too small: no ratio is told" in small.stderr) == (0, True)


def test_another_version_is_pointed_out(topics: Topics) -> None:
    for number in range(40):
        one = change("acc-1", "increase", 400, number)
        topics.add(CHANGES.name, SINCE_MS - DAY_MS, one)
        topics.add(CHANGES.name, SINCE_MS, one | {"policy": one["policy"] | {"version": 4, "hash": "0" * 64}})
    told = asked("--min-changes", "40")
    assert told.exit_code == 0
    assert "more than one version of the policy decided" in told.stderr
    assert "policy corner_shop 4" in told.stdout


def test_a_record_that_is_no_change_is_named(topics: Topics) -> None:
    topics.records[CHANGES.name] += [(SINCE_MS, b"{}")]
    told = asked()
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith("error limit-changes-0@0: not as the contract has it: KeyError('policy')\n  cure who else writes")
    topics.records[CHANGES.name] = [(SINCE_MS, b"{")]
    assert asked().stderr.startswith("error limit-changes-0@0: ")
