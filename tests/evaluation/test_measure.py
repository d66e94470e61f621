"""The whole of `evaluate` on a tiny run: pictures that are gone, moved or known, and the start as a rival."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import selfsight
from selfsight.data.manifest import Manifest
from selfsight.errors import DataError

TINY = {"encoder": "test_resnet", "size": 32, "batch": 16, "precision": "fp32", "threads": 1, "length": "1steps"}


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> selfsight.Run:
    """One step on a copy of the photos at tmp_path / "photos"."""
    mine = Path(shutil.copytree(photos, tmp_path / "photos"))
    return selfsight.train(mine, **TINY, out=tmp_path / "run", quiet=True)


def test_pictures_that_are_gone_are_told(run: selfsight.Run) -> None:
    manifest = Manifest.load(run.folder / "manifest.parquet")
    for name in manifest.paths[3:5]:
        Path(name).unlink()
    found = run.evaluate()
    assert f"2 of 64 pictures could not be read and are left out; the first is {manifest.names[3]!r}." in found["notes"]


def test_pictures_that_moved_are_found_by_data_or_by_resume(run: selfsight.Run, tmp_path: Path) -> None:
    shutil.move(tmp_path / "photos", tmp_path / "there")
    with pytest.raises(DataError, match=r"hardly any of the 64 pictures .* give their new place as DATA"):
        run.evaluate()
    anew = run.evaluate(tmp_path / "there")
    selfsight.train(tmp_path / "there", resume=run.folder, quiet=True)
    assert Manifest.load(run.folder / "manifest.parquet").paths[0].startswith(str(tmp_path / "there"))
    assert run.evaluate()["knn"] == anew["knn"]


def test_what_the_run_trained_on_is_no_test_picture(run: selfsight.Run, tmp_path: Path) -> None:
    manifest = Manifest.load(run.folder / "manifest.parquet")
    new = tmp_path / "new"
    new.mkdir()
    generator = np.random.default_rng(0)
    lines = ["path,label,split"]
    for number in range(24):
        pixels = generator.integers(0, 100 + 100 * (number % 2), (40, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(new / f"{number:02d}.png")
        lines.append(f"{number:02d}.png,{number % 2},{'test' if number < 8 else 'train'}")
    known = manifest.train_rows()[:3]
    lines += [f"{manifest.paths[row]},0,test" for row in known]
    (new / "labels.csv").write_text("\n".join(lines))
    found = run.evaluate(new)
    assert "3 of 11 test pictures were trained on by this run and are left out." in found["notes"]
    assert found["task"]["test"] == 8
    (new / "labels.csv").write_text("\n".join([lines[0], *lines[9:]]))  # none but those
    with pytest.raises(DataError, match="all 3 test pictures were trained on by this run"):
        run.evaluate(new)


def test_a_run_from_given_weights_is_judged_against_them(run: selfsight.Run, photos: Path, tmp_path: Path) -> None:
    asked = {**TINY, "encoder": str(run.folder), "lr": 1e-9}
    tuned = selfsight.train(photos, **asked, out=tmp_path / "tuned", quiet=True)
    found = tuned.evaluate(pretrained=str(run.folder / "encoder"))
    assert set(found["baselines"]) == {"untrained", "raw_pixels", "simple_statistics", "pretrained", "published"}
    assert found["baselines"]["pretrained"]["knn"] == found["baselines"]["published"]["knn"]
    assert found["baselines"]["pretrained"]["label_free"] != found["baselines"]["untrained"]["label_free"]
    assert found["verdict"]["helped"] is not True  # a step of no length helps nobody


def test_use_all_is_told(photos: Path, tmp_path: Path) -> None:
    names = sorted(photos.rglob("*.png"))
    lines = [f"{path},{path.parent.name},{'test' if i % 4 == 0 else 'train'}" for i, path in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,split", *lines]))
    run = selfsight.train(tmp_path / "table.csv", **TINY, use_all=True, out=tmp_path / "run", quiet=True)
    assert run.recipe.pictures == 64
    found = run.evaluate()
    assert "--use-all" in found["notes"][0]
    assert "16 of 16 test pictures" in found["notes"][0]
    assert "--use-all" in found["verdict"]["sentence"]
    assert found["task"] | {"test": 16, "train": 48} == found["task"]
