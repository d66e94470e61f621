"""Damaged and hostile variants of a valid file: of bytes, text, JSON, safetensors. The same for the same seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 2**64, 10**40, 1e308, 1e999, float("nan"), -0.0, 0.5),
    *("", "\0", "x" * 5000, "../../etc/passwd", "/dev/zero", "\ud800", "‮", "a\nb", "=1+1", "os.system", "nan", "1e9"),
    *([], {}, [[]] * 3, {"a": {}}, ["a"], [2**63], {"": None}, [0] * 2000),
)
TOKENS = (
    *(
        "1e999",
        "-1",
        "null",
        "NaN",
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        ",",
        ":",
        "\n",
        "\r",
        "\t",
        "\0",
        "\x1b[31m",
        "é",
        "‮",
    ),
    *(
        "&a",
        "*a",
        "!!python/object",
        "<<:",
        "---",
        "? ",
        "- " * 50,
        "[" * 300,
        "{a: " * 60,
        "9" * 400,
        "0x",
        "1_0",
        "~",
    ),
    *(
        "../",
        "/etc/passwd",
        "file:///",
        "s3://",
        "\ufeff",
        "\ud7ff",
        "\x85",
        "\u2028",
        "=1+1",
        '""',
        "true",
        "1:1:1",
        ";",
    ),
)
LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
Mutate = Callable[[random.Random, bytes], bytes]


def in_bytes(draw: random.Random, data: bytes) -> bytes:
    """One to eight of: a flipped bit, a random or extreme number, a part lost, doubled, moved or zeroed, no end."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 8))):
        at = draw.randrange(len(found) + 1) if draw.random() < 0.5 else draw.randrange(min(len(found), 512) + 1)
        size = draw.choice((1, 2, 4, 8, 16, 100, 1000))
        what = draw.randrange(8)
        if what == 0 and at < len(found):
            found[at] ^= 1 << draw.randrange(8)
        elif what == 1:
            found[at : at + size] = draw.randbytes(size)
        elif what == 2:
            width = draw.choice((1, 2, 4, 8))
            number = draw.choice(LENGTHS) & (256**width - 1)
            found[at : at + width] = number.to_bytes(width, draw.choice(("big", "little")))
        elif what == 3:
            del found[at : at + size]
        elif what == 4:
            found[at:at] = found[at : at + size] * draw.choice((1, 2, 50))
        elif what == 5:
            there = draw.randrange(len(found) + 1)
            found[there:there] = found[at : at + size]
        elif what == 6:
            found[at : at + size] = bytes(size)
        else:
            del found[at:]
    return bytes(found)


def in_text(draw: random.Random, data: bytes) -> bytes:
    """Tokens put in, in place of others or between them, lines doubled or lost; or what befalls bytes."""
    if draw.random() < 0.2:
        return in_bytes(draw, data)
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    for _ in range(draw.choice((1, 1, 2, 5))):
        row = draw.randrange(len(lines))
        line, what = lines[row], draw.randrange(4)
        at = draw.randrange(len(line) + 1)
        if what == 0:
            lines[row] = line[:at] + draw.choice(TOKENS) + line[at:]
        elif what == 1:
            head, mark, _ = line.partition(draw.choice((":", ",", " ")))
            lines[row] = head + mark + draw.choice(TOKENS)
        elif what == 2:
            lines[row:row] = [draw.choice(lines)] * draw.choice((1, 3))
        elif len(lines) > 1:
            del lines[row]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def in_json(draw: random.Random, data: bytes) -> bytes:
    """A value or a name somewhere inside becomes another, or an entry is lost or added; or what befalls text."""
    if draw.random() < 0.15:
        return in_text(draw, data)
    whole = [json.loads(data)]
    for _ in range(draw.choice((1, 1, 2, 4))):
        place: Any = whole
        while True:
            key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[key], dict | list) or not place[key] or draw.random() < 0.2:
                break
            place = place[key]
        if isinstance(place, dict) and draw.random() < 0.3:
            value = place.pop(key)
            if draw.random() < 0.6:
                place[str(draw.choice(NASTY))[:5000]] = value
        else:
            place[key] = json.loads(json.dumps(draw.choice(NASTY)))
        if not whole[0]:
            break
    return json.dumps(whole[0]).encode()


def in_safetensors(draw: random.Random, data: bytes) -> bytes:
    """The header's JSON is changed and its length kept true; or what befalls bytes."""
    if draw.random() < 0.3:
        return in_bytes(draw, data)
    size = int.from_bytes(data[:8], "little")
    head = in_json(draw, data[8 : 8 + size])
    return len(head).to_bytes(8, "little") + head + data[8 + size :]
