"""Who cannot run is left out and named; who fails, or contradicts the oracle, makes the benchmark end with 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from scripts.benchmark import contest, environments
from scripts.benchmark.correct import Checked
from scripts.benchmark.plan import side_by_side

CONTENDERS = side_by_side(4, 1.0)


def test_who_has_no_environment_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def made(name: str) -> Path:
        if name == "quix":
            raise environments.NoEnvironment("ERROR: no such package")
        return Path("/its/python")

    monkeypatch.setattr(environments, "installed", lambda _: None)
    monkeypatch.setattr(environments, "made", made)
    found = contest.pythons(CONTENDERS, makes_environments=True)
    assert found == {
        **{name: Path(sys.executable) for name in ("engine", "plain-agent", "faust-tables", "roofline")},
        "bytewax": Path("/its/python"),
    }
    assert "quix-streams is left out: .venv-quix is not there, and could not be made: ERROR: no such package" in capsys.readouterr().err


def test_quick_makes_no_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(environments, "installed", lambda _: None)
    assert contest.pythons(CONTENDERS, makes_environments=False).keys().isdisjoint({"quix-streams", "bytewax"})
    assert "bytewax is left out" in capsys.readouterr().err


def test_a_failure_and_a_contradiction_are_not_right() -> None:
    agreeing, contradicting = (Checked(1, 1, 1, 100, 1.0, found) for found in ((), ("shard 0: odd",)))
    run = contest.Contest(argparse.Namespace(), {})
    run.checks["engine"] = agreeing
    assert run.is_right
    run.checks["engine-complete"] = contradicting
    assert not run.is_right
    failed = contest.Contest(argparse.Namespace(), {})
    with failed._failing():
        raise contest.Failed("it has ended")
    assert not failed.is_right
