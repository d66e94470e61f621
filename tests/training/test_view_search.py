"""Views are chosen by labels, beyond the interval only, the same again after a stop; what cannot be is refused."""

from __future__ import annotations

import filecmp
from dataclasses import replace
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_pictures
from contract_parts import opened_after_the_scan

from selfsight import cli
from selfsight.data import source
from selfsight.data.manifest import Manifest, scan
from selfsight.errors import Interrupted, RecipeError, RunError
from selfsight.recipe import Columns, Recipe
from selfsight.runs import TRIALS
from selfsight.training import loop, view_search
from selfsight.training.halving import Found, decided, halved, rounds, work
from selfsight.training.jury import Jury
from selfsight.training.loop import Trainer
from selfsight.training.plan import plan
from selfsight.training.request import Request
from selfsight.training.told import plan_rows
from selfsight.training.view_search import Cost, TooShortError, candidates

OWN, KEPT = "simclr", "simclr-keep-colour"
QUICK = ["--encoder", "test_resnet", "--size", "16", "--batch", "16", "--threads", "1", "--precision", "fp32"]


def asked(pictures: Path) -> tuple[Request, Manifest]:
    """A run of the smallest network, and its listing."""
    request = Request(
        [str(pictures)], encoder="test_resnet", size=16, batch=16, length="1steps", threads=1, precision="fp32",
        device="cpu",
    )  # fmt: skip
    return request, scan(source.find(request.data))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("view_search") / "pictures", count=160, side=20)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few candidates, few steps."""
    monkeypatch.setattr(view_search, "CHANGED", ["keep-colour", "turns", "keep-hue"])
    monkeypatch.setattr(view_search, "SIZE", 16)
    monkeypatch.setattr(view_search, "BATCH", 32)
    monkeypatch.setattr(view_search, "SHARE", 5.0)
    monkeypatch.setattr(view_search, "LEAST", 1)


def test_the_better_half_goes_on_and_the_own_views_stay() -> None:
    asked: list[tuple[str, int]] = []

    def tried(name: str, steps: int) -> Found:
        asked.append((name, steps))
        share = {"own": 0.1, "e": 0.9}.get(name, 0.2 + 0.01 * (ord(name[0]) - ord("a")))
        return Found(np.arange(2000) < 2000 * share, np.arange(2000))

    scores, last = halved(["own", *"abcdefg"], 160, tried)
    assert asked[:8] == [(name, 10) for name in ("own", *"abcdefg")]
    assert asked[8:] == [("own", 20), ("e", 20), ("g", 20), ("f", 20), ("own", 40), ("e", 40)]
    assert scores["own"] < 0.2 < scores["a"] < 0.5 < scores["e"]
    assert set(last) == {"own", "e"}
    assert 8 * 10 + 4 * 10 + 2 * 20 == 10 * work(8) == 160, "what all rounds take is the budget"
    assert (rounds(11), work(11)) == ([11, 6, 3], 23)


@pytest.mark.parametrize(
    ("better", "half", "chosen"), [(0, "both", "own"), (3, "both", "own"), (30, "both", "other"), (30, "ranked", "own")]
)
def test_others_take_the_place_of_the_own_views_only_beyond_the_interval(better: int, half: str, chosen: str) -> None:
    """What shows on the half that candidates are ranked by alone is luck."""
    groups = np.arange(200)
    usual = groups % 2 == 0
    right = usual | (groups < 2 * better)
    if half == "ranked":
        right = np.where(Found(usual, groups).aside, usual, right)
    name, why = decided("own", {"own": Found(usual, groups), "other": Found(right, groups)})
    assert name == chosen
    assert ("better than own" in why) == (chosen == "other")
    assert "95 % interval" in why
    one = {"own": Found(usual, groups * 0), "other": Found(right, groups * 0)}
    assert decided("own", one)[0] == "own", "of one group nothing is known"


def test_what_comes_to_the_same_is_tried_once() -> None:
    colour = candidates("simclr", 3, 32)
    assert colour[0] == "simclr"
    assert len(colour) == 11
    grey = candidates("simclr", 1, 32)
    assert {"simclr-upright", "simclr-blurred"} < set(grey)
    assert not {"simclr-keep-hue", "simclr-never-grey"} & set(grey), "there is no colour to lose"
    assert candidates("weak", 3, 32)[1:2] == ["weak-keep-colour"]
    assert "weak-gentle" not in candidates("weak", 3, 32), "half of the picture is shown already"
    for name in ("simclr", "byol"):
        large = [one for one in candidates(name, 3, 32) if not one.endswith("blurred")]
        assert candidates(name, 3, 224) == large, "large views are blurred already"


def test_a_copy_names_no_picture(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture is there twice, and the vectors say nothing else: one copy would name the other."""
    manifest = scan(source.find([str(pictures)]))
    pairs = tuple(manifest.digests[row // 2 * 2] for row in manifest.every_row())
    manifest = replace(manifest, digests=pairs, test=np.zeros(len(manifest), bool))
    vectors = np.repeat(np.random.default_rng(0).normal(size=(len(manifest) // 2, 64)), 2, axis=0)
    monkeypatch.setattr(view_search, "trained", lambda *given, **options: (torch.zeros(0), None))
    unread = manifest.every_row() % 8 == 5

    def embed(encoder: Any, seen: Any, rows: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        kept = rows[~unread[rows]]
        return vectors[kept], kept

    monkeypatch.setattr(view_search, "embed", embed)
    request = Request(
        [str(pictures)], encoder="test_resnet", size=16, batch=16, length="1steps", threads=1, precision="fp32",
        device="cpu",
    )  # fmt: skip
    recipe, _ = plan(request, manifest)
    jury = Jury.of(manifest, 0)
    found = view_search.judged(recipe, manifest, jury, tmp_path, workers=0, quiet=True)
    assert found.right.mean() < 0.7
    assert len(np.unique(found.groups)) == len(manifest) // 2
    assert found.right.shape == jury.rows.shape
    assert not found.right[unread].any(), "what cannot be read is not named, by whatever views"


def test_it_tells_what_it_tried_and_a_stop_changes_nothing(
    pictures: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command goes on where it was stopped, to the same choice and the same weights to the bit."""
    command = ["train", str(pictures), *QUICK, "--views", "search", "--for", "20steps", "--quiet"]
    opened = opened_after_the_scan(monkeypatch, tmp_path / "cache")
    assert cli.main([*command, "--out", str(tmp_path / "straight")]) == 0
    manifest = Manifest.load(tmp_path / "straight" / "manifest.parquet")
    assert opened & {*manifest.paths} == {manifest.paths[row] for row in manifest.train_rows()} != {*manifest.paths}
    other = [*command[: command.index("--views")], "--views", "weak", "--for", "20steps", "--quiet"]
    tried, judged = [], view_search.judged

    def stopping(recipe: Recipe, *rest: Any, **options: Any) -> Found:
        tried.append(recipe)
        if len(tried) == 3:
            raise Interrupted("stopped", 2)
        return judged(recipe, *rest, **options)

    monkeypatch.setattr(view_search, "judged", stopping)
    assert cli.main([*command, "--out", str(tmp_path / "stopped")]) == 130
    assert not (tmp_path / "stopped" / "recipe.yaml").exists()
    assert cli.main(["inspect", str(tmp_path / "stopped")]) == 0
    assert {"none", "yet", "--resume"} <= set(capsys.readouterr().out.split())
    assert cli.main([*other, "--out", str(tmp_path / "stopped")]) == 2
    assert cli.main(["train", "--resume", str(tmp_path / "stopped"), "--quiet"]) == 0
    for file in ("recipe.yaml", "metrics.jsonl", "encoder/model.safetensors"):
        assert filecmp.cmp(tmp_path / "straight" / file, tmp_path / "stopped" / file, shallow=False), file
    recipe = Recipe.from_yaml(tmp_path / "straight" / "recipe.yaml")
    assert set(recipe.searched or {}) == {OWN, KEPT, "simclr-turns", "simclr-keep-hue"}
    assert recipe.settings["augmentation"] in (recipe.searched or {})
    assert recipe.steps == 20, "where steps are asked for, the search comes on top"
    kept = (tmp_path / "straight" / "recipe.yaml").read_text()
    assert kept.count("95 % interval") == 2, "beside the views and beside what was tried"
    assert not (tmp_path / "straight" / TRIALS).exists()
    told = {name: value for name, value, _ in plan_rows(recipe, {})}
    assert OWN in str(told["views tried"])
    assert cli.main([*command, "--out", str(tmp_path / "straight")]) == 0, "the same command again is the same run"
    assert cli.main([*other, "--out", str(tmp_path / "straight")]) == 2, "other views are another run"


@pytest.mark.parametrize("bad", [OWN, KEPT])
def test_views_whose_loss_is_not_finite_lose(
    bad: str, pictures: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient = Trainer.gradient

    def exploding(self: Trainer, step: int, batch: Any) -> Any:
        terms, projections = gradient(self, step, batch)
        return {**terms, "loss": terms["loss"] * (nan if self.folder.name == bad else 1)}, projections

    monkeypatch.setattr(Trainer, "gradient", exploding)
    monkeypatch.setattr(loop, "PATIENCE", 1)
    command = ["train", str(pictures), *QUICK, "--views", "search", "--for", "20steps", "--quiet"]
    assert cli.main([*command, "--out", str(tmp_path / "run")]) == 0
    recipe = Recipe.from_yaml(tmp_path / "run" / "recipe.yaml")
    searched = recipe.searched or {}
    assert [name for name, score in searched.items() if score is None] == [bad]
    assert all(score > 0 for name, score in searched.items() if name != bad)
    assert f"{bad} not finite" in {name: str(value) for name, value, _ in plan_rows(recipe, {})}["views tried"]
    assert recipe.settings["augmentation"] != KEPT or bad == OWN


def test_a_run_by_the_clock_gives_the_search_its_share(
    pictures: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_search, "MOST", 16)
    request = Request(
        [str(pictures)], encoder="test_resnet", size=16, batch=16, length="1m", threads=1, precision="fp32",
        device="cpu", views="search",
    )  # fmt: skip
    manifest = scan(source.find(request.data))
    recipe, reasons = plan(request, manifest)
    drafted, told = view_search.drafted(tmp_path, recipe, reasons, manifest, 0)
    assert 0 < drafted.steps < recipe.steps, "less by what the search takes"
    assert told["search"] == f"16 {len(Jury.of(manifest, 0).rows)} 4"
    assert view_search.begun(tmp_path) == (drafted, told)
    with pytest.raises(RecipeError, match="runs on one process"):
        view_search.check(replace(recipe, world=2), manifest)
    monkeypatch.setattr(view_search.distributed, "world", lambda: 2)
    with pytest.raises(
        RunError, match=r"on one process; let one end that \(selfsight train --resume .*\), then start as"
    ):
        view_search.begun(tmp_path)


@pytest.mark.parametrize(("minutes", "shown"), [(10, 3000), (5, 1500), (2.5, 750)])
def test_what_a_search_takes_is_its_share(
    minutes: float, shown: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts of it; by a third of that at most it judges, by fewer pictures in short runs."""
    cost = Cost(step=0.004, picture=0.0005, trial=0.0, whole=0.0)
    monkeypatch.setattr(view_search, "measured", lambda *given: cost)
    many = SimpleNamespace(rows=np.arange(3000))
    monkeypatch.setattr(view_search, "check", lambda *given: many)
    request, manifest = asked(pictures)
    recipe, reasons = plan(request, manifest)
    recipe = replace(recipe, length=f"{minutes}m", steps=10_000)

    def drafted(cost: Cost) -> tuple[int, int, int, float]:
        monkeypatch.setattr(view_search, "measured", lambda *given: cost)
        made, told = view_search.drafted(tmp_path, recipe, reasons, manifest, 0)
        return *map(int, told["search"].split()), (1 - made.steps / recipe.steps) * 60 * minutes

    for one in (cost, replace(cost, trial=0.1, whole=2.0)):
        steps, judges, count, spent = drafted(one)
        assert count == 11
        taken = steps * one.step + 20 * (judges * one.picture + one.trial) + one.whole
        assert taken == pytest.approx(spent, abs=0.05)
        assert spent <= 0.15 * 60 * minutes + 0.05
        if not one.whole:
            assert judges == pytest.approx(shown, abs=1)
    with pytest.raises(TooShortError, match=r"give it 2\.0 times as long") as error:
        drafted(replace(cost, step=2 * 0.15 * 60 * minutes * 2 / 3 / (8 * view_search.LEAST)))
    assert "or name the views" in str(error.value)
    step = 0.15 * 60 * minutes * 2 / 3 / (8 * view_search.LEAST)
    steps, judges, count, spent = drafted(replace(cost, step=0.9 * step))
    assert count == 5, "fewer where there are steps for no more"
    assert steps * 0.9 * step + 8 * judges * cost.picture == pytest.approx(spent, abs=0.05 + step)
    assert spent <= 0.15 * 60 * minutes + 0.05


@pytest.mark.parametrize(
    ("asked", "length", "searches"),
    [
        ({}, "5m", True),
        ({}, "4m", False),
        ({}, "30epochs", False),
        ({"views": "search"}, "4m", True),
        ({"views": "simclr"}, "10m", False),
        ({"settings": {"augmentation": "simclr"}}, "10m", False),
        ({"config": "recipe.yaml"}, "10m", False),
        ({"method": "rotation"}, "10m", False),
        ({"columns": Columns(label="other")}, "10m", False),
    ],
)
def test_long_runs_search_where_labels_are_and_nobody_names_views(
    asked: dict[str, Any], length: str, searches: bool, pictures: Path
) -> None:
    small: dict[str, Any] = {"encoder": "test_resnet", "size": 16, "batch": 16, "threads": 1, "precision": "fp32"}
    request = Request([str(pictures)], length="1steps", device="cpu", **small, **asked)
    manifest = scan(source.find(request.data))
    recipe, _ = plan(replace(request, config=None, views=request.named_views), manifest)
    if asked.get("columns"):
        manifest = replace(manifest, labels=np.full_like(manifest.labels, -1))
    assert view_search.worth_it(request, replace(recipe, length=length), manifest) == searches


def test_a_long_run_searches_unasked_and_goes_without_where_time_is_short(
    pictures: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view_search, "LONG", 0.0)
    monkeypatch.setattr(view_search, "MOST", 8)
    command = ["train", str(pictures), *QUICK, "--for", "3s", "--quiet", "--out"]
    for folder, least in (("long", 1), ("short", 10**9)):
        monkeypatch.setattr(view_search, "LEAST", least)
        assert cli.main([*command, str(tmp_path / folder)]) == 0
        assert bool(Recipe.from_yaml(tmp_path / folder / "recipe.yaml").searched) == (folder == "long")


@pytest.mark.parametrize(
    ("groups", "classes", "sentence"),
    [
        (1, 2, "of two classes or more that are each in two groups or more"),  # one site, one camera
        (2, 2, "with the 2 of the labelled ones no difference can be shown"),
        (10, 2, "with the 10 of the labelled ones no difference can be shown"),
        (14, 2, None),
        (64, 64, "of two classes or more that are each in two groups or more"),  # each class is a group
    ],
)
def test_groups_too_few_to_choose_by_are_not_asked(
    groups: int, classes: int, sentence: str | None, pictures: Path
) -> None:
    request, manifest = asked(pictures)
    recipe, _ = plan(request, manifest)
    rows = manifest.every_row()
    labels = rows % groups if classes > 2 else rows // groups % 2
    manifest = replace(manifest, groups=rows % groups, labels=labels)
    assert view_search.worth_it(request, replace(recipe, length="10m"), manifest) == (sentence is None)
    if sentence:
        with pytest.raises(RecipeError, match=sentence):
            view_search.check(recipe, manifest)


def test_views_that_were_named_are_not_searched_for_later(pictures: Path, tmp_path: Path) -> None:
    command = ["train", str(pictures), *QUICK, "--for", "1steps", "--quiet", "--out", str(tmp_path / "run")]
    assert cli.main(command) == 0
    assert cli.main([*command, "--views", "search"]) == 2


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["--method", "rotation"], "the views of rotation do not do both"),
        (["--method", "vdvs"], "the views of vdvs do not do both"),
        (["--for", "20steps"], "too little to choose by; give it"),
        (["--use-all"], "needs 100 training pictures with one"),
    ],
)
def test_what_cannot_be_chosen_is_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], asked: list[str], sentence: str
) -> None:
    """Nothing is written, and one sentence says why."""
    data, command = pictures, ["--for", "9000steps", *asked] if "--for" not in asked else asked
    if "--use-all" in asked:  # a list without labels
        data = tmp_path / "list.csv"
        data.write_text("path\n" + "\n".join(str(path) for path in sorted(pictures.rglob("*.png"))))
    code = cli.main(["train", str(data), *QUICK, "--views", "search", *command, "--out", str(tmp_path / "run")])
    assert code == 2
    assert sentence in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run" / "recipe.yaml").exists()
