"""What the law forbids, looked for in a policy that is combined with its packs: inputs, outputs, a price above the highest, and a limit that
accounts begin with although a limit is for who asked for one, agreed or met a requirement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from engine.policy import document as doc
from engine.policy.cost import example_cost
from engine.policy.errors import Path, Problem, listed
from engine.policy.expand import derived_name, measures_read
from engine.policy.fields import ATTRIBUTE_PREFIX, SINCE_FIELDS
from engine.policy.pack import Rule
from engine.policy.verify_segments import tests_with_paths

Reading = tuple[str, Path, frozenset[int]]
BoundRules = Iterable[tuple[Rule, tuple[int, ...]]]

_EVERY_SEGMENT: Final[frozenset[int]] = frozenset(range(2))


def law_problems(policy: doc.Policy, rules: BoundRules) -> Iterator[Problem]:
    """Where the policy does what one of these rules forbids in the segments (by number) that it holds for."""
    rules = list(rules)
    readings = list(_readings(policy))
    yield from _initial_problems(policy, rules)
    for rule, segments in rules:
        if rule.forbidden_inputs is not None:
            yield from _input_problems(rule, rule.forbidden_inputs, segments, readings)
        for i in segments:
            for output in rule.forbidden_outputs or ():
                yield from _OUTPUTS[output](policy, i, rule)
            if rule.highest_yearly_cost_bp is not None:
                yield from _cost_problems(policy, i, rule, rule.highest_yearly_cost_bp)


def is_forbidden(name: str, pattern: str) -> bool:
    """Whether a pattern names a figure, a field, or an attribute: all of its name, or what stands behind one of its dots."""
    plain, wanted = _plain(name), _plain(pattern.removesuffix("*"))
    steps = plain.split(".")
    words = (".".join(steps[place:]) for place in range(len(steps)))
    return any(word.startswith(wanted) if pattern.endswith("*") else word == wanted for word in words)


def _plain(name: str) -> str:
    """A name without what tells two spellings of it apart: its prefix, capitals, and a hyphen in place of an underscore."""
    return name.removeprefix(ATTRIBUTE_PREFIX).casefold().replace("-", "_")


def _initial_problems(policy: doc.Policy, rules: BoundRules) -> Iterator[Problem]:
    for i, segment in enumerate(policy.segments):
        initial = segment.initial_standing
        broken = [rule.name for rule, segments in rules if i in segments and _wants_every_limit_asked_for(rule)]
        if initial is not None and initial.limit_minor > 0 and broken:
            rules_forbid = f"{listed(broken, 'and')} {'forbids' if len(broken) == 1 else 'forbid'}"
            message = (
                f"every account would begin with a limit of {initial.limit_minor}, whatever is asked for or required, which {rules_forbid}"
            )
            hint = "write limit_minor: 0, and send a line that stands elsewhere as granted"
            yield Problem(("segments", i, "initial_standing", "limit_minor"), message, hint)


def _wants_every_limit_asked_for(rule: Rule) -> bool:
    return rule.requirement is not None or rule.consent is not None or rule.unsolicited_offers is not None


def _input_problems(rule: Rule, patterns: Iterable[str], segments: tuple[int, ...], readings: Iterable[Reading]) -> Iterator[Problem]:
    for name, path, users in readings:
        if users.intersection(segments) and any(is_forbidden(name, pattern) for pattern in patterns):
            message = f"reads {name}, which {rule.name} forbids: {rule.source}"
            yield Problem(path, message, _instead_of(name, path))


def _instead_of(name: str, path: Path) -> str:
    """What to write in place of a reading."""
    match path:
        case ("segments", _, "limits", _):
            return "leave this cap out"
        case ("segments", *_):
            instead = "test what the customer earns, owes or does, such as income_monthly_minor"
        case ("features", _, "figures", _):
            instead = "take it off the list"
        case ("features", *_):
            instead = "score what the customer earns, owes or does, such as debt_service_monthly_minor per income_monthly_minor"
        case (*_, "field"):
            return "leave this condition out"
        case _:
            return "leave this measure out, and what is computed from it"
    return f"{instead}, and do not send {name} to the engine"


def _advice(policy: doc.Policy, i: int, rule: Rule) -> Iterator[Problem]:
    scored = {characteristic.feature for characteristic in policy.segments[i].scorecard}
    for j, feature in enumerate(policy.features):
        if feature.name in scored and feature.advice is not None:
            message = f"tells {policy.segments[i].name} customers how to reach a higher limit, which {rule.name} forbids: {rule.source}"
            yield Problem(("features", j, "advice"), message, "leave the advice out")


def _offers(policy: doc.Policy, i: int, rule: Rule) -> Iterator[Problem]:
    path: Path = ("segments", i, "increases")
    increases = policy.segments[i].increases
    if increases.consent == "needed":
        hint = "write consent: not_needed, and require it: {code: consent_not_given, figure: consent_at, min_age_days: 0}"
        message = f"who did not consent would get an offer, which {rule.name} forbids: {rule.source}"
        yield Problem((*path, "consent"), message, hint)
    if increases.unsolicited_offers:
        message = f"who did not apply would get an offer, which {rule.name} forbids: {rule.source}"
        yield Problem((*path, "unsolicited_offers"), message, "write unsolicited_offers: false")


def _rate_rises(policy: doc.Policy, i: int, rule: Rule) -> Iterator[Problem]:
    rates = policy.segments[i].rates
    if rates is not None and len(rates.tiers) > 1:
        message = f"a score that falls would raise the rate, which {rule.name} forbids: {rule.source}"
        yield Problem(("segments", i, "rates", "tiers"), message, "write one tier, or leave the rates out and price elsewhere")


_OUTPUTS: Final = {"advice_to_raise_the_limit": _advice, "offers": _offers, "rate_rises": _rate_rises}


def _cost_problems(policy: doc.Policy, i: int, rule: Rule, highest_bp: int) -> Iterator[Problem]:
    rates = policy.segments[i].rates
    for j, tier in enumerate(() if rates is None else rates.tiers):
        assert rates is not None
        try:
            cost_bp = example_cost(rates.example, tier).apr_effective_bp
        except ValueError:  # told by verify
            continue
        if cost_bp > highest_bp:
            message = f"the example draw costs {cost_bp} basis points a year, above the {highest_bp} of {rule.name}: {rule.source}"
            yield Problem(("segments", i, "rates", "tiers", j, "yearly_rate_bp"), message, "lower the rate, or the fees of the example")


def _readings(policy: doc.Policy) -> Iterator[Reading]:
    """Every place that reads something of an event or a profile: what, where, and the segments that it counts for.

    What no segment uses counts for all: it is measured all the same.
    """
    of_feature: dict[str, set[int]] = {}
    for i, segment in enumerate(policy.segments):
        for test, path in tests_with_paths(segment, ("segments", i)):
            if test.figure is not None:
                yield test.figure, (*path, "figure"), frozenset({i})
            if test.feature is not None:
                of_feature.setdefault(test.feature, set()).add(i)
        for figure, cap in _capped_by(segment.limits):
            yield figure, ("segments", i, "limits", cap), frozenset({i})
        for characteristic in segment.scorecard:
            of_feature.setdefault(characteristic.feature, set()).add(i)
    of_measure = _users_of_measures(policy, of_feature)
    for j, feature in enumerate(policy.features):
        users = frozenset(of_feature.get(feature.name, _EVERY_SEGMENT))
        for figure, path in _figures(feature, ("features", j)):
            yield figure, path, users
    for j, measure in enumerate(policy.measures):
        users = frozenset(of_measure.get(measure.name, _EVERY_SEGMENT))
        if measure.of is not None:
            yield measure.of, ("measures", j, "of"), users
        if measure.kind == "round_trips":
            yield "counterparty_id", ("measures", j), users
        for key in ("where", "minus"):
            for k, condition in enumerate(getattr(measure, key)):
                if condition.field not in SINCE_FIELDS:
                    yield condition.field, ("measures", j, key, k, "field"), users


def _capped_by(limits: doc.Limits) -> Iterator[tuple[str, str]]:
    """The figures that bound a limit, and by which cap."""
    if limits.income_cap is not None:
        yield "income_monthly_minor", "income_cap"
        yield "external_limits_minor", "income_cap"
    if limits.related_cap_minor is not None:
        yield "related_exposure_minor", "related_cap_minor"


def _users_of_measures(policy: doc.Policy, of_feature: dict[str, set[int]]) -> dict[str, set[int]]:
    """For each measure that a segment's features read, directly or through another measure: the segments."""
    of_measure: dict[str, set[int]] = {}
    measures = {measure.name: measure for measure in policy.measures}
    for feature in policy.features:
        names = set(measures_read(feature))
        if isinstance(feature, doc.ShareAbove):
            names.discard(derived_name(feature))
        while names:
            name = names.pop()
            users = of_measure.setdefault(name, set())
            users |= of_feature.get(feature.name, _EVERY_SEGMENT)
            measure = measures.get(name)
            if measure is not None:
                needed = {condition.of for condition in (*measure.where, *measure.minus)} | {measure.net_of}
                names |= {other for other in needed if other is not None and not users <= of_measure.get(other, set())}
    return of_measure


def _figures(feature: doc.Feature, path: Path) -> Iterator[tuple[str, Path]]:
    match feature:
        case doc.Tenure():
            yield "opened_on", path
        case doc.Completeness():
            for k, figure in enumerate(feature.figures):
                yield figure, (*path, "figures", k)
        case _:
            for key in ("figure", "per"):
                named = getattr(feature, key, None)
                if isinstance(named, str):
                    yield named, (*path, key)
