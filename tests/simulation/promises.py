"""What is raised when one is broken."""

from __future__ import annotations


class Violation(AssertionError):
    """A promise was broken."""


def demand(is_kept: bool, what: str) -> None:
    """Raise Violation unless a promise is kept."""
    if not is_kept:
        raise Violation(what)
