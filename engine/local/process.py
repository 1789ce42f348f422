"""Processes of the local servers: started so that none outlives its use, and found again without ever hitting a stranger.

*Bound* servers serve the program that started them (a demo, a test run) and must go with it. Its ``finally`` blocks and exit handlers
don't run on SIGKILL, and a process group is not ended by the death of its leader; so the kernel is asked to do it: on Linux each bound
child sets PR_SET_PDEATHSIG before it becomes the server. Elsewhere an ungraceful end leaves them running, recorded in the state file.

Every server leads a session of its own. Ctrl-C in the terminal then reaches only the program, which stops its servers when it has
finished with them; and whatever a server forks (a Redis that rewrites its file) can be ended together with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import psutil

_PR_SET_PDEATHSIG = 1
# Loaded here and not in the child: between fork and exec nothing may be imported or allocated.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
# For PR_SET_PDEATHSIG the parent is the *thread* that forked. This one lives as long as the program.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawn")
# The kernel states start times relative to a boot time that moves when the clock is set.
_START_TOLERANCE_S = 2.0


class ServerProcess:
    """A server's process: started by this program, or found again by pid and start time."""

    def __init__(self, process: psutil.Process, popen: subprocess.Popen[bytes] | None = None) -> None:
        self._process = process
        self._popen = popen  # kept: it reaps the child
        self.pid = process.pid
        self.started = process.create_time()

    @classmethod
    def spawn(cls, command: Sequence[str], *, log: Path, directory: Path, bound: bool) -> Self:
        """Start ``command`` in ``directory``, its output appended to ``log``; a bound one ends with this program."""
        return cls(*_SPAWNER.submit(_spawn, command, log, directory, bound).result())

    @classmethod
    def find(cls, pid: int, started: float) -> Self | None:
        """The running process with this pid if it is the one that began at ``started`` (seconds since the epoch), else None."""
        try:
            found = cls(psutil.Process(pid))
        except psutil.Error:
            return None
        return found if abs(found.started - started) < _START_TOLERANCE_S and found.is_running() else None

    def is_running(self) -> bool:
        """Whether it still runs; one that has ended and waits to be reaped does not."""
        try:
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end at most ``seconds``; True as soon as it has ended."""
        try:
            self._process.wait(seconds)
        except psutil.TimeoutExpired:
            return not self.is_running()
        return True

    def stop(self, grace_s: float) -> None:
        """Ask it to end, and end it (with all that it forked) if it has not after ``grace_s``. Returns when it is gone."""
        self._signal(signal.SIGTERM)
        if not self.ends_within(grace_s):
            self.kill()

    def kill(self) -> None:
        """End it and all that it forked at once, as a crash would. Returns when it is gone."""
        if self.is_running():
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def interrupt(self) -> None:
        """What Ctrl-C in a terminal sends."""
        self._signal(signal.SIGINT)

    def pause(self) -> None:
        """Stop it in its tracks (SIGSTOP): connections stay open and nothing answers. Returns when it stands, if this program has started it."""
        is_awaited = self._popen is not None and self.is_running() and self._process.status() != psutil.STATUS_STOPPED
        self._signal(signal.SIGSTOP)
        if is_awaited:
            found = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if found is not None and found.si_code == os.CLD_STOPPED:
                os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # so that the next one is waited for as well

    def resume(self) -> None:
        """Let a paused one go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        try:
            self._process.send_signal(number)
        except psutil.NoSuchProcess:
            return


def _spawn(command: Sequence[str], log: Path, directory: Path, bound: bool) -> tuple[psutil.Process, subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent(os.getpid()) if bound else None,
        )
    return psutil.Process(popen.pid), popen


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    libc = _LIBC
    if libc is None:
        return None

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)

    return in_child
