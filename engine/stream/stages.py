"""Where a shard's CPU time goes, by the stages of a batch. Never read by a decision.

The clock is that of the thread's CPU time, so what other threads and processes do meanwhile does not count; nor does what happens while a stage
waits for Kafka or Redis: a stage is entered and left without waiting. What the process uses besides (fetching, sending, the event loop) is the
difference to its own CPU time, which Prometheus has as ``process_cpu_seconds_total``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum


class Stage(StrEnum):
    """What is done with a batch, in this order; and with the slice of a sweep."""

    TAKE = "take"
    DECODE = "decode"
    ADMIT = "admit"
    DECIDE = "decide"
    RENDER = "render"
    ENCODE = "encode"
    JOURNAL = "journal"
    SWEEP = "sweep"


class Stages:
    """CPU seconds by stage since the shard is owned."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(Stage, 0.0)

    @contextmanager
    def __call__(self, stage: Stage) -> Iterator[None]:
        """What is done inside belongs to a stage; nothing inside may wait."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.seconds[stage] += time.thread_time() - began
