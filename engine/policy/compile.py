"""Compile a policy: from the document to the program that the kernel reads (``engine.core.tables``).

A policy that passed ``verify`` always compiles. Words become codes (place in the vocabulary + 1; 0 is *none or unknown*), names become row
numbers, instants milliseconds. ``CompiledPolicy`` also keeps what turns the numbers back into names, for traces and reasons.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Final, cast

import numpy as np

from engine.core.fingerprint import FingerprintKey, band_code, fingerprint, jurisdiction_code
from engine.core.layout import (
    AMOUNT_MAX,
    ATTRIBUTES_AT,
    DAY_MS,
    FIGURES_AT,
    HOUR_MS,
    LEG_FIELDS,
    MISSING,
    ROUND_TRIPS_MAX,
    TOPS_MAX,
    VALUES_AT,
    Ev,
    Fig,
    Guard,
    Segment,
    Top,
    Topic,
)
from engine.core.rings import index_words
from engine.core.tables import (
    CONDITION,
    FEATURE,
    HEAD,
    INSTALMENT_SOURCE,
    MEASURE,
    REQUIREMENT,
    SEGMENT,
    SOURCES,
    USAGE_SOURCE,
    Co,
    DecodeRules,
    El,
    Fact,
    Fe,
    FeatureKind,
    Ints,
    Me,
    MeasureKind,
    RowLayout,
    Ru,
    Se,
)
from engine.policy import document as doc
from engine.policy.expand import TILE_MS, UNWINDOWED, expanded_measures, measures_read, tiles_kept, tiles_read, windows_read
from engine.policy.fields import contract_words
from engine.policy.promote import must_be_combined, policy_hash

LOWEST: Final = -(2**62)
HORIZON_DAYS_MIN: Final = 30

KINDS: Final = {
    "average": FeatureKind.RATIO,
    "trend": FeatureKind.RATIO,
    "share_above": FeatureKind.SHARE,
    "tenure": FeatureKind.SINCE_DATE,
}
NEUTRAL_ENTRY: Final = (100, 0, 100, 0)  # of a band that no appetite names
CELLS: Final = {
    "top": Top.FIRST + 2 * TOPS_MAX,
    "round_trips": LEG_FIELDS * ROUND_TRIPS_MAX,
}  # of the kinds that have several without tiles
SINCE: Final = {"days_since": 2, "hours_since": 3}
FREE_WORDS: Final = ("category", "channel", "product", "merchant_id", "counterparty_id")
WORD_FACTS: Final = {
    "category": Fact.CATEGORY,
    "channel": Fact.CHANNEL,
    "product": Fact.PRODUCT,
    "funded_by": Fact.FUNDED_BY,
    "direction": Fact.DIRECTION,
    "purpose": Fact.PURPOSE,
    "merchant_id": Fact.MERCHANT,
    "counterparty_id": Fact.COUNTERPARTY,
    "outcome": Fact.OUTCOME,
}
HASH_COLUMNS: Final = {
    "category": Ev.CATEGORY_HASH,
    "channel": Ev.CHANNEL_HASH,
    "product": Ev.PRODUCT_HASH,
    "merchant_id": Ev.MERCHANT_HASH,
    "counterparty_id": Ev.COUNTERPARTY_HASH,
}
NUMBER_FACTS: Final = {
    "amount_minor": Fact.AMOUNT,
    "amount_due_minor": Fact.AMOUNT_DUE,
    "days_late": Fact.DAYS_LATE,
    "utilisation_percent": Fact.UTILISATION,
}
SOURCE_NUMBERS: Final = {
    "repayment": int(Topic.REPAYMENT),
    "purchase": int(Topic.PURCHASE),
    "transfer": int(Topic.TRANSFER),
    "instalment": INSTALMENT_SOURCE,
    "usage": USAGE_SOURCE,
}
FIGURE_COLUMNS: Final = {
    "status": Fig.STATUS,
    "employment": Fig.EMPLOYMENT,
    "income_proof": Fig.INCOME_PROOF,
    "jurisdiction": Fig.JURISDICTION,
    "opened_on": Fig.OPENED_ON,
    "identity_verified_until": Fig.IDENTITY_VERIFIED_UNTIL,
    "income_monthly_minor": Fig.INCOME_MONTHLY,
    "income_as_of": Fig.INCOME_AS_OF,
    "debt_service_monthly_minor": Fig.DEBT_SERVICE_MONTHLY,
    "assets_minor": Fig.ASSETS,
    "external_debt_minor": Fig.EXTERNAL_DEBT,
    "external_limits_minor": Fig.EXTERNAL_LIMITS,
    "credit_months": Fig.CREDIT_MONTHS,
    "credit_completeness_percent": Fig.CREDIT_COMPLETENESS,
    "delinquencies_24m": Fig.DELINQUENCIES_24M,
    "persistent_debt_months": Fig.PERSISTENT_DEBT_MONTHS,
    "revenue_yearly_minor": Fig.REVENUE_YEARLY,
    "bank_flow_monthly_minor": Fig.BANK_FLOW_MONTHLY,
    "ecosystem_activity_monthly": Fig.ECOSYSTEM_ACTIVITY_MONTHLY,
    "consent_at": Fig.CONSENT_AT,
    "opted_out_at": Fig.OPTED_OUT_AT,
    "device_changed_at": Fig.DEVICE_CHANGED_AT,
    "contact_changed_at": Fig.CONTACT_CHANGED_AT,
    "principal_eligible": Fig.PRINCIPAL_ELIGIBLE,
    "related_days_past_due": Fig.RELATED_DAYS_PAST_DUE,
    "related_exposure_minor": Fig.RELATED_EXPOSURE,
}


def linear_counting_table() -> Ints:
    """(65,) estimate of the number of distinct words by the number of clear bits of a 64-bit sketch (Whang et al., 1990)."""
    return np.array([round(64 * math.log(64 / max(z, 0.5))) for z in range(65)], np.int64)


def mask_of(codes: Iterable[int]) -> int:
    """A signed 64-bit mask with these bits set."""
    bits = sum(1 << code for code in set(codes))
    return bits - (1 << 64) if bits >= 1 << 63 else bits


@dataclass(frozen=True)
class CompiledPolicy:
    """A policy ready to decide: the document, its hash, the kernel's program, the row layout and the decoder's rules."""

    document: doc.Policy
    hash: str
    program: Ints
    layout: RowLayout
    decode: DecodeRules

    @cached_property
    def segments(self) -> tuple[doc.Segment | None, ...]:
        """The document's segments by their number."""
        by_name = {segment.name: segment for segment in self.document.segments}
        return tuple(by_name.get(cast(Any, number.name.lower())) for number in Segment)

    @cached_property
    def tiers_by_code(self) -> dict[int, str]:
        """Names of rate tiers by their code."""
        return {band_code(tier.name): tier.name for s in self.document.segments if s.rates is not None for tier in s.rates.tiers}

    @cached_property
    def bands_by_code(self) -> dict[int, str]:
        """Band name by ``band_code``."""
        return {band_code(b.name): b.name for s in self.document.segments for b in s.bands}

    @cached_property
    def feature_numbers(self) -> dict[str, int]:
        """Number of each feature: its place in the document."""
        return {feature.name: i for i, feature in enumerate(self.document.features)}

    @cached_property
    def features_by_name(self) -> dict[str, doc.Feature]:
        """The document's features."""
        return {feature.name: feature for feature in self.document.features}

    @property
    def bins_at(self) -> int:
        """Where the bins stand in a decision's row, behind the values of the features."""
        return VALUES_AT + len(self.document.features)

    @property
    def decision_columns(self) -> int:
        """Length of a decision's row (``layout.Out`` and what stands behind)."""
        return self.bins_at + int(self.program[Ru.CHARACTERISTICS_MAX])


def compile_policy(policy: doc.Policy, key: FingerprintKey) -> CompiledPolicy:
    """Compile a verified policy. ``key`` is the deployment's fingerprint key (open distinct measures of contract words need it).

    Raises ValueError if the policy is not combined with its packs yet.
    """
    must_be_combined(policy)
    return _Compiler(policy, key).compile()


class _Compiler:
    """The program while it is being laid out."""

    def __init__(self, policy: doc.Policy, key: FingerprintKey) -> None:
        self.policy = policy
        self.key = key
        self.measures = expanded_measures(policy)
        self.by_name = {measure.name: measure for measure in self.measures}
        self.feature_number = {feature.name: i for i, feature in enumerate(policy.features)}
        self.attributes = tuple(sorted({f.removeprefix("attributes.") for f in self._figures() if f.startswith("attributes.")}))
        self.words = self._vocabulary()
        self.program: list[int] = [0] * HEAD
        self.measure_place: dict[str, int] = {}
        self.cells_kept = self._cells_kept()
        self.base: dict[str, int] = {}
        self.index: dict[str, int] = {}  # of the ring of a measure with tiles
        self.window_cell: dict[tuple[str, int, int], int] = {}
        self.width = self._lay_out_row()

    def compile(self) -> CompiledPolicy:
        self._rules()
        layout = RowLayout(self.attributes, self._measures(), self.width)
        self._windows()
        self._table(Ru.FEATURES, Ru.FEATURES_END, [self._feature(feature) for feature in self.policy.features])
        self._segments()
        self.program[Ru.SKETCH] = self._place(linear_counting_table())
        rules = DecodeRules(
            words=self.words,
            attributes=self.attributes,
            currency=self.policy.currency,
            utc_offset_ms=self.policy.utc_offset_minutes * 60_000,
            too_far_ahead_ms=self.policy.too_far_ahead_seconds * 1000,
            horizon_ms=max(int((layout.measures[:, Me.WIDTH] * layout.measures[:, Me.TILES]).max()), HORIZON_DAYS_MIN * DAY_MS),
        )
        return CompiledPolicy(self.policy, policy_hash(self.policy), np.array(self.program, np.int64), layout, rules)

    def _place(self, cells: Iterable[int]) -> int:
        """Append cells to the program; returns their place."""
        place = len(self.program)
        self.program.extend(int(cell) for cell in cells)
        return place

    def _table(self, first: int, end: int, entries: Iterable[Sequence[int]], head: list[int] | None = None) -> None:
        """Append a table; ``head`` (the program's by default) receives its first and end place."""
        head = self.program if head is None else head
        head[first] = len(self.program)
        for entry in entries:
            self._place(entry)
        head[end] = len(self.program)

    def _figures(self) -> Iterable[str]:
        for feature in self.policy.features:
            if isinstance(feature, doc.ProfileValue):
                yield feature.figure
                if feature.per is not None:
                    yield feature.per
            elif isinstance(feature, doc.Completeness):
                yield from feature.figures
            elif isinstance(feature, doc.Total) and feature.per is not None:
                yield feature.per
        for segment in self.policy.segments:
            for test in tests_of(segment):
                if test.figure is not None:
                    yield test.figure

    def _vocabulary(self) -> dict[str, tuple[str, ...]]:
        words: dict[str, set[str]] = {field: set() for field in FREE_WORDS}
        for measure in self.measures:
            for condition in (*measure.where, *measure.minus):
                if condition.field in words:
                    words[condition.field].update(condition.is_in or condition.not_in or ())
            if measure.of in words and measure.closed_set is not None:
                words[measure.of].update(measure.closed_set)
        return {field: tuple(sorted(known)) for field, known in words.items()}

    def _code(self, field: str, word: str) -> int:
        return self._known_words(field).index(word) + 1

    def _known_words(self, field: str) -> tuple[str, ...]:
        return contract_words(field) or self.words[field]

    def _column(self, figure: str) -> int:
        if figure.startswith("attributes."):
            return ATTRIBUTES_AT + self.attributes.index(figure.removeprefix("attributes."))
        return FIGURES_AT + FIGURE_COLUMNS[figure]

    def _rules(self) -> None:
        arrears, head = self.policy.arrears, self.program
        head[Ru.UTC_OFFSET] = self.policy.utc_offset_minutes * 60_000
        head[Ru.NEEDS_PROFILE] = self.policy.needs_profile
        head[Ru.DEFAULT_SEGMENT] = Segment[self.policy.default_segment.upper()]
        head[Ru.GRACE_DAYS] = arrears.grace_days
        head[Ru.TOLERANCE] = arrears.tolerance_minor
        head[Ru.CURE_DAYS] = arrears.cure_days
        head[Ru.BUCKET_1 : Ru.BUCKET_4 + 1] = arrears.bucket_lower_days
        head[Ru.BLOCK_DRAWING_BUCKET] = arrears.block_drawing_from_bucket
        head[Ru.LIMIT_TO_EXPOSURE_BUCKET] = arrears.limit_to_exposure_from_bucket
        hours = self.policy.reconcile_hours
        head[Ru.RECONCILE_MS] = MISSING if hours is None else hours * HOUR_MS
        head[Ru.ATTRIBUTES] = len(self.attributes)
        head[Ru.CHARACTERISTICS_MAX] = max(len(segment.scorecard) for segment in self.policy.segments)

    # Measures and their conditions

    def _lay_out_row(self) -> int:
        """Where in a row stands what the policy asks for, as ``RowLayout`` says; the row's width. What is always written lies in front of the
        rings."""
        cells = self.cells_kept
        windowed = [measure.name for measure in self.measures if measure.kind not in UNWINDOWED]
        end = ATTRIBUTES_AT + len(self.attributes)
        for name in (measure.name for measure in self.measures if measure.kind in UNWINDOWED):
            self.base[name], end = end, end + cells[name]
        for name in windowed:
            self.index[name], end = end, end + index_words(cells[name])
        # The windows of a monthly feature must lie side by side: the longest first, so that a shorter one's are the beginning of its.
        monthly = [feature for feature in self.policy.features if isinstance(feature, doc.ActiveMonths | doc.Regularity)]
        monthly.sort(key=lambda feature: -len(windows_read(feature)))
        for window in dict.fromkeys(window for feature in (*monthly, *self.policy.features) for window in windows_read(feature)):
            self.window_cell[window], end = end, end + 1
        self.program[Ru.RINGS] = end
        for name in windowed:
            self.base[name], end = end, end + cells[name]
        return end

    def _measures(self) -> Ints:
        """Place the measures; (M, len(Me)), in the order of the policy."""
        entries = [self._measure(measure, position) for position, measure in enumerate(self.measures)]
        # By source, so that an event meets only the measures that watch it; what was seen last comes last.
        order = sorted(range(len(entries)), key=lambda i: (entries[i][Me.SOURCE], entries[i][Me.KIND] == MeasureKind.LAST_SEEN))
        self._table(Ru.MEASURES, Ru.MEASURES_END, [entries[i] for i in order])
        self.measure_place = {self.measures[i].name: self.program[Ru.MEASURES] + at * MEASURE for at, i in enumerate(order)}
        self._groups([(entry, self.measure_place[measure.name]) for entry, measure in zip(entries, self.measures, strict=True)])
        self.program[Ru.SOURCES] = self._place(self._source_bounds([entries[i][Me.SOURCE] for i in order]))
        for measure in self.measures:
            if measure.net_of is not None:
                self.program[self.measure_place[measure.name] + Me.NET_OF] = self.measure_place[measure.net_of]
        return np.array(entries, np.int64)

    def _groups(self, measures: Iterable[tuple[list[int], int]]) -> None:
        """Place the groups of measures with equal tiles, each given as its entry and its place."""
        places: dict[tuple[int, int], list[int]] = {}
        for entry, place in measures:
            width = DAY_MS if entry[Me.KIND] == MeasureKind.ROUND_TRIPS else entry[Me.WIDTH]
            if width > 0:
                places.setdefault((width, entry[Me.OFFSET]), []).append(place)
        lists = [(width, offset, self._place(listed), len(listed)) for (width, offset), listed in places.items()]
        groups = [(width, offset, first, first + count) for width, offset, first, count in lists]
        self._table(Ru.GROUPS, Ru.GROUPS_END, groups)

    def _source_bounds(self, sources: list[int]) -> Iterable[int]:
        """First and end place of the measures of each source; ``sources`` are those of all measures, in their order."""
        for source in range(SOURCES):
            first = self.program[Ru.MEASURES] + bisect_left(sources, source) * MEASURE
            yield from (first, first + sources.count(source) * MEASURE)

    def _cells_kept(self) -> dict[str, int]:
        """How many cells each measure has in a row, by name."""
        tiles = tiles_kept(self.policy)
        return {m.name: CELLS.get(m.kind, 1) if m.kind in UNWINDOWED else tiles[m.name] for m in self.measures}

    def _measure(self, measure: doc.Measure, position: int) -> list[int]:
        offset = self.policy.utc_offset_minutes if measure.utc_offset_minutes is None else measure.utc_offset_minutes
        entry = [0] * MEASURE
        entry[Me.SOURCE] = SOURCE_NUMBERS[measure.event]
        entry[Me.KIND] = MeasureKind[measure.kind.upper()]
        entry[Me.VALUE], entry[Me.CLOSED_SET] = self._value(measure)
        entry[Me.WHERE], entry[Me.WHERE_END] = self._conditions(measure.where)
        entry[Me.MINUS], entry[Me.MINUS_END] = self._conditions(measure.minus)
        entry[Me.WIDTH] = 0 if measure.kind in UNWINDOWED else TILE_MS[measure.tile]
        entry[Me.OFFSET] = offset * 60_000
        entry[Me.TILES] = self.cells_kept[measure.name]
        entry[Me.BASE] = self.base[measure.name]
        entry[Me.INDEX] = self.index.get(measure.name, 0)
        entry[Me.ADDED_AT] = MISSING if measure.added_at is None else _epoch_ms(measure.added_at)
        entry[Me.COLUMN] = position if measure.column is None else measure.column
        entry[Me.NET_OF] = -1
        entry[Me.DAYS] = measure.half_life_days or measure.within_days or 0
        entry[Me.LOCAL_HOUR] = any(c.field == "local_hour" for c in (*measure.where, *measure.minus))
        return entry

    def _value(self, measure: doc.Measure) -> tuple[int, int]:
        """``Me.VALUE`` and ``Me.CLOSED_SET``."""
        if measure.kind == "top":
            return HASH_COLUMNS[cast(str, measure.of)], -1
        if measure.kind != "distinct":
            return (NUMBER_FACTS[measure.of or "amount_minor"] if measure.kind in ("sum", "max", "balance") else 0), -1
        field = cast(str, measure.of)
        if measure.closed_set is None and field in HASH_COLUMNS:
            return HASH_COLUMNS[field], -1
        bits = [-1] * 64
        if measure.closed_set is not None:
            for bit, word in enumerate(measure.closed_set):
                bits[self._code(field, word)] = bit
        else:
            for code, word in enumerate(self._known_words(field), 1):
                bits[code] = fingerprint(word.encode(), self.key) & 63
        return WORD_FACTS[field], self._place(bits)

    def _conditions(self, conditions: Sequence[doc.Condition]) -> tuple[int, int]:
        first = len(self.program)
        for condition in conditions:
            self._place(self._condition(condition))
        return first, len(self.program)

    def _condition(self, condition: doc.Condition) -> list[int]:
        entry = [0] * CONDITION
        if condition.field == "local_hour":
            entry[Co.FACT] = Fact.LOCAL_HOUR
            entry[Co.MASK] = mask_of(_hours(cast(int, condition.from_hour), cast(int, condition.to_hour)))
        elif condition.field in WORD_FACTS:
            entry[Co.FACT] = WORD_FACTS[condition.field]
            listed = mask_of(self._code(condition.field, word) for word in condition.is_in or condition.not_in or ())
            entry[Co.MASK] = listed if condition.is_in is not None else ~listed
        else:
            since = SINCE.get(condition.field)
            entry[Co.FACT] = NUMBER_FACTS[condition.field] if since is None else self.base[cast(str, condition.of)]
            entry[Co.RANGE] = since or 1
            entry[Co.LOW] = -AMOUNT_MAX if condition.at_least is None else condition.at_least
            entry[Co.HIGH] = AMOUNT_MAX if condition.at_most is None else condition.at_most
        return entry

    # Features

    def _windows(self) -> None:
        """Place the windows that features read behind their measures."""
        for name, place in self.measure_place.items():
            entries = [(newest, tiles, cell) for (measure, newest, tiles), cell in self.window_cell.items() if measure == name]
            self.program[place + Me.WINDOWS] = len(self.program)
            for entry in entries:
                self._place(entry)
            self.program[place + Me.WINDOWS_END] = len(self.program)

    def _feature(self, feature: doc.Feature) -> list[int]:
        entry = [0] * FEATURE
        entry[Fe.KIND] = KINDS.get(feature.kind) or FeatureKind[feature.kind.upper()]
        entry[Fe.SCALE] = getattr(feature, "scale", 1)
        entry[Fe.B] = entry[Fe.PER] = -1
        measures = [self.measure_place[name] for name in measures_read(feature)]
        partial = measures if getattr(feature, "when_partial", "as_is") == "missing" and tiles_read(feature) > 0 else []
        if isinstance(feature, doc.Reaching) and partial:  # all have the same tiles: the one that came last decides
            partial = [max(partial, key=lambda place: self.program[place + Me.ADDED_AT])]
        entry[Fe.PARTIAL_MEASURE], entry[Fe.PARTIAL_SECOND] = (*partial, -1, -1)[:2]
        entry[Fe.PARTIAL_TILES] = tiles_read(feature)
        cells = [self.window_cell[window] for window in windows_read(feature)]
        match feature:
            case doc.ActiveMonths() | doc.Regularity():
                entry[Fe.A], entry[Fe.B] = cells[0], len(cells)
            case doc.Distinct():
                entry[Fe.A], entry[Fe.B] = cells[0], self.by_name[feature.measure].closed_set is None
            case doc.NewlySeen():
                entry[Fe.A], entry[Fe.B] = cells
                entry[Fe.SCALE] = self.by_name[feature.measure].closed_set is None
            case doc.Reaching():
                entry[Fe.A] = self._place(cells)
                entry[Fe.B] = len(self.program)
                entry[Fe.SCALE] = feature.at_least
            case doc.Concentration():
                entry[Fe.A] = self.base[feature.measure]
            case doc.Tenure():
                entry[Fe.A] = self._column("opened_on")
            case doc.ProfileValue():
                entry[Fe.A] = self._column(feature.figure)
                entry[Fe.B] = -1 if feature.per is None else self._column(feature.per)
            case doc.Completeness():
                entry[Fe.A] = self._place(self._column(figure) for figure in feature.figures)
                entry[Fe.B] = len(self.program)
            case doc.DaysSince():
                seen = feature.measure is not None
                entry[Fe.KIND] = FeatureKind.DAYS_SINCE if seen else FeatureKind.SINCE_DATE
                entry[Fe.A] = self.base[cast(str, feature.measure)] if seen else self._column(cast(str, feature.figure))
            case doc.Total():
                entry[Fe.A], entry[Fe.B] = (*cells, -1)[:2] if cells else (self.base[feature.measure], -1)
                entry[Fe.KIND] = FeatureKind.TOTAL if cells else FeatureKind.BALANCE
                entry[Fe.PER] = -1 if feature.per is None else self._column(feature.per)
            case _ if cells:
                entry[Fe.A], entry[Fe.B] = (*cells, -1)[:2]
        return entry

    # Segments

    def _segments(self) -> None:
        by_name = {segment.name: segment for segment in self.policy.segments}
        entries = []
        for number in Segment:
            entry = [0] * SEGMENT
            segment = by_name.get(cast(Any, number.name.lower()))
            if segment is not None:
                self._segment(segment, entry)
            entries.append(entry)
        self.program[Ru.SEGMENTS] = len(self.program)
        for entry in entries:
            self._place(entry)

    def _segment(self, segment: doc.Segment, entry: list[int]) -> None:
        entry[Se.DEFINED] = 1
        entry[Se.BASE_POINTS] = segment.base_points
        cards = []
        for characteristic in segment.scorecard:
            first = len(self.program)
            for b in characteristic.bins:
                self._place((LOWEST if b.at_least is None else b.at_least, b.points))
            cards.append((self.feature_number[characteristic.feature], first, len(self.program), characteristic.missing))
        self._table(Se.CARD, Se.CARD_END, cards, entry)
        read = dict.fromkeys([c.feature for c in segment.scorecard] + [t.feature for t in tests_of(segment) if t.feature is not None])
        self._table(Se.FEATURES, Se.FEATURES_END, [(self.feature_number[name],) for name in read], entry)
        entry[Se.SCORED_END] = entry[Se.FEATURES] + len(segment.scorecard)
        self._table(
            Se.BANDS, Se.BANDS_END, [(*ladder_entry(b, b.limit_minor), *appetite_entry(segment, b.name)) for b in segment.bands], entry
        )
        tiers = segment.rates.tiers if segment.rates is not None else ()
        self._table(Se.TIERS, Se.TIERS_END, [(*ladder_entry(tier, tier.yearly_rate_bp), *NEUTRAL_ENTRY) for tier in tiers], entry)
        self._table(Se.ELIGIBILITY, Se.ELIGIBILITY_END, [self._test(r) for r in requirements_in_order(segment)], entry)
        self._table(Se.WARNINGS, Se.WARNINGS_END, [self._test(w) for w in warnings_in_order(segment)], entry)
        takeover = segment.protection.takeover
        self._table(Se.SIGNALS, Se.SIGNALS_END, [self._test(s) for s in takeover.signals] if takeover is not None else [], entry)
        self._limits(segment, entry)
        self._conduct(segment, entry)

    @staticmethod
    def _limits(segment: doc.Segment, entry: list[int]) -> None:
        limits = segment.limits
        entry[Se.PRODUCT_CAP] = limits.product_cap_minor
        entry[Se.LEGAL_CAP] = limits.legal_cap_minor
        if limits.income_cap is not None:
            entry[Se.INCOME_PERCENT] = limits.income_cap.multiple_percent
            entry[Se.INCOME_UNKNOWN] = limits.income_cap.unknown_income_minor
        entry[Se.RELATED_CAP] = _or_missing(limits.related_cap_minor)
        entry[Se.ROUND_TO] = limits.round_to_minor
        entry[Se.STEP_UP] = _or_missing(limits.step_up_minor)
        entry[Se.STEP_DOWN] = _or_missing(limits.step_down_minor)
        entry[Se.MINIMUM_CHANGE] = limits.minimum_change_minor
        entry[Se.UP_DAYS] = segment.cool_down.up_days
        entry[Se.DOWN_DAYS] = segment.cool_down.down_days
        initial = segment.initial_standing
        entry[Se.INITIAL_LIMIT] = MISSING if initial is None else initial.limit_minor
        entry[Se.INITIAL_BAND] = MISSING if initial is None else band_code(initial.band)

    @staticmethod
    def _conduct(segment: doc.Segment, entry: list[int]) -> None:
        """How increases, notices, commands, protection and brakes go about it; the brakes as for a shard that is the only one."""
        increases, quiet, takeover = segment.increases, segment.increases.quiet_hours, segment.protection.takeover
        entry[Se.CONSENT_NEEDED] = increases.consent == "needed"
        entry[Se.UNSOLICITED] = increases.unsolicited_offers
        entry[Se.OFFER_DAYS] = increases.offer_days
        entry[Se.OFFER_REST_DAYS] = increases.offer_rest_days
        if quiet is not None:
            entry[Se.QUIET], entry[Se.QUIET_FROM], entry[Se.QUIET_TO] = 1, quiet.from_hour, quiet.to_hour
        entry[Se.NOTICE_DAYS] = segment.notices.decrease_days
        entry[Se.ADVISORY_DAYS] = segment.notices.advisory_days
        entry[Se.LONGEST_MS] = segment.commands.longest_days * DAY_MS
        entry[Se.SECOND_PERSON_FROM] = _or_missing(segment.commands.second_person_from_minor)
        if takeover is not None:
            entry[Se.FREEZE_FROM], entry[Se.TAKEOVER_REST_DAYS] = takeover.freeze_from, takeover.rest_days
        brakes = segment.brakes or doc.Brakes()
        entry[Se.BUDGET] = _or_missing(brakes.budget_minor)
        if brakes.breaker is not None:
            entry[Se.BREAKER_PERCENT], entry[Se.MIN_EVALUATIONS] = brakes.breaker.percent, brakes.breaker.min_evaluations
        entry[Se.RISE_NOTICE_DAYS] = segment.rates.rise_notice_days if segment.rates is not None else 0

    def _test(self, test: doc.Test) -> list[int]:
        entry = [0] * REQUIREMENT
        entry[El.PASS_UNKNOWN] = test.unknown == "pass"
        entry[El.GUARD] = Guard[test.guard.upper()] if isinstance(test, doc.Eligibility) else Guard.OVER_INDEBTED
        entry[El.CODE] = band_code(test.code)
        entry[El.POINTS] = test.points if isinstance(test, doc.Signal) else 0
        if test.feature is not None:
            entry[El.IS_FEATURE] = 1
            entry[El.SOURCE] = self.feature_number[test.feature]
        else:
            entry[El.SOURCE] = self._column(cast(str, test.figure))
        entry[El.AGE] = test.min_age_days is not None or test.max_age_days is not None
        ages, bounds = (test.min_age_days, test.max_age_days), (test.at_least, test.at_most)
        low, high = ages if entry[El.AGE] else bounds
        entry[El.LOW] = LOWEST if low is None else low
        entry[El.HIGH] = -LOWEST if high is None else high
        if test.figure == "jurisdiction":  # any word may stand there, and it is kept over versions
            entry[El.IS_WORD] = 2
            entry[El.LOW] = self._place(jurisdiction_code(word) for word in test.is_in or ())
            entry[El.HIGH] = len(self.program)
        elif test.is_in is not None:
            entry[El.IS_WORD] = 1
            entry[El.MASK] = mask_of(self._code(cast(str, test.figure), word) for word in test.is_in)
        return entry


def requirements_in_order(segment: doc.Segment) -> list[doc.Eligibility]:
    """A segment's requirements in the order in which they are asked: by guard, then code. The order in the document is none of it."""
    return sorted(segment.eligibility, key=lambda requirement: (Guard[requirement.guard.upper()], requirement.code))


def warnings_in_order(segment: doc.Segment) -> list[doc.DebtWarning]:
    """A segment's warnings by code."""
    return sorted(segment.protection.over_borrowing, key=lambda warning: warning.code)


def tests_of(segment: doc.Segment) -> list[doc.Test]:
    """Every test of a segment."""
    signals = segment.protection.takeover.signals if segment.protection.takeover is not None else ()
    return [*requirements_in_order(segment), *warnings_in_order(segment), *signals]


def ladder_entry(step: doc.Band | doc.RateTier, what: int) -> tuple[int, int, int, int, int]:
    """A band or a rate tier (``tables.Ba``), which stands for ``what``."""
    return band_code(step.name), LOWEST if step.lower is None else step.lower, step.up_margin, step.down_margin, what


def appetite_entry(segment: doc.Segment, band: str) -> tuple[int, int, int, int]:
    """What contraction and expansion make of a band (``tables.Ba``): percent and days of each."""
    appetite = segment.appetite or doc.Appetite()
    down, up = ({row.band: (row.percent, row.after_days) for row in rows} for rows in (appetite.contraction, appetite.expansion))
    return (*down.get(band, NEUTRAL_ENTRY[:2]), *up.get(band, NEUTRAL_ENTRY[2:]))


def _or_missing(value: int | None) -> int:
    return MISSING if value is None else value


def _hours(first: int, end: int) -> Iterable[int]:
    """Hours ``first`` (inclusive) to ``end`` (exclusive), over midnight if need be; all of them if equal."""
    length = (end - first) % 24 or 24
    return [(first + i) % 24 for i in range(length)]


def _epoch_ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp() // 1 * 1000) + moment.microsecond // 1000
