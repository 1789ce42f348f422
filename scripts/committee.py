"""The lender's risk committee: it lets the appetite for a segment grow or shrink on set days of the story, as two people sign it.

Its days and modes are those of ``DECISIONS``, the same for every seed. How many decreases a contraction is expected to lead to is counted in
the committee's own book: the lines that stand in the bands which the default policy then lowers, as they were heard of so far.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from schemas.topics import CONTROL
from scripts.personas import DAY_MS, HOUR_MS, instant
from scripts.spoil import Arrival, encode

MEETS_AT_H: Final = 10
WEAK: Final = ("starter", "basic", "regular")


@dataclass(frozen=True, slots=True)
class Decision:
    """What is put in force, and why, on a day of the story (0 = its first day)."""

    day: int
    segment: str
    mode: str
    reason: str


DECISIONS: Final = (
    Decision(100, "enterprise", "expansion", "shops repay better than was planned"),
    Decision(170, "individual", "contraction", "more people than expected have lost their jobs"),
    Decision(190, "enterprise", "neutral", "the budget for shops is used up"),
    Decision(230, "individual", "neutral", "arrears have come down again"),
    Decision(290, "individual", "expansion", "the year's target for new lines is not met yet"),
    Decision(350, "individual", "neutral", "the year ends"),
    Decision(380, "individual", "contraction", "arrears rise after the holidays"),
    Decision(440, "individual", "neutral", "arrears have come down again"),
)


class Committee:
    """Meets in a story that began at ``start_ms``. What was due before ``since_ms`` was decided already."""

    def __init__(self, start_ms: int, since_ms: int) -> None:
        self._start_ms = start_ms
        self._to_come = deque(decision for decision in DECISIONS if self._at_ms(decision) > since_ms)
        self._bands: dict[str, tuple[str, str]] = {}  # segment and band of each line

    def hear(self, output: dict[str, Any]) -> None:
        """Take notice of a limit change."""
        if "standing" in output:
            self._bands[output["account_id"]] = output["trace"]["segment"], output["standing"]["band"]

    def due(self, now_ms: int) -> Iterator[Arrival]:
        """The control records that are due by now, each once; they arrive now, and are meant for every shard."""
        while self._to_come and self._at_ms(self._to_come[0]) <= now_ms:
            yield Arrival(now_ms, 0, CONTROL.name, b"", encode(self._record(self._to_come.popleft())))

    def _at_ms(self, decision: Decision) -> int:
        return self._start_ms + decision.day * DAY_MS + MEETS_AT_H * HOUR_MS

    def _record(self, decision: Decision) -> dict[str, Any]:
        lowered = {(decision.segment, band) for band in WEAK} if decision.mode == "contraction" else set()
        return {
            "control_id": f"committee-{decision.day}",
            "issued_at": instant(self._at_ms(decision)),
            "issued_by": "risk-committee",
            "approved_by": "board",
            "kind": "appetite",
            "segment": decision.segment,
            "mode": decision.mode,
            "expected_decreases": sum(line in lowered for line in self._bands.values()),
            "reason": decision.reason,
        }
