"""Is every file of a dirty folder judged right, by every command alike? (reliability, R15 to R20)

    python benchmarks/dirty.py [--json FILE] [--table]

The folder has 288 entries (tests/battery/make_dirty_images.py): truncated, bombs, odd modes, EXIF, hostile names,
loops, pipes, devices, copies. 263 of them get a verdict; the others must be passed over. Beside them lie good pictures,
since `train` refuses a folder of which more than a tenth is bad. For the opener alone, whose pixels are checked as
well, and for inspect, train, embed, search and browse: files that are judged right, with the right reason; the longest
that one file took; and how much memory the largest decoder had beyond what it began with.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import machine
import numpy as np

BATTERY = Path(__file__).resolve().parents[1] / "tests" / "battery"
RESULTS = Path(__file__).with_name("results") / "dirty.json"
GOOD = 1000  # pictures beside the dirty ones
TINY = {"method": "simclr", "encoder": "test_resnet", "size": 32, "batch": 64, "threads": 1, "precision": "fp32"}
SECONDS, MEMORY = 5.0, 1024  # for a file; MiB
OUTSIDE = "outside_root"  # of a folder: what is handed over by itself has none
Entry = dict[str, Any]
Outcomes = dict[str, dict[str, Any]]  # of each file: status, reason, problem


def made(home: Path) -> Path:
    """The folder, in `home`."""
    from PIL import Image

    folder = home / "dirty"
    command = [sys.executable, str(BATTERY / "make_dirty_images.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "beside").mkdir()
    for number, one in enumerate(np.random.default_rng(0).integers(0, 256, (GOOD, 32, 32, 3), np.uint8)):
        Image.fromarray(one).save(folder / "beside" / f"{number:04d}.png")
    return folder


def judged(folder: Path) -> list[Entry]:
    """Those of its entries that get a verdict."""
    entries = json.loads(Path(f"{folder}.manifest.json").read_text())["entries"]
    for entry in entries:
        entry["file"] = os.path.join(folder, os.fsdecode(base64.b64decode(entry["path_b64"])))
    passed_over = [one for one in entries if os.geteuid() == 0 and one["reason"] == "unreadable"]  # not for root
    return [one for one in entries if one["expect"] not in ("ignore", "alias") and one not in passed_over]


def told(accepted: Iterable[str], refused: Mapping[str, str]) -> Outcomes:
    """Outcomes, from the files that a command took and those that it named as bad."""
    found: Outcomes = {path: {"status": "decoded"} for path in accepted}
    return found | {path: {"status": "raised", "reason": reason} for path, reason in refused.items()}


def one_by_one(entries: list[Entry], work: Callable[[str], np.ndarray | None]) -> Outcomes:
    """Outcomes of opening each file for itself, its pixels checked where there are some."""
    from probe_dirty import run_check

    from selfsight.errors import ImageError

    found: Outcomes = {}
    for entry in entries:
        began, outcome = time.perf_counter(), {"status": "decoded"}
        try:
            array = work(entry["file"])
            if array is not None and entry["size"] and [*array.shape[1::-1]] != entry["size"]:
                outcome["problem"] = f"size {array.shape}"
            elif array is not None and entry["check"]:
                outcome["problem"] = run_check(array, entry["check"])
        except ImageError as error:
            outcome = {"status": "raised", "reason": error.reason}
        found[entry["file"]] = {**outcome, "alone": True, "seconds": time.perf_counter() - began}
    return found


def wrong(entries: list[Entry], outcomes: Outcomes) -> list[str]:
    """The files that are not judged as they must be, and how they were."""
    from probe_dirty import verdict

    found = []
    for entry in entries:
        outcome = outcomes.get(entry["file"], {"status": "passed over"})
        said = verdict(entry, outcome)
        named = outcome.get("reason") == entry["reason"] or (entry["reason"] == OUTSIDE and "alone" in outcome)
        if said == "pass" and entry["expect"] == "reject" and not named:
            said = f"{outcome.get('reason', 'passed over')}, not {entry['reason']}"
        if said != "pass":
            found.append(f"{entry['path']}: {said} {outcome.get('problem') or ''}".strip())
    return found


def opener(folder: Path, home: Path, entries: list[Entry]) -> Outcomes:
    """What all commands open pictures by."""
    from selfsight.data.decode import decode, displayed

    return one_by_one(entries, lambda file: displayed(decode(file)))


def inspected(folder: Path, home: Path, entries: list[Entry]) -> Outcomes:
    """`selfsight inspect`."""
    import selfsight
    from selfsight.data import source

    found = selfsight.inspect(folder)
    return told(source.find(folder).paths, {bad.path: bad.reason for bad in found.bad})


def trained(folder: Path, home: Path, entries: list[Entry]) -> Outcomes:
    """`selfsight train`, long enough to see every picture."""
    import selfsight
    from selfsight.data.manifest import Manifest

    run = selfsight.train(folder, **TINY, length="1epochs", use_all=True, out=home / "run", quiet=True)
    return told(Manifest.load(run.folder / "manifest.parquet").paths, listed(run.folder))


def embedded(folder: Path, home: Path, entries: list[Entry]) -> Outcomes:
    """`selfsight embed`."""
    import selfsight
    from selfsight.searching.index import Index

    selfsight.embed(home / "run", folder, out=home / "index")
    return told(Index.open(home / "index").paths, listed(home / "index"))


def listed(folder: Path) -> dict[str, str]:
    """What bad_files.csv names: the reason by path; what is not UTF-8 in a name is escaped there."""
    with open(folder / "bad_files.csv", newline="", encoding="utf-8") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


def searched(folder: Path, home: Path, entries: list[Entry]) -> Outcomes:
    """`selfsight search`, each file as the query."""
    from selfsight.searching.index import Index

    index = Index.open(home / "index")

    def work(file: str) -> None:
        index.embed(file)

    return one_by_one(entries, work)


def browsed(folder: Path, home: Path, entries: list[Entry]) -> Outcomes:
    """`selfsight browse`: pictures of the index by their number, and files that are sent."""
    from starlette.testclient import TestClient

    from selfsight.browsing.collection import gather
    from selfsight.browsing.encoding import Encoders
    from selfsight.browsing.labels import Labels
    from selfsight.browsing.payloads import Payloads
    from selfsight.browsing.pictures import missing
    from selfsight.browsing.server import Server
    from selfsight.errors import ImageError
    from selfsight.searching.index import Index

    collection = gather([Index.open(home / "index")])
    server = Server(Payloads(collection, Labels(collection, home / "labels.csv")), Encoders(collection))
    number, blank = {path: place for place, path in enumerate(collection.paths)}, missing()

    def work(file: str) -> None:
        if not os.path.isfile(file) or os.path.getsize(file) > 32 << 20:
            raise ImageError(file, reasons[file])  # cannot be sent
        with open(file, "rb") as sent:
            answer = client.post("/api/encode", content=sent.read())
        assert answer.status_code in (200, 415), (file, answer.text)
        if answer.status_code == 415:
            raise ImageError(file, answer.json()["error"].rpartition(": ")[2].rstrip("."))
        assert file not in number or client.get(f"/thumbnails/{number[file]}").content != blank, file

    reasons = {entry["file"]: entry["reason"] for entry in entries}
    with TestClient(server.app(), base_url="http://127.0.0.1") as client:
        return one_by_one(entries, work)


PARTS = {"opener": opener, "inspect": inspected, "train": trained, "embed": embedded, "search": searched}
PARTS["browse"] = browsed


def decoders(figure: str) -> list[int]:
    """A figure of each decoder that waits, in MiB: VmRSS, what it has, or VmHWM, what it had at most."""
    from selfsight.data.decode import contained

    told = (Path(f"/proc/{child._process.pid}/status").read_text() for child in contained._free)
    return [int(text.partition(f"{figure}:")[2].split()[0]) >> 10 for text in told]


def measured(home: Path) -> dict[str, Any]:
    """Each part's figures."""
    folder = made(home)
    entries = judged(folder)
    found: dict[str, Any] = {}
    opener(folder, home, [one for one in entries if one["group"] == "good"][:1])
    (begun,) = decoders("VmRSS")
    for name, part in PARTS.items():
        began = time.perf_counter()
        outcomes = part(folder, home, entries)
        faults = wrong(entries, outcomes)
        seconds = [one["seconds"] for one in outcomes.values() if "seconds" in one]
        found[name] = {
            "files": len(entries),
            "right": len(entries) - len(faults),
            "wrong": faults,
            "seconds": round(time.perf_counter() - began, 1),
            "longest": round(max(seconds), 2) if seconds else None,
            "decoder_mib": max(decoders("VmHWM")) - begun,
        }
        print(f"{name}: {found[name]}", file=sys.stderr)
    return found


def table(found: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| command | judged right | longest for a file, s | decoder's memory, MiB | all, s |",
        "|---|---|---|---|---|",
    ]
    for name, row in found.items():
        longest = "" if row["longest"] is None else f"{row['longest']:.2f}"
        right = f"{row['right']} of {row['files']}"
        lines.append(f"| {name} | {right} | {longest} | {row['decoder_mib']} | {row['seconds']} |")
    return "\n".join(lines)


def promises(found: dict[str, Any]) -> dict[str, str]:
    """What was found says of promises, for docs/reliability.md."""
    return {"R16": "; ".join(f"{name}: {one['right']} of {one['files']}" for name, one in found.items())}


def main() -> None:
    """Measure, keep and print; exit code 1 when a file is judged wrong."""
    asked = machine.answered(machine.asks(__doc__, RESULTS))
    if asked.table:
        print(table(json.loads(asked.json.read_text())["dirty"]))
        return
    sys.path.insert(0, str(BATTERY))
    with tempfile.TemporaryDirectory(prefix="dirty_") as home:
        os.environ["SELFSIGHT_CACHE"] = f"{home}/cache"
        found = measured(Path(home))
    machine.keep(asked.json, {"promises": promises(found), "dirty": found})
    print(table(found))
    sys.exit(any(one["right"] < one["files"] for one in found.values()))


if __name__ == "__main__":
    main()
