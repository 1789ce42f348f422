"""A file's text as a tree of plain data, and a mistake in it as a place in the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from engine.policy.errors import Place, PolicyError, PolicyErrors, Problem, spelled
from engine.policy.sentences import UNKNOWN_KEY
from engine.policy.tree import Tree, YamlError, read_tree

BYTES_MAX: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class Text:
    """What was read, and the name of its source in mistakes."""

    source: str
    tree: Tree


def read_mapping(raw: bytes, source: str, what: str, begin: str) -> Text:
    """The mapping that a text in YAML (or JSON) is; ``what`` it should be, and how that begins. Raises PolicyErrors."""
    try:
        tree = read_tree(_decoded(raw))
    except YamlError as error:
        raise PolicyErrors([PolicyError(source, *error.place, "", error.message, error.hint)]) from None
    if not isinstance(tree.plain, dict):
        kind = "is empty" if tree.plain is None else f"is a {'list' if isinstance(tree.plain, list) else 'single value'}"
        raise PolicyErrors([PolicyError(source, *tree.place(()), "", f"{what} is a mapping of keys to values, and this {kind}", begin)])
    return Text(source, tree)


def located(problems: Iterable[Problem], text: Text) -> list[PolicyError]:
    """Each mistake with its line and column."""
    return [_located(problem, text) for problem in problems]


def _located(problem: Problem, text: Text) -> PolicyError:
    tree = text.tree
    of_key = problem.message == UNKNOWN_KEY or (problem in tree.problems and problem.path in tree.doubles)
    place = tree.place_of_key(problem.path) if of_key else tree.place(problem.path)
    return PolicyError(text.source, *place, spelled(problem.path), problem.message, problem.hint)


def _decoded(raw: bytes) -> str:
    if len(raw) > BYTES_MAX:
        raise YamlError(Place(1, 1), f"the document has more than {BYTES_MAX // 1024} KiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].rpartition(b"\n")[2]
        place = Place(raw.count(b"\n", 0, error.start) + 1, len(before.decode("utf-8-sig", "replace")) + 1)
        raise YamlError(place, f"byte 0x{raw[error.start]:02X} is not UTF-8", "save the file as UTF-8") from None
