"""`selfsight pack`. Heavy libraries are imported when needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfsight.recipe import Columns, Data, given

__all__ = ["pack"]


def pack(
    data: Data,
    out: Path,
    *,
    label_column: str = "label",
    group_column: str = "group",
    split_column: str = "split",
    shared_labels: bool = False,
) -> dict[str, Any]:
    """Write pictures (or documents) into a few large files, to be read from a disk, a server or a cloud.

    Tar shards that WebDataset reads too, and `packed.parquet`, which holds all columns of DATA's table. The folder, or
    the address it is copied to, is then given as DATA. The same command again completes or checks what is there.
    """
    from selfsight.data import pack as packing
    from selfsight.data import source
    from selfsight.embedding import progress

    columns, items = Columns(label_column, group_column, split_column, shared_labels), given(data)
    kind = source.kind_of(items)
    listing = source.find(items, **columns.spelled(), kind=kind)
    names, left = source.further(items, source.Columns(label_column, group_column, split_column))
    more = {name: source.values(items, name, kind, group=group_column, split=split_column) for name in names}
    with progress.line("packing", len(listing.rows)) as tell:
        further = {name: [values[one] for one in listing.names] for name, values in more.items()}
        return packing.pack(listing, Path(out), further, tell=tell) | {"left_out": left}
