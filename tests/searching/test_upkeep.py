"""An index is brought up to date by what the files hold, whole or not at all, and by nobody else's encoder."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image
from test_main_job import TINY

from selfsight import cli
from selfsight.embedding import store
from selfsight.embedding.upkeep import is_there
from selfsight.errors import RunError

Said = Callable[..., str]


@pytest.fixture(scope="module")
def home(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, its pictures, and the vectors of half of them."""
    folder = tmp_path_factory.mktemp("upkeep")
    shutil.copytree(photos, folder / "photos")
    for picture in sorted((folder / "photos").rglob("*.png"))[::2]:
        (folder / "half" / picture.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / "half" / picture.parent.name)
    train = ["train", str(photos), *TINY, "--for", "2steps", "--out", str(folder / "run"), "--quiet"]
    assert cli.main(train) == 0
    return folder


@pytest.fixture
def embed(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """`selfsight embed run ARGUMENTS --out vectors` in a copy of home: what it said."""
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")

    def said(*arguments: str, code: int = 0, run: str = "run", out: str = "vectors") -> str:
        capsys.readouterr()
        assert cli.main(["embed", run, *arguments, "--out", out]) == code
        return capsys.readouterr().err.strip()

    return said


def held(folder: str = "vectors") -> dict[str, np.ndarray]:
    """Each file and its vector; the folder is whole."""
    stored = store.read(Path(folder))
    assert stored.facts["count"] == len(stored.vectors) == len(stored.table)
    assert stored.table["row"].to_pylist() == list(range(len(stored.vectors)))
    lengths = np.linalg.norm(stored.vectors, axis=1) if len(stored.vectors) else []
    np.testing.assert_allclose(stored.table["length"].to_numpy(), lengths, rtol=1e-5)
    return dict(zip(map(os.fsdecode, stored.table["file"].to_pylist()), stored.vectors, strict=True))


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.allclose(one[file], other[file], atol=1e-3) for file in one)


def test_adding_is_embedding_all_at_once(embed: Said) -> None:
    Path("list.txt").write_text("\n".join(map(str, sorted(Path("photos").rglob("*.png"))[::2])))
    assert embed("list.txt", "--append") == "32 added, 0 kept."  # there was no index yet
    assert embed("photos", "--append") == "32 added, 32 kept, 32 with another label."  # a list has none
    embed("photos", out="fresh")
    assert same(held(), held("fresh"))
    before = {path: path.stat().st_mtime_ns for path in Path("vectors").iterdir()}
    assert embed("photos", "--append") == "0 added, 64 kept."
    assert {path: path.stat().st_mtime_ns for path in Path("vectors").iterdir()} == before


def test_a_picture_with_other_contents_is_embedded_anew_and_a_broken_one_leaves(embed: Said) -> None:
    embed("photos")
    one, two = Path("photos/china/000.png"), Path("photos/china/001.png")
    Image.new("RGB", (40, 40), (200, 10, 10)).save(one)
    two.write_bytes(two.read_bytes()[:200])
    told = f"1 that cannot be read left out, such as {str(two.absolute())!r} (truncated)."
    assert embed("photos", "--append") == f"{told}\n1 added, 62 kept, 2 with other contents left out."
    assert embed("photos", out="fresh").endswith(told)
    assert same(held(), held("fresh"))
    assert str(two.absolute()) in Path("vectors/bad_files.csv").read_text()


def test_a_picture_that_turns_out_to_be_none_is_not_added_again_and_again(embed: Said) -> None:
    """Its head is whole, so it is listed; only its decoder finds that the rest is missing."""
    embed("photos")
    half = Path("photos/china/half.jpg")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(half)
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    told = f"1 that cannot be read left out, such as {str(half.absolute())!r} (truncated).\n"
    before = {}
    for _ in range(2):
        assert embed("photos", "--append").endswith(f"{told}0 added, 64 kept.")
        assert str(half.absolute()) in Path("vectors/bad_files.csv").read_text()
        before = before or {path: path.stat().st_mtime_ns for path in Path("vectors").iterdir()}
    assert {path: path.stat().st_mtime_ns for path in Path("vectors").iterdir()} == before
    assert embed("photos", "--append", out="fresh").endswith(f"{told}64 added, 0 kept.")


def test_pictures_that_are_gone_leave(embed: Said) -> None:
    embed("photos")
    shutil.rmtree("photos/china")
    assert embed("--prune") == "0 added, 32 kept, 32 gone and left out."
    assert {Path(file).parent.name for file in held()} == {"flower"}
    assert embed("--prune") == "0 added, 32 kept."
    (Path("photos") / "flower").rename("photos/moved")
    assert "is a disk not mounted?" in embed("--prune", code=2)
    assert len(held()) == 32
    assert embed("photos", "--append", "--prune") == "32 added, 0 kept, 32 gone and left out."


def test_what_is_in_a_shard_or_elsewhere_is_there_while_the_shard_is(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    place = "#512+100:" + "0" * 32
    assert is_there(f"{tmp_path}/a.tar{place}")
    assert not is_there(f"{tmp_path}/b.tar{place}")
    assert not is_there(f"{tmp_path}/b.png")
    assert is_there(f"s3://bucket/b.tar{place}")


def test_another_encoder_or_shape_adds_nothing(embed: Said, home: Path) -> None:
    embed("photos")
    shutil.copytree("run", "other")
    shutil.rmtree("other/encoder")
    shutil.copytree("run/untrained", "other/encoder")
    assert "belongs to another encoder" in embed("photos", "--append", run="other", code=2)
    assert "belongs to another --patches" in embed("photos", "--append", "--patches", code=2)
    assert len(held()) == 64
    embed("photos", "--patches")
    assert store.read(Path("vectors")).vectors.ndim == 3


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["run", "photos"], "say where the vectors go"),
        (["run", "photos", "--out", "a", "--to", "postgresql://x/y"], "say where the vectors go"),
        (["run", "--out", "a"], "give pictures as DATA"),
        (["run", "photos", "--prune", "--out", "a"], "needs --append as well"),
        (["run", "photos", "--patches", "--to", "postgresql://x/y"], "leave --patches out"),
        (["run", "--prune", "--out", "photos"], "holds no embeddings"),
        (["run", "photos", "--out", "a", "--batch=-1"], "--batch -1 cannot be: it counts pictures, from 1 on"),
        (["run", "photos", "--out", "a", "--append", "--batch=0"], "--batch 0 cannot be"),
    ],
)
def test_what_does_not_go_together(
    flags: list[str], says: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    assert cli.main(["embed", *flags]) == 2
    assert says in capsys.readouterr().err


def test_an_end_at_any_moment_leaves_the_old_or_the_new(embed: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rename of an addition, in turn, is what a process does not come to any more."""
    Path("list.txt").write_text("\n".join(map(str, sorted(Path("photos").rglob("*.png"))[::2])))
    embed("list.txt")
    old, seen, real = held(), [], Path.replace
    embed("photos", out="fresh")
    new, ended = held("fresh"), True
    shutil.copytree("vectors", "before")
    for last in itertools.count():
        left = itertools.count()

        def replace(self: Path, target: Path, left: Iterator[int] = left, last: int = last) -> Path:
            if next(left) == last:
                raise KeyboardInterrupt
            return real(self, target)

        shutil.rmtree("vectors")
        shutil.copytree("before", "vectors")
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", replace)
            ended = cli.main(["embed", "run", "photos", "--append", "--out", "vectors"]) == 130
        now = held()
        seen.append(len(now))
        assert same(now, new if len(now) == 64 else old)
        if not ended:
            break
    assert embed("photos", "--append") == "0 added, 64 kept."
    assert seen == sorted(seen)
    assert set(seen) == {32, 64}
    assert len(seen) >= 7


def test_who_reads_while_somebody_writes_sees_one_of_both(embed: Said) -> None:
    embed("photos")
    folder = Path("vectors")
    table = (folder / "embeddings.parquet").read_bytes()
    parquet.write_table(parquet.read_table(folder / "embeddings.parquet").slice(0, 3), folder / "embeddings.parquet")
    with pytest.raises(RunError, match="damaged"):
        store.read(folder)
    (folder / "embeddings.parquet").write_bytes(table)
    with store.alone(folder):
        Path("photos/china/000.png").unlink()
        assert "is being changed by another process" in embed("--prune", code=2)
    facts = json.loads((folder / "embeddings.json").read_text())
    assert facts["count"] == 64


def test_pictures_with_another_label_are_told_so_and_not_embedded_again(embed: Said) -> None:
    """Those that have none now keep what they had; a label that is no UTF-8 is escaped."""
    names = sorted(map(str, Path("half").rglob("*.png")))
    embed("half", "--append")
    lines = [b"path,label", *(f"{Path(name).absolute()},".encode() for name in names)]
    lines[1] += "Gr\xfcn".encode("latin-1")
    Path("relabelled.csv").write_bytes(b"\n".join(lines))
    vectors = held()
    assert embed("relabelled.csv", "--append") == "0 added, 32 kept, 1 with another label."
    assert same(held(), vectors)
    table = store.read(Path("vectors")).table
    told = dict(zip(map(os.fsdecode, table["file"].to_pylist()), table["label"].to_pylist(), strict=True))
    assert told.pop(str(Path(names[0]).absolute())) == "Gr\\udcfcn"
    assert set(told.values()) == {"china", "flower"}
    assert embed("relabelled.csv", "--append") == "0 added, 32 kept."


def test_a_damaged_index_is_not_replaced(embed: Said) -> None:
    embed("photos")
    whole = Path("vectors/embeddings.json").read_bytes()
    for content in (whole[:-9], b"", whole.replace(b"{", b"[", 1)):
        Path("vectors/embeddings.json").write_bytes(content)
        assert "are damaged" in embed("half", "--append", code=2)
    Path("vectors/embeddings.json").write_bytes(whole)
    assert len(held()) == 64
