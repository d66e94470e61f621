"""The pages of the methods, and the README's table of them, written from the methods' own files; and the page of what
is promised (docs/reliability.md), from promises.toml and what was measured.

python docs/pages.py              write docs/methods/*.md, the table and docs/reliability.md anew
python docs/pages.py --check      exit 1 when one of them is not what the files and the measurements say
python docs/pages.py --pictures   also draw docs/methods/*.png: what each method sees of the demo's pictures
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from selfsight import methods
from selfsight.losses.exponential import cost
from selfsight.methods.base import QUICK_VIEW, Facts, Training
from selfsight.report.curves import chart
from selfsight.training.plan import CPU_BATCH, CPU_SIZE, LEAST_BATCHES

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
RESULTS = HERE.parent / "benchmarks" / "results"
TABLE = re.compile(r"(<!-- methods -->\n).*?(<!-- end of methods -->)", re.DOTALL)
PROMISED = """<!-- Written by docs/pages.py from docs/promises.toml and benchmarks/results/. -->

# What is promised, and how it is held to

Every promise has a test in the suite, which `scripts/test` runs. `scripts/torture` tries those at length whose last
column has a figure, writes what it finds into `benchmarks/results/`, and stops at the first promise that is broken; a
second call goes on from there. R14 is tried by `benchmarks/collapse.py`, on pictures of your own.

```sh
scripts/torture --list                      # the parts
scripts/torture stops ranks --minutes 20    # some of them, and for how long
```

The figures below are what it found; "not measured" means that the tests hold the promise and nothing was tried at
length yet. Kills at length are of runs in fp32, about eight at random moments for a method: eight without a failure
bound its rate below 31 % only. The suite kills every method, in bf16 as well. What none of it can show is a power cut,
which loses what the system had not written yet: files and folders are synced before they are renamed, and more is not
known."""
LIMITS = f"""On a CPU a batch has at most {CPU_BATCH} pictures, a view (without `--size`) at most {CPU_SIZE} px,
and a run takes 10 minutes (without `--for`). A small set has smaller batches: an epoch has {LEAST_BATCHES} at least."""
LOOK = "A first look, by the recipe that `train` took on a CPU ([what has changed](../which-method.md#measured))."
SMALL, LARGE = 64, 224  # sizes whose recipes are shown
MANY = 50_000  # pictures, without labels, for which automatic settings are shown
PICTURES, SIDE = 4, 64  # in a drawn sheet
CURVES = {"vdvs": ("c(d)", "error d = target - cosine", cost)}  # formulas that a page shows: title, x, formula
INK = ".grid{stroke:#8884}.tick{font:11px sans-serif;fill:#888}.line{fill:none;stroke:#2a78d6;stroke-width:2}.dot{r:0}"


def names() -> list[str]:
    """The methods that live in the package: tests add one of their own."""
    return [name for name in methods.names() if (Path(methods.__file__).parent / f"{name}.py").is_file()]


def idea(story: str) -> tuple[str, str]:
    """Title and idea of a method, from the first line of its file's docstring."""
    title, _, rest = story.split("\n\n")[0].replace("\n", " ").partition(": ")
    return title, rest.rstrip(".")


def sources(story: str) -> str:
    """The papers that the docstring names, as links; without one, nothing."""
    found = dict.fromkeys(re.findall(r"arXiv\s+(\d{4}\.\d{4,5})", story))
    return ", ".join(f"[arXiv {one}](https://arxiv.org/abs/{one})" for one in found)


def table() -> str:
    """The README's table."""
    rows = ["| method | idea | source |", "|---|---|---|"]
    for name in names():
        story = methods.describe(name)["story"]
        rows.append(f"| [`{name}`](docs/methods/{name}.md) | {idea(story)[1]} | {sources(story)} |")
    return "\n".join(rows) + "\n"


def page(name: str) -> str:
    """One method's page."""
    told = methods.describe(name)
    title, _ = idea(told["story"])
    paragraphs = told["story"].split("\n\n")
    parts = [
        "<!-- Written by docs/pages.py from the method's own file. -->",
        f"# {title}",
        f"`selfsight train DATA --method {name}`",
        *paragraphs,
        *seen(name),
        *([f"![{CURVES[name][0]} over the {CURVES[name][1]}]({name}.svg)"] if name in CURVES else []),
        "## Settings",
        *settings(name, told["settings"]),
        "## How it is trained when nobody says otherwise",
        recipes(name),
        *([LIMITS] if methods.get(name).kind == "pictures" else []),
        "## Measured",
        *card(name),
    ]
    return "\n\n".join(parts) + "\n"


def seen(name: str) -> list[str]:
    """The drawn sheet, where there is one."""
    if not (HERE / "methods" / f"{name}.png").exists():
        return []
    return ["## What the network sees", f"![pictures and what the method makes of them]({name}.png)"]


def curve(title: str, x: str, formula: Callable[[torch.Tensor], torch.Tensor]) -> str:
    """A formula from -1 to 1, as a picture of its own."""
    places = torch.linspace(-1, 1, 81)
    drawn = chart(list(zip(places.tolist(), formula(places).tolist(), strict=True)), title=title, x=x)
    head, _, rest = drawn.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{INK}</style>{rest}\n'


def settings(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """A row for each setting: its default, and what its file says of it."""
    lines, found = ["| `--set` | kind | default | |", "|---|---|---|---|"], automatic(name, rows)
    for row in rows:
        default = f"automatic: {found[row['name']]}" if row["default"] is None else f"`{row['default']}`"
        lines.append(f"| `{row['name']}` | {row['type']} | {default} | {row['note'].replace('|', '/')} |")
    told = (
        f"Automatic values are those on a CPU for {MANY:,} colour pictures without labels, at {SMALL} px and, where "
        f"that is another, at {LARGE} px. The plan that `train` prints has yours, each with its reason."
    )
    return ["\n".join(lines), told] if found else ["\n".join(lines)]


def automatic(name: str, rows: list[dict[str, Any]]) -> dict[str, str]:
    """What those settings become that have no default."""
    kind, given = methods.get(name), {row["name"]: row["default"] for row in rows}
    sizes = [kind.resolve(given, Facts(MANY, kind.usual(size, "cpu").batch, size, 3, 0)) for size in (SMALL, LARGE)]
    values = {key: dict.fromkeys(f"`{found[key][0]}`" for found in sizes) for key in sizes[0]}
    return {key: ", ".join(both) for key, both in values.items()}


def recipes(name: str) -> str:
    """The recipes for small and for large views; of documents there is one."""
    kind = methods.get(name)
    shown = {f"views of {size} px": kind.defaults(size) for size in (SMALL, LARGE)}
    if (quick := kind.usual(SMALL, "cpu")) != kind.defaults(SMALL):
        of = f" of pictures of {quick.whole(QUICK_VIEW)} px" if quick.view_share != 1 else ""
        shown = {f"views up to {QUICK_VIEW} px{of}, on a CPU": quick} | shown
    if kind.kind != "pictures":
        shown = {kind.kind: kind.defaults(LARGE)}
    lines = [f"| | {' | '.join(shown)} |", f"|---|{'---|' * len(shown)}"]
    for word, tell in ROWS.items():
        lines.append(f"| {word} | {' | '.join(tell(training) for training in shown.values())} |")
    return "\n".join(lines)


ROWS = {
    "encoder": lambda t: f"`{t.encoder}`",
    "optimizer": lambda t: f"{t.optimizer}, {moments(t)}, weight decay {decay(t)}",
    "learning rate": lambda t: f"{t.lr:g} {by(t)}{least(t)}",
    "batch": lambda t: f"{t.batch}",
    "length": lambda t: "10 minutes" if t.source == "measured" else f"{t.epochs} epochs{warming(t)}",
    "largest gradient": lambda t: (
        "no limit" if t.clip is None else f"{t.clip:g}{', in each tensor' if t.clip_each else ''}"
    ),
}


def decay(training: Training) -> str:
    """Weight decay, from the start to the end where it grows."""
    last = training.weight_decay * training.decay_growth
    return f"{training.weight_decay:g}" + (f" to {last:g}" if training.decay_growth != 1 else "")


def by(training: Training) -> str:
    """How the rate grows with the batch."""
    grows = {"linear": "with the batch", "sqrt": "with its root"}.get(training.lr_rule)
    return f"at a batch of {training.lr_batch}, grows {grows}" if grows else "for any batch"


def warming(training: Training) -> str:
    """How much of the length is warm-up."""
    return f", {training.warmup:g} of them warm-up" if training.warmup else ""


def moments(training: Training) -> str:
    """How long the optimizer remembers."""
    both = f"betas {training.momentum:g} and {training.beta2:g}"
    return both if training.optimizer == "adamw" else f"momentum {training.momentum:g}"


def least(training: Training) -> str:
    """What the rate does not fall below in small batches."""
    return f", {training.least:g} at least" if training.least else ""


def card(name: str) -> list[str]:
    """What was measured of the method, and how; see benchmarks/cards.py."""
    sys.path.insert(0, str(RESULTS.parent))
    import cards
    import documents

    if methods.get(name).kind == "documents":
        return [documents.table(kept("documents"))]
    if not (told := str(cards.card(kept("cards"), name))):
        return ["Not measured yet: run `benchmarks/cards.py`."]
    return [LOOK, told]


def kept(benchmark: str) -> dict[str, Any]:
    """What was measured by a script in `benchmarks/`."""
    file = RESULTS / f"{benchmark}.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {"rows": []}


def draw(name: str) -> None:
    """What the method sees of a few of the demo's pictures, as a sheet."""
    from PIL import Image

    import selfsight
    from selfsight.demo import unpack

    with tempfile.TemporaryDirectory() as scratch:
        pictures = unpack(Path(scratch) / "pictures")
        options = {"size": SIDE, "batch": 32, "length": "1steps", "precision": "fp32", "quiet": True}
        run = selfsight.train(pictures, method=name, out=Path(scratch) / "run", **options)
        Image.open(run.folder / "views.png").quantize(256).save(HERE / "methods" / f"{name}.png", optimize=True)


def reliability() -> str:
    """The page of what is promised."""
    measured: dict[str, list[str]] = {}
    for file in sorted(RESULTS.glob("*.json")):
        for number, said in json.loads(file.read_text("utf-8")).get("promises", {}).items():
            measured.setdefault(number, []).append(said)
    rows: dict[str, list[str]] = {}
    for one in tomllib.loads((HERE / "promises.toml").read_text("utf-8"))["promise"]:
        links = ", ".join(f"[{Path(test).stem}](../tests/{test})" for test in one["tests"])
        told = "; ".join(measured.get(one["number"], [one.get("told", "not measured")]))
        rows.setdefault(one["part"], []).append(f"| {one['number']} | {one['sentence']} | {links} | {told} |")
    head = ["| | promise | held by | at length |", "|---|---|---|---|"]
    return "\n\n".join([PROMISED, *("\n".join([f"## {part}\n", *head, *its]) for part, its in rows.items())]) + "\n"


def written() -> dict[Path, str]:
    """Every page and what it should hold."""
    pages = {HERE / "methods" / f"{name}.md": page(name) for name in names()}
    pages[HERE / "reliability.md"] = reliability()
    pages |= {HERE / "methods" / f"{name}.svg": curve(*shown) for name, shown in CURVES.items()}
    return pages | {README: TABLE.sub(lambda found: f"{found[1]}{table()}{found[2]}", README.read_text("utf-8"))}


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is stale")
    parser.add_argument("--pictures", nargs="*", metavar="METHOD", help="draw the sheets of these methods, or of all")
    asked = parser.parse_args()
    (HERE / "methods").mkdir(exist_ok=True)
    seeing = [name for name in names() if methods.get(name).kind == "pictures"]
    for name in () if asked.pictures is None else asked.pictures or seeing:
        draw(name)
    pages = written()
    stale = [file.name for file, text in pages.items() if not file.exists() or file.read_text("utf-8") != text]
    if asked.check:
        sys.exit(f"{', '.join(stale)}: stale, run docs/pages.py" if stale else 0)
    for file, text in pages.items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
