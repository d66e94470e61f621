"""Pieces that pages are made of: HTML from text that need not be safe."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence

from selfsight.report.contents import Entry
from selfsight.report.html import element, safe
from selfsight.report.words import percent

BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")


def section(title: str, words: str, body: str) -> str:
    """A heading, what is to be said, and what is shown."""
    return element("section", f"<h2>{safe(title)}</h2><p>{safe(words)}</p>{body}")


def card(body: str, names: str = "card scroll") -> str:
    """A frame, which scrolls where it is too wide."""
    return element("div", body, names=names)


def grid(heads: Sequence[str], rows: Sequence[str]) -> str:
    """Heads, and rows that are HTML already."""
    head = "".join(element("th", safe(text)) for text in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def legend(words: Sequence[str]) -> str:
    """What the colours mean, in the order of the palette."""
    parts = (f'<span><i class="c{place}"></i>{safe(text)}</span>' for place, text in enumerate(words, 1))
    return element("div", "".join(parts), names="key")


def image(png: bytes, alt: str) -> str:
    """A PNG inside the page."""
    return f'<img alt="{safe(alt)}" src="data:image/png;base64,{b64encode(png).decode()}">'


def thumbnail(entry: Entry, names: str, score: str) -> str:
    """A thumbnail with its label, name and score."""
    image = str(entry.get("image") or "")
    kind = "jpeg" if image.startswith("/9j/") else "png"
    name = safe(entry.get("name") or "")
    source = f"data:image/{kind};base64,{image}" if BASE64.fullmatch(image) else ""
    label = f"<bdi><b>{safe(entry['label'])}</b></bdi>" if entry.get("label") is not None else ""
    last = safe(str(entry.get("name") or "").rsplit("/", 1)[-1])  # the narrow column's worth; the rest is the title
    if entry.get("said") is not None:
        label += f"<bdi>said: {safe(entry['said'])}</bdi><bdi>{safe(percent(entry['confidence']))} of the votes</bdi>"
    if entry.get("as") is not None:
        label += f"<bdi>{safe(entry['as'])}</bdi>"
    text = f'{label}<bdi title="{name}">{last}</bdi>{safe(score)}'
    if entry.get("text"):
        return element("figure", element("p", safe(entry["text"])) + text, names=f"page {names}")
    return element("figure", f'<img alt="{name}" src="{source}">{text}', names=names)
