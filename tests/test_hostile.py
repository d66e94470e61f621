"""Files from strangers, and damaged ones: nothing runs, nothing is written elsewhere, each is refused in a sentence."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

import selfsight
from selfsight import checkpoints, cli
from selfsight.data import source, tables
from selfsight.data.decode import decode
from selfsight.embedding import store
from selfsight.errors import ImageError, RunError, SelfsightError
from selfsight.evaluation import classifier
from selfsight.nn import families

TINY: dict[str, Any] = {
    "method": "simclr", "encoder": "test_resnet", "size": 32, "batch": 8, "length": "1steps", "threads": 1,
}  # fmt: skip
DEEP = b"[" * 100_000
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
RUNS = "!!python/object/apply:os.system ['touch {}']"


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a classifier and embeddings."""
    folder = tmp_path_factory.mktemp("hostile") / "run"
    run = selfsight.train(photos, **TINY, out=folder, quiet=True)
    run.classify(photos, labels=photos, out=folder / "classes.csv")
    run.embed(photos, out=folder / "vectors")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def refused(capsys: pytest.CaptureFixture[str], *command: str | Path) -> str:
    """What a command says that must fail in one sentence, and not as a fault of ours."""
    capsys.readouterr()
    assert cli.main([str(part) for part in command]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


class Runs:
    """Leaves a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def bare(file: Path, content: Any) -> None:
    """A pickle and nothing around it."""
    file.write_bytes(pickle.dumps(content))


def zipped(file: Path, content: Any) -> None:
    """As torch.save writes it."""
    torch.save(content, file)


def climbing(file: Path, content: Any) -> None:
    """A zip whose members lie elsewhere."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../climbed", b"")
        archive.writestr("archive/data.pkl", pickle.dumps(content))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("write", [bare, zipped, climbing])
def test_no_pickle_runs(
    write: Callable[[Path, Any], None], name: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is anything of the run begun. The payload is alive: loaded carelessly, it runs."""
    marker = tmp_path / "ran"
    write(tmp_path / name, {"conv1.weight": Runs(marker)})
    said = refused(
        capsys, "train", photos, "--encoder", "test_resnet", "--weights", tmp_path / name, "--out", tmp_path / "r"
    )
    assert "holds no weights that can be read" in said
    assert not marker.exists()
    assert not (tmp_path / "r" / "checkpoints").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {name, "r"}
    if write is bare:
        pickle.loads((tmp_path / name).read_bytes())
        assert marker.exists()


def test_weights_that_claim_more_than_they_are_stay_small(tmp_path: Path) -> None:
    """A terabyte of zeros in a file of a kilobyte: stride 0."""
    from selfsight.nn.pickles import tensors

    torch.save({"a": torch.zeros(1).expand(1 << 38)}, tmp_path / "vast.pth")
    with pytest.raises(ValueError, match=r"Error|signal"):
        tensors(tmp_path / "vast.pth")
    torch.save({"model": {"module.a": torch.arange(3)}}, tmp_path / "good.pth")
    assert tensors(tmp_path / "good.pth")["module.a"].tolist() == [0, 1, 2]


def test_a_pickle_longer_than_any_networks_is_not_unpickled(tmp_path: Path) -> None:
    """Nor a zip that holds more than its size."""
    from selfsight.nn import pickles

    with zipfile.ZipFile(tmp_path / "nests.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"]" * 600_000 + b"a" * 599_999 + b".")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(1 << 20))
    (tmp_path / "long.pth").write_bytes(b"\x80\x02(" + b"N" * (1 << 20) + b"l.")
    assert all(map(pickles._is_long, sorted(tmp_path.iterdir())))
    with pytest.raises(ValueError, match="more is in it than tensors"):
        pickles.tensors(tmp_path / "nests.pth")
    for now in (True, False):
        torch.save(
            {"model": {"a": torch.rand(1 << 19)}, "lr": 0.1}, tmp_path / "good.pth", _use_new_zipfile_serialization=now
        )
        assert not pickles._is_long(tmp_path / "good.pth")


def test_a_flipped_bit_is_found_wherever_it_is(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty places of every file of an encoder, a classifier, an export, a checkpoint, embeddings and a pack."""
    monkeypatch.setattr(store, "PAUSE", 0)  # nobody is changing them
    newest = checkpoints.latest(run / "checkpoints")
    assert newest is not None
    selfsight.export(run, photos, out=tmp_path / "export")
    selfsight.pack(photos, tmp_path / "packed")
    digest = checkpoints.entries(run / "classifier" / "config.json")["encoder"]
    opened: dict[Path, Callable[[], object]] = {
        run / "encoder": lambda: families.load(run / "encoder"),
        run / "classifier": lambda: classifier.kept(run / "classifier", digest),
        newest: lambda: checkpoints.verify(newest),
        tmp_path / "export": lambda: families.load(tmp_path / "export"),
        run / "vectors": lambda: store.read(run / "vectors"),
        tmp_path / "packed": lambda: packed_pictures(tmp_path / "packed"),
    }
    for folder, read in opened.items():
        for file in sorted(folder.iterdir()):
            whole = file.read_bytes()
            for place in places_in(file, whole):
                damaged = bytearray(whole)
                damaged[place // 8] ^= 1 << place % 8
                file.write_bytes(damaged)
                with pytest.raises((SelfsightError, ValueError)):
                    read()
            file.write_bytes(whole)
        read()


def places_in(file: Path, whole: bytes) -> list[int]:
    """Twenty bits of a file, or of what is read of it: of a shard the pictures, not what tar writes around them."""
    if file.name == "bad_files.csv":  # for people; nothing reads it
        return []
    bits = np.random.default_rng(0).integers(0, len(whole) * 8, 20)
    if file.suffix == ".tar":
        table = parquet.read_table(file.with_name("packed.parquet")).to_pydict()
        bits = 8 * (np.array(table["offset"]) + np.array(table["length"]) // 2)[:20]
    return bits.tolist()


def packed_pictures(folder: Path) -> None:
    """Read every picture of a pack; ValueError when one is refused."""
    for row in source.find(folder).rows:
        try:
            decode(row.path)
        except ImageError as error:
            raise ValueError(error.reason) from error


@pytest.mark.parametrize(
    "content", [DEEP, b'{"files": ' + DEEP, b"\xff" * 100, b"", b"null", b"1e999", b'{"architecture": {"a": 1}}']
)
@pytest.mark.parametrize(
    "name", ["encoder/config.json", "encoder/preprocess.json", "encoder/digests.json", "classifier/config.json"]
)
def test_json_that_is_none_of_ours(
    name: str, content: bytes, run: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / name).write_bytes(content)
    assert str(run / name.split("/")[0]) in refused(capsys, "classify", run, photos, "--out", run / "c.csv")
    if not name.endswith("digests.json"):
        (run / name).with_name("digests.json").unlink()
        assert str(run) in refused(capsys, "classify", run, photos, "--out", run / "c.csv")


@pytest.mark.parametrize(
    "content", [LAUGHS, "- " * 5000, RUNS, "[" * 100_000, "method: [simclr]", "\0", "a: 1\na: 2\n"]
)
def test_yaml_that_is_none_of_ours(
    content: str, run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "ran"
    (run / "recipe.yaml").write_text(content.replace("{}", str(marker)))
    assert len(refused(capsys, "evaluate", run)) < 1000
    assert len(refused(capsys, "inspect", run)) < 1000
    said = refused(capsys, "train", photos, "--config", run / "recipe.yaml", "--out", tmp_path / "new")
    assert len(said) < 1000
    assert not marker.exists()


@pytest.mark.parametrize(
    "change",
    [{"run": 5}, {"run": None}, {"size": 0}, {"size": 1 << 40}, {"size": "32"}, {"kind": []}, {"shape": [1 << 62, 512]},
     {"shape": ["x" * 500]}, {"shape": None}, {"array": None}, {"table": 1}, {"encoder": {}}],
)  # fmt: skip
def test_embeddings_that_say_something_else(
    change: dict[str, Any], run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With their own digest right, as a stranger's would be."""
    monkeypatch.setattr(store, "PAUSE", 0)
    facts = checkpoints.entries(run / "vectors" / "embeddings.json")
    (run / "vectors" / "embeddings.json").write_bytes(checkpoints.signed(facts | change))
    assert str(run / "vectors") in refused(capsys, "search", run / "vectors", "0")


@pytest.mark.parametrize("facts", [1.5, [], None, {"step": None}, {"step": "1"}, {"step": 1e999}])
def test_a_checkpoint_that_says_something_else(facts: Any, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for checkpoint in (run / "checkpoints").glob("step-*"):
        (checkpoint / "manifest.json").write_bytes(checkpoints.signed({"facts": facts, "files": {}}))
    assert "damaged" in refused(capsys, "inspect", run)


@pytest.mark.parametrize(
    "change",
    [{"labels": [99]}, {"labels": [-2]}, {"labels": ["a"]}, {"test": [1]}, {"widths": [0]}, {"digests": [1]}],
)
def test_a_listing_that_says_something_else(
    change: dict[str, list[Any]], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = parquet.read_table(run / "manifest.parquet")
    for name, (value,) in change.items():
        column = pyarrow.array([value] * len(table))
        table = table.set_column(table.column_names.index(name), name, column)
    told = {key: value for key, value in table.schema.metadata.items() if key != b"sha256"}
    parquet.write_table(table.replace_schema_metadata(told), run / "manifest.parquet")
    assert "not a manifest" in refused(capsys, "evaluate", run)


@pytest.mark.parametrize(
    "change",
    [{"offset": "0"}, {"length": None}, {"digest": 5}, {"shard": 1.5}, {"width": "x"}, {"name": 7}, {"format": None}],
)
def test_a_pack_that_says_something_else(
    change: dict[str, Any], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selfsight.pack(photos, tmp_path / "packed")
    file = tmp_path / "packed" / "packed.parquet"
    (file.with_name("digests.json")).unlink()
    table = parquet.read_table(file)
    for name, value in change.items():
        table = table.set_column(table.column_names.index(name), name, pyarrow.array([value] * len(table)))
    parquet.write_table(table, file)
    assert "not what was packed" in refused(capsys, "inspect", tmp_path / "packed")


def test_what_libraries_say_is_one_line(
    run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("method: simclr\n  size: {a: {b: \n- 3")
    (tmp_path / "long.yaml").write_text(f"encoder: {'x' * 5000}\n")
    (run / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"step": \xff}\n')
    for name in ("config.yaml", "long.yaml"):
        said = refused(capsys, "train", photos, "--config", tmp_path / name, "--out", tmp_path / "new")
        assert (len(said.splitlines()), len(said) < 2000) == (1, True)
    with pytest.raises(RunError, match=r"metrics\.jsonl.* cannot be read"):
        selfsight.api.Run(run).metrics  # noqa: B018


def test_a_checkpoints_manifest_cannot_nest_without_end(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for checkpoint in (run / "checkpoints").glob("step-*"):
        (checkpoint / "manifest.json").write_bytes(DEEP)
    assert "its manifest cannot be read" in refused(capsys, "inspect", run)


def test_an_encoders_arguments_reach_no_file(run: Path, tmp_path: Path) -> None:
    """timm would read `checkpoint_path`, and write to `cache_dir`."""
    config = json.loads((run / "encoder" / "config.json").read_bytes())
    config["model_args"] |= {"checkpoint_path": str(tmp_path / "evil.pth"), "cache_dir": str(tmp_path / "cache")}
    (run / "encoder" / "config.json").write_text(json.dumps(config))
    (run / "encoder" / "digests.json").unlink()
    bare(tmp_path / "evil.pth", Runs(tmp_path / "ran"))
    families.load(run / "encoder")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "name", ["local-dir:/tmp", "hf-hub:somebody/something", "../../x", "os.system", "resnet18.a1_in1k\n"]
)
def test_an_architecture_is_a_name_of_the_registry(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((run / "encoder" / "config.json").read_bytes())
    (run / "encoder" / "config.json").write_text(json.dumps(config | {"architecture": name}))
    (run / "encoder" / "digests.json").unlink()
    refused(capsys, "evaluate", run)


@pytest.mark.parametrize("content", [b"PAR1" + b"\xff" * 64 + b"PAR1", b"", b"PAR1", b"\0" * 4096])
def test_tables_that_are_none(
    content: bytes, run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "manifest.parquet").write_bytes(content)
    refused(capsys, "evaluate", run)
    (tmp_path / "table.parquet").write_bytes(content)
    refused(capsys, "train", tmp_path / "table.parquet", "--out", tmp_path / "new")
    (tmp_path / "table.csv").write_bytes(content)
    refused(capsys, "train", tmp_path / "table.csv", "--out", tmp_path / "new")


LONG = "x" * (1 << 20)
STORED_ONCE = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 500, pyarrow.int32()), [LONG])
PREFIXED = {"use_dictionary": False, "column_encoding": {"path": "DELTA_BYTE_ARRAY"}}


@pytest.mark.parametrize(
    ("column", "how"),
    [(["x" * (48 << 20)], {}), (STORED_ONCE, {}), (STORED_ONCE, {"store_schema": False}), ([LONG] * 100, PREFIXED),
     (pyarrow.array([None] * 900, pyarrow.binary(1 << 20)), {})],
    ids=["long", "in every row", "in every row, as text", "the one before, again", "empty"],
)  # fmt: skip
def test_a_small_table_stays_small(
    column: Any, how: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, pool = tmp_path / "table.parquet", pyarrow.default_memory_pool()
    parquet.write_table(pyarrow.table({"path": column}), file, compression="zstd", **how)
    assert file.stat().st_size < 20_000
    own = pyarrow.proxy_memory_pool(pool)
    pyarrow.set_memory_pool(own)
    try:
        assert "would take more than" in refused(capsys, "inspect", file)
    finally:
        pyarrow.set_memory_pool(pool)
    assert own.max_memory() < 3 * tables.LEAST


def test_a_table_of_pages_of_all_kinds_is_read_as_it_was(tmp_path: Path) -> None:
    """Long and short pages, with and without a dictionary, nulls, and numbers."""
    texts = [f"{row % 7}" * (row % 50) if row % 3 else None for row in range(20_000)]
    table = pyarrow.table({
        "text": texts, "category": pyarrow.array(texts).dictionary_encode(), "number": range(20_000),
        "list": [[row, None] for row in range(20_000)],
    })  # fmt: skip
    ways: list[dict[str, Any]] = [
        {}, {"compression": "zstd", "data_page_version": "2.0", "row_group_size": 3000}, {"use_dictionary": False},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}, "write_page_checksum": True},
        {"dictionary_pagesize_limit": 100, "data_page_size": 1000, "write_page_index": True},
    ]  # fmt: skip
    for way in ways:
        for rows in (table, table[:0]):
            parquet.write_table(rows, tmp_path / "table.parquet", **way)
            assert tables.parquet_table((tmp_path / "table.parquet").read_bytes()).to_pydict() == rows.to_pydict()


@pytest.mark.parametrize("harm", [b"\xff", b"\x00", b"\x15", b"\x1c"])
def test_pages_without_a_header_are_refused(harm: bytes, tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"path": ["a.png"] * 500}), tmp_path / "table.parquet")
    content = (tmp_path / "table.parquet").read_bytes()
    with pytest.raises(ValueError, match=r"a page has no|would take more"):
        tables.parquet_table(content[:4] + harm * 40 + content[44:])


def test_a_table_names_no_device_and_no_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    lines = ["path", "/dev/zero", "/dev/stdin", "pipe.png", "/proc/self/mem", "file:///etc/passwd", "/etc/passwd"]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    refused(capsys, "train", tmp_path / "table.csv", "--out", tmp_path / "new")


def test_a_column_whose_facts_contradict_each_other_ends_no_process(tmp_path: Path) -> None:
    """It is said to hold numbers, and how long its texts are: asked for its facts, pyarrow would abort."""
    table = pyarrow.table({"path": pyarrow.array([b"a.png"] * 500, pyarrow.binary())})
    parquet.write_table(table, tmp_path / "table.parquet")
    content = (tmp_path / "table.parquet").read_bytes()
    start = content.index(b"\x15\x0c", len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
    with pytest.raises(OSError, match="does not support FLOAT"):
        tables.parquet_table(content[: start + 1] + b"\x08" + content[start + 2 :])
