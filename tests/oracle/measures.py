"""A measure's memory: every tile it ever had, none forgotten; a window sums over all of them (docs/policy.md §3)."""

from __future__ import annotations

from collections.abc import Callable

from engine.policy import document as doc
from tests.oracle.events import Event, holds
from tests.oracle.time_rules import DAY_MS, HOUR_MS, MINUTE_MS, epoch_ms

CELL_MAX = 2**53 - 1

WordBit = Callable[[str], int]


class Meter:
    """One measure of one account; with ``amount_from`` only its events from that amount on (for ``share_above``)."""

    def __init__(self, policy: doc.Policy, measure: doc.Measure, word_bit: WordBit, amount_from: int = 0) -> None:
        self.measure = measure
        self.word_bit = word_bit
        self.amount_from = amount_from
        offset_minutes = policy.utc_offset_minutes if measure.utc_offset_minutes is None else measure.utc_offset_minutes
        self.utc_offset_ms = offset_minutes * MINUTE_MS
        self.width = HOUR_MS if measure.tile == "hour" else DAY_MS
        self.added_at = None if measure.added_at is None else epoch_ms(measure.added_at)
        self.tiles: dict[int, int] = {}
        self.balance = 0
        self.last_seen: int | None = None

    def tile(self, at: int) -> int:
        """Number of the tile in which an instant lies."""
        return (at + self.utc_offset_ms) // self.width

    def add(self, event: Event, now: int) -> None:
        """Take an event's contribution, if it makes one."""
        if event.kind != self.measure.event or not all(holds(c, event, self.utc_offset_ms) for c in self.measure.where):
            return
        if self.amount_from > 0 and event.numbers["amount_minor"] < self.amount_from:
            return
        if event.reversal and self.measure.kind in ("max", "distinct", "last_seen"):
            return
        if self.measure.kind == "last_seen":
            self.last_seen = event.at if self.last_seen is None else max(self.last_seen, event.at)
        elif self.measure.kind == "balance":
            self.balance = _saturated(self.balance + self._signed(event))
        elif self.tile(event.at) <= self.tile(now):
            tile = self.tile(event.at)
            self.tiles[tile] = self._changed(self.tiles.get(tile, 0), event)

    def _changed(self, cell: int, event: Event) -> int:
        """The cell of the event's tile after its contribution."""
        match self.measure.kind:
            case "count":
                step = 1 if not event.reversal else -1 if event.full else 0
                return _saturated(cell + step)
            case "sum":
                return _saturated(cell + self._signed(event))
            case "max":
                return max(cell, self._number(event))
            case _:
                bit = self._bit(event)
                return cell if bit is None else cell | 1 << bit

    def _number(self, event: Event) -> int:
        return event.numbers[self.measure.of or "amount_minor"]

    def _signed(self, event: Event) -> int:
        """What a sum or balance goes up by."""
        minus = self.measure.minus
        down = bool(minus) and all(holds(c, event, self.utc_offset_ms) for c in minus)
        return -self._number(event) if down != event.reversal else self._number(event)

    def _bit(self, event: Event) -> int | None:
        assert self.measure.of is not None
        word = event.words.get(self.measure.of)
        if word is None:
            return None
        if self.measure.closed_set is None:
            return self.word_bit(word)
        return self.measure.closed_set.index(word) if word in self.measure.closed_set else None

    def cells(self, now: int, tiles: int, back: int = 0) -> dict[int, int]:
        """The cells of the window of ``tiles`` tiles that ends ``back`` tiles before the head."""
        head = self.tile(now) - back
        return {tile: cell for tile, cell in self.tiles.items() if head - tiles < tile <= head}

    def total(self, now: int, tiles: int, back: int = 0) -> int:
        """A count's or sum's total of such a window, or a max's largest; never below 0."""
        cells = self.cells(now, tiles, back).values()
        if self.measure.kind == "max":
            return max(cells, default=0)
        return min(max(sum(cells), 0), CELL_MAX)

    def mask(self, now: int, tiles: int) -> int:
        """All bits seen in a window of a distinct measure."""
        mask = 0
        for cell in self.cells(now, tiles).values():
            mask |= cell
        return mask

    def partial(self, now: int, tiles: int, first_at: int) -> bool:
        """Whether a window begins before the account's first record or before the measure was there."""
        begins = (self.tile(now) - tiles + 1) * self.width - self.utc_offset_ms
        return begins < first_at or (self.added_at is not None and begins < self.added_at)


def _saturated(value: int) -> int:
    return min(max(value, -CELL_MAX), CELL_MAX)
