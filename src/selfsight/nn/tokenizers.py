"""Tokenizers name the patches of pictures by one of V codes: what BEiT is asked for where it cannot see.

All are trained on the user's own pictures; the numbers of a run are not comparable with those of BEiTs whose tokenizer
has seen others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import exp
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from selfsight import distributed
from selfsight.data.order import Purpose, keyed
from selfsight.errors import RecipeError
from selfsight.nn.codebook import Codebook, UnitCodebook, centres, nearest
from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import patchify, unpatchify
from selfsight.nn.teacher import frozen_copy
from selfsight.views.draw import Views

__all__ = [
    "LearnedTokenizer",
    "PatchClusters",
    "Tokenizer",
    "affordable",
    "begun",
    "counted",
    "covered",
    "drawn",
    "looked_at",
    "mean_colour",
    "of",
    "rows_of",
]

CLUSTERED = 100_000  # raw patches: a hundred for each of 1,024 codes
LOOKED_AT = 16  # patches for each code, where a network has to see them
SOFTENED = 0.1  # of the mean variance, added to all in whitening (Coates & Ng 2011: 0.1 on patches of variance 1)
LEAST_USED = 0.3  # of the codes, in effect; a tokenizer with fewer has collapsed
CHUNK = 256  # pictures that go through a network at once
SMALL = 96  # pixels
EACH = 4  # codes for a picture, at most: on a grid of 8 x 8 each then names 16 patches on average


Looked = Callable[[int], Iterator[dict[str, Tensor]]]
"""Batches of what views make of pictures, at least as many as asked for or all there are; `images` are normalised."""


class Tokenizer(nn.Module, ABC):
    """Names patches by one of `count` codes. It is frozen: always in eval mode, no parameter has a gradient.

    `shares` (V,) is how often each code occurs in the training pictures, once `begun`.
    """

    shares: Float[Tensor, "V"]

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.register_buffer("shares", torch.full((count,), 1 / count))

    @abstractmethod
    def codes(self, images: Float[Tensor, "B C H W"]) -> Int[Tensor, "B L"]:
        """The code of each patch of normalised pictures, row-major."""

    def train(self, mode: bool = True) -> Tokenizer:
        """Stay in eval mode whatever the method is in."""
        super().train(False)
        return self


@runtime_checkable
class NamesPatches(Protocol):
    """A method whose result can name patches."""

    def tokenizer(self) -> Tokenizer:
        """A frozen copy of what names them."""
        ...


class LearnedTokenizer(Tokenizer):
    """An encoder, a layer from its vectors to logits or to a codebook's space, and the codebook if there is one."""

    def __init__(self, encoder: Encoder, layer: nn.Module, codebook: Codebook | UnitCodebook | None, count: int):
        super().__init__(count)
        self.encoder, self.layer = frozen_copy(encoder), frozen_copy(layer)
        self.codebook = frozen_copy(codebook) if codebook is not None else None
        self.eval()

    def codes(self, images: Float[Tensor, "B C H W"]) -> Int[Tensor, "B L"]:
        """The largest logit, or the nearest vector."""
        with torch.autocast(images.device.type, enabled=False):  # in bf16 the largest of many logits is often another
            rows = self.layer(self.encoder.patches(images))  # (B, L, V) or (B, L, P)
        return rows.argmax(dim=-1) if self.codebook is None else nearest(rows, self.codebook.vectors)


class PatchClusters(Tokenizer):
    """k-means on whitened raw patches: no training, and no codes beyond colour and edge."""

    mean: Float[Tensor, "P"]
    whitening: Float[Tensor, "P P"]
    vectors: Float[Tensor, "V P"]

    def __init__(self, count: int, encoder: Encoder) -> None:
        super().__init__(count)
        self.side, (height, across) = encoder.patch(encoder.size), encoder.grid(encoder.size)
        self.places, width = height * across, self.side**2 * encoder.channels
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whitening", torch.eye(width))
        self.register_buffer("vectors", torch.zeros(count, width))
        self.eval()

    def codes(self, images: Float[Tensor, "B C H W"]) -> Int[Tensor, "B L"]:
        """The nearest centre."""
        with torch.autocast(images.device.type, enabled=False):
            return nearest((patchify(images.float(), self.side) - self.mean) @ self.whitening, self.vectors)

    @torch.no_grad()
    def begin(self, images: Iterable[Float[Tensor, "B C H W"]], seed: int) -> None:
        """Whiten and cluster the patches of normalised pictures."""
        rows = torch.cat([patchify(part, self.side).flatten(0, 1).float().cpu() for part in images])  # (N, P)
        mean = rows.mean(dim=0)
        rows -= mean
        variances, directions = torch.linalg.eigh((rows.T @ rows / len(rows)).double())
        softened = variances.clamp(min=0) + SOFTENED * variances.mean() + 1e-12
        whitening = (directions / softened.sqrt()).float()
        found = centres(rows @ whitening, self.count, seed)
        for buffer, value in ((self.mean, mean), (self.whitening, whitening), (self.vectors, found)):
            buffer.copy_(value)
            distributed.copy_first(buffer)


def of(method: object, name: str, count: int, encoder: Encoder) -> Tokenizer:
    """The tokenizer of that name: clusters of raw patches, or what `method` learned before; RecipeError without it."""
    if name == "kmeans":
        return PatchClusters(count, encoder)
    if not isinstance(method, NamesPatches):
        raise RecipeError(f"the tokenizer {name!r} is a method that is trained before; pass it as `before`")
    made = method.tokenizer()
    if made.count != count:
        raise RecipeError(
            f"the tokenizer has {made.count} codes and {count} are to be named; give both the same number"
        )
    return made


@torch.no_grad()
def begun(tokenizer: Tokenizer, looked: Looked, hidden: int, seed: int) -> str:
    """Find clusters where they are asked for, count the codes of hidden patches, and tell the result.

    `hidden` is how many there are in a picture: patches at the edge are hidden more rarely, and have other codes.
    """
    if isinstance(tokenizer, PatchClusters):
        tokenizer.begin((seen["images"] for seen in looked(CLUSTERED // tokenizer.places)), seed)
    counts = torch.zeros(tokenizer.count)
    for seen in looked(enough(tokenizer.count, hidden)):
        codes = tokenizer.codes(seen["images"]).cpu()[seen["hidden"].bool()]
        counts += torch.bincount(codes, minlength=tokenizer.count)
    distributed.copy_first(counts)
    tokenizer.shares.copy_((counts + 1) / (counts + 1).sum())  # none is impossible
    shares = counts / counts.sum()
    entropy = 0.0 - float(torch.xlogy(shares, shares).sum())  # nats
    told = (
        "the tokenizer saw these pictures and no others: not comparable with published numbers. Naming codes by their "
        f"frequency alone has a loss of {entropy:.2f}; what is below it was learned"
    )
    if exp(entropy) < LEAST_USED * tokenizer.count:
        told += f". The tokenizer uses {exp(entropy):.0f} of its {tokenizer.count} codes in effect: try --set codes=N "
        told += "with fewer" + ", train longer, or --set tokenizer=kmeans" * isinstance(tokenizer, LearnedTokenizer)
    return told


def affordable(size: int, pictures: int, wanted: int | None) -> tuple[int, str]:
    """How many codes for views of `size` pixels, with the reason: the published number, or what the pictures can fill.

    Raises RecipeError when more are wanted than that.
    """
    published, why = (8192, "as published") if size > SMALL else (1024, "small views; published: 8192")
    most = 2 ** (EACH * pictures).bit_length() // 2
    if wanted is not None and not 2 <= wanted <= most:
        raise RecipeError(f"{pictures} pictures cannot fill {wanted} codes; use --set codes=N with N from 2 to {most}")
    if most < published:
        published, why = most, f"{EACH} for each of {pictures} pictures at most; published: 8192"
    return published, f"{why}, whose tokenizer saw other pictures: not comparable"


def looked_at(some: Callable[[int], Iterable[np.ndarray]], views: Views, encoder: Encoder, seed: int) -> Looked:
    """What views make of a source of decoded pictures (H, W, C); `images` is the first view as the encoder sees it."""

    def batches(count: int) -> Iterator[dict[str, Tensor]]:
        numbered = enumerate(some(count))
        while chunk := [views(picture, keyed(seed, n, Purpose.MONITOR)) for n, picture in islice(numbered, CHUNK)]:
            seen = {name: torch.from_numpy(np.stack([one[name] for one in chunk])) for name in chunk[0]}
            yield seen | {"images": encoder.normalised(seen["views"][:, 0].to(encoder.scale.device))}

    return batches


def enough(codes: int, places: int) -> int:
    """How many pictures have `LOOKED_AT` patches for each code, at that many places in each."""
    return -(-LOOKED_AT * codes // places)


@torch.no_grad()
def rows_of(encoder: Encoder, layer: nn.Module, looked: Looked, codes: int, places: int) -> Float[Tensor, "N P"]:
    """What a layer makes of the patches of enough pictures, before any training; nothing is moved by it."""
    was = encoder.training
    encoder.eval()
    batches = looked(enough(codes, places))
    parts = [layer(encoder.patches(seen["images"])).float().flatten(0, 1) for seen in batches]
    encoder.train(was)
    return torch.cat(parts)


def counted(codes: Int[Tensor, "B L"], count: int) -> Float[Tensor, "V"]:
    """How often each code occurs in the whole batch, as a mean over the ranks."""
    return distributed.average(torch.bincount(codes.flatten(), minlength=count).float())


def mean_colour(rows: Float[Tensor, "B L P"], channels: int) -> Float[Tensor, "C"]:
    """The mean of each channel over the patches of the whole batch, those of all ranks."""
    return distributed.average(rows.reshape(-1, channels).mean(dim=0))


def drawn(
    encoder: Encoder, rows: Float[Tensor, "B L P"], views: Shaped[Tensor, "B h w C"]
) -> Shaped[np.ndarray, "B h w C"]:
    """Normalised patches as pictures of the kind of `views`, to be looked at."""
    size = views.shape[1]
    images = unpatchify(rows.float(), encoder.patch(size), size).movedim(1, 3)
    pixels = ((images + encoder.shift) / encoder.scale).clamp(encoder.low, encoder.high).round()
    found: np.ndarray = pixels.detach().cpu().numpy().astype(views.cpu().numpy().dtype)
    return found


def covered(
    encoder: Encoder, views: Shaped[Tensor, "B h w C"], hidden: Int[Tensor, "B L"]
) -> Shaped[np.ndarray, "B h w C"]:
    """Views with their hidden patches in the mean colour."""
    rows = patchify(encoder.normalised(views), encoder.patch(views.shape[1]))
    return drawn(encoder, rows * (1 - hidden)[..., None], views)
