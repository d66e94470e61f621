"""Which method suits these pictures? Several methods on one budget, measured alike and told apart by statistics.

This file is the front door, and light: heavy libraries are imported when it is used.
"""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsight.errors import RecipeError
from selfsight.recipe import Columns, Data, given

__all__ = ["compare"]


def compare(
    data: Data,
    *,
    methods: Sequence[str] | str | None = None,
    length: str | None = None,
    seeds: int = 1,
    encoder: str | None = None,
    size: int | None = None,
    pretrained: str | None = None,
    threads: int | None = None,
    workers: int | None = None,
    device: str | None = None,
    out: Path | None = None,
    json: Path | None = None,
    quiet: bool = False,
    label_column: str = "label",
    group_column: str = "group",
    split_column: str = "split",
    shared_labels: bool = False,
) -> dict[str, Any]:
    """Find out which method suits these pictures: the same budget for each, one table, one verdict in plain words.

    Beside the methods stand what needs no training and, where there are labels, the same network trained from scratch
    with them. Differences are claimed only when their interval, which is wider for many comparisons, lies off 0. The
    same command again goes on where it stopped; a method that fails costs its own line. RecipeError for fewer than two
    methods or no budget, RunError when the folder was begun with other settings or pictures.
    """
    from selfsight.comparison import story
    from selfsight.comparison.asked import Asked, named
    from selfsight.report import files
    from selfsight.training import session

    if length is None:
        raise RecipeError(
            "each method needs the same budget; say how long with --for, such as 10m, 2000steps, 500kimages"
        )
    files.must_fit(json)
    columns = Columns(label_column, group_column, split_column, shared_labels)
    asked = Asked(given(data), named(methods), length, seeds, encoder, size, pretrained, threads, device, columns)
    workers = session.usual_workers(device) if workers is None else workers
    found = story.compare(asked, out, workers=workers, quiet=quiet)
    if json is not None:
        files.write(json, json_format.dumps(found, indent=1).encode())
    return found
