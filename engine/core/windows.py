"""Tiles and windows: tumbling tiles of an hour or a day, read as sawtooth windows.

Theory of operation. A measure cuts time into tiles of fixed width on its own UTC offset, ``tile(t) = floor((t + offset) / width)``, and
an account keeps the measure's newest ``TILES`` tiles in a ring: tile k stands in cell ``BASE + k mod TILES``. The head is the tile of the
account's clock; the ring holds the tiles head - TILES + 1 .. head and nothing else, because ``advance`` empties the cells that the head
passes. A window of n tiles is head - n + 1 .. head: exact at the head, one tile of slack at its tail (the sawtooth).
"""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import AMOUNT_MAX, DAY_MS
from engine.core.tables import MEASURE, Ints, Me, Ru


@compiled
def tile_of(at_ms: int, offset_ms: int, width_ms: int) -> int:
    """The tile that an instant lies in."""
    return (at_ms + offset_ms) // width_ms


@compiled
def day_of(t: Ints, at_ms: int) -> int:
    """The policy day of an instant."""
    return (at_ms + t[Ru.UTC_OFFSET]) // DAY_MS


@compiled
def saturate(value: int) -> int:
    """Clamp to what a cell holds: ±(2^53 - 1)."""
    return max(-AMOUNT_MAX, min(AMOUNT_MAX, value))


@compiled
def advance(t: Ints, row: Ints, old_clock: int, new_clock: int) -> None:
    """Empty the cells of the tiles that begin between the two clocks, for every windowed measure."""
    for measure in range(t[Ru.MEASURES], t[Ru.MEASURES_END], MEASURE):
        width = t[measure + Me.WIDTH]
        if width == 0:
            continue
        offset, tiles, base = t[measure + Me.OFFSET], t[measure + Me.TILES], t[measure + Me.BASE]
        old_head = tile_of(old_clock, offset, width)
        new_head = tile_of(new_clock, offset, width)
        for k in range(max(old_head, new_head - tiles) + 1, new_head + 1):
            row[base + k % tiles] = 0


@compiled
def cell_of(t: Ints, measure: int, at_ms: int, clock: int) -> int:
    """The cell for an instant not after ``clock``, or -1 if its tile is no longer kept."""
    width, tiles = t[measure + Me.WIDTH], t[measure + Me.TILES]
    if width == 0:
        return t[measure + Me.BASE]  # type: ignore[no-any-return]
    tile = tile_of(at_ms, t[measure + Me.OFFSET], width)
    if tile <= tile_of(clock, t[measure + Me.OFFSET], width) - tiles:
        return -1
    return t[measure + Me.BASE] + tile % tiles  # type: ignore[no-any-return]


@compiled
def window_sum(t: Ints, measure: int, row: Ints, clock: int, newest: int, tiles: int) -> int:
    """Sum of ``tiles`` tiles ending ``newest`` tiles before the head, clamped to 0 .. 2^53 - 1."""
    head = tile_of(clock, t[measure + Me.OFFSET], t[measure + Me.WIDTH]) - newest
    base, ring = t[measure + Me.BASE], t[measure + Me.TILES]
    total = 0
    at = (head - tiles + 1) % ring
    for _ in range(tiles):
        total += row[base + at]
        at += 1
        if at == ring:
            at = 0
    return max(0, min(AMOUNT_MAX, total))


@compiled
def window_max(t: Ints, measure: int, row: Ints, clock: int, tiles: int) -> int:
    """Largest of the newest ``tiles`` tiles, never below 0."""
    head = tile_of(clock, t[measure + Me.OFFSET], t[measure + Me.WIDTH])
    base, ring = t[measure + Me.BASE], t[measure + Me.TILES]
    largest = 0
    for k in range(head - tiles + 1, head + 1):
        largest = max(largest, row[base + k % ring])
    return largest


@compiled
def window_bits(t: Ints, measure: int, row: Ints, clock: int, tiles: int) -> int:
    """Number of bits set in the OR of the newest ``tiles`` masks."""
    head = tile_of(clock, t[measure + Me.OFFSET], t[measure + Me.WIDTH])
    base, ring = t[measure + Me.BASE], t[measure + Me.TILES]
    mask = 0
    for k in range(head - tiles + 1, head + 1):
        mask |= row[base + k % ring]
    bits = 0
    for i in range(64):
        bits += (mask >> i) & 1
    return bits


@compiled
def window_start(t: Ints, measure: int, clock: int, tiles: int) -> int:
    """The instant at which a window of ``tiles`` tiles begins."""
    width, offset = t[measure + Me.WIDTH], t[measure + Me.OFFSET]
    return (tile_of(clock, offset, width) - tiles + 1) * width - offset  # type: ignore[no-any-return]
