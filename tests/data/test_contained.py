"""A picture that ends its decoder costs itself: not the run, not the picture beside it, and no process is left."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import selfsight
from selfsight.data import source
from selfsight.data.decode import contained, decode
from selfsight.data.manifest import scan
from selfsight.data.pictures import Pictures
from selfsight.data.ranges import PixelFormat
from selfsight.errors import ImageError

CRASH, LOOP = "ends its decoder", "never ends"
# What a hole in a decoder would do, for the pictures whose metadata asks for it.
HOLED = f"""
import os
from selfsight.data.decode import raster
sound = raster.pixels
def pixels(kind, data):
    if b"{CRASH}" in data:
        os.kill(os.getpid(), 11)
    while b"{LOOP}" in data:
        pass
    return sound(kind, data)
raster.pixels = pixels
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Each test starts its own decoders, and leaves none that is unlike the others."""
    contained._end()
    yield
    contained._end()


@pytest.fixture
def holed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contained, "START", HOLED + contained.START)


def marked(file: Path, words: str, side: int = 40) -> Path:
    """A sound picture whose metadata says something."""
    said = PngImagePlugin.PngInfo()
    said.add_text("Comment", words)
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(words)).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(file, pnginfo=said)
    return file


def named(folder: Path) -> dict[str, str]:
    with open(folder / "bad_files.csv", newline="", encoding="utf-8") as file:
        return {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}


def pids() -> set[int]:
    return {child._process.pid for child in contained._free}


@pytest.mark.usefixtures("holed")
def test_it_costs_one_file_in_every_command(photos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    bad = marked(folder / "china" / "bad.png", CRASH)
    (found,) = selfsight.inspect(folder).bad
    assert (found.path, found.reason, found.detail) == (
        str(bad), "decoder_failed", "it ended its decoder 2 times (signal 11)",
    )  # fmt: skip
    run = selfsight.train(
        folder, method="simclr", encoder="test_resnet", size=32, batch=8, length="1epochs", threads=1,
        out=tmp_path / "run", use_all=True, quiet=True,
    )  # fmt: skip
    assert named(run.folder) == {"bad.png": "decoder_failed"}
    run.embed(folder, out=tmp_path / "index")
    assert named(tmp_path / "index") == {"bad.png": "decoder_failed"}
    assert len(np.load(tmp_path / "index" / "embeddings.npy")) == 64
    with pytest.raises(ImageError, match="decoder_failed"):
        selfsight.search(tmp_path / "index", str(bad))


@pytest.mark.usefixtures("holed")
def test_an_endless_one_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contained, "SECONDS", 0)
    with pytest.raises(ImageError, match=f"decoder_failed.*signal {int(signal.SIGXCPU)}"):
        decode(marked(tmp_path / "endless.png", LOOP))


def test_one_that_needs_too_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contained, "ROOM", 30 << 20)
    with pytest.raises(ImageError, match=r"too_many_bytes.*more than 30 MiB"):
        decode(marked(tmp_path / "large.png", "large", side=2500))
    assert decode(marked(tmp_path / "small.png", "small")).shape == (40, 40, 3)


def test_a_decoder_that_something_else_killed_costs_nothing(tmp_path: Path) -> None:
    file = marked(tmp_path / "a.png", "sound")
    before = decode(file)
    for child in (killed := pids()):
        os.kill(child, signal.SIGKILL)
    assert np.array_equal(decode(file), before)
    assert killed.isdisjoint(pids())


def test_signals_for_the_group_do_not_end_it(tmp_path: Path) -> None:
    file = marked(tmp_path / "a.png", "sound")
    decode(file)
    for number in contained.ENDING:
        os.kill(*pids(), number)
    before = pids()
    decode(file)
    assert pids() == before


def test_it_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no picture's fault, and none is refused for it."""
    monkeypatch.setattr(contained, "START", "raise SystemExit(5)")
    with pytest.raises(selfsight.errors.MissingError, match="does not start"):
        decode(marked(tmp_path / "a.png", "sound"))


def test_the_second_time_is_in_this_process(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decoded once will not end a process; where its bytes have changed, it is not the same any more."""
    manifest = scan(source.find(photos))
    pictures = Pictures(manifest, PixelFormat())
    first = pictures.read(3)[0]
    monkeypatch.setattr(contained, "pixels", None)
    assert np.array_equal(pictures.read(3)[0], first)
    with pytest.raises(TypeError):
        pictures.read(4)


ALIVE = """
import os, sys, time
from selfsight.data.decode import contained, decode
decode(sys.argv[1])
print(*(child._process.pid for child in contained._free), flush=True)
if sys.argv[2] == "fork" and os.fork() == 0:
    decode(sys.argv[1])
    os._exit(0)
if sys.argv[2] != "end":
    time.sleep(60 if sys.argv[2] == "kill" else 1)
    decode(sys.argv[1])
    assert len(contained._free) == 1
"""


@pytest.mark.parametrize("how", ["end", "kill", "fork"])
def test_none_is_left(tmp_path: Path, how: str) -> None:
    """Whether this process ends by itself, is killed, or was forked in between."""
    file = marked(tmp_path / "a.png", "sound")
    with subprocess.Popen([sys.executable, "-c", ALIVE, str(file), how], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        if how == "kill":
            process.kill()
        assert process.wait(60) == (-signal.SIGKILL if how == "kill" else 0)
    began = time.monotonic()
    while running(child):
        assert time.monotonic() - began < 30
        time.sleep(0.02)


def running(child: int) -> bool:
    """Whether a process has not ended; where nobody collects orphans, one that did stays as a zombie."""
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
