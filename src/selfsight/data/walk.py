"""Find the samples of a folder: each real file once, and nothing that is not inside.

Folders behind links are not entered, so there are no loops. A link to a file counts when its file lies inside the
folder and is not listed already; of several hard links the one deepest in the folders counts, as it says most. Hidden
files, what operating systems and half-finished downloads leave behind, and files with another ending are no candidates.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Set
from dataclasses import dataclass, field

from selfsight.data.bad import BadFile
from selfsight.errors import DataError

JUNK = {"@eadir", "__macosx", "$recycle.bin", "lost+found", "system volume information"}


@dataclass
class Found:
    """Names relative to the root, sorted; what was refused; what the user should know."""

    names: list[str] = field(default_factory=list)
    refused: list[BadFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def walk(root: str, endings: Set[str]) -> Found:
    """List the files under `root` (an existing folder) that end so. Raises DataError when it cannot be listed."""
    found, files, links = Found(), list[str](), list[str]()
    folders = [""]
    while folders:
        folder = folders.pop()
        for entry in _entries(root, folder, found):
            name = f"{folder}{entry.name}"
            if entry.name.startswith(".") or entry.name.lower() in JUNK:
                continue
            if entry.is_symlink():
                links.append(name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(f"{name}/")
            elif is_candidate(name, endings):
                files.append(name)
    inodes = set[tuple[int, int]]()
    for name in sorted(files, key=lambda name: (-name.count("/"), name)):
        _add(name, os.path.join(root, name), found, inodes)
    _add_links(root, sorted(links), endings, found, inodes)
    found.names.sort()
    found.refused.sort(key=lambda bad: bad.path)
    return found


def is_candidate(name: str, endings: Set[str]) -> bool:
    """Whether the name ends in one of them; what the file really is, the opener decides."""
    return os.path.splitext(name)[1].lower() in endings


def _entries(root: str, folder: str, found: Found) -> list[os.DirEntry[str]]:
    path = os.path.join(root, folder)
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if not folder:
            raise DataError(f"the folder {root!r} cannot be listed: {error.strerror}.") from error
        found.refused.append(BadFile(path, "unreadable", f"folder: {error.strerror}"))
        return []


def _add(name: str, path: str, found: Found, inodes: set[tuple[int, int]]) -> None:
    """Take a regular file, once per inode: a second hard link is the same picture."""
    try:
        status = os.stat(path)
    except OSError as error:
        found.refused.append(BadFile(path, "missing", error.strerror or ""))
        return
    if not stat.S_ISREG(status.st_mode):
        found.refused.append(BadFile(path, "special_file", "not a regular file"))
        return
    if (inode := (status.st_dev, status.st_ino)) not in inodes:
        found.names.append(name)
        inodes.add(inode)


def _add_links(root: str, links: list[str], endings: Set[str], found: Found, inodes: set[tuple[int, int]]) -> None:
    inside = os.path.realpath(root) + os.sep
    skipped = 0
    for name in links:
        path = os.path.join(root, name)
        if os.path.isdir(path):
            skipped += 1
        elif is_candidate(name, endings):
            target = os.path.realpath(path)
            if _is_regular(target) and not target.startswith(inside):
                found.refused.append(BadFile(path, "outside_root", "a link to a file outside the folder"))
            elif os.path.islink(target):  # realpath gives up on a ring
                found.refused.append(BadFile(path, "symlink_loop", "the link leads back to itself"))
            else:
                _add(name, path, found, inodes)
    if skipped:
        found.notes.append(f"{skipped} linked folders in {root!r} were not entered; give them as DATA of their own.")


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
