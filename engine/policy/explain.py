"""The explanation of a decision: the very numbers that made it, with their names, and the reasons ranked from them.

Everything here is read off the decision's row (``layout.Out``): the features' values, the bins they fell into, the caps, the guard. Nothing
is computed anew, so an explanation cannot differ from the decision. Points lost by a feature are its best bin minus its bin; points won are
what it added to the score. What is told is the JSON of ``schemas.changes``, made of fragments (``engine.policy.fragments``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import getitem, itemgetter
from typing import Any, Final, NamedTuple

from engine.core.fingerprint import band_code
from engine.core.layout import CAPS_AT, VALUES_AT, Announced, Block, Bound, Col, Guard, Kind, Out, Refused, before
from engine.core.limits import NO_CAP
from engine.policy import document as doc
from engine.policy.compile import CompiledPolicy, requirements_in_order, warnings_in_order
from engine.policy.fragments import BOOLEANS, NULL, encoded, moment, quoted

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
ADVERSE: Final = frozenset(map(int, (Kind.DECREASE, Kind.ANNOUNCE)))


def reason(code: str, text: Mapping[Any, str], feature: str | None = None, about: str | None = None) -> bytes:
    """Why, as the contract has it: a stable code, the feature it speaks of if any, what that is about, the customer's wording by language."""
    return encoded({"code": code, "feature": feature, "about": about, "text": dict(sorted(text.items()))})


RULE_REASONS: Final = {code: reason(code, text) for code, text in RULE_TEXTS.items()}
_BOUNDS: Final = [quoted(bound.name.lower()) for bound in Bound]
_CAP_KEYS: Final = [f"{bound}:" for bound in _BOUNDS]
_BOUND_REASONS: Final = [RULE_REASONS.get(bound.name.lower()) for bound in Bound]  # the band by itself is none
_GUARDS: Final = [NULL if guard is Guard.NONE else quoted(guard.name.lower()) for guard in Guard]

# Plain numbers, which are quicker to come by than an enumeration's members
_KIND, _CAUSE, _SEGMENT, _BOUND_BY = int(Out.KIND), int(Out.CAUSE), int(Out.SEGMENT), int(Out.BOUND_BY)
_TRACE_END, _BAND_CAP, _HELD = int(Out.GUARD_UNTIL) + 1, int(CAPS_AT + Bound.BAND), int(before(Col.LIMIT))


def columns(places: Sequence[int]) -> Callable[[Sequence[int]], tuple[int, ...]]:
    """What takes these columns of a decision's row."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda decision: tuple(decision[place] for place in places)


class Scorecard:
    """A segment's scorecard, laid out for reading decisions off it by the bins that its features fell into (below 0: the value is missing).

    A bin gives a row of the trace its ending, from behind the feature's value to where the next one's stands. As a reason it has a rank: the
    higher comes first, and below the number of rows it has neither won nor lost points.
    """

    def __init__(self, segment: doc.Segment, policy: CompiledPolicy) -> None:
        rows, numbers = segment.scorecard, policy.feature_numbers
        features = [policy.features_by_name[row.feature] for row in rows]
        bins_at = VALUES_AT + len(policy.document.features)
        self.size = len(rows)
        self._bins = slice(bins_at, bins_at + self.size)
        self._values = columns([VALUES_AT + numbers[feature.name] for feature in features])
        self._by_rank = sorted(range(self.size), key=lambda row: features[row].name, reverse=True)
        beginnings = [f'{{"feature":{quoted(feature.name)},"value":' for feature in features]
        self._beginning = "".join(beginnings[:1])
        self._endings, self._lost, self._won = [], [], []
        for place, row in enumerate(rows):
            best, rank = max(b.points for b in row.bins), self._by_rank.index(place)
            next_one = "".join(f",{beginning}" for beginning in beginnings[place + 1 : place + 2])
            bounds = [NULL if b.at_least is None else str(b.at_least) for b in row.bins]
            # By bin, the last one for missing
            points = [*(b.points for b in row.bins), row.missing]
            heads = [*(f',"bin_at_least":{bound},' for bound in bounds), 'null,"bin_at_least":null,']
            self._endings.append([f'{head}"points":{p}}}{next_one}' for head, p in zip(heads, points, strict=True)])
            self._lost.append([(max(best, p) - p) * self.size + rank for p in points])
            self._won.append([p * self.size + rank for p in points])
        told = [feature_reasons(feature) for feature in features]
        self._not_known, self._adverse, self._favourable = ([by_ending[ending] for by_ending in told] for ending in ENDINGS)

    def missing(self, decision: Sequence[int]) -> int:
        """Of how many features the value was missing."""
        return decision[self._bins].count(-1)

    def trace(self, decision: Sequence[int]) -> str:
        """The rows as they were, in the scorecard's order."""
        rows = zip(self._values(decision), self._endings, decision[self._bins], strict=True)
        return self._beginning + "".join([f"{value}{endings[place]}" if place >= 0 else endings[place] for value, endings, place in rows])

    def reasons(self, decision: Sequence[int], room: int, *, adverse: bool) -> list[bytes]:
        """Features by points lost (adverse) or won, most first, by name where equal; none that lost or won nothing."""
        ranks, told = (self._lost, self._adverse) if adverse else (self._won, self._favourable)
        bins, size, by_rank = decision[self._bins], self.size, self._by_rank
        weighed = [rank for rank in map(getitem, ranks, bins) if rank >= size]
        weighed.sort(reverse=True)
        rows = [by_rank[rank % size] for rank in weighed[:room]]
        return [told[row] if bins[row] >= 0 else self._not_known[row] for row in rows]


class Explained(NamedTuple):
    """A test of the policy: its code, and the reason that it gives, in the policy's words."""

    code: str
    reason: bytes

    @classmethod
    def of(cls, test: doc.Test) -> Explained:
        """A requirement, warning or signal."""
        return cls(quoted(test.code), reason(test.code, test.text))


class Clientele:
    """What explains the decisions of a segment: its names, scorecard and tests."""

    def __init__(self, segment: doc.Segment, policy: CompiledPolicy) -> None:
        self.name = segment.name
        self.scorecard = Scorecard(segment, policy)
        self.heading = f'{{"segment":{quoted(segment.name)},"base_points":{segment.base_points},"features":['
        self.bands = [quoted(band.name) for band in segment.bands]
        self.tests = [Explained.of(test) for test in (*requirements_in_order(segment), *warnings_in_order(segment))]
        self.warnings = {band_code(w.code): Explained.of(w) for w in segment.protection.over_borrowing}
        takeover = segment.protection.takeover
        signals = enumerate(takeover.signals) if takeover is not None else ()
        in_order = sorted(signals, key=lambda item: (-item[1].points, item[1].code))  # most points first, by code where equal
        self._signals = [(1 << place, Explained.of(signal)) for place, signal in in_order]

    def signals(self, decision: Sequence[int]) -> list[Explained]:
        """The takeover signals that held, in order."""
        held = decision[Out.SIGNALS]
        return [signal for bit, signal in self._signals if held & bit] if held else []


class Explainer:
    """Explains the decisions made under one policy. A decision is its row, (decision_columns,) as Python integers."""

    def __init__(self, policy: CompiledPolicy) -> None:
        self._clienteles = [None if segment is None else Clientele(segment, policy) for segment in policy.segments]

    def clientele(self, decision: Sequence[int]) -> Clientele:
        """The one that a decision was made in."""
        clientele = self._clienteles[decision[_SEGMENT]]
        assert clientele is not None, "a decision was made in a segment that its policy does not define"
        return clientele

    def trace(self, decision: Sequence[int]) -> str:
        """An evaluated decision in names: score and its parts, target band and limit, what bound it, the guard that withheld."""
        own = self.clientele(decision)
        (_, score, band, target, bound, bucket, past_due, is_warming_up, is_forced, guard, requirement, signals, guard_until) = decision[
            _SEGMENT:_TRACE_END
        ]
        # Where the profile's status closes the account no cap is asked: what stands in those columns belongs to another decision.
        caps = ",".join([f"{key}{cap}" for key, cap in zip(_CAP_KEYS, decision[CAPS_AT:VALUES_AT], strict=False) if cap < NO_CAP])
        held = ",".join([signal.code for signal in own.signals(decision)]) if signals else ""
        return (
            f'{own.heading}{own.scorecard.trace(decision)}],"score":{score},"target_band":{own.bands[band]},"target_limit_minor":{target},'
            f'"caps":{{{caps}}},"bound_by":{_BOUNDS[bound]},"guard":{_GUARDS[guard]},"guard_until":{moment(guard_until)},'
            f'"requirement":{NULL if requirement < 0 else own.tests[requirement].code},"signals":[{held}],'
            f'"days_past_due":{past_due},"bucket":{bucket},"warming_up":{BOOLEANS[is_warming_up != 0]},"forced":{BOOLEANS[is_forced != 0]}}}'
        )

    def reasons(self, decision: Sequence[int]) -> list[bytes]:
        """At most ``REASONS_MAX`` reasons, the rule that bound the outcome first; score reasons only where the score alone, by its band's
        limit, would have moved the limit the same way."""
        kind, cause = decision[_KIND], decision[_CAUSE]
        if kind in BY_TARGET and (kind != Kind.ANNOUNCE or cause != Announced.RATE):
            adverse, by_score, held = kind in ADVERSE, decision[_BAND_CAP], decision[_HELD]
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
