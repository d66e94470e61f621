"""Weights from a file into an encoder: everything fits, or it is said what does not."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from selfsight import checkpoints
from selfsight.errors import MissingError, RecipeError, brief
from selfsight.nn import pickles
from selfsight.nn.encoder import Encoder, fitted
from selfsight.nn.tensors import tensors_of

__all__ = ["weights_from"]

ENOUGH = 0.9  # share of the network's tensors that a file must hold, else it is another network's
# What training codes call the network inside what they save; of two that fit alike the first is taken: MoCo, MoCo v3.
WRAPPED = ("", "backbone.", "encoder.", "encoder.backbone.", "encoder_q.", "base_encoder.", "momentum_encoder.")


def weights_from(encoder: Encoder, file: Path) -> str:
    """Load a weights file into the backbone; a sentence that says how much fitted. A classifier's head is left out.

    Names may stand behind one of WRAPPED, as training codes save them, and behind `module.`, as DDP does. The first
    convolution is adapted to the channels and position embeddings to the size, as timm does it. Raises MissingError
    when the file is not there or holds no weights, RecipeError when tensors do not fit or are not finite.
    """
    own = encoder.backbone.state_dict()
    given, prefix = _unwrapped(_read(file), set(own))
    found = {name: fitted(encoder, name, tensor) for name, tensor in given.items() if name in own}
    odd = [name for name, tensor in found.items() if tensor.shape != own[name].shape]
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    spoiled = [name for name, t in found.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    if spoiled:
        raise RecipeError(f"{str(file)!r} holds numbers that are not finite, in {spoiled[0]!r}; give another --weights")
    if odd:
        shapes = ", ".join(f"{name} {tuple(found[name].shape)} for {tuple(own[name].shape)}" for name in odd[:3])
        raise RecipeError(
            f"{len(odd)} tensors of {str(file)!r} do not fit {encoder.name!r} ({shapes}); choose the --encoder and "
            "--size that the weights belong to"
        )
    if len(missing) > (1 - ENOUGH) * len(own):
        raise RecipeError(
            f"{str(file)!r} fits {len(found)} of {len(own)} tensors of {encoder.name!r} (not "
            f"{', '.join(missing[:3])}; it has {', '.join(list(given)[:3])}); choose the --encoder that the weights "
            "belong to"
        )
    adapted = [name for name, tensor in found.items() if tensor.shape != given[name].shape]
    encoder.backbone.load_state_dict(found, strict=False)
    told = f"{len(found)} of {len(own)} tensors from {file.name}" + (f", under {prefix!r}" if prefix else "")
    told += f"; adapted: {', '.join(adapted)}" if adapted else ""
    return told + (f"; random: {', '.join(missing)}" if missing else "")


def _unwrapped(given: dict[str, Tensor], own: set[str]) -> tuple[dict[str, Tensor], str]:
    """The tensors behind the prefix that makes most names the network's, by these names, and that prefix."""
    prefixes = [before + wrapped for wrapped in WRAPPED for before in ("", "module.")]
    behind = {one: {name[len(one) :]: t for name, t in given.items() if name.startswith(one)} for one in prefixes}
    best = max(prefixes, key=lambda one: len(behind[one].keys() & own))
    return behind[best], best


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise MissingError(f"there is no weights file {str(file)!r}; give a .safetensors, .pt or .pth file")
    try:
        checkpoints.intact(file.parent)
        return tensors_of(file) if file.suffix == ".safetensors" else pickles.tensors(file)
    except (OSError, ValueError, SafetensorError) as error:
        raise MissingError(
            f"{str(file)!r} holds no weights that can be read ({brief(error)}); give a .safetensors, .pt or .pth file "
            "of tensors"
        ) from error
