"""What a person sees while training: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from selfsight import methods
from selfsight.data.bad import BadFile
from selfsight.recipe import Recipe

PLAIN_EVERY = 15.0  # seconds between lines where there is no terminal
NAMED = 3  # files that are named when they cannot be read
RECENT = 20  # steps that the shown speed is the mean of


class Watcher:
    """Keeps the last numbers and draws them. `quiet` draws nothing."""

    def __init__(self, recipe: Recipe, *, quiet: bool = False, title: str = "") -> None:
        self.recipe, self.quiet, self.title = recipe, quiet, title
        kind = methods.get(recipe.method).kind
        self.samples = "images" if kind == "pictures" else kind
        self.console = Console(stderr=True)
        self.live: Live | None = None
        self.done, self.shown_at = 0, 0.0
        self.latest: dict[str, float] = {}
        self.warning = ""
        self.named: set[str] = set()
        self.finished: deque[float] = deque(maxlen=RECENT + 1)

    def __enter__(self) -> Watcher:
        if not self.quiet and self.console.is_terminal:
            self.live = Live(Text(""), console=self.console, refresh_per_second=4, transient=False)
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.draw(force=True)
        if self.live is not None:
            self.live.__exit__(kind, error, trace)
            self.live = None

    def step(self, step: int, seconds: float) -> None:
        """A step has ended."""
        self.done = step
        self.finished.append(time.monotonic())
        self.draw()

    def terms(self, named: Mapping[str, float]) -> None:
        """The terms of the step's loss."""
        self.latest["loss"] = named["loss"]

    def quality(self, step: int, seen: Mapping[str, float]) -> None:
        """What the monitor saw."""
        self.latest.update({name: seen[name] for name in ("quality", "rankme") if name in seen})
        self.draw(force=self.live is None)

    def warn(self, step: int, cause: str, sentence: str) -> None:
        """What the guard found: a sentence that stays, and its cause in the line from now on."""
        self.warning = cause.replace("_", " ")
        self.say(f"step {step}: {sentence}")

    def say(self, sentence: str) -> None:
        """A sentence that stays, and which part of the run says it, where it has several."""
        if not self.quiet:
            self.console.print(f"{self.title}{sentence}", markup=False, highlight=False)

    def bad_files(self, bad: Sequence[BadFile]) -> None:
        """Name the first few files that turn out unreadable while training."""
        for one in bad if len(self.named) < NAMED else ():
            if one.path not in self.named and len(self.named) < NAMED:
                self.named.add(one.path)
                more = "; further ones are only listed there" if len(self.named) == NAMED else ""
                self.say(f"{one.path!r} cannot be read ({one.reason}) and is replaced; see bad_files.csv{more}")

    @property
    def images_per_second(self) -> float:
        """Over the last steps, with everything between them; 0 before there are two."""
        if len(self.finished) < 2:
            return 0.0
        return self.recipe.batch * (len(self.finished) - 1) / max(1e-9, self.finished[-1] - self.finished[0])

    def draw(self, *, force: bool = False) -> None:
        """Refresh the line, or print one when it is time."""
        if self.quiet:
            return
        if self.live is not None:
            self.live.update(Text(self.line()))
        elif force or time.monotonic() - self.shown_at >= PLAIN_EVERY:
            self.shown_at = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """The line: where, how fast, how long yet, loss, quality, rank."""
        speed = self.images_per_second
        left = (self.recipe.steps - self.done) * self.recipe.batch / speed if speed else 0.0
        parts = [f"{self.title}step {self.done}/{self.recipe.steps}"]
        if speed:
            parts += [f"{speed:,.0f} {self.samples}/s", f"{clock(left)} left"]
        names = {"loss": "loss", "quality": "quality", "rankme": "rank"}
        digits = {"loss": 3, "quality": 3, "rankme": 0}
        parts += [f"{names[key]} {self.latest[key]:.{digits[key]}f}" for key in names if key in self.latest]
        return " · ".join([*parts, f"warning: {self.warning}"] if self.warning else parts)


def clock(seconds: float) -> str:
    """3:07 or 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
