"""Labels that a run has seen are told, with how many they were, and only where they were used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selfsight.data import source
from selfsight.data.manifest import scan
from selfsight.training import jury
from selfsight.training.labels import labels_seen
from selfsight.training.plan import plan
from selfsight.training.request import Request


def test_labels_that_a_run_has_seen_are_counted(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = scan(source.find([str(photos)]))
    request = Request(
        [str(photos)], method="pull_push", encoder="test_resnet", size=32, batch=16, length="1steps", threads=1,
        precision="fp32", device="cpu",
    )  # fmt: skip
    recipe, _ = plan(request, manifest)
    few = "numbers with few labels are not of so few."
    count = len(manifest.train_rows())
    assert labels_seen([(recipe, manifest)]) == [
        f"Labels of {count} training pictures are what pull_push learned from: {few}"
    ]
    views = replace(recipe, settings={**recipe.settings, "identity": "views"})
    assert labels_seen([(views, manifest)]) == []
    monkeypatch.setattr(jury, "SHOWN", 10)
    searched = replace(views, searched={"simclr": 0.5})
    assert labels_seen([(searched, manifest)]) == [f"Labels of up to 10 training pictures chose views: {few}"]
    bare = replace(manifest, labels=np.full(len(manifest), -1))
    assert labels_seen([(recipe, bare)]) == []
