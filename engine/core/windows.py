"""Tiles and windows: tumbling tiles of an hour or a day, read as sawtooth windows.

Theory of operation. A measure cuts time into tiles of fixed width on its own UTC offset, ``tile(t) = floor((t + offset) / width)``, and
an account keeps the measure's newest ``TILES`` tiles in a ring: tile k stands in cell ``BASE + k mod TILES``. The head is the tile of the
account's clock; the ring holds the tiles head - TILES + 1 .. head and nothing else, because ``advance`` empties the cells that the head
passes. A window of n tiles is head - n + 1 .. head: exact at the head, one tile of slack at its tail (the sawtooth).
"""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import AMOUNT_MAX, DAY_MS
from engine.core.tables import Ints, Me, Ru


@compiled
def tile_of(at_ms: int, offset_ms: int, width_ms: int) -> int:
    """The tile that an instant lies in."""
    return (at_ms + offset_ms) // width_ms


@compiled
def day_of(rules: Ints, at_ms: int) -> int:
    """The policy day of an instant."""
    return (at_ms + rules[Ru.UTC_OFFSET]) // DAY_MS


@compiled
def saturate(value: int) -> int:
    """Clamp to what a cell holds: ±(2^53 - 1)."""
    return max(-AMOUNT_MAX, min(AMOUNT_MAX, value))


@compiled
def advance(measures: Ints, row: Ints, old_clock: int, new_clock: int) -> None:
    """Empty the cells of the tiles that begin between the two clocks, for every windowed measure."""
    for m in range(measures.shape[0]):
        width = measures[m, Me.WIDTH]
        if width == 0:
            continue
        offset, tiles, base = measures[m, Me.OFFSET], measures[m, Me.TILES], measures[m, Me.BASE]
        old_head = tile_of(old_clock, offset, width)
        new_head = tile_of(new_clock, offset, width)
        for k in range(max(old_head, new_head - tiles) + 1, new_head + 1):
            row[base + k % tiles] = 0


@compiled
def cell_of(measure: Ints, at_ms: int, clock: int) -> int:
    """The cell for an instant not after ``clock``, or -1 if its tile is no longer kept."""
    width, tiles = measure[Me.WIDTH], measure[Me.TILES]
    if width == 0:
        return measure[Me.BASE]  # type: ignore[no-any-return]
    tile = tile_of(at_ms, measure[Me.OFFSET], width)
    if tile <= tile_of(clock, measure[Me.OFFSET], width) - tiles:
        return -1
    return measure[Me.BASE] + tile % tiles  # type: ignore[no-any-return]


@compiled
def window_sum(measure: Ints, row: Ints, clock: int, newest: int, tiles: int) -> int:
    """Sum of ``tiles`` tiles ending ``newest`` tiles before the head, clamped to 0 .. 2^53 - 1."""
    head = tile_of(clock, measure[Me.OFFSET], measure[Me.WIDTH]) - newest
    base, ring = measure[Me.BASE], measure[Me.TILES]
    total = 0
    at = (head - tiles + 1) % ring
    for _ in range(tiles):
        total += row[base + at]
        at += 1
        if at == ring:
            at = 0
    return max(0, min(AMOUNT_MAX, total))


@compiled
def window_max(measure: Ints, row: Ints, clock: int, tiles: int) -> int:
    """Largest of the newest ``tiles`` tiles, never below 0."""
    head = tile_of(clock, measure[Me.OFFSET], measure[Me.WIDTH])
    base, ring = measure[Me.BASE], measure[Me.TILES]
    largest = 0
    for k in range(head - tiles + 1, head + 1):
        largest = max(largest, row[base + k % ring])
    return largest


@compiled
def window_bits(measure: Ints, row: Ints, clock: int, tiles: int) -> int:
    """Number of bits set in the OR of the newest ``tiles`` masks."""
    head = tile_of(clock, measure[Me.OFFSET], measure[Me.WIDTH])
    base, ring = measure[Me.BASE], measure[Me.TILES]
    mask = 0
    for k in range(head - tiles + 1, head + 1):
        mask |= row[base + k % ring]
    bits = 0
    for i in range(64):
        bits += (mask >> i) & 1
    return bits


@compiled
def window_start(measure: Ints, clock: int, tiles: int) -> int:
    """The instant at which a window of ``tiles`` tiles begins."""
    width, offset = measure[Me.WIDTH], measure[Me.OFFSET]
    return (tile_of(clock, offset, width) - tiles + 1) * width - offset  # type: ignore[no-any-return]
