"""Look at what an encoder sees: a page with a map of all pictures, and the same server as an API for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["browse"]


def browse(
    place: str | Path,
    other: str | Path | None = None,
    *,
    layout: Literal["pca", "tsne", "umap"] = "pca",
    encoder: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8899,
    export: Path | None = None,
) -> str:
    """Look at pictures as an encoder sees them: a local page with a map, which is an API for other programs as well.

    It runs until Ctrl-C. Two places (runs, or folders that `embed` wrote) are shown side by side. With `export` the
    page is written into a folder instead, which needs no server.
    """
    from selfsight.browsing import story

    places = [one for one in (place, other) if one is not None]

    def tell(sentence: str) -> None:
        print(sentence, flush=True)

    return story.browse(places, encoder=encoder, layout=layout, host=host, port=port, export=export, tell=tell)
