"""Every test of the commands begins in an empty directory and without settings, and finds the kernel compiled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.stream.warm_up import warm_up


@pytest.fixture(scope="session", autouse=True)
def compiled_kernel() -> None:
    """Compile once here, which takes a minute: a program that is started must not be waited for so long."""
    warm_up()


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No limits.toml, no variables of ours."""
    for name in list(os.environ):
        if name.upper().startswith("LIMITS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
