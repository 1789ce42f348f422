"""The explanation of a decision: the very numbers that made it, with their names, and the reasons ranked from them.

Everything here is read off the decision's row (``layout.Out``): the features' values, the bins they fell into, the caps, the guard. Nothing
is computed anew, so an explanation cannot differ from the decision. Points lost by a feature are its best bin minus its bin; points won are
its bin minus its worst.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.core.layout import CAPS_AT, MISSING, VALUES_AT, Block, Bound, Guard, Kind, Out
from engine.core.limits import NO_CAP
from engine.core.tables import Ints
from engine.policy import document as doc
from engine.policy.compile import CompiledPolicy

REASONS_MAX = 4


@dataclass(frozen=True, slots=True)
class FeaturePoints:
    """One row of the scorecard as it was: value (None = missing), place of the bin (-1 = missing) and what it gave."""

    feature: str
    value: int | None
    bin: int
    points: int
    best_points: int
    worst_points: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision in names: score and its parts, target band and limit, what bound it, the guard that withheld, the reasons in order."""

    segment: str
    base_points: int
    score: int
    features: tuple[FeaturePoints, ...]
    target_band: str
    target_limit_minor: int
    bound_by: str
    caps: tuple[tuple[str, int], ...]
    guard: str | None
    bucket: int
    days_past_due: int
    warming_up: bool
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: a stable code, the feature it speaks of if any, and the customer's wording by language."""

    code: str
    feature: str | None
    text: tuple[tuple[str, str], ...]


RULE_TEXTS: dict[str, dict[str, str]] = {
    "product_cap": {"zh": "已达到本产品的最高额度", "en": "The highest limit of this product is reached."},
    "income_cap": {"zh": "收入与其他机构额度决定了最高额度", "en": "Income and limits held elsewhere set the highest limit."},
    "related_cap": {"zh": "关联方占用了共同额度", "en": "Related parties use part of the shared limit."},
    "legal_cap": {"zh": "法规规定了最高额度", "en": "The law sets the highest limit."},
    "requested": {"zh": "按申请额度核定", "en": "The limit that was asked for."},
    "ceiling": {"zh": "按您自设的上限核定", "en": "The ceiling that you set yourself."},
    "step": {"zh": "额度分步调整", "en": "Limits change step by step."},
    "arrears": {"zh": "存在逾期未还款项", "en": "Instalments are past due."},
    "exposure_floor": {"zh": "额度不低于已用金额", "en": "The limit is kept at what is already used."},
    "customer": {"zh": "应您本人要求", "en": "At your own request."},
    "takeover": {"zh": "账户可能被他人使用", "en": "Someone else may be using the account."},
    "risk_desk": {"zh": "经风险人员审核", "en": "After a review by the risk desk."},
    "legal": {"zh": "依法律要求", "en": "Required by law."},
    "past_due": {"zh": "存在逾期未还款项", "en": "Instalments are past due."},
    "over_cap": {"zh": "额度超过法规上限，暂停用款", "en": "The limit is above the legal cap; drawing is paused."},
    "line_ended": {"zh": "账户状态使授信终止", "en": "The account's status ends the credit line."},
}


def explain(policy: CompiledPolicy, decision: Ints) -> Explanation:
    """Explain one evaluated decision row (decision_columns,)."""
    segment = policy.segments[decision[Out.SEGMENT]]
    assert segment is not None, "a decision was made in a segment that its policy does not define"
    features = scorecard_of(policy, segment, decision)
    caps = tuple(
        (Bound(bound).name.lower(), int(decision[CAPS_AT + bound]))
        for bound in range(VALUES_AT - CAPS_AT)
        if decision[CAPS_AT + bound] < NO_CAP
    )
    guard = Guard(decision[Out.GUARD])
    return Explanation(
        segment=segment.name,
        base_points=segment.base_points,
        score=int(decision[Out.SCORE]),
        features=features,
        target_band=segment.bands[decision[Out.TARGET_BAND]].name,
        target_limit_minor=int(decision[Out.TARGET_LIMIT]),
        bound_by=Bound(decision[Out.BOUND_BY]).name.lower(),
        caps=caps,
        guard=None if guard == Guard.NONE else guard.name.lower(),
        bucket=int(decision[Out.BUCKET]),
        days_past_due=int(decision[Out.DAYS_PAST_DUE]),
        warming_up=bool(decision[Out.WARMING_UP]),
        reasons=reasons_of(policy, segment, decision, features),
    )


def scorecard_of(policy: CompiledPolicy, segment: doc.Segment, decision: Ints) -> tuple[FeaturePoints, ...]:
    """The segment's scorecard with the decision's values and bins."""
    bins_at = VALUES_AT + len(policy.document.features)
    numbers = policy.feature_numbers
    rows = []
    for place, characteristic in enumerate(segment.scorecard):
        value = int(decision[VALUES_AT + numbers[characteristic.feature]])
        chosen = int(decision[bins_at + place])
        points = characteristic.missing if chosen < 0 else characteristic.bins[chosen].points
        possible = [b.points for b in characteristic.bins]
        best, worst = max(possible), min(*possible, characteristic.missing)
        rows.append(FeaturePoints(characteristic.feature, None if value == MISSING else value, chosen, points, max(best, points), worst))
    return tuple(rows)


def reasons_of(policy: CompiledPolicy, segment: doc.Segment, decision: Ints, features: tuple[FeaturePoints, ...]) -> tuple[Reason, ...]:
    """At most ``REASONS_MAX`` reasons, the rule that bound the outcome first; score reasons only where the score alone would have moved
    the band (or first set it)."""
    kind, cause = Kind(decision[Out.KIND]), int(decision[Out.CAUSE])
    reasons: list[Reason] = []
    if kind in (Kind.FREEZE, Kind.UNFREEZE):
        return (rule_reason(Block(cause).name.lower()),)
    if kind is Kind.CLOSE:
        return (rule_reason("line_ended"),)
    bound = Bound(decision[Out.BOUND_BY])
    if bound is not Bound.BAND:
        reasons.append(rule_reason(bound.name.lower()))
    standing_band = policy.bands_by_code.get(int(decision[Out.PREVIOUS_BAND]))
    if standing_band != segment.bands[decision[Out.TARGET_BAND]].name:
        reasons.extend(score_reasons(policy, features, adverse=kind is Kind.DECREASE))
    return tuple(reasons[:REASONS_MAX])


def score_reasons(policy: CompiledPolicy, features: tuple[FeaturePoints, ...], *, adverse: bool) -> list[Reason]:
    """Features by points lost (adverse) or won, most first, in scorecard order where equal; none that lost or won nothing."""

    def weight(row: FeaturePoints) -> int:
        return row.best_points - row.points if adverse else row.points - row.worst_points

    ranked = sorted((row for row in features if weight(row) > 0), key=lambda row: -weight(row))
    reasons = []
    for row in ranked[:REASONS_MAX]:
        feature = policy.features_by_name[row.feature]
        wording = feature.adverse_text if adverse else feature.text
        code = f"{row.feature}_{'missing' if row.value is None else 'low' if adverse else 'good'}"
        reasons.append(Reason(code, row.feature, tuple(sorted(wording.items()))))
    return reasons


def rule_reason(code: str) -> Reason:
    """The reason that a rule, not the score, gives."""
    return Reason(code, None, tuple(sorted(RULE_TEXTS[code].items())))
