"""From a file to a policy: every mistake at once, each with its line and column."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path as FilePath
from typing import Final

from pydantic import ValidationError

from engine.policy.combine import Combination, combine
from engine.policy.document import Policy
from engine.policy.errors import PolicyError, PolicyErrors, Problem, did_you_mean, spelled
from engine.policy.pack import Pack
from engine.policy.pack_source import built_in_packs, load_pack, pack_file
from engine.policy.salvage import verify_the_rest
from engine.policy.sentences import problems_of
from engine.policy.text import BYTES_MAX, Text, located, read_mapping
from engine.policy.verify import verify

__all__ = ["BYTES_MAX", "from_plain", "load_combined", "load_policy", "parse_policy"]

_BEGIN: Final = "begin with 'policy: <name>'; policies/minimal.yaml shows the least there must be"
_LAW_IS_WRITTEN: Final = Problem(("law",), "is written by `limit-engine policy promote` alone", "name packs, and leave law out")


def load_policy(path: FilePath | str, on: date | None = None) -> Policy:
    """Read and verify a policy in YAML (or JSON). Raises PolicyErrors.

    ``on`` is the day whose law holds (an instant: the policy's day at it): the policy that comes back is combined with its packs. Without it
    the policy is as written; one with packs can then be neither promoted nor compiled.
    """
    return _as_written(path)[0] if on is None else load_combined(path, on).policy


def load_combined(path: FilePath | str, on: date) -> Combination:
    """A policy combined with the packs it names, as the law stands ``on`` that day (or instant). Raises PolicyErrors."""
    policy, text = _as_written(path)
    if policy.packs is None:
        return Combination(policy)
    packs, problems = _packs(policy, FilePath(path).parent)
    if not problems:
        combination, problems = combine(policy, packs, _day_of(policy, on))
        if combination is not None:
            return combination
    raise PolicyErrors(located(problems, text))


def parse_policy(raw: bytes, source: str) -> Policy:
    """Parse and verify a policy in YAML (or JSON), as written; ``source`` names it in the mistakes. Raises PolicyErrors."""
    return _parsed(raw, source)[0]


def from_plain(value: object, source: str) -> Policy:
    """Verify a policy in plain JSON data, as ``limit-control`` carries it. Raises PolicyErrors, whose mistakes have no line."""
    policy, problems = _checked(value)
    if policy is not None and policy.packs is not None:
        problems.append(Problem(("packs",), "are combined with the policy before it is put in force", "use `limit-engine policy promote`"))
    if problems or policy is None:
        raise PolicyErrors(PolicyError(source, None, None, spelled(path), message, hint) for path, message, hint in problems)
    return policy


def _as_written(path: FilePath | str) -> tuple[Policy, Text]:
    source = str(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise PolicyErrors([PolicyError(source, None, None, "", f"cannot be read: {error.strerror}")]) from None
    return _parsed(raw, source)


def _parsed(raw: bytes, source: str) -> tuple[Policy, Text]:
    text = read_mapping(raw, source, "a policy", _BEGIN)
    plain = text.tree.plain
    policy, problems = _checked(plain)
    if isinstance(plain, dict) and "law" in plain:
        problems = [_LAW_IS_WRITTEN, *(problem for problem in problems if problem.path[:1] != ("law",))]
    errors = located([*text.tree.problems, *problems], text)
    if errors or policy is None:
        raise PolicyErrors(errors)
    return policy, text


def _checked(plain: object) -> tuple[Policy | None, list[Problem]]:
    try:
        policy = Policy.from_plain(plain)
    except ValidationError as error:
        found = problems_of(error, plain)
        return None, found + verify_the_rest(plain, found, verify)
    return policy, verify(policy)


def _packs(policy: Policy, beside: FilePath) -> tuple[dict[str, Pack], list[Problem]]:
    """The packs that a policy names. Raises PolicyErrors with the mistakes of a pack's own file."""
    packs: dict[str, Pack] = {}
    problems = []
    for i, use in enumerate(policy.packs or ()):
        if use.pack in packs:
            continue
        file = pack_file(use.pack, beside)
        try:
            packs[use.pack] = load_pack(file)
        except OSError as error:
            path = ("packs", i, "pack")
            if use.pack.endswith(".yaml"):
                hint = "a path begins at the policy's own directory"
                problems.append(Problem(path, f"{file} cannot be read: {error.strerror}", hint))
            else:
                known = built_in_packs()
                hint = did_you_mean(use.pack, known) or f"known: {', '.join(known)}, or a path that ends in .yaml"
                problems.append(Problem(path, f"there is no pack {use.pack!r}", hint))
    return packs, problems


def _day_of(policy: Policy, on: date) -> date:
    if not isinstance(on, datetime):
        return on
    offset = timezone(timedelta(minutes=policy.utc_offset_minutes))
    return (on if on.tzinfo is not None else on.replace(tzinfo=UTC)).astimezone(offset).date()
