"""Selfsight: learn an image encoder from pictures without labels, prove how good it is, and use it.

    import selfsight

    run = selfsight.train("photos/")
    print(run.evaluate()["verdict"])

Importing this package imports no torch: every public name is looked up when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

__all__ = ["Run", "__version__", "browse", "classify", "compare", "embed", "errors", "evaluate", "export", "inspect"]
__all__ += ["methods", "pack", "search", "train"]

_ROOMS = {"errors", "methods"}  # sub-packages; all other names are functions of `selfsight.api`


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("selfsight")
    if name in _ROOMS:
        return import_module(f"selfsight.{name}")
    if name in __all__:
        return getattr(import_module("selfsight.api"), name)
    raise AttributeError(f"module 'selfsight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
