"""From a file to a pack: every mistake at once, each with its line and column; and where the built-in packs lie."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Final

from pydantic import ValidationError

from engine.policy.errors import PolicyError, PolicyErrors, Problem
from engine.policy.pack import Pack, pack_problems
from engine.policy.sentences import problems_of
from engine.policy.text import Text, located, read_mapping

_ENGINE: Final = FilePath(__file__).resolve().parent.parent
_WRITE: Final = {
    "source": "write the law, its number and its article",
    "valid_from": "write the day from which on it binds, such as valid_from: 2024-12-31",
    "checked_on": "write the day on which somebody read it at its source, such as checked_on: 2026-11-25, or checked_on: recalled",
    "demands": "write in one sentence what it demands",
    "applies_to": "write applies_to: consumer, business or all",
    "name": "write a name that stays, such as cn.net_micro.consumer_cap",
}


def packs_directory() -> FilePath:
    """Where the packs lie that come with the engine: in the package, or beside it in the repository."""
    installed = _ENGINE / "policies" / "packs"
    return installed if installed.is_dir() else _ENGINE.parent / "policies" / "packs"


def built_in_packs() -> list[str]:
    """The names of the packs that come with the engine."""
    return sorted(file.stem for file in packs_directory().glob("*.yaml"))


def pack_file(word: str, beside: FilePath) -> FilePath:
    """The file of a pack that a policy in the directory ``beside`` names."""
    return beside / word if word.endswith(".yaml") else packs_directory() / f"{word}.yaml"


def load_pack(path: FilePath | str) -> Pack:
    """Read and verify a pack in YAML. Raises OSError, or PolicyErrors."""
    return parse_pack(FilePath(path).read_bytes(), str(path))


def parse_pack(raw: bytes, source: str) -> Pack:
    """Parse and verify a pack in YAML; ``source`` names it in the mistakes. Raises PolicyErrors."""
    text = read_mapping(raw, source, "a pack", "begin with 'pack: <name>'; policies/packs/cn.yaml shows one")
    try:
        pack = Pack.from_plain(text.tree.plain)
        problems = list(pack_problems(pack))
    except ValidationError as error:
        raise PolicyErrors(_errors(text, [_with_hint(problem) for problem in problems_of(error, text.tree.plain, Pack)])) from None
    errors = _errors(text, problems)
    if errors:
        raise PolicyErrors(errors)
    return pack


def _with_hint(problem: Problem) -> Problem:
    """What to write where a rule leaves out what it must say, or says nothing there."""
    says_nothing = problem.message.startswith(("is missing", "must be text", "must say something"))
    if problem.path[:1] != ("rules",) or problem.hint or not says_nothing:
        return problem
    return problem._replace(hint=_WRITE.get(str(problem.path[-1]), ""))


def _errors(text: Text, problems: list[Problem]) -> list[PolicyError]:
    return located([*text.tree.problems, *problems], text)
