"""The encoder that made an index: what turns other pictures into vectors that may be compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from selfsight.data.decode import Refused
from selfsight.data.kinds import KINDS
from selfsight.data.ranges import conform, format_of
from selfsight.embedding import store
from selfsight.embedding.embed import vectors_of
from selfsight.errors import ImageError, RunError
from selfsight.nn import families
from selfsight.nn.embedder import Embedder
from selfsight.runs import RunFolder

__all__ = ["Eye"]


class Eye:
    """`where` is the index that it belongs to, `facts` what that says; `run` the run, where it was moved."""

    def __init__(self, where: str, facts: Mapping[str, Any], run: Path | None = None) -> None:
        self.where, self.facts = where, facts
        self.folder = run or Path(facts["run"])

    @cached_property
    def run(self) -> RunFolder:
        """Its run. RunError when it is not there, or has another encoder by now."""
        if not (self.folder / "recipe.yaml").is_file():
            raise RunError(
                f"the run whose encoder made {self.where!r} is not at {str(self.folder)!r}; say --encoder RUN"
            )
        run = RunFolder(self.folder)
        if store.digest(run.encoder_folder()) != self.facts["encoder"]:
            raise RunError(
                f"{self.where!r} belongs to another encoder than that of {str(self.folder)!r}; embed its pictures "
                "again, or say --encoder RUN"
            )
        return run

    @cached_property
    def encoder(self) -> Embedder:
        """The encoder itself."""
        return families.load(self.run.encoder_folder()).eval()

    def view(self, sample: str | Path | bytes) -> np.ndarray:
        """What the encoder sees of a file, or of the bytes of one. ImageError when it cannot be decoded."""
        kind, recipe = KINDS[self.encoder.kind], self.run.recipe
        name = f"{len(sample)} bytes" if isinstance(sample, bytes) else str(sample)
        try:
            data = sample if isinstance(sample, bytes) else kind.read(str(sample))
            array = kind.array(data, recipe.least_side)
        except Refused as refused:
            raise ImageError(name, refused.reason, refused.detail) from refused
        return self.encoder.view(conform(array, format_of(recipe)), int(self.facts["size"]))

    def embed(self, sample: str | Path | bytes) -> Float[np.ndarray, "D"]:
        """The vector of a file, or of the bytes of one."""
        vector: np.ndarray = vectors_of(self.encoder, torch.from_numpy(self.view(sample)[None]))[0]
        return vector
