"""Signals that ask a training to end: it finishes the step, saves, tells them by its exit code, and loses nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from mortal import FORKED, live

from selfsight import checkpoints

STEPS = 40
TINY = ["--size", "32", "--batch", "8", "--precision", "fp32", "--threads", "1", "--quiet"]
TINY += ["--for", f"{STEPS}steps", "--device", "cpu", "--use-all", "--save-every", "0.001s"]
SIGNALS = ((signal.SIGTERM, False), (signal.SIGUSR1, False), (signal.SIGINT, False), (signal.SIGINT, True))  # twice?


class Training:
    """`selfsight train` into a folder, in a session of its own."""

    def __init__(self, photos: Path, out: Path, method: str = "moco", encoder: str = "test_resnet") -> None:
        self.out, self.said = out, out.with_suffix(".said")
        words = ["train", str(photos), *TINY, "--method", method, "--encoder", encoder, "--out", str(out)]
        self.count = FORKED.Value("i", 0, lock=False)
        self.process = FORKED.Process(target=live, args=(words, out, 0, 0, self.count, self.said))
        self.process.start()

    def beyond(self, step: int, stage: str = "") -> None:
        """Wait until it, or a stage before it, has saved later than `step`."""
        saved = self.out / stage / "checkpoints"
        while self.process.is_alive() and max(checkpoints.steps(saved), default=-1) <= step:
            time.sleep(0.005)
        assert self.process.is_alive(), self.said.read_text()

    def ended(self) -> int | None:
        self.process.join(60)
        return self.process.exitcode


@pytest.fixture(scope="module")
def straight(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = Training(photos, tmp_path_factory.mktemp("signals") / "straight")
    assert training.ended() == 0, training.said.read_text()
    return training.out


def test_each_ends_after_a_save_and_together_they_change_nothing(straight: Path, photos: Path, tmp_path: Path) -> None:
    """Each of them once, to the process or, as Ctrl-C does, to all of its group."""
    run, reached = tmp_path / "run", 0
    for number, twice in SIGNALS:
        training = Training(photos, run)
        training.beyond(reached)
        (os.killpg if number == signal.SIGINT else os.kill)(training.process.pid or 0, number)
        if twice:
            os.kill(training.process.pid or 0, number)
        assert training.ended() == 128 + number, training.said.read_text()
        newest = checkpoints.latest(run / "checkpoints")
        assert newest is not None
        reached = int(checkpoints.read(newest)[0]["step"])
        assert reached < STEPS, "the signals came too late"
    assert "go on with: selfsight train --resume" in training.said.read_text()
    assert Training(photos, run).ended() == 0
    for name in ("metrics.jsonl", "encoder/model.safetensors", f"checkpoints/step-{STEPS:08d}/optimizer.safetensors"):
        assert (run / name).read_bytes() == (straight / name).read_bytes(), name


def test_stopped_in_a_stage_it_is_the_run_that_goes_on(photos: Path, tmp_path: Path) -> None:
    training = Training(photos, tmp_path / "my run", "beit", "test_vit")
    training.beyond(0, "stages/vq")
    os.kill(training.process.pid or 0, signal.SIGINT)
    assert training.ended() == 128 + signal.SIGINT, training.said.read_text()
    said = training.said.read_text()
    assert f"stopped while vq was trained; go on with: selfsight train --resume '{training.out}'\n" in said


def test_a_second_process_is_refused_and_the_first_goes_on(straight: Path, photos: Path, tmp_path: Path) -> None:
    training = Training(photos, tmp_path / "run")
    training.beyond(0)
    os.kill(training.process.pid or 0, signal.SIGSTOP)
    other = Training(photos, tmp_path / "run")
    assert other.ended() == 2
    assert "in use by another process" in other.said.read_text()
    os.kill(training.process.pid or 0, signal.SIGCONT)
    assert training.ended() == 0
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
