"""Where things are: masks are found and brought to the view, mIoU is what a slow twin says, and the command tells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_pictures
from PIL import Image
from sklearn.metrics import jaccard_score

import selfsight
from selfsight import cli
from selfsight.data.decode.masks import numbers
from selfsight.data.manifest import Manifest
from selfsight.data.masks import paired
from selfsight.errors import DataError
from selfsight.evaluation import dense, intervals, overlap, scene
from selfsight.evaluation.dense import Row
from selfsight.evaluation.protocol import RIVALS, START
from selfsight.report import page
from selfsight.report.contents import read
from selfsight.training import further
from selfsight.views.render import whole

TINY = {"encoder": "test_resnet", "size": 32, "batch": 16, "precision": "fp32", "threads": 1, "length": "1steps"}
SIDE = 40


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/ of 64 crops, masks/ with 1 where it is brighter than 110, 0 elsewhere, 255 in the first row; run/."""
    folder = tmp_path_factory.mktemp("masked")
    write_pictures(folder / "photos", side=SIDE)
    for file in (folder / "photos").rglob("*.png"):
        bright = np.asarray(Image.open(file).convert("L")) > 110
        mask = bright.astype(np.uint8)
        mask[0] = 255
        target = folder / "masks" / file.relative_to(folder / "photos")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(target)
    selfsight.train(folder / "photos", **TINY, out=folder / "run", quiet=True)
    return folder


@pytest.fixture
def manifest(masked: Path) -> Manifest:
    return Manifest.load(masked / "run" / "manifest.parquet")


def test_the_command_tells_what_is_where(masked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(masked / "run"), "--dense", str(masked / "masks")]) == 0
    found = json.loads((masked / "run" / "evaluation.json").read_bytes())["dense"]
    assert list(found["rows"]) == ["encoder", "untrained", "raw_pixels", "simple_statistics"]
    for name, row in found["rows"].items():
        for task in ("knn", "linear"):
            assert row[task]["interval"][0] <= row[task]["miou"] <= row[task]["interval"][1]
            assert ("difference" in row[task]) == (name != "encoder")
    best = found["rows"]["raw_pixels"]["linear"]["miou"]
    assert best > found["majority"] + 0.1  # brightness is there in the pixels
    assert found["rows"]["encoder"]["linear"]["miou"] == pytest.approx(np.mean(list(found["classes"].values())))
    said = capsys.readouterr().out
    assert "mIoU of nearest patches" in said
    assert "What is where" in page.page(read(masked / "run"))


def test_patches_are_judged_beside_the_weights_that_a_run_started_from(
    masked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(miou: float) -> dict[str, Any]:
        gap = 0.5 - miou
        return {"knn": {"miou": miou, "difference": gap, "difference_interval": [gap - 0.1, gap + 0.1]}}

    table = {"encoder": row(0.5), "untrained": row(0.3), "raw_pixels": row(0.2), "pretrained": row(0.7)}
    assert dense.conclusion(table, 9)["helped"] is True
    found = dense.conclusion(table, 9, (*RIVALS, START))
    assert found["helped"] is False
    assert "0.500 against 0.700 of pretrained" in found["sentence"]
    asked: list[Any] = []
    monkeypatch.setattr(further, "measured", lambda *_, rivals, **__: asked.append(rivals) or {})
    tuned = {**TINY, "encoder": str(masked / "run")}
    run = selfsight.train(masked / "photos", **tuned, out=tmp_path / "tuned", quiet=True)
    for one in (run, selfsight.Run(masked / "run")):
        one.evaluate(dense=masked / "masks")
    assert asked == [(*RIVALS, START), RIVALS]


def test_a_perfect_feature_is_limited_by_its_grid_alone(masked: Path, manifest: Manifest) -> None:
    """Features that are the share of class 1 in a patch name all but the pixels at borders."""
    posed = scene.posed(manifest, paired(masked / "masks", manifest), 32)
    row = Row(lambda rows: iter([]), (8, 8), 4)

    def patches(rows: np.ndarray) -> dense.Patches:
        for number in rows.tolist():
            ones = posed.masks[number] == 1
            yield np.stack([dense_mean(ones, row)])[:, :, None].astype(np.float32), np.array([number])

    row = replace(row, patches=patches)
    known = dense.sampled(row, posed)
    counts, seen = dense.counted(row, known, posed, False)
    assert seen.tolist() == posed.test.tolist()
    assert overlap.mean(counts["linear"]) > 0.7


def dense_mean(ones: np.ndarray, row: Row) -> np.ndarray:
    return np.array([cut.mean() for cut in dense.cut(ones, row)])


def test_a_patch_has_the_class_of_most_of_its_pixels() -> None:
    row = Row(lambda rows: iter([]), (2, 2), 3)
    mask = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1], [-1, -1, -1, 0, 0], [-1, -1, -1, 1, 0], [-1, -1, -1, 0, 1]])
    assert dense.patch_labels(mask, row, 2).tolist() == [0, 1, -1, 0]  # 3 of each on the first: the lower


def test_scores_are_upsampled_as_torch_does_and_cut() -> None:
    scores = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    found = dense.upsampled(scores, Row(lambda rows: iter([]), (2, 3), 3), 5)
    maps = torch.from_numpy(scores.T.reshape(1, 3, 2, 3).copy())
    full = torch.nn.Upsample(scale_factor=3, mode="bilinear")(maps)[0].argmax(dim=0).numpy()
    np.testing.assert_array_equal(found, full[:5, :5])


def test_mean_iou_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    masks = generator.integers(-1, 3, (9, 6, 6))  # class 3 is in no mask, but named
    named = generator.integers(0, 4, (9, 6, 6))
    counts = np.stack([overlap.counted(*pair, 4) for pair in zip(named, masks, strict=True)])
    asked = masks >= 0
    by_class = jaccard_score(masks[asked], named[asked], labels=[0, 1, 2], average=None)
    assert overlap.mean(counts) == pytest.approx(by_class.mean())
    np.testing.assert_allclose(overlap.ratios(counts.sum(axis=0).astype(float))[:3], by_class)


def test_intervals_are_of_groups_of_pictures() -> None:
    generator = np.random.default_rng(0)
    masks, named = generator.integers(0, 2, (2, 30, 4, 4))
    counts = np.stack([overlap.counted(*pair, 2) for pair in zip(named, masks, strict=True)])
    groups = np.arange(30)
    once = overlap.scored(counts, counts[:, :, ::-1], groups)
    again = overlap.scored(np.repeat(counts, 3, axis=0), np.repeat(counts[:, :, ::-1], 3, axis=0), np.repeat(groups, 3))
    assert once["interval"] == pytest.approx(again["interval"])
    assert once["difference"] == pytest.approx(0)  # classes may be called as one likes
    slow = np.array([overlap.mean(counts[picks]) for picks in generator.integers(0, 30, (2000, 30))])
    np.testing.assert_allclose(once["interval"], intervals.of_resampled(slow, 30, (0, 1)), atol=0.01)
    assert overlap.scored(counts, counts, np.zeros(30))["interval"] == [0, 1]


def test_a_class_that_a_resample_does_not_show_is_left_out_of_it() -> None:
    """Class 2 is in one picture of twelve, and named in all."""
    generator = np.random.default_rng(0)
    masks, named = generator.integers(0, 2, (12, 4, 4)), generator.integers(0, 3, (12, 4, 4))
    masks[0, :2] = 2
    counts = np.stack([overlap.counted(*pair, 3) for pair in zip(named, masks, strict=True)])
    drawn = np.concatenate(list(intervals.drawn(12))).astype(int)[:100]
    slow = [overlap.mean(np.repeat(counts, times, axis=0)) for times in drawn]
    np.testing.assert_allclose(overlap.resampled(counts, np.arange(12))[:100], slow)


def test_the_mask_lies_on_the_view(masked: Path) -> None:
    """The centre of a wide picture, and what is marked in it, at the same pixels."""
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[10:20, 50:70] = 255
    mask = (pixels[..., 0] > 0).astype(np.int64)
    np.testing.assert_array_equal(scene.view(mask, 40), whole(pixels, 40)[..., 0] > 127)
    assert ((whole(pixels, 20)[..., 0] > 127) != scene.view(mask, 20)).mean() < 0.02


def test_masks_are_read_as_numbers(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 7], [9, 255]], np.uint8), "L").convert("P")
    palette.putpalette([(3 * place) % 256 for place in range(768)])
    for name, image, expected in (
        ("palette.png", palette, [[0, 7], [9, 255]]),
        ("bits.png", Image.fromarray(np.array([[True, False]])), [[1, 0]]),
        ("deep.png", Image.fromarray(np.array([[300, 2]], np.uint16)), [[300, 2]]),
        ("grey.tif", Image.fromarray(np.array([[4, 5]], np.uint8)), [[4, 5]]),
    ):
        image.save(tmp_path / name)
        assert numbers(tmp_path / name).tolist() == expected, name
    Image.new("RGB", (2, 2)).save(tmp_path / "colour.png")
    Image.new("L", (2, 2)).save(tmp_path / "lossy.jpg")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name, said in (
        ("colour.png", "colour picture"),
        ("lossy.jpg", "changes class numbers"),
        ("broken.png", "read"),
    ):
        with pytest.raises(DataError, match=said):
            numbers(tmp_path / name)


def test_masks_are_found_by_name_or_by_table(masked: Path, manifest: Manifest, tmp_path: Path) -> None:
    found = paired(masked / "masks", manifest)
    assert sorted(found) == list(range(64))
    assert all(Path(file).name == Path(manifest.names[row]).name for row, file in found.items())
    lines = [f"{masked}/photos/{name},{masked}/masks/{name}" for name in manifest.names[:5]]
    (tmp_path / "masks.csv").write_text("\n".join(["path,mask", *lines, "nobody.png,x.png"]))
    assert paired(tmp_path / "masks.csv", manifest) == {row: found[row] for row in range(5)}


def refused(masked: Path, masks: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["evaluate", str(masked / "run"), "--dense", str(masks)]) == 2
    return capsys.readouterr().err


def test_bad_masks_are_refused_in_a_sentence(
    masked: Path, manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "does not exist; name a folder of masks" in refused(masked, tmp_path / "nowhere", capsys)
    assert "none of the 64 pictures has a mask" in refused(masked, tmp_path, capsys)
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("L", (SIDE, SIDE)).save(flat / "000.png")
    assert "would belong to both 'china/000.png' and 'flower/000.png'" in refused(masked, flat, capsys)
    one = tmp_path / "one"
    for name in manifest.names:
        (one / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (SIDE, SIDE), 255 if name.endswith("1.png") else 3).save(one / name)
    assert "show 1 class (3), and two are needed; 255 says" in refused(masked, one, capsys)
    Image.new("L", (SIDE, SIDE - 1)).save(one / manifest.names[0])
    said = refused(masked, one, capsys)
    assert f"has 40 x 39 pixels and its picture {manifest.names[0]!r} 40 x 40; make both of one size" in said
    for row in np.flatnonzero(manifest.test):
        (one / manifest.names[row]).unlink()
    assert "and 0 have one: add masks" in refused(masked, one, capsys)


def test_what_is_left_out_is_told(masked: Path, manifest: Manifest) -> None:
    files = paired(masked / "masks", manifest)
    bare = next(row for row in range(64) if not manifest.test[row])
    notes = scene.posed(manifest, {row: file for row, file in files.items() if row != bare}, 32).notes
    assert notes == (f"1 of 64 pictures have no mask and are left out; the first is {manifest.names[bare]!r}.",)
    copies = replace(manifest, digests=(manifest.digests[1], *manifest.digests[1:]))
    groups = scene.posed(copies, files, 32).groups
    assert groups[0] == groups[1] != groups[2]
