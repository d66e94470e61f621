"""`embed`, `pack`, `export`, `browse --export` and `compare`, killed or refused wherever they change the disk: nothing
half has a final name, and the same command completes as if nothing had happened.

Each is killed at its first change, then at the second of what it then has to do, and so on in the same folder, which
is never cleaned between: so it also meets what several deaths left.
"""

from __future__ import annotations

import errno
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import write_pictures
from mortal import selfsight

from selfsight import checkpoints
from selfsight.data import packed
from selfsight.embedding import store

TINY = ["--encoder", "test_resnet", "--size", "32", "--threads", "1", "--device", "cpu", "--quiet"]
CLOCK = {".lock", "timing.jsonl", "report.html", "compare.html", "recipe.yaml", "plans.json"}  # hold times
DONE = ("checkpoints", "encoder", "untrained", "metrics.jsonl", "timing.jsonl", "report.html")  # by training
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS)
Look = Callable[[Path], None]
Harm = Callable[[list[object], Path, Look], object]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, `old` and `new`, on sixteen pictures."""
    home = tmp_path_factory.mktemp("runs")
    write_pictures(home / "photos", count=16)
    for name, seed in (("old", 1), ("new", 0)):
        given = ["--batch", "8", "--precision", "fp32", "--for", "1steps", "--seed", seed, "--out", home / name]
        assert selfsight(["train", home / "photos", *TINY, *given], home, home / "said")[0] == 0
    return home


def files(folder: Path) -> dict[str, bytes]:
    """All that lies there and does not tell the time."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in CLOCK]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def torn(words: list[object], home: Path, look: Look, step: int = 1) -> int:
    """Kill the command at its first change, then at one that is `step` further on, until it ends; how often it died.

    `look` sees every mess.
    """
    said = home.with_suffix(".said")
    for died in range(1000):
        code, _ = selfsight(words, home, said, at=1 + died * step)
        if code == 0:
            return died
        assert code == -signal.SIGKILL, said.read_text()[-2000:]
        look(home)
    raise AssertionError("it does not end")


def refused(words: list[object], home: Path, look: Look) -> None:
    """One change after another is refused by a full, broken or write-protected disk: a sentence, and no harm."""
    said = home.with_suffix(".said")
    for at in range(1, 1000):
        code, count = selfsight(words, home, said, at=at, error=ERRORS[at % len(ERRORS)])
        assert code in (0, 2), said.read_text()[-2000:]
        look(home)
        if at > count:
            break
    assert "cannot be written" in said.read_text()
    assert not list(home.rglob("*.tmp-*"))


@pytest.mark.parametrize("harm", [torn, refused])
def test_embed(harm: Harm, runs: Path, tmp_path: Path) -> None:
    """Over the vectors of another run: at every moment they are the old ones or the new ones."""
    home, photos = tmp_path / "home", runs / "photos"
    digests = {}
    for name in ("old", "new"):
        assert selfsight(["embed", runs / name, photos, "--out", tmp_path / name], tmp_path, tmp_path / "said")[0] == 0
        digests[store.read(tmp_path / name).facts["encoder"]] = np.load(tmp_path / name / "embeddings.npy")

    def whole(home: Path) -> None:
        if (home / "out").exists():
            found = store.read(Path(shutil.copytree(home / "out", home / "looked at")))
            np.testing.assert_array_equal(found.vectors, digests[found.facts["encoder"]])
            shutil.rmtree(home / "looked at")

    shutil.copytree(tmp_path / "old", home / "out")
    harm(["embed", runs / "new", photos, "--out", home / "out"], home, whole)
    assert files(home / "out") == files(tmp_path / "new")


@pytest.mark.parametrize("harm", [torn, refused])
def test_pack(harm: Harm, runs: Path, tmp_path: Path) -> None:
    home, words = tmp_path / "home", ["pack", runs / "photos"]
    home.mkdir()
    assert selfsight([*words, tmp_path / "whole"], tmp_path, tmp_path / "said")[0] == 0
    expected = files(tmp_path / "whole")

    def whole(home: Path) -> None:
        found = {name: content for name, content in files(home).items() if ".tmp-" not in name}
        assert all(content == expected[Path(name).name] for name, content in found.items())
        assert packed.is_packed(home / "out") == ("out/packed.parquet" in found)

    harm([*words, home / "out"], home, whole)
    assert files(home / "out") == expected


@pytest.mark.parametrize("harm", [torn, refused])
def test_export(harm: Harm, runs: Path, tmp_path: Path) -> None:
    """Over another run's export. Its name may be missing for a moment, and never belongs to half of one."""
    home, ends = tmp_path / "home", []
    for name in ("old", "new"):
        assert selfsight(["export", runs / name, "--out", tmp_path / name], tmp_path, tmp_path / "said")[0] == 0
        ends.append(files(tmp_path / name))

    def whole(home: Path) -> None:
        assert not (home / "out").exists() or files(home / "out") in ends

    shutil.copytree(tmp_path / "old", home / "out")
    harm(["export", runs / "new", "--out", home / "out"], home, whole)
    assert files(home) == {f"out/{name}": content for name, content in ends[1].items()}


def test_browse_export(runs: Path, tmp_path: Path) -> None:
    """Over the page of another run; one change is refused by a full disk as well."""
    home, ends = tmp_path / "home", []
    for name in ("old", "new"):
        vectors = tmp_path / f"{name} vectors"
        assert selfsight(["embed", runs / name, runs / "photos", "--out", vectors], tmp_path, tmp_path / "said")[0] == 0
        words = ["browse", vectors, "--export"]
        assert selfsight([*words, tmp_path / name], tmp_path, tmp_path / "said")[0] == 0
        ends.append(files(tmp_path / name))

    def whole(home: Path) -> None:
        assert not (home / "out").exists() or files(home / "out") in ends

    shutil.copytree(tmp_path / "old", home / "out")
    assert selfsight([*words, home / "out"], home, tmp_path / "full", at=20, error=errno.ENOSPC)[0] == 2
    assert "cannot be written (No space left on device)" in (tmp_path / "full").read_text()
    assert files(home) == {f"out/{name}": content for name, content in ends[0].items()}
    assert torn([*words, home / "out"], home, whole, step=12) > 4
    assert files(home) == {f"out/{name}": content for name, content in ends[1].items()}


def timeless(told: object) -> object:
    """JSON without the seconds that something took."""
    if isinstance(told, dict):
        clock = {"seconds", "second", "curves", "out"}
        return {key: timeless(value) for key, value in told.items() if key not in clock}
    return [timeless(one) for one in told] if isinstance(told, list) else told


def test_compare(runs: Path, tmp_path: Path) -> None:
    """Two methods; the numbers are those of a comparison by the same plans that nobody disturbed."""
    home, whole = tmp_path / "home", tmp_path / "whole"
    words = ["compare", runs / "photos", "--methods", "simclr,rotation", *TINY, "--for", "2steps", "--out"]
    home.mkdir()

    def readable(home: Path) -> None:
        for file in home.rglob("*.json"):
            json.loads(file.read_bytes())
        for run in (home / "out" / "runs").glob("*/recipe.yaml"):
            checkpoints.latest(run.parent / "checkpoints")

    assert torn([*words, home / "out"], home, readable, step=20) > 5
    for planned in [f"runs/{name}-0" for name in ("simclr", "rotation")]:  # precision is chosen by a measured speed
        shutil.copytree(home / "out" / planned, whole / planned, ignore=lambda *_: {*DONE})
    for name in ("asked.json", "manifest.parquet", "plans.json"):
        shutil.copy(home / "out" / name, whole)
    assert selfsight([*words, whole], tmp_path, tmp_path / "said")[0] == 0
    expected, found = files(whole), files(home / "out")
    assert expected.keys() == found.keys()
    for name in expected:
        if name.endswith(".json"):
            assert timeless(json.loads(found[name])) == timeless(json.loads(expected[name])), name
        else:
            assert found[name] == expected[name], name
    assert sorted(path.name for path in (home / "out").rglob("*.html")) == [
        "compare.html",
        "report.html",
        "report.html",
    ]
