"""The exported folder in other people's tools: timm, transformers and ONNX Runtime, each in one line; and refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tifffile
import timm
import torch
import transformers
from PIL import Image
from test_main_job import TINY

import selfsight
from selfsight import cli, errors
from selfsight.data.manifest import Manifest
from selfsight.data.pictures import pictures_of
from selfsight.data.ranges import PixelFormat, conform
from selfsight.embedding.embed import vectors_of
from selfsight.errors import ExportError, MissingError, SelfsightError
from selfsight.exporting import folder, graph, integers, parity
from selfsight.exporting.card import card, counted
from selfsight.exporting.wanted import Wanted
from selfsight.nn.encoder import Encoder
from selfsight.views.render import whole

SMALL = ["--encoder", "resnet10t", *TINY[2:]]


def train(data: Path, out: Path, *flags: str) -> Path:
    assert cli.main(["train", str(data), "--for", "2steps", "--out", str(out), "--quiet", *flags]) == 0
    return out


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional network on small views, with labels and an evaluation."""
    out = train(photos, tmp_path_factory.mktemp("cnn") / "run", *SMALL)
    assert selfsight.Run(out).encoder().arguments["output_stride"] == 16
    selfsight.evaluate(out)
    return out


@pytest.fixture(scope="module")
def deep(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer on 16-bit pictures of one channel, started from the weights of another run."""
    home = tmp_path_factory.mktemp("vit")
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        file = home / "deep" / path.parent.name / f"{number}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(file, np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16 + 500)
    vit = ["--encoder", "test_vit", *TINY[2:]]
    first = train(home / "deep", home / "first", *vit)
    return train(home / "deep", home / "run", *vit, "--weights", str(first / "encoder" / "model.safetensors"))


@pytest.fixture(scope="module")
def made(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The first run as ONNX, in 8-bit integers too: the folder, and what was found."""
    found = selfsight.export(run, out=tmp_path_factory.mktemp("onnx") / "made", format="onnx", int8=True)
    return Path(found["out"]), found


def views_of(run: Path, count: int = 8) -> torch.Tensor:
    """Views of the run's first pictures, as the encoder sees them."""
    its = selfsight.Run(run)
    pictures = pictures_of(its.recipe, Manifest.load(run / "manifest.parquet"))
    return torch.from_numpy(np.stack([whole(pictures.read(row)[0], its.recipe.size) for row in range(count)]))


def cosines(one: Any, other: Any) -> float:
    return parity.lowest_cosine(np.asarray(one), np.asarray(other))


def test_the_formula_for_float_pictures_is_what_training_did() -> None:
    form = PixelFormat(1, "uint16", 16384.0, 49151.0, -0.123456789, 1.5)
    low, high, values = form.float_low, form.float_high, np.linspace(-1, 2, 100, dtype=np.float32).reshape(10, 10, 1)
    said = " ".join(counted(asdict(form)))
    assert "p = 65535 (v - low) / (high - low), rounded" in said
    assert f"low is {low} and high {high}" in said
    told = np.rint(65535 * (values - low) / (high - low)).clip(0, 65535)
    np.testing.assert_allclose(conform(values, form), told, atol=1)


@pytest.mark.parametrize("which", ["run", "deep"])
def test_timm_and_transformers_load_the_folder(
    which: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    its = request.getfixturevalue(which)
    assert cli.main(["export", str(its), "--out", str(tmp_path / "made")]) == 0
    assert "every vector is the encoder's" in capsys.readouterr().out
    encoder, views = selfsight.Run(its).encoder(), views_of(its)
    own, pixels = vectors_of(encoder, views), encoder.normalised(views)
    with torch.no_grad():
        by_timm = timm.create_model(f"local-dir:{tmp_path / 'made'}", pretrained=True).eval()(pixels)
        by_transformers = transformers.AutoModel.from_pretrained(tmp_path / "made").eval()(pixels).pooler_output
    assert torch.equal(by_timm, torch.from_numpy(own))
    assert cosines(by_transformers, own) > 0.999999
    assert {path.name for path in (tmp_path / "made").iterdir()} == {
        *("config.json", "digests.json", "model.safetensors", "preprocess.json", "README.md", "export.json")
    }


def test_onnx_runtime_takes_any_batch(run: Path, made: tuple[Path, dict[str, Any]]) -> None:
    out, found = made
    assert found["onnx"]["input"] == "pixels: float32 (B, 3, 32, 32)"
    encoder, views = selfsight.Run(run).encoder(), views_of(run)
    session = onnxruntime.InferenceSession(out / "model.onnx")
    for batch in (1, 2, 7):
        (vectors,) = session.run(None, {"pixels": encoder.normalised(views[:batch]).numpy()})
        assert vectors.shape == (batch, encoder.width)
        assert cosines(vectors, vectors_of(encoder, views[:batch])) > 0.9999
    told = {one.key: one.value for one in onnx.load(out / "model.onnx").metadata_props}
    assert json.loads(told["selfsight"])["size"] == 32


def test_a_flipped_bit_of_any_file_is_found(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made[0], tmp_path / "copy"))
    for file in copy.iterdir():
        whole = file.read_bytes()
        file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(MissingError, match="can be read"):
            Encoder.load(copy)
        file.write_bytes(whole)
    Encoder.load(copy)


def test_pixels_in_and_vectors_and_patches_out_with_the_range_of_16_bits(deep: Path, tmp_path: Path) -> None:
    flags = ["--format", "onnx", "--preprocess", "--outputs", "embedding,patches", "--int8"]
    assert cli.main(["export", str(deep), "--out", str(tmp_path / "made"), *flags]) == 0
    encoder, views = selfsight.Run(deep).encoder(), views_of(deep)
    assert views.dtype == torch.uint16
    assert views.shape[1:] == (32, 32, 1)
    session = onnxruntime.InferenceSession(tmp_path / "made" / "model.onnx")
    embedding, patches = session.run(["embedding", "patches"], {"pixels": views.numpy()})
    assert cosines(embedding, vectors_of(encoder, views)) > 0.9999
    assert cosines(patches, vectors_of(encoder, views, patches=True)) > 0.9999
    assert patches.shape[1] == np.prod(encoder.grid(32))
    kept = json.loads((tmp_path / "made" / "preprocess.json").read_text())
    assert (kept["low"], kept["high"]) == (encoder.low, encoder.high)
    assert 500 <= kept["low"] < kept["high"] <= 500 + 16 * 255
    small = onnxruntime.InferenceSession(tmp_path / "made" / "model.int8.onnx")
    assert small.run(["embedding"], {"pixels": views.numpy()})[0].shape == embedding.shape
    card = (tmp_path / "made" / "README.md").read_text()
    assert "given weights" in card
    assert "p = 257 v" in card
    assert "float picture" not in card


def test_int8_is_smaller_and_its_cost_is_measured(made: tuple[Path, dict[str, Any]]) -> None:
    out, found = made[0], made[1]["int8"]
    large, small = ((out / name).stat().st_size for name in ("model.onnx", "model.int8.onnx"))
    assert small < 0.4 * large
    assert found["what"] == "weights and activations"
    low, high = found["knn"]["interval"]
    assert low <= found["knn"]["difference"] <= high
    assert found["knn"]["int8"] - found["knn"]["fp32"] == pytest.approx(found["knn"]["difference"])
    assert 0.3 < found["neighbours_kept"] <= 1
    assert found["sentence"] in (out / "README.md").read_text()


def test_pictures_of_all_classes_show_the_ranges_of_int8_and_measure_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing is sorted by class: its first pictures are all of one."""
    its, manifest = selfsight.Run(run), Manifest.load(run / "manifest.parquet")
    encoder, pictures = its.encoder(), pictures_of(its.recipe, manifest)
    views, rows = folder._views(encoder, pictures, 40)
    assert np.bincount(manifest.labels[rows]).tolist() == [20, 20]
    given: list[dict[str, np.ndarray]] = []
    monkeypatch.setattr(folder, "RANGED", 8)
    monkeypatch.setattr(integers, "write", lambda model, file, batches: given.extend(batches))
    monkeypatch.setattr(graph, "by_runtime", lambda *args, **options: graph.by_torch(encoder, ("embedding",)))
    folder._integers(tmp_path, encoder, pictures, (views, rows), Wanted(preprocess=True))
    ranged = np.concatenate([batch["pixels"] for batch in given])
    shown = [row for view, row in zip(views.numpy(), rows, strict=True) if (view == ranged).all(axis=(1, 2, 3)).any()]
    assert len(ranged) == len(shown) == 8
    assert not manifest.test[shown].any()
    assert np.bincount(manifest.labels[shown]).min() >= 3


def test_the_card_says_what_was_measured_and_names_no_path(run: Path, tmp_path: Path) -> None:
    selfsight.export(run, out=tmp_path / "made")
    card = (tmp_path / "made" / "README.md").read_text()
    numbers = json.loads((run / "evaluation.json").read_text())
    assert numbers["verdict"]["sentence"] in card
    assert f"{100 * numbers['knn']['accuracy']:.1f} %" in card
    for row in ("this run", "the same network, untrained", "raw pixels", "simple statistics"):
        assert f"| {row} |" in card
    assert "## Licence" in card
    assert "simclr" in card
    assert str(run.parent) not in card
    assert str(run.parent) not in (tmp_path / "made" / "export.json").read_text()
    assert "Shares of held-out pictures of the data above" in card
    bare = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation.json"))
    out = selfsight.export(bare)["out"]
    assert Path(out) == bare / "export"
    assert "Not measured yet." in (Path(out) / "README.md").read_text()


def test_the_card_says_whose_numbers_it_has(run: Path, tmp_path: Path) -> None:
    copy = selfsight.Run(shutil.copytree(run, tmp_path / "run"))
    numbers = json.loads((copy.folder / "evaluation.json").read_text())

    def told(about: dict[str, Any] | None) -> str:
        (copy.folder / "evaluation.json").write_text(json.dumps(numbers | {"about": about}))
        return card(copy, copy.encoder(), {})

    other = told(numbers["about"] | {"own": False, "listing": "0a1b"})
    assert "Shares of held-out pictures of other data (digest of the listing: 0a1b)" in other
    for refused in (told(numbers["about"] | {"encoder": "another"}), told(None)):
        assert "What was measured is of another encoder, or does not say which" in refused
        assert "| this run |" not in refused


def test_the_card_says_what_flatters_its_numbers(run: Path, tmp_path: Path) -> None:
    copy = selfsight.Run(shutil.copytree(run, tmp_path / "run"))
    numbers = json.loads((copy.folder / "evaluation.json").read_text()) | {"notes": ["Another thing."]}
    leaks: dict[str, Any] = {"affected": 2, "dropped": False, "sentence": "2 of 9 test pictures leak."}

    def told(found: dict[str, Any] | None) -> str:
        (copy.folder / "evaluation.json").write_text(json.dumps(numbers | {"leaks": found}))
        return card(copy, copy.encoder(), {})

    said = told(leaks)
    assert said.index("| this run |") < said.index(leaks["sentence"]) < said.index("Another thing.")
    for harmless in (None, leaks | {"affected": 0}, leaks | {"dropped": True}):
        assert leaks["sentence"] not in told(harmless)


def test_the_card_says_which_steps_encoder_it_is_of(run: Path, photos: Path, tmp_path: Path) -> None:
    last, best = selfsight.Run(run), selfsight.Run(train(photos, tmp_path / "run", *SMALL, "--keep", "best-rankme"))
    looks = best.folder / "metrics.jsonl"
    looks.write_text('{"step": 0}\n{"step": 1, "kept": true}\n{"step": 2}\n')
    assert "This is the encoder of step" not in card(last, last.encoder(), {})
    said = card(best, best.encoder(), {})
    assert "Trained for 2 steps" in said
    assert "This is the encoder of step 1 (keep: best-rankme)." in said
    looks.write_text('{"step": 2}\n')
    assert "This is the encoder of step 2 (keep: best-rankme)." in card(best, best.encoder(), {})


def test_a_network_that_answers_otherwise_is_not_exported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(*args: Any, **options: Any) -> parity.Answers:
        return lambda views: {"embedding": np.random.default_rng(len(views)).normal(size=(len(views), 512))}

    monkeypatch.setattr(graph, "write", lambda *args, **options: None)
    monkeypatch.setattr(graph, "by_runtime", other)
    assert cli.main(["export", str(run), "--out", str(tmp_path / "made"), "--format", "onnx"]) == 2
    said = capsys.readouterr().err
    assert "gives another embedding" in said
    assert "nothing was written" in said
    assert not list(tmp_path.iterdir())


def test_a_failure_keeps_the_earlier_export_and_the_same_command_again_completes(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    selfsight.export(run, out=made)
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    (tmp_path / "made.tmp-999999").mkdir()  # what a kill leaves
    (tmp_path / "made.tmp-999999" / "config.json").write_text("{}")
    with monkeypatch.context() as broken:
        broken.setattr(folder, "card", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(errors.DiskError, match="No space left"):
            selfsight.export(run, out=made)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
    selfsight.export(run, out=made)
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--int8"], "add --format onnx"),
        (["--format", "onnx", "--outputs", "embeding"], "Did you mean 'embedding'?"),
        (["--format", "onnx", "--outputs", "patches", "--int8"], "--outputs embedding,patches"),
        (["/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    flags: list[str], says: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if "/nowhere" in flags else ["--out", str(tmp_path / "made")]
    assert cli.main(["export", str(run), *flags, *out]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_folder_one_stands_in_is_a_place_too(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert cli.main(["export", str(run), "--out", "."]) == 0
    assert (tmp_path / "here" / "export.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_other_files_are_not_written_over(run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SelfsightError, match="holds other files"):
        selfsight.export(run, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_missing_library_is_named_before_work_starts(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(MissingError, match=r"needs onnxscript; install it with: pip install 'selfsight\[export\]'"):
        selfsight.export(run, out=tmp_path / "made", format="onnx")


def test_a_run_of_documents_says_that_this_is_for_pictures(
    documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(documents, tmp_path / "run", "--method", "context", *TINY[4:])
    assert cli.main(["export", str(tmp_path / "run")]) == 2
    assert "learned from documents, and this is for pictures" in capsys.readouterr().err


def test_one_picture_is_enough(run: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(photos / "china" / "000.png", tmp_path / "one")
    found = selfsight.export(run, tmp_path / "one", out=tmp_path / "made")
    assert found["parity"]["pictures"] == 1


def test_a_network_without_an_onnx_form_is_said(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise ValueError("no such operator\nand much more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ExportError, match=r"cannot be written as ONNX \(ValueError: no such operator\)"):
        selfsight.export(run, out=tmp_path / "made", format="onnx")
    assert not list(tmp_path.iterdir())
