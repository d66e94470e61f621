"""Embeddings on disk: a memory-mappable array and a table that says whose row is whose."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from jaxtyping import Float

from selfsight import checkpoints
from selfsight.data.bad import BadFile
from selfsight.data.pictures import write_bad_files
from selfsight.errors import DiskError

__all__ = ["write"]


def write(
    folder: Path,
    vectors: Float[np.ndarray, "N ..."],
    names: Sequence[str],
    labels: Sequence[str | None],
    bad: Sequence[BadFile],
) -> Path:
    """embeddings.npy, embeddings.parquet (path, label, row) and bad_files.csv; each appears whole or not at all."""
    table = pyarrow.table(
        {"path": list(names), "label": pyarrow.array(labels, pyarrow.string()), "row": np.arange(len(names))}
    )
    array, sink = io.BytesIO(), pyarrow.BufferOutputStream()
    np.save(array, vectors.astype(np.float32), allow_pickle=False)
    pyarrow.parquet.write_table(table, sink)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints.replace_file(folder / "embeddings.npy", array.getvalue())
        checkpoints.replace_file(folder / "embeddings.parquet", sink.getvalue().to_pybytes())
        write_bad_files(folder / "bad_files.csv", bad)
    except OSError as error:
        raise DiskError(
            f"{str(folder)!r} cannot be written ({error.strerror}); free some space or choose another --out"
        ) from error
    return folder
