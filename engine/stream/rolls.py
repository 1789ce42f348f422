"""How accounts move between arrears buckets: counted beside the decisions, in the journal record and the metrics, and read by none of them."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from engine.core.layout import FIGURES_AT, MISSING, Col, Fig, Segment
from engine.core.tables import SEGMENT, Ints, Ru, Se

ROLLED: Final = "rolled"
SWEPT: Final = "swept"
BUCKETS: Final = 5


def rolls(program: Ints, rows: Ints, slots: Ints, before: Ints) -> Counter[str]:
    """How many of the accounts ``rows[slots]``, which stood in the buckets ``before`` (n,), have rolled how: by ``rolled:SEGMENT:FROM:TO``."""
    if not len(slots):
        return Counter()
    told = zip(_segments(program, rows, slots).tolist(), before.tolist(), rows[slots, Col.BUCKET].tolist(), strict=True)
    return Counter(f"{ROLLED}:{Segment(segment).name.lower()}:{old}:{new}" for segment, old, new in told)


def swept(program: Ints, rows: Ints, slots: Ints) -> Counter[str]:
    """How many of the accounts ``rows[slots]`` a sweep has found in each bucket: by ``swept:SEGMENT:BUCKET``."""
    places = np.bincount(_segments(program, rows, slots) * BUCKETS + rows[slots, Col.BUCKET]).tolist()
    found = ((*divmod(place, BUCKETS), count) for place, count in enumerate(places) if count)
    return Counter({f"{SWEPT}:{Segment(segment).name.lower()}:{bucket}": count for segment, bucket, count in found})


def _segments(program: Ints, rows: Ints, slots: Ints) -> Ints:
    """The number of the segment that each account is judged by, (n,)."""
    numbers: Ints = rows[slots, FIGURES_AT + Fig.SEGMENT]
    is_missing = numbers == MISSING
    is_defined = program[program[Ru.SEGMENTS] + SEGMENT * np.where(is_missing, 0, numbers) + Se.DEFINED] == 1
    return np.where(is_missing | ~is_defined, program[Ru.DEFAULT_SEGMENT], numbers)
