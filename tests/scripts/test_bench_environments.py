"""Environments of contenders: made once, made again when their list changes, and said why not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.benchmark import environments


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with an empty list."""
    directory = tmp_path / "scripts" / "benchmark"
    directory.mkdir(parents=True)
    (directory / "some.txt").write_text("# nothing\n")
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "PYTHONS", ())
    return tmp_path


def test_it_is_made_once_and_again_for_another_list(checkout: Path) -> None:
    assert environments.installed("some") is None
    python = environments.made("some")
    assert python.exists()
    assert python.resolve() == Path(sys.executable).resolve()
    assert environments.installed("some") == environments.made("some") == python
    (checkout / "scripts" / "benchmark" / "some.txt").write_text("# nothing else\n")
    assert environments.installed("some") is None
    assert environments.made("some") == python


def test_what_cannot_be_made_says_why(checkout: Path) -> None:
    (checkout / "scripts" / "benchmark" / "some.txt").write_text("there is no such requirement\n")
    with pytest.raises(environments.NoEnvironment, match="ERROR"):
        environments.made("some")
    assert environments.installed("some") is None
