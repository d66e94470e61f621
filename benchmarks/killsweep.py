"""Is a run that was killed, whenever that was, byte-identical to one that was not?

    python benchmarks/killsweep.py [--methods simclr moco everything] [--kills 10] [--workers 0 2] [--json FILE]

Drives tests/battery/killsweep.py: for each method and number of workers it trains undisturbed, then again and again
with a SIGKILL to the whole process group at a random moment from start-up to the end, followed by the same command;
until `--kills` signals met a run that had not ended. `everything` is the contract method of the tests: a teacher, a
queue, clusters, a method trained before it. A moment counts when the trained encoder, metrics.jsonl, and the last
checkpoint's weights, buffers and optimizer are byte-identical to the undisturbed run's. After each kill the newest
checkpoint must be whole as well (`selfsight inspect`); a run that has none yet is fine. Also told: how many kills met a
run that had a checkpoint and was not finished. Pictures are 64 crops of 40 px of scikit-learn's photographs; eight
to a batch, a save after every step, one thread.

    python benchmarks/killsweep.py --check RUN

is that check by itself: exit 0 when RUN is whole or has not begun.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import machine
import photographs

HOME = Path(__file__).resolve().parents[1]
BATTERY = HOME / "tests" / "battery" / "killsweep.py"
DRIVER = HOME / "tests" / "contract_driver.py"  # `selfsight` with the contract method in its registry
METHODS = ("simclr", "moco", "everything")
BEFORE = {"everything": "simclr"}  # stages that leave checkpoints of their own
PICTURES, SIDE = 64, 40
COUNTS = ("points", "killed", "training", "identical", "whole", "orphans")
ATTEMPTS = 5  # some moments fall after the end of a run; as many again are drawn in their place
FOUND = "found: "  # begins the line in which a check says how far the run had come
FILES = ("method.safetensors", "optimizer.safetensors")


def command(pictures: Path, method: str, *, workers: int, steps: int) -> str:
    """The training that is killed; it runs in an empty folder."""
    words = [sys.executable, str(DRIVER), "train", str(pictures), "--out", "run", "--method", method, "--use-all"]
    words += ["--encoder", "test_resnet", "--size", "32", "--batch", "8", "--for", f"{steps}steps", "--device", "cpu"]
    words += ["--precision", "fp32", "--threads", "1", "--workers", str(workers), "--save-every", "0.001s", "--quiet"]
    return shlex.join(words)


def finals(method: str, steps: int) -> list[str]:
    """The files that must be byte-identical."""
    found = ["run/encoder/model.safetensors", "run/metrics.jsonl"]
    found += [f"run/checkpoints/step-{steps:08d}/{name}" for name in FILES]
    if method in BEFORE:  # a stage before has half the steps
        stage = f"run/stages/{BEFORE[method]}"
        found += [f"{stage}/checkpoints/step-{steps // 2:08d}/{name}" for name in FILES]
    return found


def sweep(pictures: Path, method: str, *, workers: int, steps: int, kills: int, seed: int) -> dict[str, Any]:
    """One method, one number of workers, until `kills` signals met a run that had not ended."""
    train = command(pictures, method, workers=workers, steps=steps)
    with tempfile.TemporaryDirectory(prefix="killsweep_warm_") as scratch:  # moments are drawn from a warm run's length
        done = subprocess.run(shlex.split(train), cwd=scratch, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{method}: {done.stderr}")
    row: dict[str, Any] = {"deterministic": True, "met": [], "told": [], **dict.fromkeys(COUNTS, 0)}
    for again in range(ATTEMPTS):
        found = battery(train, finals(method, steps), kills - row["killed"], seed + 1000 * again)
        deterministic = row["deterministic"] and found["deterministic"]
        row = {name: row[name] + found[name] for name in (*COUNTS, "met", "told")} | {"deterministic": deterministic}
        if row["killed"] >= kills:
            break
    return {"method": method, "workers": workers, **row}


def battery(train: str, files: list[str], points: int, seed: int) -> dict[str, Any]:
    """What tests/battery/killsweep.py finds at `points` random moments."""
    words = [sys.executable, str(BATTERY), "--train", train, "--final", *files]
    words += ["--points", str(points), "--seed", str(seed)]
    words += ["--check", shlex.join([sys.executable, str(Path(__file__).resolve()), "--check", "run"])]
    with tempfile.TemporaryDirectory(prefix="killsweep_") as root:
        done = subprocess.run([*words, "--root", root], capture_output=True, text=True, check=False)
        log = Path(root, "log.txt").read_text(errors="replace")
    took = re.search(r"interruptions took effect of (\d+); exit codes \{(.*)\}", done.stdout)
    if took is None:
        raise SystemExit(f"{train}\n{done.stdout}{done.stderr}\n{log[-2000:]}")
    failed = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", _line(done.stdout, "FAILED:"))}
    killed = re.search(r"-9: (\d+)", took[2])
    met = re.findall(rf"^{FOUND}(.*)$", log, re.MULTILINE)
    return {
        "points": int(took[1]),
        "killed": int(killed[1]) if killed else 0,
        "training": sum("step" in state for state in met),
        "identical": int(took[1]) - failed.get("rerun", 0) - failed.get("differ", 0),
        "whole": int(took[1]) - failed.get("check", 0),
        "orphans": failed.get("orphans", 0),
        "deterministic": "WARNING" not in done.stdout,
        "met": met,
        "told": done.stdout.splitlines(),
    }


def _line(text: str, start: str) -> str:
    """The rest of the line that begins with `start`, or nothing."""
    return next((line.removeprefix(start) for line in text.splitlines() if line.startswith(start)), "")


def check(run: Path) -> int:
    """Exit code of `selfsight inspect RUN`, which also looks into the stages before; 0 where there is no run yet."""
    print(f"{FOUND}{state(run)}")
    if not (run / "recipe.yaml").exists():
        return 0
    from selfsight import checkpoints, cli

    warnings.simplefilter("error")  # falling back to the checkpoint before is not good enough here
    for stage in run.glob("stages/*"):
        newest = checkpoints.latest(stage / "checkpoints")
        if newest:
            checkpoints.verify(newest)
    return cli.main(["inspect", str(run)])


def state(run: Path) -> str:
    """How far a run has come."""
    if (run / "encoder" / "config.json").exists():
        return "finished"
    for folder in (run, *run.glob("stages/*")):
        steps = sorted(path.name for path in folder.glob("checkpoints/step-*") if ".tmp-" not in path.name)
        if steps:
            return f"{'' if folder == run else 'before: '}{steps[-1]}"
    return "planned" if (run / "recipe.yaml").exists() else "not begun"


def passed(row: dict[str, Any]) -> bool:
    """Nothing differs, nothing was lost, nothing was left behind."""
    whole = row["identical"] == row["whole"] == row["points"]
    return whole and row["deterministic"] and not row["orphans"]


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| method | workers | moments | killed before the end | in training | checkpoint whole | byte-identical |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["sweeps"]:
        values = (row[name] for name in ("method", "workers", "points", "killed", "training", "whole", "identical"))
        lines.append(f"| {' | '.join(map(str, values))} |")
    total, same = (sum(row[name] for row in results["sweeps"]) for name in ("points", "identical"))
    return "\n".join([*lines, "", f"{same} of {total} byte-identical."])


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--kills", type=int, default=10, help="for each method and number of workers")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--check", type=Path, metavar="RUN", help="only check this run's newest checkpoint")
    return parser.parse_args()


def main() -> None:
    """Sweep, print a table, write JSON if asked; exit 1 when anything differed."""
    asked = options()
    if asked.check:
        sys.exit(check(asked.check))
    rows = []
    with tempfile.TemporaryDirectory(prefix="killsweep_pictures_") as scratch:
        pictures = photographs.crops(Path(scratch, "pictures"), count=PICTURES, side=SIDE)
        for method in asked.methods:
            for workers in asked.workers:
                seed = asked.seed + workers
                row = sweep(pictures, method, workers=workers, steps=asked.steps, kills=asked.kills, seed=seed)
                print("\n".join(row.pop("told")), file=sys.stderr, flush=True)
                rows.append(row)
    results = {"settings": {"steps": asked.steps, "seed": asked.seed}, "sweeps": rows}
    machine.keep(asked.json, results)
    print(table(results))
    sys.exit(0 if all(map(passed, rows)) else 1)


if __name__ == "__main__":
    main()
