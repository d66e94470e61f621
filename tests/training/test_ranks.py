"""Two ranks by the command line: uneven data ends well, one that dies is named by the other, other data is refused."""

from __future__ import annotations

import multiprocessing
import shutil
import socket
import time
from pathlib import Path

import pytest
import rank_processes

from selfsight import checkpoints

FORKED = multiprocessing.get_context("forkserver")
TINY = ["--encoder", "test_resnet", "--size", "32", "--batch", "8", "--precision", "fp32", "--threads", "1"]
TINY += ["--method", "simclr", "--for", "12steps", "--device", "cpu", "--save-every", "0.001s", "--quiet"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ranks(home: Path, data: list[Path], kill: str | None = None) -> tuple[list[int | None], list[str], float]:
    """Exit codes, what was said, and the seconds between the end of rank 1 and that of rank 0."""
    port, said = free_port(), [home / f"said-{rank}" for rank in (0, 1)]
    given = [["train", str(one), *TINY, "--out", str(home / "run")] for one in data]
    processes = [
        FORKED.Process(target=rank_processes.run, args=(rank, port, given[rank], said[rank], kill if rank else None))
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    processes[1].join(120)
    ended = time.monotonic()
    processes[0].join(120)
    took = time.monotonic() - ended
    return [process.exitcode for process in processes], [file.read_text() for file in said], took


@pytest.fixture
def uneven(photos: Path, tmp_path: Path) -> Path:
    """61 pictures, which no two ranks share evenly."""
    data = Path(shutil.copytree(photos, tmp_path / "data"))
    for number in range(3):
        (data / "china" / f"{number:03d}.png").unlink()
    return data


def test_a_rank_that_dies_is_named_and_the_run_goes_on(uneven: Path, tmp_path: Path) -> None:
    codes, said, took = ranks(tmp_path, [uneven, uneven], kill="5")
    assert codes == [2, -9]
    assert took < 10
    assert "rank 1 of 2 ended" in said[0]
    assert "give the same command again" in said[0]
    assert "Traceback" not in said[0]
    codes, said, _ = ranks(tmp_path, [uneven, uneven])
    assert codes == [0, 0], said
    assert checkpoints.steps(tmp_path / "run" / "checkpoints")[-1] == 12


def test_ranks_that_see_other_pictures_are_refused(uneven: Path, photos: Path, tmp_path: Path) -> None:
    codes, said, _ = ranks(tmp_path, [photos, uneven])
    assert codes == [2, 2]
    for one in said:
        assert "rank 1 does not see the pictures of rank 0: 'china/000.png' (and 2 more)" in one
    assert not checkpoints.steps(tmp_path / "run" / "checkpoints")
