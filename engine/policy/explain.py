"""The explanation of a decision: the very numbers that made it, with their names, and the reasons ranked from them.

Everything here is read off the decision's row (``layout.Out``): the features' values, the bins they fell into, the caps, the guard. Nothing
is computed anew, so an explanation cannot differ from the decision. Points lost by a feature are its best bin minus its bin; points won are
what it added to the score. What is told is the JSON of ``schemas.changes``: the trace as a form to be filled in (``engine.policy.forms``), the
reasons as fragments (``engine.policy.fragments``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from engine.core.fingerprint import band_code
from engine.core.layout import CAPS, CAPS_AT, VALUES_AT, Announced, Block, Bound, Col, Guard, Kind, Out, Refused, before
from engine.core.limits import NO_CAP
from engine.core.reasons import rank
from engine.core.tables import Ints
from engine.policy import document as doc
from engine.policy.compile import CompiledPolicy, requirements_in_order, warnings_in_order
from engine.policy.forms import Form, array, below, digits, has, moment, one_of, record, text, those_that_hold, truth, when
from engine.policy.fragments import NULL, encoded, quoted

REASONS_MAX = 4
ENDINGS: Final = ("missing", "low", "good")  # of the code of a feature's reason: what is not known, adverse, favourable
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

# Whose reasons are those of the target: the rule that bound it, and the score.
BY_TARGET: Final = frozenset(map(int, (Kind.GRANT, Kind.INCREASE, Kind.DECREASE, Kind.OFFER, Kind.OFFER_ACCEPTED, Kind.ANNOUNCE)))
IS_FAVOURABLE: Final = np.isin(np.arange(len(Kind)), (Kind.GRANT, Kind.INCREASE, Kind.OFFER, Kind.OFFER_ACCEPTED))  # by kind


def reason(code: str, text: Mapping[Any, str], feature: str | None = None, about: str | None = None) -> bytes:
    """Why, as the contract has it: a stable code, the feature it speaks of if any, what that is about, the customer's wording by language."""
    return encoded({"code": code, "feature": feature, "about": about, "text": dict(sorted(text.items()))})


RULE_REASONS: Final = {code: reason(code, text) for code, text in RULE_TEXTS.items()}
_BOUNDS: Final = [quoted(bound.name.lower()) for bound in Bound]
_CAPS: Final = [(below(CAPS_AT + cap, NO_CAP), text(f"{_BOUNDS[cap]}:") + digits(CAPS_AT + cap)) for cap in range(CAPS)]
_BOUND_REASONS: Final = [RULE_REASONS.get(bound.name.lower()) for bound in Bound]  # the band by itself is none
_GUARDS: Final = [NULL if guard is Guard.NONE else quoted(guard.name.lower()) for guard in Guard]

# Plain numbers, which are quicker to come by than an enumeration's members
_KIND, _CAUSE, _SEGMENT, _BOUND_BY = int(Out.KIND), int(Out.CAUSE), int(Out.SEGMENT), int(Out.BOUND_BY)
_BAND_CAP, _HELD = int(CAPS_AT + Bound.BAND), int(before(Col.LIMIT))


class Scorecard:
    """A segment's scorecard, laid out for reading decisions off it by the bins that its features fell into (below 0: the value is missing).
    ``trace`` is the form of its rows as they were, in its order."""

    def __init__(self, segment: doc.Segment, policy: CompiledPolicy) -> None:
        rows, numbers = segment.scorecard, policy.feature_numbers
        features = [policy.features_by_name[row.feature] for row in rows]
        bins_at = policy.bins_at
        self.size = len(rows)
        self._rows = rows
        self._bins = slice(bins_at, bins_at + self.size)
        self._by_rank = sorted(range(self.size), key=lambda row: features[row].name, reverse=True)
        self.trace = array([row_told(row, VALUES_AT + numbers[row.feature], bins_at + place) for place, row in enumerate(rows)])
        told = [feature_reasons(feature) for feature in features]
        self._not_known, self._adverse, self._favourable = ([by_ending[ending] for by_ending in told] for ending in ENDINGS)

    def missing(self, decision: Sequence[int]) -> int:
        """Of how many features the value was missing."""
        return decision[self._bins].count(-1)

    def ranks(self, bins: int) -> Ints:
        """(2, size, bins + 1) the rank of each bin of a characteristic where points are won, and where they are lost, the last one for missing:
        the higher comes first, and below ``size`` it has neither won nor lost any."""
        found = np.zeros((2, self.size, bins + 1), np.int64)
        for place, row in enumerate(self._rows):
            points = np.array([b.points for b in row.bins])
            for won, chosen in ((points, slice(len(points))), (row.missing, bins)):
                found[:, place, chosen] = won, np.maximum(points.max(), won) - won
        return found * self.size + np.argsort(self._by_rank)[:, None]

    def reasons(self, decision: Sequence[int], room: int, *, adverse: bool) -> list[bytes]:
        """Features by points lost (adverse) or won, most first, by name where equal: those of the ranks behind the decision."""
        told, bins = self._adverse if adverse else self._favourable, decision[self._bins]
        rows = [self._by_rank[own % self.size] for own in decision[-REASONS_MAX:][:room] if own]
        return [told[row] if bins[row] >= 0 else self._not_known[row] for row in rows]


def row_told(row: doc.Characteristic, value_at: int, bin_at: int) -> Form:
    """A row of the trace: a feature's value, the lower bound of the bin that it fell into, and the points."""
    bounds = [NULL if b.at_least is None else str(b.at_least) for b in row.bins]
    by_bin = [f',"bin_at_least":{bound},"points":{b.points}}}' for bound, b in zip(bounds, row.bins, strict=True)]
    missing = text(f'null,"bin_at_least":null,"points":{row.missing}}}')
    return text(f'{{"feature":{quoted(row.feature)},"value":') + when(below(bin_at, 0), missing, digits(value_at) + one_of(bin_at, by_bin))


class Explained(NamedTuple):
    """A test of the policy: its code, and the reason that it gives, in the policy's words."""

    code: str
    reason: bytes

    @classmethod
    def of(cls, test: doc.Test) -> Explained:
        """A requirement, warning or signal."""
        return cls(quoted(test.code), reason(test.code, test.text))


class Clientele:
    """What explains the decisions of a segment: its scorecard and tests. ``trace`` is the form of an evaluated decision in names: score and its
    parts, target band and limit, what bound it, the guard that withheld."""

    def __init__(self, segment: doc.Segment, policy: CompiledPolicy) -> None:
        self.name = segment.name
        self.scorecard = Scorecard(segment, policy)
        self.tests = [Explained.of(test) for test in (*requirements_in_order(segment), *warnings_in_order(segment))]
        self.warnings = {band_code(w.code): Explained.of(w) for w in segment.protection.over_borrowing}
        takeover = segment.protection.takeover
        signals = enumerate(takeover.signals) if takeover is not None else ()
        in_order = sorted(signals, key=lambda item: (-item[1].points, item[1].code))  # most points first, by code where equal
        self._signals = [(1 << place, Explained.of(signal)) for place, signal in in_order]
        # Where the profile's status closes the account no cap is asked: what stands in those columns belongs to another decision.
        self.trace = record(
            {
                "segment": text(quoted(segment.name)),
                "base_points": text(str(segment.base_points)),
                "features": self.scorecard.trace,
                "score": digits(Out.SCORE),
                "target_band": one_of(Out.TARGET_BAND, (quoted(band.name) for band in segment.bands)),
                "target_limit_minor": digits(Out.TARGET_LIMIT),
                "caps": those_that_hold("{}", _CAPS),
                "bound_by": one_of(Out.BOUND_BY, _BOUNDS),
                "guard": one_of(Out.GUARD, _GUARDS),
                "guard_until": moment(Out.GUARD_UNTIL),
                "requirement": when(below(Out.REQUIREMENT, 0), text(NULL), one_of(Out.REQUIREMENT, (test.code for test in self.tests))),
                "signals": those_that_hold("[]", ((has(Out.SIGNALS, bit), text(signal.code)) for bit, signal in self._signals)),
                "days_past_due": digits(Out.DAYS_PAST_DUE),
                "bucket": digits(Out.BUCKET),
                "warming_up": truth(Out.WARMING_UP),
                "forced": truth(Out.FORCED),
            }
        )

    def signals(self, decision: Sequence[int]) -> list[Explained]:
        """The takeover signals that held, in order."""
        held = decision[Out.SIGNALS]
        return [signal for bit, signal in self._signals if held & bit] if held else []


class Explainer:
    """Explains the decisions made under one policy. A decision is its row, as Python integers."""

    def __init__(self, policy: CompiledPolicy) -> None:
        self._clienteles = [None if segment is None else Clientele(segment, policy) for segment in policy.segments]
        scorecards = [clientele.scorecard for clientele in self._clienteles if clientele is not None]
        bins = max(len(row.bins) for segment in policy.document.segments for row in segment.scorecard)
        self._ranks = np.concatenate([scorecard.ranks(bins) for scorecard in scorecards], axis=1)
        self._firsts = np.cumsum([0, *(0 if clientele is None else clientele.scorecard.size for clientele in self._clienteles)])
        self._bins_at = policy.bins_at

    def clientele(self, decision: Sequence[int]) -> Clientele:
        """The one that a decision was made in."""
        clientele = self._clienteles[decision[_SEGMENT]]
        assert clientele is not None, "a decision was made in a segment that its policy does not define"
        return clientele

    @property
    def traces(self) -> list[Form]:
        """The form of a decision's trace, by segment."""
        return [() if clientele is None else clientele.trace for clientele in self._clienteles]

    def ranked(self, decisions: Ints) -> Ints:
        """Decisions, (n, decision_columns), with the ranks of the features that may be their reasons behind: ``REASONS_MAX`` of each, 0 for
        none."""
        ranks = np.zeros((len(decisions), REASONS_MAX), np.int64)
        rank(self._ranks, self._firsts, decisions, self._bins_at, ~IS_FAVOURABLE[decisions[:, _KIND]], ranks)
        return np.concatenate([decisions, ranks], axis=1)

    def reasons(self, decision: Sequence[int]) -> list[bytes]:
        """At most ``REASONS_MAX`` reasons of a ``ranked`` decision, the rule that bound the outcome first; score reasons only where the score
        alone, by its band's limit, would have moved the limit the same way."""
        kind, cause = decision[_KIND], decision[_CAUSE]
        if kind in BY_TARGET and (kind != Kind.ANNOUNCE or cause != Announced.RATE):
            adverse, by_score, held = not IS_FAVOURABLE[kind], decision[_BAND_CAP], decision[_HELD]
            return self._of_target(decision, by_score=by_score < held if adverse else by_score > held, adverse=adverse)
        if kind in OF_THEIR_KIND or kind == Kind.ANNOUNCE:
            return [RULE_REASONS["rate_change" if kind == Kind.ANNOUNCE else Kind(kind).name.lower()]]
        match kind:
            case Kind.INCREASE_WITHHELD:
                return self._denial(decision) if decision[Out.GUARD] == Guard.NOT_EARNED else [self._of_guard(decision)]
            case Kind.FREEZE | Kind.UNFREEZE | Kind.SUSPECTED_TAKEOVER:
                return self._of_block(decision, kind)[:REASONS_MAX]
            case Kind.CLOSE:
                return [RULE_REASONS["closed_by_command" if cause else "line_ended"]]
            case Kind.OVER_BORROWING:
                return [self.clientele(decision).warnings[cause].reason]
            case Kind.COMMAND_REFUSED if cause == Refused.NOT_RAISED:
                return self._denial(decision) if decision[Out.TARGET_LIMIT] <= decision[_HELD] else []
            case Kind.COMMAND_REFUSED:
                return [self._of_guard(decision)] if cause > Refused.GUARD else []
        return []

    def _of_target(self, decision: Sequence[int], *, by_score: bool, adverse: bool) -> list[bytes]:
        """The rule that bound the target, and, if it was ``by_score``, the features."""
        bound = _BOUND_REASONS[decision[_BOUND_BY]]
        found = [] if bound is None else [bound]
        if by_score:
            found += self.clientele(decision).scorecard.reasons(decision, REASONS_MAX - len(found), adverse=adverse)
        return found or [RULE_REASONS["score"]]

    def _denial(self, decision: Sequence[int]) -> list[bytes]:
        """Why there is no more to be had: the rule that bound the target, and the score where its band gives no more than what stands."""
        return self._of_target(decision, by_score=decision[_BAND_CAP] <= decision[_HELD], adverse=True)

    def _of_block(self, decision: Sequence[int], kind: int) -> list[bytes]:
        """The block, and behind a takeover's the signals that held."""
        block = Block.TAKEOVER if kind == Kind.SUSPECTED_TAKEOVER else Block(decision[_CAUSE])
        name = block.name.lower()
        if kind == Kind.UNFREEZE:
            return [RULE_REASONS[f"{name}_lifted"]]
        signals = self.clientele(decision).signals(decision) if block is Block.TAKEOVER else []
        return [RULE_REASONS[name], *(signal.reason for signal in signals)]

    def _of_guard(self, decision: Sequence[int]) -> bytes:
        """The guard that withheld, or the requirement behind it."""
        requirement = decision[Out.REQUIREMENT]
        if requirement >= 0:
            return self.clientele(decision).tests[requirement].reason
        return RULE_REASONS[Guard(decision[Out.GUARD]).name.lower()]


def feature_reasons(feature: doc.Feature) -> dict[str, bytes]:
    """The reasons that a feature of the score can give by ``ENDINGS``."""
    not_known = {language: NOT_KNOWN[language].format(text) for language, text in feature.text.items()}
    texts: dict[str, Mapping[Any, str]] = dict(zip(ENDINGS, (not_known, feature.adverse_text, feature.favourable_text), strict=True))
    return {ending: reason(f"{feature.name}_{ending}", text, feature.name, feature.about) for ending, text in texts.items()}
