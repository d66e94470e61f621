"""What can be asked, and whose folder it is: one sentence that names the thing and the remedy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from selfsight import cli
from selfsight.comparison import asked
from selfsight.comparison.asked import Asked
from selfsight.data import source
from selfsight.data.manifest import Manifest, scan
from selfsight.errors import RecipeError, RunError

GOOD = Asked(["/photos"], ["simclr", "rotation"], "20steps")


@pytest.fixture(scope="module")
def manifest(photos: Path) -> Manifest:
    return scan(source.find([str(photos)]))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("simclr,rotaton", "Did you mean 'rotation'?"),
        ("simclr", "only 'simclr' is named"),
        (None, "none is named; name them with --methods"),
        ("simclr, ,", "only 'simclr'"),
        ("simclr,rotation,simclr", "names 'simclr' twice"),
        ("simclr,context", "learns from pictures and 'context' from documents"),
    ],
)
def test_names_that_cannot_be_compared(names: str | None, says: str) -> None:
    with pytest.raises(RecipeError) as raised:
        asked.named(names)
    assert says in str(raised.value)


def test_names_are_read_from_text_or_list() -> None:
    assert asked.named("simclr, rotation") == asked.named(["simclr", "rotation"]) == ["simclr", "rotation"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"length": "soon"}, "--for 'soon' is not a length"),
        ({"seeds": 0}, "--seeds 0"),
        ({"encoder": "resnet81"}, "resnet18"),
    ],
)
def test_what_cannot_be_asked(changed: dict[str, object], says: str) -> None:
    with pytest.raises(RecipeError) as raised:
        asked.check(replace(GOOD, **changed))
    assert says in str(raised.value)


def test_the_shared_encoder_is_what_most_use() -> None:
    assert GOOD.shared == "resnet10t", "that of the first named, at a tie"
    assert replace(GOOD, methods=["mae", "simclr"]).shared == "vit_tiny_patch16_224"
    assert replace(GOOD, methods=["simclr", "mae", "ijepa"]).shared == "vit_tiny_patch16_224", "what most use"
    assert replace(GOOD, device="cuda").shared == replace(GOOD, size=128).shared == "resnet18"
    assert replace(GOOD, encoder="test_resnet").shared == "test_resnet"


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    assert asked.home(GOOD, None) == Path("comparisons/photos")
    assert asked.home(GOOD, tmp_path) == tmp_path
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunError, match="holds other files and no comparison"):
        asked.home(GOOD, tmp_path)
    with pytest.raises(RunError, match="is a file"):
        asked.home(GOOD, tmp_path / "thesis.tex")
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(RunError, match="holds a run and no comparison"):
        asked.home(GOOD, tmp_path)


def test_what_changed_is_named(tmp_path: Path, manifest: Manifest) -> None:
    assert asked.claim(tmp_path, GOOD, manifest) == "resnet10t"
    assert asked.claim(tmp_path, GOOD, manifest) == "resnet10t"
    assert asked.claim(tmp_path, replace(GOOD, methods=["simclr", "moco"], seeds=3), manifest) == "resnet10t"
    with pytest.raises(RunError, match="--for was '20steps' and is now '10m'"):
        asked.claim(tmp_path, replace(GOOD, length="10m"), manifest)
    with pytest.raises(RunError, match="size was automatic and is now 64"):
        asked.claim(tmp_path, replace(GOOD, size=64), manifest)
    with pytest.raises(RunError, match=r"the pictures changed: .* is gone"):
        asked.claim(tmp_path, GOOD, manifest.taking(manifest.every_row()[:-1]))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--methods simclr --for 10m", "a comparison needs two methods and only 'simclr' is named"),
        ("--for 10m", "none is named; name them with --methods"),
        ("--methods simclr,rotation", "say how long with --for"),
        ("--methods simclr,rotatoin --for 10m", "Did you mean 'rotation'?"),
        ("--methods simclr,rotation --for soon", "--for 'soon' is not a length"),
        ("--methods simclr,rotation --for 10m --seeds 0", "--seeds 0 is not between"),
        ("--methods simclr,rotation --for 10m --json .", "'.' cannot be written (Is a directory); choose another"),
        ("--methods simclr,rotation --for 10m --encoder resnet81", "there is no encoder 'resnet81'"),
    ],
)
def test_a_wrong_line_is_one_sentence(
    flags: str, says: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(f"compare {photos} {flags} --out {tmp_path / 'out'}".split()) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()
