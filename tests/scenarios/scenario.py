"""Scenarios as data: what was told of an account, day by day, and what the engine says of it, through the real offline engine.

A file of scenarios lists *rules*. A rule has a name, ``off`` (what it takes to have it no more), the scenarios that it ``blocks`` (that come
out as they do because of the rule) and those that it ``passes`` (that come out the same without it). A scenario::

    - scenario: An increase waits until three days have gone by
      customer: 10                                 # of grade 10, who was granted that band's limit at noon of day 0
      given:
        - [2, profile, {grade: 20}]                # at noon; "2 09:00" at another time
      until: 4                                     # time goes by; the day of the last record if left out
      expect:
        - [2, increase_withheld, {guard: cool_down_up}]
        - ["3 08:00", increase, {limit: 2000}]

All that the engine says of the account until then is listed under ``expect``, in order; a line compares what it names. A profile goes on
from the one before: what it does not name stays, what it names as null is unknown. ``leans_on`` names rules of other places without which
the scenario would come out otherwise too.

``off`` is either a change of the policy, by name (``{segments: {individual: {cool_down: {up_days: 0}}}}``, null takes a field away), or, of a
rule that no policy can switch off, ``{unsaid: ...}``: what would have to go unsaid. A word is a kind of record, a mapping a figure of a profile.

A line ``[3, appetite, {mode: contraction}]`` or ``[3, release_breaker]`` is the lender's, not the customer's, and one with a name behind it,
``[3, profile, {grade: 30}, other]``, is another customer's, of whom nothing is expected: such a scenario is run by itself. All others are run
together, each as if it were alone with the lender: without the brakes that they would share.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from engine.core.fingerprint import FingerprintKey
from engine.core.layout import Topic
from engine.policy.document import Policy
from engine.policy.verify import verify
from engine.stream import offline
from engine.stream.offline import LogRecord

Plain = dict[str, Any]

HERE: Final = Path(__file__).parent
KEY: Final = FingerprintKey.from_hex("000102030405060708090a0b0c0d0e0f")
DAY_0: Final = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMER: Final[Plain] = {"grade": 10, "applied": 0, "consent": 0, "identity_until": 1000, "income": 10_000}
BAND_LIMITS: Final = {10: 1000, 20: 2000, 30: 3000, 40: 3000, 45: 6000, 50: 6000}
CONTROLS: Final = ("appetite", "release_breaker")
POSTINGS: Final = {"purchase": Topic.PURCHASE, "transfer": Topic.TRANSFER, "repayment": Topic.REPAYMENT}


@dataclass(frozen=True)
class Case:
    """What comes of something; ``place`` is its file and line, ``rule`` the rule it belongs to."""

    place: str
    name: str
    rule: str
    is_blocked: bool
    leans_on: tuple[str, ...]

    def breaks_without(self, rule: str) -> bool:
        """Whether this does not come out any more when a rule is switched off."""
        return rule in self.leans_on or (self.is_blocked and rule == self.rule)


@dataclass(frozen=True)
class Scenario(Case):
    """One scenario; ``customer`` is what the profile says before it is told anything."""

    customer: Plain
    given: tuple[tuple[Any, str, Plain, str | None], ...]
    until: Any
    expected: tuple[Plain, ...]

    @property
    def is_the_portfolios(self) -> bool:
        """Whether the lender says something to all accounts in it, or others are in it."""
        return any(kind in CONTROLS or other is not None for _, kind, _, other in self.given)


@dataclass(frozen=True)
class Rule:
    """A rule with what it takes to switch it off."""

    name: str
    place: str
    off: Plain
    scenarios: tuple[Scenario, ...]


# Reading


def read_rules() -> list[Rule]:
    """All rules, file by file."""
    yaml = YAML(typ="rt", pure=True)
    files = sorted(path for path in HERE.glob("*.yaml") if path.name != "policy.yaml")
    return [_rule(path.name, plain) for path in files for plain in yaml.load(path.read_text("utf-8"))]


def _rule(file: str, plain: Any) -> Rule:
    known = {"rule", "off", "blocks", "passes"}
    assert plain.keys() <= known, f"{file}:{plain.lc.line + 1}: a rule has {sorted(known)}, this one also {sorted(plain.keys() - known)}"
    scenarios = [scenario_of(file, plain["rule"], is_blocked, each) for is_blocked, each in both_ways(plain)]
    return Rule(plain["rule"], f"{file}:{plain.lc.line + 1}", plain["off"], tuple(scenarios))


def both_ways(rule: Any) -> Iterator[tuple[bool, Any]]:
    """What a rule blocks (True) and what it passes (False)."""
    yield from ((True, each) for each in rule.get("blocks", ()))
    yield from ((False, each) for each in rule.get("passes", ()))


def scenario_of(file: str, rule: str, is_blocked: bool, plain: Any, customer: Plain = CUSTOMER) -> Scenario:
    """A scenario from its text."""
    place, known = f"{file}:{plain.lc.line + 1}", {"scenario", "leans_on", "customer", "given", "until", "expect"}
    assert plain.keys() <= known, f"{place}: a scenario has {sorted(known)}, this one also {sorted(plain.keys() - known)}"
    given = [_line(place, line) for line in plain["given"]]
    expected = [_line(place, line)[:3] for line in plain["expect"]]
    if "customer" in plain:
        given.insert(0, (0, "profile", {"grade": plain["customer"]}, None))
        expected.insert(0, (0, "grant", {"limit": BAND_LIMITS[plain["customer"]]}))
    return Scenario(
        place=place,
        name=plain["scenario"],
        rule=rule,
        is_blocked=is_blocked,
        leans_on=tuple(plain.get("leans_on", ())),
        customer=customer,
        given=tuple(given),
        until=plain.get("until", given[-1][0]),
        expected=tuple({"at": _told(_at(when)), "kind": kind, **fields} for when, kind, fields in expected),
    )


def _line(place: str, line: Sequence[Any]) -> tuple[Any, str, Plain, str | None]:
    """``[when, kind]``, ``[when, kind, {fields}]`` or ``[when, kind, {fields}, other]``."""
    assert 2 <= len(line) <= 4, f"{place}: {line} is not [when, kind, {{fields}}, other]"
    return line[0], line[1], dict(line[2]) if len(line) > 2 else {}, line[3] if len(line) == 4 else None


# Times


def _at(when: int | str) -> datetime:
    """``3`` is noon of day 3, ``3 09:00`` another time of it."""
    day, _, hour = str(when).partition(" ")
    hours, minutes = (hour or "12:00").split(":")
    return DAY_0 + timedelta(days=int(day), hours=int(hours), minutes=int(minutes))


def _told(moment: datetime) -> str:
    """A moment as scenarios tell it."""
    since = moment - DAY_0
    return f"{since.days} {since.seconds // 3600:02}:{since.seconds // 60 % 60:02}"


def _instant(when: int | str) -> str:
    return _at(when).isoformat()


def _date(day: int) -> str:
    return (DAY_0 + timedelta(days=day)).date().isoformat()


# Records in


def log_of(account: str, scenario: Scenario, unsaid: str | Plain | None = None) -> list[tuple[datetime, Topic, Plain]]:
    """A scenario's records with their times, but for what goes unsaid."""
    told: list[tuple[datetime, Topic, Plain]] = []
    customers: defaultdict[str | None, Plain] = defaultdict(lambda: dict(scenario.customer))
    for number, (when, kind, fields, other) in enumerate(scenario.given, 1):
        if kind == unsaid:
            continue
        if kind == "profile":
            customer = customers[other]
            customer |= fields
            silent = unsaid.items() if isinstance(unsaid, Mapping) else ()
            figures = {name: value for name, value in customer.items() if value is not None and (name, value) not in silent}
            topic, value = Topic.PROFILE, _profile(when, figures)
            customer.pop("corrects", None)
        elif kind in POSTINGS:
            topic, value = POSTINGS[kind], _posting(kind, dict(fields))
        elif kind in CONTROLS:
            topic, value = Topic.CONTROL, _control(kind, fields)
        else:
            topic, value = Topic.COMMAND, _command(kind, dict(fields))
        common = {"account_id": other or account} if topic is not Topic.CONTROL else {}
        if topic is Topic.CONTROL:
            common = {"control_id": f"x{number}", "issued_at": _instant(when)}
        elif topic is Topic.COMMAND:
            common |= {"command_id": f"c{number}", "issued_at": _instant(when)}
        else:
            common |= {"event_id": f"e{number}", "occurred_at": _instant(when), "currency": "CNY"}
        told.append((_at(when), topic, common | value))
    return told


def _profile(when: int | str, figures: Plain) -> Plain:
    """A profile from what scenarios call its figures; dates are days."""
    value: Plain = {"as_of": _instant(when), "segment": "individual", "status": "active", "attributes": {}}
    for name, figure in figures.items():
        match name:
            case "grade" | "age" | "lenders":
                value["attributes"][name] = figure
            case "attributes":
                value["attributes"] |= figure
            case "applied":
                value["applied_at"] = _instant(f"{figure} 00:00")
            case "consent" | "opted_out" | "device_changed" | "contact_changed":
                value[f"{name}_at"] = _date(figure)
            case "identity_until":
                value["identity_verified_until"] = _date(figure)
            case "income":
                proof = {"proof": "documented", "as_of": _date(figures.get("income_as_of", 0))}
                value["income"] = {"monthly_minor": figure, **proof}
            case "income_as_of":
                pass
            case "requested":
                value["requested_limit_minor"] = figure
            case "exposure" | "external_debt" | "external_limits":
                value[f"{name}_minor"] = figure
            case "granted":
                value["granted"] = {"limit_minor": figure["limit"], "band": figure["band"], "since": _date(figure["since"])}
            case "booked":
                value["applied"] = {"sequence": figure["sequence"], "limit_minor": figure["limit"]}
            case "related":
                amounts = [{f"{k}_minor" if k == "exposure" else k: v for k, v in party.items()} for party in figure]
                value["related"] = [{"party_id": f"p{i}", **party} for i, party in enumerate(amounts)]
            case _:
                value[name] = figure
    return value


def _posting(kind: str, fields: Plain) -> Plain:
    """A purchase, transfer or repayment; an instalment is named by the day it is due."""
    if kind == "repayment":
        paid, owed, due = fields.pop("paid"), fields.pop("of", 100), fields.pop("due")
        loan = {"loan_id": "l", "due_at": _instant(due), "amount_due_minor": owed}
        return {"amount_minor": paid, **loan, **fields}
    amount = {"amount_minor": fields.pop("amount", 100)}
    if kind == "purchase":
        return {**amount, "category": "food", "channel": "app", "merchant_id": "m", "funded_by": "own", **fields}
    return {**amount, "direction": "in", "counterparty_id": "c", "purpose": "draw", **fields}


def _control(kind: str, fields: Plain) -> Plain:
    said = {"kind": kind, "issued_by": "risk committee", "approved_by": "board", "reason": "as told"}
    return said | ({"segment": "individual", "expected_decreases": 1} if kind == "appetite" else {}) | fields


def _command(kind: str, fields: Plain) -> Plain:
    value: Plain = {"kind": kind, "issued_by": fields.pop("by", "desk"), "reason": "as told"}
    limit = {"request_increase": "requested_limit_minor", "set_ceiling": "ceiling_minor"}.get(kind, "limit_minor")
    until = "expires_at" if kind == "set_temporary_limit" else "until"
    for name, field in fields.items():
        match name:
            case "limit":
                value[limit] = field
            case "until":
                value[until] = _instant(field)
            case "approved":
                value["approved_by"] = field
            case "offer":
                value["offer_id"] = f"offer-{field}"
            case _:
                value[name] = field
    return value


# Decisions out


def come_of(policy: Policy, scenarios: Sequence[Scenario], unsaid: str | Plain | None = None) -> list[list[Plain]]:
    """What the engine says of each scenario, all of them in one run, an account each; but one of the portfolio's in a run of its own."""
    together = [scenario for scenario in scenarios if not scenario.is_the_portfolios]
    came = iter(_said(_without_brakes(policy), together, unsaid) if together else [])
    return [_said(policy, [s], unsaid)[0] if s.is_the_portfolios else next(came) for s in scenarios]


def _without_brakes(policy: Policy) -> Policy:
    return policy.model_copy(update={"segments": tuple(segment.model_copy(update={"brakes": None}) for segment in policy.segments)})


def _said(policy: Policy, scenarios: Sequence[Scenario], unsaid: str | Plain | None) -> list[list[Plain]]:
    """What the engine says of scenarios in one run, an account each."""
    lives = {f"a{number}": scenario for number, scenario in enumerate(scenarios)}
    told = [each for account, scenario in lives.items() for each in log_of(account, scenario, unsaid)]
    log = [
        LogRecord(topic, place, _ms(moment), _key(value), json.dumps(value).encode())
        for place, (moment, topic, value) in enumerate(told, 1)
    ]
    last = max(_at(scenario.until) for scenario in scenarios)
    said: defaultdict[str, list[Plain]] = defaultdict(list)
    for record in offline.decide([offline.activation(policy), *log], KEY, "limits", until_ms=_ms(last)):
        letters = [letter.message for letter in record.dead_letters]
        assert not letters, letters
        for output in record.outputs:
            said[output.key.decode()].append(_shown(json.loads(output.value)))
    return [[line for line in said[account] if _at(line["at"]) <= _at(life.until)] for account, life in lives.items()]


def _key(value: Plain) -> bytes:
    return value["account_id"].encode() if "account_id" in value else b""


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _shown(value: Plain) -> Plain:
    """A change or an advisory with the short names that scenarios use. ``at`` is the time of its cause."""
    shown: Plain = {"at": _moment(value["occurred_at"]), "kind": value["kind"]}
    reasons = [reason["code"] for reason in value.get("reasons", ())]
    trace = value.get("trace") or {}
    if value["kind"] == "command_result":
        return shown | {value["result"]: value["reason"], "sequence": value["sequence"], "reasons": reasons}
    if "standing" not in value:
        plain = ("sequence", "guard", "applied_sequence")
        shown |= {name: value[name] for name in plain if name in value}
        shown |= {"target": value.get("target_limit_minor"), "until": _moment(value.get("until"))}
        return shown | {"reasons": reasons, "applied_limit": value.get("applied_limit_minor")}
    standing = value["standing"]
    return shown | {
        "sequence": value["sequence"],
        "limit": standing["limit_minor"],
        "in_force": standing["limit_in_force_minor"],
        "band": standing["band"],
        "state": standing["state"],
        "blocks": standing["blocks"],
        "drawing": standing["drawing_allowed"],
        "ceiling": standing["ceiling_minor"],
        "rate": standing["rate_tier"],
        "offer": (standing["offer"] or {}).get("limit_minor"),
        "offer_until": _moment((standing["offer"] or {}).get("expires_at")),
        "temporary": _with_end(standing["temporary"], "until"),
        "pending": _with_end(standing["pending"], "effective_at"),
        "pending_rate": standing["pending_rate"]
        and [standing["pending_rate"]["rate_tier"], _moment(standing["pending_rate"]["effective_at"])],
        "reasons": reasons,
        "guard": trace.get("guard"),
        "bound_by": trace.get("bound_by"),
        "cost": (value.get("cost") or {}).get("apr_nominal_bp"),
        "cause": value["cause"]["kind"],
    }


def _with_end(part: Plain | None, end: str) -> list[Any] | None:
    """``[limit, when]``."""
    return None if part is None else [part["limit_minor"], _moment(part[end])]


def _moment(text: str | None) -> str | None:
    return None if text is None else _told(datetime.fromisoformat(text))


def difference(scenario: Scenario, came: Sequence[Plain]) -> str | None:
    """What came instead of what was expected, for people; None if it came as expected."""
    shown = [_compared(expected, line) for expected, line in zip(scenario.expected, came, strict=False)]
    if len(came) == len(scenario.expected) and shown == list(scenario.expected):
        return None
    expected = "\n".join(f"    {line}" for line in map(_short, scenario.expected))
    return f"{scenario.place}: {scenario.name}\n  expected\n{expected}\n  came\n" + "\n".join(
        f"    {_short(shown[i] if i < len(shown) else _known(line))}" for i, line in enumerate(came)
    )


def _compared(expected: Plain, came: Plain) -> Plain:
    """What came, by the names that are expected; all of it where it is of another time or kind."""
    if (expected["at"], expected["kind"]) != (came["at"], came["kind"]):
        return _known(came)
    return {name: came.get(name, "not told") for name in expected}


def _known(line: Plain) -> Plain:
    return {name: value for name, value in line.items() if value is not None}


def _short(line: Plain) -> str:
    return f"[{line['at']}, {line['kind']}, { ({name: value for name, value in line.items() if name not in ('at', 'kind')}) }]"


# The policy


def lender(off: Plain | None = None, file: Path = HERE / "policy.yaml") -> Policy:
    """The scenarios' policy, with a rule switched off. Raises AssertionError with its mistakes if there are any."""
    plain = YAML(typ="safe", pure=True).load(file.read_text("utf-8"))
    policy = Policy.from_plain(_changed(plain, off or {}))
    problems = verify(policy)
    assert not problems, problems
    return policy


def _changed(value: Any, change: Any) -> Any:
    """A value with a change laid over it: mappings by key, lists of things with a name or code by that name; null takes away."""
    if not isinstance(change, Mapping):
        return deepcopy(change)
    if isinstance(value, list):
        names = [each.get("name", each.get("code", each.get("feature"))) for each in value]
        unknown = change.keys() - set(names)
        assert not unknown, f"nothing is called {sorted(unknown)}, there are {names}"
        changed = (_changed(each, change[name]) if name in change else each for name, each in zip(names, value, strict=True))
        return [each for each in changed if each is not None]
    merged = {key: _changed(value.get(key, {}), each) for key, each in change.items()} | {}
    return {key: each for key, each in ((value or {}) | merged).items() if each is not None}


def failures(rules: Iterable[Rule], off: Plain | None = None) -> dict[str, str | None]:
    """How each scenario differs, by its place, with a rule switched off."""
    scenarios = [scenario for rule in rules for scenario in rule.scenarios]
    unsaid = (off or {}).get("unsaid")
    policy = lender(None if unsaid is not None else off)
    return {s.place: difference(s, came) for s, came in zip(scenarios, come_of(policy, scenarios, unsaid), strict=True)}
