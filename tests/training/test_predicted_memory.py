"""The memory that the plan tells is what the run then takes, and micro-batches are what it depends on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from selfsight.training import memory

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


def test_growth_is_what_comes_and_goes() -> None:
    assert memory.growth(lambda: np.ones(2**23)) == pytest.approx(2**26, rel=EXACT)
