"""Tiles and windows: tumbling tiles of an hour, a day or a week, read as sawtooth windows in constant time.

Theory of operation. A measure cuts time into tiles of fixed width on its own UTC offset, ``tile(t) = floor((t + offset) / width)``, and
an account keeps the measure's newest ``TILES`` tiles in a ring (``rings``): tile k stands in cell ``BASE + k mod TILES``. The head is the
tile of the account's clock; the ring holds the tiles head - TILES + 1 .. head and nothing else, because ``advance`` empties the cells that
the head passes. A window covers the tiles head - newest - n + 1 .. head - newest: exact at the head, one tile of slack at its tail (the
sawtooth).

The value of every window that a feature reads is kept beside the tiles: a contribution is added to the windows that cover its tile, and when
the head moves a tile on, what enters is added and what leaves is taken off. A maximum or a set of bits cannot be taken off; when something
leaves those, the window is read anew. Window values are derived: the store does not hold them, ``rebuild`` makes them from the tiles.
"""

from __future__ import annotations

import numpy as np

from engine.core.bit_counts import ONE, ZERO, lowest_bit
from engine.core.jit import compiled
from engine.core.layout import AMOUNT_MAX, DAY_MS, Col
from engine.core.rings import cell_of, cells_marked, empty, mark, words_in_index
from engine.core.round_trips import forget_legs
from engine.core.tables import GROUP, MEASURE, WINDOW, Gr, Ints, Me, MeasureKind, Ru, Wi


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
def is_sum(kind: int) -> bool:
    """Whether a measure's tiles add up (count, sum), so that what leaves a window can be taken off."""
    return kind == MeasureKind.COUNT or kind == MeasureKind.SUM


@compiled
def covers(t: Ints, window: int, age: int) -> bool:
    """Whether a window covers the tile that lies so many before the head."""
    return 0 <= age - t[window + Wi.NEWEST] < t[window + Wi.TILES]


@compiled
def read_windows(t: Ints, measure: int, row: Ints, head: int) -> None:
    """Compute the value of each of a measure's windows from its tiles."""
    tiles, base, index, kind = t[measure + Me.TILES], t[measure + Me.BASE], t[measure + Me.INDEX], t[measure + Me.KIND]
    first, end, newest = t[measure + Me.WINDOWS], t[measure + Me.WINDOWS_END], head % tiles
    for window in range(first, end, WINDOW):
        row[t[window + Wi.CELL]] = 0
    for word in range(words_in_index(tiles)):
        left = np.uint64(row[index + word])
        while left != ZERO:
            place = 64 * word + lowest_bit(left)
            left &= left - ONE
            cell = row[base + place]
            age = newest - place if place <= newest else newest - place + tiles
            for window in range(first, end, WINDOW):
                if covers(t, window, age):
                    join(row, t[window + Wi.CELL], cell, kind)


@compiled
def join(row: Ints, at: int, value: int, kind: int) -> None:
    """Join a tile's value into the window or tile at ``at``: the sum, the larger one, or the union of bits."""
    if is_sum(kind):
        row[at] += value
    elif kind == MeasureKind.MAX:
        row[at] = max(row[at], value)
    else:
        row[at] |= value


@compiled
def rebuild(t: Ints, row: Ints, clock: int) -> None:
    """Compute every window's value from the tiles, for a row that comes from the store."""
    for measure in range(t[Ru.MEASURES], t[Ru.MEASURES_END], MEASURE):
        if t[measure + Me.WIDTH] > 0:
            read_windows(t, measure, row, tile_of(clock, t[measure + Me.OFFSET], t[measure + Me.WIDTH]))


@compiled
def rebuild_rows(t: Ints, rows: Ints, slots: Ints) -> None:
    """``rebuild`` each of ``rows[slots]`` at its own clock."""
    for slot in slots:
        rebuild(t, rows[slot], rows[slot, Col.CLOCK])


@compiled
def slide_sums(t: Ints, measure: int, row: Ints, place: int) -> None:
    """The head moves on to the tile at ``place`` of the ring: what enters and leaves the windows of a count or sum."""
    tiles, base, index = t[measure + Me.TILES], t[measure + Me.BASE], t[measure + Me.INDEX]
    for window in range(t[measure + Me.WINDOWS], t[measure + Me.WINDOWS_END], WINDOW):
        newest = t[window + Wi.NEWEST]
        leaves = place - newest - t[window + Wi.TILES]
        change = -cell_of(row, base, index, leaves if leaves >= 0 else leaves + tiles)
        if newest > 0:
            enters = place - newest
            change += cell_of(row, base, index, enters if enters >= 0 else enters + tiles)
        row[t[window + Wi.CELL]] += change


@compiled
def pass_tiles(t: Ints, measure: int, row: Ints, old_head: int, new_head: int) -> None:
    """Move one measure's head on: windows slide, the cells of the new tiles are emptied. Where more tiles pass than hold something, and where
    what leaves cannot be taken off, the windows are read anew."""
    tiles, base, index = t[measure + Me.TILES], t[measure + Me.BASE], t[measure + Me.INDEX]
    marked = cells_marked(row, index, tiles)
    if marked == 0:
        return
    passed = new_head - old_head
    slides = is_sum(t[measure + Me.KIND]) and passed <= marked
    place = old_head % tiles
    for _ in range(min(passed, tiles)):
        place = place + 1 if place + 1 < tiles else 0
        if slides:
            slide_sums(t, measure, row, place)
        empty(row, base, index, place)
    if not slides:
        read_windows(t, measure, row, new_head)


@compiled
def advance(t: Ints, row: Ints, old_clock: int, new_clock: int) -> None:
    """Move every windowed measure's head from the tile of one clock to that of a later one."""
    for group in range(t[Ru.GROUPS], t[Ru.GROUPS_END], GROUP):
        width, offset = t[group + Gr.WIDTH], t[group + Gr.OFFSET]
        old_head, new_head = tile_of(old_clock, offset, width), tile_of(new_clock, offset, width)
        if new_head <= old_head:
            continue
        for listed in range(t[group + Gr.MEASURES], t[group + Gr.MEASURES_END]):
            measure = t[listed]
            if t[measure + Me.KIND] == MeasureKind.ROUND_TRIPS:
                forget_legs(t, measure, row, new_clock)
            else:
                pass_tiles(t, measure, row, old_head, new_head)


@compiled
def tile_age(t: Ints, measure: int, at_ms: int, clock: int) -> int:
    """How many tiles before the head an instant lies (0: in the head; negative: a reversal of what is yet to come)."""
    offset, width = t[measure + Me.OFFSET], t[measure + Me.WIDTH]
    return tile_of(clock, offset, width) - tile_of(at_ms, offset, width)


@compiled
def add_to_tile(t: Ints, measure: int, row: Ints, at_ms: int, clock: int, amount: int) -> None:
    """Add to the tile of an instant and to the windows that cover it; nothing if the tile is not kept."""
    age = tile_age(t, measure, at_ms, clock)
    if age < 0 or age >= t[measure + Me.TILES]:
        return
    cell = kept_cell(t, measure, row, at_ms)
    before = row[cell]
    row[cell] = saturate(before + amount)
    for window in range(t[measure + Me.WINDOWS], t[measure + Me.WINDOWS_END], WINDOW):
        if covers(t, window, age):
            row[t[window + Wi.CELL]] += row[cell] - before


@compiled
def kept_cell(t: Ints, measure: int, row: Ints, at_ms: int) -> int:
    """The cell of the row that holds the tile of an instant, marked."""
    place = tile_of(at_ms, t[measure + Me.OFFSET], t[measure + Me.WIDTH]) % t[measure + Me.TILES]
    mark(row, t[measure + Me.INDEX], place)
    return t[measure + Me.BASE] + place


@compiled
def join_tile(t: Ints, measure: int, row: Ints, at_ms: int, clock: int, value: int) -> None:
    """Join a value into the tile of an instant, and into the windows that cover it: the larger one, or the union of bits."""
    age, kind = tile_age(t, measure, at_ms, clock), t[measure + Me.KIND]
    if age < 0 or age >= t[measure + Me.TILES]:
        return
    join(row, kept_cell(t, measure, row, at_ms), value, kind)
    for window in range(t[measure + Me.WINDOWS], t[measure + Me.WINDOWS_END], WINDOW):
        if covers(t, window, age):
            join(row, t[window + Wi.CELL], value, kind)


@compiled
def window_start(t: Ints, measure: int, clock: int, tiles: int) -> int:
    """The instant at which the newest ``tiles`` tiles begin."""
    width, offset = t[measure + Me.WIDTH], t[measure + Me.OFFSET]
    return (tile_of(clock, offset, width) - tiles + 1) * width - offset
