"""Two ranks by the command line: uneven data ends well, one that dies is named by the other, other data is refused."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import socket
import time
from pathlib import Path

import contract_driver
import pytest
import rank_processes

from selfsight import checkpoints

FORKED = multiprocessing.get_context("forkserver")
TINY = ["--encoder", "test_resnet", "--size", "32", "--batch", "8", "--threads", "1"]  # rank 0 measures the precision
TINY += ["--method", "simclr", "--for", "12steps", "--device", "cpu", "--save-every", "0.001s", "--quiet"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ranks(
    home: Path, data: list[Path], lost_at: str | None = None, patience: float | None = None, lost: int = 1
) -> tuple[list[int | None], list[str], float]:
    """Exit codes, what was said, and the seconds between the end of the lost rank (or its last sign) and the other's.

    Rank `lost` dies at a step, or with `patience` stands still there.
    """
    port, said = free_port(), [home / f"said-{rank}" for rank in (0, 1)]
    given = [["train", str(one), *TINY, "--out", str(home / "run")] for one in data]
    processes = [
        FORKED.Process(
            target=rank_processes.run,
            args=(rank, port, given[rank], said[rank], lost_at if rank == lost else None, patience),
        )
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    one, other = processes[lost], processes[1 - lost]
    while one.is_alive() and not (patience and "T" in state(one.pid)):
        time.sleep(0.02)
    ended = time.monotonic()
    other.join(120)
    took = time.monotonic() - ended
    one.kill() if patience else None
    one.join(120)
    return [process.exitcode for process in processes], [file.read_text() for file in said], took


def state(process: int | None) -> str:
    """What Linux says of a process: R, S, T (stopped) ..."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def uneven(photos: Path, tmp_path: Path) -> Path:
    """61 pictures, which no two ranks share evenly."""
    data = Path(shutil.copytree(photos, tmp_path / "data"))
    for number in range(3):
        (data / "china" / f"{number:03d}.png").unlink()
    return data


def test_a_rank_that_dies_is_named_and_the_run_goes_on(uneven: Path, tmp_path: Path) -> None:
    codes, said, took = ranks(tmp_path, [uneven, uneven], lost_at="5")
    assert codes == [2, -9]
    assert took < 10
    assert "rank 1 of 2 ended" in said[0]
    assert "give the same command again" in said[0]
    assert "Traceback" not in said[0]
    codes, said, _ = ranks(tmp_path, [uneven, uneven])
    assert codes == [0, 0], said
    assert checkpoints.steps(tmp_path / "run" / "checkpoints")[-1] == 12


def test_a_run_goes_on_with_another_number_of_ranks(uneven: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", str(uneven), *TINY, "--out", str(run)]
    for kill_at in ("3", None):
        alone = FORKED.Process(target=contract_driver.run, args=(command, kill_at))
        alone.start()
        alone.join(120)
        if kill_at:
            assert alone.exitcode == -9
            recipe = (run / "recipe.yaml").read_bytes()
            assert ranks(tmp_path, [uneven, uneven], lost_at="6")[0] == [2, -9]
    assert alone.exitcode == 0
    assert (run / "recipe.yaml").read_bytes() == recipe
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))


@pytest.mark.parametrize("lost", [0, 1])
def test_a_rank_that_stands_still_is_named(lost: int, uneven: Path, tmp_path: Path) -> None:
    """Rank 0 keeps the store by which ranks tell that they live, so then nobody answers there."""
    codes, said, took = ranks(tmp_path, [uneven, uneven], lost_at="5", patience=3, lost=lost)
    assert (codes[1 - lost], codes[lost]) == (2, -9)
    assert took < 3 + 10
    assert f"rank {lost} of 2 ended or stands still" in said[1 - lost]
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") == tmp_path / "run" / "checkpoints" / "step-00000004"


def test_ranks_that_see_other_pictures_are_refused(uneven: Path, photos: Path, tmp_path: Path) -> None:
    codes, said, _ = ranks(tmp_path, [photos, uneven])
    assert codes == [2, 2]
    for one in said:
        assert "rank 1 does not see the pictures of rank 0: 'china/000.png' (and 2 more)" in one
    assert not checkpoints.steps(tmp_path / "run" / "checkpoints")
