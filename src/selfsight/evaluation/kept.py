"""Answers that are kept on disk beside decoded pictures: the same question of the same data is computed once.

Raw pixels, simple statistics and the untrained network are measured beside every run on a set, and say the same each
time. A key holds all that an answer depends on: the arrays themselves or the digests of their pictures, our own code,
the libraries, threads and instruction set. A file whose checksum is wrong, a full disk or no folder only cost time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache as computed_once
from functools import partial
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from safetensors.numpy import load, save

import selfsight
from selfsight.data import cache
from selfsight.data.pictures import Pictures
from selfsight.embedding.embed import best_device
from selfsight.nn.embedder import Embedder

__all__ = ["answer", "network", "once", "samples"]

ROOMS = ("clusters", "data", "embedding", "evaluation", "nn", "views", "neighbours.py")  # whose code an answer is of
LIBRARIES = ("torch", "numpy", "scipy", "timm", "opencv-python-headless", "pillow", "tifffile")
CHECKSUM = 32  # bytes in front of an answer

Answer = TypeVar("Answer")


def once(make: Callable[[], Answer], *key: Any, types: Iterable[type] = ()) -> Answer:
    """What `make` returns, from disk where it was made before: arrays, numbers, tuples, dicts, dataclasses of `types`.

    `key` is what it depends on: arrays, tuples, and what has a plain `repr`.
    """
    name = f"answer-{_digest(key)}"
    with suppress(OSError, ValueError):
        return _read(cache.folder() / name, {one.__name__: one for one in types})  # type: ignore[no-any-return]
    answer = make()
    with suppress(OSError):
        _write(name, answer)
    return answer


def answer(question: Callable[..., Answer], *arguments: Any, types: Iterable[type] = (), **options: Any) -> Answer:
    """What `question` says to these arguments and options, which are all that it depends on."""
    key = (question.__module__, question.__qualname__, *arguments, *sorted(options.items()))
    return once(partial(question, *arguments, **options), *key, types=types)


def network(encoder: Embedder) -> bytes:
    """Digest of a network: its weights, what its folder says of it, and where it computes.

    Weights and modules are not enough: a transformer that takes the mean of its patches has those of its class token.
    """
    made = encoder.name, getattr(encoder, "arguments", None)  # networks of words have a name only
    found = blake2b(repr((str(encoder), *made, encoder.device, best_device())).encode())
    for name, tensor in encoder.state_dict().items():
        found.update(name.encode())
        found.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return found.digest()


def samples(pictures: Pictures, rows: Int[np.ndarray, "N"]) -> str:
    """Which pictures or documents these are, and in which format they are read."""
    manifest = pictures.manifest
    return " ".join((manifest.kind, repr((pictures.format, pictures.least)), *(manifest.digests[row] for row in rows)))


def _digest(key: Iterable[Any]) -> str:
    found = blake2b(_circumstances(torch.get_num_threads()), digest_size=16)
    for part in _parts(key):
        found.update(part)
    return found.hexdigest()


def _parts(key: Iterable[Any]) -> Iterator[Any]:
    for one in key:
        if isinstance(one, tuple):
            yield f"tuple of {len(one)}".encode()
            yield from _parts(one)
        elif isinstance(one, np.ndarray):
            yield f"{one.dtype}{one.shape}".encode()
            yield np.ascontiguousarray(one).reshape(-1).view(np.uint8)
        else:
            yield f"{type(one).__name__}{one!r}".encode()


@computed_once
def _circumstances(threads: int) -> bytes:
    """Digest of what computes."""
    root = Path(selfsight.__file__).parent
    files = [file for room in ROOMS for file in sorted((root / room).rglob("*.py")) or [root / room]]
    found = blake2b(b"".join(file.read_bytes() for file in files))
    libraries = [version(name) for name in LIBRARIES]
    found.update(repr((libraries, threads, torch.backends.cpu.get_cpu_capability())).encode())
    return found.digest()


def _read(file: Path, types: dict[str, type]) -> Any:
    """ValueError when it is not whole."""
    held = file.read_bytes()
    content = memoryview(held)[CHECKSUM:]
    if held[:CHECKSUM] != blake2b(content, digest_size=CHECKSUM).digest():
        raise ValueError(f"{file} is not whole")
    os.utime(file)
    arrays = load(bytes(content))
    return _unpacked(json.loads(arrays.pop("").tobytes()), arrays, types)


def _write(name: str, answer: Any) -> None:
    """Where there is room for it."""
    arrays: dict[str, np.ndarray] = {}
    tree = json.dumps(_packed(answer, arrays)).encode()
    content = save({**arrays, "": np.frombuffer(tree, np.uint8)})
    if cache.room(CHECKSUM + len(content)) == CHECKSUM + len(content):
        with open(cache.folder() / name, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(blake2b(content, digest_size=CHECKSUM).digest())
            file.write(content)


def _packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """As JSON, with arrays moved to `arrays`: what is no plain value is a list of its kind and its parts."""
    if isinstance(value, np.ndarray):
        arrays[str(len(arrays))] = np.ascontiguousarray(value)
        return ["array", str(len(arrays) - 1)]
    if is_dataclass(value):
        parts = [getattr(value, field.name) for field in fields(value)]
        return [type(value).__name__, *(_packed(one, arrays) for one in parts)]
    if isinstance(value, dict):
        return ["dict", *([_packed(key, arrays), _packed(one, arrays)] for key, one in value.items())]
    if isinstance(value, tuple):
        return ["tuple", *(_packed(one, arrays) for one in value)]
    return value.item() if isinstance(value, np.generic) else value


def _unpacked(tree: Any, arrays: dict[str, np.ndarray], types: dict[str, type]) -> Any:
    if not isinstance(tree, list):
        return tree
    kind, *parts = tree
    if kind == "array":
        return arrays[parts[0]].copy()  # what was loaded cannot be written to
    if kind == "dict":
        return {_unpacked(key, arrays, types): _unpacked(one, arrays, types) for key, one in parts}
    found = [_unpacked(one, arrays, types) for one in parts]
    return tuple(found) if kind == "tuple" else types[kind](*found)
