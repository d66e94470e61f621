"""Tell what a teacher makes of patches that are not seen (Assran et al. 2023, I-JEPA)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import layer_norm, smooth_l1_loss

from selfsight.losses.precision import full, no_autocast

__all__ = ["latent_prediction"]


def latent_prediction(told: Float[Tensor, "*B D"], vectors: Float[Tensor, "*B D"]) -> Float[Tensor, ""]:
    """Smooth L1 (quadratic up to 1) to the vectors, each less its mean over its deviation (1e-5 in the variance): mean
    over everything."""
    with no_autocast(told):
        return smooth_l1_loss(full(told), layer_norm(full(vectors), vectors.shape[-1:]))
