"""A run's folder: whose it is, who may write it, and what a second start finds."""

from __future__ import annotations

import errno
import multiprocessing
import shutil
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract_parts import BATCH, SIZE, everything_scanned, opened_after_the_scan, recipe_of
from PIL import Image

import selfsight
from selfsight import cli, distributed
from selfsight.data.ranges import FULL
from selfsight.errors import DiskError, MissingError, RecipeError, RunError, TrainingError
from selfsight.nn.encoder import Encoder
from selfsight.recipe import Recipe
from selfsight.runs import TRIALS
from selfsight.training import memory, ranks, session
from selfsight.training.lineage import lineage
from selfsight.training.request import Request

FORKED = multiprocessing.get_context("forkserver")


def request(photos: Path, **changes: Any) -> Request:
    asked = {"encoder": "test_resnet", "size": SIZE, "batch": BATCH, "length": "2steps", "threads": 1}
    return Request(data=[str(photos)], **{**asked, "precision": "fp32", "device": "cpu", "use_all": True, **changes})


def hold(folder: Path, ready: Any, done: Any) -> None:
    with session.locked(folder):
        ready.set()
        done.wait(30)


@pytest.fixture(scope="module")
def finished(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("session") / "run"
    session.train(request(photos), folder, workers=0, save_every=0.0, quiet=True)
    return folder


def test_a_file_system_without_locks_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(session.fcntl, "flock", none)
    with session.locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").exists()


def test_folder_for_takes_new_empty_and_own_folders(photos: Path, tmp_path: Path, finished: Path) -> None:
    asked = request(photos)
    assert session.folder_for(asked, None) == Path("runs") / photos.stem
    assert session.folder_for(asked, tmp_path / "new") == tmp_path / "new"
    assert session.folder_for(asked, tmp_path) == tmp_path
    assert session.folder_for(asked, finished) == finished


def test_folder_for_takes_what_a_kill_before_the_recipe_left(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").touch()
    (tmp_path / "untrained").mkdir()
    (tmp_path / "recipe.yaml.tmp-123").touch()
    (tmp_path / ".lock").touch()
    assert session.folder_for(request(photos), tmp_path) == tmp_path


def test_folder_for_refuses_other_things(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunError, match="holds other files and no run"):
        session.folder_for(request(photos), tmp_path)
    with pytest.raises(RunError, match="is a file"):
        session.folder_for(request(photos), tmp_path / "thesis.tex")


def test_results_that_are_called_search_are_not_ours(photos: Path, tmp_path: Path) -> None:
    """Nor is what a search of views left in a run's folder."""
    (tmp_path / "project" / "search").mkdir(parents=True)
    with pytest.raises(RunError, match="holds other files and no run"):
        session.folder_for(request(photos), tmp_path / "project")
    session.train(request(photos), tmp_path / "run", workers=0, quiet=True)
    for name in ("search", TRIALS):
        (tmp_path / "run" / name).mkdir()
        (tmp_path / "run" / name / "hits.csv").touch()
    session.train(request(photos), tmp_path / "run", workers=0, quiet=True)
    assert (tmp_path / "run" / "search" / "hits.csv").exists()
    assert not (tmp_path / "run" / TRIALS).exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_refusal_leaves_no_folder_that_was_not_there(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "deep" / "run"
    if there:
        folder.mkdir(parents=True)
    with pytest.raises(RecipeError, match="trian"), session.locked(folder):
        raise RecipeError("there is no method 'trian'")
    assert folder.exists() == there
    with suppress(RecipeError), session.locked(folder):
        (folder / "recipe.yaml").touch()
        raise RecipeError("later")
    assert (folder / "recipe.yaml").exists()


def test_a_second_process_is_refused_and_a_dead_ones_lock_is_not_in_the_way(tmp_path: Path) -> None:
    ready, done = FORKED.Event(), FORKED.Event()
    other = FORKED.Process(target=hold, args=(tmp_path, ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(RunError, match="in use by another process"), session.locked(tmp_path):
        pytest.fail("two processes in one folder")
    other.kill()
    other.join(30)
    assert (tmp_path / ".lock").exists()
    with session.locked(tmp_path):
        pass
    with session.locked(tmp_path):
        pass


def test_a_run_has_what_it_promises(finished: Path) -> None:
    promised = "recipe.yaml manifest.parquet metrics.jsonl timing.jsonl views.png bad_files.csv checkpoints untrained"
    assert {*promised.split(), "encoder"} <= {path.name for path in finished.iterdir()}
    assert not list(finished.rglob("*.tmp-*"))


def test_the_test_part_is_scanned_and_never_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the plan to outputs.png, for a method that uses every hook. A test picture's values widen no range."""
    brightest = {"train": 4095, "test": FULL}
    for number in range(20):
        part = "test" if number % 5 == 0 else "train"
        (tmp_path / "photos" / part).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, brightest[part], (40, 40), np.uint16, endpoint=True)
        noise[0, :2] = 0, brightest[part]
        Image.fromarray(noise).save(tmp_path / "photos" / part / f"{number:02d}.png")
    opened = opened_after_the_scan(monkeypatch, tmp_path / "cache")
    asked = request(tmp_path / "photos", method="everything", precision=None, use_all=False)
    recipe = session.train(asked, tmp_path / "run", workers=0, quiet=True)
    assert (recipe.pictures, recipe.pixels["low"], recipe.pixels["high"]) == (16, 0, brightest["train"])
    assert (tmp_path / "run" / "outputs.png").exists()
    parts = [Path(path).parent.name for path in opened if path.startswith(str(tmp_path / "photos"))]
    assert (parts.count("train"), parts.count("test")) == (16, 0)


def test_the_same_command_twice_goes_on(photos: Path, finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file() and path.name != ".lock"}
    told: list[Recipe] = []
    session.train(request(photos), finished, workers=0, quiet=True, tell=lambda recipe, reasons: told.append(recipe))
    assert told == [Recipe.from_yaml(finished / "recipe.yaml")]
    assert {path for path in before if path.read_bytes() != before[path]} == set()
    session.train(Request(), finished, workers=0, quiet=True)


def test_what_the_network_makes_is_drawn_and_shown(photos: Path, finished: Path, tmp_path: Path) -> None:
    run = selfsight.train(
        str(photos), method="mae", encoder="test_vit", size=32, batch=8, length="1steps", precision="fp32", threads=1,
        device="cpu", quiet=True, out=tmp_path / "run", settings={"decoder_width": "96", "decoder_depth": "1"},
    )  # fmt: skip
    drawn = run.folder / "outputs.png"
    assert len(np.unique(np.asarray(Image.open(drawn)))) > 100
    assert b64encode(drawn.read_bytes()).decode() in (run.folder / "report.html").read_text()
    assert not (finished / "outputs.png").exists(), "it makes none"


def test_published_weights_without_a_network_are_a_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # as HF_HUB_OFFLINE=1 does
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    line = f"train {photos} --pretrained --encoder resnet10t --for 1steps --out {tmp_path / 'run'}"
    assert cli.main(line.split()) == 2
    told = capsys.readouterr().err
    assert "there are no pretrained weights for 'resnet10t' on this machine and they cannot be fetched" in told
    assert "--weights FILE" in told
    assert not (tmp_path / "run" / "recipe.yaml").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"batch": 4}, "batch was 8 and is now 4"), ({"method": "moco"}, "method was 'simclr' and is now 'moco'")],
)
def test_other_settings_cannot_go_on(photos: Path, finished: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RunError, match=f"cannot go on: {sentence}"):
        session.train(request(photos, **change), finished, quiet=True)


def test_weights_that_are_gone_by_now_are_not_missed(photos: Path, tmp_path: Path) -> None:
    first, run = tmp_path / "first", tmp_path / "run"
    vit = {"encoder": "test_vit", "method": "mae", "settings": {"decoder_width": "8", "decoder_heads": "2"}}
    session.train(request(photos, **vit, size=64), first, workers=0, save_every=0.0, quiet=True)
    asked = request(photos, encoder=str(first), method="simclr", use_all=False, size=64)
    session.train(asked, run, workers=0, save_every=0.0, quiet=True)
    before = selfsight.Run(run).evaluate()
    shutil.rmtree(first)
    shutil.rmtree(run / "encoder")
    shutil.rmtree(max((run / "checkpoints").iterdir()))  # the last step is to be done anew
    session.train(Request(), run, workers=0, save_every=0.0, quiet=True)
    after = selfsight.Run(run).evaluate()
    assert after["knn"] == before["knn"]
    assert after["baselines"] == before["baselines"], "the untrained network too is the same"


def test_a_run_that_is_not_finished_is_a_start_too(photos: Path, tmp_path: Path) -> None:
    """Where its pictures changed it cannot go on, and what it has learned is not lost."""
    first, run = tmp_path / "first", tmp_path / "run"
    vit = {"encoder": "test_vit", "method": "mae", "settings": {"decoder_width": "8", "decoder_heads": "2"}}
    session.train(request(photos, **vit, size=64, use_all=False), first, workers=0, save_every=0.0, quiet=True)
    learned = selfsight.Run(first).encoder().state_dict()
    shutil.rmtree(first / "encoder")
    asked = request(photos, encoder=str(first), use_all=False, size=64, length="1steps")
    session.train(asked, run, workers=0, save_every=0.0, quiet=True)
    begun = Encoder.load(run / "untrained")
    assert begun.name == "test_vit"
    assert all(torch.equal(tensor, learned[name]) for name, tensor in begun.state_dict().items() if "backbone" in name)
    assert [recipe.method for recipe, _ in lineage(run)] == ["simclr", "mae"]


def test_resume_beside_another_place_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"goes on in .*run' itself; leave --out away, or copy the folder"):
        selfsight.train(resume=finished, out=tmp_path / "other", quiet=True)


def test_other_pictures_cannot_go_on(photos: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(photos, tmp_path / "photos"))
    session.train(request(mine), tmp_path / "run", workers=0, quiet=True)
    shutil.copy(mine / "china" / "000.png", mine / "china" / "001.png")
    with pytest.raises(RunError, match=r"cannot go on:.*001\.png"):
        session.train(request(mine), tmp_path / "run", quiet=True)
    for file in sorted((mine / "china").iterdir())[:7]:
        file.unlink()
    with pytest.raises(RunError, match=r"cannot go on:.*000\.png' \(and 6 more\) is gone"):
        session.train(Request(), tmp_path / "run", quiet=True)


def test_a_few_pictures_that_are_gone_cost_no_run(photos: Path, tmp_path: Path) -> None:
    """As where they vanish while it trains: others stand in, and it is told."""
    mine = Path(shutil.copytree(photos, tmp_path / "photos"))
    session.train(request(mine), tmp_path / "run", workers=0, save_every=0.0, quiet=True)
    shutil.rmtree(tmp_path / "run" / "encoder")
    shutil.rmtree(max((tmp_path / "run" / "checkpoints").iterdir()))
    (mine / "china" / "001.png").unlink()
    (mine / "china" / "002.png").write_bytes(b"no picture")
    told: list[tuple[Recipe, Mapping[str, str]]] = []
    session.train(Request(), tmp_path / "run", workers=0, quiet=True, tell=lambda *plan: told.append(plan))
    assert told[0][1] == {"pictures": "2 gone or unreadable by now, such as 'china/001.png'; others stand in"}
    assert (tmp_path / "run" / "encoder").is_dir()


def test_the_folder_may_move_with_its_pictures(photos: Path, finished: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(finished, tmp_path / "elsewhere"))
    copied = Path(shutil.copytree(photos, tmp_path / "photos"))
    session.train(request(copied), moved, workers=0, quiet=True)


def test_a_run_goes_on_with_other_ranks_and_says_so(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text.replace("world: 1", "world: 2").replace("micro_batch: 8", "micro_batch: 4"))
    told: list[tuple[Recipe, Mapping[str, str]]] = []
    session.train(Request(), run, workers=0, quiet=True, tell=lambda *plan: told.append(plan))
    assert [(recipe.world, recipe.micro_batch) for recipe, _ in told] == [(1, 4)]
    assert told[0][1] == {"world": "the run was begun with 2"}


def test_a_run_goes_on_with_another_device_and_says_so(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "recipe.yaml").write_text((run / "recipe.yaml").read_text().replace("device: cpu", "device: cuda:1"))
    told: list[tuple[Recipe, Mapping[str, str]]] = []
    with pytest.raises(MissingError, match="use --device cpu"):
        session.train(Request(), run, workers=0, quiet=True)
    session.train(Request(device="cpu"), run, workers=0, quiet=True, tell=lambda *plan: told.append(plan))
    assert told[0][0].device == "cpu"
    assert told[0][1] == {"device": "the run was begun with cuda:1"}


def test_a_card_without_room_is_a_sentence(photos: Path) -> None:
    recipe = recipe_of("simclr", photos, everything_scanned(photos))
    sentence = f"no room for {recipe.micro_batch} pictures.*give --micro-batch {recipe.micro_batch // 2}"
    with pytest.raises(TrainingError, match=sentence), memory.on_card(recipe):
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("world", "change", "sentence"),
    [
        (3, {}, "a batch of 8 cannot be shared evenly by 3 ranks"),
        (2, {"device": "cuda:1"}, "--device cuda:1 is one device and there are 2 ranks"),
        (8, {"method": "jigsaw"}, "the batch norm in the head of jigsaw needs two pictures"),
    ],
)
def test_ranks_that_cannot_take_a_run_over(
    world: int, change: dict[str, Any], sentence: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = everything_scanned(photos)
    recipe = replace(recipe_of(change.get("method", "simclr"), photos, manifest), **change)
    monkeypatch.setattr(distributed, "world", lambda: world)
    refused = rf"begun with 1 rank\(s\) and cannot go on with {world}: {sentence}.*; start it with 1 again"
    with pytest.raises(RunError, match=refused):
        ranks.shared(recipe, manifest)


def test_save_every() -> None:
    assert session.seconds(None) is None
    assert session.seconds("90s") == 90
    assert session.seconds("5m") == 300
    for wrong in ("20steps", "90", "soon"):
        with pytest.raises(RecipeError, match=f"--save-every '{wrong}' is not a time; write 90s or 5m"):
            session.seconds(wrong)


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"No space left on device.*free some space"), session.room_in(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_gpu_has_the_cores_for_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, on_gpu in ((1, 2), (8, 8), (96, 16)):
        monkeypatch.setattr(session, "own_cores", lambda cores=cores: cores)
        assert [session.usual_workers(device) for device in ("cpu", "cuda:1", "cuda")] == [2, on_gpu, on_gpu]
