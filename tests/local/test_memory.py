"""What batches have used does not stay with the worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine.memory import give_memory_back
from tests.e2e.deployment import ROOT

BATCHES = """
import sys
import numpy as np
import psutil
from engine.memory import give_memory_back, trim_heaps

if sys.argv[1] == "settings":
    assert give_memory_back()
resident, kept = psutil.Process().memory_info, []
for _ in range(2):
    before, large = resident().rss, []
    for _ in range(200):
        large.append(np.ones(50_000))
        kept.append(bytearray(3_000))
    del large
if sys.argv[1] == "trimmed":
    trim_heaps()
print((resident().rss - before) // 1_000_000)
"""


def kept_mb(settings: str) -> int:
    """Of 80 MB in large arrays, between which something small has stayed, after another 80 MB."""
    done = subprocess.run([sys.executable, "-c", BATCHES, settings], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not give_memory_back(), reason="another C library than glibc")
def test_large_arrays_are_given_back() -> None:
    assert kept_mb("settings") < 10
    assert kept_mb("none") > 40
    assert kept_mb("trimmed") < 10
