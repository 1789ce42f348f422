"""The explanation of a decision: the very numbers that made it, with their names, and the reasons ranked from them.

Everything here is read off the decision's row (``layout.Out``): the features' values, the bins they fell into, the caps, the guard. Nothing
is computed anew, so an explanation cannot differ from the decision. Points lost by a feature are its best bin minus its bin; points won are
what it added to the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from engine.core.fingerprint import band_code
from engine.core.layout import CAPS_AT, MISSING, VALUES_AT, Announced, Block, Bound, Col, Guard, Kind, Out, Refused, before
from engine.core.limits import NO_CAP
from engine.policy import document as doc
from engine.policy.compile import CompiledPolicy, requirements_in_order, warnings_in_order

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
    guard_until_ms: int | None
    requirement: str | None
    signals: list[str]
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
    "appetite": {"zh": "本产品的授信总体安排有调整", "en": "The lender lends less at present, whoever the customer is."},
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
    "override": {"zh": "经人工核定的额度", "en": "The limit was set by a person."},
    "hold": {"zh": "额度暂时保持不变", "en": "The limit is kept as it is for now."},
    "blocked": {"zh": "账户暂停用款，暂不提额", "en": "While drawing is paused the limit is not raised."},
    "in_arrears": {"zh": "存在逾期未还款项，暂不提额", "en": "While instalments are past due the limit is not raised."},
    "in_cure": {"zh": "逾期刚结清，观察期内暂不提额", "en": "Arrears were settled only recently; the limit may be raised again later."},
    "forbearance": {"zh": "处于还款减免安排中", "en": "A relief arrangement is in place."},
    "opted_out": {"zh": "您已选择不接受主动提额", "en": "You chose not to have your limit raised."},
    "quiet_hours": {"zh": "夜间不调整额度", "en": "Limits are not raised at night."},
    "cool_down_up": {"zh": "距上次额度调整时间较短", "en": "The limit was changed only recently."},
    "notice_running": {"zh": "已通知的额度调整即将生效", "en": "An announced change of the limit comes first."},
    "consent_missing": {"zh": "需要您同意后才能提额", "en": "Your agreement is needed before the limit is raised."},
    "budget_spent": {"zh": "今日提额总额已满，可改日再评", "en": "No more limits are raised today; yours is looked at again."},
    "temporary_start": {"zh": "临时额度生效", "en": "A temporary limit begins."},
    "temporary_end": {"zh": "临时额度结束", "en": "The temporary limit ends."},
    "offer_declined": {"zh": "您已谢绝提额邀请", "en": "You declined the offer."},
    "offer_expired": {"zh": "提额邀请已失效", "en": "The offer is no longer valid."},
    "announce_withdrawn": {"zh": "已通知的调整取消", "en": "The announced change is withdrawn."},
    "rate_change": {"zh": "综合评分对应的利率档次变化", "en": "The score leads to another rate."},
    "closed_by_command": {"zh": "按要求结束授信", "en": "The credit line was ended on request."},
    "line_ended": {"zh": "账户状态使授信终止", "en": "The account's status ends the credit line."},
}


OF_THEIR_KIND = frozenset(
    {
        *(Kind.TEMPORARY_START, Kind.TEMPORARY_END, Kind.OFFER_DECLINED, Kind.OFFER_EXPIRED),
        *(Kind.ANNOUNCE_WITHDRAWN, Kind.RATE_CHANGE),
    }
)


class Characteristic:
    """One row of a segment's scorecard, laid out for reading decisions off it: where the feature's value stands, and by bin (the last one for
    missing) its lower bound, its points and the best points there are."""

    def __init__(self, characteristic: doc.Characteristic, value_at: int) -> None:
        best, missing = max(b.points for b in characteristic.bins), characteristic.missing
        self.feature = characteristic.feature
        self.value_at = value_at
        self.bins = (*((b.at_least, b.points, best) for b in characteristic.bins), (None, missing, max(best, missing)))


class Explainer:
    """Explains the decisions made under one policy."""

    def __init__(self, policy: CompiledPolicy) -> None:
        self._policy = policy
        self._bins_at = VALUES_AT + len(policy.document.features)
        numbers = policy.feature_numbers
        defined = policy.segments
        self._tests = [[*requirements_in_order(s), *warnings_in_order(s)] if s is not None else [] for s in defined]
        self._warnings = [{band_code(w.code): w for w in s.protection.over_borrowing} if s is not None else {} for s in defined]
        self._told = {key: reason for feature in policy.document.features for key, reason in feature_reasons(feature).items()}
        self._scorecards = [
            [Characteristic(c, VALUES_AT + numbers[c.feature]) for c in segment.scorecard] if segment else [] for segment in policy.segments
        ]

    def explain(self, decision: Sequence[int]) -> Explanation:
        """Explain one evaluated decision row, (decision_columns,) as Python integers."""
        number = decision[Out.SEGMENT]
        segment = self._policy.segments[number]
        assert segment is not None, "a decision was made in a segment that its policy does not define"
        features = self._features(decision)
        guard = Guard(decision[Out.GUARD])
        # Where the profile's status closes the account no cap is asked: what stands in those columns belongs to another decision.
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
            guard_until_ms=None if decision[Out.GUARD_UNTIL] == MISSING else decision[Out.GUARD_UNTIL],
            requirement=None if decision[Out.REQUIREMENT] < 0 else self._tests[number][decision[Out.REQUIREMENT]].code,
            signals=[signal.code for signal in self._signals(decision)],
            bucket=decision[Out.BUCKET],
            days_past_due=decision[Out.DAYS_PAST_DUE],
            warming_up=bool(decision[Out.WARMING_UP]),
            forced=bool(decision[Out.FORCED]),
            reasons=self.reasons(decision, features),
        )

    def _features(self, decision: Sequence[int]) -> list[FeaturePoints]:
        """The scorecard's rows as they were, in its order."""
        return [
            FeaturePoints(row.feature, None if (value := decision[row.value_at]) == MISSING else value, *row.bins[chosen])
            for row, chosen in zip(self._scorecards[decision[Out.SEGMENT]], decision[self._bins_at :], strict=False)
        ]

    def reasons(self, decision: Sequence[int], features: Sequence[FeaturePoints] | None = None) -> list[Reason]:
        """At most ``REASONS_MAX`` reasons, the rule that bound the outcome first; score reasons only where the score alone, by its band's
        limit, would have moved the limit the same way. ``features`` are the scorecard's rows, if they are at hand."""
        kind = Kind(decision[Out.KIND])
        if kind in OF_THEIR_KIND or (kind is Kind.ANNOUNCE and decision[Out.CAUSE] == Announced.RATE):
            return [rule_reason("rate_change" if kind is Kind.ANNOUNCE else kind.name.lower())]
        match kind:
            case Kind.FREEZE | Kind.UNFREEZE | Kind.SUSPECTED_TAKEOVER:
                return self._block_reasons(decision, kind)[:REASONS_MAX]
            case Kind.CLOSE:
                return [rule_reason("closed_by_command" if decision[Out.CAUSE] else "line_ended")]
            case Kind.OVER_BORROWING:
                return [test_reason(self._warnings[decision[Out.SEGMENT]][decision[Out.CAUSE]])]
            case Kind.INCREASE_WITHHELD:
                return self._denial(decision) if decision[Out.GUARD] == Guard.NOT_EARNED else [self._guard_reason(decision)]
            case Kind.COMMAND_REFUSED if decision[Out.CAUSE] == Refused.NOT_RAISED:
                return self._denial(decision) if decision[Out.TARGET_LIMIT] <= decision[before(Col.LIMIT)] else []
            case Kind.COMMAND_REFUSED:
                return [self._guard_reason(decision)] if decision[Out.CAUSE] > Refused.GUARD else []
            case Kind.COMMAND_ACCEPTED | Kind.STANDING_MISMATCH | Kind.BUDGET_SPENT | Kind.BREAKER_TRIPPED:
                return []
        bound = BOUND_NAMES[decision[Out.BOUND_BY]]
        reasons = [] if bound == "band" else [rule_reason(bound)]
        adverse = kind in (Kind.DECREASE, Kind.ANNOUNCE)
        by_score, held = decision[CAPS_AT + Bound.BAND], decision[before(Col.LIMIT)]
        if by_score < held if adverse else by_score > held:
            reasons += self._score_reasons(self._features(decision) if features is None else features, adverse=adverse)
        return reasons[:REASONS_MAX] or [rule_reason("score")]

    def _denial(self, decision: Sequence[int]) -> list[Reason]:
        """Why there is no more to be had: the rule that bound the target, and the score where its band gives no more than what stands."""
        bound = BOUND_NAMES[decision[Out.BOUND_BY]]
        reasons = [] if bound == "band" else [rule_reason(bound)]
        if decision[CAPS_AT + Bound.BAND] <= decision[before(Col.LIMIT)]:
            reasons += self._score_reasons(self._features(decision), adverse=True)
        return reasons[:REASONS_MAX] or [rule_reason("score")]

    def _signals(self, decision: Sequence[int]) -> list[doc.Signal]:
        """The takeover signals that held, most points first, by code where equal."""
        segment = self._policy.segments[decision[Out.SEGMENT]]
        takeover = segment.protection.takeover if segment is not None else None
        held = [signal for place, signal in enumerate(takeover.signals) if decision[Out.SIGNALS] >> place & 1] if takeover else []
        return sorted(held, key=lambda signal: (-signal.points, signal.code))

    def _block_reasons(self, decision: Sequence[int], kind: Kind) -> list[Reason]:
        """The block, and behind a takeover's the signals that held."""
        block = Block.TAKEOVER if kind is Kind.SUSPECTED_TAKEOVER else Block(decision[Out.CAUSE])
        name = block.name.lower()
        if kind is Kind.UNFREEZE:
            return [rule_reason(f"{name}_lifted")]
        signals = self._signals(decision) if block is Block.TAKEOVER else []
        return [rule_reason(name), *map(test_reason, signals)]

    def _guard_reason(self, decision: Sequence[int]) -> Reason:
        """The guard that withheld, or the requirement behind it."""
        requirement = decision[Out.REQUIREMENT]
        if requirement >= 0:
            return test_reason(self._tests[decision[Out.SEGMENT]][requirement])
        return rule_reason(Guard(decision[Out.GUARD]).name.lower())

    def _score_reasons(self, features: Sequence[FeaturePoints], *, adverse: bool) -> list[Reason]:
        """Features by points lost (adverse) or won, most first, by name where equal; none that lost or won nothing."""
        weighed = [(row.best_points - row.points if adverse else row.points, row) for row in features]
        ranked = sorted((-weight, row.feature, row) for weight, row in weighed if weight > 0)
        ending = "low" if adverse else "good"
        return [self._told[row.feature, "missing" if row.value is None else ending] for _, _, row in ranked[:REASONS_MAX]]


def feature_reasons(feature: doc.Feature) -> dict[tuple[str, str], Reason]:
    """The reasons that a feature of the score can give, by its name and their ending: what is not known, adverse, favourable."""
    not_known = {language: NOT_KNOWN[language].format(name) for language, name in feature.text.items()}
    texts = {"missing": not_known, "low": feature.adverse_text, "good": feature.favourable_text}
    return {
        (feature.name, ending): Reason(f"{feature.name}_{ending}", feature.name, dict(sorted(text.items())), feature.about)
        for ending, text in texts.items()
    }


def test_reason(test: doc.Test) -> Reason:
    """The reason that a requirement, warning or signal of the policy gives, in the policy's words."""
    return Reason(test.code, None, dict(sorted(test.text.items())), None)


@cache
def rule_reason(code: str) -> Reason:
    """The reason that a rule, not the score, gives."""
    return Reason(code, None, dict(sorted(RULE_TEXTS[code].items())), None)
