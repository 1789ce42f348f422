"""Mistakes in a policy: where, what, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """A mistake in a document: the path to it, a sentence, and a hint (maybe empty)."""

    path: Path
    message: str
    hint: str = ""


class Place(NamedTuple):
    """Line and column of a source, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class PolicyError:
    """A mistake in a file: ``policies/x.yaml:6:5: segments[0].bands[2].lower: message (hint)``.

    ``path`` names the source; ``line`` and ``column`` are from 1, None where the source has no lines; ``where`` is empty for the whole document.
    """

    path: str
    line: int | None
    column: int | None
    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}:{self.column}"
        subject = f"{self.where}: " if self.where else ""
        return f"{place}: {subject}{self.message}" + (f" ({self.hint})" if self.hint else "")


class PolicyErrors(Exception):
    """All mistakes of a document, in the order of the source."""

    def __init__(self, errors: Iterable[PolicyError]) -> None:
        self.errors = sorted(errors, key=lambda error: (error.line or 0, error.column or 0))
        super().__init__("\n".join(str(error) for error in self.errors))


def spelled(path: Path) -> str:
    """A path as an analyst reads it: ``segments[0].bands[2].lower``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean 'window_days'?``, or nothing if no known word is like it."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def listed(words: Sequence[str], last: str = "or") -> str:
    """``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
