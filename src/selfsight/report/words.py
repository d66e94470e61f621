"""Numbers and names as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NAMES = {
    "trained": "this run",
    "untrained": "the same network, untrained",
    "raw_pixels": "raw pixels",
    "simple_statistics": "simple statistics",
    "bag_of_words": "bag of words",
    "pretrained": "pretrained weights, as given",
    "published": "published weights",
    "majority": "always the commonest class",
    "knn": "nearest neighbours",
    "linear": "linear probe",
    "rankme": "effective rank (RankMe)",
    "two_views": "found by another view",
    "identity": "found by one of the same",
    "rows": "pictures measured",
    "width": "numbers per picture",
    "lidar": "LiDAR (where pictures are enough)",
    "lidar_32": "LiDAR in 32 directions",
    "alpha_req": "alpha-ReQ (best near 1)",
    "participation": "participation ratio",
    "intrinsic_dimension": "intrinsic dimension (TwoNN)",
    "alignment": "alignment (less is closer)",
    "uniformity": "uniformity (less is better)",
    "mean_cos": "mean cosine (less is better)",
    "std": "spread (std x sqrt(d))",
}
MEANINGS = {
    "untrained": "random weights: what the architecture alone gives",
    "raw_pixels": "the picture at 32 x 32, mean-subtracted, compared by cosine",
    "simple_statistics": "a histogram of colours or greys, and of gradients on a 4 x 4 grid",
    "bag_of_words": "which words it holds and how often, the rarer the weightier, hashed into 2,048 places",
    "pretrained": "what this run started from; where that was random weights, what evaluate --pretrained named",
    "published": "what evaluate --pretrained named, beside the weights that this run started from",
    "trained": "the encoder of this run",
}


def said(words: str, kind: str | None) -> str:
    """Words of our own that speak of pictures, as they are said of another kind of sample, such as documents."""
    return words.replace("picture", kind.removesuffix("s")) if kind else words


def percent(share: float) -> str:
    """0.8123 as "81.2 %"."""
    return f"{100 * share:.1f} %"


def interval(bounds: Sequence[float] | None) -> str:
    """(0.79, 0.83) as "79.0 to 83.0"; nothing as nothing."""
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}" if bounds else ""


def plain(value: object) -> str:
    """A value in short: four digits of a float, yes or no, the parts of a list or mapping, any other text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ": ".join(plain(part) for part in value.values() if part not in (None, ""))
    if isinstance(value, list | tuple):
        return " = ".join(plain(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def conclusions(verdict: object) -> list[tuple[str, bool]]:
    """What can be said: of naming classes, in two ways, of telling pictures apart, of finding what was sought."""
    beside = ("linear", "retrieval", "identity")
    parts = [verdict, *map(verdict.get, beside)] if isinstance(verdict, Mapping) else []
    return [(words, helped) for words, helped in map(sentence, parts) if words]


def sentence(verdict: object) -> tuple[str, bool]:
    """The verdict in words, and whether training was shown to help; ("", False) before an evaluation."""
    if not isinstance(verdict, Mapping):
        return "", False
    return str(verdict.get("sentence") or ""), bool(verdict.get("helped"))
