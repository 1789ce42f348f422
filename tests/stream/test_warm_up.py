"""What is compiled ahead, in processes of their own; and that it is all that a shard's machine needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine.errors import EngineError
from engine.stream import warm_up
from engine.stream.warm_up import PARTS, compile_beside
from tests.e2e.deployment import ROOT

LATE = """
import gc, sys
from engine.core.jit import Kernel
from engine.stream.warm_up import warm_up
from scripts.benchmark import machine

def made():
    kernels = [each for each in gc.get_objects() if isinstance(each, Kernel)]
    return {(each.py_func.__module__, each.py_func.__name__, types) for each in kernels for types in each.overloads}

warm_up()
before = made()
sys.argv = ["machine", "--policy", "engine-complete", "--events", "4000", "--accounts", "3000", "--cache", "500", "--json"]
machine.main()
assert ("engine.core.decide", "run") in {each[:2] for each in before}
print(sorted(made() - before))
"""


def test_each_part_compiles_in_a_process_of_its_own() -> None:
    compile_beside()


def test_a_part_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "PARTS", {**PARTS, "nothing": PARTS["rest"]})
    with pytest.raises(EngineError, match=r"compiling the decision kernel has failed: its processes ended with \[0, 0, 1\]"):
        compile_beside()


def test_no_batch_waits_for_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
