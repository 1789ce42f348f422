"""One account, record by record: what it remembers, and the order in which a record is taken (docs/policy.md §2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal

from engine.policy import document as doc
from tests.oracle.decide import CLOSING, Emission, Line, Trace, evaluate, refuse
from tests.oracle.events import Event, Since, event_of
from tests.oracle.exposure import Exposure
from tests.oracle.features import ROLES, View, feature_value
from tests.oracle.instalments import Instalments
from tests.oracle.measures import Meter, WordBit
from tests.oracle.portfolio import Portfolio
from tests.oracle.records import Command, Forget, Granted, Posting, Profile, Record, Repayment
from tests.oracle.round_trips import RoundTrips
from tests.oracle.time_rules import HOUR_MS, day_of, tiles_back

REMEMBERED = 16


@dataclass(frozen=True)
class Step:
    """What became of one record; ``trace`` is the evaluation's, also when nothing was emitted."""

    verdict: Literal["accepted", "duplicate", "stale", "no_profile", "forgotten", "nothing_held", "line_open"]
    emissions: list[Emission]
    trace: Trace | None


class OracleAccount:
    """The fold of one account's records.

    ``word_bit`` gives the low 6 bits of a word's fingerprint (for open distinct measures).
    """

    def __init__(
        self,
        policy: doc.Policy,
        word_bit: WordBit,
        appetites: Mapping[str, tuple[str, int]] | None = None,
        portfolio: Portfolio | None = None,
    ) -> None:
        """``appetites``: by segment the mode in force and the policy day since which it is; others may change it from outside. ``portfolio``:
        that of the shard, whose accounts share it; without one the account is the only one of the only shard."""
        self.policy = policy
        self.word_bit = word_bit
        self.appetites = {} if appetites is None else appetites
        self.portfolio = Portfolio() if portfolio is None else portfolio
        self._begin(0)

    def _begin(self, sequence: int) -> None:
        """An account of which nothing is known but how many changes were announced."""
        self._make_meters()
        self.accepted: list[tuple[str, str | None, str]] = []
        self.first_at: int | None = None
        self.now: int | None = None
        self.kept_at: int | None = None  # the clock as a sweep leaves it that says nothing
        self.instalments = Instalments(self.policy)
        self.exposure = Exposure()
        self.line = Line(0, None, frozenset(), "none")
        self.sequence = sequence
        self.last_change: int | None = None
        self.last_decrease: int | None = None
        self.last_change_at: int | None = None  # ms, of any change
        self.closed_on: int | None = None
        self.opted_out: int | None = None  # day, by command
        self.takeover_lifted: int | None = None  # day, by command
        self.offer_ended: int | None = None  # day
        self.warned: tuple[str, int] | None = None  # what was told, until when not again
        self.withheld: tuple[str, str | None, int, int] | None = None
        self.mismatch: tuple[int, int] | None = None

    def _make_meters(self) -> None:
        """Meters of the policy's measures, empty."""
        policy, word_bit = self.policy, self.word_bit
        self.meters = {measure.name: Meter(policy, measure, word_bit) for measure in policy.measures}
        self.parts = {}
        for feature in policy.features:
            if isinstance(feature, doc.ShareAbove):
                part = Meter(policy, self.meters[feature.measure].measure, word_bit, feature.amount_minor)
                written_out = self.meters.get(f"{feature.measure}_from_{feature.amount_minor}")
                part.added_at = written_out.added_at if written_out else part.added_at
                self.parts[feature.name] = part
        self.trips = {name: RoundTrips(meter) for name, meter in self.meters.items() if meter.measure.kind == "round_trips"}

    def follow(self, policy: doc.Policy) -> None:
        """Be judged by another promoted version from here on (docs/policy.md §13). The portfolio is told by itself."""
        before, self.policy = self.policy, policy
        if self.now is None:  # nothing is known
            self._begin(self.sequence)
            return
        trips = {meter.measure.column: self.trips[name].legs for name, meter in self.meters.items() if name in self.trips}
        held = {meter.measure.column: meter for meter in self.meters.values()}
        for name, meter in self.meters.items():
            meter.tiles = meter.cells(self.now, self._tiles_kept(name, before))
        self._make_meters()
        for name, meter in self.meters.items():
            if meter.measure.column in held:
                meter.take_over(held[meter.measure.column])
            if name in self.trips:
                self.trips[name].legs = trips.get(meter.measure.column, [])
        for feature in policy.features:
            if isinstance(feature, doc.ShareAbove):
                self.parts[feature.name].take_over(self.meters[f"{feature.measure}_from_{feature.amount_minor}"])
        self.instalments.policy = policy
        if self.profile is not None:
            kept = {name: value for name, value in self.profile.attributes.items() if name in attributes_of(before)}
            self.exposure.profile = replace(self.profile, attributes=kept)

    @property
    def profile(self) -> Profile | None:
        """The profile held."""
        return self.exposure.profile

    @property
    def today(self) -> int:
        """The policy day of the account's clock."""
        assert self.now is not None
        return day_of(self.policy, self.now)

    @property
    def segment(self) -> doc.Segment:
        """The segment of the account, the default one as long as it is not known."""
        by_name: dict[str, doc.Segment] = {segment.name: segment for segment in self.policy.segments}
        named = by_name.get(self.profile.segment) if self.profile else None
        return named or by_name[self.policy.default_segment]

    @property
    def is_closed_by_status(self) -> bool:
        """Whether the profile's status allows no decision."""
        return self.profile is not None and self.profile.figure("status") in CLOSING

    @property
    def override_limit(self) -> int | None:
        """The limit of an override in force."""
        override = self.line.override
        return override[0] if override is not None and self.is_in_force(override[1]) else None

    @property
    def limit_in_force(self) -> int:
        """The temporary limit while one is in force, else the limit."""
        temporary = self.line.temporary
        return temporary[0] if temporary is not None and self.is_in_force(temporary[1]) else self.line.limit

    def is_in_force(self, until: int | None) -> bool:
        """Whether what ends then is still in force."""
        assert self.now is not None
        return until is not None and until > self.now

    def figure(self, name: str) -> int | str | None:
        """A figure of the profile held, None if unknown."""
        return None if self.profile is None else self.profile.figure(name)

    def number(self, name: str) -> int | None:
        """A figure that is a number or a day."""
        value = self.figure(name)
        assert not isinstance(value, str), f"{name} is a word"
        return value

    def stand(self, line: Line) -> None:
        """Let another line stand; an offer that is gone has ended today."""
        if self.line.offer is not None and line.offer is None:
            self.offer_ended = self.today
        self.line = line

    def apply(self, record: Record) -> Step:
        """Take one record."""
        if isinstance(record, Forget):
            return self._forget()
        identity = (type(record).__name__, record.source, record.event_id)
        if identity in self.accepted[-REMEMBERED:]:
            return Step("duplicate", [], None)
        if isinstance(record, Profile) and self.profile is not None and record.as_of <= self.profile.as_of:
            return Step("stale", [], None)
        self.accepted.append(identity)
        if self.first_at is None:
            self.first_at = record.occurred_at
        stood_at = self.kept_at
        self._move_clock(record.occurred_at, record.clock)
        self.kept_at = self.now
        self._work(record)
        if self.profile is None and self.policy.needs_profile:
            return Step("no_profile", [refuse(self, "no_profile")] if isinstance(record, Command) else [], None)
        day = day_of(self.policy, record.clock)
        is_counted = stood_at is None or day_of(self.policy, stood_at) < day
        emissions, trace = evaluate(self, record, day, is_counted=is_counted)
        return Step("accepted", emissions, trace)

    def _forget(self) -> Step:
        """Do the wish to forget the account, if its line is not open."""
        if self.line.standing == "open":
            return Step("line_open", [], None)
        if self.now is None:
            return Step("nothing_held", [], None)
        self._begin(self.sequence)
        return Step("forgotten", [], None)

    def tick(self, clock: int) -> Step:
        """Let time go by to the shard's clock, as a sweep does; if that emits nothing and the arrears bucket is the same the account stays as it
        was."""
        if self.now is None:  # forgotten
            return Step("nothing_held", [], None)
        shared = (self.policy, self.appetites, self.portfolio, *(meter.measure for meter in self.meters.values()))
        later = deepcopy(self, {id(document): document for document in shared})
        step = later.pass_time(clock)
        if step.emissions or later.instalments.bucket(later.today) != self.instalments.bucket(self.today):
            vars(self).update(vars(later))
        return step

    def pass_time(self, clock: int) -> Step:
        """As ``tick``, but the account's clock stays moved also where nothing is emitted: what its next record would do as well."""
        bucket = self.instalments.bucket(self.today)
        self._move_clock(clock)
        self._take_first_standing(None)
        if self.instalments.bucket(self.today) != bucket:
            self.kept_at = self.now
        if self.profile is None and self.policy.needs_profile:
            return Step("no_profile", [], None)
        emissions, trace = evaluate(self, None, day_of(self.policy, clock), is_counted=True)
        if emissions:
            self.kept_at = self.now
        return Step("accepted", emissions, trace)

    def _move_clock(self, *times: int) -> None:
        self.now = max(times if self.now is None else (self.now, *times))
        for trips in self.trips.values():
            trips.forget(self.now)
        self._measure(self.instalments.settle(self.today))
        self.instalments.look_at_cure(self.today)

    def _work(self, record: Posting | Profile | Command) -> None:
        if isinstance(record, Profile):
            self.exposure.snapshot(record)
        elif not isinstance(record, Command):
            self._measure([event_of(self.policy, record)])
            if isinstance(record, Repayment):
                self._measure(self.instalments.repay(record))
            self.exposure.move(record)
        self._take_first_standing(record.granted if isinstance(record, Profile) else None)
        if not isinstance(record, Command):
            self._measure_usage()
        self.instalments.look_at_cure(self.today)

    def _measure(self, events: list[Event]) -> None:
        assert self.now is not None
        meters = (*self.meters.values(), *self.parts.values())
        for event in events:
            seen = {name: meter.last_seen for name, meter in self.meters.items()}
            since = self._since(seen)
            comes_to = {name: trips.take(event, self.now, since) for name, trips in self.trips.items() if event.kind == "transfer"}
            for meter in meters:
                for part in [event] if meter.measure.net_of is None else comes_to.get(meter.measure.net_of, []):
                    meter.add(part, self.now, since)

    def _since(self, seen: dict[str, int | None]) -> Since:
        """How long before an event something was seen last, as it stood before the event."""

        def since(condition: doc.Condition, event: Event) -> int | None:
            last_seen = seen[condition.of or ""]
            if last_seen is None:
                return None
            if condition.field == "days_since":
                return day_of(self.policy, event.at) - day_of(self.policy, last_seen)
            return (event.at - last_seen) // HOUR_MS

        return since

    def _measure_usage(self) -> None:
        """What the line is used for now is an event too."""
        exposure = self.exposure.value()
        if exposure is None:
            return
        assert self.now is not None
        numbers = {"amount_minor": exposure}
        if self.line.limit > 0:
            numbers["utilisation_percent"] = 100 * exposure // self.line.limit
        self._measure([Event("usage", self.now, {}, numbers)])

    def _take_first_standing(self, granted: Granted | None) -> None:
        """The standing that an account has without a decision."""
        if self.line.standing != "none":
            return
        initial = self.segment.initial_standing
        is_segment_known = self.profile is not None or not self.policy.needs_profile
        if granted is not None:
            self._open(granted.limit_minor, granted.band)
            self.last_change = granted.since_day
        elif initial is not None and is_segment_known and not self.is_closed_by_status:
            self._open(initial.limit_minor, initial.band)

    def _open(self, limit: int, band: str) -> None:
        """Open the line; the ceiling stays, an offer is given up."""
        self.stand(replace(self.line, limit=limit, band=band, standing="open", offer=None))

    def view(self) -> View:
        """What features look at now."""
        assert self.now is not None
        assert self.first_at is not None
        return View(
            policy=self.policy,
            now=self.now,
            today=self.today,
            first_at=self.first_at,
            meters=self.meters,
            parts=self.parts,
            profile=self.profile,
            exposure=self.exposure.value(),
            days_past_due=self.instalments.days_past_due(self.today),
            limit=self.limit_in_force,
        )

    def features(self) -> list[int | None]:
        """The features' values now, in the policy's order."""
        view = self.view()
        return [feature_value(feature, view) for feature in self.policy.features]

    def state(self) -> dict[str, Any]:
        """A summary to compare; tiles are those still kept and not 0, masks are unsigned. Of one of which nothing is known, the sequence."""
        if self.now is None:
            return {"sequence": self.sequence}
        open_instalments = [(i.loan_id, i.due_at, i.due, i.paid) for i in self.instalments.held if not i.settled]
        tiles = {name: meter.cells(self.now, self._tiles_kept(name, self.policy)) for name, meter in self.meters.items()}
        return {
            "standing": self.line.standing,
            "limit": self.line.limit,
            "band": self.line.band,
            "blocks": sorted(self.line.blocks),
            "sequence": self.sequence,
            "accepted": len(self.accepted),
            "first_at": self.first_at,
            "clock": self.now,
            "last_change": self.last_change,
            "last_decrease": self.last_decrease,
            "closed_on": self.closed_on,
            "line": self.line,
            "opted_out": self.opted_out,
            "takeover_lifted": self.takeover_lifted,
            "offer_ended": self.offer_ended,
            "last_change_at": self.last_change_at,
            "warned": self.warned,
            "withheld": self.withheld,
            "mismatch": self.mismatch,
            "days_past_due": self.instalments.days_past_due(self.today),
            "bucket": self.instalments.bucket(self.today),
            "in_arrears": self.instalments.in_arrears,
            "cured_on": self.instalments.cured_on,
            "exposure": self.exposure.value(),
            "movements": sorted(self.exposure.movements),
            "older": self.exposure.older,
            "open_instalments": sorted(open_instalments),
            "settled_instalments": sum(i.settled for i in self.instalments.held),
            "tiles": {name: {tile: cell for tile, cell in cells.items() if cell} for name, cells in tiles.items()},
            "balances": {name: m.balance for name, m in self.meters.items() if m.measure.kind == "balance"},
            "last_seen": {name: m.last_seen for name, m in self.meters.items() if m.measure.kind == "last_seen"},
            "tops": {name: (m.top.total, sorted(m.top.held.values())) for name, m in self.meters.items() if m.measure.kind == "top"},
            "trips": {name: [(leg.event.at, leg.amount, leg.rest) for leg in trips.legs] for name, trips in self.trips.items()},
        }

    @staticmethod
    def _tiles_kept(measure: str, policy: doc.Policy) -> int:
        """How many tiles the longest feature of a measure needs."""
        needs = [1]
        for feature in policy.features:
            names = [*(getattr(feature, role, None) for role in ROLES), *getattr(feature, "measures", ())]
            if isinstance(feature, doc.ShareAbove):
                names.append(f"{feature.measure}_from_{feature.amount_minor}")
            if measure in names:
                needs.append(tiles_back(feature))
        return max(needs)


def attributes_of(policy: doc.Policy) -> set[str]:
    """The attributes that a policy reads, by name."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            for part in value.values() if isinstance(value, dict) else value:
                yield from texts(part)

    plain = policy.model_dump(mode="json", include={"features", "segments"})
    return {text.removeprefix("attributes.") for text in texts(plain) if text.startswith("attributes.")}
