"""Adapters for tests/battery: a loader and a scanner of hostile folders.

python tests/battery/make_dirty_images.py DIR
PYTHONPATH=benchmarks python tests/battery/probe_dirty.py DIR.manifest.json --loader dirty:load --scan dirty:scan
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from selfsight.data import source
from selfsight.data.decode import decode, displayed


def load(path: str) -> np.ndarray:
    """One picture as people see it: (H, W, 3) uint8."""
    return displayed(decode(path))


def scan(root: str) -> Iterator[str]:
    """The candidates that a folder holds, absolute."""
    yield from source.find(root).paths
