"""Tiles and windows: tumbling tiles of an hour, a day or a week, read as sawtooth windows in constant time.

Theory of operation. A measure cuts time into tiles of fixed width on its own UTC offset, ``tile(t) = floor((t + offset) / width)``, and
an account keeps the measure's newest ``TILES`` tiles in a ring: tile k stands in cell ``BASE + k mod TILES``. The head is the tile of the
account's clock; the ring holds the tiles head - TILES + 1 .. head and nothing else, because ``advance`` empties the cells that the head
passes. A window covers the tiles head - newest - n + 1 .. head - newest: exact at the head, one tile of slack at its tail (the sawtooth).

The value of every window that a feature reads is kept beside the tiles: a contribution is added to the windows that cover its tile, and when
the head moves a tile on, what enters is added and what leaves is taken off. A maximum or a set of bits cannot be taken off; when something
leaves those, the window is read anew. Window values are derived: the store does not hold them, ``rebuild`` makes them from the tiles.
"""

from __future__ import annotations

from engine.core.jit import compiled
from engine.core.layout import AMOUNT_MAX, DAY_MS, Col
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
def read_anew(t: Ints, measure: int, window: int, row: Ints, head: int) -> None:
    """Compute one window's value from its tiles."""
    tiles, base, kind = t[measure + Me.TILES], t[measure + Me.BASE], t[measure + Me.KIND]
    place = (head - t[window + Wi.NEWEST]) % tiles
    value = 0
    for _ in range(t[window + Wi.TILES]):
        cell = row[base + place]
        place = place - 1 if place > 0 else tiles - 1
        if is_sum(kind):
            value += cell
        elif kind == MeasureKind.MAX:
            value = max(value, cell)
        else:
            value |= cell
    row[t[window + Wi.CELL]] = value


@compiled
def rebuild(t: Ints, row: Ints, clock: int) -> None:
    """Compute every window's value from the tiles, for a row that comes from the store."""
    for measure in range(t[Ru.MEASURES], t[Ru.MEASURES_END], MEASURE):
        for window in range(t[measure + Me.WINDOWS], t[measure + Me.WINDOWS_END], WINDOW):
            read_anew(t, measure, window, row, tile_of(clock, t[measure + Me.OFFSET], t[measure + Me.WIDTH]))


@compiled
def rebuild_rows(t: Ints, rows: Ints, slots: Ints) -> None:
    """``rebuild`` each of ``rows[slots]`` at its own clock."""
    for slot in slots:
        rebuild(t, rows[slot], rows[slot, Col.CLOCK])


@compiled
def slide_sums(t: Ints, measure: int, row: Ints, place: int) -> None:
    """The head moves on to the tile at ``place`` of the ring: what enters and leaves the windows of a count or sum."""
    tiles, base = t[measure + Me.TILES], t[measure + Me.BASE]
    for window in range(t[measure + Me.WINDOWS], t[measure + Me.WINDOWS_END], WINDOW):
        newest = t[window + Wi.NEWEST]
        leaves = place - newest - t[window + Wi.TILES]
        change = -row[base + (leaves if leaves >= 0 else leaves + tiles)]
        if newest > 0:
            enters = place - newest
            change += row[base + (enters if enters >= 0 else enters + tiles)]
        row[t[window + Wi.CELL]] += change


@compiled
def pass_tiles(t: Ints, measure: int, row: Ints, old_head: int, new_head: int) -> None:
    """Move one measure's head on: windows slide, the cells of the new tiles are emptied."""
    tiles, base = t[measure + Me.TILES], t[measure + Me.BASE]
    if new_head - old_head >= tiles:
        for cell in range(base, base + tiles):
            row[cell] = 0
        for window in range(t[measure + Me.WINDOWS], t[measure + Me.WINDOWS_END], WINDOW):
            row[t[window + Wi.CELL]] = 0
        return
    slides = is_sum(t[measure + Me.KIND])
    place = old_head % tiles
    for _ in range(new_head - old_head):
        place = place + 1 if place + 1 < tiles else 0
        if slides:
            slide_sums(t, measure, row, place)
        row[base + place] = 0
    if not slides:
        for window in range(t[measure + Me.WINDOWS], t[measure + Me.WINDOWS_END], WINDOW):
            if row[t[window + Wi.CELL]] != 0 or t[window + Wi.NEWEST] > 0:
                read_anew(t, measure, window, row, new_head)


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
    tiles = t[measure + Me.TILES]
    if age < 0 or age >= tiles:
        return
    cell = t[measure + Me.BASE] + tile_of(at_ms, t[measure + Me.OFFSET], t[measure + Me.WIDTH]) % tiles
    before = row[cell]
    row[cell] = saturate(before + amount)
    for window in range(t[measure + Me.WINDOWS], t[measure + Me.WINDOWS_END], WINDOW):
        if 0 <= age - t[window + Wi.NEWEST] < t[window + Wi.TILES]:
            row[t[window + Wi.CELL]] += row[cell] - before


@compiled
def join_tile(t: Ints, measure: int, row: Ints, at_ms: int, clock: int, value: int) -> None:
    """Join a value into the tile of an instant, and into the windows that cover it: the larger one, or the union of bits."""
    age = tile_age(t, measure, at_ms, clock)
    tiles = t[measure + Me.TILES]
    if age < 0 or age >= tiles:
        return
    largest = t[measure + Me.KIND] == MeasureKind.MAX
    cell = t[measure + Me.BASE] + tile_of(at_ms, t[measure + Me.OFFSET], t[measure + Me.WIDTH]) % tiles
    row[cell] = max(row[cell], value) if largest else row[cell] | value
    for window in range(t[measure + Me.WINDOWS], t[measure + Me.WINDOWS_END], WINDOW):
        if 0 <= age - t[window + Wi.NEWEST] < t[window + Wi.TILES]:
            at = t[window + Wi.CELL]
            row[at] = max(row[at], value) if largest else row[at] | value


@compiled
def bits_set(mask: int) -> int:
    """Number of bits set in a 64-bit mask: added up in pairs, fours and bytes, all at once."""
    pairs = mask - ((mask >> 1) & 0x5555555555555555)
    fours = (pairs & 0x3333333333333333) + ((pairs >> 2) & 0x3333333333333333)
    octets = (fours + (fours >> 4)) & 0x0F0F0F0F0F0F0F0F
    return ((octets * 0x0101010101010101) >> 56) & 0xFF


@compiled
def window_start(t: Ints, measure: int, clock: int, tiles: int) -> int:
    """The instant at which the newest ``tiles`` tiles begin."""
    width, offset = t[measure + Me.WIDTH], t[measure + Me.OFFSET]
    return (tile_of(clock, offset, width) - tiles + 1) * width - offset
