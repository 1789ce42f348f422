"""From a file to a policy: every mistake at once, each with its line and column."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Final

from pydantic import ValidationError

from engine.policy.document import Policy
from engine.policy.errors import Place, PolicyError, PolicyErrors, Problem, spelled
from engine.policy.salvage import verify_the_rest
from engine.policy.sentences import UNKNOWN_KEY, problems_of
from engine.policy.tree import Tree, YamlError, read_tree
from engine.policy.verify import verify

BYTES_MAX: Final = 512 * 1024


def load_policy(path: FilePath | str) -> Policy:
    """Read and verify a policy in YAML (or JSON). Raises PolicyErrors."""
    source = str(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise PolicyErrors([PolicyError(source, None, None, "", f"cannot be read: {error.strerror}")]) from None
    return parse_policy(raw, source)


def parse_policy(raw: bytes, source: str) -> Policy:
    """Parse and verify a policy in YAML (or JSON); ``source`` names it in the mistakes. Raises PolicyErrors."""
    try:
        tree = read_tree(_decoded(raw))
    except YamlError as error:
        raise PolicyErrors([PolicyError(source, *error.place, "", error.message, error.hint)]) from None
    if not isinstance(tree.plain, dict):
        what = "is empty" if tree.plain is None else f"is a {'list' if isinstance(tree.plain, list) else 'single value'}"
        hint = "begin with 'policy: <name>'; policies/minimal.yaml shows the least there must be"
        raise PolicyErrors([PolicyError(source, *tree.place(()), "", f"a policy is a mapping of keys to values, and this {what}", hint)])
    policy, problems = _checked(tree.plain)
    errors = [_located(problem, source, tree, of_key=problem.path in tree.doubles) for problem in tree.problems]
    errors += [_located(problem, source, tree, of_key=problem.message == UNKNOWN_KEY) for problem in problems]
    if errors or policy is None:
        raise PolicyErrors(errors)
    return policy


def from_plain(value: object, source: str) -> Policy:
    """Verify a policy in plain JSON data, as ``limit-control`` carries it. Raises PolicyErrors, whose mistakes have no line."""
    policy, problems = _checked(value)
    if problems or policy is None:
        raise PolicyErrors(PolicyError(source, None, None, spelled(path), message, hint) for path, message, hint in problems)
    return policy


def _checked(plain: object) -> tuple[Policy | None, list[Problem]]:
    try:
        policy = Policy.from_plain(plain)
    except ValidationError as error:
        found = problems_of(error, plain)
        return None, found + verify_the_rest(plain, found, verify)
    return policy, verify(policy)


def _located(problem: Problem, source: str, tree: Tree, *, of_key: bool) -> PolicyError:
    place = tree.place_of_key(problem.path) if of_key else tree.place(problem.path)
    return PolicyError(source, *place, spelled(problem.path), problem.message, problem.hint)


def _decoded(raw: bytes) -> str:
    if len(raw) > BYTES_MAX:
        raise YamlError(Place(1, 1), f"the document has more than {BYTES_MAX // 1024} KiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].rpartition(b"\n")[2]
        place = Place(raw.count(b"\n", 0, error.start) + 1, len(before.decode("utf-8-sig", "replace")) + 1)
        raise YamlError(place, f"byte 0x{raw[error.start]:02X} is not UTF-8", "save the file as UTF-8") from None
