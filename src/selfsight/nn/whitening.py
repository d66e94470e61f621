"""Whitening: a cosine then hears all that an encoder has to say, and not only what it says loudest.

Embeddings vary far more along a few directions than along the others, and a cosine hears little else. Whitened ones
vary more alike along all: y = W (x - m) with W'W = (C + s v I)^-1, where m and C are mean and covariance of training
pictures and v is the mean of C's eigenvalues (Jegou & Chum 2012, ECCV, "Negative evidences and co-occurences in image
retrieval"). The share s keeps what hardly varies, which is noise, from being blown up, and classes from falling apart.
W is the inverse of the Cholesky factor (Kessy, Lewin & Strimmer 2018, arXiv 1512.00809): any other is a rotation of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors.numpy import save
from scipy.linalg import solve_triangular

from selfsight.nn.tensors import tensors_of

__all__ = ["FILE", "Whitening"]

FILE = "whitening.safetensors"
SHARE = 3.0  # s. Smaller ones gain more at the nearest picture and lose at those far behind: benchmarks/whitening.py
BLOCK = 4096  # rows taken at once


@dataclass(frozen=True, eq=False)
class Whitening:
    """y = (x - mean) @ matrix, float32."""

    mean: Float[np.ndarray, "D"]
    matrix: Float[np.ndarray, "D D"]

    @classmethod
    def fit(cls, rows: Float[np.ndarray, "N D"], share: float = SHARE) -> Whitening | None:
        """Of these rows; None where they are fewer than their dimensions, or all alike."""
        count, width = rows.shape
        if count < width:
            return None
        mean = rows.mean(axis=0, dtype=np.float64)
        covariance = np.zeros((width, width))
        for start in range(0, count, BLOCK):
            moved = rows[start : start + BLOCK] - mean
            covariance += moved.T @ moved / count
        ridge = share * float(np.trace(covariance)) / width
        if not 0 < ridge < np.inf:
            return None
        root = np.linalg.cholesky(covariance + ridge * np.eye(width))
        matrix = solve_triangular(root, np.eye(width), lower=True).T
        return cls(mean.astype(np.float32), np.ascontiguousarray(matrix, np.float32))

    def __call__(self, rows: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        """Whitened rows. By torch, which keeps to the threads that it was given."""
        found, matrix = np.empty(rows.shape, np.float32), torch.from_numpy(self.matrix)
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            found[block] = (torch.from_numpy(rows[block] - self.mean) @ matrix).numpy()
        return found

    def save(self) -> bytes:
        """As a safetensors file."""
        return save({"mean": self.mean, "matrix": self.matrix})

    @classmethod
    def load(cls, file: Path, width: int) -> Whitening | None:
        """What `save` wrote; None where there is no file, ValueError when it is not of vectors of this width."""
        if not file.exists():
            return None
        found = {name: tensor.numpy() for name, tensor in tensors_of(file).items()}
        shapes = {name: array.shape for name, array in found.items() if array.dtype == np.float32}
        if shapes != {"mean": (width,), "matrix": (width, width)} or len(found) > len(shapes):
            raise ValueError(f"{file.name} is not of vectors of {width} numbers")
        return cls(**found)
