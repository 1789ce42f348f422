"""What is told of a decision is the decision's own arithmetic: on decisions that the kernel makes of generated policies and logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.layout import Block, Bound, Guard, Kind, Out
from engine.core.tables import Ints
from engine.policy.compile import CompiledPolicy
from engine.policy.document import About, Bin, Characteristic, Policy, Segment
from engine.policy.explain import NOT_KNOWN, OF_THEIR_KIND, RULE_TEXTS, Explainer
from engine.policy.forms import Forms
from schemas.changes import FeatureTrace, Reason
from schemas.changes import Trace as Explanation
from tests.core.bridge import Kernel
from tests.generate import cases, seeded_log, seeded_policy
from tests.oracle.decide import Emission, Trace
from tests.oracle.records import Record

ANSWERS: Final = (Kind.COMMAND_ACCEPTED, Kind.COMMAND_REFUSED)
REQUIREMENT_GUARDS: Final = ("not_eligible", "identity_lapsed", "ability_not_fresh", "over_indebted")  # told in the policy's words
SEEDS: Final = range(100)
RECORDS: Final = 150
Case = tuple[Policy, Sequence[Record]]


@dataclass(frozen=True)
class Told:
    """A change, as the bridge reads it off the decision's row, and what the engine says of it."""

    policy: Policy
    segment: Segment
    emission: Emission
    trace: Trace
    explanation: Explanation
    reasons: list[Reason]

    @property
    def kind(self) -> str:
        return self.emission.kind

    @property
    def is_denial(self) -> bool:
        """Whether an application comes to nothing."""
        return self.kind == "increase_withheld" and self.trace.guard == "not_earned"

    @property
    def moves_the_limit(self) -> bool:
        """Whether the limit changes, or is to: by itself, by an offer, after a notice; or was asked for."""
        is_announced = self.kind == "announce" and self.emission.cause == "limit"
        return is_announced or self.is_denial or self.kind in ("grant", "increase", "decrease", "offer", "offer_accepted")

    @property
    def is_adverse(self) -> bool:
        return self.is_denial or self.kind in ("decrease", "announce")

    @property
    def rules(self) -> list[Reason]:
        return [reason for reason in self.reasons if reason.feature is None]

    @property
    def scored(self) -> list[Reason]:
        return [reason for reason in self.reasons if reason.feature is not None]

    @property
    def weights(self) -> list[int]:
        """What each characteristic counts as a reason, by the policy's own words: points added, or lost against the best bin."""
        rows = zip(self.segment.scorecard, self.trace.points, strict=True)
        if self.is_adverse:
            return [max(b.points for b in characteristic.bins) - points for characteristic, points in rows]
        return self.trace.points

    @property
    def score_alone(self) -> bool:
        """Would the score's band by itself have moved the limit in the direction in which it went, or left it where it is?"""
        band = next(b for b in self.segment.bands if b.name == self.trace.target_band)
        before = self.emission.previous.limit
        if self.is_denial:
            return band.limit_minor <= before
        return band.limit_minor < before if self.is_adverse else band.limit_minor > before


def spoken(policy: Policy) -> Policy:
    """The policy with texts: each its own, and not each in every language; of most it says what they are about."""
    said = [
        {key: {language: f"{key} of {f.name} in {language}" for language in languages} for key, languages in texts.items()}
        for f, texts in zip(policy.features, _languages(), strict=False)
    ]
    abouts = cycle((None, *get_args(About)))
    features = [f.model_copy(update={**texts, "about": next(abouts)}) for f, texts in zip(policy.features, said, strict=True)]
    return policy.model_copy(update={"features": tuple(features)})


def _languages() -> Iterator[dict[str, tuple[str, ...]]]:
    while True:
        yield {"text": ("zh", "en"), "favourable_text": ("zh", "en"), "adverse_text": ("zh", "en")}
        yield {"text": ("zh", "en"), "favourable_text": ("en",), "adverse_text": ("zh",)}
        yield {"text": ("en",), "favourable_text": (), "adverse_text": ("zh", "en")}


def told(case: Case) -> list[Told]:
    """Every change that the kernel makes of a log."""
    policy, log = spoken(case[0]), case[1]
    kernel = Kernel(policy, log)
    reader = Reader(kernel.policy)
    found = []
    for decision in kernel.take(0, len(log), room=1024):
        if decision[Out.KIND] not in ANSWERS:
            trace = kernel.trace(decision)
            segment = next(s for s in policy.segments if s.name == trace.segment)
            found.append(Told(policy, segment, kernel.emission(decision), trace, *reader.read(decision)))
    return found


class Reader:
    """Reads what is told of a policy's decisions, as a consumer does."""

    def __init__(self, policy: CompiledPolicy) -> None:
        self.explainer = Explainer(policy)
        self.traces = Forms(self.explainer.traces)

    def read(self, decision: Ints) -> tuple[Explanation, list[Reason]]:
        trace = self.traces.fill(decision[None], decision[None, [Out.SEGMENT]])[0]
        assert trace is not None
        reasons = [self.explainer.texts[number] for number in self.explainer.reasons(decision[None])[0] if number >= 0]
        return Explanation.model_validate_json(trace), [Reason.model_validate_json(reason) for reason in reasons]


@pytest.fixture(scope="module")
def seeded() -> list[Told]:
    """The changes of large cases."""
    policies = [(seeded_policy(seed), seed) for seed in SEEDS]
    return [change for policy, seed in policies for change in told((policy, seeded_log(policy, seed, RECORDS)))]


def in_bin(characteristic: Characteristic, value: int | None) -> Bin:
    """Where a value falls, by the words of docs/policy.md §7."""
    if value is None:
        return Bin(at_least=None, points=characteristic.missing)
    return [b for b in characteristic.bins if b.at_least is None or b.at_least <= value][-1]


def assert_arithmetic(change: Told) -> None:
    """The score is the base and the listed points, and each row of the list is what the scorecard says of the feature's value."""
    explanation, segment = change.explanation, change.segment
    assert (explanation.segment, explanation.base_points) == (segment.name, segment.base_points)
    assert explanation.score == explanation.base_points + sum(row.points for row in explanation.features) == change.trace.score
    values = dict(zip((f.name for f in change.policy.features), change.trace.values, strict=True))
    expected = []
    for characteristic in segment.scorecard:
        value = values[characteristic.feature]
        chosen = in_bin(characteristic, value)
        row = {"feature": characteristic.feature, "value": value, "bin_at_least": chosen.at_least, "points": chosen.points}
        expected.append(FeatureTrace.model_validate(row))
    assert explanation.features == tuple(expected)


def assert_trace(change: Told) -> None:
    """The rest of the evaluation, by name; of an account that ended the target means nothing."""
    explanation, trace = change.explanation, change.trace
    assert (explanation.days_past_due, explanation.bucket) == (trace.days_past_due, trace.bucket)
    assert (explanation.warming_up, explanation.guard) == (trace.warming_up, trace.guard)
    if explanation.guard == "closed":
        assert explanation.caps == {}, "no cap was asked, and those of another account are not told"
    elif change.kind != "close":
        told_of = explanation.target_band, explanation.target_limit_minor, explanation.bound_by, explanation.caps, explanation.forced
        assert told_of == (trace.target_band, trace.target, trace.bound_by, trace.caps, trace.forced)


def assert_reasons(change: Told) -> None:
    """Which reasons there are, and in which order: docs/policy.md §11."""
    reasons, codes = change.reasons, [reason.code for reason in change.reasons]
    assert len(reasons) <= 4
    assert len(set(codes)) == len(codes)
    if not change.moves_the_limit:
        assert codes == expected_codes(change)
        assert change.scored == []
        return
    bound = change.trace.bound_by
    rules = [] if bound == "band" else [bound]
    assert [reason.code for reason in change.rules] == (rules if rules or change.scored else ["score"]), "no change is without a reason"
    assert reasons == [*change.rules, *change.scored], "the rule comes first"
    weights = dict(zip((c.feature for c in change.segment.scorecard), change.weights, strict=True))
    listed = [reason.feature for reason in change.scored if reason.feature is not None]
    assert all(weights[feature] > 0 for feature in listed)
    assert listed == sorted(listed, key=lambda feature: (-weights[feature], feature))
    others = [weight for feature, weight in weights.items() if weight > 0 and feature not in listed]
    if not change.score_alone:
        assert listed == []
    elif others:
        assert len(reasons) == 4, "none is left out while there is room"
        assert max(others) <= min(weights[feature] for feature in listed), "and none that weighs more"


def expected_codes(change: Told) -> list[str]:
    """Of what does not move the limit: the rule, and of a takeover the signals that held, those of most points first."""
    cause, trace = change.emission.cause, change.trace
    takeover = change.segment.protection.takeover
    points = {signal.code: signal.points for signal in takeover.signals} if takeover else {}
    signals = sorted(change.explanation.signals, key=lambda code: (-points[code], code))
    match change.kind:
        case "freeze" | "suspected_takeover":
            return [cause or "takeover", *(signals if cause in ("takeover", None) else [])][:4]
        case "unfreeze":
            return [f"{cause}_lifted"]
        case "close":
            return ["line_ended" if cause is None else "closed_by_command"]
        case "over_borrowing":
            return [str(cause)]
        case "increase_withheld":
            return [trace.requirement or str(trace.guard)]
        case "standing_mismatch" | "budget_spent" | "breaker_tripped":
            return []
        case "announce":
            return ["rate_change"]
    return [change.kind]


def assert_words(change: Told) -> None:
    """A rule's texts are the engine's, a feature's are the policy's; languages in order."""
    features = {feature.name: feature for feature in change.policy.features}
    values = {row.feature: row.value for row in change.explanation.features}
    for reason in change.reasons:
        if reason.feature is None:
            assert reason.text == RULE_TEXTS.get(reason.code, {}), "generated tests have no texts"
            assert reason.about is None
        else:
            feature, is_adverse, is_missing = features[reason.feature], change.is_adverse, values[reason.feature] is None
            suffix = "missing" if is_missing else "low" if is_adverse else "good"
            assert reason.code == f"{feature.name}_{suffix}"
            assert reason.about == feature.about
            if is_missing:
                assert reason.text == {language: NOT_KNOWN[language].format(name) for language, name in feature.text.items()}
            else:
                assert reason.text == (feature.adverse_text if is_adverse else feature.favourable_text)
        assert list(reason.text) == sorted(reason.text)


def assert_explained(change: Told) -> None:
    for each in (assert_arithmetic, assert_trace, assert_reasons, assert_words):
        each(change)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_small_cases(case: Case) -> None:
    for change in told(case):
        assert_explained(change)


def test_large_seeded_cases(seeded: list[Told]) -> None:
    for change in seeded:
        assert_explained(change)


def test_the_large_cases_hold_every_case(seeded: list[Told]) -> None:
    """What the properties speak of does happen."""
    shapes = Counter((c.kind, bool(c.rules), bool(c.scored)) for c in seeded)
    for kind in ("grant", "increase", "decrease"):
        assert min(shapes[kind, False, True], shapes[kind, True, True]) >= 10, kind
    assert all(shapes[kind, True, False] >= 20 for kind in ("decrease", "freeze", "unfreeze", "close"))
    assert any(reason.code == "score" for c in seeded for reason in c.rules)
    codes = Counter((c.is_adverse, reason.code.rpartition("_")[2]) for c in seeded for reason in c.scored)
    assert min(codes[False, "good"], codes[False, "missing"], codes[True, "low"], codes[True, "missing"]) >= 50
    ranked = [(c, [weight for weight in c.weights if weight > 0]) for c in seeded if c.scored]
    assert any(len(c.scored) < len(weights) for c, weights in ranked), "some must be left out"
    assert {reason.about for c in seeded for reason in c.scored} == {None, *get_args(About)}
    assert any(len(set(weights)) < len(weights) for _, weights in ranked), "some weigh the same"


def test_every_rule_can_be_told() -> None:
    """In both languages, and of a block in other words when it is lifted."""
    bounds = {bound.name.lower() for bound in Bound if bound is not Bound.BAND}
    blocks = {block.name.lower() for block in Block}
    lifted = {f"{block}_lifted" for block in blocks}
    guards = {guard.name.lower() for guard in Guard} - {
        "none",
        "closed",
        *REQUIREMENT_GUARDS,
        "cool_down_down",
        "warming_up",
        "breaker",
        "not_earned",
    }
    kinds = {kind.name.lower() for kind in OF_THEIR_KIND}
    assert set(RULE_TEXTS) == bounds | blocks | lifted | guards | kinds | {"score", "line_ended", "closed_by_command"}
    assert all(set(text) == {"zh", "en"} and all(text.values()) for text in RULE_TEXTS.values())
    for language in ("zh", "en"):
        told = [text[language] for code, text in RULE_TEXTS.items() if code in lifted]
        assert len(set(told) - {text[language] for code, text in RULE_TEXTS.items() if code not in lifted}) == len(lifted)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99))
def test_texts_decide_nothing(seed: int) -> None:
    """A policy without any text makes the same decisions, for the same reasons."""
    policy = seeded_policy(seed)
    log = seeded_log(policy, seed, 40)
    mute, words = Kernel(policy, log), Kernel(spoken(policy), log)
    pairs = zip(mute.take(0, len(log), room=1024), words.take(0, len(log), room=1024), strict=True)
    readers = Reader(mute.policy), Reader(words.policy)
    for decisions in pairs:
        if decisions[0][Out.KIND] not in ANSWERS:
            (trace, without), (same_trace, with_texts) = (reader.read(d) for reader, d in zip(readers, decisions, strict=True))
            assert all(reason.text == {} for reason in without if reason.feature is not None)
            assert without == [r.model_copy(update={"text": {}, "about": None}) if r.feature is not None else r for r in with_texts]
            assert trace == same_trace
