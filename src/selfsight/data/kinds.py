"""What a sample can be, and how its file is found and opened: the rest of the house handles all kinds alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from selfsight.data import decode, text
from selfsight.data.decode import Header

# Pictures that are refused later, by name, so that nobody wonders where they went.
REFUSED = "heic heif jxl jp2 j2k exr hdr psd ico tga pcx dib dcm dng cr2 cr3 nef arw orf rw2 raf"


@dataclass(frozen=True)
class Kind:
    """One kind of sample: its words, the endings a folder is searched for, and its opener."""

    name: str  # of several of them
    one: str
    opened: str  # endings, without dots
    read: Callable[[str], bytes]  # of a file; raises Refused
    describe: Callable[[bytes], Header]  # raises Refused
    decode: Callable[[str], np.ndarray]  # (H, W, C); raises ImageError
    array: Callable[[bytes, int | None], np.ndarray]  # of a file, and the least side of a halved one; raises Refused
    again: Callable[[bytes, int | None], np.ndarray]  # the same, of bytes that `array` was given before
    named: str = ""  # endings that are taken up only to be refused
    size: int | None = None  # of an evaluation view, where the samples' own sizes do not decide it
    facts: Mapping[str, str] = field(default_factory=dict)  # what `inspect` calls a fact; "": not told

    def said(self, sentence: str) -> str:
        """A sentence of our own that speaks of pictures, as it is said of this kind."""
        return sentence.replace("picture", self.one)

    @property
    def endings(self) -> frozenset[str]:
        """What the names of candidates end in; what the file really is, the opener decides."""
        return frozenset(f".{ending}" for ending in f"{self.opened} {self.named}".split())


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "pictures",
            "picture",
            "png jpg jpeg jpe jfif webp avif gif bmp ppm pgm pbm pnm tif tiff",
            decode.read,
            decode.describe,
            decode.decode,
            decode.opened,
            decode.unguarded,
            named=REFUSED,
        ),
        Kind(
            "documents",
            "document",
            "txt",
            text.read,
            text.describe,
            text.decode,
            text.opened,
            text.opened,
            size=512,  # words: most pages whole, at the cost of one small picture
            facts={"pictures": "documents", "widths": "words"}
            | dict.fromkeys(("heights", "channels", "dtypes", "bits", "constant", "constant_count"), ""),
        ),
    )
}
