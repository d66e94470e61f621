"""Documents: plain text in UTF-8. One travels as a picture does, as the array (n, 1, 1) of its bytes.

A word is a run of letters, digits, marks and underscores, in lower case; every other printable sign is a word of its
own, and so is each Chinese or Japanese character, since those are written without spaces (a language that is written
without spaces in an alphabet, such as Thai, comes out in whole phrases). A word's key is 63 bits of its BLAKE2b: the
same everywhere and always, so that nothing needs a vocabulary to name a word.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt

from selfsight.data import decode as opener
from selfsight.data.decode import Header, Refused
from selfsight.errors import ImageError

__all__ = ["NO_WORD", "SHORTEST", "decode", "describe", "keys", "opened", "read", "text", "words"]

SHORTEST = 5  # words: three that are seen, one that follows, and one more for the relation that is shifted
NO_WORD = -1  # the key behind the last word, where documents of several lengths share an array
ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana and ideographs, Unicode 16 blocks
MARKS_END = 0x1F000  # no combining mark lies between here and the variation selectors of plane 14
Document = UInt[np.ndarray, "n 1 1"]

read = partial(opener.read, check=lambda head: None)


def decode(path: str | Path) -> Document:
    """The bytes of one document. Raises ImageError; `reason` is one of `describe`'s or of the file system's."""
    try:
        return opened(read(str(path)))
    except Refused as refused:
        raise ImageError(str(path), refused.reason, refused.detail) from refused


def opened(data: bytes, least: int | None = None) -> Document:
    """A document from the bytes of its file, always whole. Raises Refused as `describe` does."""
    describe(data)
    return np.frombuffer(data, np.uint8).reshape(-1, 1, 1)


def describe(data: bytes) -> Header:
    """A document as wide as it has words. Raises Refused: empty, not_text, too_short, git_lfs_pointer."""
    if not data:
        raise Refused("empty", "0 bytes")
    if data.startswith(b"version https://git-lfs"):
        raise Refused("git_lfs_pointer", "the document itself was not fetched; run: git lfs pull")
    if b"\0" in data:
        raise Refused("not_text", "NUL bytes: no text, or one that is not in UTF-8")
    try:
        count = len(words(data))
    except UnicodeDecodeError as error:
        raise Refused("not_text", f"not UTF-8 at byte {error.start}") from error
    if count < SHORTEST:
        raise Refused("too_short", f"{count} words, and {SHORTEST} are needed")
    return Header(count, 1, 1, "uint8", "text")


def text(document: Document | bytes) -> str:
    """The text of a document."""
    data = document if isinstance(document, bytes) else document.tobytes()
    return data.removeprefix(b"\xef\xbb\xbf").decode()


def words(document: Document | bytes) -> list[str]:
    """The words of a document, in order. Text that looks the same is the same here (Unicode form NFC)."""
    found: list[str] = _pattern().findall(unicodedata.normalize("NFC", text(document)).lower())
    return found


def keys(document: Document) -> Int[np.ndarray, "T"]:
    """The key of each word of a document, in order."""
    found = words(document)
    return np.fromiter(map(key, found), np.int64, len(found))


@lru_cache(maxsize=1 << 17)
def key(word: str) -> int:
    """63 bits of the word's BLAKE2b. Among a million words two share a key with chance 5e-8."""
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big") >> 1


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    """What a word is; vowel signs and accents that stand alone belong to the letter before, which `\\w` leaves out."""
    marks = "".join(sign for sign in map(chr, range(0x300, MARKS_END)) if unicodedata.category(sign).startswith("M"))
    return re.compile(rf"[{ALONE}]|(?:[^\W{ALONE}]|[{marks}])+|[^\w\s]")
