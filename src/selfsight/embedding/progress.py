"""How far embedding is: one line on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["line"]


@contextmanager
def line(title: str, count: int, console: Console | None = None) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of pictures done out of `count`; the line on stderr goes when all is done."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=count)
        yield lambda done: progress.update(task, completed=done)
