"""The sound part of a document with mistakes, so that one reading names the others as well.

A document that pydantic refuses cannot be verified as a whole. ``salvage`` leaves out what was refused (a key, else the item of the list it
belongs to) until the rest is a policy. What the rest is then found wrong in is only told if it cannot follow from what was left out: nothing
is said of a measure, feature, characteristic, requirement or group of bands with a mistake inside, nor of what refers to one by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from pydantic import ValidationError

from engine.policy.document import Policy
from engine.policy.errors import Path, Problem
from engine.policy.sentences import UNKNOWN_KEY, problems_of

ROUNDS_MAX: Final = 10

_STAND_INS: Final[dict[str, object]] = {
    "policy": "unnamed",
    "version": 1,
    "currency": "XXX",
    "base_points": 0,
    "limits": {"product_cap_minor": 0, "legal_cap_minor": 0, "round_to_minor": 1},
    "cool_down": {"up_days": 0, "down_days": 0},
    "rates": None,
}
_OPTIONAL: Final = frozenset(name for name, field in Policy.model_fields.items() if not field.is_required())


def verify_the_rest(plain: object, found: Iterable[Problem], verify: Callable[[Policy], list[Problem]]) -> list[Problem]:
    """What ``verify`` says of the part of ``plain`` that is left without what was ``found``, as far as it holds for the whole."""
    salvage = _Salvage(plain)
    salvage.leave_out(found)
    for _ in range(ROUNDS_MAX):
        origin: dict[Path, Path] = {}
        rest = salvage.rest(plain, (), (), origin)
        try:
            policy = Policy.from_plain(rest)
        except ValidationError as error:
            problems = [problem._replace(path=origin.get(problem.path, problem.path)) for problem in problems_of(error, rest)]
            if salvage.leave_out(problems):
                continue
            return []
        told = (problem._replace(path=_original(problem.path, origin)) for problem in verify(policy))
        return [problem for problem in told if not salvage.explains(problem)]
    return []


def _original(path: Path, origin: dict[Path, Path]) -> Path:
    known = path
    while known not in origin:
        known = known[:-1]
    return origin[known] + path[len(known) :]


class _Salvage:
    """What to leave out of a document, what to put in its place, and whom that touches."""

    def __init__(self, plain: object) -> None:
        self.plain = plain
        self.cuts: set[Path] = set()
        self.stand_ins: dict[Path, object] = {}
        self.touched: set[Path] = set()
        self.names: set[str] = set()

    def leave_out(self, problems: Iterable[Problem]) -> bool:
        """Leave out (or replace) what the problems speak of; False if that changes nothing."""
        before = len(self.cuts) + len(self.stand_ins)
        for problem in problems:
            self._leave_out(problem)
        return len(self.cuts) + len(self.stand_ins) > before

    def _leave_out(self, problem: Problem) -> None:
        path = problem.path
        unit = _unit(path)
        self.touched.add(unit)
        self.names.update(_names(_at(self.plain, unit)))
        if problem.message == UNKNOWN_KEY:
            self.cuts.add(path)
            return
        place = 2 if path[:1] == ("segments",) else 0
        if len(path) > place and path[place] in _STAND_INS:
            self.stand_ins[path[: place + 1]] = _STAND_INS[str(path[place])]
            return
        items = [length for length, step in enumerate(path, 1) if isinstance(step, int)]
        if items:
            self.cuts.add(path[: items[-1]])
        elif path and path[0] in _OPTIONAL:
            self.cuts.add(path[:1])

    def rest(self, value: object, here: Path, there: Path, origin: dict[Path, Path]) -> object:
        """``value`` (at ``here``) without the cuts; ``origin`` receives where each path of the result comes from."""
        origin[there] = here
        if isinstance(value, dict):
            kept = {
                key: self.rest(item, (*here, key), (*there, key), origin) for key, item in value.items() if (*here, key) not in self.cuts
            }
            return kept | {path[-1]: stand_in for path, stand_in in self.stand_ins.items() if path[:-1] == here}
        if isinstance(value, list):
            rest: list[object] = []
            for i, item in enumerate(value):
                if (*here, i) not in self.cuts:
                    rest.append(self.rest(item, (*here, i), (*there, len(rest)), origin))
            return rest
        return value

    def explains(self, problem: Problem) -> bool:
        """Whether the problem may come from what was left out."""
        path = problem.path
        if any(path[: len(unit)] == unit for unit in self.touched):
            return True
        if path == ("default_segment",) and any(cut[:1] == ("segments",) and len(cut) == 2 for cut in self.cuts):
            return True
        about = _at(self.plain, path[:2]) if path[:1] == ("features",) else _at(self.plain, path)
        return not self.names.isdisjoint(_words(about))


def _unit(path: Path) -> Path:
    """The smallest part of a policy that is judged by itself."""
    if path[:1] == ("segments",):
        single = path[2:3] in (("scorecard",), ("eligibility",))
        return path[:4] if single else path[:3]
    return path[:2]


def _at(plain: object, path: Path) -> object:
    for step in path:
        if isinstance(plain, dict):
            plain = plain.get(step)
        elif isinstance(plain, list) and isinstance(step, int) and step < len(plain):
            plain = plain[step]
        else:
            return None
    return plain


def _names(unit: object) -> Iterator[str]:
    """The names that a unit gives: its own, or those of its bands."""
    for item in unit if isinstance(unit, list) else [unit]:
        if isinstance(item, dict) and isinstance(item.get("name"), str):
            yield item["name"]


def _words(value: object) -> Iterator[str]:
    """The texts that stand in a value, directly in a mapping, or in a list there."""
    for item in value.values() if isinstance(value, dict) else [value]:
        yield from (word for word in (item if isinstance(item, list) else [item]) if isinstance(word, str))
