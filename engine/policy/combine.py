"""A lender's policy and the packs it names, combined: the strictest wins, in whatever order they come.

Theory of operation. Every rule that is in force on the day, binds the lender and holds for a segment of the policy says what it demands there.
A number, consent and offers become the strictest of what the policy and all rules say (``stricter``: each is a minimum or a maximum, so no
order matters); requirements are added, in the order of their rules' names; what is forbidden or may cost no more is looked for in the result
(``law_checks``). The result names no packs: in their place ``law`` records what each rule demanded and what it changed. It is verified like
any other policy, so a demand that the rest of the policy cannot bear is a mistake and no surprise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from engine.policy.document import NAME_MAX, Policy, Segment
from engine.policy.errors import Path, Problem
from engine.policy.law_checks import law_problems
from engine.policy.pack import Pack, Rule, bound_segments, lender_problem
from engine.policy.sentences import problems_of
from engine.policy.verify import verify

COMING_DAYS: Final = 90

Value = int | bool | str

# Where in a segment the effects that are a value stand.
_FIELDS: Final[dict[str, tuple[str, str]]] = {
    "legal_cap_minor": ("limits", "legal_cap_minor"),
    "consent": ("increases", "consent"),
    "unsolicited_offers": ("increases", "unsolicited_offers"),
    "decrease_notice_days": ("notices", "decrease_days"),
    "rate_rise_notice_days": ("rates", "rise_notice_days"),
}


class Binding(NamedTuple):
    """A rule and the segments that it holds for, by number and ascending."""

    rule: Rule
    segments: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Combination:
    """A policy in which the law has its part, and the rules that bind it too, but only within the next ``COMING_DAYS`` days."""

    policy: Policy
    coming: tuple[Rule, ...] = ()


def combine(policy: Policy, packs: Mapping[str, Pack], on: date) -> tuple[Combination | None, list[Problem]]:
    """The policy combined with its ``packs`` (by the word that names each), as the law stands ``on`` that day; or its mistakes, with their paths
    in the policy. ``policy`` is verified, and every pack that it names is there."""
    problems = list(_pack_problems(policy, packs))
    today, soon = on.isoformat(), (on + timedelta(days=COMING_DAYS)).isoformat()
    bindings = _bindings(policy, packs)
    in_force = [binding for binding in bindings if binding.rule.in_force(today)]
    problems += _currency_problems(policy, packs, in_force)
    if problems:
        return None, problems
    plain = policy.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    del plain["packs"]
    plain["law"] = [
        *_policy_wide(policy, plain, in_force),
        *(record for i, segment in enumerate(policy.segments) for record in _in_segment(segment, i, plain["segments"][i], in_force)),
    ]
    plain["law"].sort(key=lambda record: (record["rule"], record.get("segment", "")))
    try:
        combined = Policy.from_plain(plain)
    except ValidationError as error:
        return None, [_in_combination(problem) for problem in problems_of(error, plain)]
    problems = [_in_combination(problem) for problem in verify(combined)]
    problems += law_problems(combined, in_force)
    if problems:
        return None, problems
    return Combination(combined, tuple(rule for rule, _ in bindings if today < rule.valid_from <= soon)), []


def stricter(effect: str, one: Value, other: Value) -> Value:
    """Of two values of an effect the one that lets a lender do less."""
    match effect:
        case "legal_cap_minor":
            return min(one, other)
        case "consent":
            return "needed" if "needed" in (one, other) else one
        case "unsolicited_offers":
            return bool(one) and bool(other)
        case _:
            return max(one, other)


def _pack_problems(policy: Policy, packs: Mapping[str, Pack]) -> Iterator[Problem]:
    words: dict[str, str] = {}
    for i, use in enumerate(policy.packs or ()):
        pack = packs[use.pack]
        yield from lender_problem(pack, use, ("packs", i))
        if words.setdefault(pack.pack, use.pack) != use.pack:
            message = f"{words[pack.pack]} is a pack named {pack.pack!r} too: its rules could not be told apart"
            yield Problem(("packs", i, "pack"), message, "give one of them another name")


def _bindings(policy: Policy, packs: Mapping[str, Pack]) -> list[Binding]:
    """Every rule that holds for some segment, whatever its days, in the order of the rules' names."""
    number = {segment.name: i for i, segment in enumerate(policy.segments)}
    segments: dict[str, set[int]] = {}
    rules: dict[str, Rule] = {}
    for use in policy.packs or ():
        for rule in packs[use.pack].rules:
            bound = bound_segments(rule, use)
            if bound:
                rules[rule.name] = rule
                segments.setdefault(rule.name, set()).update(number[name] for name in bound if name in number)
    return [Binding(rules[name], tuple(sorted(segments[name]))) for name in sorted(rules)]


def _currency_problems(policy: Policy, packs: Mapping[str, Pack], in_force: Iterable[Binding]) -> Iterator[Problem]:
    bound = {binding.rule.name for binding in in_force}
    seen: set[str] = set()
    for i, use in enumerate(policy.packs or ()):
        for rule in packs[use.pack].rules:
            if rule.name in bound - seen and rule.currency is not None and rule.currency != policy.currency:
                seen.add(rule.name)
                message = f"{rule.name} caps limits in {rule.currency}, and this policy's amounts are in {policy.currency}"
                yield Problem(("packs", i, "pack"), message, "name a pack of the policy's currency, or leave it out")


def _policy_wide(policy: Policy, plain: dict[str, Any], in_force: Iterable[Binding]) -> Iterator[dict[str, Any]]:
    """The records of what is no segment's, and the change of ``plain``."""
    months = [(rule, rule.evidence_months) for rule, _ in in_force if rule.evidence_months is not None]
    final = max((policy.evidence_months, *(value for _, value in months)))
    if final != policy.evidence_months:
        plain["evidence_months"] = final
    for rule, value in months:
        yield _record(rule) | _change(policy.evidence_months, value, final)
    for rule, _ in in_force:
        if rule.duty is not None:
            yield _record(rule) | {"duty": rule.duty}


def _in_segment(segment: Segment, i: int, plain: dict[str, Any], in_force: Iterable[Binding]) -> Iterator[dict[str, Any]]:
    """The records of what a segment's rules demand, and the changes of ``plain``, the segment."""
    rules = [rule for rule, segments in in_force if i in segments]
    for effect, (part, key) in _FIELDS.items():
        demanded = [(rule, _demanded(rule, effect, segment)) for rule in rules if getattr(rule, effect) is not None]
        holder = getattr(segment, part)
        changes: list[tuple[Rule, dict[str, Value]]]
        if holder is None:
            changes = [(rule, {}) for rule, _ in demanded]
        else:
            own: Value = getattr(holder, key)
            final = reduce(lambda one, other: stricter(effect, one, other), (value for _, value in demanded), own)
            if final != own:
                plain[part] = plain.get(part, {}) | {key: final}
            changes = [(rule, _change(own, value, final)) for rule, value in demanded]
        for rule, change in changes:
            yield _record(rule) | {"segment": segment.name} | change
    yield from _requirements(segment, plain, rules)
    for rule in rules:
        if rule.forbidden_inputs or rule.forbidden_outputs or rule.highest_yearly_cost_bp is not None:
            yield _record(rule) | {"segment": segment.name}


def _demanded(rule: Rule, effect: str, segment: Segment) -> Value:
    """The value that a rule demands; a cap is rounded down as every limit of the segment is."""
    value: Value = getattr(rule, effect)
    if effect == "legal_cap_minor":
        return int(value) // segment.limits.round_to_minor * segment.limits.round_to_minor
    return value


def _requirements(segment: Segment, plain: dict[str, Any], rules: Iterable[Rule]) -> Iterator[dict[str, Any]]:
    """Adds the rules' requirements to ``plain``, each under a code of its own."""
    taken = {test.code for test in (*segment.eligibility, *segment.protection.over_borrowing)}
    for rule in rules:
        if rule.requirement is None:
            continue
        code = _free_code(rule, rule.requirement.code, taken)
        taken.add(code)
        requirement = rule.requirement.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        plain["eligibility"] = [*plain.get("eligibility", ()), requirement | {"code": code}]
        yield _record(rule) | {"segment": segment.name, "after": code}


def _free_code(rule: Rule, code: str, taken: set[str]) -> str:
    """The requirement's code; where it is taken one that says whose law it is."""
    if code not in taken:
        return code
    wanted = f"{rule.name.partition('.')[0]}_{code}"[: NAME_MAX - 3]
    return next(free for free in (wanted, *(f"{wanted}_{k}" for k in range(2, 100))) if free not in taken)


def _record(rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "demands": rule.demands,
        "source": rule.source,
        "valid_from": rule.valid_from,
        "checked_on": rule.checked_on,
        "effect": rule.effects[0],
    }


def _change(own: Value, value: Value, final: Value) -> dict[str, Value]:
    """What a rule changed: only the strictest of all changes something."""
    return {"before": own, "after": final} if value == final != own else {}


def _in_combination(problem: Problem) -> Problem:
    path: Path = problem.path
    return Problem(path, f"{problem.message}, once the policy is combined with its packs", problem.hint)
