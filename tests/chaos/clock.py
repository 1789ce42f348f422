"""A worker whose clock is not what others have: ``python -m tests.chaos.clock FILE run`` is ``limit-engine run`` with every reading of
``time.time`` off by the seconds that the file holds at that moment (a double, in this machine's order of bytes).
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path
from typing import Final

SECONDS: Final = struct.Struct("d")


def set_clock(file: Path, seconds: float) -> None:
    """Set how far the clock of the worker with this file is ahead, from now on. Written in place: the worker has the file before its eyes."""
    if not file.exists():
        file.write_bytes(bytes(SECONDS.size))
    with file.open("r+b") as held:
        held.write(SECONDS.pack(seconds))


def shift(file: Path) -> None:
    """Let this process go by the file's clock."""
    with file.open("r+b") as opened:
        held = mmap.mmap(opened.fileno(), SECONDS.size)
    real = time.time

    def shifted() -> float:
        (ahead_s,) = SECONDS.unpack_from(held)
        return real() + float(ahead_s)

    time.time = shifted


if __name__ == "__main__":
    shift(Path(sys.argv[1]))
    from engine.cli.main import main  # whoever imports time.time by name imports the shifted one

    sys.argv = ["limit-engine", *sys.argv[2:]]
    main()
