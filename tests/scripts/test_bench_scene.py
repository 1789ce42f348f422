"""Contenders are watched and ended, whatever they do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.local.process import ServerProcess
from scripts.benchmark.scene import ROOT, Worker, cpu_seconds

# A program that leaves a child in a session of its own when it is ended, and says its number.
PARENT = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
print(child.pid, flush=True)
signal.pause()
"""


def test_what_a_worker_has_started_ends_with_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = Worker(ServerProcess.spawn([sys.executable, "-c", PARENT], log=log, directory=tmp_path, bound=True), 0, log)
    while not log.exists() or not log.read_text().strip():
        assert not worker.process.ends_within(0.05)
    child = psutil.Process(int(log.read_text()))
    assert child in worker.family()
    assert cpu_seconds(child) >= 0
    worker.stop()
    assert not worker.process.is_running()
    assert child.wait(5) is None
    assert worker.family() == []


@pytest.mark.real
def test_a_contender_is_watched_and_told_in_json() -> None:
    words = [
        "-m",
        "scripts.benchmark.contest",
        "--only",
        "faust-tables",
        "--events",
        "4000",
        "--accounts",
        "50",
        "--plain-seconds",
        "1",
        "--json",
    ]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert (result["name"], result["redis_us_per_event"]) == ("faust-tables", 0.0)
    assert result["records"] > 0
    assert result["changes"] > 0
