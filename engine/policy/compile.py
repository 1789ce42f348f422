"""Compile a policy: from the document to the arrays that the kernel reads.

A policy that passed ``verify`` always compiles. Words become codes (place in the vocabulary + 1; 0 is *none or unknown*), names become row
numbers, instants milliseconds. ``CompiledPolicy`` also keeps what turns the numbers back into names, for traces and reasons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final, cast

import numpy as np

from engine.core import layout
from engine.core.fingerprint import FingerprintKey, band_code, fingerprint
from engine.core.layout import (
    ATTRIBUTES_AT,
    DAY_MS,
    FIGURES_AT,
    HOUR_MS,
    MISSING,
    MONTH_DAYS,
    Direction,
    Ev,
    Fig,
    Funding,
    Outcome,
    Purpose,
    Segment,
    Status,
    Topic,
)
from engine.core.tables import (
    INSTALMENT_SOURCE,
    Ba,
    Bi,
    Ca,
    Co,
    DecodeRules,
    El,
    Fact,
    Fe,
    FeatureKind,
    Ints,
    Me,
    MeasureKind,
    PolicyTables,
    RowLayout,
    Ru,
    Se,
)
from engine.policy import document as doc
from engine.policy.expand import derived_part, expanded_measures
from engine.policy.promote import policy_hash

LOWEST: Final = -(2**62)
HORIZON_DAYS_MIN: Final = 30

FREE_WORDS: Final = ("category", "channel", "product", "merchant_id", "counterparty_id")
CONTRACT_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "funded_by": tuple(member.name.lower() for member in Funding),
    "direction": tuple(member.name.lower() for member in Direction),
    "purpose": tuple(member.name.lower() for member in Purpose),
    "outcome": tuple(member.name.lower() for member in Outcome),
    "status": tuple(member.name.lower() for member in Status),
}
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
NUMBER_FACTS: Final = {"amount_minor": Fact.AMOUNT, "amount_due_minor": Fact.AMOUNT_DUE, "days_late": Fact.DAYS_LATE}
SOURCES: Final = {
    "repayment": int(Topic.REPAYMENT),
    "purchase": int(Topic.PURCHASE),
    "transfer": int(Topic.TRANSFER),
    "instalment": INSTALMENT_SOURCE,
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
WORD_FIGURES: Final = ("status", "employment", "income_proof", "jurisdiction")


def linear_counting_table() -> Ints:
    """(65,) estimate of the number of distinct words by the number of clear bits of a 64-bit sketch (Whang et al., 1990)."""
    return np.array([round(64 * math.log(64 / max(z, 0.5))) for z in range(65)], np.int64)


def matrix(rows: Sequence[Sequence[int]], columns: int) -> Ints:
    """(n, columns) int64, also for n = 0."""
    return np.array(rows, np.int64).reshape(len(rows), columns)


def mask_of(codes: Iterable[int]) -> int:
    """A signed 64-bit mask with these bits set."""
    bits = sum(1 << code for code in set(codes))
    return bits - (1 << 64) if bits >= 1 << 63 else bits


@dataclass(frozen=True)
class CompiledPolicy:
    """A policy ready to decide: the document, its hash, the kernel's tables, the row layout and the decoder's rules."""

    document: doc.Policy
    hash: str
    tables: PolicyTables
    layout: RowLayout
    decode: DecodeRules

    @cached_property
    def segments(self) -> dict[int, doc.Segment]:
        """Segment by its number."""
        return {int(Segment[s.name.upper()]): s for s in self.document.segments}

    @cached_property
    def bands_by_code(self) -> dict[int, str]:
        """Band name by ``band_code``."""
        return {band_code(b.name): b.name for s in self.document.segments for b in s.bands}

    @property
    def characteristics_max(self) -> int:
        """The longest scorecard."""
        return max(len(s.scorecard) for s in self.document.segments)


def compile_policy(policy: doc.Policy, key: FingerprintKey) -> CompiledPolicy:
    """Compile a verified policy. ``key`` is the deployment's fingerprint key (open distinct measures of contract words need it)."""
    return _Compiler(policy, key).compile()


class _Compiler:
    """The intermediate tables of one compilation."""

    def __init__(self, policy: doc.Policy, key: FingerprintKey) -> None:
        self.policy = policy
        self.key = key
        self.measures = expanded_measures(policy)
        self.measure_row = {measure.name: i for i, measure in enumerate(self.measures)}
        self.feature_row = {feature.name: i for i, feature in enumerate(policy.features)}
        self.attributes = tuple(sorted({f.removeprefix("attributes.") for f in self._figures() if f.startswith("attributes.")}))
        self.words = self._vocabulary()
        self.conditions: list[list[int]] = []
        self.closed_sets: list[list[int]] = []
        self.word_masks: list[list[int]] = []
        self.listed: list[int] = []

    def compile(self) -> CompiledPolicy:
        measures = self._measures()
        features = matrix([self._feature(feature) for feature in self.policy.features], len(Fe))
        eligibility, segments, cards, bins, bands = self._segments()
        tables = PolicyTables(
            rules=self._rules(),
            measures=measures,
            conditions=matrix(self.conditions, len(Co)),
            closed_sets=matrix(self.closed_sets, 64),
            features=features,
            listed=np.array(self.listed, np.int64),
            eligibility=eligibility,
            word_masks=matrix(self.word_masks, 64),
            segments=segments,
            cards=cards,
            bins=bins,
            bands=bands,
            sketch=linear_counting_table(),
        )
        width = ATTRIBUTES_AT + len(self.attributes) + int(measures[:, Me.TILES].sum())
        horizon = max(int((measures[:, Me.WIDTH] * measures[:, Me.TILES]).max()), HORIZON_DAYS_MIN * DAY_MS)
        rules = DecodeRules(
            words=self.words,
            attributes=self.attributes,
            currency=self.policy.currency,
            utc_offset_ms=self.policy.utc_offset_minutes * 60_000,
            too_far_ahead_ms=self.policy.too_far_ahead_seconds * 1000,
            horizon_ms=horizon,
        )
        return CompiledPolicy(
            self.policy, policy_hash(self.policy), tables, RowLayout(self.attributes, measures, width), rules
        )

    def _figures(self) -> Iterable[str]:
        for feature in self.policy.features:
            if isinstance(feature, doc.ProfileValue):
                yield feature.figure
                if feature.per is not None:
                    yield feature.per
            elif isinstance(feature, doc.Completeness):
                yield from feature.figures
        for segment in self.policy.segments:
            for requirement in segment.eligibility:
                if requirement.figure is not None:
                    yield requirement.figure

    def _vocabulary(self) -> dict[str, tuple[str, ...]]:
        words: dict[str, set[str]] = {field: set() for field in (*FREE_WORDS, "jurisdiction")}
        for measure in self.measures:
            for condition in (*measure.where, *measure.minus):
                if condition.field in words:
                    words[condition.field].update(condition.is_in or condition.not_in or ())
            if measure.of in words and measure.closed_set is not None:
                words[measure.of].update(measure.closed_set)
        for segment in self.policy.segments:
            for requirement in segment.eligibility:
                if requirement.figure == "jurisdiction":
                    words["jurisdiction"].update(requirement.is_in or ())
        return {field: tuple(sorted(known)) for field, known in words.items()}

    def _code(self, field: str, word: str) -> int:
        return self._known_words(field).index(word) + 1

    def _known_words(self, field: str) -> tuple[str, ...]:
        if field in ("employment", "income_proof"):
            from schemas.profiles import Employment, IncomeProof  # noqa: PLC0415 - resolved below

            return tuple((Employment if field == "employment" else IncomeProof))
        return CONTRACT_WORDS[field] if field in CONTRACT_WORDS else self.words[field]

    def _column(self, figure: str) -> int:
        if figure.startswith("attributes."):
            return ATTRIBUTES_AT + self.attributes.index(figure.removeprefix("attributes."))
        return FIGURES_AT + FIGURE_COLUMNS[figure]

    def _rules(self) -> Ints:
        arrears = self.policy.arrears
        rules = np.zeros(len(Ru), np.int64)
        rules[Ru.UTC_OFFSET] = self.policy.utc_offset_minutes * 60_000
        rules[Ru.NEEDS_PROFILE] = self.policy.needs_profile
        rules[Ru.DEFAULT_SEGMENT] = Segment[self.policy.default_segment.upper()]
        rules[Ru.GRACE_DAYS] = arrears.grace_days
        rules[Ru.TOLERANCE] = arrears.tolerance_minor
        rules[Ru.CURE_DAYS] = arrears.cure_days
        rules[Ru.BUCKET_1 : Ru.BUCKET_4 + 1] = arrears.bucket_lower_days
        rules[Ru.BLOCK_DRAWING_BUCKET] = arrears.block_drawing_from_bucket
        rules[Ru.LIMIT_TO_EXPOSURE_BUCKET] = arrears.limit_to_exposure_from_bucket
        rules[Ru.ATTRIBUTES] = len(self.attributes)
        return rules

    # Measures and their conditions

    def _measures(self) -> Ints:
        tiles = self._tiles()
        base = ATTRIBUTES_AT + len(self.attributes)
        rows = []
        for position, measure in enumerate(self.measures):
            unwindowed = measure.kind in ("balance", "last_seen")
            offset = self.policy.utc_offset_minutes if measure.utc_offset_minutes is None else measure.utc_offset_minutes
            row = [0] * len(Me)
            row[Me.SOURCE] = SOURCES[measure.event]
            row[Me.KIND] = MeasureKind[measure.kind.upper()]
            row[Me.CLOSED_SET] = -1
            row[Me.VALUE] = self._value(measure, row)
            row[Me.WHERE], row[Me.WHERE_END] = self._conditions(measure.where)
            row[Me.MINUS], row[Me.MINUS_END] = self._conditions(measure.minus)
            row[Me.WIDTH] = 0 if unwindowed else (HOUR_MS if measure.tile == "hour" else DAY_MS)
            row[Me.OFFSET] = offset * 60_000
            row[Me.TILES] = 1 if unwindowed else tiles[measure.name]
            row[Me.BASE] = base
            row[Me.ADDED_AT] = MISSING if measure.added_at is None else _epoch_ms(measure.added_at)
            row[Me.COLUMN] = position if measure.column is None else measure.column
            row[Me.LOCAL_HOUR] = any(c.field == "local_hour" for c in (*measure.where, *measure.minus))
            base += row[Me.TILES]
            rows.append(row)
        return matrix(rows, len(Me))

    def _tiles(self) -> dict[str, int]:
        """How many tiles each measure keeps: what its longest feature reads."""
        tiles = {measure.name: 1 for measure in self.measures}
        for feature in self.policy.features:
            window = self._window(feature)
            if isinstance(feature, doc.Trend):
                window *= 2
            elif isinstance(feature, doc.ActiveMonths | doc.Regularity):
                window *= MONTH_DAYS
            for name in self._read_by(feature):
                tiles[name] = max(tiles[name], window)
        return tiles

    def _read_by(self, feature: doc.Feature) -> tuple[str, ...]:
        match feature:
            case doc.Average():
                return (feature.sum, feature.count)
            case doc.Ratio():
                return (feature.numerator, feature.denominator)
            case doc.Share():
                return (feature.part, feature.whole)
            case doc.ShareAbove():
                return (derived_part(feature, self.measures[self.measure_row[feature.measure]]).name, feature.measure)
            case doc.Total() | doc.DaysSince() | doc.Trend() | doc.ActiveMonths() | doc.Regularity() | doc.Distinct():
                return (feature.measure,)
            case _:
                return ()

    @staticmethod
    def _window(feature: doc.Feature) -> int:
        if isinstance(feature, doc.ActiveMonths | doc.Regularity):
            return feature.window_months
        return getattr(feature, "window_days", None) or getattr(feature, "window_hours", None) or 0

    def _value(self, measure: doc.Measure, row: list[int]) -> int:
        if measure.kind != "distinct":
            return NUMBER_FACTS[measure.of or "amount_minor"] if measure.kind in ("sum", "max", "balance") else 0
        field = cast(str, measure.of)
        if measure.closed_set is None and field in HASH_COLUMNS:
            return HASH_COLUMNS[field]
        bits = [-1] * 64
        if measure.closed_set is not None:
            for bit, word in enumerate(measure.closed_set):
                bits[self._code(field, word)] = bit
        else:
            for code, word in enumerate(self._known_words(field), 1):
                bits[code] = fingerprint(word.encode(), self.key) & 63
        row[Me.CLOSED_SET] = len(self.closed_sets)
        self.closed_sets.append(bits)
        return WORD_FACTS[field]

    def _conditions(self, conditions: Sequence[doc.Condition]) -> tuple[int, int]:
        first = len(self.conditions)
        for condition in conditions:
            row = [0] * len(Co)
            if condition.field == "local_hour":
                row[Co.FACT] = Fact.LOCAL_HOUR
                row[Co.MASK] = mask_of(_hours(cast(int, condition.from_hour), cast(int, condition.to_hour)))
            elif condition.field in WORD_FACTS:
                row[Co.FACT] = WORD_FACTS[condition.field]
                listed = mask_of(self._code(condition.field, word) for word in condition.is_in or condition.not_in or ())
                row[Co.MASK] = listed if condition.is_in is not None else ~listed
            else:
                row[Co.FACT] = NUMBER_FACTS[condition.field]
                row[Co.RANGE] = 1
                row[Co.LOW] = -layout.AMOUNT_MAX if condition.at_least is None else condition.at_least
                row[Co.HIGH] = layout.AMOUNT_MAX if condition.at_most is None else condition.at_most
            self.conditions.append(row)
        return first, len(self.conditions)

    # Features

    def _feature(self, feature: doc.Feature) -> list[int]:
        row = [0] * len(Fe)
        kind = "share" if feature.kind == "share_above" else feature.kind
        row[Fe.KIND] = FeatureKind[kind.upper()]
        row[Fe.WINDOW] = self._window(feature)
        row[Fe.SCALE] = getattr(feature, "scale", 1)
        row[Fe.PARTIAL_MISSING] = getattr(feature, "when_partial", "as_is") == "missing"
        row[Fe.B] = -1
        read = [self.measure_row[name] for name in self._read_by(feature)]
        if read:
            row[Fe.A] = read[0]
            row[Fe.B] = read[1] if len(read) == 2 else -1
        if isinstance(feature, doc.Distinct):
            row[Fe.B] = self.measures[read[0]].closed_set is None
        elif isinstance(feature, doc.ProfileValue):
            row[Fe.A] = self._column(feature.figure)
            row[Fe.B] = -1 if feature.per is None else self._column(feature.per)
        elif isinstance(feature, doc.Completeness):
            row[Fe.A] = len(self.listed)
            self.listed.extend(self._column(figure) for figure in feature.figures)
            row[Fe.B] = len(self.listed)
        return row

    # Segments

    def _segments(self) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        eligibility: list[list[int]] = []
        cards: list[list[int]] = []
        bins: list[list[int]] = []
        bands: list[list[int]] = []
        segments = np.zeros((len(Segment), len(Se)), np.int64)
        for segment in self.policy.segments:
            row = segments[Segment[segment.name.upper()]]
            row[Se.DEFINED] = 1
            row[Se.BASE_POINTS] = segment.base_points
            row[Se.CARD] = len(cards)
            for characteristic in segment.scorecard:
                first = len(bins)
                bins.extend([LOWEST if b.at_least is None else b.at_least, b.points] for b in characteristic.bins)
                cards.append([self.feature_row[characteristic.feature], first, len(bins), characteristic.missing])
            row[Se.CARD_END] = len(cards)
            row[Se.BANDS] = len(bands)
            for band in segment.bands:
                lower = LOWEST if band.lower is None else band.lower
                bands.append([band_code(band.name), lower, band.up_margin, band.down_margin, band.limit_minor])
            row[Se.BANDS_END] = len(bands)
            row[Se.ELIGIBILITY] = len(eligibility)
            eligibility.extend(self._requirement(requirement) for requirement in segment.eligibility)
            row[Se.ELIGIBILITY_END] = len(eligibility)
            self._limits(segment, row)
        shapes = ((eligibility, len(El)), (cards, len(Ca)), (bins, len(Bi)), (bands, len(Ba)))
        made = [matrix(rows, columns) for rows, columns in shapes]
        return made[0], segments, made[1], made[2], made[3]

    @staticmethod
    def _limits(segment: doc.Segment, row: Ints) -> None:
        limits = segment.limits
        row[Se.PRODUCT_CAP] = limits.product_cap_minor
        row[Se.LEGAL_CAP] = limits.legal_cap_minor
        if limits.income_cap is not None:
            row[Se.INCOME_PERCENT] = limits.income_cap.multiple_percent
            row[Se.INCOME_UNKNOWN] = limits.income_cap.unknown_income_minor
        row[Se.RELATED_CAP] = _or_missing(limits.related_cap_minor)
        row[Se.ROUND_TO] = limits.round_to_minor
        row[Se.STEP_UP] = _or_missing(limits.step_up_minor)
        row[Se.STEP_DOWN] = _or_missing(limits.step_down_minor)
        row[Se.MINIMUM_CHANGE] = limits.minimum_change_minor
        row[Se.UP_DAYS] = segment.cool_down.up_days
        row[Se.DOWN_DAYS] = segment.cool_down.down_days
        initial = segment.initial_standing
        row[Se.INITIAL_LIMIT] = MISSING if initial is None else initial.limit_minor
        row[Se.INITIAL_BAND] = MISSING if initial is None else band_code(initial.band)

    def _requirement(self, requirement: doc.Eligibility) -> list[int]:
        row = [0] * len(El)
        row[El.IS_FEATURE] = requirement.feature is not None
        row[El.PASS_UNKNOWN] = requirement.unknown == "pass"
        row[El.MASK_ROW] = -1
        if requirement.feature is not None:
            row[El.SOURCE] = self.feature_row[requirement.feature]
        else:
            row[El.SOURCE] = self._column(cast(str, requirement.figure))
        if requirement.is_in is not None:
            accepted = {self._code(cast(str, requirement.figure), word) for word in requirement.is_in}
            row[El.MASK_ROW] = len(self.word_masks)
            self.word_masks.append([int(code in accepted) for code in range(64)])
        row[El.AGE] = requirement.min_age_days is not None or requirement.max_age_days is not None
        low, high = (
            (requirement.min_age_days, requirement.max_age_days) if row[El.AGE] else (requirement.at_least, requirement.at_most)
        )
        row[El.LOW] = LOWEST if low is None else low
        row[El.HIGH] = -LOWEST if high is None else high
        return row


def _or_missing(value: int | None) -> int:
    return MISSING if value is None else value


def _hours(first: int, end: int) -> Iterable[int]:
    """Hours ``first`` (inclusive) to ``end`` (exclusive), over midnight if need be; all of them if equal."""
    length = (end - first) % 24 or 24
    return [(first + i) % 24 for i in range(length)]


def _epoch_ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp() // 1 * 1000) + moment.microsecond // 1000
