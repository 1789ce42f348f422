"""Running the commands: in this process where it is about what they say, as a program of its own where it is about bytes and exit codes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from typer.testing import CliRunner, Result

from engine.cli.main import app

ROOT: Final = Path(__file__).resolve().parents[2]
DATA: Final = Path(__file__).with_name("data")
WITHIN_S: Final = 90.0  # a command that finds nothing there waits 5 s for Kafka; the rest is the start of many of them on a busy machine


def say(*words: str | Path, stdin: str | bytes | None = None) -> Result:
    """Run a command in this process. Nothing but an orderly end is expected of any."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of the engine, and more."""
    plain = {name: value for name, value in os.environ.items() if not name.upper().startswith("LIMITS_")}
    return plain | {"PYTHONPATH": str(ROOT), **more}


def started(*words: str | Path, directory: Path, **more: str) -> subprocess.Popen[bytes]:
    """Start the program with an empty stdin."""
    return subprocess.Popen(
        [sys.executable, "-m", "engine", *map(str, words)],
        cwd=directory,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(program: subprocess.Popen[bytes], within_s: float = WITHIN_S) -> tuple[int, bytes, str]:
    """Exit code, stdout and stderr. Raises TimeoutExpired."""
    try:
        out, err = program.communicate(timeout=within_s)
    finally:
        program.kill()
    assert b"Traceback" not in err, err.decode()
    return program.returncode, out, err.decode()


def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
