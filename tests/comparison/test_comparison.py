"""The whole comparison through the front door, small: equal budgets, one table, and the same call goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_pictures
from PIL import Image

import selfsight
from selfsight import cli, methods
from selfsight.comparison import budget, scratch, story
from selfsight.comparison.asked import Asked
from selfsight.comparison.scene import Scene, bits, read
from selfsight.comparison.table import Table
from selfsight.data import source
from selfsight.data.manifest import scan
from selfsight.data.pictures import pictures_of
from selfsight.errors import Interrupted, RunError
from selfsight.evaluation import measure
from selfsight.methods import rotation
from selfsight.recipe import Recipe
from selfsight.report import tables
from selfsight.training import autotune
from selfsight.training.length import chain

SMALL: dict[str, Any] = {"encoder": "test_resnet", "size": 32, "threads": 1, "workers": 0, "quiet": True}


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("comparison") / "out"
    return selfsight.compare(photos, methods="simclr,rotation", length="6steps", seeds=2, out=out, **SMALL)


def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in found["rows"]}


def test_every_row_is_in_one_table(made: dict[str, Any]) -> None:
    table = rows(made)
    assert list(table) == ["simclr", "rotation", "untrained", "raw_pixels", "simple_statistics", "supervised"]
    for name in ("simclr", "rotation"):
        assert (table[name]["seeds"], table[name]["steps"], table[name]["role"]) == (2, 6, "method")
        assert table[name]["seconds"] > 0
        assert len(table[name]["knn"]["each"]) == 2
        for question in ("knn", "linear", "two_views"):
            low, high = table[name][question]["interval"]
            assert low <= table[name][question]["accuracy"] <= high
        assert "rankme" in table[name]["label_free"]
    assert table["raw_pixels"]["seeds"] == 1
    assert table["untrained"]["seeds"] == 2, "two methods that start alike share their untrained networks"
    assert "knn" not in table["supervised"]
    assert made["failed"] == {}


def test_the_verdict_speaks_of_everything(made: dict[str, Any]) -> None:
    said = made["verdict"]["sentence"]
    for words in ("simclr", "rotation", "raw pixels", "simple statistics", "from scratch"):
        assert words in said
    assert set(made["verdict"]["leads"]) == {"simclr", "rotation"}
    assert made["efficiency"]["sentence"]
    assert [one["name"] for one in made["efficiency"]["budgets"]][-1] == "100%"
    assert "All 9 differences" in made["notes"][0]
    assert len(made["comparisons"]) == 9
    assert made["leaks"]["sentence"] in made["notes"]


def test_copies_are_one_picture_and_leaks_are_told(made: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    """Each picture twice in its part, and two of the test part in the training part as well."""
    files = sorted(photos.rglob("*.png"))[26:38]
    lines = [f"{file},{file.parent.name},{'test' if place % 2 else 'train'}" for place, file in enumerate(files)]
    for place, file in enumerate(files):
        copy = tmp_path / f"{place}.png"
        copy.write_bytes(file.read_bytes())
        lines.append(f"{copy},{file.parent.name},{'test' if place % 2 else 'train'}")
        if place in (1, 3):
            (tmp_path / f"leak{place}.png").write_bytes(file.read_bytes())
            lines.append(f"{tmp_path}/leak{place}.png,{file.parent.name},train")
    (tmp_path / "table.csv").write_text("\n".join(["path,label,split", *lines]))
    manifest = scan(source.find([str(tmp_path / "table.csv")]))
    recipe = selfsight.Run(Path(made["out"]) / "runs" / "simclr-0").recipe
    scene = Scene(manifest, pictures_of(recipe, manifest), recipe, tmp_path / "measured")
    assert (len(scene.task.test_groups), len(np.unique(scene.task.test_groups))) == (12, 6)
    assert len(scene.asked) == 6
    notes = " ".join(Table(scene, [], {}, {}).notes(0))
    assert (
        "4 of 12 test pictures leak: 4 are copies of training pictures; that flatters every row of the table." in notes
    )
    assert "12 of 26 pictures have the contents of an earlier one" in notes
    assert scene.leaks == Scene(manifest, scene.pictures, recipe, tmp_path / "measured").leaks


def test_runs_are_ordinary_and_of_the_same_steps(made: dict[str, Any]) -> None:
    for name in ("simclr-0", "simclr-1", "rotation-0", "rotation-1"):
        run = selfsight.Run(Path(made["out"]) / "runs" / name)
        assert run.recipe.steps == 6
        assert run.recipe.seed == int(name[-1])
        assert run.recipe.encoder == "test_resnet"
        assert run.check().newest == 6
        assert (run.folder / "report.html").is_file()


def test_the_same_call_is_done_at_once_and_another_budget_refused(
    made: dict[str, Any], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(made["out"])

    def never(*_: Any, **__: Any) -> None:
        pytest.fail("what is there is not made again")

    with monkeypatch.context() as patched:
        for room, name in ((story.session, "train"), (budget, "plan"), (scratch, "tune"), (measure, "embed")):
            patched.setattr(room, name, never)
        for seed in (0, 1):
            with open(out / "runs" / f"rotation-{seed}" / "metrics.jsonl", "a") as file:
                file.write(json.dumps({"step": 6, "alarm": "alike_pictures", "sentence": "all are the same"}) + "\n")
        patched.setattr(methods.get("simclr"), "supervised", {})
        patched.setattr(story, "worth_it", lambda request, recipe, manifest: recipe.method == "simclr")
        again = selfsight.compare(photos, methods="simclr,rotation", length="6steps", seeds=2, out=out, **SMALL)
    assert again["rows"] == made["rows"]
    assert again["verdict"] == made["verdict"]
    notes = " ".join(again["notes"])
    assert "rotation, seed 0, step 6; seed 1, step 6: all are the same." in notes
    assert "pictures are what simclr learned from" in notes
    assert "pictures are what rotation learned from" not in notes
    assert "`train` for as long would first search for those of simclr, if" in notes
    with pytest.raises(RunError, match="--for was '6steps' and is now '7steps'"):
        selfsight.compare(photos, methods="simclr,rotation", length="7steps", seeds=2, out=out, **SMALL)
    assert json.loads((out / "compare.json").read_text())["verdict"] == made["verdict"]


def test_the_page_and_the_terminal_say_it(made: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(made["out"]) / "compare.html").read_text()
    assert page.index("simclr") < page.index("Numbers"), "the verdict comes first"
    for title in ("Numbers", "Quality against time", "Is it worth training", "side by side", "comparisons"):
        assert title in page
    assert "<script" not in page
    assert page.count("data:image/png") > 10
    tables.show("compare", made)
    shown = capsys.readouterr().out
    assert made["verdict"]["sentence"] in shown
    assert "from scratch, with labels" in shown
    assert "compare.html" in shown


def test_a_method_that_fails_costs_its_own_line(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One crashes while training, one refuses the encoder and keeps its own, one refuses the pictures."""
    grey = write_grey(tmp_path / "grey")

    def crash(*_: Any) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(rotation.Rotation, "on_epoch_start", crash)
    line = f"compare {grey} --methods simclr,rotation,colorization --for 2steps --encoder test_resnet --size 32"
    assert cli.main([*line.split(), "--threads", "1", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert found["failed"]["rotation, seed 0"] == "RuntimeError: out of luck"
    assert "colorization needs pictures of 3 channels" in found["failed"]["colorization"]
    assert [row["name"] for row in found["rows"] if row["role"] == "method"] == ["simclr"]
    assert "rotation, seed 0 has no result: RuntimeError: out of luck" in shown.out
    assert "about" in shown.err, "the time is told first"
    assert shown.err.index("about") < shown.err.index("simclr, seed 0")


def test_without_labels_another_view_is_found_and_an_interrupt_stops_all(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in its second run, the same call goes on; nothing is written before the end."""
    listing = tmp_path / "pictures.txt"
    listing.write_text("".join(f"{file}\n" for file in sorted(photos.rglob("*.png"))))
    train = story.session.train

    def stopped(request: Any, folder: Path, **options: Any) -> Any:
        if folder.name == "rotation-0":
            raise Interrupted("stopped", 2)
        return train(request, folder, **options)

    asked = {"methods": ["simclr", "rotation"], "length": "32images", "out": tmp_path / "out", **SMALL}
    with monkeypatch.context() as patched:
        patched.setattr(story.session, "train", stopped)
        with pytest.raises(Interrupted, match="the same command goes on"):
            selfsight.compare(listing, **asked)
    assert not (tmp_path / "out" / "compare.json").exists()
    found = selfsight.compare(listing, **asked)
    assert {row["pictures_seen"] for row in found["rows"] if row["role"] == "method"} == {32}
    assert found["question"] == "two_views"
    assert found["efficiency"] is None
    assert "supervised" not in rows(found)
    assert "no labels" in " ".join(found["notes"])
    assert "of the draws of other pictures like these" in found["verdict"]["sentence"]
    assert set(found["free_order"]["rankme"]) == {"simclr", "rotation"}
    assert "found by another view" in (tmp_path / "out" / "compare.html").read_text()
    tables.show("compare", found)


def test_steps_are_shared_with_what_is_trained_before(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method with a stage before it has no more steps in all than the others."""
    monkeypatch.setattr(autotune, "measure", lambda *_, **__: autotune.Speed("fp32", False, 0.5, 1e8, "as if"))
    asked = Asked([str(photos)], ["beit", "simclr"], "12steps", size=32, threads=1)
    manifest = scan(source.find([str(photos)]))
    parts = dict(budget.shares(asked, "test_resnet", manifest, tmp_path, 0))
    beit, simclr = (part for part in parts.values() if isinstance(part, budget.Share))
    assert [stage.steps for stage in chain(beit.recipe)] == [8, 4]
    assert (simclr.recipe.steps, simclr.seconds) == (12, 6.0)
    assert beit.recipe.encoder != "test_resnet", "a transformer of its own"
    assert Recipe.from_yaml(tmp_path / "runs" / "beit-0" / "recipe.yaml") == beit.recipe
    assert budget.seeded(beit.recipe, 3).before.seed == 3


def write_grey(folder: Path) -> Path:
    """The pictures of the tests without their colours."""
    write_pictures(folder)
    for file in folder.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    return folder


def test_bits_are_read_as_they_were_written() -> None:
    right = np.array([True, False, True])
    np.testing.assert_array_equal(read([bits(right)]), right[None].astype(float))
