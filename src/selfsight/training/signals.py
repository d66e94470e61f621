"""Signals set a flag; the loop looks at it between steps. A second Ctrl-C ends at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Signals:
    """While it is open, SIGINT, SIGTERM and SIGUSR1 only say `asked`, the signal's number."""

    def __init__(self) -> None:
        self.asked = 0

    def __enter__(self) -> Signals:
        self.usable = threading.current_thread() is threading.main_thread()  # Python's rule for handlers
        self.before = {number: signal.signal(number, self._note) for number in CAUGHT} if self.usable else {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            os._exit(128 + number)  # the last good checkpoint stands; nothing is being renamed that could be lost
        self.asked = number
