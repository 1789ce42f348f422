"""Rows of accounts, made up at random."""

from __future__ import annotations

from random import Random

import numpy as np

from engine.core.layout import (
    ATTRIBUTES_AT,
    FIGURES,
    FIGURES_AT,
    FINGERPRINT_BITS,
    FINGERPRINTS_AT,
    FINGERPRINTS_MAX,
    INSTALMENT_FIELDS,
    INSTALMENTS_AT,
    INSTALMENTS_MAX,
    MISSING,
    MOVEMENTS_AT,
    MOVEMENTS_MAX,
    Col,
)
from engine.core.rings import mark
from engine.core.rows import blank_row
from engine.core.tables import Ints, Me, RowLayout

EDGES = [0, 1, -1, 127, 128, -32, -33, 255, 256, -128, -129, 65535, 65536, -32769, 2**31, 2**32, 2**53 - 1, -(2**53), 2**63 - 1, MISSING]


def random_row(layout: RowLayout, random: Random) -> Ints:
    """A row in which every part holds something, edges of the encoding included."""
    row = blank_row(layout)

    def value() -> int:
        return random.choice(EDGES) if random.random() < 0.5 else random.randrange(-(2**62), 2**62)

    row[Col.CLOCK] = random.randrange(0, 2**42)
    for count, places, fields in (
        (Col.MOVEMENTS, MOVEMENTS_MAX, 2),
        (Col.INSTALMENTS, INSTALMENTS_MAX, INSTALMENT_FIELDS),
        (Col.FINGERPRINTS, FINGERPRINTS_MAX, 1),
    ):
        at = {Col.MOVEMENTS: MOVEMENTS_AT, Col.INSTALMENTS: INSTALMENTS_AT, Col.FINGERPRINTS: FINGERPRINTS_AT}[count]
        row[count] = random.randrange(places + 1)
        for cell in range(at, at + int(row[count]) * fields):
            row[cell] = random.getrandbits(FINGERPRINT_BITS) if count is Col.FINGERPRINTS else value()
    for cell in [*range(FIGURES_AT, FIGURES_AT + FIGURES), *range(ATTRIBUTES_AT, ATTRIBUTES_AT + len(layout.attributes))]:
        row[cell] = value()
    for measure in layout.measures:
        for tile in range(int(measure[Me.TILES])):
            if random.random() < 0.2:
                row[measure[Me.BASE] + tile] = value() or 1
    mark_all(row, layout.measures)
    return row


def mark_all(row: Ints, measures: Ints) -> None:
    """Mark in a row every cell of a ring that is not 0."""
    for measure in measures[measures[:, Me.WIDTH] > 0]:
        for place in np.flatnonzero(row[measure[Me.BASE] : measure[Me.BASE] + measure[Me.TILES]]).tolist():
            mark(row, int(measure[Me.INDEX]), place)
