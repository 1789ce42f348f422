"""What the committed outputs of a shard say of its customers as a whole: counted for the metrics, never read by a decision.

The renderer knows these facts when it makes an output (``engine.state.outputs.Facts``), so nothing is parsed again. What comes from the journal
has none, so what is counted is what this owner of the shard has decided and committed itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from engine.core.layout import MISSING, Guard, Kind
from engine.policy.forms import UNKNOWN
from engine.state.outputs import Fact, Facts
from engine.stream import rolls

# Fixed, so that shards, segments and versions of a policy can be added up. The last bucket has no end.
SCORE_BOUNDS: Final = (*range(0, 1_001, 50),)
NO_BAND: Final = "-"


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

    def add(self, facts: Facts | None, counts: Iterable[tuple[str, int]] = ()) -> None:
        """Count the outputs of a committed record, and where its own counts say that accounts stand in arrears or have moved to
        (``engine.stream.rolls``)."""
        for name, count in counts:
            match name.split(":"):
                case [rolls.ROLLED, *labels]:
                    self.rolls[tuple(labels)] += count
                case [rolls.SWEPT, segment, bucket]:
                    self.swept[segment, bucket] += count
        if facts is not None:
            is_change = facts[Fact.KIND] < Kind.OVER_BORROWING
            # Where the profile's status closed the line nothing was judged
            self._add_moves(facts.at(is_change))
            self._add_judged(facts.at(is_change & (facts[Fact.GUARD] != Guard.CLOSED)))
            withheld = Counter(facts[Fact.GUARD][facts[Fact.KIND] == Kind.INCREASE_WITHHELD].tolist())
            self.withheld.update({Guard(guard).name.lower(): count for guard, count in withheld.items()})

    def _add_moves(self, facts: Facts) -> None:
        """Count the changes from one band to another."""
        names = facts.names
        moved = facts.at(facts[Fact.BAND_BEFORE] != facts[Fact.BAND_AFTER])
        columns = Fact.SEGMENT, Fact.BAND_BEFORE, Fact.BAND_AFTER
        moves = Counter(zip(*(moved[column].tolist() for column in columns), strict=True))
        for (segment, *bands), count in moves.items():
            before, after = (NO_BAND if band == MISSING else names.bands.get(band) or unknown(band) for band in bands)
            self.band_changes[names.segments[segment], before, after] += count

    def _add_judged(self, facts: Facts) -> None:
        """Count scores, arrears buckets and values of features of what was judged."""
        places = np.searchsorted(SCORE_BOUNDS, facts[Fact.SCORE])
        for number in np.unique(facts[Fact.SEGMENT]).tolist():
            segment, is_own = facts.names.segments[number], facts[Fact.SEGMENT] == number
            held = self.scores.setdefault(segment, [0] * (len(SCORE_BOUNDS) + 1))
            for place, count in Counter(places[is_own].tolist()).items():
                held[place] += count
            for bucket, count in Counter(facts[Fact.BUCKET][is_own].tolist()).items():
                self.arrears[segment, bucket] += count
            missing = int(facts[Fact.MISSING][is_own].sum())
            self.features[segment, "known"] += int(np.count_nonzero(is_own) * facts.names.sizes[number]) - missing
            self.features[segment, "missing"] += missing


def unknown(code: int) -> str:
    """The name of a band or tier that the policy does not know: it is told by its code."""
    return f"{UNKNOWN}{code:x}"
