"""SIGKILL anywhere, again and again: the run ends as if nothing had happened, and there is always a whole checkpoint.

The first run is a process of its own from its first import on. The others are forked from a process that has imported
everything and run nothing, which saves four seconds each and is killed just as dead.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import contract_driver
import pytest
from contract_parts import NAMES, short, taught, tiny
from mortal import joined

from selfsight import checkpoints

FORKED = multiprocessing.get_context("forkserver")
EARLY = ["plan", "before:0s", "before:0a", "before:1", "before:4s", "before:8", "before:8a", "before:10s", "before:10a"]
LATE = ["0s", "0a", "1", "3s", "4a", "7", "8s", "8", "8a", "12s", "15a", "16s", "16", "17a", "19", "20s", "20a"]
SHORT = ["0s", "0a", "5", "8s", "8a", "10", "12s"]
STEPS, FEW = 20, 12  # 8 an epoch, so the second is met in either; the stage before has half as many


def arguments(photos: Path, name: str, out: Path, workers: int) -> list[str]:
    """What a plan chooses where it is faster: bf16, and weights and moments that lie as channels last."""
    steps = STEPS if name == "everything" else FEW
    text = f"--method {name} --encoder {tiny(name)} --size 32 --batch 8 --for {steps}steps --precision bf16"
    rest = f"--set channels_last=true --threads 1 --device cpu --use-all --save-every 0.001s --workers {workers}"
    settings = [part for key, value in short(name).items() for part in ("--set", f"{key}={value}")]
    return ["train", str(photos), *text.split(), *settings, *rest.split(), "--quiet", "--out", str(out)]


def forked(given: list[str], kill_at: str | None) -> int | None:
    child = FORKED.Process(target=contract_driver.run, args=(given, kill_at))
    child.start()
    return joined(child)[0]


def digest(folder: Path) -> dict[str, bytes]:
    """Everything that a run leaves, but for the clock and what names the machine."""
    clock = {"timing.jsonl", "report.html", ".lock", "recipe.yaml"}
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in clock]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def newest(folder: Path) -> int:
    """The step of the newest checkpoint, every byte of it verified; -1 when there is none yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = checkpoints.latest(folder / "checkpoints")
    return -1 if found is None else int(checkpoints.read(found)[0]["step"])


@pytest.mark.parametrize("name", NAMES)
def test_killed_again_and_again(name: str, samples: Path, tmp_path: Path) -> None:
    data = taught(name, samples)
    points = EARLY + LATE if name == "everything" else SHORT
    straight, chain = tmp_path / "straight", tmp_path / "chain"
    if name == "everything":
        command = [sys.executable, contract_driver.__file__, *arguments(data, name, straight, 2)]
        subprocess.run(command, check=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    else:
        assert forked(arguments(data, name, straight, 2), None) == 0
    reached = -1
    for number, point in enumerate(points):
        ended = forked(arguments(data, name, chain, 2 * (number % 2)), point)
        assert ended == -signal.SIGKILL, f"{point}: was not killed but ended with {ended}"
        for stage in (chain / "stages").glob("*"):
            newest(stage)
        assert newest(chain) >= reached, f"{point}: a checkpoint was lost"
        reached = newest(chain)
    assert forked(arguments(data, name, chain, 0), None) == 0
    expected, found = digest(straight), digest(chain)
    assert expected.keys() == found.keys()
    assert [key for key in expected if expected[key] != found[key]] == []
    shutil.rmtree(chain)
