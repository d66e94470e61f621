"""The page as files: for a disk, or any host of files. It does all but take in pictures and keep labels."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from glob import escape
from pathlib import Path
from shutil import rmtree

from selfsight import checkpoints
from selfsight.browsing.payloads import Payloads
from selfsight.browsing.pictures import LARGE, SMALL, Pictures, missing
from selfsight.browsing.server import PAGE
from selfsight.errors import DiskError, ImageError, RunError

__all__ = ["write"]

ORDER = (  # every module behind those that it imports
    "element", "colours", "source", "store", "columns", "grid", "points", "thumbnails", "map", "hands", "lists",
    "pieces", "panels", "main",
)  # fmt: skip
IMPORT = re.compile(r"^import (?:\* as (\w+)|\{[^}]*\}) from \"\./(\w+)\.js\";\n", re.MULTILINE)
EXPORTED = re.compile(r"^export (?=(?:async )?(?:function|class|const|let) )", re.MULTILINE)
READERS = 2
PROOF = Path("data", "collection.js")  # that a folder is an export


def write(payloads: Payloads, folder: Path, tell: Callable[[int], None]) -> Path:
    """Write the page, its data and its pictures; `tell` hears how many pictures are done. The index.html to open.

    The folder gets its name when all is in it, in place of an earlier export.
    RunError when the folder holds something else, DiskError when it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / PROOF).exists())):
        raise RunError(f"{str(folder)!r} holds something else; give --export a new or an empty folder")
    final = folder.absolute()
    partial = final.with_name(f"{final.name}.tmp-{os.getpid()}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.clean(final.parent, escape(final.name))
        _fill(partial, payloads, tell)
        os.sync()  # once for all of the many files
        checkpoints.into_place(partial, final)
    except OSError as error:
        raise DiskError(f"{str(folder)!r} cannot be written ({error.strerror}); choose another --export") from error
    finally:
        rmtree(partial, ignore_errors=True)
    return folder / "index.html"


def _fill(folder: Path, payloads: Payloads, tell: Callable[[int], None]) -> None:
    for name in ("page", "data", "thumbnails", "pictures"):
        (folder / name).mkdir(parents=True)
    for name in ("style.css", "icon.svg"):
        (folder / "page" / name).write_bytes(PAGE[name])
    (folder / "page" / "page.js").write_text(joined(), "utf-8")
    for key in payloads.wanted():
        (folder / "data" / f"{key}.js").write_text(script(payloads, key), "utf-8")
    _pictures(Pictures(payloads.collection.paths), folder, tell)
    (folder / "index.html").write_text(page(), "utf-8")


def joined() -> str:
    """The page's modules as one script: a page opened from a disk may not load modules."""
    parts = []
    for name in ORDER:
        text = PAGE[f"{name}.js"].decode()
        parts.append(EXPORTED.sub("", IMPORT.sub(_namespace, text)))
    return '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def _namespace(found: re.Match[str]) -> str:
    """`import * as panels` becomes an object of what that module exports."""
    if not found[1]:
        return ""
    names = re.findall(r"^export (?:async )?(?:function|class|const|let) (\w+)", PAGE[f"{found[2]}.js"].decode(), re.M)
    return f"const {found[1]} = {{ {', '.join(names)} }};\n"


def page() -> str:
    """index.html for files."""
    text = PAGE["index.html"].decode()
    script = '<script type="module" src="page/main.js"></script>'
    return text.replace("<html ", "<html data-exported ").replace(script, '<script defer src="page/page.js"></script>')


def script(payloads: Payloads, key: str) -> str:
    """Data as a script that hands it over."""
    found = payloads.read(key)
    content = b64encode(found).decode() if isinstance(found, bytes) else found
    return f"selfsightData({json.dumps(key)}, {json.dumps(content)});\n"


def _pictures(pictures: Pictures, folder: Path, tell: Callable[[int], None]) -> None:
    def both(number: int) -> None:
        for name, side in (("thumbnails", SMALL), ("pictures", LARGE)):
            try:
                made = pictures.made(number, side)
            except ImageError:
                made = missing()
            (folder / name / f"{number}.jpg").write_bytes(made)

    with ThreadPoolExecutor(READERS) as pool:
        for done, _ in enumerate(pool.map(both, range(len(pictures.paths))), 1):
            tell(done)
