"""Every published check value is asked for by a test; what still waits for its method is named here."""

from __future__ import annotations

import json
from pathlib import Path

TESTS = Path(__file__).parent
OPEN = {  # entries of methods that are not there yet, some tested in part; a method that comes takes its own out
    "ibot_koleo",
    "mocov3",
    "simmim",
    "sobel",  # left out of DeepCluster: the encoder that is kept takes pictures, not edges
    "wmse",
}


def test_every_entry_is_tested_or_named_as_open() -> None:
    entries = set(json.loads((TESTS / "check_values.json").read_text())) - {"_about"}
    texts = [file.read_text() for file in TESTS.rglob("test_*.py") if file != Path(__file__)]
    texts = [text for text in texts if "check_values.json" in text]
    asked = {name for name in entries if any(f'["{name}"]' in text for text in texts)}
    assert entries - asked <= OPEN <= entries
