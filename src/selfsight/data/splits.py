"""Which pictures are the test part: those that the user declares, else a share that a hash holds out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from hashlib import blake2b

import numpy as np
from jaxtyping import Bool, Int

from selfsight.errors import DataError, brief

TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation")


def is_part(name: str) -> bool:
    """Whether this is a name of a part of a split."""
    return name.lower() in (*TRAIN, *TEST, *VALIDATION)


def declared(values: Sequence[str | None], where: str) -> list[str]:
    """Turn the user's words into "train" and "test", one for each picture.

    Validation pictures are the test part when there is no other; else they train, as nothing is scored on them. Blank
    is train. Raises DataError for another word, naming `where` it stands.
    """
    words = [(value or "train").strip().lower() for value in values]
    for word in words:
        if not is_part(word):
            raise DataError(f"{where}: {brief(repr(word))} is no part of a split; use train, test or val.")
    test = TEST if any(word in TEST for word in words) else VALIDATION
    return ["test" if word in test else "train" for word in words]


def held_out(key: str, holdout: float, seed: int) -> bool:
    """Whether a picture (or group) with this key is held out: a hash decides, so no other picture has a say."""
    digest = blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8, salt=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "big") < holdout * 2**64


def united(keys: Sequence[Iterable[Hashable]]) -> list[int]:
    """For each picture the number of its unit: pictures that share a key, or are linked by others that do, are one.

    Union-find with path halving (Tarjan & van Leeuwen 1984); a unit's number is that of its first picture.
    """
    parent = list(range(len(keys)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    first: dict[Hashable, int] = {}
    for place, own in enumerate(keys):
        for key in own:
            low, high = sorted((root(first.setdefault(key, place)), root(place)))
            parent[high] = low
    return [root(place) for place in range(len(keys))]


def units(groups: Int[np.ndarray, "N"], digests: Sequence[str]) -> Int[np.ndarray, "N"]:
    """What counts as one picture where luck is told, and is not parted: a group, with all that has its contents."""
    keys = zip(groups.tolist(), digests, strict=True)
    return np.array(united([(("group", group), ("contents", digest)) for group, digest in keys]), np.int64)


def repeated(digests: Sequence[str], test: Bool[np.ndarray, "N"]) -> Bool[np.ndarray, "N"]:
    """Which pictures have the contents of an earlier one of the same part."""
    first: dict[tuple[str, bool], int] = {}
    keys = zip(digests, test.tolist(), strict=True)
    return np.array([first.setdefault(key, place) != place for place, key in enumerate(keys)], bool)
