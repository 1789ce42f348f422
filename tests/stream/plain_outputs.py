"""Outputs as plain data, encoded whole: what the engine's values, which are joined of fragments, must equal byte for byte.

Nothing is prepared and nothing remembered here: each decision is put into names by itself, as a dictionary that is then encoded. How a set of
things to do is found and what a draw costs are the engine's own, which other tests speak of.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from engine.core.fingerprint import band_code
from engine.core.layout import (
    CAPS_AT,
    DAY_MS,
    MISSING,
    VALUES_AT,
    Announced,
    Block,
    Bound,
    Col,
    Guard,
    Kind,
    Out,
    Refused,
    Segment,
    Standing,
    after,
    before,
)
from engine.core.limits import NO_CAP
from engine.core.reasons import REASONS_MAX
from engine.core.tables import Se
from engine.policy import document as doc
from engine.policy.advice import MOVES, Option, options_of, smallest_set
from engine.policy.compile import CompiledPolicy, requirements_in_order, warnings_in_order
from engine.policy.cost import example_cost
from engine.policy.explain import NOT_KNOWN, OF_THEIR_KIND, RULE_TEXTS
from engine.policy.outlook import HOLD_TEXTS, Hold
from engine.policy.units import PLACEHOLDERS, Unit, date_of, spoken, unit_of
from engine.state.outputs import Output
from engine.stream.brakes import place_of
from engine.stream.render import IDS, OUTPUT_SEQUENCE_HEADER, PRICED, SHARD_HEADER, TICK, Causes, refusal_name
from engine.stream.tally import NO_BAND, SCORE_BOUNDS, Tally
from schemas import cloudevents as ce
from schemas.topics import ADVISORIES, CHANGES, INPUTS

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
RECORD_KINDS: Final = {"account-profiles": "profile", "limit-commands": "command", "limit-control": "control"}
BOUND_NAMES: Final = [bound.name.lower() for bound in Bound]


# Why


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


# What to do

_CAPS: Final = (Bound.PRODUCT_CAP, Bound.INCOME_CAP, Bound.RELATED_CAP, Bound.APPETITE, Bound.LEGAL_CAP, Bound.CEILING)


def holds_after(policy: doc.Policy, segment: doc.Segment, decision: Sequence[int], today: int) -> list[Hold]:
    """What would hold a higher limit after a grant, increase or decrease decided on policy day ``today``: the least cap, if it leaves no
    room above the target band's limit, then the guards of an increase in their order."""
    cap = min(_CAPS, key=lambda cap: decision[CAPS_AT + cap])
    found = [Hold(cap.name.lower(), None)] if decision[CAPS_AT + cap] <= decision[CAPS_AT + Bound.BAND] else []
    cured_on = None if decision[Out.CURED_ON] == MISSING else decision[Out.CURED_ON]
    in_force = {Guard.BLOCKED: decision[after(Col.BLOCKS)] != 0, Guard.IN_ARREARS: decision[Out.BUCKET] > 0}
    for guard in (Guard.BLOCKED, Guard.IN_ARREARS, Guard.IN_CURE, Guard.COOL_DOWN_UP):
        until = guard_until(guard, policy, segment, last_change=today, cured_on=cured_on)
        if in_force.get(guard) or (until is not None and until > today):
            found.append(Hold(guard.name.lower(), until))
    return found


def guard_until(guard: Guard, policy: doc.Policy, segment: doc.Segment, *, last_change: int | None, cured_on: int | None) -> int | None:
    """The first policy day on which a guard that ends by itself holds no more (docs/policy.md §9.8); None for any other, or without the day
    that it counts from."""
    if guard == Guard.COOL_DOWN_UP and last_change is not None:
        return last_change + segment.cool_down.up_days
    if guard == Guard.IN_CURE and cured_on is not None:
        return cured_on + policy.arrears.cure_days
    return None


class Advice(NamedTuple):
    """One thing to do (``feature`` from ``value`` to ``value_needed`` or beyond, for ``points``), or, without a feature, what would still
    hold the limit, and until when (epoch ms) where it ends by itself."""

    code: str
    feature: str | None
    value: int | None
    value_needed: int | None
    points: int | None
    until: int | None
    text: dict[str, str]


class Lever:
    """A characteristic that a customer can move, and where its bin and value stand in a decision's row."""

    def __init__(self, feature: doc.Feature, characteristic: doc.Characteristic, value_at: int, bin_at: int, unit: Unit) -> None:
        assert feature.advice is not None
        self.feature = feature.name
        self.advice = feature.advice
        self.value_at = value_at
        self.bin_at = bin_at
        self.unit = unit
        self.options = [options_of(characteristic, place, feature.advice.direction) for place in range(len(characteristic.bins))]


def points_to_next_band(segment: doc.Segment, band: int, score: int) -> int | None:
    """What the score lacks for a band above ``band`` to be entered from below; None if it is the highest."""
    enters = [b.lower + b.up_margin for b in segment.bands[band + 1 :] if b.lower is not None]
    return min(enters) - score if enters else None


class Adviser:
    """Advises on the decisions made under one policy."""

    def __init__(self, policy: CompiledPolicy) -> None:
        self._policy = policy
        self._levers = [[] if segment is None else list(self._levers_of(segment)) for segment in policy.segments]

    def _levers_of(self, segment: doc.Segment) -> Iterator[Lever]:
        """The characteristics that a customer can move, in order of their names."""
        bins_at = VALUES_AT + len(self._policy.document.features)
        for place, characteristic in sorted(enumerate(segment.scorecard), key=lambda item: item[1].feature):
            feature = self._policy.features_by_name[characteristic.feature]
            if feature.advice is not None:
                value_at = VALUES_AT + self._policy.feature_numbers[feature.name]
                unit = unit_of(feature, self._policy.document)
                yield Lever(feature, characteristic, value_at, bins_at + place, unit)

    def advise(self, decision: Sequence[int]) -> list[Advice]:
        """What to do after a change of the limit, most points first, and then what would still hold the limit; empty where nothing is advised.
        ``decision`` is its row, (decision_columns,) as Python integers."""
        changes = self.to_do(decision) if decision[Out.KIND] in MOVES else []
        if not changes:
            return []
        segment = self._policy.segments[decision[Out.SEGMENT]]
        assert segment is not None
        today = self._day_of(decision[Out.CLOCK])
        return changes + [self._hold(hold) for hold in holds_after(self._policy.document, segment, decision, today)]

    def to_do(self, decision: Sequence[int]) -> list[Advice]:
        """What lifts an evaluated account by a band, whatever was decided, most points first."""
        number = decision[Out.SEGMENT]
        segment = self._policy.segments[number]
        assert segment is not None, "a decision was made in a segment that its policy does not define"
        need = points_to_next_band(segment, decision[Out.TARGET_BAND], decision[Out.SCORE])
        if need is None:
            return []
        # A missing value is nobody's to move: a negative bin has no options.
        chosen = [(lever, decision[lever.bin_at]) for lever in self._levers[number]]
        levers = [(lever, lever.options[place]) for lever, place in chosen if place >= 0 and lever.options[place]]
        picks = smallest_set([options for _, options in levers], need)
        changes = [self._change(levers[pick.place][0], pick.option, decision) for pick in picks]
        return sorted(changes, key=lambda change: (-(change.points or 0), change.feature))

    def _change(self, lever: Lever, option: Option, decision: Sequence[int]) -> Advice:
        direction, currency = lever.advice.direction, self._policy.document.currency
        bound = option.value_needed if direction == "raise" else option.value_needed + 1
        texts: dict[str, str] = {
            language: text.replace(PLACEHOLDERS[direction], spoken(bound, lever.unit, language, currency))
            for language, text in sorted(lever.advice.text.items())
        }
        code = f"{lever.feature}_{direction}"
        return Advice(code, lever.feature, decision[lever.value_at], option.value_needed, option.points, None, texts)

    def _hold(self, hold: Hold) -> Advice:
        texts = sorted(HOLD_TEXTS[hold.code].items())
        if hold.until_day is None:
            return Advice(hold.code, None, None, None, None, None, dict(texts))
        until = hold.until_day * DAY_MS - self._policy.document.utc_offset_minutes * 60_000
        day = date_of(hold.until_day)
        return Advice(hold.code, None, None, None, None, until, {language: text.format(day=day) for language, text in texts})

    def _day_of(self, at_ms: int) -> int:
        return (at_ms + self._policy.document.utc_offset_minutes * 60_000) // DAY_MS


# The whole


def instant(at_ms: int) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return (EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant_or_none(at_ms: int) -> str | None:
    """``instant``, None for MISSING."""
    return None if at_ms == MISSING else instant(at_ms)


def named_by(names: Mapping[int, str], code: int | None) -> str | None:
    """The name of a band or tier by its code; one that the policy does not know is told by the code."""
    return None if code is None else names.get(code, f"unknown-{code:x}")


def limit_in_force(decision: Sequence[int], at: Out) -> int:
    """The limit in force before or after a decision: the temporary one while there is one."""
    until = decision[at + Col.TEMPORARY_UNTIL - Col.STANDING]
    return decision[at + (Col.TEMPORARY_LIMIT if until > decision[Out.CLOCK] else Col.LIMIT) - Col.STANDING]


def identity(decision: Sequence[int], kind: Kind, cause: Cause) -> str:
    """What an output is, once for all of an account's: a change by its sequence number, an answer by its command, any other advisory by its kind,
    its moment and its cause."""
    if kind < Kind.OVER_BORROWING:
        return str(decision[Out.SEQUENCE])
    return f"result:{cause.id}" if kind >= Kind.COMMAND_ACCEPTED else f"{kind.name.lower()}:{decision[Out.CLOCK]}:{cause.id}"


def reasons_of(reasons: Sequence[Reason]) -> list[dict[str, Any]]:
    """Reasons as the contract has them."""
    return [{"code": reason.code, "feature": reason.feature, "about": reason.about, "text": reason.text} for reason in reasons]


class Cause(NamedTuple):
    """What was decided on: a record, or that time went by (no topic, ``at_ms``)."""

    kind: str
    topic: str | None
    partition: int | None
    offset: int | None
    id: str
    occurred_at_ms: int


def causes_of(causes: Causes, shard: int) -> Iterator[Cause]:
    """Causes one by one."""
    for place, offset, own_id, at_ms in zip(causes.places, causes.offsets, causes.ids, causes.occurred_at_ms, strict=True):
        assert own_id is not None
        if place == TICK:
            yield Cause("tick", None, None, None, own_id.decode(), int(at_ms))
        else:
            name = INPUTS[place].name
            yield Cause(RECORD_KINDS.get(name, "event"), name, shard, int(offset), own_id.decode(), int(at_ms))


def cause_of(cause: Cause) -> dict[str, Any]:
    """What was decided on, as the contract has it."""
    told: dict[str, Any] = {"kind": cause.kind, "topic": cause.topic, "partition": cause.partition, "offset": cause.offset, "id": cause.id}
    return told if cause.kind != "tick" else {"kind": cause.kind, "id": cause.id, "at": instant(cause.occurred_at_ms)}


class PlainRenderer:
    """Renders the decisions of one shard under one policy."""

    def __init__(self, policy: CompiledPolicy, application: str, shard: int) -> None:
        self._policy = policy
        self._explainer = Explainer(policy)
        self._adviser = Adviser(policy)
        self._same_headers = (
            (ce.SOURCE, f"/{application}".encode()),
            (ce.SPEC, ce.SPEC_VERSION.encode()),
            (ce.CONTENT_TYPE, ce.JSON.encode()),
            (SHARD_HEADER, str(shard).encode()),
        )
        document = policy.document
        self._reference = {"name": document.policy, "version": document.version, "hash": policy.hash}

    def render(self, decision: Sequence[int], account: bytes, cause: Cause, output_sequence: int) -> Output:
        """One decision as the record that announces it; ``output_sequence`` counts the shard's outputs."""
        kind = Kind(decision[Out.KIND])
        is_change = kind < Kind.OVER_BORROWING
        body = self._change(decision, kind) if is_change else self._advisory(decision, kind, cause)
        event_id = str(uuid.uuid5(IDS, f"{account.decode()}:{identity(decision, kind, cause)}"))
        value = {
            "event_id": event_id,
            "account_id": account.decode(),
            "occurred_at": instant(cause.occurred_at_ms),
            **body,
            "cause": cause_of(cause),
            "policy": self._reference,
        }
        headers = (
            (ce.ID, event_id.encode()),
            *self._same_headers,
            (ce.TYPE, f"{ce.TYPE_PREFIX}.{'limit-change' if is_change else 'advisory'}.{body['kind']}.v1".encode()),
            (ce.SUBJECT, account),
            (ce.PARTITION_KEY, account),
            (ce.CAUSATION_ID, cause.id.encode()),
            (OUTPUT_SEQUENCE_HEADER, b"%d" % output_sequence),
        )
        return Output(CHANGES.name if is_change else ADVISORIES.name, account, to_json(value), headers)

    def _advisory(self, decision: Sequence[int], kind: Kind, cause: Cause) -> dict[str, Any]:
        """What an advisory of a kind tells."""
        match kind:
            case Kind.COMMAND_ACCEPTED | Kind.COMMAND_REFUSED:
                return self._command_result(decision, kind, cause)
            case Kind.STANDING_MISMATCH:
                return {
                    "kind": "standing_mismatch",
                    "sequence": decision[Out.SEQUENCE],
                    "limit_minor": limit_in_force(decision, Out.NEW),
                    "applied_sequence": decision[Out.APPLIED_SEQUENCE],
                    "applied_limit_minor": decision[Out.APPLIED_LIMIT],
                }
            case Kind.BUDGET_SPENT | Kind.BREAKER_TRIPPED:
                return {"kind": kind.name.lower(), **self._brake(decision, kind)}
        told: dict[str, Any] = {"kind": kind.name.lower()}
        if kind is Kind.INCREASE_WITHHELD:
            told |= {
                "guard": Guard(decision[Out.GUARD]).name.lower(),
                "target_limit_minor": decision[Out.TARGET_LIMIT],
                "until": instant_or_none(decision[Out.GUARD_UNTIL]),
            }
        return told | {"reasons": reasons_of(self._explainer.reasons(decision))}

    def _brake(self, decision: Sequence[int], kind: Kind) -> dict[str, Any]:
        """Where and when a brake has bitten, and what was counted by then."""
        segment = Segment(decision[Out.SEGMENT]).name.lower()
        told = {"segment": segment, "day": date_of(decision[Out.BRAKE_DAY])}
        if kind is Kind.BREAKER_TRIPPED:
            return told | {"evaluated": decision[Out.BRAKE_EVALUATED], "lowered": decision[Out.BRAKE_LOWERED]}
        share = int(self._policy.program[place_of(self._policy.program, segment) + Se.BUDGET])
        return told | {"share_minor": share, "raised_minor": decision[Out.BRAKE_RAISED]}

    def _command_result(self, decision: Sequence[int], kind: Kind, cause: Cause) -> dict[str, Any]:
        refused = decision[Out.CAUSE]
        told = {
            "kind": "command_result",
            "command_id": cause.id,
            "result": "accepted" if kind is Kind.COMMAND_ACCEPTED else "refused",
            "reason": refusal_name(refused),
            "sequence": decision[Out.SEQUENCE],
        }
        if refused < Refused.OFFER_STALE:
            return told
        explanation = self._explainer.explain(decision)
        advice = [advice_of(advice) for advice in self._adviser.to_do(decision)]
        return told | {"reasons": reasons_of(explanation.reasons), "advice": advice, "trace": trace_of(explanation)}

    def _change(self, decision: Sequence[int], kind: Kind) -> dict[str, Any]:
        explanation = self._explainer.explain(decision)
        cost = self.cost_of(decision) if kind in PRICED else None
        return {
            "sequence": decision[Out.SEQUENCE],
            "kind": kind.name.lower(),
            "previous": self.standing(decision, Out.PREVIOUS),
            "standing": self.standing(decision, Out.NEW),
            "score": explanation.score,
            "trace": trace_of(explanation),
            "reasons": reasons_of(explanation.reasons),
            "advice": [advice_of(advice) for advice in self._adviser.advise(decision)],
            **({"cost": cost} if cost is not None else {}),
        }

    def cost_of(self, decision: Sequence[int]) -> dict[str, Any] | None:
        """What the segment's example draw costs at the tier after a decision; None without a tier."""
        return self._costs.get((decision[Out.SEGMENT], decision[after(Col.RATE_TIER)]))

    @cached_property
    def _costs(self) -> dict[tuple[int, int], dict[str, Any]]:
        """The cost of each segment's example draw, by segment number and tier code."""
        found = {}
        for number, segment in enumerate(self._policy.segments):
            if segment is None or segment.rates is None:
                continue
            example = segment.rates.example
            for tier in segment.rates.tiers:
                cost = example_cost(example, tier)
                found[number, band_code(tier.name)] = {
                    "draw_minor": example.draw_minor,
                    "term_months": example.term_months,
                    "plan": example.plan,
                    "apr_effective_bp": cost.apr_effective_bp,
                    "apr_nominal_bp": cost.apr_nominal_bp,
                    "total_payable_minor": cost.total_payable_minor,
                    "total_cost_minor": cost.total_cost_minor,
                }
        return found

    def standing(self, decision: Sequence[int], at: Out) -> dict[str, Any]:
        """The standing before (``Out.PREVIOUS``) or after (``Out.NEW``) a decision."""

        def part(column: Col) -> int | None:
            value = decision[at + column - Col.STANDING]
            return None if value == MISSING else value

        def until(limit: Col, end: Col, name: str) -> dict[str, Any] | None:
            return None if part(end) is None else {"limit_minor": part(limit), name: instant_or_none(decision[at + end - Col.STANDING])}

        blocks = decision[at + Col.BLOCKS - Col.STANDING]
        state = Standing(decision[at])
        named = [block.name.lower() for block in Block if blocks >> block & 1] if blocks else []
        exposure, as_of = decision[Out.EXPOSURE], decision[Out.EXPOSURE_AS_OF]
        offer, pending_rate = part(Col.OFFER), part(Col.PENDING_RATE)
        hold = part(Col.HOLD_UNTIL)
        return {
            "state": state.name.lower(),
            "limit_minor": part(Col.LIMIT),
            "limit_in_force_minor": limit_in_force(decision, at),
            "currency": self._policy.document.currency,
            "band": named_by(self._policy.bands_by_code, part(Col.BAND)),
            "rate_tier": named_by(self._policy.tiers_by_code, part(Col.RATE_TIER)),
            "drawing_allowed": state is Standing.OPEN and not named,
            "blocks": named,
            "ceiling_minor": part(Col.CEILING),
            "temporary": until(Col.TEMPORARY_LIMIT, Col.TEMPORARY_UNTIL, "until"),
            "offer": None
            if offer is None
            else {"offer_id": f"offer-{offer}", **(until(Col.OFFER_LIMIT, Col.OFFER_UNTIL, "expires_at") or {})},
            "pending": until(Col.PENDING_LIMIT, Col.PENDING_AT, "effective_at"),
            "pending_rate": None
            if pending_rate is None
            else {
                "rate_tier": named_by(self._policy.tiers_by_code, pending_rate),
                "effective_at": instant_or_none(decision[at + Col.PENDING_RATE_AT - Col.STANDING]),
            },
            "hold_until": None if hold is None or hold <= decision[Out.CLOCK] else instant(hold),
            "override": until(Col.OVERRIDE_LIMIT, Col.OVERRIDE_UNTIL, "until")
            if (part(Col.OVERRIDE_UNTIL) or MISSING) > decision[Out.CLOCK]
            else None,
            "exposure_minor": None if exposure == MISSING else exposure,
            "exposure_as_of": instant_or_none(as_of),
        }


def advice_of(advice: Advice) -> dict[str, Any]:
    """One piece of advice as the contract has it."""
    return {
        "code": advice.code,
        "feature": advice.feature,
        "value": advice.value,
        "value_needed": advice.value_needed,
        "points": advice.points,
        "until": None if advice.until is None else instant(advice.until),
        "text": advice.text,
    }


def trace_of(explanation: Explanation) -> dict[str, Any]:
    """An explanation as the contract's trace."""
    return {
        "segment": explanation.segment,
        "base_points": explanation.base_points,
        "features": [
            {"feature": row.feature, "value": row.value, "bin_at_least": row.bin_at_least, "points": row.points}
            for row in explanation.features
        ],
        "score": explanation.score,
        "target_band": explanation.target_band,
        "target_limit_minor": explanation.target_limit_minor,
        "caps": explanation.caps,
        "bound_by": explanation.bound_by,
        "guard": explanation.guard,
        "guard_until": None if explanation.guard_until_ms is None else instant(explanation.guard_until_ms),
        "requirement": explanation.requirement,
        "signals": explanation.signals,
        "days_past_due": explanation.days_past_due,
        "bucket": explanation.bucket,
        "warming_up": explanation.warming_up,
        "forced": explanation.forced,
    }


def counted(value: Mapping[str, Any]) -> Tally:
    """What is counted of a change or an advisory as it was told."""
    found = Tally()
    if "standing" not in value:
        if value["kind"] == "increase_withheld":
            found.withheld[value["guard"]] += 1
        return found
    trace, previous, band = value["trace"], value["previous"]["band"] or NO_BAND, value["standing"]["band"] or NO_BAND
    segment, missing = trace["segment"], [row["value"] for row in trace["features"]].count(None)
    if previous != band:
        found.band_changes[segment, previous, band] += 1
    if trace["guard"] != "closed":  # the profile's status closed the line: nothing was judged
        place = sum(bound < trace["score"] for bound in SCORE_BOUNDS)
        found.scores[segment] = [int(number == place) for number in range(len(SCORE_BOUNDS) + 1)]
        found.arrears[segment, trace["bucket"]] += 1
        found.features[segment, "known"] += len(trace["features"]) - missing
        found.features[segment, "missing"] += missing
    return found
