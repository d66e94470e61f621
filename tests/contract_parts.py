"""What the contract suite shares: any method on a tiny encoder, batches of real pictures, short runs of the loop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from selfsight import methods
from selfsight.data import ranges, source
from selfsight.data.loader import Loader
from selfsight.data.manifest import Manifest, scan
from selfsight.data.pictures import Pictures
from selfsight.embedding.embed import vectors_of
from selfsight.methods.base import Batch, Epoch, Facts, Method, Prepared
from selfsight.nn import families
from selfsight.nn.embedder import Embedder
from selfsight.nn.encoder import Encoder
from selfsight.recipe import Recipe
from selfsight.training import gradcache, session
from selfsight.training.autotune import stand_in
from selfsight.training.build import engine, method_of, optimizer_of
from selfsight.training.data import TrainingData
from selfsight.training.loop import Trainer
from selfsight.training.plan import plan
from selfsight.training.progress import Watcher
from selfsight.training.request import Request

NAMES = methods.names()
SIZE, BATCH = 32, 8  # 64 pictures make 8 steps an epoch
STEPS, CUT = 20, 11  # two and a half epochs, cut in the middle of the second
FILES = ("method.safetensors", "optimizer.safetensors")
OFTEN = {"reassign": 1}  # where a hook would wait for several epochs, so that a short run meets it
SHALLOW = {"decoder_width": 96, "decoder_depth": 2, "predictor_depth": 2}  # small transformers behind the encoder
NARROW = {"hidden": 64, "width": 64, "predictor_hidden": 16}  # heads that may be thousands wide, as `hidden` tells


@cache
def everything_scanned(folder: Path) -> Manifest:
    """All 64 samples, none held out."""
    return scan(source.find(folder, kind=source.kind_of(folder)), use_all=True)


def with_test_part(manifest: Manifest) -> Manifest:
    """The same training samples; in front of every eighth a copy that is held out, and whose file is not there."""
    every = manifest.every_row()
    both, held = (np.insert(every, every[::8], row) for row in (every[::8], -1))
    doubled = manifest.taking(both)
    paths = [f"{path} held out" if row < 0 else path for path, row in zip(doubled.paths, held, strict=True)]
    return replace(doubled, paths=tuple(paths), test=held < 0, use_all=False)


def opened_after_the_scan(monkeypatch: pytest.MonkeyPatch, cache: Path) -> set[str]:
    """The paths of all files that a run opens from then on, with no decoded picture at hand; it is filled later."""
    opened: set[str] = set()
    honest, scan = os.open, session.scan

    def opening(path: Any, *rest: Any, **named: Any) -> int:
        opened.add(str(path))
        return honest(path, *rest, **named)

    def scanned(*given: Any, **named: Any) -> Manifest:
        manifest = scan(*given, **named)
        opened.clear()
        return manifest

    monkeypatch.setenv("SELFSIGHT_CACHE", str(cache))
    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(session, "scan", scanned)
    return opened


def taught(name: str, samples: Path) -> Path:
    """The folder of samples that a method learns from."""
    return samples / methods.get(name).kind


def recipe_of(name: str, folder: Path, manifest: Manifest, **changes: Any) -> Recipe:
    """What `selfsight train` would plan for a short run on the tiny encoder."""
    asked = Request(
        data=[str(folder)],
        method=name,
        encoder=tiny(name),
        size=SIZE,
        batch=BATCH,
        length=f"{STEPS}steps",
        threads=1,
        precision="fp32",
        device="cpu",
        use_all=manifest.use_all,
        settings=short(name),
    )
    return replace(plan(asked, manifest)[0], **changes)


def short(name: str) -> dict[str, Any]:
    """Those settings of the method that a short run of a tiny encoder needs to be others."""
    own = methods.settings(methods.get(name))
    return {key: value for key, value in (OFTEN | SHALLOW | (NARROW if "hidden" in own else {})).items() if key in own}


def trainer_of(recipe: Recipe, manifest: Manifest, folder: Path, *, workers: int = 0, save: float = 0.0) -> Trainer:
    """A trainer as a run makes it; what is trained before the method is made, not trained."""
    folder.mkdir(parents=True, exist_ok=True)
    method = method_of(recipe, stand_in(recipe.before) if recipe.before else None)
    optimizer = optimizer_of(recipe, method)
    data = TrainingData(recipe, manifest, method, folder, workers)
    return Trainer(recipe, folder, engine(recipe), method, optimizer, data, Watcher(recipe, quiet=True), save)


def tiny(name: str) -> str:
    """The tiny encoder of the kind that the method is made for."""
    usual = methods.get(name).defaults(SIZE).encoder
    return {"vit": "test_vit", "wor": "words256"}.get(usual[:3], "test_resnet")


def made(
    name: str, *, encoder: str | None = None, batch: int = BATCH, count: int = 64, seed: int = 0, **own: Any
) -> Method:
    """A method with its automatic settings on a tiny encoder, in train mode."""
    kind: Any = methods.get(name)
    encoder = encoder or tiny(name)
    settings = {key: p.default for key, p in methods.settings(kind).items()} | short(name) | own
    found = kind.resolve(settings, Facts(count, batch, SIZE, 3, 0))
    settings |= {key: value for key, (value, _) in found.items() if settings[key] is None}
    first = kind.first(settings)
    given: dict[str, Any] = {}
    if first:
        handed = kind.first_settings(settings)
        given = {"before": made(first, encoder=encoder, batch=batch, count=count, **handed)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method: Method = kind(begun_encoder(encoder), **settings, **given)
    return method.train()


def begun_encoder(name: str) -> Embedder:
    """An encoder of views of SIZE, made from torch's global generator."""
    return Encoder(name, size=SIZE) if families.of(name) is Encoder else families.of(name)(name)


def batch_of(method: Method, manifest: Manifest, count: int, first: int = 0) -> Batch:
    """The first `count` pictures as the loader gives them at position `first`."""
    rows = manifest.every_row()
    pictures = Pictures(manifest, ranges.measure(manifest, rows))
    labels = torch.from_numpy(manifest.labels[rows])
    loader = Loader(pictures, rows, labels, method.views(SIZE), seed=0, workers=0)
    return loader.collate(np.arange(first, first + count) % len(rows), first)


def begun(method: Method, manifest: Manifest, count: int = 64) -> Epoch:
    """Prepare the method on the first `count` pictures and start its first epoch, as the loop does."""
    rows = manifest.every_row()[:count]
    pictures = Pictures(manifest, ranges.measure(manifest, rows))
    views = torch.from_numpy(np.stack([method.product.view(pictures.read(int(row))[0], SIZE) for row in rows]))

    def images(every: int = 1) -> Iterator[np.ndarray]:
        return (pictures.read(int(row))[0] for row in rows[::every])

    def features() -> Tensor:
        return torch.from_numpy(vectors_of(method.product, views))

    labels = torch.from_numpy(manifest.labels[rows])
    method.prepare(Prepared(0, labels, images, features))
    epoch = Epoch(0, 0, BATCH, labels, features, lambda module: None)
    method.on_epoch_start(epoch)
    return epoch


def freeze_norms(method: nn.Module) -> nn.Module:
    """Batch norms use their running statistics from now on, whoever calls `train`."""
    for module in method.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign]
    return method


def one_step(method: Method, batch: Batch, micro: int | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradient of a step left in the parameters; terms and projections."""
    method.zero_grad(set_to_none=True)
    return gradcache.gradient(
        method, method.project, batch, micro or len(batch["index"]), key=0, backward=Tensor.backward
    )


def snapshot(method: nn.Module) -> dict[str, Tensor]:
    """A copy of all state."""
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that are not bit-identical."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def results(folder: Path, steps: int = STEPS) -> dict[str, bytes]:
    """The bytes that a run is compared by."""
    last = folder / "checkpoints" / f"step-{steps:08d}"
    paths = [last / name for name in FILES] + [folder / "metrics.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
