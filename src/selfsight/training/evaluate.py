"""A finished run's encoder and everything it is measured beside, on the run's own pictures or on others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfsight.data.manifest import Manifest
from selfsight.data.pictures import pictures_of
from selfsight.embedding import store
from selfsight.errors import brief
from selfsight.evaluation import together, trust
from selfsight.evaluation.measure import measured
from selfsight.evaluation.portion import described, portion
from selfsight.evaluation.protocol import ENCODER, RIVALS, START, conclusions
from selfsight.evaluation.unseen import held_out, unseen
from selfsight.nn.embedder import Embedder
from selfsight.recipe import Named
from selfsight.runs import RunFolder
from selfsight.training import further, session
from selfsight.training.build import rivals
from selfsight.training.labels import labels_seen
from selfsight.training.lineage import lineage, unknown

__all__ = ["Wanted", "evaluate"]

OTHER = (
    "These numbers are of another listing than the run's own: {}, digest {}. Of what the run was trained on, only "
    "files of the same contents were looked for in it."
)
USED_ALL = " A test part was trained on too (--use-all): see the notes."


@dataclass(frozen=True)
class Wanted:
    """What `selfsight evaluate` was asked for beside the usual table."""

    pretrained: str | None = None
    finetune: bool = False
    finetune_for: str | None = None
    dense: Path | None = None
    drop_leaks: bool = False
    identity_column: str | None = None
    across_column: str | None = None
    at_most: int | None = None


def evaluate(
    run: RunFolder, encoder: Embedder, data: list[str] | None, named: Named, wanted: Wanted
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """The numbers, and by name what there is to look at. What cannot be done is refused before it takes long."""
    recipe = run.recipe
    columns, inherited = named.over(recipe.columns)
    manifest = session.manifest_for(run.folder, recipe, data, columns, inherited)
    runs = lineage(run.folder)
    trained = runs[0][1]
    about = origin(run, manifest, trained, data)
    manifest, notes = unseen(manifest, *(pictures for _, pictures in runs))
    about["unseen"] = held_out(manifest, *(pictures for _, pictures in runs))
    encoders = {ENCODER: encoder, **rivals(recipe, run.folder, wanted.pretrained)}
    judges = (*RIVALS, START) if recipe.weights or recipe.pretrained else RIVALS
    more = further.asked(
        run, manifest, encoders, judges, finetune=wanted.finetune, length=wanted.finetune_for, dense=wanted.dense
    )
    column = session.column_of(recipe, data or [], columns)
    sought = together.asked(manifest, wanted.identity_column, wanted.across_column, column)
    rows = portion(manifest, wanted.at_most, sought.values if sought else None)
    drawn = manifest.taking(rows)
    found, shown, dropped = measured(
        encoders,
        pictures_of(recipe, drawn),
        drawn,
        size=recipe.size,
        low=recipe.pixels["low"],
        high=recipe.pixels["high"],
        rivals=judges,
        sought=sought.taking(rows) if sought else None,
        whole=manifest,
        drop_leaks=wanted.drop_leaks,
    )
    left = manifest.taking(np.setdiff1d(manifest.every_row(), rows[dropped])) if len(dropped) else manifest
    if not about["own"]:
        names = ", ".join(Path(one).absolute().name for one in about["data"])
        notes.append(OTHER.format(brief(repr(names)), about["listing"]))
    notes += described(manifest, rows) + unknown(runs) + labels_seen(runs)
    found |= {"about": about, "notes": notes + found["notes"], **more(left)}
    found["trust"] = trust.of_looks(run.metrics.to_pylist(), trained.labels[trained.train_rows()])
    for told in conclusions(found) if any(one.use_all for one, _ in runs) else ():
        told["sentence"] += USED_ALL
    return found, shown


def origin(run: RunFolder, manifest: Manifest, trained: Manifest, data: list[str] | None) -> dict[str, Any]:
    """Which pictures the numbers are of, whether in the very listing that the run was trained by, and which encoder."""
    listing = manifest.digest()
    told = {"data": data or run.recipe.data, "listing": listing, "own": listing == trained.digest()}
    return told | {"encoder": store.digest(run.encoder_folder())}
