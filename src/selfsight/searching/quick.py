"""Search in a part of very many rows, by faiss, and how much of the exact answer that finds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from selfsight import checkpoints
from selfsight.data import cache
from selfsight.data.shards import content_digest
from selfsight.errors import DiskError, MissingError, brief
from selfsight.neighbours import nearest, unit

__all__ = ["Quick", "best", "sample", "speedy", "strangers", "without_self"]

RECALL = 0.98  # of the ten nearest, that is aimed at
TEN = 10
ASKED = 100  # rows that it is measured on, evenly spaced
LEAST = 20_000  # with fewer rows the exact search takes milliseconds
LISTS, TRAINING = 4, 64  # lists for each root of N, rows that each list is learned from (faiss's own guide)
BLOCK = 65_536  # rows added at once
Found = tuple[Float[np.ndarray, "Q K"], Int[np.ndarray, "Q K"]]


@dataclass(frozen=True)
class Quick:
    """A faiss index of unit rows, how many of its lists are searched, and the recall that this has."""

    index: Any
    probes: int
    recall: float

    def search(self, vectors: Float[np.ndarray, "Q D"], k: int) -> Found:
        """Cosines and rows; `vectors` have length one."""
        probes = self.probes
        while True:
            self.index.nprobe = probes
            cosines, rows = self.index.search(np.ascontiguousarray(vectors, np.float32), k)
            if probes >= self.index.nlist or (rows >= 0).all():  # these lists hold k rows
                return cosines, rows
            probes *= 2


def speedy(
    vectors: Float[np.ndarray, "N D"], lengths: Float[np.ndarray, "N"], folder: Path, owner: str
) -> Quick | None:
    """The index in embeddings.faiss of the folder, built when there is none for these rows (`owner`).

    None for few rows. faiss trusts what it reads. So a file counts only where a note in the cache of this user says
    that it was built here, and what its digest is; one that came with a stranger's folder is built anew.
    Raises MissingError without faiss, DiskError without room.
    """
    if len(vectors) < LEAST:
        return None
    faiss = needed()
    file, note = folder / "embeddings.faiss", cache.folder() / f"faiss-{content_digest(owner.encode())}.json"
    with suppress(OSError, ValueError, KeyError, RuntimeError):  # not there, or not whole
        known = json.loads(note.read_bytes())
        if known["sha256"] == _digest(file):
            return Quick(faiss.read_index(str(file)), known["probes"], known["recall"])
    index = _built(faiss, vectors)
    own = np.asarray(vectors[sample(len(vectors))])
    near = nearest(own, vectors, TEN + 1, lengths=lengths)[1]
    asked = strangers(own, np.asarray(vectors[near[:, 1]]), np.asarray(vectors[near[:, -1]]))
    exact = nearest(asked, vectors, TEN, lengths=lengths)[1]
    efforts = [2**power for power in range(int(np.log2(index.nlist)) + 1)]
    probes, recall = best(efforts, exact, lambda probes: Quick(index, probes, 0).search(asked, TEN)[1])
    partial = file.with_name(f"{file.name}.tmp-{os.getpid()}")  # another process may build it too
    try:
        faiss.write_index(index, str(partial))
        told = json.dumps({"sha256": _digest(partial), "probes": probes, "recall": recall}).encode()
        partial.replace(file)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        raise DiskError(
            f"{str(file)!r} cannot be written ({brief(error)}); free some space, or search exactly"
        ) from error
    with suppress(OSError):  # without the note it is built again
        note.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.replace_file(note, told)
    return Quick(index, probes, recall)


def _digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def needed() -> Any:
    """faiss; MissingError names the extra."""
    try:
        import faiss
    except ImportError as error:
        raise MissingError("--approximate needs faiss; install it with: pip install 'selfsight[search]'") from error
    return faiss


def _built(faiss: Any, vectors: Float[np.ndarray, "N D"]) -> Any:
    """Inverted lists of unit rows, by inner product."""
    count, width = vectors.shape
    lists = LISTS * int(count**0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
    taken = np.linspace(0, count - 1, min(count, lists * TRAINING)).astype(np.int64)
    index.train(unit(np.asarray(vectors[taken])))
    for start in range(0, count, BLOCK):
        index.add(unit(np.asarray(vectors[start : start + BLOCK])))
    return index


def sample(count: int, most: int = ASKED) -> Int[np.ndarray, "K"]:
    """Rows that a recall is measured on, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def strangers(
    own: Float[np.ndarray, "Q D"], near: Float[np.ndarray, "Q D"], far: Float[np.ndarray, "Q D"]
) -> Float[np.ndarray, "Q D"]:
    """Queries like pictures that are not there: unit rows, a step beside `own` along the line from `near` to `far`.

    The step is as long as that from `own` to `near`, its nearest neighbour. A row itself is too easy a query: an index
    leads from it to its neighbours.
    """
    own, near, far = unit(own), unit(near), unit(far)
    along = far - near
    along -= (along * own).sum(axis=1, keepdims=True) * own
    cosine = (own * near).sum(axis=1, keepdims=True).clip(-1, 1)
    length = np.linalg.norm(along, axis=1, keepdims=True)
    return unit(cosine * own + np.sqrt(1 - cosine**2) * along / np.maximum(length, 1e-12))


def best(
    efforts: Iterable[int],
    exact: Int[np.ndarray, "Q K"],
    search: Callable[[int], Int[np.ndarray, "Q K"]],
) -> tuple[int, float]:
    """The least effort whose recall is enough, or the most there is, and the recall."""
    effort, found = 0, 0.0
    for effort in efforts:
        pairs = zip(exact.tolist(), search(effort).tolist(), strict=True)
        found = float(np.mean([len(set(right) & set(got)) / len(right) for right, got in pairs]))
        if found >= RECALL:
            break
    return effort, round(found, 4)


def without_self(cosines: Float[np.ndarray, "N K"], rows: Int[np.ndarray, "N K"]) -> Found:
    """What row i found but itself: one column less."""
    own = rows == np.arange(len(rows))[:, None]
    own[~own.any(axis=1), -1] = True  # it did not find itself: the farthest goes
    shape = (len(rows), rows.shape[1] - 1)
    return cosines[~own].reshape(shape), rows[~own].reshape(shape)
