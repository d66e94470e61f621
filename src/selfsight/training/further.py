"""What `evaluate` measures only when it is asked to: checked first, since it takes minutes, and measured last."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from selfsight.data.manifest import Manifest
from selfsight.evaluation.protocol import ENCODER
from selfsight.nn.embedder import Embedder
from selfsight.runs import RunFolder
from selfsight.training import label_shares

__all__ = ["asked"]


def asked(
    run: RunFolder, manifest: Manifest, encoders: Mapping[str, Embedder], *, finetune: bool, length: str | None
) -> Callable[[], dict[str, Any]]:
    """What measures it, by name in the JSON; an error now where it cannot be done. A length asks for it as well."""
    wanted: dict[str, Callable[[], Any]] = {}
    if finetune or length is not None:
        label_shares.check(manifest, encoders[ENCODER], length or label_shares.LENGTH)
        wanted["finetune"] = lambda: label_shares.measured(
            encoders, manifest, run.recipe, run.folder / "finetune", length=length or label_shares.LENGTH, say=say
        )
    return lambda: {name: measure() for name, measure in wanted.items()}


def say(sentence: str) -> None:
    """To whoever waits; what the command gives out stays on the other stream."""
    print(sentence, file=sys.stderr, flush=True)
