"""The exported folder: written aside, checked on real pictures, and only then given its name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsight import checkpoints
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import Pictures, pictures_of
from selfsight.data.splits import units
from selfsight.embedding import store
from selfsight.embedding.embed import whole_views
from selfsight.errors import DataError, DiskError, RunError
from selfsight.evaluation.measure import readable
from selfsight.exporting import graph, integers, parity
from selfsight.exporting.card import card
from selfsight.exporting.wanted import Wanted
from selfsight.nn.encoder import Encoder
from selfsight.runs import RunFolder

__all__ = ["write"]

CHECKED = 256  # pictures that the parity is checked on
MEASURED = 2000  # pictures that the loss of int8 is measured on
RANGED = 128  # of these, that show the ranges of activations
FACTS = "export.json"  # last: a folder that has it is an export
Shown = tuple[Tensor, np.ndarray]  # views, and their rows


def write(
    run: RunFolder, encoder: Encoder, manifest: Manifest, facts: Mapping[str, Any], folder: Path, wanted: Wanted
) -> dict[str, Any]:
    """Export into `folder`, in place of an earlier export there; what was found, as `export.json` has it.

    Raises RunError when something else is there, DataError when no picture can be read, ExportError when the export
    does not answer as the encoder does, DiskError. Then nothing has its final name.
    """
    if folder.exists() and not (folder / FACTS).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"--out {str(folder)!r} holds other files and no export; name a folder that is new or empty")
    partial = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.clean(folder.parent, escape(folder.name))
        found = _filled(partial, run, encoder, pictures_of(run.recipe, manifest), facts, wanted)
        for file in partial.iterdir():
            _to_disk(file)
        checkpoints.into_place(partial, folder)
    except OSError as error:
        raise DiskError(
            f"{str(folder)!r} cannot be written ({error.strerror}); free some space or choose another --out"
        ) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(partial)
    return found | {"out": str(folder)}


def _filled(
    folder: Path, run: RunFolder, encoder: Encoder, pictures: Pictures, facts: Mapping[str, Any], wanted: Wanted
) -> dict[str, Any]:
    """Everything of an export, checked."""
    seen = _views(encoder, pictures, MEASURED if wanted.int8 else CHECKED)
    shown = seen[0][:: max(1, len(seen[0]) // CHECKED)][:CHECKED]
    encoder.save(folder, facts)
    own, again = (graph.by_torch(one.eval(), ("embedding",), plain=True) for one in (encoder, Encoder.load(folder)))
    found: dict[str, Any] = {"encoder": store.digest(run.encoder_folder()), "size": encoder.size}
    found["parity"] = parity.checked("the folder", again, own, shown)
    if wanted.onnx:
        found["onnx"] = _graph(folder, encoder, shown, wanted)
    if wanted.int8:
        found["int8"] = _integers(folder, encoder, pictures, seen, wanted)
    checkpoints.replace_file(folder / "README.md", card(run, encoder, found).encode())
    checkpoints.replace_file(folder / FACTS, json.dumps(found, indent=1).encode())
    checkpoints.reseal(folder)
    return found


def _graph(folder: Path, encoder: Encoder, shown: Tensor, wanted: Wanted) -> dict[str, Any]:
    file = folder / "model.onnx"
    facts = json.loads((folder / "preprocess.json").read_text())
    graph.write(encoder, file, shown, wanted.outputs, preprocess=wanted.preprocess, facts=facts)
    runtime = graph.by_runtime(file, encoder, preprocess=wanted.preprocess)
    found = parity.checked("model.onnx", runtime, graph.by_torch(encoder, wanted.outputs), shown)
    fed = next(iter(graph.fed(encoder, shown[:1], wanted.preprocess).values()))
    taken = f"{graph.INPUT}: {fed.dtype} (B, {', '.join(map(str, fed.shape[1:]))})"
    return {"input": taken, "outputs": list(wanted.outputs), "parity": found}


def _integers(folder: Path, encoder: Encoder, pictures: Pictures, seen: Shown, wanted: Wanted) -> dict[str, Any]:
    file, (views, rows), manifest = folder / "model.int8.onnx", seen, pictures.manifest
    train = views[torch.from_numpy(~manifest.test[rows])] if not manifest.test[rows].all() else views
    batches = [graph.fed(encoder, part, wanted.preprocess) for part in torch.split(train[:RANGED], parity.BATCHES[-1])]
    what = integers.write(folder / "model.onnx", file, batches)
    small, whole = (
        parity.answered(graph.by_runtime(one, encoder, preprocess=wanted.preprocess), views)["embedding"]
        for one in (file, folder / "model.onnx")
    )
    groups = units(manifest.groups, manifest.digests)
    labels, groups, test = (part[rows] for part in (manifest.labels, groups, manifest.test))
    return {"what": what, **integers.cost(whole, small, labels, groups, test, manifest.classes)}


def _views(encoder: Encoder, pictures: Pictures, count: int) -> Shown:
    """Evaluation views of at most `count` pictures, evenly spaced, and their rows."""
    every = pictures.manifest.every_row()
    rows = every[:: max(1, len(every) // count)][:count]
    with readable(pictures.manifest, "if they were moved, give their new place as DATA"):
        parts = list(whole_views(pictures, rows, encoder.size, parity.BATCHES[-1], encoder.view))
    if not parts:
        raise DataError(
            f"none of the pictures can be read, the first is {pictures.manifest.paths[0]!r}; if they were moved, give "
            "their new place as DATA"
        )
    return torch.cat([views for views, _ in parts]), np.concatenate([shown for _, shown in parts])


def _to_disk(file: Path) -> None:
    with open(file, "rb") as opened:
        os.fsync(opened.fileno())
