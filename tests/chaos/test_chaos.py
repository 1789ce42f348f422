"""A short run of ``scripts/chaos``, as it is run from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.program import environment
from tests.e2e.deployment import ROOT

MINUTES = 3.0
EVERY_S = 4.0


@pytest.mark.slow
@pytest.mark.timeout(900)
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


@pytest.mark.slow
def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    """In good order, with nothing left behind."""
    words = [sys.executable, "-m", "tests.chaos", "--seed", "7"]
    settings = environment() | {"TMPDIR": str(tmp_path)}
    run = subprocess.Popen(words, cwd=ROOT, env=settings, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    while not any("assigned" in log.read_text() for log in tmp_path.glob("chaos-7-*/worker-*.log")):
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGINT)
    _, told = run.communicate(timeout=120)
    assert (run.returncode, "interrupted; again: --seed 7" in told, "Traceback" in told) == (130, True, False), told
    assert not list(tmp_path.glob("chaos-*"))
