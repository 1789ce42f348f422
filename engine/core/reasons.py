"""Which characteristics weigh most in a decision: the ranking behind its reasons."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.core.jit import compiled
from engine.core.layout import Out
from engine.core.tables import Ints


@compiled
def rank(ranks: Ints, firsts: Ints, decisions: Ints, bins_at: int, is_adverse: npt.NDArray[np.bool_], found: Ints) -> None:
    """Write for each of ``decisions`` (n, columns) the highest ranks of its segment's characteristics to ``found`` (n, most), which is zeros, the
    highest first; of those below the number of characteristics none.

    ``ranks`` (2, characteristics of all segments, bins + 1) are those of a bin where points are won, and where they are lost; the last one is
    for a missing value. Those of segment s are ``firsts[s]`` to ``firsts[s + 1]``.
    """
    missing, most = ranks.shape[2] - 1, found.shape[1]
    for i in range(decisions.shape[0]):
        segment, side = decisions[i, Out.SEGMENT], np.int64(is_adverse[i])
        first, end = firsts[segment], firsts[segment + 1]
        for row in range(first, end):
            chosen = decisions[i, bins_at + row - first]
            own = ranks[side, row, chosen if chosen >= 0 else missing]
            if own < end - first or own <= found[i, most - 1]:
                continue
            place = most - 1
            while place > 0 and found[i, place - 1] < own:
                found[i, place] = found[i, place - 1]
                place -= 1
            found[i, place] = own
