"""The whole of `evaluate` on a tiny run: pictures that are gone, moved or known, and the start as a rival."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import selfsight
from selfsight import cli
from selfsight.data.manifest import Manifest
from selfsight.embedding import store
from selfsight.errors import DataError, DiskError

PYTHON_PAGE = Path(__file__).parents[2] / "docs" / "python.md"
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


def test_a_test_part_that_is_gone_is_no_reason_to_score_the_training_part(run: selfsight.Run) -> None:
    manifest = Manifest.load(run.folder / "manifest.parquet")
    for row in manifest.test_rows():
        Path(manifest.paths[row]).unlink()
    with pytest.raises(DataError, match=r"none of the 8 test pictures can be read, .* give their new place"):
        run.evaluate()


def test_what_is_kept_of_other_listings_is_of_the_same_pictures(
    run: selfsight.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test picture is gone: in the run's own listing it has a row still, in one that is made now it has none."""
    manifest = Manifest.load(run.folder / "manifest.parquet")
    Path(manifest.paths[np.flatnonzero(manifest.test)[0]]).unlink()
    found = {}
    for order in (1, -1):
        monkeypatch.setenv("SELFSIGHT_CACHE", str(tmp_path / f"cache{order}"))
        for data in (None, tmp_path / "photos")[::order]:
            table = run.evaluate(data)
            found[order, data] = {name: table[name] for name in ("knn", "linear", "baselines", "verdict")}
    assert found[1, None] == found[-1, None]
    assert found[1, tmp_path / "photos"] == found[-1, tmp_path / "photos"]
    own, other = found[1, None], found[1, tmp_path / "photos"]
    assert own["knn"] == other["knn"]
    assert own["baselines"]["untrained"]["knn"] == other["baselines"]["untrained"]["knn"]


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    run: selfsight.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selfsight.training.evaluate.evaluate", lambda *asked: pytest.fail("it is measured"))
    (run.folder / "evaluation.json").mkdir()
    with pytest.raises(DiskError, match=r"evaluation.json' cannot be written .* so copy its folder"):
        run.evaluate()


def test_pictures_that_moved_are_found_by_data_or_by_resume(run: selfsight.Run, tmp_path: Path) -> None:
    shutil.move(tmp_path / "photos", tmp_path / "there")
    with pytest.raises(DataError, match=r"hardly any of the 64 pictures .* give their new place as DATA"):
        run.evaluate()
    anew = run.evaluate(tmp_path / "there")
    assert anew["about"]["own"], "the same pictures in another place"
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
    about = found["about"]
    assert about == {
        "data": [str(new)],
        "listing": about["listing"],
        "own": False,
        "unseen": True,
        "encoder": store.digest(run.encoder_folder()),
    }
    (told,) = (note for note in found["notes"] if "another listing than the run's own: 'new', digest" in note)
    assert about["listing"] in told
    assert told in (run.folder / "report.html").read_text().replace("&#x27;", "'")
    assert "None of the 8 test pictures was found in this set's training part" in found["leaks"]["sentence"]
    (new / "labels.csv").write_text("\n".join([lines[0], *lines[9:]]))  # none but those
    with pytest.raises(DataError, match="all 3 test pictures were trained on by this run"):
        run.evaluate(new)


def test_copies_are_one_picture(run: selfsight.Run, photos: Path, tmp_path: Path) -> None:
    """Each of 24 pictures is there four times: what is told is of 24."""
    found = {}
    for times in (1, 4):
        lines = ["path,label,split"]
        for place, file in enumerate(sorted(photos.rglob("*.png"))[20:44]):
            for copy in range(times):
                name = f"{place}-{copy}.png"
                ImageOps.invert(Image.open(file)).save(tmp_path / name)  # none that the run was trained on
                lines.append(f"{name},{place // 12},{'test' if place % 2 else 'train'}")
        (tmp_path / "labels.csv").write_text("\n".join(lines))
        found[times] = run.evaluate(tmp_path / "labels.csv")
    one, four = found[1], found[4]
    assert one["task"] | {"train": 48, "test": 48} == four["task"]
    assert four["task"]["test_groups"] == 12
    assert four["retrieval"] == one["retrieval"]
    assert four["label_free"]["two_views"]["pictures"] == 12
    assert any(note.startswith("72 of 96 pictures have the contents of an earlier one") for note in four["notes"])
    assert not any("have the contents" in note for note in one["notes"])


def test_a_run_from_given_weights_is_judged_against_them(run: selfsight.Run, photos: Path, tmp_path: Path) -> None:
    asked = {**TINY, "encoder": str(run.folder), "lr": 1e-9}
    tuned = selfsight.train(photos, **asked, out=tmp_path / "tuned", quiet=True)
    found = tuned.evaluate(pretrained=str(run.folder / "encoder"))
    assert set(found["baselines"]) == {"untrained", "raw_pixels", "simple_statistics", "pretrained", "published"}
    assert found["baselines"]["pretrained"]["knn"] == found["baselines"]["published"]["knn"]
    assert found["baselines"]["pretrained"]["label_free"] != found["baselines"]["untrained"]["label_free"]
    assert found["verdict"]["helped"] is not True  # a step of no length helps nobody
    _, told, free, *_ = PYTHON_PAGE.read_text(encoding="utf-8").split("\n## ")
    assert set(found) <= set(re.findall(r"`(\w+)`", told))  # the page tells every key
    assert {*found["label_free"]} - {"rows", "width", "two_views"} <= set(re.findall(r"`(\w+)`", free))


def test_leaks_are_counted_and_dropped_and_a_column_is_sought(photos: Path, tmp_path: Path) -> None:
    """A test picture is a training picture as JPEG, another is of a training picture's group."""
    names = sorted(photos.rglob("*.png"))
    Image.open(names[1]).save(tmp_path / "copy.jpg", quality=90)
    lines = [
        f"{path},{path.parent.name},{'train' if i % 4 else 'test'},{9 if i in (8, 9) else 100 + i},{i // 8},{i % 2}"
        for i, path in enumerate(names)
    ]
    lines.append(f"{tmp_path / 'copy.jpg'},china,test,200,8,0")
    (tmp_path / "table.csv").write_text("\n".join(["path,label,split,group,thing,side", *lines]))
    run = selfsight.train(tmp_path / "table.csv", **TINY, out=tmp_path / "run", quiet=True)
    assert cli.main(["evaluate", str(run.folder), "--identity-column", "thing", "--across-column", "side"]) == 0
    found = json.loads((run.folder / "evaluation.json").read_text())
    counts = {"test": 17, "exact": 0, "near": 1, "grouped": 1, "affected": 2, "groups": 1, "dropped": False}
    assert found["leaks"] | counts == found["leaks"]
    assert found["task"]["test"] == 17
    assert "retrieval" not in found  # all test pictures but the copy are of side 0
    assert "no two pictures of the test part have the same 'thing'" in " ".join(found["notes"])
    pairs = json.loads((run.folder / "leaks.json").read_text())
    assert [pair["found"][0]["name"] for pair in pairs] == [str(names[1])]
    asked = ["--drop-leaks", "--identity-column", "thing", "--finetune-for", "1steps"]
    assert cli.main(["evaluate", str(run.folder), *asked]) == 0
    found = json.loads((run.folder / "evaluation.json").read_text())
    assert found["task"]["test"] == 15
    assert found["leaks"]["dropped"]
    fits = [json.loads(file.read_bytes()) for file in (run.folder / "finetune").glob("*.json")]
    assert {len(fit["predictions"]) for fit in fits} == {15}
    assert "2 of 17 test pictures leak" in found["leaks"]["sentence"]
    assert found["retrieval"] | {"by": "thing", "queries": 14, "skipped": 1} == found["retrieval"]
    assert "'thing' (R@1)" in found["verdict"]["identity"]["sentence"]
    assert cli.main(["evaluate", str(run.folder), "--identity-column", "thin"]) == 2


def test_use_all_is_told(photos: Path, tmp_path: Path) -> None:
    names = sorted(photos.rglob("*.png"))
    lines = [f"{path},{path.parent.name},{'test' if i % 4 == 0 else 'train'}" for i, path in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,split", *lines]))
    asked = {**TINY, "method": "supcon", "use_all": True}
    run = selfsight.train(tmp_path / "table.csv", **asked, out=tmp_path / "run", quiet=True)
    assert run.recipe.pictures == 64
    found = run.evaluate()
    assert "--use-all" in found["notes"][0]
    assert "16 of 16 test pictures" in found["notes"][0]
    for told in (found["verdict"], found["verdict"]["linear"], found["verdict"]["retrieval"]):
        assert told["sentence"].endswith("(--use-all): see the notes.")
    assert (
        "Labels of 64 training pictures are what supcon learned from: numbers with few labels are not of so few."
        in (found["notes"])
    )
    assert found["about"]["unseen"] is False
    assert "Accuracy on pictures that are not all held out" in (run.folder / "report.html").read_text()
    run.export()
    card = (run.folder / "export" / "README.md").read_text()
    assert "Shares of pictures, not all of them held out (see the notes), of the data above" in card
    assert found["task"] | {"test": 16, "train": 48} == found["task"]


def test_what_the_run_before_was_trained_on_is_no_test_picture(run: selfsight.Run, tmp_path: Path) -> None:
    names = sorted((tmp_path / "photos").rglob("*.png"))
    lines = [f"{path},{path.parent.name},{'test' if i % 4 == 0 else 'train'}" for i, path in enumerate(names)]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,split", *lines]))
    first = Manifest.load(run.folder / "manifest.parquet")
    seen = {first.paths[row] for row in first.train_rows()} & {str(path) for path in names[::4]}
    asked = {name: value for name, value in TINY.items() if name != "encoder"}
    after = [selfsight.train(tmp_path / "table.csv", **asked, encoder=run.folder, out=tmp_path / "after", quiet=True)]
    after.append(
        selfsight.train(tmp_path / "table.csv", **asked, encoder=after[0].folder, out=tmp_path / "then", quiet=True)
    )
    assert 0 < len(seen) < 16
    left_out = f"{len(seen)} of 16 test pictures were trained on by this run or one that it started from and are left"
    for one in after:
        found = one.evaluate()
        assert any(note.startswith(left_out) for note in found["notes"])
        assert found["task"]["test"] == 16 - len(seen)
        assert found["about"]["unseen"] is True
    shutil.rmtree(run.folder)
    for one, whose in zip(after, ("this run", "a run before this one"), strict=True):
        notes = one.evaluate()["notes"]
        assert any(f"that {whose} started from" in note and "is not known here" in note for note in notes)
