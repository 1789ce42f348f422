"""Money that goes round between the account and one counterparty (docs/policy.md §3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.oracle.events import Event, Since
from tests.oracle.measures import Meter
from tests.oracle.time_rules import DAY_MS

REMEMBERED = 8


@dataclass
class Leg:
    """A remembered transfer and what has not gone round of it."""

    event: Event
    rest: int

    @property
    def amount(self) -> int:
        """Its own amount."""
        return self.event.numbers["amount_minor"]


class RoundTrips:
    """What a measure of kind round_trips remembers."""

    def __init__(self, meter: Meter) -> None:
        assert meter.measure.within_days is not None
        self.meter = meter
        self.within_days = meter.measure.within_days
        self.legs: list[Leg] = []

    def _day(self, at: int) -> int:
        return (at + self.meter.utc_offset_ms) // DAY_MS

    def forget(self, now: int) -> None:
        """Forget what is too long ago."""
        self.legs = [leg for leg in self.legs if self._day(leg.event.at) >= self._day(now) - self.within_days]

    def take(self, event: Event, now: int, since: Since) -> list[Event]:
        """What a transfer comes to for the measures that are net of these round trips."""
        known = event.words.get("counterparty_id") is not None and event.words.get("direction") is not None
        if event.reversal:
            return self._reverse(event) if known else [event]
        if not known or not self.meter.concerns(event, since):
            return [event]
        came_to = []
        amount = rest = event.numbers["amount_minor"]
        for leg in self.legs:
            if rest > 0 and leg.rest > 0 and self._is_partner(leg.event, event):
                gone = min(rest, leg.rest)
                rest -= gone
                leg.rest -= gone
                came_to.append(replace(leg.event, reversal=True, full=leg.rest == 0, counted=gone))
        if rest > 0 or amount == 0:
            came_to.append(replace(event, counted=rest))
        if amount > 0:
            self.legs = [*self.legs, Leg(event, rest)]
            self.forget(now)
            self.legs = self.legs[-REMEMBERED:]
        return came_to

    def _is_partner(self, one: Event, other: Event) -> bool:
        same = one.words["counterparty_id"] == other.words["counterparty_id"]
        return (
            same and one.words["direction"] != other.words["direction"] and abs(self._day(one.at) - self._day(other.at)) <= self.within_days
        )

    def _reverse(self, event: Event) -> list[Event]:
        def face(each: Event) -> tuple[object, ...]:
            return each.at, *(each.words.get(word) for word in ("counterparty_id", "direction", "purpose"))

        original = next((leg for leg in self.legs if face(leg.event) == face(event)), None)
        if original is None:
            return [event]
        if original.rest == 0:
            return []
        taken = min(event.numbers["amount_minor"], original.rest)
        original.rest -= taken
        return [replace(event, counted=taken)]
