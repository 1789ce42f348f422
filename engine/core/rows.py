"""An account's row before anything is known of it."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.core.layout import ATTRIBUTES_AT, FIGURES, FIGURES_AT, MISSING, Col
from engine.core.tables import Ints, Me, MeasureKind, RowLayout

UNKNOWN: Final = (
    Col.FIRST_AT,
    Col.CLOCK,
    Col.BAND,
    *(Col(column) for column in range(Col.CEILING, Col.MISMATCH_UNTIL + 1)),
    Col.CURED_ON,
    Col.OLDER_UNTIL,
)


def blank_row(layout: RowLayout) -> Ints:
    """(width,) int64: an account without history. MISSING where something is unknown, 0 where nothing has happened."""
    row = np.zeros(layout.width, np.int64)
    row[list(UNKNOWN)] = MISSING
    row[FIGURES_AT : FIGURES_AT + FIGURES] = MISSING
    row[ATTRIBUTES_AT : ATTRIBUTES_AT + len(layout.attributes)] = MISSING
    last_seen = layout.measures[layout.measures[:, Me.KIND] == MeasureKind.LAST_SEEN]
    row[last_seen[:, Me.BASE]] = MISSING
    return row
