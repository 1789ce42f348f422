"""A server's process that is stopped in its tracks."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from engine.local.process import ServerProcess


@pytest.mark.timeout(30)
def test_it_stands_when_pause_returns_however_often(tmp_path: Path) -> None:
    process = ServerProcess.spawn([sys.executable, "-c", "while True: pass"], log=tmp_path / "log", directory=tmp_path, bound=True)
    try:
        for _ in range(3):
            for _ in range(2):
                process.pause()
                assert psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
            process.resume()
    finally:
        process.kill()
    process.pause()
    assert not process.is_running()
