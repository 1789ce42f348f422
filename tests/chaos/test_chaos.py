"""A short run of ``scripts/chaos``, as it is run from outside."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.program import environment
from tests.e2e.deployment import ROOT

MINUTES = 1.5
EVERY_S = 4.0


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_short_storm_breaks_nothing() -> None:
    """By the wall clock, which some workers have wrong."""
    words = ("--clock", "wall", "--minutes", MINUTES, "--every", EVERY_S, "--accounts", 600, "--rate", 200, "--seed", 5, "--json")
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *map(str, words)], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    print(done.stderr[-3_000:], done.stdout)
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["violations"] == []
    assert report["faults"] >= 0.6 * MINUTES * 60 / EVERY_S
    assert report["events"] > 0.8 * 200 * MINUTES * 60
    assert report["accounts"] == 600
    assert report["changes"] > 300
