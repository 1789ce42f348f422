"""What pydantic says of a document, in sentences for the analyst who wrote it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from engine.policy.document import INPUT_PATTERN, PACK_PATTERN, RULE_PATTERN, Policy
from engine.policy.errors import Path, Problem, did_you_mean, listed

UNKNOWN_KEY: Final = "unknown key"
KEYS_LISTED_MAX: Final = 10

_TAGGED: Final = "features"  # the one list whose items pydantic tells apart by a tag, which it puts into the error's location
_PATTERNS: Final = {
    "^[a-z][a-z0-9_]{0,47}$": "must be a name: a small letter first, then small letters, digits and _, at most 48 in all",
    PACK_PATTERN: "must be the name of a pack, or a path that ends in .yaml",
    RULE_PATTERN: "must be a rule's name, such as cn.net_micro.consumer_cap",
    INPUT_PATTERN: "must be a name, with a * at the end where it is only the beginning",
    "^[A-Z]{3}$": "must be a currency of three capital letters, such as CNY",
}
_FIGURE: Final = "must be a figure of the profile, or attributes. and its name"

Context = Mapping[str, Any]


def problems_of(error: ValidationError, plain: object, root: type[BaseModel] = Policy) -> list[Problem]:
    """Every mistake that pydantic found in ``plain``, a document of the grammar ``root``, once each."""
    found = (details for details in error.errors(include_url=False) if not _is_echo(details))
    return list(dict.fromkeys(_problem(details, plain, root) for details in found))


def _is_echo(details: ErrorDetails) -> bool:
    """A list that is too short only because pydantic does not count its wrong items."""
    return details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]


def _problem(details: ErrorDetails, plain: object, root: type[BaseModel]) -> Problem:
    path = _path(details["loc"])
    value, context = details["input"], details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            return _unknown_key(path, plain, root)
        case "missing" if isinstance(path[-1], int):
            return Problem(path[:-1], f"needs more items than its {len(value)}")
        case "missing":
            return Problem(path, "is missing")
        case "union_tag_not_found":
            return Problem((*path, "kind"), "is missing")
        case "union_tag_invalid":
            tag, known = str(context["tag"]), _quoted(context["expected_tags"])
            return Problem(
                (*path, "kind"), f"{tag!r} is not a kind of feature", did_you_mean(tag, known) or f"known: {listed(known, 'and')}"
            )
        case "literal_error" if path[-1] == "[key]":
            return Problem(path[:-1], UNKNOWN_KEY, f"known here: {listed(_quoted(context['expected']), 'and')}")
        case "literal_error":
            return _not_one_of(path, value, context["expected"])
        case "value_error":
            return Problem(path, f"{context['error']}, not {described(value)}")
        case "string_pattern_mismatch":
            return Problem(path, f"{_PATTERNS.get(context['pattern'], _FIGURE)}, not {described(value)}")
        case kind if kind in _SENTENCES:
            message, hint = _SENTENCES[kind](value, context)
            return Problem(path, message, hint)
    return Problem(path, details["msg"])


def _path(location: tuple[int | str, ...]) -> Path:
    """The location without the tag of a feature's kind."""
    if len(location) > 2 and location[0] == _TAGGED:
        return (*location[:2], *location[3:])
    return location


def described(value: object) -> str:
    """A value as a sentence names it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str() if len(value) > 40:
            return f"{value[:37]!r}..."
        case _:
            text = repr(value)
            return text if len(text) <= 40 else f"{text[:37]}..."


def _number(value: object, context: Context) -> tuple[str, str]:
    hint = ""
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9][0-9_]{0,20}", value):
        hint = "write it without quotes"
    elif isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+(,[0-9]+)+", value):
        hint = f"write {value.replace(',', '_')}"
    elif isinstance(value, float):
        hint = "amounts are in minor units, shares in percent or per mille"
    return f"must be a whole number, not {described(value)}", hint


def _truth(value: object, context: Context) -> tuple[str, str]:
    return f"must be true or false, not {described(value)}", ""


def _text(value: object, context: Context) -> tuple[str, str]:
    plain = isinstance(value, bool | int | float)
    return f"must be text, not {described(value)}", "put it in quotes" if plain else ""


def _list(value: object, context: Context) -> tuple[str, str]:
    hint = f"write [{value}]" if isinstance(value, str | int) and len(str(value)) <= 40 else "write it in brackets" if value else ""
    return f"must be a list, not {described(value)}", hint


def _mapping(value: object, context: Context) -> tuple[str, str]:
    return f"must be a mapping of keys to values, not {described(value)}", ""


def _items(limit: str, key: str) -> Callable[[object, Context], tuple[str, str]]:
    def sentence(value: object, context: Context) -> tuple[str, str]:
        count = context[key]
        return f"needs {limit} {count} item{'s' if count != 1 else ''}, has {context['actual_length']}", ""

    return sentence


def _characters(limit: str, key: str) -> Callable[[object, Context], tuple[str, str]]:
    return lambda value, context: (f"must have {limit} {context[key]} character{'s' if context[key] != 1 else ''}", "")


def _bound(limit: str, key: str) -> Callable[[object, Context], tuple[str, str]]:
    return lambda value, context: (f"must be {limit} {context[key]}, not {described(value)}", "")


_SENTENCES: Final[dict[str, Callable[[object, Context], tuple[str, str]]]] = {
    "int_type": _number,
    "bool_type": _truth,
    "string_type": _text,
    "tuple_type": _list,
    "dict_type": _mapping,
    "model_type": _mapping,
    "model_attributes_type": _mapping,
    "too_short": _items("at least", "min_length"),
    "too_long": _items("at most", "max_length"),
    "string_too_short": _characters("at least", "min_length"),
    "string_too_long": _characters("at most", "max_length"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than_equal": _bound("at most", "le"),
}


def _quoted(expected: str) -> list[str]:
    """The words in pydantic's ``'a', 'b' or 'c'``; bare where they are numbers."""
    return re.findall(r"'([^']*)'", expected) or re.findall(r"\w+", expected.replace(" or ", ", "))


def _not_one_of(path: Path, value: object, expected: str) -> Problem:
    known = _quoted(expected)
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    if isinstance(value, bool):
        hint = "put it in quotes" if str(value).lower() in known else ""
    return Problem(path, f"must be {listed(known)}, not {described(value)}", hint)


def _unknown_key(path: Path, plain: object, root: type[BaseModel]) -> Problem:
    known = known_keys(path[:-1], plain, root)
    hint = did_you_mean(str(path[-1]), known)
    if not hint and len(known) <= KEYS_LISTED_MAX:
        hint = f"known here: {listed(known, 'and')}"
    return Problem(path, UNKNOWN_KEY, hint)


def known_keys(path: Path, plain: object, root: type[BaseModel] = Policy) -> list[str]:
    """The keys that the mapping at ``path`` of ``plain`` may have."""
    models: list[type[BaseModel]] = [root]
    for step in path:
        plain = _child(plain, step)
        if isinstance(step, str):
            fields = [field for model in models for name, field in model.model_fields.items() if (field.alias or name) == step]
            models = [model for field in fields for model in _models_in(field.annotation)]
        if isinstance(plain, dict) and "kind" in plain:
            models = [model for model in models if _has_kind(model, plain["kind"])] or models  # a kind that none has narrows nothing
    return list(dict.fromkeys(field.alias or name for model in models for name, field in model.model_fields.items()))


def _child(plain: object, step: str | int) -> object:
    if isinstance(plain, dict):
        return plain.get(step)
    return plain[step] if isinstance(plain, list | tuple) and isinstance(step, int) and step < len(plain) else None


def _has_kind(model: type[BaseModel], kind: object) -> bool:
    field = model.model_fields.get("kind")
    if field is None or get_origin(field.annotation) is not Literal:
        return True
    return kind in get_args(field.annotation)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value of this annotation consists of, in lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
