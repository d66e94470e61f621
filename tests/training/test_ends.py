"""Training that goes wrong ends by itself, in a code of its own, so that a scheduler need not read sentences."""

from __future__ import annotations

from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from selfsight import checkpoints, cli, report
from selfsight.training import guard, saver
from selfsight.training.loop import Trainer

TINY = "--encoder test_resnet --size 16 --batch 8 --for 6steps --precision fp32 --threads 1 --device cpu --use-all"


def command(data: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(data), *TINY.split(), "--set", "monitor_points=1", *more, "--out", str(out)]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_steps_in_a_row_that_are_not_finite(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gradient = Trainer.gradient

    def exploding(self: Trainer, step: int, batch: Any) -> Any:
        terms, projections = gradient(self, step, batch)
        return {**terms, "loss": terms["loss"] * (nan if step > 1 else 1)}, projections

    monkeypatch.setattr(Trainer, "gradient", exploding)
    assert cli.main(command(photos, tmp_path / "run", "--quiet")) == 3
    assert "training stopped at step 5: 3 steps in a row were not finite" in said(capsys)


def test_a_stop_on_collapse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures that no network can tell apart; the same command goes on past what is known."""
    (tmp_path / "grey").mkdir()
    for number in range(8):
        Image.new("RGB", (20, 20), (99, 99, 99)).save(tmp_path / "grey" / f"{number}.png")
    monkeypatch.setattr(guard, "EVERY", 2)
    line = command(tmp_path / "grey", tmp_path / "run", "--quiet", "--on-collapse", "stop")
    assert cli.main(line) == 3
    assert "as --on-collapse stop asks" in said(capsys)
    assert cli.main(line) == 0


def test_scarce_room_and_another_selfsight_are_told_and_stop_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = command(photos, tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(saver, "statvfs", lambda folder: SimpleNamespace(f_bavail=300, f_frsize=1000))
        assert cli.main(line) == 0
    newest = checkpoints.latest(tmp_path / "run" / "checkpoints")
    assert newest is not None
    taken = 3 * sum(file.stat().st_size for file in newest.glob("*.safetensors")) / 1e6
    told = said(capsys)
    assert "has room for 0.3 MB and saving takes" in told
    assert float(told.partition("saving takes ")[2].split()[0]) == pytest.approx(taken, rel=0.1)
    assert cli.main(line) == 0
    assert not said(capsys).count("was saved by")
    monkeypatch.setattr(saver, "__version__", "9.9")
    assert cli.main([*line, "--quiet"]) == 0
    assert "was saved by" not in said(capsys)
    report.write(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    assert "step-00000006 was saved by Selfsight" in page
    assert "has room for 0.3 MB" in page, "said to nobody else where it is quiet"
