"""What the demo says when a part of it does not do its work. That it works is seen in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli import demo
from engine.errors import EngineError


@pytest.mark.parametrize("seconds", [0, 20])
def test_customers_that_never_begin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seconds: float) -> None:
    monkeypatch.setattr(demo, "START_WITHIN_S", 0.0)
    (tmp_path / "traffic.log").write_text("Traceback ...\nModuleNotFoundError: No module named 'scripts'\n")
    parts = demo._Parts(None, None, None, "", tmp_path, 0, 4, None)
    with pytest.raises(
        EngineError, match=r"no customer has begun after 0 s; the end of traffic.log:\n    Traceback ...\n    ModuleNotFound"
    ):
        list(demo._refreshed(parts, demo._View(1.0, 1, 0), seconds))
