"""Two numbers for each picture: where it lies on the map."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from selfsight.data.order import Purpose, keyed
from selfsight.errors import MissingError
from selfsight.neighbours import nearest, unit

__all__ = ["MAPS", "check", "offered", "places"]

BLOCK = 16384  # rows at a time
FEWEST = 8  # pictures that t-SNE and UMAP are worth their while for
LANDMARKS = 5000  # pictures that t-SNE itself places: its cost grows fast; the others go to those nearest to them
NEAR = 5  # landmarks that decide the place of another picture
AXES = 50  # what t-SNE sees: van der Maaten & Hinton 2008, section 4.2, bring 784 down to 30

Vectors = Float[np.ndarray, "N D"]
Places = Float[np.ndarray, "N 2"]


class Map(NamedTuple):
    """One way to lay out pictures; `needs` is a package of the extra `map`."""

    title: str
    lay: Callable[[Vectors], Places]
    needs: str = ""


def places(name: str, vectors: Vectors) -> Places:
    """Where each picture lies, float32: centred, the farthest at a distance of about one. A few pictures need no more
    than PCA."""
    laid = MAPS[name if len(vectors) >= FEWEST else "pca"].lay(vectors)
    middle = (laid.min(axis=0) + laid.max(axis=0)) / 2 if len(laid) else 0.0
    spread = np.abs(laid - middle).max(initial=0.0) or 1.0
    return ((laid - middle) / spread).astype(np.float32)


def check(name: str) -> None:
    """MissingError, with the command that helps, when a map's package is not installed."""
    if MAPS[name].needs and find_spec(MAPS[name].needs) is None:
        raise MissingError("the map 'umap' needs umap-learn; install it: pip install 'selfsight[map]', or use tsne")


def offered() -> list[str]:
    """The maps that can be computed here."""
    return [name for name, one in MAPS.items() if not one.needs or find_spec(one.needs)]


def pca(vectors: Vectors, count: int = 2) -> Float[np.ndarray, "N E"]:
    """The first principal axes of the unit vectors, exactly; the larger end of an axis is positive."""
    width, rows = vectors.shape[1], len(vectors)
    total, products = np.zeros(width), np.zeros((width, width))
    for start in range(0, rows, BLOCK):
        block = unit(np.asarray(vectors[start : start + BLOCK]))
        total += block.sum(axis=0, dtype=np.float64)
        products += block.T @ block
    mean = total / max(rows, 1)
    axes = np.linalg.eigh(products / max(rows, 1) - np.outer(mean, mean))[1][:, ::-1][:, :count]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    turned = axes.astype(np.float32)
    laid = np.zeros((rows, count), np.float32)
    for start in range(0, rows, BLOCK):
        block = unit(np.asarray(vectors[start : start + BLOCK])) - mean.astype(np.float32)
        laid[start : start + BLOCK, : turned.shape[1]] = block @ turned
    return laid


def tsne(vectors: Vectors) -> Places:
    """t-SNE (van der Maaten & Hinton 2008) of all pictures, or of 5,000 landmarks that the others are laid beside."""
    from sklearn.manifold import TSNE

    some = np.sort(keyed(0, 0, Purpose.ORDER).permutation(len(vectors))[:LANDMARKS])
    seen = pca(vectors[some], min(AXES, vectors.shape[1]))
    perplexity = min(30.0, (len(some) - 1) / 3)
    placed = TSNE(2, perplexity=perplexity, init="pca", random_state=0, n_jobs=1).fit_transform(seen)
    if len(some) == len(vectors):
        return np.asarray(placed)
    laid = np.empty((len(vectors), 2), np.float32)
    for start in range(0, len(vectors), BLOCK):
        scores, near = nearest(np.asarray(vectors[start : start + BLOCK]), vectors[some], NEAR)
        weights = np.exp((scores - scores[:, :1]) * 20.0)  # a landmark itself, at a cosine of one, stays where it is
        laid[start : start + BLOCK] = (placed[near] * weights[..., None]).sum(axis=1) / weights.sum(axis=1)[:, None]
    laid[some] = placed
    return laid


def umap(vectors: Vectors) -> Places:
    """UMAP (McInnes et al. 2018) by cosine, with the settings of umap-learn."""
    check("umap")
    from umap import UMAP

    seen = unit(np.asarray(vectors))
    return np.asarray(
        UMAP(metric="cosine", n_neighbors=min(15, len(seen) - 1), random_state=0, n_jobs=1).fit_transform(seen)
    )


MAPS = {"pca": Map("PCA", pca), "tsne": Map("t-SNE", tsne), "umap": Map("UMAP", umap, "umap")}
