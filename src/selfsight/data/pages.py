"""What a Parquet file can come to in memory, from the headers of its pages, before one of them is opened.

The footer tells sizes as well, but Arrow inflates what a page's own header says. Where columns lie is read here too:
asked for one whose facts contradict each other, pyarrow ends the process. Source: parquet.thrift (FileMetaData and
PageHeader), in Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["rows_at_once"]

MOST, FEWEST = 1 << 16, 1024  # rows; Arrow makes room for the latter at least
NUMBER = 8  # bytes that a value of fixed size takes at most, once read; longer ones have a width of their own
INFLATED, STORED, DATA, DICTIONARY, DATA_2 = 2, 3, 5, 7, 8  # fields of PageHeader
GROUPS, COLUMNS, ROWS, FACTS = 4, 1, 3, 3  # fields on the way from the footer to a column's facts, of which
LENGTH, FIRST, FIRST_DICTIONARY = 7, 9, 11  # are bytes in the file, and where its pages begin
TAIL = 8  # bytes behind the footer: its length, and four letters
ENCODING = {DATA: 2, DATA_2: 4}  # field, in the header of data; how many values there are is field 1
TRUTHS = (1, 2)  # kinds of value: of a field they are the value itself
PREFIXED = 7  # the encoding DELTA_BYTE_ARRAY: a value may repeat the one before
DEEP = 8  # headers within headers


def rows_at_once(file: Any, content: bytes, most: int) -> int:
    """How many rows of a file (pyarrow's ParquetFile) can be read together without taking more than `most` bytes.

    A text may be stored once and stand in every row. ValueError when the pages, or all numbers, are more than `most`.
    """
    inflated = values = stored = 0
    width = sum(max(0, file.schema.column(number).length or 0) for number in range(file.metadata.num_columns))
    reserved = width * min(FEWEST, file.metadata.num_rows)  # also for nulls
    repeated: dict[int, int] = {}  # column -> bytes of a value that may stand in many rows
    for group in _groups(content):
        for number, (start, stop) in enumerate(group):
            stored += stop - start
            if not 0 <= start <= stop or stored > len(content):
                raise ValueError("its columns are longer than the file")
            for size, count, repeats in _pages(content, start, stop):
                inflated, values = inflated + size, values + count
                if inflated + NUMBER * values + reserved > most:
                    raise ValueError(f"its {len(content):,} bytes would take more than {most:,}")
                if repeats:
                    repeated[number] = max(repeated.get(number, 0), size)
    return max(1, min(MOST, most // max(1, sum(repeated.values()) + width)))


def _groups(content: bytes) -> Iterator[list[tuple[int, int]]]:
    """Of each group of rows where Arrow begins to read each column, and where it ends."""
    try:
        footer, _ = _fields(content, len(content) - TAIL - int.from_bytes(content[-TAIL:][:4], "little"))
        for group in footer[GROUPS]:
            chunks = [chunk[FACTS] for chunk in group[COLUMNS] if group[ROWS]]
            firsts = [min(one[FIRST], one.get(FIRST_DICTIONARY) or one[FIRST]) for one in chunks]
            yield [(first, first + one[LENGTH]) for first, one in zip(firsts, chunks, strict=True)]
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("its footer does not say where its columns are") from error


def _pages(content: bytes, at: int, stop: int) -> Iterator[tuple[int, int, bool]]:
    """Of each page its bytes once inflated, its values, and whether one of them may stand in many rows."""
    try:
        while at < stop:
            header, at = _fields(content, at)
            if min(header[INFLATED], header[STORED]) < 0:
                raise ValueError("a page has no size")
            at += header[STORED]
            kind = next((one for one in (DATA, DATA_2) if one in header), None)
            repeats = DICTIONARY in header or (kind is not None and header[kind][ENCODING[kind]] == PREFIXED)
            yield header[INFLATED], header[kind][1] if kind else 0, repeats
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError("a page has no header") from error


def _fields(content: bytes, at: int, deep: int = 0) -> tuple[dict[int, Any], int]:
    """One header, and where it ends. What is no number is 0."""
    fields, field = dict[int, Any](), 0
    while head := content[at]:
        step, kind = head >> 4, head & 15
        field, at = (field + step, at + 1) if step else _number(content, at + 1)
        fields[field], at = (0, at) if kind in TRUTHS else _value(content, at, kind, deep)
    return fields, at + 1


def _value(content: bytes, at: int, kind: int, deep: int) -> tuple[Any, int]:
    if kind in (4, 5, 6):  # whole numbers
        return _number(content, at)
    if kind in (3, *TRUTHS):  # a byte
        return 0, at + 1
    if kind == 7:  # a number with a fraction
        return 0, at + 8
    if kind == 8:  # text: a name, a column's least and largest value
        length, at = _varint(content, at)
        return 0, at + length
    if kind == 9:
        head, at, found = content[at], at + 1, []
        count, at = (head >> 4, at) if head >> 4 < 15 else _varint(content, at)
        for _ in range(count):
            one, at = _value(content, at, head & 15, deep)
            found.append(one)
        return found, at
    if kind == 12 and deep < DEEP:
        return _fields(content, at, deep + 1)
    raise ValueError("a page has no header, or the footer is none")


def _number(content: bytes, at: int) -> tuple[int, int]:
    """With a sign, in zigzag."""
    value, at = _varint(content, at)
    return value >> 1 ^ -(value & 1), at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := content[at]) & 128 and shift < 63:
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
    return value | (byte & 127) << shift, at + 1
