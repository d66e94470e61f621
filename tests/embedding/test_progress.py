"""The line of progress: on a terminal only."""

from __future__ import annotations

import io

from rich.console import Console

from selfsight.embedding import progress


def test_a_terminal_shows_how_far_and_a_pipe_nothing() -> None:
    shown = {}
    for terminal in (True, False):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=100)
        with progress.line("embedding", 1000, console) as tell:
            tell(256)
            tell(1000)
        shown[terminal] = file.getvalue()
    assert "embedding" in shown[True]
    assert "1000/1000" in shown[True]
    assert shown[False] == ""
