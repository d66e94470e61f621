"""Tables (CSV, TSV, Parquet) and list files that name pictures. Paths are relative to the folder of the table."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfsight.data import pages
from selfsight.errors import DataError, brief, unknown

TABLES = (".csv", ".tsv", ".parquet")
LISTS = (".txt", ".lst")
PATH = "path"
MAGIC = b"PAR1"  # at the end of a Parquet file
ROWS, FEWEST = 16, 1000  # rows for a byte, and in all, that are believed: names of files differ
SIZE, LEAST = 256, 1 << 25  # bytes in memory for a byte, and in all; names in order, by zstd, are 64


def read_columns(file: Path) -> dict[str, list[str | None]]:
    """Read a table: {column: texts}, blank and null as None. Raises DataError when it cannot be read."""
    try:
        return _parquet(file) if file.suffix.lower() == ".parquet" else _text(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the table {str(file)!r} cannot be read: {brief(error)}.") from error


def column(table: dict[str, list[str | None]], name: str, file: Path, *, default: str) -> list[str | None] | None:
    """One column; None when it is absent and nobody asked for it by name (`name` is the `default`).

    Raises DataError with the nearest guess when the user's own name is not there.
    """
    if name in table:
        return table[name]
    if name == default and default != PATH:
        return None
    raise DataError(f"{str(file)!r}: {unknown('column', name, table)}")


def read_list(file: Path) -> list[str]:
    """The lines of a list file, blank ones left out. Raises DataError when it cannot be read."""
    try:
        lines = file.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise DataError(f"the list {str(file)!r} cannot be read: {brief(error)}.") from error
    return [os.fsdecode(line) for line in lines if line.strip()]


def parquet_bytes(file: Path) -> bytes:
    """A Parquet file; ValueError, before memory is taken for it, when it does not end as one."""
    with open(file, "rb") as opened:
        opened.seek(-min(len(MAGIC), os.fstat(opened.fileno()).st_size), os.SEEK_END)
        if opened.read() != MAGIC:
            raise ValueError("it does not end as a Parquet file does")
        opened.seek(0)
        return opened.read()


def reader(content: bytes) -> Any:
    """To read from, by Arrow: a copy in memory of its own. Python's is given back by Arrow's threads, and one that does
    so while the interpreter ends aborts the process."""
    import pyarrow as pa

    buffer = pa.allocate_buffer(len(content))
    pa.FixedSizeBufferWriter(buffer).write(content)
    return pa.BufferReader(buffer)


def parquet_table(content: bytes) -> Any:
    """The table in a Parquet file; ValueError when it is more than its bytes can tell apart."""
    import pyarrow as pa
    from pyarrow import parquet

    file = parquet.ParquetFile(reader(content))
    if file.metadata.num_rows > FEWEST + ROWS * len(content):
        raise ValueError(f"it says that it has {file.metadata.num_rows:,} rows, in {len(content):,} bytes")
    most = LEAST + SIZE * len(content)
    batches, size = [], 0
    for batch in file.iter_batches(pages.rows_at_once(file, content, most)):
        batches.append(_plain(batch))
        size += batches[-1].nbytes
        if size > most:
            raise ValueError(f"its {len(content):,} bytes would take more than {most:,}")
    schema = file.schema_arrow
    return pa.Table.from_batches(batches, None if batches else schema).replace_schema_metadata(schema.metadata)


def _plain(batch: Any) -> Any:
    """With each value in its row: in a dictionary, one long text may stand for many."""
    import pyarrow as pa

    columns = [one.dictionary_decode() if pa.types.is_dictionary(one.type) else one for one in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def column_of(values: Sequence[str | None]) -> Any:
    """A Parquet column of text, or of bytes where a file's name in it is no text."""
    import pyarrow as pa

    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([None if value is None else os.fsencode(value) for value in values], pa.binary())


def values_of(column: Any) -> list[Any]:
    """What `column_of` was given; plain values of any other column."""
    import pyarrow as pa

    values: list[Any] = column.to_pylist()
    if pa.types.is_binary(column.type):
        return [None if value is None else os.fsdecode(value) for value in values]
    return values


def _text(file: Path) -> dict[str, list[str | None]]:
    with open(file, newline="", encoding="utf-8-sig", errors="surrogateescape") as stream:
        header = stream.readline()
        stream.seek(0)
        delimiter = max("\t;,", key=header.count)
        rows = list(csv.reader(stream, delimiter=delimiter, strict=True))
    if not rows:
        raise DataError(f"the table {str(file)!r} is empty; its first line names the columns, one of them {PATH!r}.")
    names = [name.strip() for name in rows[0]]
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise DataError(f"{str(file)!r}: two of its columns are called {twice!r}; rename one.")
    body = [(number, row) for number, row in enumerate(rows[1:], start=2) if row]
    for number, row in body:
        if len(row) != len(names):
            raise DataError(f"{str(file)!r}, row {number}: {len(row)} cells where the header has {len(names)}.")
    return {name: [row[i].strip() or None for _, row in body] for i, name in enumerate(names)}


def _parquet(file: Path) -> dict[str, list[str | None]]:
    import pyarrow as pa

    try:
        table = parquet_table(parquet_bytes(file))
        names = table.column_names
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two of its columns are called {twice!r}")
        return {name: [_cell(value) for value in _values(table[name])] for name in names}
    except (ValueError, pa.ArrowException) as error:
        raise DataError(f"the table {str(file)!r} cannot be read: {brief(error)}.") from error


def _values(column: Any) -> list[Any]:
    """Of a column of any type; as Arrow writes them where Python has no such value, as of nanoseconds."""
    import pyarrow as pa

    try:
        found: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):
        found = column.cast(pa.string()).to_pylist()
    return found


def _cell(value: object) -> str | None:
    """A Parquet value as text: null, NaN and blank are None, 3.0 is 3 as the class numbers of data frames often are."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (os.fsdecode(value) if isinstance(value, bytes) else str(value)).strip() or None
