"""Embeddings on disk: a memory-mappable array, a table that says whose row is whose, and the encoder they belong to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from jaxtyping import Float, Int

from selfsight import checkpoints
from selfsight.data.pictures import Pictures, write_bad_files
from selfsight.errors import DiskError, TrainingError

__all__ = ["digest", "write"]

HEADER = 128  # bytes before the numbers: a multiple of 64, so that they can be mapped (NumPy's format.py, version 1.0)
ENCODER = ("config.json", "model.safetensors", "preprocess.json")
Parts = Iterable[tuple[Float[np.ndarray, "B ..."], Int[np.ndarray, "B"]]]


def digest(encoder: Path) -> str:
    """SHA-256 of an encoder's folder: what decides its vectors. The same as `cat` of ENCODER `| sha256sum`."""
    found = hashlib.sha256()
    for name in ENCODER:
        if (encoder / name).exists():
            with open(encoder / name, "rb") as file:
                while block := file.read(1 << 20):
                    found.update(block)
    return found.hexdigest()


def write(folder: Path, parts: Parts, pictures: Pictures, facts: Mapping[str, Any]) -> Path:
    """embeddings.npy, embeddings.parquet (path, label, row), bad_files.csv, and embeddings.json: `facts` and shape.

    `parts` go to disk as they come, so that memory holds one of them. Nothing has its final name before all parts are
    on disk, and embeddings.json comes last: where it is, the rest is whole. Raises DiskError, and what `parts` raises.
    """
    array = folder / "embeddings.npy"
    partial = array.with_name(f"{array.name}.tmp-{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{array.name}.tmp-*"):  # of a process that was killed
            left.unlink()
        shape, rows = _append(partial, parts)
        table = _table(pictures, rows)
        (folder / "embeddings.json").unlink(missing_ok=True)  # of an earlier encoder, perhaps
        partial.replace(array)
        checkpoints.replace_file(folder / "embeddings.parquet", table)
        write_bad_files(folder / "bad_files.csv", pictures.bad_files)
        content = {**facts, "count": shape[0], "width": shape[-1], "shape": shape, "dtype": "float32"}
        checkpoints.replace_file(folder / "embeddings.json", json.dumps(content, indent=1).encode())
    except OSError as error:
        raise DiskError(
            f"{str(folder)!r} cannot be written ({error.strerror}); free some space or choose another --out"
        ) from error
    except TrainingError:  # too many bad files: its sentence sends the reader to the list
        write_bad_files(folder / "bad_files.csv", pictures.bad_files)
        raise
    finally:
        with suppress(OSError):
            partial.unlink()
    return folder


def _append(path: Path, parts: Parts) -> tuple[list[int], np.ndarray]:
    """Write an .npy whose length is known only at the end, to disk; its shape and the rows of the pictures."""
    kept: list[np.ndarray] = []
    each: tuple[int, ...] = (0,)
    with open(path, "wb") as file:
        file.write(bytes(HEADER))
        for vectors, rows in parts:
            file.write(np.ascontiguousarray(vectors, "<f4").data)
            kept.append(rows)
            each = vectors.shape[1:]
        shape = [sum(map(len, kept)), *each]
        file.seek(0)
        file.write(_header(shape))
        file.flush()
        os.fsync(file.fileno())
    return shape, np.concatenate(kept) if kept else np.zeros(0, np.int64)


def _header(shape: list[int]) -> bytes:
    """Magic, version, length, and a dictionary padded with spaces to HEADER bytes in all."""
    told = repr({"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}).encode()
    start = b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little")
    return start + told.ljust(HEADER - 11) + b"\n"


def _table(pictures: Pictures, rows: Int[np.ndarray, "N"]) -> bytes:
    """The Parquet file: `row` counts in embeddings.npy."""
    manifest, sink = pictures.manifest, pyarrow.BufferOutputStream()
    labels = [manifest.classes[label] if label >= 0 else None for label in manifest.labels[rows]]
    names = [manifest.names[row] for row in rows]
    columns = {"path": names, "label": pyarrow.array(labels, pyarrow.string()), "row": np.arange(len(rows))}
    pyarrow.parquet.write_table(pyarrow.table(columns), sink)
    return bytes(sink.getvalue().to_pybytes())
