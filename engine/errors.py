"""The engine's family of errors: each says what went wrong, where, and what to do about it."""

from __future__ import annotations


class EngineError(Exception):
    """A failure that a person is told about.

    ``what`` is a sentence without a full stop, ``where`` the part that it happened in (a service, a file, a topic), ``cure`` what
    the reader can do; the last two may be empty.
    """

    def __init__(self, what: str, *, where: str = "", cure: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.cure = cure

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  cure: {self.cure}" if self.cure else head
