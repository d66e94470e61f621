"""Two ranks by the command line: uneven data ends well, what happens to one is told by the other and costs no step."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import contract_driver
import pytest
import rank_processes
from contract_parts import everything_scanned, recipe_of
from mortal import PATIENCE, joined

from selfsight import checkpoints, distributed
from selfsight.training.ranks import agreed

FORKED = multiprocessing.get_context("forkserver")
TINY = ["--encoder", "test_resnet", "--size", "32", "--batch", "8", "--threads", "1"]  # rank 0 measures the precision
TINY += ["--method", "simclr", "--for", "12steps", "--device", "cpu", "--quiet"]
SOON = 30.0  # seconds in which the others end on a busy machine; benchmarks/stops.py holds them to 10


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ranks(
    home: Path,
    data: list[Path],
    *faults: str | None,
    patience: float | None = None,
    lost: int = 1,
    more: Sequence[str] = ("--save-every", "0.001s"),
) -> tuple[list[int | None], list[str], float]:
    """Exit codes, what was said, and the seconds between the end of rank `lost` (or its last sign) and the other's.

    `faults` of each rank are those of `rank_processes`.
    """
    home.mkdir(exist_ok=True)
    port, said, wrong = free_port(), [home / f"said-{rank}" for rank in (0, 1)], [*faults, None, None]
    given = [["train", str(one), *TINY, *more, "--out", str(home / "run")] for one in data]
    processes = [
        FORKED.Process(target=rank_processes.run, args=(rank, port, given[rank], said[rank], wrong[rank], patience))
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    one, other = processes[lost], processes[1 - lost]
    while one.is_alive() and "T" not in state(one.pid):
        time.sleep(0.02)
    ended = time.monotonic()
    other.join(PATIENCE)
    took = time.monotonic() - ended
    one.kill() if "T" in state(one.pid) or other.is_alive() else None
    return joined(*processes), [file.read_text() for file in said], took


def state(process: int | None) -> str:
    """What Linux says of a process: R, S, T (stopped) ..."""
    file = Path(f"/proc/{process}/stat")
    return file.read_text().rpartition(")")[2].split()[0] if file.exists() else ""


def saved(run: Path, step: int) -> dict[str, bytes]:
    """What the newest checkpoint holds, which is that of `step`."""
    newest = checkpoints.latest(run / "checkpoints")
    assert newest is not None
    facts, files = checkpoints.read(newest)
    assert facts["step"] == step
    return files


@pytest.fixture
def uneven(photos: Path, tmp_path: Path) -> Path:
    """61 pictures, which no two ranks share evenly."""
    data = Path(shutil.copytree(photos, tmp_path / "data"))
    for number in range(3):
        (data / "china" / f"{number:03d}.png").unlink()
    return data


def test_a_rank_that_dies_is_named_and_the_run_goes_on(uneven: Path, tmp_path: Path) -> None:
    """One that dies at the end of step 5, or has no pictures for the next, costs nothing of what is done."""
    fixed = ["--precision", "fp32", "--save-every"]
    codes, said, took = ranks(tmp_path, [uneven, uneven], None, "5", more=[*fixed, "0.001s"])
    assert codes == [2, -9]
    assert took < SOON
    assert "rank 1 of 2 ended" in said[0]
    assert "give the same command again" in said[0]
    assert "Traceback" not in said[0]
    files = saved(tmp_path / "run", 5)
    codes, said, _ = ranks(tmp_path / "away", [uneven, uneven], None, "away 5", more=[*fixed, "1h"])
    assert codes == [2, 2]
    assert "rank 1 of 2 ended" in said[0]
    assert "cannot be reached" in said[1]
    assert saved(tmp_path / "away" / "run", 5) == files
    codes, said, _ = ranks(tmp_path, [uneven, uneven])
    assert codes == [0, 0], said
    saved(tmp_path / "run", 12)


def test_a_run_goes_on_with_another_number_of_ranks(uneven: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["train", str(uneven), *TINY, "--save-every", "0.001s", "--out", str(run)]
    for kill_at in ("3", None):
        alone = FORKED.Process(target=contract_driver.run, args=(command, kill_at))
        alone.start()
        joined(alone)
        if kill_at:
            assert alone.exitcode == -9
            recipe = (run / "recipe.yaml").read_bytes()
            assert ranks(tmp_path, [uneven, uneven], None, "6")[0] == [2, -9]
    assert alone.exitcode == 0
    assert (run / "recipe.yaml").read_bytes() == recipe
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))


@pytest.mark.parametrize("lost", [0, 1])
def test_a_rank_that_stands_still_is_named(lost: int, uneven: Path, tmp_path: Path) -> None:
    """Rank 0 keeps the store by which ranks tell that they live, so then nobody answers there."""
    faults = ["still 5" if rank == lost else None for rank in (0, 1)]
    codes, said, took = ranks(tmp_path, [uneven, uneven], *faults, patience=4, lost=lost)
    assert (codes[1 - lost], codes[lost]) == (2, -9)
    assert took < SOON
    assert f"rank {lost} of 2 ended or stands still" in said[1 - lost]
    saved(tmp_path / "run", 4 + lost)


def test_a_rank_that_is_late_is_no_fault_of_selfsight(uneven: Path, tmp_path: Path) -> None:
    codes, said, _ = ranks(tmp_path, [uneven, uneven], None, "late 5", patience=4)
    assert codes == [2, 2]
    assert "no rank has ended, but one kept the others waiting for over 4 s" in said[0]
    assert "give the same command again" in said[0]
    saved(tmp_path / "run", 5)


def test_a_slow_last_save_is_waited_for_and_every_ranks_bad_files_are_told(uneven: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(uneven, tmp_path / "other"))
    codes, said, _ = ranks(tmp_path, [uneven, other], "slow 12", "harmed 5", patience=4)
    assert codes == [0, 0], said
    saved(tmp_path / "run", 12)
    told = (tmp_path / "run" / "bad_files.csv").read_text().splitlines()[1:]
    assert told
    assert all(line.startswith(str(other)) for line in told)


def test_one_rank_of_a_machine_looks_for_all(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one of rank 0's, where they lie in the same place, and after it where they do not."""
    manifest, looked = everything_scanned(photos), []
    recipe = recipe_of("simclr", photos, manifest)
    monkeypatch.setenv("GROUP_RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("selfsight.training.ranks._listed", lambda data, recipe: looked.append(data) or manifest)
    for elsewhere in (False, True):
        found = [(None, False, 0), (None, elsewhere, 1), (None, True, 2)]
        monkeypatch.setattr(distributed, "everyones", lambda own, patience, found=found: [*found, own])
        assert agreed([str(photos)], recipe, manifest) is manifest
        assert len(looked) == elsewhere


def test_ranks_that_see_other_pictures_are_refused(uneven: Path, photos: Path, tmp_path: Path) -> None:
    codes, said, _ = ranks(tmp_path, [photos, uneven])
    assert codes == [2, 2]
    for one in said:
        assert "rank 1 does not see the pictures of rank 0: 'china/000.png' (and 2 more)" in one
    assert not checkpoints.steps(tmp_path / "run" / "checkpoints")
