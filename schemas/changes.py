"""Topic ``limit-changes``: the standing in full before and after, and the arithmetic that led from one to the other.

The value holds nothing that a replay would not reproduce; when it was decided is the record's Kafka timestamp and ``ce_time``.
"""

from __future__ import annotations

from typing import Literal

from schemas.common import Output

ChangeKind = Literal[
    "grant",
    "increase",
    "decrease",
    "announce",
    "announce_withdrawn",
    "offer",
    "offer_accepted",
    "offer_declined",
    "offer_expired",
    "freeze",
    "unfreeze",
    "temporary_start",
    "temporary_end",
    "rate_change",
    "close",
    "reopen",
]
CauseKind = Literal["event", "profile", "command", "control", "tick"]


class Temporary(Output):
    """A limit with an end."""

    limit_minor: int
    until: str


class Offer(Output):
    """A limit that the customer may accept."""

    offer_id: str
    limit_minor: int
    expires_at: str


class Pending(Output):
    """A limit that was announced."""

    limit_minor: int
    effective_at: str


class PendingRate(Output):
    """A rate tier that was announced."""

    rate_tier: str
    effective_at: str


class Cost(Output):
    """What a stated draw costs at the standing's rate tier: effective and nominal annual rate in basis points, fees included."""

    draw_minor: int
    term_months: int
    plan: str
    apr_effective_bp: int
    apr_nominal_bp: int
    total_payable_minor: int
    total_cost_minor: int


class Standing(Output):
    """What stands. ``limit_in_force_minor`` is the limit that draws are checked against; ``blocks`` are why drawing is not allowed."""

    state: Literal["none", "open", "closed"]
    limit_minor: int
    limit_in_force_minor: int
    currency: str
    band: str | None
    rate_tier: str | None
    drawing_allowed: bool
    blocks: tuple[str, ...]
    ceiling_minor: int | None
    temporary: Temporary | None
    offer: Offer | None
    pending: Pending | None
    pending_rate: PendingRate | None
    hold_until: str | None
    override: Temporary | None
    exposure_minor: int | None
    exposure_as_of: str | None


class FeatureTrace(Output):
    """One characteristic: the feature's value (null: missing), the lower bound of its bin (null: the first bin, or missing), its points."""

    feature: str
    value: int | None
    bin_at_least: int | None
    points: int


class Trace(Output):
    """The evaluation: score = base_points + the sum of the features' points; the target is the band's limit under caps and rules.

    ``bound_by`` names what bound the target, ``guard`` what withheld a change of the limit, ``guard_until`` when that lets go by itself,
    ``requirement`` the code of the requirement behind it, ``signals`` the signs of a takeover that held.
    """

    segment: str
    base_points: int
    features: tuple[FeatureTrace, ...]
    score: int
    target_band: str
    target_limit_minor: int
    caps: dict[str, int]
    bound_by: str
    guard: str | None
    guard_until: str | None
    requirement: str | None
    signals: tuple[str, ...]
    days_past_due: int
    bucket: int
    warming_up: bool
    forced: bool


class Reason(Output):
    """Why, with the customer's wording by language; the first reason weighs most."""

    code: str
    feature: str | None
    text: dict[str, str]


class Advice(Output):
    """What the customer could do: together, the entries with a ``feature`` move the target band one up.

    ``feature`` must come from ``value`` to ``value_needed``, which brings ``points``. An entry without a feature names a rule that would still
    hold the limit, and in ``until`` the instant from which it no longer does, where it ends by itself.
    """

    code: str
    feature: str | None
    value: int | None
    value_needed: int | None
    points: int | None
    until: str | None
    text: dict[str, str]


class Cause(Output):
    """What was answered with this: the record, by place and id, or a tick (``at``)."""

    kind: CauseKind
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    id: str | None = None
    at: str | None = None


class PolicyRef(Output):
    """The policy that decided."""

    name: str
    version: int
    hash: str


class LimitChange(Output):
    """One change of an account's standing; ``sequence`` counts them without a gap from 1."""

    event_id: str
    account_id: str
    sequence: int
    kind: ChangeKind
    occurred_at: str
    previous: Standing
    standing: Standing
    score: int | None
    trace: Trace | None
    reasons: tuple[Reason, ...]
    advice: tuple[Advice, ...]
    cost: Cost | None = None
    cause: Cause
    policy: PolicyRef
