"""The whole tour on real pictures that come with Selfsight: look, train, evaluate, embed. It needs no network."""

from __future__ import annotations

import zipfile
from importlib.resources import as_file, files
from pathlib import Path

from selfsight import api
from selfsight.api import Run
from selfsight.errors import typed

__all__ = ["demo", "unpack"]

LENGTH = "5m"
VIEWS, SIZE = "simclr-keep-colour", 64  # colour stays, since it tells emoji apart


def demo(out: Path | None = None, length: str | None = None) -> Run:
    """Take the whole tour: inspect, train, evaluate and embed real pictures that come with Selfsight, offline.

    Everything goes into one folder; the same command again goes on where the first one stopped.
    """
    from selfsight.report import tables

    folder = Path(out or "selfsight-demo")
    pictures = unpack(folder / "pictures")
    run, vectors, length = folder / "run", folder / "vectors", length or LENGTH
    flags = ("--out", run, "--for", length, "--size", SIZE, "--views", VIEWS)
    steps = [
        ("1. Look at the pictures", typed("inspect", pictures)),
        ("2. Train an encoder without using a label", typed("train", pictures, *flags)),
        ("3. Measure it beside plain baselines, on held-out pictures", typed("evaluate", run)),
        ("4. Turn pictures into vectors", typed("embed", run, pictures, "--out", vectors)),
    ]
    tables.heading(*steps[0])
    tables.show("inspect", api.inspect(pictures, out=folder / "inspection"))
    tables.heading(*steps[1])
    trained = api.train(pictures, out=run, length=length, views=VIEWS, size=SIZE)
    tables.heading(*steps[2])
    tables.show("evaluate", trained.evaluate())
    tables.heading(*steps[3])
    tables.show("embed", trained.embed(pictures, out=vectors))
    return trained


def unpack(folder: Path) -> Path:
    """The demo's pictures, written into `folder` once; PICTURES.md there says whose they are."""
    whose = folder / "PICTURES.md"
    if not whose.exists():
        with as_file(files(__name__) / "pictures.zip") as archive, zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        whose.write_text((files(__name__) / "PICTURES.md").read_text(encoding="utf-8"), encoding="utf-8")
    return folder
