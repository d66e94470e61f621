"""Pictures by row, ready for the views; a file that turns out bad costs one line and is replaced, always the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Int

from selfsight.data import remote, shards
from selfsight.data.bad import BadFile, add_bad_files, first_bytes, write_bad_files
from selfsight.data.canvases import Canvases
from selfsight.data.decode import Refused
from selfsight.data.kinds import KINDS
from selfsight.data.manifest import Manifest
from selfsight.data.order import Purpose, keyed
from selfsight.data.ranges import PixelFormat, conform, format_of
from selfsight.data.shards import content_digest
from selfsight.errors import DataError, TrainingError
from selfsight.recipe import Recipe

__all__ = ["BadFile", "Pictures", "add_bad_files", "pictures_of", "write_bad_files"]

STRIDE = 16  # rows between two pictures that are still read in order: a part of them may be asked for
CHUNK = 256  # rows that are then fetched together
TRIES = 100  # replacements that are tried for one row; with a tenth of them bad, 100 in a row have chance 1e-100


class Pictures:
    """The decoded pictures of a manifest in one pixel format. Safe to read from several threads.

    `noted` is the bad_files.csv that is brought up to date before the pictures are refused; with `kept`, what was
    decoded is kept in a file, for later epochs and other runs; None takes from such a file, where there is one, those
    pictures whose own files are still there. Pictures are halved as long as both sides stay `least` pixels, if given.
    """

    def __init__(
        self,
        manifest: Manifest,
        format: PixelFormat,
        max_bad: float = 0.1,
        noted: Path | None = None,
        kept: bool | None = False,
        least: int | None = None,
    ) -> None:
        keeps = kept is not False and manifest.kind == "pictures"
        self.canvases = Canvases(manifest, format, least, begin=bool(kept)) if keeps else None
        self.manifest, self.format, self.least, self.max_bad, self.noted = manifest, format, least, max_bad, noted
        trained = manifest.train_rows()
        self.train = trained if len(trained) else manifest.every_row()  # a set to evaluate may be all test
        self.say: Callable[[str], None] = lambda sentence: None  # where a sentence for the user goes
        self._bad: dict[int, BadFile] = {}
        self._heard: dict[int, BadFile] = {}  # that other ranks met and this one did not: it may read them
        self._training = bool(kept)
        self._opened: set[int] = set()  # rows that were decoded once, and so can be in this process
        self._lock = Lock()
        self._far = any(map(remote.is_address, manifest.paths))
        self._last, self._fetched = -STRIDE - 1, 0  # the row that was read last, and up to where rows were fetched

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def bad_files(self) -> list[BadFile]:
        """Every bad file so far: those of the scan, then those found while reading, by row."""
        with self._lock:
            found = self._heard | self._bad
        return [*self.manifest.bad, *(found[row] for row in sorted(found))]

    @property
    def met(self) -> dict[int, BadFile]:
        """The bad files that were found while reading, by row."""
        with self._lock:
            return dict(self._bad)

    def hear(self, met: Mapping[int, BadFile]) -> None:
        """Count what another rank met; TrainingError above the allowed share."""
        with self._lock:
            self._heard |= {row: bad for row, bad in met.items() if row not in self._bad}
        self._check()

    def read(self, row: int, among: Int[np.ndarray, "M"] | None = None) -> tuple[np.ndarray, int]:
        """The picture (H, W, C) in the set's format, and the row it really is of.

        A bad file is recorded once and replaced by a row of `among` (default: training rows) that a generator keyed by
        the row picks: another process, or a resumed one, picks the same. Raises TrainingError above the allowed share.
        """
        if self._far:
            self._follow(row)
        candidates = self.train if among is None else among
        generator, used = None, row
        for _ in range(TRIES):
            if (picture := self._try(used)) is not None:
                return picture, used
            generator = generator or keyed(0, row, Purpose.REPLACEMENT)
            used = int(candidates[generator.integers(len(candidates))])
        self._note()
        raise TrainingError(
            f"no readable picture was found to replace {self.manifest.names[row]!r}; see bad_files.csv."
        )

    def ahead(self, rows: Int[np.ndarray, "M"]) -> None:
        """Fetch together what `read` will soon ask for one by one; nothing where pictures are files."""
        if self._far:
            kept = self.canvases
            shards.ahead(self.manifest.paths[row] for row in rows if not kept or kept.get(int(row)) is None)

    def _follow(self, row: int) -> None:
        """Where rows are read in their order, fetch some of the next together."""
        self._fetched *= row > self._last
        if 0 < row - self._last <= STRIDE and row >= self._fetched:
            self._fetched = min(row + CHUNK, len(self))
            self.ahead(np.arange(row, self._fetched))
        self._last = row

    def _try(self, row: int) -> np.ndarray | None:
        if row in self._bad:
            return None
        if self.canvases and self._there(row) and (kept := self.canvases.get(row)) is not None:
            return kept
        path, kind = self.manifest.paths[row], KINDS[self.manifest.kind]
        try:
            data = kind.read(path)
            same = content_digest(data) == self.manifest.digests[row]
            array = (kind.again if same and row in self._opened else kind.array)(data, self.least)
            picture = conform(array, self.format)
            if not same:
                raise Refused("changed", "not the file that was listed")
            self._opened.add(row)
            self._keep(row, picture)
            return picture
        except Refused as error:
            self._record(row, BadFile(path, error.reason, error.detail, first_bytes(path)))
        except DataError as error:  # from conform
            self._record(row, BadFile(path, "other_format", str(error), first_bytes(path)))
        return None

    def _there(self, row: int) -> bool:
        """Whether what is kept may stand for the file: to training always, to others while the file is there."""
        return self._training or self._far or Path(self.manifest.paths[row]).exists()

    def _keep(self, row: int, picture: np.ndarray) -> None:
        try:
            if self.canvases:
                self.canvases.keep(row, picture)
        except OSError as error:
            self.say(f"decoded pictures are no longer kept ({error.strerror}); all goes on, with more decoding")

    def _record(self, row: int, bad: BadFile) -> None:
        with self._lock:
            self._bad.setdefault(row, bad)
            self._heard.pop(row, None)
        self._check()

    def _check(self) -> None:
        """Refuse to go on above the allowed share of bad files."""
        bad = len(self.manifest.bad) + len(self._bad) + len(self._heard)
        every = len(self.manifest) + len(self.manifest.bad)
        if bad > self.max_bad * every:
            self._note()
            last = self.bad_files[-1]
            raise TrainingError(
                f"{bad} of {every} files are no readable pictures, more than {self.max_bad:.0%} (such as "
                f"{last.path!r}: {last.reason}); they are listed in bad_files.csv: repair or remove them."
            )

    def _note(self) -> None:
        if self.noted is not None:
            with suppress(OSError):  # on a full disk the refusal itself is what people must read
                add_bad_files(self.noted, self.bad_files)


def pictures_of(recipe: Recipe, manifest: Manifest) -> Pictures:
    """Pictures as a run's encoder is used to see them; bad files are left out, however many."""
    return Pictures(manifest, format_of(recipe), max_bad=1.0, kept=None, least=recipe.least_side)
