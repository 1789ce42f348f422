"""Commands of ``limit-engine`` as processes of their own that do not begin with a second of imports: forked from one that has done them.

``python -m tests.e2e.commands`` reads a line of JSON for each command from its input, and answers with how it ended.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any


class Commands:
    """The process from which they are forked. It ends with this one."""

    def __init__(self, directory: Path) -> None:
        with tempfile.TemporaryFile() as said:  # a terminal would be written to in colours
            words = [sys.executable, "-m", "tests.e2e.commands"]
            self._process = subprocess.Popen(words, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True)
        assert self._answer() == "ready"

    def run(self, words: Sequence[str], settings: Mapping[str, str], within_s: float) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in this environment with these settings on top. Raises TimeoutExpired."""
        with tempfile.TemporaryDirectory() as directory:
            out, err = Path(directory) / "out", Path(directory) / "err"
            asked = {"words": words, "environment": dict(os.environ | settings), "out": str(out), "err": str(err), "within_s": within_s}
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            code = int(self._answer())
            if code == -signal.SIGALRM:
                raise subprocess.TimeoutExpired(list(words), within_s, out.read_bytes(), err.read_bytes())
            return subprocess.CompletedProcess(list(words), code, out.read_text(), err.read_text())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@cache
def commands(directory: Path) -> Commands:
    """The ones of this process, run in a directory."""
    return Commands(directory)


def work(asked: dict[str, Any]) -> None:
    """Be a command."""
    from engine.cli.main import app

    signal.setitimer(signal.ITIMER_REAL, asked["within_s"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    random.seed()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT), number)
    app(asked["words"], prog_name="limit-engine")


def serve() -> None:
    """A command a line."""
    from engine.cli import common  # noqa: F401
    from engine.stream import backlog, following, rebuild, redrive, rejournal, reshard  # noqa: F401
    from engine.stream.warm_up import warm_up

    warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 70
            try:
                work(json.loads(line))
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                code = 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
