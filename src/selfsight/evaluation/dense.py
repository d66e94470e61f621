"""Where things are: the class of each pixel from frozen patch features, by nearest neighbours and by a linear probe.

What is learned from is patches of training pictures, each with the class of most of its pixels. Of a test picture every
patch gets a score for each class; the scores are upsampled bilinearly to the view's pixels, and the largest names the
pixel (the linear protocol of DINOv2, Oquab et al. 2023, 2304.07193, section 7.4; neighbours as in Balazevic et al.
2023, 2306.01667). Pixels are those of the evaluation view, to which masks are brought by nearest pixel. mIoU is the
mean over classes of intersection / union, both summed over all test pictures, as for PASCAL VOC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch.nn.functional import interpolate

from selfsight.data.order import Purpose, keyed
from selfsight.embedding.embed import Readable, batches, whole_views
from selfsight.evaluation import baselines, classifier, intervals, knn, linear, overlap
from selfsight.evaluation.measure import with_statistics
from selfsight.evaluation.protocol import ENCODER, RIVALS
from selfsight.evaluation.scene import Scene
from selfsight.neighbours import nearest
from selfsight.nn.embedder import Embedder
from selfsight.nn.encoder import Encoder
from selfsight.views.render import whole

PATCHES = 20_000  # of the training part, about equally many of each picture: what the neighbours are found among
BATCH = 32  # pictures
PIXELS = 16  # side of the raw pixels of a patch, at most
COARSE = 4  # patches across, below which people are told
TASKS = ("knn", "linear")

Patches = Iterator[tuple[Float[np.ndarray, "B L D"], Int[np.ndarray, "B"]]]


@dataclass(frozen=True)
class Row:
    """One row of the table: the features of every patch of some pictures, batch by batch, on the row's own grid."""

    patches: Callable[[Int[np.ndarray, "M"]], Patches]
    grid: tuple[int, int]
    side: int  # of a patch, pixels of the view
    centred: bool = False  # the mean of the training patches is taken off, as of raw pixels


def measured(
    encoders: Mapping[str, Encoder],
    pictures: Readable,
    scene: Scene,
    *,
    low: float,
    high: float,
    rivals: Sequence[str] = RIVALS,
) -> dict[str, Any]:
    """The table as JSON: `encoders` ("encoder", "untrained", ...), then raw pixels and simple statistics of patches.

    Whether training helped is judged beside those named in `rivals`.
    """
    rows = {name: of_encoder(name, one, pictures, scene) for name, one in encoders.items()}
    own = rows[ENCODER]
    rows["raw_pixels"] = of_pixels(partial(raw, low=low, high=high), own, pictures, scene, centred=True)
    described = partial(baselines.statistics, low=low, high=high)
    rows["simple_statistics"] = of_pixels(described, own, pictures, scene)
    known = {name: sampled(row, scene) for name, row in rows.items()}
    large = linear.is_large((features.shape[1] for features, _, _ in known.values()), len(scene.classes))
    found = {name: counted(row, known[name], scene, large) for name, row in rows.items()}
    seen = found[ENCODER][1]
    groups = scene.groups[seen]
    table = {
        name: {"grid": list(rows[name].grid)}
        | {task: overlap.scored(counts[task], found[ENCODER][0][task], groups) for task in TASKS}
        for name, (counts, _) in found.items()
    }
    return {
        "train": len(scene.train),
        "test": len(seen),
        "test_groups": len(np.unique(groups)),
        "patches": len(known[ENCODER][0]),
        "size": scene.size,
        "rows": table,
        "majority": majority(scene, known[ENCODER][1], seen),
        "classes": by_class(found[ENCODER][0]["linear"], scene.classes),
        "notes": [*scene.notes, *coarse(own)],
        **conclusion(table, len(np.unique(groups)), rivals),
    }


def of_encoder(name: str, encoder: Encoder, pictures: Readable, scene: Scene) -> Row:
    """The row of a frozen encoder; an untrained one has batch statistics of training pictures."""
    frozen: Embedder = encoder.eval()
    if name == "untrained":
        frozen = with_statistics(encoder, pictures, scene.train, scene.size)
    patches = partial(batches, frozen, pictures, size=scene.size, batch=BATCH, patches=True)
    return Row(patches, encoder.grid(scene.size), encoder.patch(scene.size))


def of_pixels(
    describe: Callable[[np.ndarray], np.ndarray], like: Row, pictures: Readable, scene: Scene, *, centred: bool = False
) -> Row:
    """A row without any network: each patch of the grid of `like`, described from its pixels alone."""

    def patches(rows: Int[np.ndarray, "M"]) -> Patches:
        for views, shown in whole_views(pictures, rows, scene.size, BATCH):
            yield np.stack([[describe(patch) for patch in cut(view, like)] for view in views.numpy()]), shown

    return Row(patches, like.grid, like.side, centred)


def cut(view: np.ndarray, row: Row) -> Iterator[np.ndarray]:
    """The squares of a view (S, S, C) that the positions of a grid stand for, row-major."""
    for down in range(row.grid[0]):
        for right in range(row.grid[1]):
            yield view[down * row.side : (down + 1) * row.side, right * row.side : (right + 1) * row.side]


def raw(patch: np.ndarray, *, low: float, high: float) -> Float[np.ndarray, "P"]:
    """A patch as at most 16 x 16 pixels, 0 to 1 over the set's range; those at the edge are stretched to the square."""
    return baselines.scaled(whole(patch, min(PIXELS, *patch.shape[:2])), low, high).ravel()


def sampled(row: Row, scene: Scene) -> tuple[Float[np.ndarray, "P D"], Int[np.ndarray, "P"], Int[np.ndarray, "P"]]:
    """Features, class and group of at most 20,000 training patches, drawn by the picture's number alone."""
    each = max(1, PATCHES // len(scene.train))
    features, labels, groups = [], [], []
    for batch, shown in row.patches(scene.train):
        for own, number in zip(batch, shown.tolist(), strict=True):
            known = patch_labels(scene.masks[number], row, len(scene.classes))
            places = keyed(0, number, Purpose.MONITOR).permutation(np.flatnonzero(known >= 0))[:each]
            features.append(own[places])
            labels.append(known[places])
            groups.append(np.full(len(places), scene.groups[number]))
    return np.concatenate(features), np.concatenate(labels), np.concatenate(groups)


def patch_labels(mask: Int[np.ndarray, "S S"], row: Row, classes: int) -> Int[np.ndarray, "L"]:
    """The class of most of each patch's pixels, the lowest on a tie; -1 where no pixel has one."""
    down, right = (np.minimum(np.arange(len(mask)) // row.side, across - 1) for across in row.grid)
    cells = down[:, None] * row.grid[1] + right
    asked = mask >= 0
    size = row.grid[0] * row.grid[1] * classes
    votes = np.bincount(cells[asked] * classes + mask[asked], minlength=size).reshape(-1, classes)
    return np.where(votes.any(axis=1), votes.argmax(axis=1), -1)


def counted(
    row: Row, known: tuple[np.ndarray, np.ndarray, np.ndarray], scene: Scene, large: bool
) -> tuple[dict[str, overlap.Counts], Int[np.ndarray, "M"]]:
    """Learn from the training patches, name every pixel of the test pictures; and the pictures that could be read."""
    features, labels, groups = known
    shift = features.mean(axis=0) if row.centred else np.float32(0)
    features = features - shift
    k, temperature = knn.choose(features, labels, groups)
    probe = classifier.fit(features, labels, groups, tuple(map(str, scene.classes)), large=large)
    found: dict[str, list[Int[np.ndarray, "3 C"]]] = {task: [] for task in TASKS}
    seen: list[int] = []
    for batch, shown in row.patches(scene.test):
        asked = batch.reshape(-1, batch.shape[2]) - shift
        near, where = nearest(asked, features, min(k, len(features)))
        votes = knn.votes(near, labels[where], temperature, len(scene.classes))
        scores = {"knn": votes / votes.sum(axis=1, keepdims=True), "linear": asked @ probe.weight + probe.bias}
        for task in TASKS:
            of_pictures = scores[task].reshape(*batch.shape[:2], -1)
            for own, number in zip(of_pictures, shown.tolist(), strict=True):
                named = upsampled(own, row, scene.size)
                found[task].append(overlap.counted(named, scene.masks[number], len(scene.classes)))
        seen += shown.tolist()
    return {task: np.stack(counts) for task, counts in found.items()}, np.array(seen)


def upsampled(scores: Float[np.ndarray, "L C"], row: Row, size: int) -> Int[np.ndarray, "S S"]:
    """The class of every pixel: scores on the grid, bilinearly brought to the view's size, the largest one."""
    maps = torch.from_numpy(scores.astype(np.float32)).T.reshape(1, -1, *row.grid)
    full = interpolate(maps, size=[across * row.side for across in row.grid], mode="bilinear", align_corners=False)
    return full[0, :, :size, :size].argmax(dim=0).numpy()


def majority(scene: Scene, labels: Int[np.ndarray, "P"], seen: Int[np.ndarray, "M"]) -> float:
    """Mean IoU of always naming the class of most training patches."""
    classes = len(scene.classes)
    commonest = np.full((scene.size, scene.size), np.bincount(labels, minlength=classes).argmax())
    counts = [overlap.counted(commonest, scene.masks[number], classes) for number in seen.tolist()]
    return overlap.mean(np.stack(counts))


def by_class(counts: overlap.Counts, classes: Sequence[int]) -> dict[str, float | None]:
    """IoU of each class by its number in the masks; None where neither names nor masks of the test part show it."""
    found = overlap.ratios(counts.sum(axis=0).astype(float))
    return {str(number): None if np.isnan(one) else float(one) for number, one in zip(classes, found, strict=True)}


def coarse(row: Row) -> list[str]:
    """A note where the grid says little of places."""
    if min(row.grid) >= COARSE:
        return []
    across = f"{row.grid[0]} x {row.grid[1]}"
    remedy = "train with a larger --size, or an encoder of smaller patches, to tell what is where"
    return [f"The encoder divides a view into {across} patches only; {remedy}."]


def conclusion(table: Mapping[str, Any], groups: int, rivals: Sequence[str] = RIVALS) -> dict[str, Any]:
    """Whether training helped, by the nearest neighbours of patches, beside the best of the rivals that are there."""
    best = max((name for name in rivals if name in table), key=lambda name: table[name]["knn"]["miou"])
    one = table[best]["knn"]
    low, high = one["difference_interval"]
    helped = None if groups < intervals.FEWEST else low > 0
    says = {
        True: "Training helped to tell what is where",
        False: "Training is not shown to help to tell what is where",
        None: f"There are too few test groups to say whether training helped to tell what is where ({groups})",
    }[helped]
    numbers = f"{table[ENCODER]['knn']['miou']:.3f} against {one['miou']:.3f} of {best.replace('_', ' ')}"
    gap = f"difference {one['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    return {"helped": helped, "sentence": f"{says}: mIoU of nearest patches {numbers}, {gap}."}
