"""Every test of the commands begins in an empty directory and without settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No limits.toml, no variables of ours."""
    for name in list(os.environ):
        if name.upper().startswith("LIMITS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
