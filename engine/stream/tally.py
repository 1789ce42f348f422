"""What the committed outputs of a shard say of its customers as a whole: counted for the metrics, never read by a decision.

The renderer knows these facts when it makes an output, so nothing is parsed again. They ride on the output (``Told``) and are no part of it:
not of its bytes, not of the journal, not of what two outputs are compared by. An output that comes from the journal has none, so what is
counted is what this owner of the shard has decided and committed itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from engine.state.record import Output
from engine.stream import rolls

# Fixed, so that shards, segments and versions of a policy can be added up. The last bucket has no end.
SCORE_BOUNDS: Final = (*range(0, 1_001, 50),)
NO_BAND: Final = "-"


class ChangeFacts(NamedTuple):
    """Of a limit change: the bands before and after, the score (None: nothing was judged), the arrears bucket at the decision, and of how many
    features of the scorecard the value was known or missing."""

    segment: str
    band_before: str
    band_after: str
    score: int | None
    bucket: int
    known: int
    missing: int


class WithheldFacts(NamedTuple):
    """Of an advisory ``increase_withheld``: the guard."""

    guard: str


Facts = ChangeFacts | WithheldFacts


@dataclass(frozen=True, slots=True, eq=False)
class Told(Output):
    """An output with its facts; equal to the plain output that the journal gives back."""

    facts: Facts | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Output):
            return NotImplemented
        return (self.topic, self.key, self.value, self.headers) == (other.topic, other.key, other.value, other.headers)

    def __hash__(self) -> int:
        return hash((self.topic, self.key, self.value, self.headers))


@dataclass(slots=True)
class Tally:
    """The counts; their labels without the shard. Of the score how many lie in each bucket of ``SCORE_BOUNDS`` (its upper bound included)."""

    band_changes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    scores: dict[str, list[int]] = field(default_factory=dict)
    arrears: Counter[tuple[str, int]] = field(default_factory=Counter)
    features: Counter[tuple[str, str]] = field(default_factory=Counter)
    withheld: Counter[str] = field(default_factory=Counter)
    rolls: Counter[tuple[str, ...]] = field(default_factory=Counter)
    swept: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def add(self, outputs: Iterable[Output], counts: Iterable[tuple[str, int]] = ()) -> None:
        """Count the outputs of a committed record, and where its own counts say that accounts stand in arrears or have moved to
        (``engine.stream.rolls``)."""
        for name, count in counts:
            match name.split(":"):
                case [rolls.ROLLED, *labels]:
                    self.rolls[tuple(labels)] += count
                case [rolls.SWEPT, segment, bucket]:
                    self.swept[segment, bucket] += count
        for output in outputs:
            match output.facts if isinstance(output, Told) else None:
                case ChangeFacts() as change:
                    self._add_change(change)
                case WithheldFacts(guard):
                    self.withheld[guard] += 1

    def _add_change(self, change: ChangeFacts) -> None:
        segment = change.segment
        if change.band_before != change.band_after:
            self.band_changes[segment, change.band_before, change.band_after] += 1
        if change.score is None:
            return
        if segment not in self.scores:
            self.scores[segment] = [0] * (len(SCORE_BOUNDS) + 1)
        self.scores[segment][bisect_left(SCORE_BOUNDS, change.score)] += 1
        self.arrears[segment, change.bucket] += 1
        self.features[segment, "known"] += change.known
        self.features[segment, "missing"] += change.missing
