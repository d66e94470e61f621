"""What `evaluate` measures only when asked, as tables: the same rows for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True)
class Part:
    """One table: a cell is its number and, in smaller letters where there is room, its interval."""

    title: str
    words: str
    heads: list[str]
    rows: list[tuple[str, list[tuple[str, str]]]]
    sentences: list[str] = field(default_factory=list)


def parts(evaluation: Mapping[str, Any]) -> Iterator[Part]:
    """Every part that was asked for."""
    if evaluation.get("finetune"):
        yield finetuned(evaluation["finetune"])


def finetuned(found: Mapping[str, Any]) -> Part:
    """Accuracy by share of the labels, and by how much this run is better than each row."""
    shares: dict[str, Mapping[str, Any]] = dict(found["shares"])
    heads = []
    for share, one in shares.items():
        draws = f", {one['draws']} draws" if one["draws"] > 1 else ""
        heads += [f"{100 * float(share):g} % ({one['labels']} labels{draws})", "this run is better by"]
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


def score(one: Mapping[str, Any]) -> tuple[str, str]:
    """A share and its interval."""
    return percent(one["accuracy"]), interval(one.get("interval"))


def lead(one: Mapping[str, Any]) -> tuple[str, str]:
    """A paired difference in points and its interval; nothing for the row that it is measured from."""
    if "difference" not in one:
        return "", ""
    low, high = one["difference_interval"]
    return f"{100 * one['difference']:+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"
