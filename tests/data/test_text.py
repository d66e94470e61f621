"""Documents: what a word is, keys that never change, and files that are no text refused with their reason."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from selfsight.data import source, text
from selfsight.data.manifest import Manifest, scan
from selfsight.data.pictures import Pictures
from selfsight.data.ranges import PixelFormat
from selfsight.errors import DataError, ImageError

HINDI = "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e"
BAD = {
    "empty.txt": (b"", "empty"),
    "binary.txt": (b"words \0 and words", "not_text"),
    "utf16.txt": "these are some words".encode("utf-16"),
    "latin.txt": ("caf\xe9 au lait s'il vous pla\xeet".encode("latin-1"), "not_text"),
    "short.txt": (b"four words are few", "too_short"),
    "pointer.txt": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git_lfs_pointer"),
}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Don't STOP, x_1!", ["don", "'", "t", "stop", ",", "x_1", "!"]),
        ("\ufeffStra\u00dfe\n\n3.5", ["stra\u00dfe", "3", ".", "5"]),
        ("e\u0301te\u0301", ["\u00e9t\u00e9"]),  # composed and decomposed accents are the same word
        (HINDI, HINDI.split()),  # vowel signs are marks, and belong to their letters
        ("abc\u4e2d\u6587", ["abc", "\u4e2d", "\u6587"]),
        (" \t\r\n", []),
    ],
)  # fmt: skip
def test_words(said: str, words: list[str]) -> None:
    assert text.words(said.encode()) == words


def test_keys_are_63_bits_of_blake2b_and_the_same_for_ever() -> None:
    document = np.frombuffer(b"The the cat", np.uint8).reshape(-1, 1, 1)
    keys = text.keys(document)
    expected = [int.from_bytes(blake2b(word, digest_size=8).digest(), "big") // 2 for word in (b"the", b"the", b"cat")]
    assert keys.dtype == np.int64
    assert keys.tolist() == expected
    assert (keys >= 0).all()


def test_a_document_travels_as_a_picture_does(documents: Path) -> None:
    manifest = scan(source.find(documents, kind="documents"))
    pictures = Pictures(manifest, PixelFormat(channels=1))
    document, row = pictures.read(3)
    assert row == 3
    assert document.dtype == np.uint8
    assert document.shape == (Path(manifest.paths[3]).stat().st_size, 1, 1)
    assert text.text(document) == Path(manifest.paths[3]).read_text("utf-8")
    assert manifest.widths[3] == len(text.words(document))
    assert manifest.classes == ("beginning", "end")


def test_the_manifest_keeps_its_kind(documents: Path, tmp_path: Path) -> None:
    manifest = scan(source.find(documents, kind="documents"))
    manifest.save(tmp_path / "manifest.parquet")
    again = Manifest.load(tmp_path / "manifest.parquet")
    assert again.kind == again.taking(np.arange(3)).kind == "documents"
    assert again.digest() == manifest.digest()


def test_files_that_are_no_text_are_named_with_their_reason(tmp_path: Path) -> None:
    for name, made in BAD.items():
        (tmp_path / name).write_bytes(made if isinstance(made, bytes) else made[0])
    (tmp_path / "good.txt").write_text("one two three four five")
    manifest = scan(source.find(tmp_path, kind="documents"))
    assert manifest.names == ("good.txt",)
    found = {Path(bad.path).name: bad.reason for bad in manifest.bad}
    assert found == {name: "not_text" if isinstance(made, bytes) else made[1] for name, made in BAD.items()}
    with pytest.raises(ImageError, match="not_text"):
        text.decode(tmp_path / "binary.txt")


def test_one_kind_is_not_taken_for_the_other(photos: Path, documents: Path, tmp_path: Path) -> None:
    assert source.kind_of(photos) == "pictures"
    assert source.kind_of(documents) == "documents"
    with pytest.raises(DataError, match=r"holds no picture.*It holds documents, which other methods learn from"):
        source.find(documents)
    with pytest.raises(DataError, match=r"holds no document.*It holds pictures, which other methods learn from"):
        source.find(photos, kind="documents")
    table = tmp_path / "table.csv"
    table.write_text("path\n" + "\n".join(str(path) for path in sorted(photos.rglob("*.png"))))
    with pytest.raises(DataError, match="can be read as a document"):
        scan(source.find(table, kind="documents"))
    table.write_text("path\n" + "\n".join(str(path) for path in sorted(documents.rglob("*.txt"))))
    assert source.kind_of(table) == "documents"
    with pytest.raises(DataError, match="can be read as a picture"):
        scan(source.find(table))
