"""Patches: the squares of a picture that a vision transformer takes as its words.

Everything here is row-major: patch i of a grid (h, w) lies in row i // w, column i % w.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from selfsight.errors import RecipeError

if TYPE_CHECKING:
    from selfsight.nn.encoder import Encoder

__all__ = ["at", "grid", "partial", "patchify", "pooled", "unpatchify", "vectors"]

BEHIND = ("token", "map")  # what timm calls pooling by a class token and by attention


def patchify(pixels: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B L P"]:
    """Cut pictures into squares of `side` pixels; inside a patch the order is row, column, channel.

    Where the side does not divide the picture, zeros are added at the right and the bottom, as timm does.
    """
    whole = pad(pixels, (0, -pixels.shape[3] % side, 0, -pixels.shape[2] % side))
    count, channels, height, width = whole.shape
    cut = whole.reshape(count, channels, height // side, side, width // side, side)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)  # (B, C, h, p, w, p) -> (B, h * w, p * p * C)


def unpatchify(rows: Float[Tensor, "B L P"], side: int, size: int) -> Float[Tensor, "B C H W"]:
    """Put patches together again to square pictures of `size` pixels."""
    across = -(-size // side)
    cut = rows.reshape(len(rows), across, across, side, side, -1)
    return cut.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)[..., :size, :size]


def pooled(encoder: Encoder) -> Encoder:
    """The same encoder, whose embedding is from now on the mean of its patches, not its class token.

    For what is trained on patches alone: a class token learns nothing from that. RecipeError where the embedding would
    still be made by what stands behind the patches.
    """
    network = encoder.backbone
    if type(network).__name__ == "VisionTransformer" and network.global_pool in BEHIND:
        network.reset_classifier(0, "avg")
        encoder.arguments = {**encoder.arguments, "global_pool": "avg", "fc_norm": False}
    if encoder.width != encoder.maps or getattr(network, "global_pool", None) in BEHIND:
        raise RecipeError(
            f"{encoder.name!r} makes its embedding by layers or a token behind its patches, which a method that learns "
            "from patches alone leaves untrained; use --encoder resnet18 or vit_tiny_patch16_224, or another --method"
        )
    for behind in (getattr(network, part, None) for part in ("head", "fc_norm")):
        for parameter in behind.parameters() if behind else ():
            parameter.requires_grad_(False)  # ranks would wait for its gradient
    return encoder


def at(rows: Float[Tensor, "B L D"], places: Int[Tensor, "B M"]) -> Float[Tensor, "B M D"]:
    """The rows at some places of each picture."""
    return rows.gather(1, places[..., None].expand(-1, -1, rows.shape[-1]))


def vectors(features: Tensor, width: int, prefix: int) -> Float[Tensor, "B L D"]:
    """A network's last features as rows: maps in either layout of channels, or tokens without the first `prefix`."""
    if features.ndim == 4:
        last = features.shape[1] != width  # some timm networks keep channels last
        return features.flatten(1, 2) if last else features.flatten(2).transpose(1, 2)
    return features[:, prefix:]


def grid(features: Tensor, width: int, prefix: int) -> tuple[int, int]:
    """Height and width of a network's last features."""
    if features.ndim == 4:
        height, across = features.shape[1:3] if features.shape[1] != width else features.shape[2:]
        return int(height), int(across)
    side = round((features.shape[1] - prefix) ** 0.5)
    return side, side


def partial(
    transformer: Any,
    images: Float[Tensor, "B C H W"],
    keep: Int[Tensor, "B K"] | None,
    hide: Bool[Tensor, "B L"] | None,
    token: Float[Tensor, "D"] | None,
) -> Float[Tensor, "B T D"]:
    """timm's VisionTransformer.forward_features with some patches hidden or left out; class tokens come first."""
    tokens = transformer.patch_embed(images)  # (B, L, D), or (B, h, w, D) where any size is taken
    if hide is not None:
        assert token is not None, "hidden patches need a token in their place"
        tokens = torch.where(hide.view(*tokens.shape[:-1], 1), token.to(tokens.dtype), tokens)
    tokens = transformer._pos_embed(tokens)
    if keep is not None:
        prefix = transformer.num_prefix_tokens
        places = torch.cat([torch.arange(prefix, device=keep.device).expand(len(keep), -1), keep + prefix], dim=1)
        tokens = at(tokens, places)
    tokens = transformer.norm_pre(transformer.patch_drop(tokens))
    normed: Tensor = transformer.norm(transformer.blocks(tokens))
    return normed
