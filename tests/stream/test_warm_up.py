"""What is compiled ahead, in processes of their own."""

from __future__ import annotations

import pytest

from engine.errors import EngineError
from engine.stream import warm_up
from engine.stream.warm_up import PARTS, compile_beside


def test_each_part_compiles_in_a_process_of_its_own() -> None:
    compile_beside()


def test_a_part_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "PARTS", {**PARTS, "nothing": PARTS["rest"]})
    with pytest.raises(EngineError, match=r"compiling the decision kernel has failed: its processes ended with \[0, 0, 1\]"):
        compile_beside()
