"""What the benchmark prints and draws."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.stream.stages import Stage
from scripts.benchmark.correct import Checked
from scripts.benchmark.load import Load
from scripts.benchmark.picture import draw
from scripts.benchmark.report import report
from scripts.benchmark.scene import Result
from scripts.benchmark.sweep import Swept

LOAD = Load(events=1_000, accounts=100, start_ms=0)


def result(name: str, per_second: float, *, has_stages: bool = False) -> Result:
    """A second of a contender that takes half of the CPU, a tenth of it in Redis."""
    stages = {str(stage): 0.05 for stage in Stage} if has_stages else {}
    return Result(name, 100, int(per_second), 3, 1.0, 0.45, 0.05, stages, 2.0, (10_000_000, 20_000_000), is_done=True)


RESULTS = [result("engine", 80_000, has_stages=True), result("plain-agent", 1_000), result("two-workers", 120_000, has_stages=True)]


def test_json_has_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    checks = {"engine": Checked(40, 200, 7, 100, 1.0, ("shard 0: odd",))}
    report(RESULTS, checks, Swept(100, 2.0, 50.0, None), LOAD, 4, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [of["events_per_cpu_second"] for of in told["results"]] == [160_000, 2_000, 240_000]
    assert told["times_the_plain_agent"] == {"engine": 80.0, "plain-agent": 1.0, "two-workers": 120.0}
    assert told["times_the_engine"] == {"two-workers": {"rate": 1.5, "cpu": 0.667}}
    assert told["oracle"]["engine"]["contradictions"] == ["shard 0: odd"]
    assert told["sweep"]["events_per_second_behind"] is None


def test_tables_and_sentences_say_it(capsys: pytest.CaptureFixture[str]) -> None:
    checks = {"engine": Checked(40, 200, 7, 60, 1.0, ("shard 0: odd",)), "two-workers": Checked(40, 200, 7, 100, 1.0, ())}
    report(RESULTS, checks, Swept(100, 2.0, 50.0, None), LOAD, 4, as_json=False)
    said = capsys.readouterr().out
    assert "two-workers: 150% of the rate of engine, 67% of its CPU time an event" in said
    assert "in the 60 % of the run before a brake of the portfolio's: it contradicts it in 1 shard" in said
    assert "two-workers: 7 changes by 200 records of 40 accounts compared with the oracle: it agrees with it" in said
    assert "sweep: 100 accounts in 2.0 s, 50 a second, with 50 events/s beside it" in said


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_results_are_drawn_with_stages_and_without(tmp_path: Path, suffix: str) -> None:
    for name, results in (("all", RESULTS), ("one", RESULTS[1:2])):
        path = tmp_path / f"{name}{suffix}"
        draw(results, LOAD, 4, path)
        head = path.read_bytes()[:5]
        assert head == (b"<?xml" if suffix == ".svg" else b"\x89PNG\r")
