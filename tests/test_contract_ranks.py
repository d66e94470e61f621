"""Two ranks equal one, and micro-batches on two ranks too, where no batch statistics are computed."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import contract_driver
import contract_ranks
import pytest
import torch
from contract_parts import BATCH, NAMES, everything_scanned, recipe_of, taught
from mortal import joined
from safetensors.torch import load_file

from selfsight import checkpoints
from selfsight.recipe import Recipe

FORKED = multiprocessing.get_context("forkserver")
STEPS = 10  # the second epoch begins at 8
# Its loss takes biases off again, whose gradient is nothing but rounding, and Adam would follow that.
NOTHING_BUT_ROUNDING = {"barlow_twins"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def trained(
    world: int, photos: Path, recipe_file: Path, folder: Path, micro: int | None, until: int | None = None
) -> Path:
    given = (world, free_port(), photos, recipe_file, folder, micro, until)
    ranks = [FORKED.Process(target=contract_ranks.run, args=(rank, *given)) for rank in range(world)]
    for rank in ranks:
        rank.start()
    assert joined(*ranks) == [0] * world
    return folder


def planned(name: str, data: Path) -> Recipe:
    """Rank 0 looks alone: no more than twice, at a few pictures, which are slow in float64."""
    plain = {"optimizer": "sgd"} if name in NOTHING_BUT_ROUNDING else {}
    return recipe_of(name, data, everything_scanned(data), steps=STEPS, monitor_points=1, monitor_pictures=16, **plain)


def apart(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """Largest relative distance of two sets of tensors, each taken as one vector per name's first part."""
    assert first.keys() == second.keys()
    off, size = {}, {}
    for name in first:
        group = name.split(".")[0]
        off[group] = off.get(group, 0.0) + float((first[name].double() - second[name].double()).square().sum())
        size[group] = size.get(group, 0.0) + float(first[name].double().square().sum())
    return max((off[group] / max(size[group], 1e-12)) ** 0.5 for group in off)


def journal(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in journal(folder) if "loss" in line]


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_equal_one(name: str, samples: Path, tmp_path: Path) -> None:
    data = taught(name, samples)
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(planned(name, data).to_yaml())
    one = trained(1, data, recipe_file, tmp_path / "one", BATCH)
    expected, start = load_file(one / "state-0.safetensors"), load_file(one / "gradients-0.safetensors")
    for micro in (BATCH // 2, BATCH // 8):
        two = trained(2, data, recipe_file, tmp_path / f"two-{micro}", micro)
        first, second = (load_file(two / f"state-{rank}.safetensors") for rank in (0, 1))
        assert [key for key in first if not torch.equal(first[key], second[key])] == [], "ranks drifted apart"
        seen = [json.loads((two / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
        assert [a + b for a, b in zip(*seen, strict=True)] == json.loads((one / "seen-0.json").read_text())
        gradients = load_file(two / "gradients-0.safetensors")
        assert losses(two) == pytest.approx(losses(one), rel=1e-9)
        assert apart(start, gradients) <= 1e-9
        assert apart(expected, first) <= 1e-9


@pytest.mark.parametrize("name", ["everything", "deepcluster_v2"])
def test_one_two_one(name: str, samples: Path, tmp_path: Path) -> None:
    """Begun on one rank, gone on with on two inside the first epoch, and back on one inside the second."""
    data = taught(name, samples)
    recipe_file = tmp_path / "recipe.yaml"
    recipe_file.write_text(planned(name, data).to_yaml())
    one = trained(1, data, recipe_file, tmp_path / "one", BATCH)
    seen = []
    for world, until in ((1, 3), (2, 9), (1, None)):
        folder = trained(world, data, recipe_file, tmp_path / "changing", None, until)
        parts = [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in range(world)]
        seen += [list(chain(*slices)) for slices in zip(*parts, strict=True)]
    assert len(seen) == STEPS
    assert seen == json.loads((one / "seen-0.json").read_text())
    assert losses(folder) == pytest.approx(losses(one), rel=1e-9)
    assert apart(*(load_file(run / "state-0.safetensors") for run in (one, folder))) <= 1e-9


def test_torchrun_trains_as_one_process_does(photos: Path, tmp_path: Path) -> None:
    """From the command line. Batch statistics are per rank there, so what does not depend on them is compared."""
    given = f"train {photos} --method everything --encoder test_resnet --size 32 --batch 8 --for 10steps --threads 1"
    given += " --precision fp32 --device cpu --use-all --save-every 0.001s --workers 1 --quiet --out"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    one, two = tmp_path / "one", tmp_path / "two"
    command = [*launch, contract_driver.__file__, *given.split(), str(two)]
    subprocess.run(command, check=True, timeout=200, env=environment, capture_output=True)
    alone = FORKED.Process(target=contract_driver.run, args=([*given.split(), str(one)], None))
    alone.start()
    assert joined(alone) == [0]
    assert Recipe.from_yaml(two / "recipe.yaml").difference(Recipe.from_yaml(one / "recipe.yaml")) == (
        "micro_batch was 4 and is now 8; world was 2 and is now 1; "
        + before_differs(Recipe.from_yaml(two / "recipe.yaml"), Recipe.from_yaml(one / "recipe.yaml"))
    )
    for folder in (two, two / "stages" / "simclr"):
        same = one / folder.relative_to(two)
        found, expected = journal(folder), journal(same)
        assert [(line["step"], line.get("epoch"), line.get("lr")) for line in found] == [
            (line["step"], line.get("epoch"), line.get("lr")) for line in expected
        ]
        assert found[0] == expected[0], "the untouched encoder"
        steps = checkpoints.steps(folder / "checkpoints")
        assert steps == checkpoints.steps(same / "checkpoints")
        assert checkpoints.latest(folder / "checkpoints") == folder / "checkpoints" / f"step-{steps[-1]:08d}"
    assert not list(two.rglob("*.tmp-*"))
    assert sorted(path.name for path in (two / "encoder").iterdir()) == [
        "config.json",
        "digests.json",
        "model.safetensors",
        "preprocess.json",
    ]


def before_differs(two: Recipe, one: Recipe) -> str:
    return f"before was {asdict(two)['before']!r} and is now {asdict(one)['before']!r}"
