"""Do our readers withstand damaged and hostile files? Valid files are changed at random and read.

    python benchmarks/fuzz.py --minutes 20 [--only READER ...] [--json FILE] [--table]
    python benchmarks/fuzz.py --case READER:SEED          read one again, with its traceback

Allowed is that a file is accepted, or refused by one of our own errors in a sentence. Findings are: another exception,
a process that ends, more than SECONDS of the processor, more than MEMORY above what it had. A case follows from its
reader and its number, so a start after a stop goes on with the next; findings that are gone count as mended.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import machine
from mutations import Mutate, in_bytes, in_json, in_safetensors, in_text

RESULTS = Path(__file__).with_name("results") / "fuzz.json"
HOME = Path(tempfile.gettempdir()) / "selfsight-fuzz"
SECONDS, MEMORY = 5.0, 200  # of the processor, for a file; MiB
PATIENCE, START = 90.0, 600.0  # seconds by the clock: for a file, and to make the corpus
ROUND = 20  # cases of a reader before the next reader's turn
LONGEST = 2000  # letters of a refusal
TINY = {"method": "simclr", "encoder": "test_resnet", "size": 32, "batch": 8, "length": "1steps", "threads": 1}
FORMATS = {
    "png": {},
    "jpeg": {},
    "webp": {},
    "avif": {},
    "gif": {},
    "bmp": {},
    "ppm": {},
    "tiff": {"compression": "tiff_deflate"},
}


class Reader(NamedTuple):
    """Files that are changed, how, and what reads them."""

    files: list[Path]
    mutate: Mutate
    read: Callable[[Path], object]


def begun() -> dict[str, Reader]:
    """The readers of a corpus made anew, always in the same place: paths are in some of its files."""
    from selfsight.embedding import store

    fresh(HOME)
    store.PAUSE = 0.0  # for who changes them meanwhile: nobody does
    return readers(HOME)


def fresh(home: Path) -> None:
    """An empty folder, filled."""
    warnings.simplefilter("ignore")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    os.environ["SELFSIGHT_CACHE"] = str(home / "cache")
    corpus(home)


def corpus(home: Path) -> None:
    """A run with everything that commands write, and files as people bring them."""
    import numpy as np
    from PIL import Image

    import selfsight

    draw = np.random.default_rng(0)
    for number in range(16):
        folder = home / "photos" / ("a" if number % 2 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (home / "pictures").mkdir()
    smooth = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8)
    for name, options in FORMATS.items():
        image = Image.fromarray(np.stack([smooth * 2, smooth * 3, 255 - smooth], axis=-1))
        exif = {"exif": Image.Exif().tobytes()} if name in ("jpeg", "png", "webp") else {}
        image.save(home / "pictures" / f"a.{name}", **options, **exif)
    Image.fromarray(smooth.astype(np.uint16) * 200).save(home / "pictures" / "deep.png")
    Image.fromarray(np.stack([smooth] * 4, axis=-1)).quantize(9).save(home / "pictures" / "palette.gif")
    Image.fromarray(smooth.astype(np.float32)).save(home / "pictures" / "float.tiff")
    Image.fromarray(smooth % 3).save(home / "mask.png")
    words = "Words of a document, one after the other; and a few more of them.\n" * 3
    (home / "text.txt").write_text(words, "utf-8")
    (home / "requests").mkdir()
    for number, raw in enumerate(requests((home / "pictures" / "a.png").read_bytes())):
        (home / "requests" / f"{number}.http").write_bytes(raw)
    run = selfsight.train(home / "photos", **TINY, out=home / "run", quiet=True)
    run.classify(home / "photos", out=home / "classes.csv")
    run.embed(home / "photos", out=home / "index")
    selfsight.pack(str(home / "photos"), home / "packed")
    names = sorted(str(path.relative_to(home)) for path in (home / "photos").rglob("*.png"))
    (home / "list.txt").write_text("\n".join(names))
    rows = [f"{name},{name[7]},{number // 2},{'test' if number % 3 else 'train'}" for number, name in enumerate(names)]
    (home / "table.csv").write_text("\n".join(["path,label,group,split", *rows]))
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"path": names, "label": [name[7] for name in names]}), home / "table.parquet")


def requests(picture: bytes) -> list[bytes]:
    """What a browser, or a program, would send to `browse`."""
    given = b'{"ids": [0, 3], "label": "a"}'
    kind = b"content-type: application/json\r\n"
    return [
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncookie: selfsight=abc; a=b\r\n\r\n",
        b"GET /api/pictures/1/neighbours?k=3&side=0 HTTP/1.1\r\nhost: localhost:80\r\nconnection: close\r\n\r\n",
        b"GET /data/points-0-pca HTTP/1.1\r\nhost: [::1]\r\nconnection: close\r\norigin: http://localhost\r\n\r\n",
        b"POST /api/labels HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n%scontent-length: %d\r\n\r\n%s"
        % (kind, len(given), given),
        b"POST /api/encode?k=2 HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
        % (len(picture), picture),
    ]


def serving(index: Path) -> int:
    """The port of a server of the index, in a thread that never ends."""
    import threading

    import uvicorn

    from selfsight.browsing.collection import gather
    from selfsight.browsing.encoding import Encoders
    from selfsight.browsing.labels import Labels
    from selfsight.browsing.payloads import Payloads
    from selfsight.browsing.run import bound, config
    from selfsight.browsing.server import Server
    from selfsight.searching.index import Index

    collection, listening = gather([Index.open(index)]), bound("127.0.0.1", 0)
    app = Server(Payloads(collection, Labels(collection, index / "given.csv")), Encoders(collection)).app()
    engine = uvicorn.Server(config(app))
    threading.Thread(target=engine.run, kwargs={"sockets": [listening]}, daemon=True).start()
    return int(listening.getsockname()[1])


def server(index: Path) -> Callable[[Path], None]:
    """Sends a file's bytes to a server of the index: any answer is right that is no fault and gives nothing away."""
    port, secrets = serving(index), (str(index).encode(), b"Traceback", b"root:", b"site-packages")

    def send(file: Path) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as line, suppress(ConnectionError):
            line.sendall(file.read_bytes())
            line.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: line.recv(65536), b""))
            assert not answer.startswith(b"HTTP/1.1 5"), answer[:200]
            assert not any(secret in answer for secret in secrets), answer[:200]

    return send


def readers(home: Path) -> dict[str, Reader]:
    """What is read, by name."""
    from pyarrow import parquet

    from selfsight import checkpoints, report
    from selfsight.browsing.collection import gather
    from selfsight.browsing.labels import Labels
    from selfsight.data import source
    from selfsight.data.decode import decode, probe
    from selfsight.data.decode.masks import numbers
    from selfsight.data.manifest import Manifest, scan
    from selfsight.data.pictures import pictures_of
    from selfsight.data.text import decode as document
    from selfsight.embedding import store
    from selfsight.errors import SelfsightError
    from selfsight.evaluation import classifier
    from selfsight.nn import families
    from selfsight.nn.encoder import Encoder
    from selfsight.nn.weights import weights_from
    from selfsight.recipe import Recipe
    from selfsight.runs import RunFolder
    from selfsight.searching.index import Index
    from selfsight.searching.narrow import Narrow
    from selfsight.training.request import Request, configured

    run, index, packed = home / "run", home / "index", home / "packed"
    for folder in (
        run / "encoder",
        run / "classifier",
        packed,
    ):  # else a digest would refuse all: a stranger's are right
        (folder / "digests.json").unlink()
    listing = parquet.read_table(run / "manifest.parquet")
    told = {name: text for name, text in listing.schema.metadata.items() if name != b"sha256"}
    parquet.write_table(listing.replace_schema_metadata(told), run / "manifest.parquet")
    checked = json.loads((index / "embeddings.json").read_text())
    store._sum, store._hash = (lambda file: checked["array"]), (lambda table: checked["table"])
    checkpoints.is_signed = lambda told, content: True
    newest = checkpoints.latest(run / "checkpoints")
    assert newest is not None
    encoder = Encoder("test_resnet", size=32)
    owner = json.loads((run / "classifier" / "config.json").read_text())["encoder"]

    def picture(file: Path) -> None:
        with suppress(SelfsightError):
            probe(file)
        decode(file)

    def found(file: Path) -> None:
        scan(source.find(file))

    def searched(file: Path) -> None:
        there = Index.open(index)
        there.find(there.vector(0), 3, Narrow())
        assert len(there.names) == len(there.paths) == len(there.labels) == len(there)

    def unpacked(file: Path) -> None:
        manifest = scan(source.find(packed))
        pictures = pictures_of(RunFolder(run).recipe, manifest)
        for row in range(len(manifest)):
            pictures.read(row)

    def told(file: Path) -> None:
        report.write(run)
        assert RunFolder(run).metrics is not None

    return {
        "pictures": Reader(sorted((home / "pictures").iterdir()), in_bytes, picture),
        "masks": Reader([home / "mask.png", home / "pictures" / "palette.gif"], in_bytes, numbers),
        "documents": Reader([home / "text.txt"], in_text, document),
        "recipe": Reader([run / "recipe.yaml"], in_text, Recipe.from_yaml),
        "config": Reader([run / "recipe.yaml"], in_text, lambda file: configured(Request(config=str(file)))),
        "encoder, JSON": Reader(
            [run / "encoder" / "config.json", run / "encoder" / "preprocess.json"],
            in_json,
            lambda file: families.load(file.parent),
        ),
        "encoder, weights": Reader(
            [run / "encoder" / "model.safetensors"], in_safetensors, lambda file: families.load(file.parent)
        ),
        "--weights": Reader(
            [run / "encoder" / "model.safetensors"], in_safetensors, lambda file: weights_from(encoder, file)
        ),
        "classifier, JSON": Reader(
            [run / "classifier" / "config.json"], in_json, lambda file: classifier.kept(file.parent, owner)
        ),
        "classifier, weights": Reader(
            [run / "classifier" / "model.safetensors"], in_safetensors, lambda file: classifier.kept(file.parent, owner)
        ),
        "checkpoint": Reader([newest / "manifest.json"], in_json, lambda file: checkpoints.read(newest)),
        "manifest": Reader([run / "manifest.parquet"], in_bytes, Manifest.load),
        "embeddings, array": Reader([index / "embeddings.npy"], in_bytes, searched),
        "embeddings, table": Reader([index / "embeddings.parquet"], in_bytes, searched),
        "embeddings, JSON": Reader([index / "embeddings.json"], in_json, searched),
        "packed, table": Reader([packed / "packed.parquet"], in_bytes, unpacked),
        "packed, shard": Reader([packed / "shard-000000.tar"], in_bytes, unpacked),
        "table": Reader([home / "table.csv"], in_text, found),
        "Parquet table": Reader([home / "table.parquet"], in_bytes, found),
        "list": Reader([home / "list.txt"], in_text, found),
        "labels.csv": Reader([home / "table.csv"], in_text, lambda file: Labels(gather([Index.open(index)]), file)),
        "metrics": Reader([run / "metrics.jsonl"], in_text, told),
        "HTTP": Reader(sorted((home / "requests").iterdir()), in_text, server(index)),
    }


def case(name: str, reader: Reader, seed: int) -> tuple[Path, bytes]:
    """Which file is changed, and to what."""
    draw = random.Random(f"{name}:{seed}")
    file = draw.choice(reader.files)
    return file, reader.mutate(draw, file.read_bytes())


def outcome(name: str, reader: Reader, seed: int) -> dict[str, Any]:
    """What became of a case; a finding has `text`."""
    from selfsight.errors import SelfsightError

    file, content = case(name, reader, seed)
    whole, before, began, text = file.read_bytes(), most(), time.process_time(), None
    try:
        file.write_bytes(content)
        reader.read(file)
        end = "accepted"
    except (SelfsightError, OSError) as error:
        end = "refused"
        if len(str(error)) > LONGEST or len(str(error).strip().splitlines()) > 2:
            text = f"not a sentence: {str(error)[:300]!r}"
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        end, last = "fault", traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {str(error)[:200]!r} at {Path(last.filename).name}:{last.lineno}"
    finally:
        file.write_bytes(whole)
    seconds, grown = time.process_time() - began, (most() - before) >> 10
    if seconds > SECONDS or grown > MEMORY:
        text = text or f"{seconds:.1f} s, {grown} MiB"
    return {"reader": name, "seed": seed, "end": end, "text": text}


def most() -> int:
    """KiB that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def work(seeds: dict[str, int], only: list[str]) -> None:
    """The child: cases of each reader in turn, from a seed on, told as they begin and end; forever."""
    known = begun()
    seeds = {name: seeds.get(name, 0) for name in only or known}
    while True:
        for name in seeds:
            for _ in range(ROUND):
                print(json.dumps({"reader": name, "seed": seeds[name]}), flush=True)
                print(json.dumps(outcome(name, known[name], seeds[name])), flush=True)
                seeds[name] += 1


class Child:
    """The process of `work`, and its lines."""

    def __init__(self, found: dict[str, Any], only: list[str]) -> None:
        seeds = {name: row["next"] for name, row in found.items()}
        command = [sys.executable, __file__, "--seeds", json.dumps(seeds), *(["--only", *only] if only else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.begun = False

    def line(self) -> dict[str, Any] | None:
        """The next; None when it has ended or says nothing."""
        assert self.process.stdout is not None
        ready = select.select([self.process.stdout], [], [], PATIENCE if self.begun else START)[0]
        self.begun = True
        line = self.process.stdout.readline() if ready else b""
        return json.loads(line) if line else None

    def end(self) -> int | None:
        """Its exit code, None where it had not ended."""
        time.sleep(0.1)
        code = self.process.poll()
        self.process.kill()
        self.process.wait()
        return code


def fuzz(found: dict[str, Any], minutes: float, only: list[str], keep: Callable[[], None]) -> None:
    """Go on with each reader where `found` says that it stopped, and add to it."""
    ends, kept = time.monotonic() + 60 * minutes, time.monotonic()
    while time.monotonic() < ends:
        child, now = Child(found, only), None
        while time.monotonic() < ends and (line := child.line()) is not None:
            now = line if "end" not in line else None
            if now is None:
                note(found, line)
            if time.monotonic() > kept + 30:
                keep()
                kept = time.monotonic()
        code = child.end()
        if time.monotonic() < ends:
            if now is None:
                raise SystemExit(f"the process ended with {code} before it read anything")
            what = f"no answer for {PATIENCE:.0f} s" if code is None else f"the process ended with {code}"
            note(found, {**now, "end": "fault", "text": what})
    keep()


def note(found: dict[str, Any], line: dict[str, Any]) -> None:
    """Count a case."""
    own = found.setdefault(line["reader"], {"next": 0, "accepted": 0, "refused": 0, "fault": 0, "findings": {}})
    own["next"] = line["seed"] + 1
    own[line["end"]] += 1
    if line["text"]:
        own["findings"][str(line["seed"])] = line["text"]
        print(f"{line['reader']}:{line['seed']}: {line['text']}", file=sys.stderr, flush=True)


def mend(found: dict[str, Any]) -> None:
    """Read what was a finding again; what is none any more was mended."""
    open_ones = [(name, int(seed)) for name, row in found.items() for seed in row["findings"]]
    known = begun() if open_ones else {}
    for name, seed in open_ones:
        if outcome(name, known[name], seed)["text"] is None:
            del found[name]["findings"][str(seed)]
            found[name]["mended"] = found[name].get("mended", 0) + 1


def promises(found: dict[str, Any]) -> dict[str, str]:
    """What was found says of promises, for docs/reliability.md."""
    read, left = sum(one["next"] for one in found.values()), sum(len(one["findings"]) for one in found.values())
    mended = sum(one.get("mended", 0) for one in found.values())
    told = f"{read:,} spoiled files given to {len(found)} readers: {left} neither accepted nor refused"
    return {"R24": f"{told}, {mended} that once were and are mended"}


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| reader | files | accepted | refused in a sentence | findings left | mended |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        left, mended = len(row["findings"]), row.get("mended", 0)
        lines.append(f"| {name} | {row['next']:,} | {row['accepted']:,} | {row['refused']:,} | {left} | {mended} |")
    return "\n".join(lines)


def main() -> None:
    """Read what was found before, look whether it is mended, go on; exit code 1 when findings are left."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--minutes", type=float, default=0.0, help="how long to go on")
    parser.add_argument("--only", nargs="+", default=[], help="readers; by default all")
    parser.add_argument("--case", metavar="READER:SEED", help="read one again, with its traceback")
    parser.add_argument("--seeds", type=json.loads, help=argparse.SUPPRESS)
    asked = machine.answered(parser)
    if asked.seeds is not None:
        work(asked.seeds, asked.only)
    if asked.case:
        name, _, seed = asked.case.rpartition(":")
        file, content = case(name, reader := begun()[name], int(seed))
        file.write_bytes(content)
        print(file)
        reader.read(file)
        return
    known = json.loads(asked.json.read_text()) if asked.json.exists() else {}
    found, before = known.get("fuzz", {}), known.get("minutes", 0.0)
    if not asked.table:
        mend(found)
        began = time.monotonic()

        def keep() -> None:
            minutes = round(before + (time.monotonic() - began) / 60, 1)
            machine.keep(asked.json, {"promises": promises(found), "minutes": minutes, "fuzz": found})

        fuzz(found, asked.minutes, asked.only, keep)
    print(table(found))
    if any(row["findings"] for row in found.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
