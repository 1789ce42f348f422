"""An account's row before anything is known of it."""

from __future__ import annotations

from typing import Final

import numpy as np

from engine.core.jit import compiled
from engine.core.layout import (
    ATTRIBUTES_AT,
    FIGURES,
    FIGURES_AT,
    FINGERPRINTS_AT,
    INSTALMENT_FIELDS,
    INSTALMENTS_AT,
    MISSING,
    MOVEMENTS_AT,
    Col,
)
from engine.core.rings import empty_ring
from engine.core.tables import MEASURE, Ints, Me, MeasureKind, RowLayout, Ru

UNKNOWN: Final = (
    *(int(column) for column in (Col.FIRST_AT, Col.CLOCK, Col.BAND)),
    *range(Col.CEILING, Col.MISMATCH_UNTIL + 1),
    *(int(column) for column in (Col.CURED_ON, Col.OLDER_UNTIL)),
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


@compiled
def make_blank(t: Ints, row: Ints) -> None:
    """Make a row under the program ``t``, of an account or of zeros, what ``blank_row`` is. What it holds is few of its cells, and the others are
    not touched: most of a row are movements, instalments and tiles."""
    row[MOVEMENTS_AT : MOVEMENTS_AT + 2 * row[Col.MOVEMENTS]] = 0
    row[INSTALMENTS_AT : INSTALMENTS_AT + INSTALMENT_FIELDS * row[Col.INSTALMENTS]] = 0
    for measure in range(t[Ru.MEASURES], t[Ru.MEASURES_END], MEASURE):
        if t[measure + Me.WIDTH] > 0:
            empty_ring(row, t[measure + Me.BASE], t[measure + Me.INDEX], t[measure + Me.TILES])
    row[:MOVEMENTS_AT] = 0
    row[FINGERPRINTS_AT : t[Ru.RINGS]] = 0
    for column in UNKNOWN:
        row[column] = MISSING
    for figure in range(FIGURES):
        row[FIGURES_AT + figure] = MISSING
    for attribute in range(t[Ru.ATTRIBUTES]):
        row[ATTRIBUTES_AT + attribute] = MISSING
    for measure in range(t[Ru.MEASURES], t[Ru.MEASURES_END], MEASURE):
        if t[measure + Me.KIND] == MeasureKind.LAST_SEEN:
            row[t[measure + Me.BASE]] = MISSING


@compiled
def make_blanks(t: Ints, rows: Ints, slots: Ints) -> None:
    """``make_blank`` each of ``rows[slots]``."""
    for slot in slots:
        make_blank(t, rows[slot])
