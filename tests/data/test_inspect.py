"""What `inspect` finds: copies, leaks, conflicts, bits in use, and what it says about them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from selfsight.data.inspect import inspect_data
from selfsight.data.manifest import scan
from selfsight.data.source import find


def test_findings(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lines = ["path,label,split"]
    for i in range(6):
        Image.fromarray(generator.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "half.jpg").write_bytes(b"")
    Image.fromarray(generator.integers(0, 256, (30, 30, 3)).astype(np.uint8)).save(tmp_path / "big.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "big.jpg").read_bytes()[:-300])
    Image.new("RGB", (9, 9)).save(tmp_path / "black.png")
    lines += [f"{i}.png,{'ab'[i % 2]},train" for i in range(6)]
    lines += ["copy.png,b,test", "half.jpg,a,train", "cut.jpg,a,train", "black.png,rare,train", "big.jpg,,test"]
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    listing = find(tmp_path)
    found = inspect_data(scan(listing), listing)
    assert (found.pictures, found.train, found.test) == (9, 7, 2)
    assert [(Path(bad.path).name, bad.reason) for bad in found.bad] == [("half.jpg", "empty"), ("cut.jpg", "truncated")]
    assert found.duplicates == (("0.png", "copy.png"),)
    assert (found.across_split, found.conflicting) == (1, 1)
    assert found.constant == ("black.png",)
    assert found.bits == 8
    assert found.classes == {"a": 3, "b": 4, "rare": 1}
    assert (found.unlabelled, found.widths) == (1, (8, 8, 30))
    said = " ".join(found.suggestions)
    for words in ("lie in train and in test", "carry two labels", "'rare'", "of one colour", "More than a tenth"):
        assert words in said
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["bad_reasons"] == {"empty": 1, "truncated": 1}
    assert plain["duplicates_count"] == 1


def test_a_folder_of_which_nothing_can_be_decoded_is_told(tmp_path: Path) -> None:
    Image.effect_noise((30, 30), 50).save(tmp_path / "big.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "big.jpg").read_bytes()[:-300])
    (tmp_path / "big.jpg").unlink()
    listing = find(tmp_path)
    found = inspect_data(scan(listing), listing)
    assert (found.pictures, found.groups, found.widths) == (0, 0, (0, 0, 0))
    assert [bad.reason for bad in found.bad] == ["truncated"]
