"""The explanation of a decision: the very numbers that made it, with their names, and the reasons ranked from them.

Everything here is read off the decision's row (``layout.Out``): the features' values, the bins they fell into, the caps, the guard. Nothing
is computed anew, so an explanation cannot differ from the decision. Points lost by a feature are its best bin minus its bin; points won are
what it added to the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.core.layout import CAPS_AT, MISSING, VALUES_AT, Block, Bound, Guard, Kind, Out
from engine.core.limits import NO_CAP
from engine.policy import document as doc
from engine.policy.compile import CompiledPolicy

REASONS_MAX = 4


class FeaturePoints(NamedTuple):
    """One row of the scorecard as it was: value (None: missing), lower bound of its bin (None: the first bin, or missing) and what it gave."""

    feature: str
    value: int | None
    bin_at_least: int | None
    points: int
    best_points: int


class Reason(NamedTuple):
    """Why: a stable code, the feature it speaks of if any, what that is about, and the customer's wording by language."""

    code: str
    feature: str | None
    text: dict[str, str]
    about: str | None


class Explanation(NamedTuple):
    """A decision in names: score and its parts, target band and limit, what bound it, the guard that withheld, the reasons in order."""

    segment: str
    base_points: int
    score: int
    features: list[FeaturePoints]
    target_band: str
    target_limit_minor: int
    bound_by: str
    caps: dict[str, int]
    guard: str | None
    bucket: int
    days_past_due: int
    warming_up: bool
    forced: bool
    reasons: list[Reason]


BOUND_NAMES = [bound.name.lower() for bound in Bound]
NOT_KNOWN: dict[str, str] = {"zh": "{}：暂无记录", "en": "{}: not known yet"}
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
    "score": {"zh": "综合评分", "en": "The score as a whole."},
    "customer_lifted": {"zh": "应您本人要求恢复", "en": "Lifted at your own request."},
    "takeover_lifted": {"zh": "已确认账户由您本人使用", "en": "The account is known to be in your own hands again."},
    "risk_desk_lifted": {"zh": "风险人员已解除限制", "en": "Lifted by the risk desk."},
    "arrears_lifted": {"zh": "欠款限制已解除", "en": "The restriction because of arrears is lifted."},
    "legal_lifted": {"zh": "法律限制已解除", "en": "The legal restriction is lifted."},
    "past_due_lifted": {"zh": "逾期天数已低于暂停用款的界限", "en": "Nothing is past due for long enough to pause drawing."},
    "over_cap_lifted": {"zh": "额度已在法规上限以内", "en": "The limit is within the legal cap again."},
    "line_ended": {"zh": "账户状态使授信终止", "en": "The account's status ends the credit line."},
}


class Characteristic:
    """One row of a segment's scorecard, laid out for reading decisions off it: ``points`` and ``lower`` by bin, the last ones for missing."""

    def __init__(self, characteristic: doc.Characteristic, value_at: int) -> None:
        possible = [b.points for b in characteristic.bins]
        self.feature = characteristic.feature
        self.value_at = value_at
        self.points = (*possible, characteristic.missing)
        self.lower = (*(b.at_least for b in characteristic.bins), None)
        self.best = max(possible)

    def points_of(self, value: int, chosen: int) -> FeaturePoints:
        """This row for a value and its bin (-1: missing)."""
        points = self.points[chosen]
        known = None if value == MISSING else value
        return FeaturePoints(self.feature, known, self.lower[chosen], points, max(self.best, points))


class Explainer:
    """Explains the decisions made under one policy."""

    def __init__(self, policy: CompiledPolicy) -> None:
        self._policy = policy
        self._bins_at = VALUES_AT + len(policy.document.features)
        numbers = policy.feature_numbers
        self._scorecards = [
            [Characteristic(c, VALUES_AT + numbers[c.feature]) for c in segment.scorecard] if segment else [] for segment in policy.segments
        ]

    def explain(self, decision: Sequence[int]) -> Explanation:
        """Explain one evaluated decision row, (decision_columns,) as Python integers."""
        number = decision[Out.SEGMENT]
        segment = self._policy.segments[number]
        assert segment is not None, "a decision was made in a segment that its policy does not define"
        features = [
            characteristic.points_of(decision[characteristic.value_at], chosen)
            for characteristic, chosen in zip(self._scorecards[number], decision[self._bins_at :], strict=False)
        ]
        guard = Guard(decision[Out.GUARD])
        return Explanation(
            segment=segment.name,
            base_points=segment.base_points,
            score=decision[Out.SCORE],
            features=features,
            target_band=segment.bands[decision[Out.TARGET_BAND]].name,
            target_limit_minor=decision[Out.TARGET_LIMIT],
            bound_by=BOUND_NAMES[decision[Out.BOUND_BY]],
            caps={name: cap for name, cap in zip(BOUND_NAMES, decision[CAPS_AT:VALUES_AT], strict=False) if cap < NO_CAP},
            guard=None if guard == Guard.NONE else guard.name.lower(),
            bucket=decision[Out.BUCKET],
            days_past_due=decision[Out.DAYS_PAST_DUE],
            warming_up=bool(decision[Out.WARMING_UP]),
            forced=bool(decision[Out.FORCED]),
            reasons=self._reasons(decision, features),
        )

    def _reasons(self, decision: Sequence[int], features: list[FeaturePoints]) -> list[Reason]:
        """At most ``REASONS_MAX`` reasons, the rule that bound the outcome first; score reasons only where the score alone, by its band's
        limit, would have moved the limit the same way."""
        kind = Kind(decision[Out.KIND])
        if kind in (Kind.FREEZE, Kind.UNFREEZE):
            block = Block(decision[Out.CAUSE]).name.lower()
            return [rule_reason(block if kind is Kind.FREEZE else f"{block}_lifted")]
        if kind is Kind.CLOSE:
            return [rule_reason("line_ended")]
        bound = BOUND_NAMES[decision[Out.BOUND_BY]]
        reasons = [] if bound == "band" else [rule_reason(bound)]
        adverse = kind is Kind.DECREASE
        by_score, before = decision[CAPS_AT + Bound.BAND], decision[Out.PREVIOUS_LIMIT]
        if by_score < before if adverse else by_score > before:
            reasons += self._score_reasons(features, adverse=adverse)
        return reasons[:REASONS_MAX] or [rule_reason("score")]

    def _score_reasons(self, features: list[FeaturePoints], *, adverse: bool) -> list[Reason]:
        """Features by points lost (adverse) or won, most first, in scorecard order where equal; none that lost or won nothing."""
        weights = [row.best_points - row.points if adverse else row.points for row in features]
        ranked = sorted((place for place, weight in enumerate(weights) if weight > 0), key=lambda place: -weights[place])
        reasons = []
        for row in (features[place] for place in ranked[:REASONS_MAX]):
            feature = self._policy.features_by_name[row.feature]
            if row.value is None:
                ending, text = "missing", {language: NOT_KNOWN[language].format(name) for language, name in feature.text.items()}
            elif adverse:
                ending, text = "low", feature.adverse_text
            else:
                ending, text = "good", feature.favourable_text
            reasons.append(Reason(f"{row.feature}_{ending}", row.feature, dict(sorted(text.items())), feature.about))
        return reasons


def rule_reason(code: str) -> Reason:
    """The reason that a rule, not the score, gives."""
    return Reason(code, None, dict(sorted(RULE_TEXTS[code].items())), None)
