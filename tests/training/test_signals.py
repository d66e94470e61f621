"""Signals that ask a training to end: it finishes the step, saves, tells them by its exit code, and loses nothing."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mortal import FORKED, joined, live

from selfsight import checkpoints
from selfsight.training.loop import Trainer
from selfsight.training.signals import Signals

STEPS = 40
SOON, LEFT, SLOW = 10.0, 2.0, 0.05  # seconds; the last for a step of a run that is to be met on its way
TINY = ["--size", "32", "--batch", "8", "--precision", "fp32", "--threads", "1", "--quiet"]
TINY += ["--for", f"{STEPS}steps", "--device", "cpu", "--use-all", "--save-every", "0.001s"]


class Training:
    """`selfsight train` into a folder, in a session of its own."""

    def __init__(
        self, photos: Path, out: Path, method: str = "moco", encoder: str = "test_resnet", **given: Any
    ) -> None:
        self.out, self.said = out, out.with_suffix(".said")
        words = ["train", str(photos), *TINY, "--method", method, "--encoder", encoder, "--out", str(out)]
        self.count = FORKED.Value("i", 0, lock=False)
        self.process = FORKED.Process(target=held, args=(words, out, 0, 0, self.count, self.said), kwargs=given)
        self.process.start()

    def beyond(self, step: int, stage: str = "") -> None:
        """Wait until it, or a stage before it, has saved later than `step`."""
        saved = self.out / stage / "checkpoints"
        while self.process.is_alive() and max(checkpoints.steps(saved), default=-1) <= step:
            time.sleep(0.005)
        assert self.process.is_alive(), self.said.read_text()

    def ended(self) -> int | None:
        return joined(self.process)[0]

    def ends(self, number: int) -> None:
        """A signal, as Ctrl-C to all of its group, ends it soon and by its exit code."""
        asked = time.monotonic()
        (os.killpg if number == signal.SIGINT else os.kill)(self.process.pid or 0, number)
        assert self.ended() == 128 + number, self.said.read_text()
        assert time.monotonic() - asked < SOON
        assert not self.left()

    def living(self) -> list[str]:
        """Processes of its session, but those that are dead."""
        found = []
        for file in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended meanwhile
                state, _, _, session, *_ = file.read_text().rpartition(")")[2].split()
                found += [state] if session == str(self.process.pid) and state not in "ZX" else []
        return found

    def left(self) -> list[str]:
        """Those that are there after a while, once it has ended."""
        until = time.monotonic() + LEFT
        while (found := self.living()) and time.monotonic() < until:
            time.sleep(0.02)
        return found


def held(*given: Any, slowly: bool = False, standing: Any = None, uncached: bool = False) -> None:
    """In the forked process: `live`. The save that a signal asks for sets `standing`, where given, and stands still.

    `uncached`: nobody has decoded these pictures before, so it starts decoders.
    """
    if uncached:
        os.environ["SELFSIGHT_CACHE"] = "/proc/nowhere"
    into_place, note, after, asked = checkpoints.into_place, Signals._note, Trainer.after, list[int]()

    def noted(self: Signals, number: int, frame: Any) -> None:
        note(self, number, frame)
        asked.append(number)

    def slow(partial: Path, final: Path) -> None:
        if asked and standing:
            standing.set()
            time.sleep(10 * SOON)
        into_place(partial, final)

    def slept(self: Trainer, *given: Any) -> None:
        time.sleep(SLOW * slowly)
        after(self, *given)

    Signals._note, checkpoints.into_place, Trainer.after = noted, slow, slept  # type: ignore[method-assign]
    live(*given)


def newest(run: Path) -> int:
    """The step of the newest checkpoint, which is whole."""
    found = checkpoints.latest(run / "checkpoints")
    assert found is not None
    return int(checkpoints.read(found)[0]["step"])


@pytest.fixture(scope="module")
def straight(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    training = Training(photos, tmp_path_factory.mktemp("signals") / "straight")
    assert training.ended() == 0, training.said.read_text()
    return training.out


def test_each_ends_after_a_save_and_together_they_change_nothing(straight: Path, photos: Path, tmp_path: Path) -> None:
    """Each of them once, and a second Ctrl-C, which does not wait for the save."""
    run, reached = tmp_path / "run", 0
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        training = Training(photos, run, slowly=True)
        training.beyond(reached)
        training.ends(number)
        reached = newest(run)
        assert reached < STEPS, "the signals came too late"
    assert "go on with: selfsight train --resume" in training.said.read_text()
    standing = FORKED.Event()
    training = Training(photos, run, slowly=True, standing=standing)
    training.beyond(reached)
    os.kill(training.process.pid or 0, signal.SIGINT)
    assert standing.wait(60)
    reached = newest(run)
    training.ends(signal.SIGINT)
    assert newest(run) == reached < STEPS
    assert Training(photos, run).ended() == 0
    for name in ("metrics.jsonl", "encoder/model.safetensors", f"checkpoints/step-{STEPS:08d}/optimizer.safetensors"):
        assert (run / name).read_bytes() == (straight / name).read_bytes(), name


def test_a_kill_leaves_no_process(photos: Path, tmp_path: Path) -> None:
    training = Training(photos, tmp_path / "run", slowly=True, uncached=True)
    training.beyond(0)
    assert len(training.living()) > 1, "it has decoders"
    os.kill(training.process.pid or 0, signal.SIGKILL)
    assert training.ended() == -signal.SIGKILL
    assert not training.left()


def test_stopped_in_a_stage_it_is_the_run_that_goes_on(photos: Path, tmp_path: Path) -> None:
    training = Training(photos, tmp_path / "my run", "beit", "test_vit", slowly=True)
    training.beyond(0, "stages/vq")
    training.ends(signal.SIGINT)
    said = training.said.read_text()
    assert f"stopped while vq was trained; go on with: selfsight train --resume '{training.out}'\n" in said


def test_a_second_process_is_refused_and_the_first_goes_on(straight: Path, photos: Path, tmp_path: Path) -> None:
    training = Training(photos, tmp_path / "run", slowly=True)
    training.beyond(0)
    os.kill(training.process.pid or 0, signal.SIGSTOP)
    other = Training(photos, tmp_path / "run")
    assert other.ended() == 2
    assert "in use by another process" in other.said.read_text()
    os.kill(training.process.pid or 0, signal.SIGCONT)
    assert training.ended() == 0
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (straight / "metrics.jsonl").read_bytes()
