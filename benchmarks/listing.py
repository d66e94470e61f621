"""How long do a million files take to list, to digest and to open again, and does their number slow the loader?

    python benchmarks/listing.py [--files 1000000] [--largest 1000000] [--place FOLDER] [--json FILE]

* listing: `source.find` on a folder of small files in sub-folders of a thousand: path, size and time of each. They were
  written just before, so the system still has their folders in memory
* digests: `manifest.described`, which reads files of 100 kB whole, hashes them and looks at their headers; where the
  system can be asked to, it has dropped their contents before
* opening: `Manifest.load` of a saved manifest with a row for each file
* images/s of the loader (two threads, SimCLR views of 32 px) on synthetic shards of 1k, 10k, ... pictures, in turns,
  and the seconds that it takes to open these shards. Decoded pictures are not kept, so each is read and decoded; shown
  is the median of each round's own ratio to the fewest

What was measured before, of as many files, stays in the result file, so a start after a stop goes on. `--place` is a
folder on the disk to measure, not one in memory, from which nothing is dropped; a million files and pictures need
about 4 GB and as many inodes there.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import machine

RESULTS = Path(__file__).with_name("results") / "listing.json"
SECONDS, MEGABYTES, OPENED, FLAT = 60, 150, 1.0, 0.10  # for a million files; a second; for a million rows; of the speed
EACH, COUNT = 100_000, 5000  # bytes of a file that is digested, and how many there are
BATCH, BATCHES, ROUNDS = 128, 300, 5


def picture(side: int) -> bytes:
    """A JPEG of noise."""
    import numpy as np
    from PIL import Image

    sink = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)).save(sink, "JPEG", quality=60)
    return sink.getvalue()


def took(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came of it."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def listing(place: Path, files: int) -> dict[str, Any]:
    """Seconds to list `files` files."""
    from selfsight.data import source

    folder = place / "listed"
    for number in range(files):
        if number % 1000 == 0:
            inside = folder / f"folder-{number // 1000:04d}"
            inside.mkdir(parents=True)
        (inside / f"{number:07d}.jpg").write_bytes(b"%d" % number)
    seconds, found = took(lambda: source.find(folder))
    assert len(found.rows) == files
    shutil.rmtree(folder)
    return {"files": files, "seconds": round(seconds, 2)}


def digests(place: Path, files: int) -> dict[str, Any]:
    """MB/s of reading, hashing and looking at headers."""
    from selfsight.data import source
    from selfsight.data.manifest import described

    folder, base = place / "digested", picture(64)
    folder.mkdir()
    count = min(COUNT, files)
    for number in range(count):
        (folder / f"{number:07d}.jpg").write_bytes((base + b"%020d" % number).ljust(EACH, b"\0"))
    rows, dropped = source.find(folder), dropping(folder)
    seconds, (seen, _) = took(lambda: described(rows))
    assert len(seen) == count
    shutil.rmtree(folder)
    return {"files": count, "megabytes_per_second": round(count * EACH / seconds / 1e6, 1), "dropped": dropped}


def dropping(folder: Path) -> bool:
    """Write all to the disk and drop it from memory; False where the system cannot be asked to."""
    os.sync()
    for file in folder.iterdir() if hasattr(os, "posix_fadvise") else ():
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return hasattr(os, "posix_fadvise")


def opening(place: Path, files: int) -> dict[str, Any]:
    """Seconds to open a manifest."""
    import numpy as np

    from selfsight.data.manifest import Manifest
    from selfsight.data.shards import content_digest

    names = tuple(f"folder-{number // 1000:04d}/{number:07d}.jpg" for number in range(files))
    none, sides = np.zeros(files, np.int64), np.full(files, 500)
    paths, contents = tuple(f"{place}/{name}" for name in names), tuple(content_digest(name.encode()) for name in names)
    kinds = ("uint8",) * files
    made = Manifest(paths, names, contents, none, np.arange(files), none > 0, sides, sides, none + 3, kinds, ("a",))
    made.save(place / "manifest.parquet")
    seconds, found = took(lambda: Manifest.load(place / "manifest.parquet"))
    assert found.names == names
    return {"rows": files, "seconds": round(seconds, 3)}


def synthetic(place: Path, count: int) -> Path:
    """Shards of `count` small pictures, no two alike."""
    from selfsight.data import pack, source
    from selfsight.data.kinds import KINDS
    from selfsight.data.shards import content_digest

    base = picture(32)
    header = KINDS["pictures"].describe(base)

    def content(number: int) -> bytes:
        return base + b"%020d" % number

    def row(number: int) -> source.Row:
        data = content(number)
        seen = source.Seen(len(data), content_digest(data), header)
        return source.Row(str(number), f"{number:07d}.jpg", seen=seen)

    honest, out = pack._content, place / f"shards-{count}"
    pack._content = lambda kind, one: content(int(one.row.path))
    pack.pack(source.Listing(tuple(map(row, range(count))), ("synthetic",)), out)
    pack._content = honest
    return out


def counts_to(largest: int) -> list[int]:
    """The sizes of the sets of shards."""
    return [count for count in (1000, 10_000, 100_000, 1_000_000) if count <= largest]


def there(found: dict[str, Any], files: int, largest: int) -> set[str]:
    """The parts that were measured of as many as are asked for."""
    counts = {"listing": ("files", files), "digests": ("files", min(COUNT, files)), "opening": ("rows", files)}
    same = {name for name, (what, count) in counts.items() if found.get(name, {}).get(what) == count}
    if "dropped" not in found.get("digests", {}):  # measured before anything was dropped
        same.discard("digests")
    rounds = {count: len(row["rounds"]) for count, row in found.get("speeds", {}).items()}
    return same | ({"speeds"} if rounds == {str(one): ROUNDS for one in counts_to(largest)} else set())


def speeds(place: Path, largest: int) -> dict[str, Any]:
    """Images/s by the number of pictures, and the seconds to open them."""
    from selfsight.data import source
    from selfsight.data.manifest import scan

    manifests, found, counts = {}, {}, counts_to(largest)
    for count in counts:
        folder = synthetic(place, count)
        seconds, manifests[count] = took(lambda folder=folder: scan(source.find(folder), use_all=True))
        found[count] = {"opened": round(seconds, 2), "rounds": list[float]()}
    for turn in range(ROUNDS):
        for count in counts[:: 1 if turn % 2 == 0 else -1]:
            found[count]["rounds"].append(round(loaded(manifests[count], turn), 1))
    return {str(count): {**row, "images_per_second": median(row["rounds"])} for count, row in found.items()}


def loaded(manifest: Any, turn: int) -> float:
    """Images/s of the loader over batches of random pictures."""
    import numpy as np
    import torch

    from selfsight.data.loader import Loader
    from selfsight.data.pictures import Pictures
    from selfsight.data.ranges import PixelFormat
    from selfsight.views.recipes import multi_view

    labels = torch.from_numpy(manifest.labels)
    loader = Loader(
        Pictures(manifest, PixelFormat()), manifest.every_row(), labels, multi_view("simclr", 32), seed=0, workers=2
    )
    order = torch.from_numpy(np.random.default_rng(turn).integers(0, len(manifest), (BATCHES + 4) * BATCH))
    started = 0.0
    for number, _ in enumerate(loader.batches(order, 0, BATCH)):
        if number == 3:
            started = time.perf_counter()
    seconds = time.perf_counter() - started
    loader.close()
    return BATCHES * BATCH / seconds


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    found = results["listing"]
    made = [
        ("listing, files/s", "files", lambda row: row["files"] / row["seconds"], 1e6 / SECONDS, True),
        ("digests, MB/s", "files", lambda row: row["megabytes_per_second"], MEGABYTES, True),
        (
            "opening a manifest, µs a row",
            "rows",
            lambda row: 1e6 * row["seconds"] / row["rows"],
            OPENED,
            False,
        ),
    ]
    lines = ["| what | of | figure | to reach | reached |", "|---|---|---|---|---|"]
    for (what, count, value, target, more), part in zip(made, ("listing", "digests", "opening"), strict=True):
        if row := found.get(part):
            reached = value(row) >= target if more else value(row) <= target
            sign, said = ("at least" if more else "at most"), "yes" if reached else "no"
            lines.append(f"| {what} | {row[count]:,} | {value(row):,.2f} | {sign} {target:,.0f} | {said} |")
    if "digests" in found:
        told = "had been dropped from" if found["digests"].get("dropped") else "were still in"
        lines += ["", f"All files were new: their folders were in the system's memory, their contents {told} it."]
    if rows := found.get("speeds"):
        lines += ["", "| pictures in shards | opened in, s | images/s | against the fewest | within 10 % |"]
        lines += ["|---|---|---|---|---|"]
        base = next(iter(rows.values()))["rounds"]
        for count, row in rows.items():
            ratio = median(own / other for own, other in zip(row["rounds"], base, strict=True))
            flat = "yes" if abs(ratio - 1) <= FLAT else "no"
            lines.append(
                f"| {int(count):,} | {row['opened']:.1f} | {row['images_per_second']:,.0f} | {ratio:.2f} | {flat} |"
            )
    return "\n".join(lines)


def promises(found: dict[str, Any]) -> dict[str, str]:
    """What was found says of promises, for docs/reliability.md."""
    row = found["listing"]
    return {"R18": f"{row['files']:,} files listed in {row['seconds']:.0f} s, none of them opened"}


def main() -> None:
    """Measure what is missing, keep and print."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--files", type=int, default=1_000_000, help="how many to list")
    parser.add_argument("--largest", type=int, default=1_000_000, help="pictures in the largest set of shards")
    parser.add_argument("--place", type=Path, help="a folder on the disk to measure; by default the temporary one")
    asked = machine.answered(parser)
    found = json.loads(asked.json.read_text())["listing"] if asked.json.exists() else {}
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "listing": lambda place: listing(place, asked.files),
        "digests": lambda place: digests(place, asked.files),
        "opening": lambda place: opening(place, asked.files),
        "speeds": lambda place: speeds(place, asked.largest),
    }
    for name, work in parts.items():
        if name not in there(found, asked.files, asked.largest) and not asked.table:
            with tempfile.TemporaryDirectory(prefix="listing_", dir=asked.place) as place:
                os.environ["SELFSIGHT_CACHE"] = f"{place}/cache"
                found[name] = work(Path(place))
            machine.keep(asked.json, {"promises": promises(found), "listing": found})
    print(table({"listing": found}))


if __name__ == "__main__":
    main()
