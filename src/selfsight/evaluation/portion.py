"""How much of a set is measured: all of it, or of a very large one a part that memory and patience suffice for."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from selfsight.data.kinds import KINDS
from selfsight.data.manifest import Manifest
from selfsight.errors import RecipeError

__all__ = ["AT_MOST", "LEAST", "described", "portion"]

AT_MOST = 50_000  # pictures of up to three channels
LEAST = 50
TEST = 5  # the test part gets a fifth of the places, or what the training part leaves
DRAWN = "Of {} pictures {} are measured, {} of them of the test part, drawn by their contents, labelled ones first{}."


def portion(
    manifest: Manifest, at_most: int | None = None, identity: Int[np.ndarray, "N"] | None = None
) -> Int[np.ndarray, "K"]:
    """Rows of the pictures to measure, in order: all, or `at_most` of them.

    Labelled pictures come first, then those with the smallest digests; where `identity` is given (-1: none), those of
    one identity come together. So a larger part holds a smaller one, and copies come together. RecipeError for less
    than `LEAST`.
    """
    most = AT_MOST * 3 // max(3, *manifest.channels) if at_most is None else int(at_most)
    if most < LEAST and at_most is not None:
        raise RecipeError(f"--at-most {at_most} leaves too few pictures to measure anything; give {LEAST} or more")
    if len(manifest) <= most:
        return manifest.every_row()
    digests = np.array(manifest.digests)
    keys = [digests, manifest.labels < 0]
    if identity is not None:
        order = np.argsort(digests, kind="stable")
        _, first, number = np.unique(identity[order], return_index=True, return_inverse=True)
        together = np.empty(len(manifest), np.int64)
        together[order] = first[number]
        keys += [together, identity < 0]
    drawn = np.lexsort(keys)
    train, test = drawn[~manifest.test[drawn]], drawn[manifest.test[drawn]]
    scored = min(len(test), max(most // TEST, most - len(train)))
    return np.sort(np.concatenate([test[:scored], train[: most - scored]]))


def described(manifest: Manifest, rows: Int[np.ndarray, "K"], remedy: str = "; --at-most takes more") -> list[str]:
    """A note for people, where not all are measured."""
    if len(rows) == len(manifest):
        return []
    told = DRAWN.format(len(manifest), len(rows), int(manifest.test[rows].sum()), remedy)
    return [KINDS[manifest.kind].said(told)]
