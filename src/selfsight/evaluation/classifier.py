"""A linear softmax classifier on a frozen encoder's embeddings: stage 2 of supervised contrastive learning.

Khosla et al. 2020, arXiv 2004.11362, fit it by SGD. Here it is fitted as the linear probe is, for the problem is convex
and has no rate to choose, and kept as one affine map: what standardised and turned the features is in its weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.numpy import save
from scipy.special import softmax

from selfsight import checkpoints
from selfsight.errors import RunError, brief
from selfsight.evaluation import linear
from selfsight.nn.tensors import tensors_of
from selfsight.nn.whitening import Whitening

__all__ = ["Classifier", "fit", "kept"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@dataclass(frozen=True)
class Classifier:
    """vectors @ weight + bias are the logits of `classes`. `facts` are JSON: what it belongs to and how good it is."""

    weight: Float[np.ndarray, "D C"]  # float32
    bias: Float[np.ndarray, "C"]
    classes: tuple[str, ...]
    facts: Mapping[str, Any]

    def probabilities(self, vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N C"]:
        """Softmax probabilities, float64."""
        return np.asarray(softmax(vectors.astype(np.float64) @ self.weight + self.bias, axis=1))

    def of_whitened(self, white: Whitening) -> Classifier:
        """The same answers to vectors that are whitened now."""
        weight = np.linalg.solve(white.matrix.astype(np.float64), self.weight)
        bias = self.bias + white.mean.astype(np.float64) @ self.weight
        return replace(self, weight=weight.astype(np.float32), bias=bias.astype(np.float32))

    def save(self, folder: Path) -> None:
        """Write model.safetensors, then config.json: where that is, the classifier is whole."""
        told = json.dumps({"classes": self.classes, **self.facts}, indent=1).encode()
        checkpoints.seal(folder, {WEIGHTS: save({"weight": self.weight, "bias": self.bias}), CONFIG: told})


def kept(folder: Path, encoder: str) -> Classifier | None:
    """The classifier that `save` wrote for the encoder with this digest; None when there is none yet.

    RunError when it cannot be read, is damaged, or belongs to another encoder.
    """
    if not (folder / CONFIG).is_file():
        return None
    try:
        checkpoints.intact(folder)
        facts = checkpoints.entries(folder / CONFIG)
        tensors = {name: tensor.numpy() for name, tensor in tensors_of(folder / WEIGHTS).items()}
        classes, owner = tuple(facts.pop("classes")), facts["encoder"]
        found = Classifier(tensors["weight"], tensors["bias"], classes, facts)
        if found.weight.shape[1:] != (len(classes),) or found.bias.shape != (len(classes),):
            raise ValueError("its weights are not those of its classes")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise RunError(
            f"{str(folder)!r} holds no classifier that can be read ({brief(error)}); remove that folder"
        ) from error
    if owner != encoder:
        raise RunError(
            f"the classifier in {str(folder)!r} belongs to another encoder than this run's; remove that folder and "
            "classify again"
        )
    return found


def fit(
    vectors: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    groups: Int[np.ndarray, "N"],
    classes: tuple[str, ...],
    *,
    large: bool = False,
) -> Classifier:
    """Choose the decay on held-out groups of these pictures, then fit to all of them; labels are places in `classes`.

    `large` as in `linear.measure`.
    """
    mean, scale = linear.scaling(vectors)
    near = ((vectors - mean) * scale).astype(np.float32)
    turn = linear.axes(near)
    near = near @ turn
    decay = linear.choose(near, labels, groups, len(classes), large=large)
    start = np.zeros((near.shape[1] + 1, len(classes)))
    weights, converged = linear.fit(near, labels, decay, start, large=large)
    weight = (scale[:, None] * (turn @ weights[:-1])).astype(np.float32)
    bias = (weights[-1] - mean @ weight).astype(np.float32)  # of the rounded weights: the mean keeps its logits
    return Classifier(weight, bias, classes, {"learned_from": len(labels), "decay": decay, "converged": converged})
