"""Tensors out of a .pt or .pth file: in a process of its own, with bounded memory and time.

PyTorch's reader with `weights_only` runs nothing of what the file says, and has had holes (CVE-2025-32434,
CVE-2026-24747). Whatever happens in the child, the parent reads its safetensors or says that there are none.
"""

from __future__ import annotations

import pickletools
import resource
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections import deque
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

__all__ = ["tensors"]

NESTED = ("state_dict", "model", "teacher")  # where training programs keep the network's part
ROOM = 256 << 20  # bytes beside the interpreter and three times the file
SECONDS = 120
LONGEST = 1 << 20  # bytes of pickle: a tensor takes about 130, and a million small steps a second
PARTS = 5  # pickles at the start of a file that PyTorch 1.5 or older wrote
LONG = "more is in it than tensors and their names, or it is damaged; give what torch.save makes of a state_dict()"


def tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, by name. ValueError when the file gives none within its bounds."""
    with TemporaryDirectory(prefix="selfsight-") as place:
        target = Path(place) / "tensors.safetensors"
        command = [sys.executable, "-P", "-m", __name__, str(file.absolute()), str(target)]
        try:
            child = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise ValueError(f"reading it took more than {SECONDS} s") from error
        if child.returncode:
            last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise ValueError(last[0].split(":")[0] if last else f"its reader was ended by signal {-child.returncode}")
        return load_file(target)


def main(file: str, target: str) -> None:
    """The child: read, keep what is a tensor, write."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if _linux() else 0
    if used:
        most = used + 3 * Path(file).stat().st_size + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if _is_long(Path(file)):
        sys.exit(LONG)
    with torch.serialization.safe_globals([Namespace]):  # flags of the training program: a class without code
        content = torch.load(file, map_location="cpu", weights_only=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in _state_of(content).items()}, target)


def _is_long(file: Path) -> bool:
    """Whether the parts that are no numbers are longer than LONGEST, or a zip holds more than its size."""
    with open(file, "rb") as stream:
        start = stream.read(LONGEST)
    if start.startswith(b"PK"):  # as PyTorch writes it since 1.6, uncompressed
        members = zipfile.ZipFile(file).infolist()
        pickled = sum(one.file_size for one in members if one.filename.endswith(".pkl"))
        return pickled > LONGEST or sum(one.file_size for one in members) > file.stat().st_size
    rest = BytesIO(start)
    try:
        for _ in range(PARTS):
            deque(pickletools.genops(rest), maxlen=0)
    except ValueError:
        return True
    return False


def _state_of(content: Any) -> dict[str, Tensor]:
    for key in NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def _linux() -> bool:
    return sys.platform == "linux"


if __name__ == "__main__":
    main(*sys.argv[1:])
