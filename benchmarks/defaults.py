"""Which method should `train` use when nobody says, with which optimizer, rate, temperature, views and encoder?

    python benchmarks/defaults.py --data DIR [--lengths 3m 10m] [--methods ...] [--variants ...] [--tasks ...]
                                  [--pictures 500 0] [--seeds 0 1 2] [--weights efficientnet-lite0-57934424.pth]
    python benchmarks/defaults.py --table

Every method with its own defaults, and every variant of it that changes one thing, on small sets (the first 500
training pictures, evenly spaced) and on all pictures (0). A variant that a method has no setting for is left out, and
one that it refuses is told below the table. A row is that of cards.py: a `selfsight train` and a `selfsight evaluate`.

The tables: for each number of pictures and each length the mean kNN over seeds, a column for each set of pictures, best
mean rank over the sets first; "helped" counts the runs whose 95 % interval of the paired difference to the best of
untrained, raw pixels and simple statistics lies above 0, by kNN and by the linear probe. Then what each variant adds to
its method's own defaults: mean over sets and seeds, with the least and the most of the sets. `quality` is what a run's
line shows, of training pictures: how it came about in time.

DIR is that of quality.py. Nothing else should run beside it. A measurement that was stopped goes on: rows that are in
the result file are not made again. All of it is days on two cores; the flags restrict it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import cards
import machine
import quality
import vdvs

if TYPE_CHECKING:
    from selfsight.methods.base import Method

RESULTS = Path(__file__).with_name("results") / "defaults.json"
LENGTHS = ("3m", "10m")
TASKS = ("emoji_free", "fashion_mnist", "terrain", "terrain_textures", "elpv")
MEASURES = ("kNN", "linear")
OWN = "own"
VARIANTS: dict[str, list[str]] = {
    OWN: [],
    "adamw 0.001": ["--set", "optimizer=adamw", "--lr", "0.001", "--set", "weight_decay=1e-4"],
    "adamw 0.002": ["--set", "optimizer=adamw", "--lr", "0.002", "--set", "weight_decay=1e-4"],
    "temperature 0.1": ["--set", "temperature=0.1"],
    "temperature 0.2": ["--set", "temperature=0.2"],
    "colour kept": ["--views", "{}-keep-colour"],
    "hue kept": ["--views", "{}-keep-hue"],
    "gentle": ["--views", "{}-gentle"],
    "the method's views": ["--views", "{}"],
    "batch 64": ["--batch", "64"],
    "resnet10t": ["--encoder", "resnet10t"],
    "resnet34": ["--encoder", "resnet34"],
    "vit_tiny": ["--encoder", "vit_tiny_patch16_224"],
    "32 px": ["--size", "32"],
    "96 px": ["--size", "96"],
}
STARTED = "from weights"  # published ones, see vdvs.py: the verdict is then against these as they came, too
WEIGHTS = "{weights}"  # the file's place in a command
START = ["--encoder", vdvs.ENCODER, "--weights", WEIGHTS]
RATES = ("0.001", "0.0003", "0.0001")
VARIANTS |= {STARTED: START} | {f"{STARTED}, rate {lr}": [*START, "--lr", lr] for lr in RATES}
BATCHES = ["--set", "keep_statistics=false"]  # batch norms have the statistics of each batch, not of the weights
VARIANTS |= {f"{STARTED}, batch statistics, rate {lr}": [*START, *BATCHES, "--lr", lr] for lr in RATES}
PUBLISHED = "published"  # of methods whose own defaults on a CPU are others
VARIANTS[PUBLISHED] = []
QUICK = "quick"  # what `methods.base.QUICK` has, of methods whose own defaults on a CPU are the published ones
VARIANTS[QUICK] = []
FACTS = {"size": 64, "batch": 128, "channels": 3, "classes": 2, "count": 5000}  # what usual views are asked by


def asks(method: str, variant: str) -> list[str] | None:
    """What the variant adds to the command, or None where the method has nothing like it."""
    from selfsight import methods

    kind = methods.get(method)
    known = methods.settings(kind)
    if variant.startswith("temperature") and "temperature" not in known:
        return None
    if variant in (PUBLISHED, QUICK):
        return recipe_of(kind, published=variant == PUBLISHED)
    if "--views" not in VARIANTS[variant]:
        return VARIANTS[variant]
    if "augmentation" not in known:
        return None
    return [word.format(usual_views(method)) for word in VARIANTS[variant]]


def usual_views(method: str) -> str | None:
    """The view recipe that the method has for small views; None where its views are its task."""
    from selfsight import methods
    from selfsight.methods.base import Facts

    kind = methods.get(method)
    settings = {name: one.default for name, one in methods.settings(kind).items()}
    if "augmentation" not in settings:
        return None
    if settings["augmentation"] is None:
        facts = Facts(**FACTS, per_class=(FACTS["count"] // 2,) * 2)
        return str(kind.resolve(settings, facts)["augmentation"][0])
    return str(settings["augmentation"])


def beside(key: dict[str, Any], flags: list[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    """The flags of a variant that names no views, with those of its method's own row: a long run would search for some,
    and what the variant adds would not be that of its one change. What starts from weights may search as well."""
    from selfsight.training.request import parse_length
    from selfsight.training.view_search import LONG

    number, unit = parse_length(key["length"])
    short = unit != "minutes" or number < LONG
    if short or key["variant"] in (OWN, STARTED) or "--views" in flags or (views := usual_views(key["method"])) is None:
        return flags
    own = [one["recipe"] for one in rows if (key | {"variant": OWN}).items() <= one.items() and "refused" not in one]
    return [*flags, "--views", own[0]["augmentation"] if own else views]


def recipe_of(kind: type[Method], *, published: bool) -> list[str] | None:
    """What makes the published recipe, in batches of 128 at most, or the quick one; None where that is the method's own
    on a CPU."""
    from selfsight.methods.base import OPTIMIZATION
    from selfsight.methods.base import QUICK as MEASURED

    own, usual = kind.defaults(FACTS["size"]), kind.usual(FACTS["size"], "cpu")
    training = own if published else MEASURED
    if training.source == usual.source:
        return None
    batch = min(training.batch, FACTS["batch"])
    known = [f"{name}={'null' if (value := getattr(training, name)) is None else value}" for name in OPTIMIZATION]
    known.append(f"warmup={training.warmup / training.epochs:g}")
    flags = ["--encoder", training.encoder, "--batch", str(batch), "--lr", str(training.rate(batch)[0])]
    return [*flags, *(word for setting in known for word in ("--set", setting))]


def wanted(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows to make, seed by seed."""
    from selfsight import methods

    chosen = asked.methods or [name for name in methods.names() if methods.get(name).kind == "pictures"]
    named, cores = ("seed", "length", "pictures", "task", "variant", "method"), machine.facts()["cores"]
    for values in product(asked.seeds, asked.lengths, asked.pictures, asked.tasks, asked.variants, chosen):
        key = {"cores": cores, **dict(zip(named, values, strict=True))}
        if asks(key["method"], key["variant"]) is not None:
            yield key


def row(asked: argparse.Namespace, key: dict[str, Any], rows: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Train and evaluate once, or what was said against it; `rows` are those there are."""
    data = asked.data
    folder = data / "runs" / "default-{task}-{pictures}-{method}-{variant}-{length}-{cores}-{seed}".format(**key)
    source, task = data / quality.TASKS[key["task"]].folder, quality.TASKS[key["task"]]
    table = source / "labels.csv"
    if key["pictures"]:
        split = vdvs.Task(task.split, task.label, None, task.told)
        table = vdvs.listing(source, split, key["pictures"], folder.with_name(f"{folder.name}.csv"))
    named = (key["task"], key["method"], key["length"], key["seed"])
    flags = beside(key, asks(key["method"], key["variant"]) or [], rows)
    if WEIGHTS in flags:
        file = vdvs.converted(asked.weights, data / "runs")
        flags = [str(file) if word == WEIGHTS else word for word in flags]
    try:
        return cards.made(table, folder, *named, flags)
    except cards.Refused as refusal:
        return {"refused": cards.said(refusal)}


def table(results: dict[str, Any]) -> str:
    """The methods in order for each number of pictures and length, then the variants, then what was refused."""
    rows, parts = results["rows"], []
    asked = ("pictures", "length", "cores")
    for pictures, length, cores in dict.fromkeys(tuple(one[name] for name in asked) for one in rows):
        alike = [one for one in rows if tuple(one[name] for name in asked) == (pictures, length, cores)]
        made, refused = ([one for one in alike if ("refused" in one) == no] for no in (False, True))
        each = f"{length} of {cores} core{'s' * (cores > 1)} each"
        parts += [f"**{pictures or 'All'} training pictures; {each}**", "", *ranking(made), ""]
        begun = [one for one in made if cards.START in one["scores"]]
        parts += [*started(begun), ""] if begun else []
        looked = [one for one in made if "curve" in one]
        parts += [*curves(looked), ""] if looked else []
        parts += [*added(made), ""] if any(one["variant"] != OWN for one in made) else []
        told = [f"* `{one['method']}`, {one['variant']}, {one['task']}: {one['refused']}" for one in refused]
        parts += [*dict.fromkeys(told), ""] if told else []  # seeds are refused alike
    return "\n".join(parts).rstrip()


def ranking(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each method with its own defaults, and for what needs no training; ranks are among the methods."""
    tasks = list(dict.fromkeys(one["task"] for one in rows))
    own = [one for one in rows if one["variant"] == OWN]
    found = {name: means(own, name, tasks) for name in dict.fromkeys(one["method"] for one in own)}
    whole = {name: values for name, values in found.items() if None not in values}
    ranks = {
        name: mean(1 + sum(other[n] > values[n] for other in whole.values()) for n in range(len(tasks)))
        for name, values in whole.items()
    }
    lines = [["method", *tasks, "mean rank", "helped, kNN", "helped, linear probe"], ["---"] * (len(tasks) + 4)]
    for name in sorted(found, key=lambda one: ranks.get(one, 99.0)):
        verdicts = [one["verdict"] for one in own if one["method"] == name]
        rank = f"{ranks[name]:.1f}" if name in ranks else ""
        lines.append([f"`{name}`", *map(shown, found[name]), rank, helped(verdicts), helped(of_probe(verdicts))])
    for kind in cards.BESIDE:
        lines.append([kind.replace("_", " "), *(shown(accuracy(own, task, kind)) for task in tasks), "", "", ""])
    return [f"| {' | '.join(cells)} |" for cells in lines]


def helped(verdicts: Sequence[dict[str, Any]]) -> str:
    """In how many cases training was shown to help."""
    return f"{sum(bool(one['helped']) for one in verdicts)} of {len(verdicts)}" if verdicts else ""


def of_probe(verdicts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The verdicts on the linear probe, which older rows lack."""
    return [one["linear"] for one in verdicts if "linear" in one]


def means(rows: Sequence[dict[str, Any]], method: str, tasks: Sequence[str]) -> list[float | None]:
    """A method's mean kNN on each set of pictures, None where it was not measured."""
    return [accuracy([one for one in rows if one["method"] == method], task) for task in tasks]


def accuracy(rows: Sequence[dict[str, Any]], task: str, kind: str = "encoder") -> float | None:
    """The mean kNN of the rows of one set of pictures."""
    found = [one["scores"][kind]["kNN"]["accuracy"] for one in rows if one["task"] == task]
    return mean(found) if found else None


def shown(value: float | None) -> str:
    """A number, or nothing."""
    return "" if value is None else f"{value:.3f}"


def started(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each run that started from given weights: what it came to, and these as they were."""
    head = [f"{measure}{as_given}" for measure in cards.MEASURES for as_given in ("", ", as given")]
    head += ["lead over as given, kNN", "linear"]
    lines = [["method", "variant", "set", "seed", *head, "helped, kNN", "helped, linear probe"]]
    lines.append(["---"] * len(lines[0]))
    for one in rows:
        pairs = [[one["scores"][kind][m]["accuracy"] for kind in ("encoder", cards.START)] for m in cards.MEASURES]
        said = ["yes" if part["helped"] else "no" for part in (one["verdict"], one["verdict"]["linear"])]
        leads = [lead(part.get("pairs", {}).get(cards.START)) for part in (one["verdict"], one["verdict"]["linear"])]
        named = [f"`{one['method']}`", one["variant"], one["task"], str(one["seed"])]
        lines.append([*named, *(shown(value) for pair in pairs for value in pair), *leads, *said])
    return [f"| {' | '.join(cells)} |" for cells in lines]


def lead(pair: dict[str, Any] | None) -> str:
    """A paired difference and its interval, which older rows lack."""
    return "{:+.3f} ({:+.3f} to {:+.3f})".format(pair["difference"], *pair["difference_interval"]) if pair else ""


def curves(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each run: how good training pictures said it was, while it went on."""
    lines = [["method", "variant", "set", "seed", "`quality` after minutes of training"], ["---"] * 5]
    for one in rows:
        points = ", ".join(f"{seconds / 60:.1f}: {quality:.3f}" for seconds, quality in one["curve"])
        lines.append([f"`{one['method']}`", one["variant"], one["task"], str(one["seed"]), points])
    return [f"| {' | '.join(cells)} |" for cells in lines]


def added(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each method and variant: what it adds to the method's own defaults on the same sets and seeds."""
    head = [f"{what} {measure}" for measure in MEASURES for what in ("adds to", "least and most of the sets,")]
    lines = [["method", "variant", *head, "sets", "seeds"], ["---"] * (4 + len(head))]
    named = {(one["method"], one["variant"], one["task"], one["seed"]): one for one in rows}
    for method, variant in dict.fromkeys((one["method"], one["variant"]) for one in rows if one["variant"] != OWN):
        gains: dict[str, list[list[float]]] = {}
        for (name, changed, task, seed), one in named.items():
            usual = named.get((method, OWN, task, seed))
            if (name, changed) == (method, variant) and usual:
                scores = [[two["scores"]["encoder"][m]["accuracy"] for m in MEASURES] for two in (one, usual)]
                gains.setdefault(task, []).append([mine - its for mine, its in zip(*scores, strict=True)])
        if gains:
            each = [[mean(values) for values in zip(*seeds, strict=True)] for seeds in gains.values()]
            cells = [told(values) for values in zip(*each, strict=True)]
            seeds = max(map(len, gains.values()))
            lines.append(
                [f"`{method}`", variant, *(text for pair in cells for text in pair), str(len(each)), str(seeds)]
            )
    return [f"| {' | '.join(cells)} |" for cells in lines]


def told(values: Sequence[float]) -> tuple[str, str]:
    """The mean over sets, and the least and the most of them."""
    return f"{mean(values):+.3f}", f"{min(values):+.3f} to {max(values):+.3f}"


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = machine.asks(__doc__, RESULTS)
    parser.add_argument("--lengths", nargs="+", default=LENGTHS)
    parser.add_argument("--tasks", nargs="+", choices=quality.TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", help="default: every method that learns from pictures")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[OWN])
    parser.add_argument("--pictures", nargs="+", type=int, default=[0], help="training pictures; 0: all there are")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--weights", type=Path, help=f"for the variants {STARTED!r}")
    asked = machine.answered(parser, "data")
    if asked.weights is None and not asked.table and any(STARTED in one for one in asked.variants):
        parser.error(f"--weights must be given for the variants {STARTED!r}; vdvs.py says where they are from")
    return asked


def main() -> None:
    """Make the rows that are missing, keep each at once, and print all."""
    asked = options()
    results = quality.begun(asked)
    quality.filled(asked, results, () if asked.table else wanted(asked), lambda key: [row(asked, key, results["rows"])])
    print(table(results))


if __name__ == "__main__":
    main()
