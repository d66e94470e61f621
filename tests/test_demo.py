"""The demo's pictures are real, licensed, small enough to ship, and take the whole tour."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path

import pytest

from selfsight import demo
from selfsight.data import source
from selfsight.data.manifest import scan


def test_the_pictures_ship_with_their_licences(tmp_path: Path) -> None:
    assert (files(demo) / "pictures.zip").stat().st_size <= 3_000_000  # type: ignore[attr-defined]
    folder = demo.unpack(tmp_path / "pictures")
    assert "CC BY 4.0" in (folder / "PICTURES.md").read_text()
    manifest = scan(source.find(folder))
    assert not manifest.bad
    assert len(manifest) == len((folder / "labels.csv").read_text().splitlines()) - 1 > 1000
    assert min(manifest.widths) >= 32
    assert not set(manifest.groups[manifest.test]) & set(manifest.groups[~manifest.test])


def test_the_tour(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With every fourth pair of the table's pictures, which are all scanned above."""

    def fewer(folder: Path) -> Path:
        table = unpack(folder) / "labels.csv"
        first, *rows = table.read_text().splitlines(keepends=True)
        table.write_text("".join([first, *(row for number, row in enumerate(rows) if number // 2 % 4 == 0)]))
        return folder

    unpack = demo.unpack
    monkeypatch.setattr(demo, "unpack", fewer)
    run = demo.demo(tmp_path / "my demo", length="2steps")
    shown = capsys.readouterr().out
    typed = [shlex.split(line)[2:] for line in shown.splitlines() if line.startswith("$ selfsight ")]
    pictures = tmp_path / "my demo" / "pictures"
    assert typed[1][:6] == ["train", str(pictures), "--out", str(run.folder), "--for", "2steps"]
    assert "4. Turn pictures into vectors" in shown
    assert "simple statistics" in shown
    assert {"inspection", "run", "vectors", "pictures"} <= {path.name for path in (tmp_path / "my demo").iterdir()}
    assert (run.folder / "report.html").exists()
