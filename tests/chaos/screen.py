"""What a long run tells whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

Tell = Callable[[str], None]
Show = Callable[[str, float, float], None]


@contextmanager
def told(console: Console) -> Iterator[tuple[Tell, Show]]:
    """``Tell`` what happens, as it happens; ``Show`` what is done, how much of it and of how much, in a bar below it on a terminal."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        tasks: dict[str, int] = {}

        def show(what: str, done: float, total: float) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=total)  # type: ignore[arg-type]

        yield lambda what: console.print(what, markup=False, highlight=False), show
