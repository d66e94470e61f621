"""The memory that the plan tells is what the run then takes, and micro-batches are what it depends on."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract_parts import everything_scanned

from selfsight.errors import TrainingError
from selfsight.recipe import Recipe
from selfsight.training import autotune, bare, memory
from selfsight.training.autotune import stand_in
from selfsight.training.bare import Bare, line
from selfsight.training.plan import plan
from selfsight.training.request import Request

SIZE = ["--encoder", "test_resnet", "--size", "96", "--batch", "64", "--micro-batch", "32", "--for", "1steps"]
MACHINE = ["--precision", "fp32", "--set", "channels_last=false", "--threads", "1", "--use-all"]
LOOKS = ["--set", "monitor_points=1", "--set", "monitor_pictures=32"]
EXACT = 0.2 if memory.RESET.exists() else 0.5  # only Linux counts anew after the plan has measured
RUN = """
import sys
from selfsight import cli
from selfsight.training import autotune
from selfsight.training.memory import peak
measure = autotune.measure
def measured(*given, **options):
    found = measure(*given, **options)
    print("predicted", found.memory)
    return found
autotune.measure = measured
code = cli.main(sys.argv[1:])
print("peak", peak())
sys.exit(code)
"""


def test_the_plan_predicts_the_memory_of_the_run(photos: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", RUN, "train", str(photos), *SIZE, *MACHINE, *LOOKS, "--out", str(tmp_path / "run")]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=240).stdout
    predicted, peak = (float(re.search(rf"^{name} (\S+)", told, re.MULTILINE)[1]) for name in ("predicted", "peak"))
    assert re.search(r"memory\W+([\d.]+) GB", told)[1] == f"{predicted / 1e9:.1f}"
    assert predicted == pytest.approx(peak, rel=EXACT)


@pytest.mark.parametrize(
    ("method", "settings", "batch", "micro"),
    [
        ("dino", {"prototypes": "8192"}, 256, 32),  # scores, and the loss of them, grow with the batch
        ("barlow_twins", {"hidden": "64", "width": "3000"}, 256, 256),  # its largest matrix does not
    ],
)
def test_a_large_step_takes_what_smaller_ones_say(
    method: str, settings: dict[str, str], batch: int, micro: int, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what the process has anyway, as the plan tells it."""
    monkeypatch.setattr(bare, "ROUNDS", 1)
    manifest = everything_scanned(photos)
    asked = Request(
        [str(photos)], method=method, encoder="test_resnet", size=16, batch=64, length="1steps", precision="fp32",
        device="cpu", threads=1, use_all=True, settings=settings,
    )  # fmt: skip
    recipe, _ = plan(asked, manifest)
    few, _ = autotune.loaded(recipe, manifest, manifest.train_rows())
    whole = {name: rows[torch.arange(batch) % len(rows)] for name, rows in few.items()}
    small, large = (replace(recipe, batch=size, micro_batch=min(size, micro)) for size in (64, batch))
    own = memory.resident()
    told = own + Bare(small, stand_in(small), few).working(batch, micro)
    assert told == pytest.approx(own + Bare(large, stand_in(large), whole).most, rel=EXACT)


def test_what_is_there_is_not_extrapolated() -> None:
    asked: list[int] = []
    assert line(lambda count: asked.append(count) or 10.0 + count, 8, 6) == 18.0
    assert line(lambda count: asked.append(count) or 10.0 + count, 8, 100) == 110.0
    assert asked == [8, 8, 4]


def test_growth_is_what_comes_and_goes() -> None:
    assert memory.growth(lambda: np.ones(2**23)) == pytest.approx(2**26, rel=EXACT)


def asked(photos: Path, **changes: object) -> Request:
    """A plan without a measurement."""
    few = {"encoder": "test_resnet", "size": 16, "length": "1steps", "precision": "fp32", "device": "cpu", "threads": 1}
    return Request([str(photos)], use_all=True, **{**few, **changes})


def test_measured_parts_are_as_large_as_those_of_training(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 = 5 + 5 + 5 + 1, and batch norm cannot take one picture."""
    monkeypatch.setattr(autotune, "TRIED", 16)
    manifest = everything_scanned(photos)
    recipe, _ = plan(asked(photos, method="byol", batch=20, micro_batch=5), manifest)
    assert autotune.measure(recipe, manifest, "fp32", False).seconds > 0


def test_a_choice_without_room_is_left_out(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(Bare):
        def __init__(self, recipe: Recipe, *rest: Any) -> None:
            if recipe.precision == "fp32":
                raise torch.OutOfMemoryError("CUDA out of memory")
            super().__init__(recipe, *rest)

    monkeypatch.setattr(autotune, "Bare", Small)
    manifest = everything_scanned(photos)
    recipe, _ = plan(asked(photos, batch=16), manifest)
    assert autotune.measure(recipe, manifest, layout=False).precision == "bf16"
    with pytest.raises(TrainingError, match="has no room for 16 pictures"):
        autotune.measure(recipe, manifest, "fp32", False)


def test_a_system_that_tells_no_peak_has_one_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As gVisor's."""
    (tmp_path / "status").write_text("VmRSS:\t 2048 kB\n")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    assert memory.resident() == 2 * 2**20
    assert memory.peak() > 2**20
