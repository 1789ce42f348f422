"""The kernel's cache on disk: whatever compiled code uses is in the digest that names it."""

from __future__ import annotations

import ast
import os
import shutil
from pathlib import Path

import pytest

from engine.core import jit

ROOT = Path(__file__).parents[2]


def compiled_and_used(engine: Path) -> set[Path]:
    """The modules that hold compiled code, and those whose names they import."""
    found = set()
    for source in engine.rglob("*.py"):
        text = source.read_text()
        if "@compiled" not in text:
            continue
        found.add(source)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                assert str(node.module).split(".")[0] != "schemas", f"{source}: the cache's name does not depend on it"
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("engine."):
                found.add(engine.parent / f"{str(node.module).replace('.', '/')}.py")
    return found


def test_a_change_in_what_compiled_code_uses_names_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "engine", tmp_path / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "_ENGINE", tmp_path / "engine")
    before = jit.own_directory()
    assert jit.own_directory() == before
    used = compiled_and_used(tmp_path / "engine")
    assert {"layout.py", "tables.py", "fields.py", "decide.py"} <= {source.name for source in used}
    for source in used:
        text = source.read_text()
        source.write_text(text + "\n# changed\n")
        assert jit.own_directory() != before, source
        source.write_text(text)


def test_the_cache_lies_there() -> None:
    assert Path(os.environ["NUMBA_CACHE_DIR"]) == jit.own_directory()
