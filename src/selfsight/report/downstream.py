"""What stands below the table of `evaluate`, as tables: the same rows for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from selfsight.report.parts import Part
from selfsight.report.words import NAMES, interval, percent

ROWS = {  # of fine-tuning: what was trained of it
    "encoder": "this run, fine-tuned",
    "untrained": "the same network, from scratch",
    "pretrained": "pretrained weights, fine-tuned",
    "published": "published weights, fine-tuned",
    "frozen": "this run as it is, linear probe",
    "raw_pixels": "raw pixels, linear probe",
    "simple_statistics": "simple statistics, linear probe",
}

SHOWN = 20  # classes in a sentence


def parts(evaluation: Mapping[str, Any]) -> Iterator[Part]:
    """The lead over every row, and every part that was asked for."""
    if leads := against(evaluation.get("verdict") or {}):
        yield leads
    if evaluation.get("finetune"):
        yield finetuned(evaluation["finetune"])
    if evaluation.get("dense"):
        yield dense(evaluation["dense"])


def against(verdict: Mapping[str, Any]) -> Part | None:
    """By how much this run is better than each row beside it; nothing where nothing was compared in pairs."""
    asked = {"knn": verdict if verdict.get("measure") == "knn" else {}, "linear": verdict.get("linear")}
    asked |= {"two_views": verdict.get("retrieval", verdict), "identity": verdict.get("identity")}
    found = {task: one["pairs"] for task, one in asked.items() if one and "pairs" in one}
    names = dict.fromkeys(name for pairs in found.values() for name in pairs)
    rows = [(NAMES.get(name, name), [lead(pairs.get(name, {})) for pairs in found.values()]) for name in names]
    words = "Points by which this run is better, with the 95 % interval of the paired difference on the same pictures."
    heads = ["this run against", *(NAMES[task] for task in found)]
    return Part("Against each row", words, heads, rows, own=False) if rows else None


def finetuned(found: Mapping[str, Any]) -> Part:
    """Accuracy by share of the labels, and by how much this run is better than each row."""
    shares: dict[str, Mapping[str, Any]] = dict(found["shares"])
    heads = []
    for share, one in shares.items():
        draws = f", {one['draws']} draws" if one["draws"] > 1 else ""
        heads += [f"{share.replace('%', ' %')} ({one['labels']} labels{draws})", "this run is better by"]
    rows = []
    for name in next(iter(shares.values()))["rows"]:
        cells = [cell for one in shares.values() for cell in (score(one["rows"][name]), lead(one["rows"][name]))]
        rows.append((ROWS.get(name, NAMES.get(name, name)), cells))
    majority = [cell for _ in shares for cell in ((percent(found["majority"]), ""), ("", ""))]
    rows.append((NAMES["majority"], majority))
    words = (
        f"Accuracy on the test part after supervised training of the whole network, {found['steps']} steps of "
        f"{found['batch']} pictures whatever the start, by share of the training labels; intervals of 95 %."
    )
    return Part("Fine-tuning", words, ["", *heads], rows, [found["sentence"]])


def dense(found: Mapping[str, Any]) -> Part:
    """mIoU of patches by neighbours and by a linear probe, and by how much this run is better."""
    rows = []
    for name, row in found["rows"].items():
        cells = [cell for task in ("knn", "linear") for cell in (score(row[task], "miou"), lead(row[task]))]
        across = " x ".join(str(side) for side in row["grid"])
        rows.append((NAMES.get("trained" if name == "encoder" else name, name), [(across, ""), *cells]))
    rows.append((NAMES["majority"], [("", ""), (percent(found["majority"]), ""), *[("", "")] * 3]))
    better = "this run is better by"
    heads = ["", "patches", "mIoU, nearest patches", better, "mIoU, linear probe", better]
    words = (
        f"What is where: the class of each pixel of the {found['size']} px view of {found['test']} test pictures, by "
        f"frozen features of patches, learned from {found['patches']} patches of {found['train']} pictures. mIoU is "
        "the mean over classes of intersection over union; intervals of 95 %."
    )
    classes = [f"{name} {percent(one)}" for name, one in found["classes"].items() if one is not None]
    told = f"By class, linear probe of this run: {', '.join(classes[:SHOWN])}{' ...' if len(classes) > SHOWN else ''}."
    return Part("What is where", words, heads, rows, [found["sentence"], told, *found["notes"]])


def score(one: Mapping[str, Any], key: str = "accuracy") -> tuple[str, str]:
    """A share and its interval."""
    return percent(one[key]), interval(one.get("interval"))


def lead(one: Mapping[str, Any]) -> tuple[str, str]:
    """A paired difference in points and its interval; nothing for the row that it is measured from."""
    if "difference" not in one:
        return "", ""
    low, high = one["difference_interval"]
    return f"{100 * one['difference']:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"
