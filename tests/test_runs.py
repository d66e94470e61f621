"""A run's folder as it lies on disk."""

from __future__ import annotations

import json
import shlex
import shutil
import warnings
from pathlib import Path

import pytest
from contract_parts import everything_scanned, recipe_of

from selfsight import checkpoints, cli
from selfsight.errors import CheckpointError, RunError
from selfsight.runs import RunFolder


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(recipe_of("simclr", photos, everything_scanned(photos)).to_yaml())
    for step in (1, 2):
        checkpoints.write(tmp_path / "checkpoints", step, {"weights": b"abc"}, {})
    return tmp_path


def test_metrics_have_the_columns_of_every_row(folder: Path) -> None:
    rows = [{"step": 0, "quality": 0.5}, {"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "skipped": "not finite"}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "lo')
    table = RunFolder(folder).metrics
    assert table.column_names == ["step", "quality", "loss", "skipped"]
    assert table["loss"].to_pylist() == [None, 2.0, 1.0]


def test_a_number_that_no_column_holds_is_named(folder: Path) -> None:
    (folder / "metrics.jsonl").write_text('{"step": 1' + 30 * "0" + "}\n")
    with pytest.raises(RunError, match=r"metrics.jsonl.* cannot be read"):
        assert RunFolder(folder).metrics


def test_what_to_type_next_can_be_typed(folder: Path) -> None:
    mine = folder / "my run"
    mine.mkdir()
    (folder / "recipe.yaml").rename(mine / "recipe.yaml")
    (hint,) = RunFolder(mine).check().to_dict()["suggestions"]
    with pytest.raises(RunError) as raised:
        RunFolder(mine).encoder_folder()
    for said in (hint, str(raised.value)):
        assert shlex.split(said.split("with: ")[1]) == ["selfsight", "train", "--resume", str(mine)]


def test_a_run_has_ended_when_its_encoder_is_there(folder: Path) -> None:
    for step in (19, 20):
        checkpoints.write(folder / "checkpoints", step, {"weights": b"abc"}, {})
    told = RunFolder(folder).check().to_dict()
    assert not told["finished"]
    assert told["suggestions"][0].startswith("Go on with: selfsight train --resume")
    (folder / "encoder").mkdir()
    (folder / "encoder" / "config.json").touch()
    assert RunFolder(folder).check().to_dict()["finished"]


def test_a_damaged_newest_checkpoint_is_told(folder: Path) -> None:
    assert "damaged_checkpoints" not in RunFolder(folder).check().to_dict()
    (folder / "checkpoints" / "step-00000002" / "weights").write_bytes(b"abd")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = RunFolder(folder).check()
    assert found.newest == 1
    assert "does not match its digest" in found.damaged[2]
    assert found.to_dict()["damaged_checkpoints"][0].startswith("step 2: ")
    (folder / "checkpoints" / "step-00000001" / "weights").write_bytes(b"abd")
    with pytest.raises(CheckpointError, match="no older one is whole; train anew with another --out"):
        RunFolder(folder).check()


def test_a_run_that_ended_before_its_plan_is_not_taken_for_pictures(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """views.png is there by then. A folder of pictures with a listing of the same name is one of pictures."""
    run, honest = tmp_path / "run", checkpoints.replace_file

    def killed(path: Path, content: bytes) -> None:
        if path.name == "recipe.yaml":
            raise KeyboardInterrupt
        honest(path, content)

    line = f"train {photos} --encoder test_resnet --size 32 --batch 8 --for 1steps --precision fp32 --threads 1 --quiet"
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "replace_file", killed)
        assert cli.main([*line.split(), "--out", str(run)]) == 130
    assert (run / "views.png").is_file()
    for command in (["inspect", str(run)], ["train", "--resume", str(run)]):
        capsys.readouterr()
        assert cli.main(command) == 2
        assert "has no checkpoint yet" in capsys.readouterr().err
    mine = Path(shutil.copytree(photos, tmp_path / "mine"))
    shutil.copy(run / "manifest.parquet", mine)
    assert cli.main(["inspect", str(mine)]) == 0
