"""Labels that a run has seen before any is given to what comes after it: numbers with few labels have to say so."""

from __future__ import annotations

from collections.abc import Iterable

from selfsight import methods
from selfsight.data.manifest import Manifest
from selfsight.recipe import Recipe
from selfsight.training import jury

__all__ = ["labels_seen"]


def labels_seen(runs: Iterable[tuple[Recipe, Manifest]]) -> list[str]:
    """For each run a note where labels of its training pictures chose its views, and where its method learned from
    them; the same note once."""
    return list(dict.fromkeys(note for recipe, manifest in runs for note in _of(recipe, manifest)))


def _of(recipe: Recipe, manifest: Manifest) -> list[str]:
    rows, told = manifest.train_rows(), []
    if recipe.searched:
        told.append(("up to ", jury.labelled(manifest, recipe.seed), "chose views"))
    taught = methods.get(recipe.method).supervised
    if taught is not None and taught.items() <= recipe.settings.items():
        told.append(("", rows[manifest.labels[rows] >= 0], f"are what {recipe.method} learned from"))
    return [
        f"Labels of {most}{len(known):,} training {manifest.kind} {what}: numbers with few labels are not of so few."
        for most, known, what in told
        if len(known)
    ]
