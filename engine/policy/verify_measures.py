"""Measures: does the event have the fields, does every test fit its field, are the words known, are the columns distinct?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from engine.policy.document import Condition, Measure, Policy
from engine.policy.errors import Path, Problem, did_you_mean, listed, spelled
from engine.policy.expand import UNWINDOWED
from engine.policy.fields import EVENT_FIELDS, NUMBER_FIELDS, SINCE_FIELDS, WORD_FIELDS, contract_words

_ADDED: Final = ("sum", "max", "balance")
_WORDED: Final = ("distinct", "top")
_NETTED: Final = ("count", "sum", "max", "distinct", "balance", "top")
_REMEMBERED: Final = (
    "amount_minor",
    "direction",
    "purpose",
    "counterparty_id",
    "local_hour",
)  # what round trips know of an earlier transfer
_A_KIND: Final = {
    "count": "a count",
    "sum": "a sum",
    "max": "a maximum",
    "distinct": "a distinct measure",
    "balance": "a balance",
    "last_seen": "a last_seen",
    "top": "a top",
    "round_trips": "a round_trips",
}
_AN_EVENT: Final = {
    "repayment": "a repayment",
    "purchase": "a purchase",
    "transfer": "a transfer",
    "instalment": "an instalment",
    "usage": "a usage",
}
_TESTS: Final = {"in": "is_in", "not_in": "not_in", "at_least": "at_least", "at_most": "at_most", "from": "from_hour", "to": "to_hour"}


def measure_problems(policy: Policy) -> Iterator[Problem]:
    """What is wrong with the measures, each by itself and all together."""
    yield from repeated_names([measure.name for measure in policy.measures], ("measures",))
    by_name = {measure.name: measure for measure in policy.measures}
    for i, measure in enumerate(policy.measures):
        path: Path = ("measures", i)
        yield from _of_problems(measure, path)
        yield from _closed_set_problems(measure, path)
        yield from _kind_problems(measure, path)
        yield from _days_problems(measure, path)
        yield from _net_problems(policy, measure, by_name, path)
        for name, conditions in (("where", measure.where), ("minus", measure.minus)):
            for j, condition in enumerate(conditions):
                yield from _condition_problems(measure, condition, (*path, name, j))
                yield from _since_problems(measure, condition, by_name, (*path, name, j))
    yield from _column_problems(policy)


def repeated_names(names: Sequence[str], path: Path, key: str = "name") -> Iterator[Problem]:
    """A problem for every name that was given before in the same list."""
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if first.setdefault(name, i) != i:
            yield Problem((*path, i, key), f"{name!r} is taken by {spelled((*path, first[name]))}")


def a_kind(kind: str) -> str:
    """A measure's kind with its article."""
    return _A_KIND[kind]


def unknown_words(field: str, words: Sequence[str], path: Path) -> Iterator[Problem]:
    """Words that the contract does not know for the field."""
    known = contract_words(field)
    for i, word in enumerate(words):
        if known is not None and word not in known:
            yield Problem((*path, i), f"{word!r} is no word of {field}", did_you_mean(word, known) or f"known: {listed(known, 'and')}")


def _field_problem(measure: Measure, field: str, path: Path) -> Iterator[Problem]:
    known = EVENT_FIELDS[measure.event]
    if field not in known:
        yield Problem(path, f"{_AN_EVENT[measure.event]} has no {field}", did_you_mean(field, known) or f"it has {listed(known, 'and')}")


def _of_problems(measure: Measure, path: Path) -> Iterator[Problem]:
    kind, of = measure.kind, measure.of
    if kind == "distinct" and of is None:
        yield Problem((*path, "of"), "is missing: a distinct measure counts the words of a field", "for example of: merchant_id")
    elif kind == "top" and of is None:
        yield Problem((*path, "of"), "is missing: a top measure adds up amounts by the words of a field", "for example of: counterparty_id")
    elif of is None:
        return
    elif kind not in (*_ADDED, *_WORDED):
        yield Problem((*path, "of"), f"{a_kind(kind)} has no 'of'", "leave it out")
    elif kind == "distinct" and of not in WORD_FIELDS:
        yield Problem((*path, "of"), f"a distinct measure counts words, and {of} is a number")
    elif kind == "top" and (of not in WORD_FIELDS or contract_words(of) is not None):
        free = [field for field in WORD_FIELDS if contract_words(field) is None]
        yield Problem((*path, "of"), f"a top measure adds up amounts by {listed(free)}, not by {of}")
    elif kind in _ADDED and of not in NUMBER_FIELDS:
        yield Problem((*path, "of"), f"{a_kind(kind)} needs a number, and {of} is a word", "left out, it is amount_minor")
    else:
        yield from _field_problem(measure, of, (*path, "of"))


def _closed_set_problems(measure: Measure, path: Path) -> Iterator[Problem]:
    if measure.closed_set is None:
        return
    if measure.kind != "distinct":
        yield Problem((*path, "closed_set"), f"{a_kind(measure.kind)} has no closed_set", "only a distinct measure has")
        return
    for word, times in Counter(measure.closed_set).items():
        if times > 1:
            place = len(measure.closed_set) - 1 - measure.closed_set[::-1].index(word)
            yield Problem((*path, "closed_set", place), f"{word!r} stands in the set {times} times")
    if measure.of is not None:
        yield from unknown_words(measure.of, measure.closed_set, (*path, "closed_set"))


def _kind_problems(measure: Measure, path: Path) -> Iterator[Problem]:
    if measure.minus and measure.kind not in ("sum", "balance"):
        yield Problem((*path, "minus"), f"{a_kind(measure.kind)} never goes down", "only a sum or a balance has 'minus'")
    if measure.kind == "round_trips" and measure.event != "transfer":
        yield Problem((*path, "event"), f"{_AN_EVENT[measure.event]} does not go round", "round_trips watches transfers")
    if measure.tile != "day" and measure.kind in UNWINDOWED:
        yield Problem((*path, "tile"), f"{a_kind(measure.kind)} is kept for ever and has no tiles", "leave it out")
    if measure.added_at is not None and not _is_instant(measure.added_at):
        yield Problem((*path, "added_at"), "must be an instant with UTC offset, such as 2026-03-01T00:00:00Z", "`policy promote` writes it")


def _days_problems(measure: Measure, path: Path) -> Iterator[Problem]:
    """``half_life_days`` and ``within_days`` exactly where the kind has them."""
    for key, kind, example in (("half_life_days", "top", 30), ("within_days", "round_trips", 5)):
        given = getattr(measure, key) is not None
        if measure.kind == kind and not given:
            yield Problem((*path, key), f"is missing: {a_kind(kind)} needs it", f"for example {key}: {example}")
        elif measure.kind != kind and given:
            yield Problem((*path, key), f"{a_kind(measure.kind)} has no {key}", f"only {a_kind(kind)} has")


def _net_problems(policy: Policy, measure: Measure, by_name: Mapping[str, Measure], path: Path) -> Iterator[Problem]:
    """What ``net_of`` names, and whether the measure can be told what has gone round."""
    if measure.net_of is None:
        return
    here = (*path, "net_of")
    trips = by_name.get(measure.net_of)
    if trips is None:
        yield Problem(here, f"there is no measure {measure.net_of!r}", did_you_mean(measure.net_of, by_name))
    elif trips.kind != "round_trips":
        yield Problem(here, f"'net_of' needs a round_trips, and {trips.name!r} is {a_kind(trips.kind)}")
    elif measure.event != "transfer":
        yield Problem(here, f"{_AN_EVENT[measure.event]} does not go round", "only what watches transfers is net of round trips")
    elif measure.kind not in _NETTED:
        yield Problem(here, f"{a_kind(measure.kind)} cannot be net of round trips", f"{listed([a_kind(kind) for kind in _NETTED])} can")
    if measure.kind == "top" and measure.of is not None and measure.of in EVENT_FIELDS["transfer"] and measure.of not in _REMEMBERED:
        yield Problem(
            (*path, "of"), f"of a transfer that goes round {measure.of} is not remembered", "a top with net_of is of counterparty_id"
        )
    for where, conditions in (("where", measure.where), ("minus", measure.minus)):
        for j, condition in enumerate(conditions):
            if condition.field not in _REMEMBERED and condition.field in (*EVENT_FIELDS["transfer"], *SINCE_FIELDS):
                what = f"of a transfer that goes round {condition.field} is not remembered"
                yield Problem((*path, where, j, "field"), what, f"a measure with net_of can test {listed(_REMEMBERED, 'and')}")


def _is_instant(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _condition_problems(measure: Measure, condition: Condition, path: Path) -> Iterator[Problem]:
    field = condition.field
    given = [name for name, attribute in _TESTS.items() if getattr(condition, attribute) is not None]
    if field == "local_hour":
        allowed, needs = ("from", "to"), "from and to"
    elif field in SINCE_FIELDS:
        allowed, needs = ("at_least", "at_most"), "at_least or at_most"
    elif field in WORD_FIELDS:
        allowed, needs = ("in", "not_in"), "in or not_in"
    else:
        allowed, needs = ("at_least", "at_most"), "at_least or at_most"
    if field != "local_hour" and field not in SINCE_FIELDS:
        yield from _field_problem(measure, field, (*path, "field"))
    strange = [name for name in given if name not in allowed]
    for name in strange:
        yield Problem((*path, name), f"{field} is tested by {needs}, not by {name}")
    fitting = [name for name in given if name in allowed]
    if field == "local_hour" and len(fitting) == 1:
        yield Problem(path, f"local_hour needs both from and to, and has only {fitting[0]}")
    elif not fitting and not strange:
        yield Problem(path, f"{field} is not tested: it needs {needs}")
    elif len(fitting) == 2 and field in WORD_FIELDS:
        yield Problem((*path, "not_in"), "a condition has in or not_in, not both", "write two conditions")
    if condition.at_least is not None and condition.at_most is not None and condition.at_least > condition.at_most:
        yield Problem((*path, "at_least"), f"at_least {condition.at_least} is above at_most {condition.at_most}: no event passes")
    if field in WORD_FIELDS:
        yield from unknown_words(field, condition.is_in or (), (*path, "in"))
        yield from unknown_words(field, condition.not_in or (), (*path, "not_in"))


def _since_problems(measure: Measure, condition: Condition, by_name: Mapping[str, Measure], path: Path) -> Iterator[Problem]:
    """A time since something: what ``of`` names, and who may ask."""
    field, here = condition.field, (*path, "of")
    if field not in SINCE_FIELDS:
        if condition.of is not None:
            yield Problem(here, f"{field} has no 'of'", f"only {listed(SINCE_FIELDS, 'and')} have")
        return
    seen = None if condition.of is None else by_name.get(condition.of)
    if condition.of is None:
        yield Problem(here, f"is missing: {field} counts from a last_seen measure")
    elif seen is None:
        yield Problem(here, f"there is no measure {condition.of!r}", did_you_mean(condition.of, by_name))
    elif seen.kind != "last_seen":
        yield Problem(here, f"{field} counts from a last_seen, and {seen.name!r} is {a_kind(seen.kind)}")
    if measure.kind == "last_seen":
        yield Problem((*path, "field"), f"a last_seen is not told {field}", "count or add up what comes so many days after it")


def _column_problems(policy: Policy) -> Iterator[Problem]:
    holders: dict[int, int] = {}
    for i, measure in enumerate(policy.measures):
        if measure.column is None:
            continue
        holder = holders.setdefault(measure.column, i)
        if holder != i:
            taken = spelled(("measures", holder))
            yield Problem(("measures", i, "column"), f"column {measure.column} is taken by {taken}", "`policy promote` gives columns")
    if holders and len(holders) < len(policy.measures):
        missing = next((i for i, measure in enumerate(policy.measures) if measure.column is None), None)
        if missing is not None:
            hint = "leave all columns out: `policy promote` gives them, the same as before where a measure is the same"
            yield Problem(("measures", missing, "column"), "is missing, though other measures have one", hint)
    if holders and policy.next_column is not None and policy.next_column <= max(holders):
        yield Problem(("next_column",), f"must be above {max(holders)}, the highest column", "`policy promote` writes it")
