"""A measure's memory: every tile it ever had, none forgotten; a window sums over all of them (docs/policy.md §3)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

from engine.policy import document as doc
from tests.oracle.events import Event, Since, holds
from tests.oracle.time_rules import DAY_MS, MINUTE_MS, WIDTHS, epoch_ms

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
        self.width = WIDTHS[measure.tile]
        self.added_at = None if measure.added_at is None else epoch_ms(measure.added_at)
        self.tiles: dict[int, int] = {}
        self.balance = 0
        self.last_seen: int | None = None
        self.top = TopWords(measure.half_life_days or 1)

    def take_over(self, other: Meter) -> None:
        """Hold what a meter of the same meaning holds."""
        self.tiles, self.balance, self.last_seen, self.top = dict(other.tiles), other.balance, other.last_seen, deepcopy(other.top)

    def tile(self, at: int) -> int:
        """Number of the tile in which an instant lies."""
        return (at + self.utc_offset_ms) // self.width

    def concerns(self, event: Event, since: Since) -> bool:
        """Whether the measure watches the event."""
        return event.kind == self.measure.event and all(holds(c, event, self.utc_offset_ms, since) for c in self.measure.where)

    def add(self, event: Event, now: int, since: Since) -> None:
        """Take an event's contribution, if it makes one (what a round_trips remembers is kept elsewhere)."""
        if self.measure.kind == "round_trips" or not self.concerns(event, since):
            return
        if self.amount_from > 0 and event.numbers["amount_minor"] < self.amount_from:
            return
        if event.reversal and self.measure.kind in ("max", "distinct", "last_seen"):
            return
        if self.measure.kind in ("sum", "max", "balance") and (self.measure.of or "amount_minor") not in event.numbers:
            return
        if self.measure.kind == "top":
            word = event.words.get(self.measure.of or "")
            if word is not None:
                period = (event.at + self.utc_offset_ms) // DAY_MS // self.top.half_life_days
                amount = event.numbers["amount_minor"] if event.counted is None else event.counted
                self.top.add(word, -amount if event.reversal else amount, period)
        elif self.measure.kind == "last_seen":
            self.last_seen = event.at if self.last_seen is None else max(self.last_seen, event.at)
        elif self.measure.kind == "balance":
            self.balance = _saturated(self.balance + self._signed(event, since))
        elif self.tile(event.at) <= self.tile(now):
            tile = self.tile(event.at)
            self.tiles[tile] = self._changed(self.tiles.get(tile, 0), event, since)

    def _changed(self, cell: int, event: Event, since: Since) -> int:
        """The cell of the event's tile after its contribution."""
        match self.measure.kind:
            case "count":
                step = 1 if not event.reversal else -1 if event.full else 0
                return _saturated(cell + step)
            case "sum":
                return _saturated(cell + self._signed(event, since))
            case "max":
                return max(cell, self._number(event))
            case _:
                bit = self._bit(event)
                return cell if bit is None else cell | 1 << bit

    def _number(self, event: Event) -> int:
        return event.numbers[self.measure.of or "amount_minor"] if event.counted is None else event.counted

    def _signed(self, event: Event, since: Since) -> int:
        """What a sum or balance goes up by."""
        minus = self.measure.minus
        down = bool(minus) and all(holds(c, event, self.utc_offset_ms, since) for c in minus)
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

    def mask(self, now: int, tiles: int, back: int = 0) -> int:
        """All bits seen in such a window of a distinct measure."""
        mask = 0
        for cell in self.cells(now, tiles, back).values():
            mask |= cell
        return mask

    def partial(self, now: int, tiles: int, first_at: int) -> bool:
        """Whether a window begins before the account's first record or before the measure was there."""
        begins = (self.tile(now) - tiles + 1) * self.width - self.utc_offset_ms
        return begins < first_at or (self.added_at is not None and begins < self.added_at)


class TopWords:
    """The words with the largest amounts: at most six, the others set off against all of them alike; amounts halve with every period."""

    def __init__(self, half_life_days: int) -> None:
        self.half_life_days = half_life_days
        self.total = 0
        self.held: dict[str, int] = {}
        self.period = 0

    def add(self, word: str, amount: int, period: int) -> None:
        """Add an amount of a word, below 0 to take it back."""
        for _ in range(min(period - self.period, 62)):
            self.total //= 2
            self._hold({each: held // 2 for each, held in self.held.items()})
        self.period = max(self.period, period)
        size = abs(amount) >> min(self.period - period, 62)
        if amount < 0:
            self.total = max(0, self.total - size)
            if word in self.held:
                self._hold(self.held | {word: self.held[word] - size})
            return
        self.total = min(CELL_MAX, self.total + size)
        if word not in self.held and len(self.held) == 6:
            smallest = min(size, *self.held.values())
            self._hold({each: held - smallest for each, held in self.held.items()})
            size -= smallest
        if size > 0:
            self.held[word] = min(CELL_MAX, self.held.get(word, 0) + size)

    def _hold(self, held: dict[str, int]) -> None:
        self.held = {word: amount for word, amount in held.items() if amount > 0}


def _saturated(value: int) -> int:
    return min(max(value, -CELL_MAX), CELL_MAX)
