"""What a run may be scored on: pictures that it was not trained on, and what to say where that is not so."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from selfsight.data.manifest import Manifest
from selfsight.errors import DataError


def unseen(manifest: Manifest, *trained: Manifest) -> tuple[Manifest, list[str]]:
    """`manifest` without the test pictures that are in what was `trained` on, and notes for people.

    `trained` are the pictures of a run, and of those that it took its weights from. A run that was asked to train on
    everything (`use_all`) keeps them, and the note says so. Raises DataError when a test part had pictures and none is
    left.
    """
    seen, run = trained_on(manifest, *trained), "this run" + " or one that it started from" * (len(trained) > 1)
    count, total = int((seen & manifest.test).sum()), int(manifest.test.sum())
    notes = []
    if any(one.use_all for one in trained):
        notes.append(_used_all(run.capitalize(), count, total))
    elif not total and seen.any():
        notes.append(
            f"There is no test part: {int(seen.sum())} of the {len(manifest)} pictures measured were trained on."
        )
    elif count == total > 0:
        raise DataError(
            f"all {total} test pictures were trained on by {run}, so nothing can be said of unseen ones; give other "
            "pictures as DATA"
        )
    elif count:
        notes.append(f"{count} of {total} test pictures were trained on by {run} and are left out.")
        manifest = manifest.taking(np.flatnonzero(~(seen & manifest.test)))
    return manifest, notes


def held_out(manifest: Manifest, *trained: Manifest) -> bool:
    """Whether none of the pictures that scores are of are in what was `trained` on."""
    scored = manifest.test if manifest.test.any() else ~manifest.test
    return not bool((trained_on(manifest, *trained) & scored).any())


def trained_on(manifest: Manifest, *trained: Manifest) -> Bool[np.ndarray, "N"]:
    """Which pictures of `manifest` have the contents of one that was `trained` on."""
    known = {one.digests[row] for one in trained for row in one.train_rows()}
    return np.array([digest in known for digest in manifest.digests], bool)


def _used_all(run: str, count: int, total: int) -> str:
    if total and not count:
        return f"{run} was trained on its test part too (--use-all); none of these {total} test pictures is of it."
    which = f"{count} of {total} test pictures here were trained on" if total else "there is no test part here"
    return f"{run} was trained on its test part too (--use-all): {which}, so these are no scores of unseen pictures."
