"""From a recipe to the things it names, the same every time: encoder, method, optimizer, engine."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from selfsight import methods
from selfsight.data.manifest import Manifest
from selfsight.data.order import Purpose, keyed
from selfsight.data.pictures import pictures_of
from selfsight.embedding.embed import embed
from selfsight.errors import MissingError, RecipeError, SelfsightError, unknown
from selfsight.methods.base import OPTIMIZATION, Method, Training
from selfsight.nn import architectures, families
from selfsight.nn.embedder import Embedder
from selfsight.nn.encoder import Encoder
from selfsight.nn.weights import weights_from
from selfsight.nn.whitening import Whitening
from selfsight.nn.words import Words
from selfsight.recipe import Recipe
from selfsight.runs import START
from selfsight.training.optimizers import build as build_optimizer
from selfsight.views.draw import Views
from selfsight.views.recipes import within

__all__ = ["accelerator_of", "encoder_of", "engine", "facts_of", "method_of", "optimizer_of", "started"]
__all__ += ["views_of", "whitening_of"]

WHITENED_BY = 4  # training pictures for each dimension, at most
PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {"fp32": "32-true", "bf16": "bf16-mixed"}


def engine(recipe: Recipe) -> Fabric:
    """Fabric on the recipe's device: one process, or one rank of those that torchrun started."""
    accelerator, cards = accelerator_of(recipe.device)
    torch.set_num_threads(recipe.threads)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it would say stands in the plan
    warnings.filterwarnings("ignore", r"`broadcast_buffers` is deprecated")  # its successor would copy rank 0's
    strategy = DDPStrategy(broadcast_buffers=False) if recipe.world > 1 else "auto"
    here = int(os.environ.get("LOCAL_WORLD_SIZE", recipe.world))  # ranks on this machine, as torchrun says
    fabric = Fabric(
        accelerator=accelerator,
        devices=here if recipe.world > 1 else cards,
        num_nodes=recipe.world // here,
        strategy=strategy,
        plugins=[TorchElasticEnvironment()] if recipe.world > 1 else None,  # its variables, whoever has set them
        precision=PRECISIONS[recipe.precision],
    )
    fabric.launch()
    return fabric


def accelerator_of(device: str) -> tuple[str, list[int] | int]:
    """Fabric's accelerator and devices for `cpu`, `mps`, `cuda` or `cuda:1`.

    Raises RecipeError for another name and MissingError for a device that torch does not see.
    """
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and (kind != "cuda" or not number.isdecimal())):
        raise RecipeError(f"there is no device {device!r}; use cpu, cuda, a card such as cuda:1, or mps")
    if kind == "cpu":
        return "cpu", 1
    if not (torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()):
        raise MissingError(f"--device {device} asks for a GPU and torch sees none; use --device cpu")
    cards, here = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if number and int(number) >= cards:
        raise MissingError(f"--device {device} asks for a card that is not there; torch sees {cards}")
    if kind == "cuda" and here > cards:
        raise MissingError(
            f"{here} ranks on this machine need a card each and torch sees {cards}; start fewer, or say --device cpu"
        )
    return kind, [int(number or 0)] if kind == "cuda" else 1


def encoder_of(recipe: Recipe, *, untrained: bool = False, run: Path | None = None) -> Embedder:
    """The encoder at its start: random weights of the recipe's seed, or the weights it names.

    `untrained` leaves given weights away: the random network beside which a pretrained start is measured. Where the
    folder of the `run` has kept what it started from, given weights are not needed any more.
    """
    given = recipe.pretrained, recipe.weights, recipe.seed, recipe.output_stride
    kept = families.load(run / START) if run and (run / START).is_dir() and any(given[:2]) else None
    if kept is None or untrained:
        told = getattr(kept, "arguments", None)
        encoder, _ = started(recipe.encoder, recipe.size, recipe.pixels, *given, untrained=untrained, told=told)
    else:
        encoder = kept
    encoder.channels_last = recipe.channels_last
    encoder.keeps_statistics = recipe.keep_statistics and not untrained
    return encoder.to(memory_format=torch.channels_last) if recipe.channels_last else encoder


def started(
    name: str,
    size: int,
    pixels: Mapping[str, Any],
    pretrained: bool,
    weights: str | None,
    seed: int,
    stride: int | None = None,
    *,
    untrained: bool = False,
    told: Mapping[str, Any] | None = None,
) -> tuple[Embedder, str]:
    """The encoder that a run starts from, and a sentence on how much of a weights file fitted ("" without one).

    `told` are the arguments that its network was given, where these are known.
    """
    if families.of(name) is Words:
        return begun(name, seed, given=pretrained or bool(weights)), ""
    file = Path(weights) if weights else None
    scale = {key: pixels[key] for key in ("channels", "low", "high", "mean", "std")}
    arguments = architectures.arguments_for(
        name, size, stride=stride, pretrained=pretrained, weights=file, untrained=untrained, told=told
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(name, size=size, pretrained=pretrained and not untrained, arguments=arguments, **scale)
        fitted = weights_from(encoder, file) if file and not untrained else ""
    return encoder, fitted


def begun(name: str, seed: int, *, given: bool) -> Words:
    """A network of words at its start; RecipeError where weights are given: it learns its vocabulary anew."""
    if given:
        raise RecipeError(f"{name} starts from random weights, since its words are the documents'; give no weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Words(name)


def method_of(recipe: Recipe, before: Method | None = None, run: Path | None = None) -> Method:
    """The method in train mode, initialised from the recipe's seed; `run` as in `encoder_of`."""
    kind: Any = methods.get(recipe.method)
    check_settings(kind, recipe.method, recipe.settings)
    encoder = encoder_of(recipe, run=run)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed + 1)
        given = {"before": before} if recipe.before else {}
        method: Method = kind(encoder, **recipe.settings, **given)
    return method.train()


def views_of(recipe: Recipe, method: Method) -> Views:
    """What the method's network is to see of this run's pictures."""
    views: Views = within(method.views(recipe.side), recipe.pixels["low"], recipe.pixels["high"])
    return views


def check_settings(kind: type[Method], name: str, settings: dict[str, object]) -> None:
    """RecipeError for a setting that the method does not have, with the nearest guess."""
    known = methods.settings(kind)
    for setting in settings:
        if setting not in known:
            raise RecipeError(f"method {name!r}: {unknown('setting', setting, known)}")


def optimizer_of(recipe: Recipe, method: Method) -> torch.optim.Optimizer:
    """One optimizer over the method's groups."""
    training = Training(**{name: getattr(recipe, name) for name in OPTIMIZATION})
    return build_optimizer(method.groups(), training, recipe.lr)


def whitening_of(encoder: Embedder, recipe: Recipe, manifest: Manifest) -> Whitening | None:
    """What makes cosines between its vectors tell more, by training pictures; None where they are too few."""
    if not encoder.whitens:
        return None
    rows = keyed(recipe.seed, 0, Purpose.WHITENING).permutation(manifest.train_rows())[: WHITENED_BY * encoder.width]
    pictures, there = pictures_of(recipe, manifest), encoder.device
    return Whitening.fit(embed(encoder, pictures, np.sort(rows), size=recipe.size, plain=True, device=there)[0])


def kept_whitening(folder: Path, encoder: Embedder) -> Whitening | None:
    """What an earlier start fitted for these very weights: another processor's would differ in its last bits."""
    try:
        before = families.load(folder)
    except SelfsightError:
        return None
    theirs, ours = before.state_dict(), encoder.state_dict()
    same = theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name].cpu()) for name in ours)
    return before.whitening if same else None


def facts_of(recipe: Recipe) -> dict[str, object]:
    """What an encoder's folder says of its origin beside its preprocessing."""
    return {
        "method": recipe.method,
        "steps": recipe.steps,
        "trained_on": recipe.pictures,
        "pixels": recipe.pixels,
        "least_side": recipe.least_side,
    }


def rivals(recipe: Recipe, folder: Path, pretrained: str | None = None) -> dict[str, Embedder]:
    """What a run's encoder is measured beside: the untrained network and, where weights are at hand, a pretrained one.

    `untrained` has random weights. A run that started from given weights has these as `pretrained`, and the encoder
    named by `pretrained` as `published`; a run that started from random weights has the named one as `pretrained`.
    """
    start = families.load(folder / START)
    given = bool(recipe.weights) or recipe.pretrained
    found = {"untrained": encoder_of(recipe, untrained=True, run=folder) if given else start}
    if given:
        found["pretrained"] = start
    if pretrained is not None and start.kind != Encoder.kind:
        raise RecipeError(f"--pretrained compares encoders of {Encoder.kind}; this run learned from {start.kind}")
    if pretrained is not None:
        scale = {key: recipe.pixels[key] for key in ("channels", "low", "high")}
        found["published" if given else "pretrained"] = from_elsewhere(pretrained, recipe.size, scale)
    return found


def from_elsewhere(name: str, size: int, scale: dict[str, float]) -> Encoder:
    """A pretrained encoder by timm name, or from a folder with config.json and model.safetensors."""
    if (Path(name) / "config.json").is_file():
        encoder = Encoder.load(Path(name), low=scale["low"], high=scale["high"])
        if encoder.channels != scale["channels"]:
            raise RecipeError(
                f"--pretrained {name!r} takes pictures of {encoder.channels} channels; this run learned from "
                f"{scale['channels']:g}"
            )
        return encoder
    if not architectures.known(name):
        raise RecipeError(architectures.unknown_encoder(name))
    mean, std = families.usual_scale(name, int(scale["channels"]), trained=True)
    return Encoder(name, size=size, pretrained=True, mean=mean, std=std, **scale)  # type: ignore[arg-type]
