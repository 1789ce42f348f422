"""The policy document: what a risk analyst writes, as frozen pydantic models.

A document says everything that decides: which events are measured, how measures become features, how features become points, bands and
limits, and which rules stand around them. ``docs/policy.md`` explains each field with its arithmetic; this module is its grammar, and
``engine.policy.verify`` holds what one field says against another.

Money is in minor units, windows are in days or hours, margins and points are score points.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.topics import EVIDENCE_MONTHS

AMOUNT_MAX = 2**53 - 1
POINTS_MAX = 1_000_000
YEARLY_RATE_BP_MAX = 100_000
TERM_MONTHS_MAX = 600
NAME_MAX = 48  # characters

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Word = Annotated[str, Field(min_length=1, max_length=64)]
Minor = Annotated[int, Field(ge=0, le=AMOUNT_MAX)]
Points = Annotated[int, Field(ge=-POINTS_MAX, le=POINTS_MAX)]
Days = Annotated[int, Field(ge=0, le=3660)]
UtcOffsetMinutes = Annotated[int, Field(ge=-14 * 60, le=14 * 60)]

SourceEvent = Literal["repayment", "purchase", "transfer", "instalment", "usage"]
NumberField = Literal["amount_minor", "amount_due_minor", "days_late", "utilisation_percent"]
WordField = Literal["category", "channel", "product", "funded_by", "direction", "purpose", "merchant_id", "counterparty_id", "outcome"]
MeasuredField = Literal[NumberField, WordField]
SinceField = Literal["days_since", "hours_since"]
ConditionField = Literal[NumberField, WordField, "local_hour", SinceField]
About = Literal["ability", "willingness", "behaviour", "history", "capacity", "external"]
ProfileFigure = Literal[
    "status",
    "employment",
    "income_proof",
    "jurisdiction",
    "opened_on",
    "identity_verified_until",
    "income_monthly_minor",
    "income_as_of",
    "debt_service_monthly_minor",
    "assets_minor",
    "external_debt_minor",
    "external_limits_minor",
    "credit_months",
    "credit_completeness_percent",
    "delinquencies_24m",
    "persistent_debt_months",
    "revenue_yearly_minor",
    "bank_flow_monthly_minor",
    "ecosystem_activity_monthly",
    "consent_at",
    "opted_out_at",
    "device_changed_at",
    "contact_changed_at",
    "principal_eligible",
    "related_days_past_due",
    "related_exposure_minor",
]
Figure = Annotated[str, Field(pattern=r"^[a-z0-9_]+$|^attributes\.[A-Za-z0-9_.-]{1,64}$")]
RULE_PATTERN = r"^[a-z][a-z0-9_]{0,47}(\.[a-z0-9_]+)+$"
INPUT_PATTERN = r"^[a-z0-9][A-Za-z0-9_.-]{0,63}\*?$"
PACK_PATTERN = r"^[a-z][a-z0-9_]{0,47}$|^.+\.yaml$"
PackWord = Annotated[str, Field(pattern=PACK_PATTERN, max_length=200)]
SegmentName = Literal["individual", "enterprise"]
Language = Literal["zh", "en"]
Text = dict[Language, Annotated[str, Field(min_length=1)]]


class PolicyModel(BaseModel):
    """Base of every part of a policy: closed, frozen and strict (``"1"`` is not 1, ``yes`` is not true)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Condition(PolicyModel):
    """One condition of a measure's filter; exactly one kind of test on one field of the event.

    ``in``/``not_in`` test a word field, ``at_least``/``at_most`` a number field, ``from``/``to`` the local hour (from inclusive, to exclusive,
    wrapping over midnight). ``days_since`` and ``hours_since`` are numbers too: the time from what the ``last_seen`` measure ``of`` saw
    before this event.
    """

    field: ConditionField
    of: Name | None = None
    is_in: tuple[Word, ...] | None = Field(None, alias="in", min_length=1, max_length=63)
    not_in: tuple[Word, ...] | None = Field(None, min_length=1, max_length=63)
    at_least: int | None = Field(None, ge=-AMOUNT_MAX, le=AMOUNT_MAX)
    at_most: int | None = Field(None, ge=-AMOUNT_MAX, le=AMOUNT_MAX)
    from_hour: int | None = Field(None, alias="from", ge=0, le=23)
    to_hour: int | None = Field(None, alias="to", ge=0, le=23)


class Measure(PolicyModel):
    """What is accumulated of one kind of event: ``count``, ``sum``, ``max``, ``distinct`` in tiles; ``balance``, ``last_seen``, ``top`` for ever.

    ``of`` is the number summed or maximised, or the word whose distinct values are counted. ``closed_set`` lists the words of a distinct
    measure (at most 63; others are not counted); without it a 64-bit sketch counts approximately. Where all of ``minus`` holds a sum or
    a balance goes down instead of up. ``top`` keeps the words of ``of`` with the largest amounts, which halve every ``half_life_days``.
    ``round_trips`` remembers the transfers of the last ``within_days`` days; a measure that is ``net_of`` it leaves out what went round between
    the account and one counterparty. ``column`` and ``added_at`` (RFC 3339) are assigned by ``policy promote``.
    """

    name: Name
    event: SourceEvent
    kind: Literal["count", "sum", "max", "distinct", "balance", "last_seen", "top", "round_trips"]
    of: MeasuredField | None = None
    where: tuple[Condition, ...] = Field((), max_length=8)
    minus: tuple[Condition, ...] = Field((), max_length=8)
    closed_set: tuple[Word, ...] | None = Field(None, min_length=1, max_length=63)
    net_of: Name | None = None
    half_life_days: int | None = Field(None, ge=1, le=365)
    within_days: int | None = Field(None, ge=1, le=30)
    tile: Literal["day", "hour", "week"] = "day"
    utc_offset_minutes: UtcOffsetMinutes | None = None
    column: int | None = Field(None, ge=0, le=65535)
    added_at: str | None = None


class FeatureAdvice(PolicyModel):
    """A customer can move this feature: which way, and what to say of it.

    ``text`` may hold the value to reach, with its unit: ``{at_least}`` where the feature is to rise, ``{below}`` where it is to fall.
    """

    direction: Literal["raise", "lower"]
    text: Text


class _Feature(PolicyModel):
    """What every feature has: a name, what it is ``about``, ``text`` for people, what a customer is told of it where it added points or lost
    them, and ``advice`` where the customer can do something about it."""

    name: Name
    about: About | None = None
    text: Text = Field(default_factory=dict)
    favourable_text: Text = Field(default_factory=dict)
    adverse_text: Text = Field(default_factory=dict)
    advice: FeatureAdvice | None = None


class _Windowed(_Feature):
    window_days: int | None = Field(None, ge=1, le=730)
    window_hours: int | None = Field(None, ge=1, le=48)
    window_weeks: int | None = Field(None, ge=1, le=104)
    when_partial: Literal["as_is", "missing"] = "as_is"


class _Monthly(_Feature):
    """Of months side by side: ``window_months`` of 30 days that end today, or ``window_weeks`` as months of four whole weeks (exactly one)."""

    window_months: int | None = Field(None, ge=2, le=24)
    window_weeks: int | None = Field(None, ge=8, le=100, multiple_of=4)
    when_partial: Literal["as_is", "missing"] = "as_is"


Scale = Literal[1, 100, 1000]


class Total(_Windowed):
    """The window's count or sum (never below 0), its maximum, or a balance (no window).

    ``given`` names a count or sum: missing where its total of the same window is not positive. ``per`` makes it ``scale`` x total ÷ that figure
    of the profile (missing when it is not positive).
    """

    kind: Literal["total"]
    measure: Name
    given: Name | None = None
    per: Figure | None = None
    scale: Scale = 1


class Average(_Windowed):
    """Sum measure ÷ count measure over the window; missing when the count is not positive."""

    kind: Literal["average"]
    sum: Name
    count: Name


class Ratio(_Windowed):
    """``scale`` x numerator ÷ denominator; missing when the denominator is not positive."""

    kind: Literal["ratio"]
    numerator: Name
    denominator: Name
    scale: Scale = 100


class Share(_Windowed):
    """``scale`` x part ÷ whole, at most ``scale``; missing when the whole is not positive."""

    kind: Literal["share"]
    part: Name
    whole: Name
    scale: Scale = 100


class ShareAbove(_Windowed):
    """The share of a count or sum measure that comes from events of at least ``amount_minor`` (a measure is derived for the part)."""

    kind: Literal["share_above"]
    measure: Name
    amount_minor: int = Field(ge=1, le=AMOUNT_MAX)
    scale: Scale = 100


class DaysSince(_Feature):
    """Policy days since a ``last_seen`` measure, or since a date ``figure`` of the profile (exactly one); missing when never seen or unknown."""

    kind: Literal["days_since"]
    measure: Name | None = None
    figure: Figure | None = None


class Trend(_Windowed):
    """``scale`` x this window ÷ the window of the same length before it; missing when that one is not positive."""

    kind: Literal["trend"]
    measure: Name
    scale: Scale = 100


class ActiveMonths(_Monthly):
    """How many of the last months have a positive total."""

    kind: Literal["active_months"]
    measure: Name


class Regularity(_Monthly):
    """``scale`` x smallest ÷ largest of the last months; missing when the largest is not positive."""

    kind: Literal["regularity"]
    measure: Name
    scale: Scale = 100


class Distinct(_Windowed):
    """Number of distinct words seen in the window: exact for a closed set, estimated by linear counting for an open one."""

    kind: Literal["distinct"]
    measure: Name


class NewlySeen(_Windowed):
    """Distinct words of the window that the ``before_`` days, hours or weeks before it did not have (estimated for an open set)."""

    kind: Literal["newly_seen"]
    measure: Name
    before_days: int | None = Field(None, ge=1, le=730)
    before_hours: int | None = Field(None, ge=1, le=720)
    before_weeks: int | None = Field(None, ge=1, le=104)


class Reaching(_Windowed):
    """How many of the listed counts or sums have a window total of at least ``at_least``: scenes that count from an amount on."""

    kind: Literal["reaching"]
    measures: tuple[Name, ...] = Field(min_length=1, max_length=16)
    at_least: int = Field(ge=1, le=AMOUNT_MAX)


class Concentration(_Feature):
    """``scale`` x the largest word's amount ÷ all amounts of a ``top`` measure; missing when there are none."""

    kind: Literal["concentration"]
    measure: Name
    scale: Scale = 100


class Utilisation(_Feature):
    """``scale`` x exposure ÷ limit in force; missing when the exposure is unknown or the limit is 0."""

    kind: Literal["utilisation"]
    scale: Scale = 100


class DaysPastDue(_Feature):
    """Days past due of the oldest unpaid instalment, 0 when current."""

    kind: Literal["days_past_due"]


class ProfileValue(_Feature):
    """A figure of the profile as it is; with ``per`` the ratio ``scale`` x figure ÷ per (missing when per is not positive)."""

    kind: Literal["profile"]
    figure: Figure
    per: Figure | None = None
    scale: Scale = 1


class Completeness(_Feature):
    """Percent of the listed figures that the profile knows."""

    kind: Literal["completeness"]
    figures: tuple[Figure, ...] = Field(min_length=1, max_length=30)


class Tenure(_Feature):
    """Policy days since the profile's ``opened_on``; missing when unknown."""

    kind: Literal["tenure"]


Feature = Annotated[
    Total
    | Average
    | Ratio
    | Share
    | ShareAbove
    | DaysSince
    | Trend
    | ActiveMonths
    | Regularity
    | Distinct
    | NewlySeen
    | Reaching
    | Concentration
    | Utilisation
    | DaysPastDue
    | ProfileValue
    | Completeness
    | Tenure,
    Field(discriminator="kind"),
]


class Bin(PolicyModel):
    """Points from a lower bound on (inclusive); the first bin has no lower bound."""

    at_least: int | None = Field(None, ge=-AMOUNT_MAX, le=AMOUNT_MAX)
    points: Points


class Characteristic(PolicyModel):
    """One row of a scorecard: a feature, its bins in ascending order, and the points of *missing*."""

    feature: Name
    bins: tuple[Bin, ...] = Field(min_length=1, max_length=32)
    missing: Points


class Band(PolicyModel):
    """A score band. The lowest has no ``lower``. A score enters from below at lower + up_margin and leaves below lower - down_margin."""

    name: Name
    lower: Points | None = None
    up_margin: int = Field(0, ge=0, le=POINTS_MAX)
    down_margin: int = Field(0, ge=0, le=POINTS_MAX)
    limit_minor: Minor


class Test(PolicyModel):
    """A test of one value.

    Exactly one of ``figure`` and ``feature`` names the value. ``at_least``/``at_most`` bound it; ``in`` lists the accepted words (of status,
    employment, income_proof, jurisdiction); ``min_age_days``/``max_age_days`` bound the policy days from a date figure to today. A missing
    value passes only with ``unknown: pass``.
    """

    code: Name
    figure: Figure | None = None
    feature: Name | None = None
    at_least: int | None = Field(None, ge=-AMOUNT_MAX, le=AMOUNT_MAX)
    at_most: int | None = Field(None, ge=-AMOUNT_MAX, le=AMOUNT_MAX)
    is_in: tuple[Word, ...] | None = Field(None, alias="in", min_length=1, max_length=63)
    min_age_days: int | None = Field(None, ge=-36600, le=36600)
    max_age_days: int | None = Field(None, ge=-36600, le=36600)
    unknown: Literal["fail", "pass"] = "fail"
    text: Text = Field(default_factory=dict)


class Eligibility(Test):
    """A requirement: while its test is not passed, ``guard`` stops grants and increases."""

    guard: Literal["not_eligible", "identity_lapsed", "ability_not_fresh", "over_indebted"] = "not_eligible"


class Signal(Test):
    """A sign that somebody else uses the account, and how much it weighs."""

    points: int = Field(ge=1, le=POINTS_MAX)


class Takeover(PolicyModel):
    """Drawing is frozen when the points of the signals that hold reach ``freeze_from``; not again within ``rest_days`` after the block was
    lifted by command."""

    freeze_from: int = Field(ge=1, le=POINTS_MAX)
    rest_days: Days = 7
    signals: tuple[Signal, ...] = Field(min_length=1, max_length=16)


class DebtWarning(Test):
    """A sign that the customer borrows more than is good for them: an advisory, and no increase."""


class Protection(PolicyModel):
    """What protects the customer: from others and from too much credit."""

    takeover: Takeover | None = None
    over_borrowing: tuple[DebtWarning, ...] = Field((), max_length=16)


class QuietHours(PolicyModel):
    """Local hours, ``from`` inclusive, ``to`` exclusive, over midnight, in which no increase is made or offered."""

    from_hour: int = Field(alias="from", ge=0, le=23)
    to_hour: int = Field(alias="to", ge=0, le=23)


class Increases(PolicyModel):
    """How limits are raised: by themselves where the customer consented, else by an offer that stands for ``offer_days``; after one
    has ended ``offer_rest_days`` go by without another. ``unsolicited_offers``: also a first limit is offered to who did not apply."""

    consent: Literal["needed", "not_needed"] = "not_needed"
    unsolicited_offers: bool = False
    offer_days: int = Field(30, ge=1, le=366)
    offer_rest_days: Days = 30
    quiet_hours: QuietHours | None = None


class Notices(PolicyModel):
    """Days between the announcement of a decrease and the decrease; and after how many days an advisory that still holds is told again."""

    decrease_days: int = Field(0, ge=0, le=366)
    advisory_days: int = Field(30, ge=1, le=366)


class Commands(PolicyModel):
    """Bounds of what commands may do: holds, overrides and temporary limits end after at most ``longest_days``; a limit from
    ``second_person_from_minor`` on needs an ``approved_by`` that is not ``issued_by``."""

    longest_days: int = Field(366, ge=1, le=3660)
    second_person_from_minor: Minor | None = None


class IncomeCap(PolicyModel):
    """Cap = monthly income x multiple_percent ÷ 100 - known external limits; ``unknown_income_minor`` where the income is not known."""

    multiple_percent: int = Field(ge=1, le=10_000)
    unknown_income_minor: Minor


class Limits(PolicyModel):
    """From a band's limit to the target: caps, rounding, steps, minimum change (all in minor units)."""

    product_cap_minor: Minor
    legal_cap_minor: Minor
    income_cap: IncomeCap | None = None
    related_cap_minor: Minor | None = None
    round_to_minor: int = Field(ge=1, le=AMOUNT_MAX)
    step_up_minor: Annotated[int, Field(ge=1, le=AMOUNT_MAX)] | None = None
    step_down_minor: Annotated[int, Field(ge=1, le=AMOUNT_MAX)] | None = None
    minimum_change_minor: int = Field(1, ge=1, le=AMOUNT_MAX)


class CoolDown(PolicyModel):
    """Days of rest: ``up_days`` after any change of the limit before an increase, ``down_days`` after a decrease before the next."""

    up_days: Days
    down_days: Days


class InitialStanding(PolicyModel):
    """The standing every account of the segment starts from, without an event."""

    limit_minor: Minor
    band: Name


RepaymentPlan = Literal["equal_instalments", "equal_principal", "interest_monthly", "single_payment"]
Accrual = Literal["monthly", "daily_365", "daily_360"]


class RateTier(PolicyModel):
    """A score tier with its nominal yearly rate; bounds and margins as of a band."""

    name: Name
    lower: Points | None = None
    up_margin: int = Field(0, ge=0, le=POINTS_MAX)
    down_margin: int = Field(0, ge=0, le=POINTS_MAX)
    yearly_rate_bp: int = Field(ge=0, le=YEARLY_RATE_BP_MAX)


class RateExample(PolicyModel):
    """The draw whose annual rate is told with a tier (``engine.policy.cost``): amount, term, plan, and the fees beside the interest."""

    draw_minor: int = Field(ge=1, le=AMOUNT_MAX)
    term_months: int = Field(ge=1, le=TERM_MONTHS_MAX)
    plan: RepaymentPlan
    accrual: Accrual
    upfront_fee_bp: int = Field(0, ge=0, le=10_000)
    upfront_fee_minor: Minor = 0
    instalment_fee_minor: Minor = 0


class Rates(PolicyModel):
    """The price of credit by score, lowest score first; a rise of the rate is told ``rise_notice_days`` before it is in force."""

    tiers: tuple[RateTier, ...] = Field(min_length=1, max_length=16)
    rise_notice_days: Days
    example: RateExample


class AppetiteBand(PolicyModel):
    """What an appetite makes of a band: ``percent`` of its limit, from so many days after the appetite's control record on."""

    band: Name
    percent: int = Field(ge=0, le=200)
    after_days: int = Field(0, ge=0, le=3660)


class Appetite(PolicyModel):
    """How a segment's limits follow the lender's risk appetite; bands that are not named keep their limit."""

    contraction: tuple[AppetiteBand, ...] = Field((), max_length=16)
    expansion: tuple[AppetiteBand, ...] = Field((), max_length=16)


class Breaker(PolicyModel):
    """Decreases stop where they are more than ``percent`` of the day's evaluations, or of ``min_evaluations`` while these are fewer."""

    percent: int = Field(ge=1, le=100)
    min_evaluations: int = Field(ge=1, le=AMOUNT_MAX)


class Brakes(PolicyModel):
    """What a segment as a whole may do in a day: raise limits by ``budget_minor``, and lower them as far as the breaker allows."""

    budget_minor: Minor | None = None
    breaker: Breaker | None = None


class Segment(PolicyModel):
    """One clientele with its own strategy: who may be granted anything, how it is scored, and which limits follow."""

    name: SegmentName
    eligibility: tuple[Eligibility, ...] = Field((), max_length=24)
    base_points: Points
    scorecard: tuple[Characteristic, ...] = Field(min_length=1, max_length=64)
    bands: tuple[Band, ...] = Field(min_length=1, max_length=16)
    limits: Limits
    cool_down: CoolDown
    rates: Rates | None = None
    initial_standing: InitialStanding | None = None
    increases: Increases = Increases()
    notices: Notices = Notices()
    commands: Commands = Commands()
    protection: Protection = Protection()
    appetite: Appetite | None = None
    brakes: Brakes | None = None


class Arrears(PolicyModel):
    """When an instalment is past due, and what follows. Buckets: 0 current, 1 from 1 day, 2 from 30, 3 from 60, 4 from 90 by default."""

    grace_days: int = Field(default=0, ge=0, le=60)
    tolerance_minor: Minor = 0
    cure_days: Days = 30
    bucket_lower_days: tuple[int, int, int, int] = (1, 30, 60, 90)
    block_drawing_from_bucket: int = Field(default=2, ge=1, le=4)
    limit_to_exposure_from_bucket: int = Field(default=4, ge=1, le=4)


class PackUse(PolicyModel):
    """A pack of a jurisdiction's rules (``engine.policy.pack``), and whom they are to protect here.

    ``pack`` is a built-in pack's name, or a path ending in .yaml beside the policy file. ``consumer`` and ``business`` name the segments that
    its rules for consumers and for business borrowers hold for. ``lender`` is the kind of lender; without it every lender's rules hold.
    """

    pack: PackWord
    consumer: tuple[SegmentName, ...] = Field((), max_length=2)
    business: tuple[SegmentName, ...] = Field((), max_length=2)
    lender: Name | None = None


class LawRecord(PolicyModel):
    """What one rule of a pack demanded of the policy in force; ``before`` and ``after`` where it changed it, or added ``after``;
    ``duty`` is what the lender must do itself. ``segment`` is left out where the rule is about the whole policy, or a duty that changes nothing.
    """

    rule: str
    demands: str
    source: str
    valid_from: str
    checked_on: str
    effect: str
    duty: str | None = None
    segment: SegmentName | None = None
    before: int | bool | str | None = None
    after: int | bool | str | None = None


class Policy(PolicyModel):
    """One immutable version of a lender's policy. ``next_column`` is assigned by ``policy promote``, so that no column number comes twice.

    Where ``languages`` are named, whatever a customer may be told must be said in each of them.
    ``evidence_months`` decides nothing: it says how long what was decided must be shown, and so how long topics are kept.
    A policy that names ``packs`` is not complete: combined with them (``engine.policy.combine``) it has ``law`` in their place.
    """

    policy: Name
    version: int = Field(ge=1, le=2**31 - 1)
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    languages: tuple[Language, ...] | None = Field(None, min_length=1, max_length=2)
    utc_offset_minutes: UtcOffsetMinutes = 0
    sweep_hour: int = Field(0, ge=0, le=23)
    needs_profile: bool = True
    default_segment: SegmentName = "individual"
    too_far_ahead_seconds: int = Field(300, ge=0, le=86_400)
    reconcile_hours: int | None = Field(None, ge=0, le=8784)
    evidence_months: int = Field(EVIDENCE_MONTHS, ge=12, le=360)  # below a year, years were meant
    packs: tuple[PackUse, ...] | None = Field(None, min_length=1, max_length=16)
    law: tuple[LawRecord, ...] | None = None
    arrears: Arrears = Arrears()
    measures: tuple[Measure, ...] = Field(min_length=1, max_length=128)
    features: tuple[Feature, ...] = Field(min_length=1, max_length=128)
    segments: tuple[Segment, ...] = Field(min_length=1, max_length=2)
    next_column: int | None = Field(None, ge=0, le=65536)

    @model_validator(mode="before")
    @classmethod
    def _tuples(cls, value: object) -> object:
        """YAML and JSON have only lists; strict tuples would refuse them."""
        return as_tuples(value)

    @classmethod
    def from_plain(cls, value: object) -> Self:
        """Build from plain JSON data (as ``limit-control`` carries it). Raises pydantic.ValidationError."""
        return cls.model_validate(value)


def as_tuples(value: object) -> object:
    """Plain data with tuples where it has lists."""
    if isinstance(value, dict):
        return {key: as_tuples(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(as_tuples(item) for item in value)
    return value
