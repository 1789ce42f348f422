"""One account, record by record: what it remembers, and the order in which a record is taken (docs/policy.md §2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from engine.policy import document as doc
from tests.oracle.decide import CLOSING, Emission, Line, Trace, evaluate, refuse
from tests.oracle.events import Event, event_of
from tests.oracle.exposure import Exposure
from tests.oracle.features import View, feature_value
from tests.oracle.instalments import Instalments
from tests.oracle.measures import Meter, WordBit
from tests.oracle.records import Command, Forget, Granted, Posting, Profile, Record, Repayment
from tests.oracle.time_rules import day_of, window_tiles

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

    def __init__(self, policy: doc.Policy, word_bit: WordBit) -> None:
        self.policy = policy
        self.word_bit = word_bit
        self._begin(0)

    def _begin(self, sequence: int) -> None:
        """An account of which nothing is known but how many changes were announced."""
        policy, word_bit = self.policy, self.word_bit
        self.meters = {measure.name: Meter(policy, measure, word_bit) for measure in policy.measures}
        self.parts = {}
        for feature in policy.features:
            if isinstance(feature, doc.ShareAbove):
                part = Meter(policy, self.meters[feature.measure].measure, word_bit, feature.amount_minor)
                written_out = self.meters.get(f"{feature.measure}_from_{feature.amount_minor}")
                part.added_at = written_out.added_at if written_out else part.added_at
                self.parts[feature.name] = part
        self.accepted: list[tuple[str, str | None, str]] = []
        self.first_at: int | None = None
        self.now: int | None = None
        self.instalments = Instalments(policy)
        self.exposure = Exposure()
        self.line = Line(0, None, frozenset(), "none")
        self.sequence = sequence
        self.last_change: int | None = None
        self.last_decrease: int | None = None
        self.closed_on: int | None = None

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
        self._move_clock(record)
        self._work(record)
        if self.profile is None and self.policy.needs_profile:
            return Step("no_profile", [refuse(self, "no_profile")] if isinstance(record, Command) else [], None)
        emissions, trace = evaluate(self, record if isinstance(record, Command) else None)
        return Step("accepted", emissions, trace)

    def _forget(self) -> Step:
        """Do the wish to forget the account, if its line is not open."""
        if self.line.standing == "open":
            return Step("line_open", [], None)
        if self.now is None:
            return Step("nothing_held", [], None)
        self._begin(self.sequence)
        return Step("forgotten", [], None)

    def _move_clock(self, record: Record) -> None:
        times = [record.occurred_at, record.clock]
        self.now = max(times if self.now is None else [self.now, *times])
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
        self.instalments.look_at_cure(self.today)

    def _measure(self, events: list[Event]) -> None:
        assert self.now is not None
        for event in events:
            for meter in (*self.meters.values(), *self.parts.values()):
                meter.add(event, self.now)

    def _take_first_standing(self, granted: Granted | None) -> None:
        """The standing that an account has without a decision."""
        if self.line.standing != "none":
            return
        initial = self.segment.initial_standing
        is_segment_known = self.profile is not None or not self.policy.needs_profile
        if granted is not None:
            self.line = Line(granted.limit_minor, granted.band, self.line.blocks, "open")
            self.last_change = granted.since_day
        elif initial is not None and is_segment_known and not self.is_closed_by_status:
            self.line = Line(initial.limit_minor, initial.band, self.line.blocks, "open")

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
            limit=self.line.limit,
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
        tiles = {name: meter.cells(self.now, self._tiles_kept(name)) for name, meter in self.meters.items()}
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
        }

    def _tiles_kept(self, measure: str) -> int:
        """How many tiles the longest feature of a measure needs."""
        needs = [1]
        for feature in self.policy.features:
            roles = ("measure", "sum", "count", "numerator", "denominator", "part", "whole")
            names = [getattr(feature, role, None) for role in roles]
            if isinstance(feature, doc.ShareAbove):
                names.append(f"{feature.measure}_from_{feature.amount_minor}")
            if measure in names:
                needs.append(window_tiles(feature) * (2 if isinstance(feature, doc.Trend) else 1))
        return max(needs)
