"""From one or two indexes to a page: on a server, or as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from selfsight.browsing import maps, run, static
from selfsight.browsing.collection import Collection, gather
from selfsight.browsing.encoding import Encoders
from selfsight.browsing.labels import Labels
from selfsight.browsing.payloads import Payloads
from selfsight.browsing.server import Server
from selfsight.embedding import progress
from selfsight.errors import RunError
from selfsight.searching.index import Index

__all__ = ["browse"]

Tell = Callable[[str], None]


def browse(
    places: Sequence[str | Path],
    *,
    encoder: Path | None,
    layout: str,
    host: str,
    port: int,
    export: Path | None,
    tell: Tell,
) -> str:
    """Serve a page about one or two indexes until it is ended, or write it into the folder `export`; what was done.

    RunError when two indexes have nothing in common, the port cannot be used or the folder holds something else,
    MissingError when the map's package is not installed.
    """
    maps.check(layout)
    collection = gather([Index.open(place, encoder=encoder) for place in places])
    labels = Labels(collection, collection.sides[0].kept / "labels.csv")
    encoders = None if export else found(collection, tell)
    payloads = Payloads(collection, labels, layout=layout, searchable=encoders is not None)
    if export is not None:
        payloads.layouts = list(dict.fromkeys(["pca", layout]))
        with progress.line("writing", len(collection)) as done:
            index = static.write(payloads, export, done)
        return f"{len(collection):,} pictures in {index}: open it, or put its folder on any host of files."
    for side in range(len(collection.sides)):  # so that the first look need not wait
        payloads.read(f"points-{side}-{layout}")
    run.serve(Server(payloads, encoders), host, port, tell)
    return "The server has ended."


def found(collection: Collection, tell: Tell) -> Encoders | None:
    """The encoders of the vectors; without them the page does all but look for other pictures."""
    try:
        return Encoders(collection)
    except RunError as error:
        tell(f"Pictures cannot be searched by a new picture: {error}.")
        return None
