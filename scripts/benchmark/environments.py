"""Environments of contenders whose packages cannot live beside the engine's: one each in the checkout, made on first use.

``.venv-NAME`` is made of the pinned ``scripts/benchmark/NAME.txt``, and made again when that has changed; a Python for which its packages are
built is looked for among those on the path. As in ``scripts/environment``, nothing outside the checkout and the cache of pip is written.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PYTHONS: Final = ("python3.13", "python3.12", "python3.11")
WITHIN_S: Final = 300.0


class NoEnvironment(Exception):
    """It cannot be made; why."""


def installed(name: str) -> Path | None:
    """The Python of an environment that is there as its list has it, else None."""
    python = ROOT / f".venv-{name}" / "bin" / "python"
    stamp = _stamp(name)
    return python if stamp.exists() and stamp.read_text() == _wanted(name) and python.exists() else None


def made(name: str) -> Path:
    """The Python of an environment, made if it is not there. Raises ``NoEnvironment``."""
    python, said = installed(name), ""
    if python is not None:
        return python
    for candidate in dict.fromkeys((sys.executable, *filter(None, map(shutil.which, PYTHONS)))):
        try:
            return _make(name, candidate)
        except subprocess.CalledProcessError as error:
            lines = (error.stderr or error.stdout).splitlines()
            said = next((line for line in reversed(lines) if line.startswith("ERROR")), "\n".join(lines[-3:]))
        except (subprocess.TimeoutExpired, OSError) as error:
            said = str(error)
    raise NoEnvironment(said)


def _make(name: str, base: str) -> Path:
    """Make it with one Python."""
    directory = ROOT / f".venv-{name}"
    python = directory / "bin" / "python"
    _run(base, "-m", "venv", "--clear", str(directory))
    _run(
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
        "--requirement",
        str(_list(name)),
    )
    _stamp(name).write_text(_wanted(name))
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=WITHIN_S)


def _list(name: str) -> Path:
    return ROOT / "scripts" / "benchmark" / f"{name}.txt"


def _stamp(name: str) -> Path:
    return ROOT / f".venv-{name}" / "made"


def _wanted(name: str) -> str:
    return sha256(_list(name).read_bytes()).hexdigest()
