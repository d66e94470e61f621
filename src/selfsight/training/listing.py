"""What a listing must be for training to begin with it, and to go on with it."""

from __future__ import annotations

import numpy as np

from selfsight.data.manifest import Manifest
from selfsight.errors import DataError

__all__ = ["check_share", "lost"]

SHARE = 0.1  # of files that cannot be read, at most


def check_share(manifest: Manifest) -> None:
    """DataError when more than a tenth of the files cannot be read."""
    bad, good = len(manifest.bad), len(manifest.paths)
    if bad > SHARE * (bad + good):
        first = manifest.bad[0]
        raise DataError(
            f"{bad} of {bad + good} files cannot be read, the first is {first.path!r} ({first.reason}); "
            "`selfsight inspect` names them all: mend or remove them first"
        )


def lost(kept: Manifest, now: Manifest) -> list[str]:
    """Names of a run's pictures that are gone, or cannot be read, `now`; [] where more than a tenth are, or anything
    else changed as well.

    Training goes on without them, as it does when a file vanishes while it runs.
    """
    there = set(now.names)
    gone = [name for name in kept.names if name not in there]
    if not 0 < len(gone) <= SHARE * len(kept):
        return []
    rest = kept.taking(np.array([row for row, name in enumerate(kept.names) if name in there]))
    return gone if rest.paths == now.paths and rest.difference(now) is None else []
