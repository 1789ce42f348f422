"""The explanation of a decision: the very numbers that made it, with their names, and the reasons ranked from them.

Everything here is read off the decision's row (``layout.Out``): the features' values, the bins they fell into, the caps, the guard. Nothing
is computed anew, so an explanation cannot differ from the decision. Points lost by a feature are its best bin minus its bin; points won are
what it added to the score. What is told is the JSON of ``schemas.changes``: the trace as a form to be filled in (``engine.policy.forms``), the
reasons by number: which of them are told says ``engine.core.reasons``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from engine.core.fingerprint import band_code
from engine.core.layout import CAPS, CAPS_AT, VALUES_AT, Block, Bound, Guard, Kind, Out
from engine.core.limits import NO_CAP
from engine.core.reasons import NONE, REASONS_MAX, Ending, Ru, Sg, count_missing, tell_all
from engine.core.tables import Ints
from engine.policy import document as doc
from engine.policy.compile import CompiledPolicy, requirements_in_order, warnings_in_order
from engine.policy.forms import Form, array, below, digits, has, moment, one_of, record, text, those_that_hold, truth, when
from engine.policy.fragments import NULL, encoded, quoted

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


def reason(code: str, text: Mapping[Any, str], feature: str | None = None, about: str | None = None) -> bytes:
    """Why, as the contract has it: a stable code, the feature it speaks of if any, what that is about, the customer's wording by language."""
    return encoded({"code": code, "feature": feature, "about": about, "text": dict(sorted(text.items()))})


RULE_REASONS: Final = {code: reason(code, text) for code, text in RULE_TEXTS.items()}
_BOUNDS: Final = [quoted(bound.name.lower()) for bound in Bound]
_CAPS: Final = [(below(CAPS_AT + cap, NO_CAP), text(f"{_BOUNDS[cap]}:") + digits(CAPS_AT + cap)) for cap in range(CAPS)]
_GUARDS: Final = [NULL if guard is Guard.NONE else quoted(guard.name.lower()) for guard in Guard]


class Scorecard:
    """A segment's scorecard, laid out for reading decisions off it by the bins that its features fell into (below 0: the value is missing).
    ``trace`` is the form of its rows as they were, in its order; ``by_rank`` are its rows in the order in which equal ones are told, the last
    first."""

    def __init__(self, segment: doc.Segment, policy: CompiledPolicy) -> None:
        rows, numbers = segment.scorecard, policy.feature_numbers
        self.features = [policy.features_by_name[row.feature] for row in rows]
        self.size = len(rows)
        self._rows = rows
        self.by_rank = sorted(range(self.size), key=lambda row: self.features[row].name, reverse=True)
        self.trace = array([row_told(row, VALUES_AT + numbers[row.feature], policy.bins_at + place) for place, row in enumerate(rows)])

    def ranks(self, bins: int) -> Ints:
        """(2, size, bins + 1) the rank of each bin of a characteristic where points are won, and where they are lost, the last one for missing:
        the higher comes first, and below ``size`` it has neither won nor lost any."""
        found = np.zeros((2, self.size, bins + 1), np.int64)
        for place, row in enumerate(self._rows):
            points = np.array([b.points for b in row.bins])
            for won, chosen in ((points, slice(len(points))), (row.missing, bins)):
                found[:, place, chosen] = won, np.maximum(points.max(), won) - won
        return found * self.size + np.argsort(self.by_rank)[:, None]


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
    """What explains the decisions of a segment: its scorecard, tests, warnings and signals. ``trace`` is the form of an evaluated decision in
    names: score and its parts, target band and limit, what bound it, the guard that withheld."""

    def __init__(self, segment: doc.Segment, policy: CompiledPolicy) -> None:
        self.scorecard = Scorecard(segment, policy)
        self.tests = [Explained.of(test) for test in (*requirements_in_order(segment), *warnings_in_order(segment))]
        self.warnings = [(band_code(w.code), Explained.of(w)) for w in segment.protection.over_borrowing]
        takeover = segment.protection.takeover
        signals = enumerate(takeover.signals) if takeover is not None else ()
        in_order = sorted(signals, key=lambda item: (-item[1].points, item[1].code))  # most points first, by code where equal
        self.signals = [(1 << place, Explained.of(signal)) for place, signal in in_order]
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
                "signals": those_that_hold("[]", ((has(Out.SIGNALS, bit), text(signal.code)) for bit, signal in self.signals)),
                "days_past_due": digits(Out.DAYS_PAST_DUE),
                "bucket": digits(Out.BUCKET),
                "warming_up": truth(Out.WARMING_UP),
                "forced": truth(Out.FORCED),
            }
        )


class Explainer:
    """Explains the decisions made under one policy. ``texts`` are the reasons that there are, by number."""

    def __init__(self, policy: CompiledPolicy) -> None:
        self._clienteles = [None if segment is None else Clientele(segment, policy) for segment in policy.segments]
        self._bins_at = policy.bins_at
        self.texts: list[bytes] = []
        scorecards = [clientele.scorecard for clientele in self._clienteles if clientele is not None]
        bins = max(len(row.bins) for segment in policy.document.segments for row in segment.scorecard)
        self._ranks = np.concatenate([scorecard.ranks(bins) for scorecard in scorecards], axis=1)
        self._by_rank = np.array([row for scorecard in scorecards for row in scorecard.by_rank], np.int64)
        self._rules = self._rules_told()
        self._segments: Ints = np.zeros((len(self._clienteles), len(Sg)), np.int64)
        self._warnings, self._signals = self._tell_segments()

    @property
    def traces(self) -> list[Form]:
        """The form of a decision's trace, by segment."""
        return [() if clientele is None else clientele.trace for clientele in self._clienteles]

    @property
    def sizes(self) -> Ints:
        """Of how many characteristics the scorecard is, by segment."""
        return self._segments[:, Sg.FIRST_END] - self._segments[:, Sg.FIRST]

    def reasons(self, decisions: Ints) -> Ints:
        """(n, REASONS_MAX) the numbers of the reasons of decisions (n, decision_columns), the rule that bound the outcome first, -1 for none."""
        found = np.zeros((len(decisions), REASONS_MAX), np.int64)
        tables = self._rules, self._ranks, self._by_rank, self._segments, self._warnings, self._signals
        tell_all(*tables, decisions, self._bins_at, found)
        return found

    def missing(self, decisions: Ints) -> Ints:
        """(n,) of how many characteristics the value was missing."""
        found = np.zeros(len(decisions), np.int64)
        count_missing(self._segments, decisions, self._bins_at, found)
        return found

    def _numbered(self, told: Iterable[bytes]) -> int:
        """Take reasons in; the number of the first."""
        first = len(self.texts)
        self.texts += told
        return first

    def _rules_told(self) -> Ints:
        """The table of rules."""
        numbers = {code: self._numbered([told]) for code, told in RULE_REASONS.items()}
        found = np.full(Ru.END, NONE, np.int64)
        found[Ru.SCORE], found[Ru.RATE_CHANGE] = numbers["score"], numbers["rate_change"]
        found[Ru.CLOSED_BY_COMMAND], found[Ru.LINE_ENDED] = numbers["closed_by_command"], numbers["line_ended"]
        for kind in OF_THEIR_KIND:
            found[Ru.KINDS + kind] = numbers[kind.name.lower()]
        for bound in Bound:
            found[Ru.BOUNDS + bound] = numbers.get(bound.name.lower(), NONE)  # the band by itself is none
        for guard in Guard:
            found[Ru.GUARDS + guard] = numbers.get(guard.name.lower(), NONE)  # requirements have reasons of their own
        for block in Block:
            found[Ru.BLOCKS + block] = numbers[block.name.lower()]
            found[Ru.LIFTED + block] = numbers[f"{block.name.lower()}_lifted"]
        return found

    def _tell_segments(self) -> tuple[Ints, Ints]:
        """Fill the segments' table; the warnings and the signals."""
        warnings: list[tuple[int, int]] = []
        signals: list[tuple[int, int]] = []
        characteristics = 0
        for clientele, row in zip(self._clienteles, self._segments, strict=True):
            if clientele is None:
                continue
            row[Sg.FIRST], row[Sg.WARNINGS], row[Sg.SIGNALS] = characteristics, len(warnings), len(signals)
            row[Sg.FEATURES] = self._numbered(told for feature in clientele.scorecard.features for told in feature_reasons(feature))
            row[Sg.TESTS] = self._numbered(test.reason for test in clientele.tests)
            warnings += [(code, self._numbered([warning.reason])) for code, warning in clientele.warnings]
            signals += [(bit, self._numbered([signal.reason])) for bit, signal in clientele.signals]
            characteristics += clientele.scorecard.size
            row[Sg.FIRST_END], row[Sg.WARNINGS_END], row[Sg.SIGNALS_END] = characteristics, len(warnings), len(signals)
        return np.array(warnings, np.int64).reshape(-1, 2), np.array(signals, np.int64).reshape(-1, 2)


def feature_reasons(feature: doc.Feature) -> Iterator[bytes]:
    """The reasons that a feature of the score can give, by ``Ending``."""
    not_known = {language: NOT_KNOWN[language].format(text) for language, text in feature.text.items()}
    texts: tuple[Mapping[Any, str], ...] = not_known, feature.adverse_text, feature.favourable_text
    for ending, text_ in zip(Ending, texts, strict=True):
        yield reason(f"{feature.name}_{ending.name.lower()}", text_, feature.name, feature.about)
