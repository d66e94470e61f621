"""TensorBoard's event files say what metrics.jsonl says, also of a run that was stopped and went on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_main_job import TINY

from selfsight import cli, errors
from selfsight.training.events import Events
from selfsight.training.journal import Journal


def events(run: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    return {name: [(one.step, one.value) for one in found.Scalars(name)] for name in found.Tags()["scalars"]}


def metrics(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The numbers of metrics.jsonl as TensorBoard keeps them: by name, in float32."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        for name in line.keys() - {"step"}:
            if type(line[name]) in (int, float):
                found.setdefault(name, []).append((line["step"], pytest.approx(line[name], rel=1e-6)))
    return found


def test_train_writes_events_beside_the_metrics(photos: Path, tmp_path: Path) -> None:
    flags = ["train", str(photos), *TINY, "--out", str(tmp_path / "run"), "--quiet", "--for", "6steps"]
    assert cli.main([*flags, "--tensorboard"]) == 0
    found = events(tmp_path / "run")
    assert [step for step, _ in found["loss"]] == list(range(1, 7))
    assert found["quality"][0][0] == 0
    assert found == metrics(tmp_path / "run")


def test_going_on_says_each_step_once(tmp_path: Path) -> None:
    first = Journal(tmp_path, -1, Events)
    for step in range(6):
        first.metric(step, loss=float(step), sentence="words are no numbers", kept=True)
    first.close()
    again = Journal(tmp_path, 3, Events)  # from the checkpoint of step 3
    for step in range(4, 8):
        again.metric(step, loss=10.0 + step)
        again.sync()
        assert events(tmp_path)["loss"][-1] == (step, 10 + step)  # at every save it is there to be looked at
    again.close()
    assert events(tmp_path) == {"loss": [(0, 0), (1, 1), (2, 2), (3, 3), (4, 14), (5, 15), (6, 16), (7, 17)]}
    late = Journal(tmp_path, 5)  # without the flag, and then with it again
    late.close()
    Journal(tmp_path, 5, Events).close()
    assert [step for step, _ in events(tmp_path)["loss"]] == [0, 1, 2, 3, 4, 5]


def test_a_full_disk_ends_the_events_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path, -1, Events)
    assert journal.events is not None
    writer = journal.events.writer

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "add_scalar", full)
    journal.metric(1, loss=1.0)
    journal.metric(2, loss=2.0)
    journal.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert writer is not None
    writer.close()


def test_without_tensorboard_the_command_that_installs_it_is_named(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    assert cli.main(["train", str(photos), "--out", str(tmp_path / "run"), "--tensorboard"]) == 2
    assert "needs tensorboard; install it with: pip install 'selfsight[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
