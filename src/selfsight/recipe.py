"""A recipe is everything that defines a run: the same recipe on the same pictures gives the same weights.

It is resolved once, before the first step, and kept as `recipe.yaml` with the reason of every automatic value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from math import inf
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml

from selfsight.errors import DataError, RecipeError, RunError, brief, unknown

__all__ = ["Columns", "Data", "Named", "Recipe", "Within", "given", "kinds_of", "spelled"]
__all__ += ["Amount", "Count", "Decay", "Part", "Portion", "Positive", "Several", "Whole"]


@dataclass(frozen=True)
class Within:
    """Which numbers a value may be. It stands behind the kind: `Annotated[float, Within(0, 1)]`."""

    low: float
    high: float = inf
    above: bool = False  # the low end itself is left out

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high and not (self.above and number == self.low)

    def __str__(self) -> str:
        end = f" to {self.high:g}" if self.high < inf else "" if self.above else " on"
        return f"{'above' if self.above else 'from'} {self.low:g}{end}"


LARGEST = 1 << 17  # bytes of a recipe: reading them takes a second
Data = str | Path | Sequence[str | Path]
Whole = Annotated[int, Within(0)]
Count = Annotated[int, Within(1)]
Several = Annotated[int, Within(2)]
Amount = Annotated[float, Within(0)]
Positive = Annotated[float, Within(0, above=True)]
Portion = Annotated[float, Within(0, 1)]
Part = Annotated[float, Within(0, 1, above=True)]
Decay = Annotated[float, Within(0, 0.9999)]  # of a running mean, which must move


def kinds_of(annotation: Any) -> tuple[list[Any], Within | None]:
    """The kinds that an annotation allows, and the numbers: of `Count | None`, [int, NoneType] and 1 or more."""
    parts = [annotation] if get_origin(annotation) in (Annotated, dict, list, tuple) else get_args(annotation)
    found, limits = [], None
    for part in parts or [annotation]:
        if get_origin(part) is Annotated:
            part, limits = get_args(part)
        found.append(get_origin(part) or part)
    return found, limits


def spelled(annotation: Any) -> str:
    """A kind in the user's words, such as `int from 1 on`."""
    kinds, limits = kinds_of(annotation)
    names = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
    return f"{names} {limits}" if limits else names


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what."""

    label: str = "label"
    group: str = "group"
    split: str = "split"
    shared_labels: bool = False  # equal names in two sources mean the same class

    def spelled(self) -> dict[str, Any]:
        """In the words of `data.source.find` and of the command line."""
        names = {"label_column": self.label, "group_column": self.group, "split_column": self.split}
        return {**names, "shared_labels": self.shared_labels}


@dataclass(frozen=True)
class Named:
    """Which columns a command on a run names; None: as the run has it."""

    label: str | None = None
    group: str | None = None
    split: str | None = None
    shared_labels: bool = False

    def over(self, columns: Columns) -> tuple[Columns, tuple[str, ...]]:
        """The run's, with those that are named in their place; and which ones are the run's still."""
        named = {name: one for name, one in vars(self).items() if one}
        return replace(columns, **named), tuple(name for name in ("label", "group", "split") if name not in named)


@dataclass(frozen=True)
class Recipe:
    """What defines a run. Numbers are final: nothing in here is decided again when the run goes on."""

    data: list[str]  # absolute, as given
    method: str
    settings: dict[str, Any]
    encoder: str
    size: int  # side of a picture as the encoder is used on it, and of a view where `view_size` is None; pixels
    batch: int  # global
    micro_batch: int  # on one device
    length: str  # as asked: 10m, 2000steps, 30epochs, 500kimages
    steps: Whole  # what that came to; 0 in a --config: take them from the length
    seed: int
    # optimization
    optimizer: str
    lr: Positive  # the peak rate, as used
    momentum: Portion
    weight_decay: Amount
    warmup: Portion  # share of the steps
    clip: Positive | None
    # machine
    precision: str  # fp32 or bf16
    channels_last: bool
    threads: Count
    device: str
    world: int
    # data
    pictures: int  # that may be trained on
    listing: str  # digest of the listing: names, contents, labels, split
    pixels: dict[str, Any]  # PixelFormat
    use_all: bool = False
    columns: Columns = field(default_factory=Columns)
    # where the weights start
    weights: str | None = None
    pretrained: bool = False
    keep_statistics: bool = False  # the batch norms of given weights keep their statistics
    # looking on
    monitor_points: Count = 10
    monitor_pictures: Several = 500
    on_collapse: str = "warn"  # or stop
    keep: str = "last"  # or best-rankme: the look whose encoder is kept
    beta2: Annotated[float, Within(0, 0.99999)] = 0.999  # of AdamW, whose beta1 is `momentum`
    clip_each: bool = False  # `clip` is the largest norm of each tensor's gradient, not of all together
    decay_growth: Amount = 1.0  # how many times the weight decay it is at the end, along half a cosine
    view_size: Annotated[int, Within(8, 1024)] | None = None  # side of the views that are trained on, if not `size`
    least_side: Count | None = None  # larger pictures are halved as long as both sides stay so long, pixels
    output_stride: Count | None = None  # of a ResNet's last map; None: what weights tell, or 8 up to 40 px
    searched: dict[str, Any] | None = None  # views that were tried first, and what labels said of each
    # a method trained to its end first
    before: Recipe | None = None

    @property
    def side(self) -> int:
        """Side of the views that are trained on, pixels."""
        return self.view_size or self.size

    @property
    def looks(self) -> set[int]:
        """The steps at which the monitor looks: evenly spaced, the last one included."""
        return {round(self.steps * (point + 1) / self.monitor_points) for point in range(self.monitor_points)}

    @property
    def epoch_steps(self) -> int:
        """Steps of one epoch: floor(N / B)."""
        return self.pictures // self.batch

    @property
    def epochs(self) -> float:
        """How often a picture is seen."""
        return self.steps / max(1, self.epoch_steps)

    def to_yaml(self, reasons: Mapping[str, str] | None = None) -> str:
        """One line for each value and each setting of the method, its reason behind it: `settings.width` is one's.

        DataError where it would be longer than `from_yaml` reads.
        """
        why = reasons or {}
        lines = ["# What defines this run. Selfsight wrote it; another start in this folder uses it as it stands."]
        for name, value in asdict(self).items():
            if name == "settings" and value:
                own = [_lines(key, one, why.get(f"settings.{key}", "")) for key, one in value.items()]
                lines += ["settings:", *(f"  {line}" for part in own for line in part)]
            else:
                lines += _lines(name, value, why.get(name, ""))
        text = "\n".join(lines) + "\n"
        if len(text.encode()) > LARGEST:
            raise DataError(
                f"the names of {len(self.data):,} places are too long for a recipe; name pictures in one list or table"
            )
        return text

    @classmethod
    def from_yaml(cls, file: Path) -> Recipe:
        """The recipe in `file`; RunError when it is not one."""
        try:
            content = _loaded(file)
        except FileNotFoundError as error:
            raise RunError(
                f"{str(file.parent)!r} is not a run: it has no recipe.yaml; give the folder that `train` wrote"
            ) from error
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunError(
                f"{str(file)!r} cannot be read ({type(error).__name__}); restore it or train anew with another --out"
            ) from error
        return cls.from_dict(content, str(file))

    @classmethod
    def from_dict(cls, content: Any, where: str) -> Recipe:
        """The recipe of plain values; RunError names an unknown or missing key."""
        known = {f.name for f in fields(cls)}
        if not isinstance(content, dict):
            raise RunError(f"{where!r} holds no recipe")
        for name in content:
            if name not in known:
                raise RunError(f"{where!r}: {unknown('recipe entry', str(name), known)}")
        values = dict(content)
        try:
            values["columns"] = Columns(**values.get("columns", {}))
            if values.get("before") is not None:
                values["before"] = cls.from_dict(values["before"], where)
            return cls(**values)
        except TypeError as error:
            raise RunError(f"{where!r} is not a whole recipe: {brief(error)}") from error

    def difference(self, other: Recipe) -> str | None:
        """One sentence that names what the two disagree on, or None."""
        mine, theirs = asdict(self), asdict(other)
        different = [name for name in mine if mine[name] != theirs[name]]
        if not different:
            return None
        return "; ".join(f"{name} was {mine[name]!r} and is now {theirs[name]!r}" for name in different[:3])


def given(data: Data) -> list[str]:
    """DATA as a list of absolute addresses; what is no path, such as s3://..., stays for `source.find` to answer."""
    several = [data] if isinstance(data, str | Path) else list(data)
    return [str(one) if "://" in str(one) else str(Path(one).absolute()) for one in several]


def read_config(file: Path) -> dict[str, Any]:
    """The entries of a `--config` file: any of a recipe's names; RecipeError names an unknown one."""
    try:
        content = _loaded(file)
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"--config {str(file)!r} cannot be read: {brief(error)}") from error
    if not isinstance(content or {}, dict):
        raise RecipeError(f"--config {str(file)!r} holds no entries; write lines such as `batch: 64`")
    known = {f.name for f in fields(Recipe)}
    for name in content or {}:
        if name not in known:
            raise RecipeError(f"--config {str(file)!r}: {unknown('recipe entry', str(name), known)}")
    return dict(content or {})


class _Plain(yaml.SafeLoader):
    """YAML without what a recipe never needs and a stranger may: aliases, names twice, lists in lists without end."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias, which no recipe needs")
        self.depth += 1
        if self.depth > 20:
            raise yaml.YAMLError("it is nested without end")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [one.value for one, _ in node.value]
        if len(set(map(str, names))) < len(names):
            raise yaml.YAMLError("a name stands there twice")
        return super().construct_mapping(node, deep)


def _loaded(file: Path) -> Any:
    if file.stat().st_size > LARGEST:
        raise yaml.YAMLError("it is larger than any recipe")
    return yaml.load(file.read_text(encoding="utf-8"), _Plain)


def _dumped(entry: dict[str, Any]) -> str:
    """YAML that reads back as the entry: people's letters as they are, unless one would be taken for a line's end."""
    text = yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, width=10_000)
    if yaml.safe_load(text) != entry:
        text = yaml.safe_dump(entry, sort_keys=False, width=10_000)
    return text.rstrip("\n")


def _lines(name: str, value: Any, reason: str) -> list[str]:
    """An entry as YAML, its reason behind the first line; none behind text of several lines, where it would be text."""
    first, *rest = _dumped({name: value}).split("\n")
    told = "" if rest and isinstance(value, str) else _plain(reason)
    return [f"{first}  # {told}" if told else first, *rest]


def _plain(reason: str) -> str:
    """One line that a YAML comment may hold."""
    return "".join(letter if letter.isprintable() else " " for letter in reason)
