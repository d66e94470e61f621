"""Are files of strangers refused at once, and in little memory? (reliability, R21)

    python benchmarks/hostile.py [--json FILE] [--table] [--only KIND ...]

Each file is given to a command in a process of its own, which must refuse it with exit code 2, in less than SECONDS of
the processor beyond what importing the same modules takes, and with less than MEMORY beyond what it has
with a harmless file. Of TRIES the quickest counts. Nothing may be left where a payload would run.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import fuzz
import machine

RESULTS = Path(__file__).with_name("results") / "hostile.json"
SECONDS, MEMORY = 2.0, 200  # MiB
TRIES = 2
VAST = 1 << 30  # bytes that a file with a hole says it has
RUN = "import sys; from selfsight import cli; code = cli.main(sys.argv[2:]); "
RUN += "open(sys.argv[1], 'w').write('\\n'.join(sys.modules)); sys.exit(code)"
START = "import contextlib, importlib, sys\nfor name in open(sys.argv[1]).read().split('\\n'):\n"
START += "    with contextlib.suppress(Exception): importlib.import_module(name)"
TINY = ["--size", "32", "--batch", "8", "--for", "1steps", "--threads", "1", "--device", "cpu", "--quiet"]
PRECISION = ["--precision", "fp32"]
DEEP = b"[" * 1_000_000
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


class Kind(NamedTuple):
    """A command, what it is given, and how that is made hostile: by name, a function of the place."""

    place: str  # in the corpus
    words: Callable[[Path], list[Any]]
    ways: dict[str, Callable[[Path], None]]
    beside: str = ""  # what a process imports that the command starts


class Payload:
    """Leaves a file where it is unpickled."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


def corpus(home: Path) -> None:
    """A run, an index, tables, and a run with a tokenizer."""
    import torch
    from safetensors.torch import load_file

    import selfsight

    os.environ["SELFSIGHT_CACHE"] = str(home / "cache")
    fuzz.corpus(home)
    tiny = {**fuzz.TINY, "method": "beit", "encoder": "test_vit", "precision": "fp32"}
    selfsight.train(home / "photos", **tiny, out=home / "beit", quiet=True)
    selfsight.export(home / "run", out=home / "export")
    (home / "config.yaml").write_text("method: simclr\n")
    torch.save(load_file(home / "export" / "model.safetensors"), home / "weights.pth")


def vast(file: Path) -> None:
    """A hole of VAST bytes behind what is there."""
    os.truncate(file, VAST)


def long_json(file: Path) -> None:
    """64 MB of entries."""
    file.write_bytes(b'{"a": [' + b"[]," * (64_000_000 // 3) + b"[]]}")


def claims(file: Path) -> None:
    """A safetensors header that is longer than any file."""
    file.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")


def long_header(file: Path) -> None:
    """A safetensors header of 90 MB, all of it names."""
    names = b",".join(b'"%07d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % n for n in range(1_500_000))
    file.write_bytes(struct.pack("<Q", len(names) + 2) + b"{" + names + b"}")


def many_rows(file: Path) -> None:
    """A Parquet table of 2 ** 27 rows in a few KiB."""
    import pyarrow
    from pyarrow import parquet

    row = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * (1 << 20), pyarrow.int32()), ["a.png"])
    with parquet.ParquetWriter(file, pyarrow.schema([("path", row.type)])) as writer:
        for _ in range(128):
            writer.write_table(pyarrow.table({"path": row}))


def long_texts(file: Path) -> None:
    """A Parquet table with three texts of 256 MB in some KiB."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"path": ["x" * (1 << 28)] * 3}), file, compression="zstd", use_dictionary=False)


def everywhere(file: Path) -> None:
    """A Parquet table with one text of 30 MB in 900 rows, stored once."""
    import pyarrow
    from pyarrow import parquet

    row = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 900, pyarrow.int32()), ["x" * 30_000_000])
    parquet.write_table(pyarrow.table({"path": row}), file, compression="zstd", store_schema=False)


def pickled(file: Path) -> None:
    """It runs where it is unpickled."""
    import torch

    torch.save({"conv1.weight": Payload(str(file.with_name("ran")))}, file)


def endless(file: Path) -> None:
    """A terabyte of zeros with stride 0."""
    import torch

    torch.save({"a": torch.zeros(1).expand(1 << 38)}, file)


def bomb(file: Path) -> None:
    """A zip whose pickle is a text of 1 GB."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data.pkl", "w", force_zip64=True) as member:
            member.write(b"\x80\x04\x8d" + struct.pack("<Q", VAST))
            for _ in range(VAST >> 24):
                member.write(bytes(1 << 24))
        archive.writestr("archive/version", "3\n")


def nested(file: Path, deep: int = 1_000_000) -> None:
    """A pickle of lists in lists."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"]" * deep + b"a" * (deep - 1) + b".")
        archive.writestr("archive/version", "3\n")


def old(file: Path) -> None:
    """As long as it may be, in the format of PyTorch 1.5."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    file.write_bytes(b"".join(pickle.dumps(one, 2) for one in head) + b"\x80\x02(" + b"N" * 1_048_000 + b"l.\x80\x02N.")


def within(name: str, way: Callable[[Path], None], *, sealed: bool = False) -> Callable[[Path], None]:
    """The way, for every file of a folder by this pattern; without the folder's digests, unless they stay."""

    def spoil(place: Path) -> None:
        for file in sorted(place.glob(name)):
            way(file)
            if not sealed:
                file.with_name("digests.json").unlink(missing_ok=True)

    return spoil


def deep(file: Path) -> None:
    """Lists in lists, a million deep."""
    file.write_bytes(DEEP)


def kinds(home: Path) -> dict[str, Kind]:
    """What is tried."""
    photos, out = home / "photos", home / "out"
    checkpoint, config = "checkpoints/step-*/", ["train", photos, *TINY, "--out", out]
    weights = [*config, *PRECISION, "--encoder", "test_resnet", "--weights"]

    def many_keys(file: Path) -> None:
        file.write_text("".join(f"a{n}: [1, {{b: 2}}]\n" for n in range(500_000)))

    states = {"manifest nests": ("manifest.json", deep), "long manifest": ("manifest.json", long_json)}
    states |= {"vast": ("method.safetensors", vast)}
    encoders = {"nests": ("config.json", deep), "long": ("config.json", long_json)}
    encoders |= {"vast": ("model.safetensors", vast), "claims": ("model.safetensors", claims)}
    encoders |= {"long header": ("model.safetensors", long_header)}
    indexes = {"nests": ("embeddings.json", deep), "long": ("embeddings.json", long_json)}
    indexes |= {"vast array": ("embeddings.npy", vast), "many rows": ("embeddings.parquet", many_rows)}
    tokens = f"stages/*/{checkpoint}"
    return {
        "checkpoint": Kind("run", lambda run: ["inspect", run], {
            name: within(checkpoint + file, way) for name, (file, way) in states.items()
        }),
        "encoder": Kind("run", lambda run: ["embed", run, photos, "--out", out], {
            name: within(f"encoder/{file}", way) for name, (file, way) in encoders.items()
        }),
        "export": Kind("export/model.safetensors", lambda file: [*weights, file], {
            "vast": vast, "claims": claims, "long header": long_header
        }),
        "index": Kind("index", lambda index: ["search", index, "0"], {
            name: within(file, way) for name, (file, way) in indexes.items()
        }),
        "listing": Kind("run", lambda run: ["export", run, "--out", out], {
            "many rows": within("manifest.parquet", many_rows), "vast": within("manifest.parquet", vast)
        }),
        "table": Kind("table.parquet", lambda table: ["inspect", table], {
            "many rows": many_rows, "vast": vast, "long texts": long_texts, "one text everywhere": everywhere
        }),
        "config": Kind("config.yaml", lambda file: [*config, "--config", file], {
            "laughs": lambda file: file.write_text(LAUGHS) and None, "nests": deep, "many keys": many_keys, "vast": vast
        }),
        "tokenizer": Kind("beit", lambda run: ["train", "--resume", run, "--quiet"], {
            name: within(tokens + file, way) for name, (file, way) in states.items()
        }),
        "weights.pth": Kind("weights.pth", lambda file: [*weights, file], {
            "runs": pickled, "stride 0": endless, "bomb": bomb, "vast": vast,
            "nests": nested, "nests half as deep": lambda file: nested(file, 524_000), "old": old
        }, beside="safetensors.torch"),
    }  # fmt: skip


def process(code: str, words: list[Any], said: Path) -> dict[str, Any]:
    """Seconds of the processor, MiB at most (both with its children) and exit code of a fresh process."""
    with open(said, "w") as file:
        most, ended = 0, 0
        child = subprocess.Popen([sys.executable, "-c", code, *map(str, words)], stdout=file, stderr=file)
        while not ended:
            most = max(most, peak(child.pid))
            time.sleep(0.01)
            ended, status, used = os.wait4(child.pid, os.WNOHANG)
        child.returncode = os.waitstatus_to_exitcode(status)
        return {"seconds": used.ru_utime + used.ru_stime, "mib": most >> 10, "code": child.returncode}


def peak(number: int) -> int:
    """KiB that a process and its children had at most, as far as they live; what wait4 tells has its parent's in it."""
    with suppress(OSError, IndexError, ValueError):
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        own = Path(f"/proc/{number}/status").read_text().partition("VmHWM:")[2].split()[0]
        return int(own) + sum(peak(int(one)) for one in children)
    return 0


def quickest(code: str, words: list[Any], said: Path, fresh: Callable[[], None]) -> dict[str, Any]:
    """Of TRIES."""
    tried = []
    for _ in range(TRIES):
        fresh()
        tried.append(process(code, words, said))
    return min(tried, key=lambda one: one["seconds"])


def measured(home: Path, kind: Kind) -> dict[str, Any]:
    """What each way of being hostile costs."""
    copy, modules, said = home / "copy" / Path(kind.place).name, home / "modules", home / "said"

    def fresh(spoil: Callable[[Path], None] = lambda place: None) -> None:
        shutil.rmtree(home / "copy", ignore_errors=True)
        shutil.rmtree(home / "out", ignore_errors=True)
        copy.parent.mkdir()
        (copy.parent / "photos").symlink_to(home / "photos")  # which a table names
        source = home / kind.place
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
        spoil(copy)

    harmless = quickest(RUN, [modules, *kind.words(copy)], said, fresh)
    if harmless["code"]:
        raise SystemExit(f"{kind.place}: the harmless one is refused as well: {said.read_text()[-500:]}")
    start = quickest(START, [modules], said, lambda: None)["seconds"]
    if kind.beside:
        start += quickest(f"import {kind.beside}", [], said, lambda: None)["seconds"]
    found = {}
    for name, spoil in kind.ways.items():
        one = quickest(RUN, [home / "ignored", *kind.words(copy)], said, lambda spoil=spoil: fresh(spoil))
        sentence = said.read_text(errors="replace").strip()
        row = {"seconds": round(one["seconds"] - start, 2), "mib": one["mib"] - harmless["mib"]}
        refused = one["code"] == 2 and "Traceback" not in sentence and not copy.with_name("ran").exists()
        row |= {"refused": refused, "said": sentence[-300:], "code": one["code"]}
        found[name] = row | {"held": refused and row["seconds"] < SECONDS and row["mib"] < MEMORY}
        print(f"{kind.place}: {name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def promises(found: dict[str, Any]) -> dict[str, str]:
    """What was found says of promises, for docs/reliability.md."""
    rows = [row for ways in found.values() for row in ways.values()]
    slowest, most = max(row["seconds"] for row in rows), max(row["mib"] for row in rows)
    held = f"{sum(row['held'] for row in rows)} of {len(rows)} hostile files refused in time and memory"
    bounds = f"{max(slowest, 0):.1f} s beyond its start and {max(most, 0)} MiB beyond a harmless file"
    return {"R21": f"{held}: a command took {bounds} at most"}


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| file | hostile by | refused | s beyond the start | MiB beyond a harmless one |",
        "|---|---|---|---|---|",
    ]
    for kind, ways in found.items():
        for name, row in ways.items():
            refused = "yes" if row["refused"] else "no"
            lines.append(f"| {kind} | {name} | {refused} | {max(row['seconds'], 0):.1f} | {max(row['mib'], 0)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, keep and print; exit code 1 when a file is not refused within the bounds."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--only", nargs="+", default=[], help="kinds; by default all")
    asked = machine.answered(parser)
    found = json.loads(asked.json.read_text())["hostile"] if asked.json.exists() and (asked.table or asked.only) else {}
    if not asked.table:
        with tempfile.TemporaryDirectory(prefix="hostile_") as place:
            corpus(Path(place))
            for name, kind in kinds(Path(place)).items():
                if name in (asked.only or [name]):
                    found[name] = measured(Path(place), kind)
                    machine.keep(asked.json, {"promises": promises(found), "hostile": found})
    print(table(found))
    sys.exit(not all(row["held"] for ways in found.values() for row in ways.values()))


if __name__ == "__main__":
    main()
