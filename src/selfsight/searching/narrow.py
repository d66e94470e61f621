"""Which rows may be found: those of some labels, of some names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow
import pyarrow.compute
from jaxtyping import Bool

from selfsight.embedding.store import shown

__all__ = ["Narrow"]


@dataclass(frozen=True)
class Narrow:
    """`labels` (any of them) and `path`, a pattern of names with * and ?; nothing given narrows nothing."""

    labels: Sequence[str] = ()
    path: str | None = None

    def __bool__(self) -> bool:
        return bool(self.labels or self.path)

    @property
    def told(self) -> list[str]:
        """The labels as an index has them."""
        return [*map(shown, self.labels)]

    @property
    def expression(self) -> str:
        """The pattern as a regular expression, in what Python and PostgreSQL have in common."""
        return "".join({"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in self.path or "*")

    def rows(self, table: pyarrow.Table) -> Bool[np.ndarray, "N"]:
        """Which rows of an index's table it leaves."""
        left = np.ones(len(table), bool)
        if self.labels:
            named = pyarrow.compute.is_in(table["label"], pyarrow.array(self.told, pyarrow.string()))
            left &= np.asarray(named.to_numpy(zero_copy_only=False) if len(table) else left)
        if self.path:
            match = re.compile(self.expression, re.DOTALL).fullmatch
            left &= np.fromiter((match(name) is not None for name in table["path"].to_pylist()), bool, len(table))
        return left
