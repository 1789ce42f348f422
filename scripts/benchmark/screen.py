"""What the benchmark tells whoever waits for it, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Show = Callable[[int, int], None]  # how much is done, and of how much

messages: Final = Console(stderr=True, highlight=False)


@contextmanager
def progress(what: str, *, is_quiet: bool = False) -> Iterator[Show]:
    """Say what is done, with a bar while it is; without the bar where stderr is no terminal or ``is_quiet``."""
    messages.print(f"{what} ...", markup=False)
    columns = TextColumn("  "), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=messages, transient=True, disable=is_quiet or not messages.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
