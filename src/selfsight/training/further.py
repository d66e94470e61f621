"""What `evaluate` measures only when it is asked to: checked first, since it takes minutes, and measured last."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfsight.data.manifest import Manifest
from selfsight.data.masks import paired
from selfsight.data.pictures import pictures_of
from selfsight.errors import RecipeError
from selfsight.evaluation.dense import measured
from selfsight.evaluation.protocol import ENCODER
from selfsight.evaluation.scene import posed
from selfsight.nn.embedder import Embedder
from selfsight.nn.encoder import Encoder
from selfsight.runs import RunFolder
from selfsight.training import label_shares

__all__ = ["asked"]


def asked(
    run: RunFolder,
    manifest: Manifest,
    encoders: Mapping[str, Embedder],
    rivals: Sequence[str],
    *,
    finetune: bool,
    length: str | None,
    dense: Path | None,
) -> Callable[[Manifest], dict[str, Any]]:
    """What measures it, by name in the JSON; an error now where it cannot be done. A length asks for it as well.

    It is measured on what is left of the manifest when the time comes. `rivals` are what patches are judged beside.
    """
    wanted: dict[str, Callable[[Manifest], Any]] = {}
    if finetune or length is not None:
        label_shares.check(manifest, encoders[ENCODER], length or label_shares.LENGTH)
        wanted["finetune"] = lambda left: label_shares.measured(
            encoders, left, run.recipe, run.folder / "finetune", length=length or label_shares.LENGTH, say=say
        )
    if dense is not None:
        kept = {name: one for name, one in encoders.items() if isinstance(one, Encoder)}
        if ENCODER not in kept:
            raise RecipeError(f"--dense asks where things are in pictures; this run learned from {manifest.kind}")
        posed(manifest, paired(dense, manifest), run.recipe.size)
        pixels = run.recipe.pixels
        wanted["dense"] = lambda left: measured(
            kept,
            pictures_of(run.recipe, left),
            posed(left, paired(dense, left), run.recipe.size),
            low=pixels["low"],
            high=pixels["high"],
            rivals=rivals,
        )
    return lambda left: {name: measure(left) for name, measure in wanted.items()}


def say(sentence: str) -> None:
    """To whoever waits; what the command gives out stays on the other stream."""
    print(sentence, file=sys.stderr, flush=True)
