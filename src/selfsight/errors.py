"""What can go wrong, in the user's words.

SelfsightError                 one sentence: what, where, and the remedy (exit code 2)
├── DataError                  the pictures or their table
│   └── ImageError             one file; `reason` is a short code such as "truncated"
├── AddressError               an address that does not answer, however often it was asked
├── RecipeError                an unknown or impossible method, encoder or setting
├── RunError                   a run folder: not one, another one, unreadable, busy
│   └── CheckpointError        a checkpoint is damaged or missing
├── DiskError                  no room, or the place cannot be written
├── ExportError                what was exported does not answer as the run's encoder does
├── TrainingError              training stopped itself (too many bad files, a rank that is gone)
│   ├── DivergedError          steps in a row that were not finite (exit code 3)
│   ├── CollapsedError         nothing is learned any more, and --on-collapse stop was asked for (exit code 3)
│   └── Interrupted            a signal ended it after a save; `signal` is its number (exit code 128 + that)
└── MissingError               an optional part or file that is not installed
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec

LONGEST = 300  # letters of what a library says
UNSEEN = re.compile(  # Unicode's Cc, Cs, Zl and Zp, and what turns the direction of the text behind it
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


class SelfsightError(Exception):
    """Everything that Selfsight raises on purpose. `code` is what the command line then ends with."""

    code = 2


class DataError(SelfsightError):
    """The pictures or their table cannot be used as given."""


class ImageError(DataError):
    """One file is not a picture that can be decoded.

    `reason` is one short code (see `selfsight.data.decode`); `path` is the file as the user named it.
    """

    def __init__(self, path: str, reason: str, detail: str = "") -> None:
        self.path, self.reason, self.detail = path, reason, detail
        super().__init__(f"{path!r}: {reason}" + (f" ({detail})" if detail else ""))


class AddressError(SelfsightError):
    """An address does not answer, however often it was asked; what was done until then is kept."""


class RecipeError(SelfsightError):
    """An unknown or impossible method, encoder or setting."""


class RunError(SelfsightError):
    """A run folder is missing, is another run's, or is in use."""


class CheckpointError(RunError):
    """A checkpoint is damaged or missing."""


class DiskError(SelfsightError):
    """There is no room, or the place cannot be written."""


class ExportError(SelfsightError):
    """What was exported does not answer as the run's encoder does; nothing was left behind."""


class TrainingError(SelfsightError):
    """Training stopped itself; the last good checkpoint stands."""


class DivergedError(TrainingError):
    """Steps in a row were not finite."""

    code = 3


class CollapsedError(TrainingError):
    """The guard found that nothing is learned any more, and was asked to stop then."""

    code = 3


class Interrupted(TrainingError):  # noqa: N818 - it is no fault
    """A signal asked training to end; the step was finished and saved. `signal` is its number."""

    def __init__(self, message: str, signal: int) -> None:
        self.signal, self.code = signal, 128 + signal
        super().__init__(message)


class MissingError(SelfsightError):
    """An optional part, a weights file or a network that is not there."""


def brief(said: object) -> str:
    """What a library says, or a name, on one line and not too long."""
    line = " ".join(str(said).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def printable(text: str, but: str = "\n") -> str:
    """The text with U+FFFD for each sign that would change how others are shown; those of `but` stay.

    Blanks of all widths and what joins letters or emoji are text: people's languages and names have them.
    """
    return UNSEEN.sub(lambda found: found[0] if found[0] in but else "\N{REPLACEMENT CHARACTER}", text)


def typed(*words: object) -> str:
    """A command of ours as people can type it, whatever signs are in its words."""
    return shlex.join(["selfsight", *map(str, words)])


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One sentence for a name that does not exist, with what there is and the nearest guess."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    guess = f" Did you mean {brief(near[0])!r}?" if near else ""
    return f"there is no {kind} {brief(name)!r}. There are: {', '.join(map(brief, names))}.{guess}"


def must_have(what: str, extra: str, *modules: str) -> None:
    """MissingError with the command that installs the extra, unless its `modules` are there. Imports none of them."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise MissingError(f"{what} needs {', '.join(missing)}; install it with: pip install 'selfsight[{extra}]'")
