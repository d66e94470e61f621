"""Bytes at an fsspec address (s3://, gs://, https://, memory:// ...), by range; asked again when nothing answers."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Any, TypeVar

from selfsight.errors import AddressError, DataError, MissingError, brief

__all__ = ["is_address", "read", "whole"]

ANSWER = 60.0  # seconds that one request may take
PATIENCE = 90.0  # seconds for it and all that follow it: ranks of a run wait longer for each other
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before it is made again
STATUS = ("status", "code", "errno")  # what exceptions of aiohttp, gcsfs and the system call their number
REFUSALS = (401, 403)  # of HTTP: asking again would not help
NO_SUCH_RANGE = (416, errno.EINVAL)  # what HTTP calls it, and s3fs
CLOUDS = ("s3://", "s3a://", "gs://", "gcs://")  # that the extra is for
PART = 1 << 23  # bytes of one request for a whole file
Answer = TypeVar("Answer")


def is_address(name: str) -> bool:
    """Whether this is the address of something that is not a path of this machine."""
    return "://" in name


def whole(address: str) -> bytes:
    """All bytes of a file, part by part. Raises what `read` raises."""
    parts = [read(address, 0, PART)]
    while len(parts[-1]) == PART:
        parts.append(read(address, len(parts) * PART, (len(parts) + 1) * PART))
    return b"".join(parts)


def read(address: str, start: int, stop: int) -> bytes:
    """The bytes start..stop of a file; fewer where it ends before. Raises FileNotFoundError, AddressError when nothing
    answers, MissingError when the package for this kind of address is not installed."""
    system, path = _system(address)
    data: bytes = _patiently(address, lambda limit: _answered(limit, system, "cat_file", path, start=start, end=stop))
    if len(data) > stop - start:
        raise AddressError(f"{address!r} is sent whole when a part is asked for; use a server that knows ranges")
    return data


def _system(address: str) -> tuple[Any, str]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        extra = "; pip install 'selfsight[cloud]'" if address.startswith(CLOUDS) else ""
        raise MissingError(f"{address!r} cannot be opened: {brief(error)}{extra}") from error
    except ValueError as error:
        raise DataError(f"{address!r} is no address that can be read: {brief(error)}") from error
    return system, path


def _answered(limit: float, system: Any, asked: str, *given: Any, **named: Any) -> Any:
    """One request; where the file system is asynchronous, given up after `limit` seconds."""
    from fsspec.asyn import sync

    if not system.async_impl:
        return getattr(system, asked)(*given, **named)
    return sync(system.loop, getattr(system, f"_{asked}"), *given, timeout=limit, **named)


def _patiently(address: str, ask: Callable[[float], Answer]) -> Answer:
    """The answer; what may pass is waited for. `ask` is told how many seconds it may take."""
    end = time.monotonic() + PATIENCE
    for wait in (*WAITS, PATIENCE):
        try:
            return ask(min(ANSWER, max(1.0, end - time.monotonic())))
        except FileNotFoundError:
            raise
        except Exception as error:
            status = next((found for name in STATUS if (found := getattr(error, name, None))), None)
            if status in NO_SUCH_RANGE:
                return b""  # type: ignore[return-value]
            refused = isinstance(error, PermissionError) or "Credentials" in type(error).__name__
            late = time.monotonic() + wait >= end
            if late or refused or status in REFUSALS:
                raise AddressError(_sentence(address, error)) from error
            time.sleep(wait)
    raise AssertionError("after the last wait it is late")


def _sentence(address: str, error: Exception) -> str:
    said = " ".join(str(error).split()) or "no answer in time"
    return (
        f"{address!r} cannot be reached ({type(error).__name__}: {said[:200]}); see to the network, the name and the "
        "rights, and give the same command again: what is done is kept"
    )
