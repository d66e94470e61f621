"""What is asked of a comparison, whether it can be, and whether a folder is that of the same one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from selfsight import checkpoints, methods
from selfsight.data.manifest import Manifest
from selfsight.errors import RecipeError, RunError
from selfsight.nn import architectures, families
from selfsight.recipe import Columns
from selfsight.training.request import parse_length

FILE = "asked.json"  # makes a folder that of a comparison
USUAL_SIZE = 64  # pixels: what methods are asked their encoder for, where no size is given
DIFFERENT = {"length": "--for"}  # what people call it, where that is not its name
GROWING = ("data", "methods", "seeds")  # may differ from last time: what is there is used, and more is trained


@dataclass(frozen=True)
class Asked:
    """What was asked for. None means: decide."""

    data: list[str]
    methods: list[str]
    length: str
    seeds: int = 1
    encoder: str | None = None
    size: int | None = None
    pretrained: str | None = None
    threads: int | None = None
    device: str | None = None
    columns: Columns = field(default_factory=Columns)

    @property
    def kind(self) -> str:
        """Of sample that the methods learn from."""
        return methods.get(self.methods[0]).kind

    @property
    def shared(self) -> str:
        """The encoder for all: the one asked for, else the usual one of most of the methods, first named at a tie."""
        return self.encoder or Counter(map(self.usual, self.methods)).most_common(1)[0][0]

    def usual(self, name: str) -> str:
        """The encoder that `train` would give the method on this device."""
        return methods.get(name).usual(self.size or USUAL_SIZE, self.at).encoder

    @property
    def at(self) -> str:
        """The device that is asked for, else the usual one."""
        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")


def named(listed: str | Sequence[str] | None) -> list[str]:
    """The methods of `a,b,...` or of a list; RecipeError for fewer than two, for an unknown one, for mixed kinds."""
    several = listed.split(",") if isinstance(listed, str) else list(listed or [])
    names = [name.strip() for name in several if name.strip()]
    kinds = {name: methods.get(name).kind for name in names}  # RecipeError for an unknown one
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise RecipeError(
            f"--methods names {twice[0]!r} twice; name it once, and see --seeds to train it several times"
        )
    if len(names) < 2:
        told = f"only {names[0]!r} is named" if names else "none is named"
        raise RecipeError(
            f"a comparison needs two methods and {told}; name them with --methods, as in --methods a,b "
            "(`selfsight methods` lists what there is)"
        )
    first = names[0]
    other = next((name for name in names if kinds[name] != kinds[first]), None)
    if other is not None:
        raise RecipeError(
            f"{first!r} learns from {kinds[first]} and {other!r} from {kinds[other]}, and these cannot be compared; "
            "name methods of one kind"
        )
    return names


def check(asked: Asked) -> None:
    """RecipeError for a budget, a number of seeds or an encoder that cannot be."""
    parse_length(asked.length)
    if not 1 <= asked.seeds <= 100:
        raise RecipeError(f"--seeds {asked.seeds} is not between 1 and 100")
    if asked.encoder is not None and not families.known(asked.encoder):
        raise RecipeError(architectures.unknown_encoder(asked.encoder))


def home(asked: Asked, out: Path | None) -> Path:
    """Where it goes: `out`, or comparisons/<pictures>; RunError for a folder of other things."""
    folder = Path(out) if out else Path("comparisons") / (Path(asked.data[0]).stem or "pictures")
    if folder.exists() and not folder.is_dir():
        raise RunError(f"--out {str(folder)!r} is a file; name a folder that is new or empty")
    strangers = {path.name.split(".tmp-")[0] for path in folder.iterdir()} if folder.is_dir() else set()
    if strangers - {".lock", "manifest.parquet", FILE} and not (folder / FILE).is_file():
        what = "a run" if "recipe.yaml" in strangers else "other files"
        raise RunError(f"--out {str(folder)!r} holds {what} and no comparison; name a folder that is new or empty")
    return folder


def claim(folder: Path, asked: Asked, manifest: Manifest) -> str:
    """Note what is asked, or see that it is what the folder was begun with; the encoder for all, settled once.

    More methods and more seeds may be asked for than last time. RunError names any other difference.
    """
    file = folder / FILE
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    if kept is not None:
        now = asdict(asked)
        told = [name for name in now if name not in GROWING and now[name] != kept[name]]
        differs = [f"{DIFFERENT.get(n, n)} was {plain(kept[n])} and is now {plain(now[n])}" for n in told]
        changed = Manifest.load(folder / "manifest.parquet").difference(manifest)
        differs = [changed] if changed else differs
        if differs:
            raise RunError(
                f"the comparison in {str(folder)!r} cannot go on: {differs[0]}. Undo that, or name another --out"
            )
    shared = str(kept["shared"]) if kept else asked.shared
    manifest.save(folder / "manifest.parquet")
    checkpoints.replace_file(file, json.dumps(asdict(asked) | {"shared": shared}, indent=1).encode())
    return shared


def plain(value: Any) -> str:
    """A setting as people wrote it."""
    return "automatic" if value is None else repr(value)
