"""Is a command that was killed or refused, wherever that was, byte-identical in the end to one that was not?

    python benchmarks/killsweep.py [--cases simclr embed ...] [--modes time chain syscall error] [--points 20]

Modes: `time` kills the whole process group at a random moment, then gives the same command again; `chain` does so
again and again in one folder until the command ends; `syscall` is a chain that dies at calls that change the disk
(strace); `error` lets one such call fail, by a full disk (ENOSPC), a broken one (EIO), a quota (EDQUOT) or a
write-protected one (EROFS), and gives the command again if it gave up. Cases are methods, trained on a folder
and on shards, with 0 and 2 workers, and commands on a trained run (`to` is `embed --to` PostgreSQL). `everything` is
the contract method of the tests: a teacher, a queue, clusters, a method trained before it.

After each interruption the newest checkpoint of the run and of its stages must be whole and no process may be left; in
the end every file but those that tell the time must be the undisturbed command's (a save that was refused leaves an
older checkpoint before the newest). `overwriting` is a saver as it should not be, which the sweep must find out. Rows
that are in the result file are not measured again.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import machine
import photographs
import victims

RESULTS = Path(__file__).with_name("results") / "killsweep.json"
METHODS = ("simclr", "moco", "beit", "deepcluster", "vdvs", "supcon", "everything")
COMMANDS = ("embed", "pack", "export", "onnx", "compare", "to")
BROKEN = "overwriting"
MODES = ("time", "chain", "syscall", "error")
ERRORS = ("ENOSPC", "EIO", "EDQUOT", "EROFS")
STEPS, PICTURES, SIDE = 10, 64, 40
TINY = "--size 32 --batch 8 --device cpu --precision fp32 --threads 1 --use-all --save-every 0.001s --quiet"
COMPARED = ("simclr", "rotation")
COMPARING = "--for 4steps --encoder test_resnet --size 32 --device cpu --threads 1 --quiet"
TRAINED = {"checkpoints", "encoder", "untrained", "metrics.jsonl", "timing.jsonl", "report.html"}
TIMES = {"seconds", "second", "curves"}  # in the figures of a comparison
COUNTS = ("points", "died", "refused", "whole", "gone", "ends", "identical")


@dataclass
class Case:
    """A command in a folder; `state` is what must be the same in the end."""

    name: str
    words: list[str]
    home: Path
    workers: int = 0
    source: str = "folder"
    start: Path | None = None  # what the folder holds before
    state: Callable[[Path], Any] = victims.content
    options: dict[str, bool] = field(default_factory=dict)

    def run(self) -> int | None:
        """To its end, undisturbed."""
        return victims.Victim(self.words, self.home, **self.options).end()

    def empty(self) -> None:
        """As before the first start."""
        victims.fresh(self.home, self.start)

    def said(self) -> str:
        """The end of what it printed."""
        return self.home.with_suffix(".said").read_text(errors="replace")[-600:]


def differing(found: Any, expected: Any) -> str:
    """In which files, where it is of files."""
    if not isinstance(found, dict):
        return ""
    return f" in {', '.join(name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name))}"


@dataclass
class Sweep:
    """One case in one mode."""

    case: Case
    expected: Any
    seconds: float  # of an undisturbed run
    deaths: bool  # or refusals
    draw: random.Random
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    failed: list[str] = field(default_factory=list)

    def met(self, victim: victims.Victim, what: str) -> bool:
        """Look at what an interruption left; whether the command was killed or refused by it."""
        code = victim.process.exitcode
        died, gave_up = code is not None and code < 0, code == 2
        found = {"points": True, "died": died, "refused": gave_up, "gone": not victims.left(victim.pid)}
        runs = (self.case.home / "run", *self.case.home.glob("out/runs/*"))
        found["whole"] = all(map(victims.whole, runs))
        for name, right in found.items():
            self.counts[name] += right
        if code not in (0, 2, -9) or not found["whole"] or not found["gone"]:
            self.failed.append(f"{what}: exit code {code}, whole {found['whole']}, gone {found['gone']}")
        return died or gave_up

    def ended(self, what: str) -> None:
        """Compare with the undisturbed command."""
        self.counts["ends"] += 1
        found, expected = self.case.state(self.case.home), self.expected
        if not self.deaths and isinstance(found, dict):  # a refused save is not made up for: an older one stays
            found, expected = map(victims.newest, (found, expected))
        same = found == expected
        self.counts["identical"] += same
        if not same:
            self.failed.append(f"{what}: the end differs{differing(found, expected)}. {self.case.said()}")
        self.case.empty()

    def again(self, what: str) -> None:
        """The same command once more, to its end."""
        if self.case.run() != 0:
            self.failed.append(f"{what}: given again it failed. {self.case.said()}")
        self.ended(what)

    def time(self, chain: bool) -> None:
        """A kill at a random moment."""
        moment = self.draw.uniform(0.1, 0.6 if chain else 1.05) * self.seconds
        victim = victims.Victim(self.case.words, self.case.home, **self.case.options)
        if victim.wait(moment) is None:
            victim.kill()
        hit, what = self.met(victim, f"at {moment:.2f} s"), f"killed at {moment:.2f} s"
        if not hit:
            self.ended(what)
        elif not chain:
            self.again(what)

    def syscall(self, events: list[Any], paths: list[str]) -> None:
        """A kill at a call that changes the disk; what is there already makes later calls rarer."""
        call, number, line = self.draw.choice(events)
        hurt = (call, number, "signal=SIGKILL")
        victim = victims.traced(self.case.words, self.case.home, hurt, paths, **self.case.options)
        if not self.met(victim, line[:160]):
            self.ended(line[:160])

    def error(self, events: list[Any], paths: list[str]) -> None:
        """A call that fails."""
        (call, number, line), error = self.draw.choice(events), ERRORS[self.counts["points"] % len(ERRORS)]
        victim = victims.traced(self.case.words, self.case.home, (call, number, f"error={error}"), paths)
        what = f"{error} at {line[:160]}"
        self.again(what) if self.met(victim, what) else self.ended(what)


@dataclass
class Bench:
    """The sweeps, with what each undisturbed command leaves, without workers: it does not depend on them."""

    known: dict[tuple[str, str], tuple[Any, float]] = field(default_factory=dict)

    def undisturbed(self, case: Case) -> tuple[Any, float]:
        """The state in the end, and the seconds that it took."""
        key = case.name, case.source
        if key not in self.known:
            case.empty()
            calm, began = replace(case, words=case.words.copy()), time.monotonic()
            if "--workers" in calm.words:
                calm.words[calm.words.index("--workers") + 1] = "0"
            assert calm.run() == 0, case.said()
            self.known[key] = case.state(case.home), time.monotonic() - began
        case.empty()
        return self.known[key]

    def swept(self, case: Case, mode: str, points: int, seed: int, until: float) -> dict[str, Any]:
        """The row of a case in a mode. A traced run, or one more, says whether two undisturbed ones are the same."""
        expected, seconds = self.undisturbed(case)
        began, found = time.monotonic(), ([], [])
        if mode in ("syscall", "error"):
            found = victims.calls(case.words, case.home, **case.options)
        else:
            case.run()
            seconds = min(seconds, time.monotonic() - began)  # the first of all was slower
        sweep = Sweep(case, expected, seconds, mode != "error", random.Random(seed))
        deterministic = case.state(case.home) == expected
        case.empty()
        ways = {"time": lambda: sweep.time(False), "chain": lambda: sweep.time(True)}
        ways |= {"syscall": lambda: sweep.syscall(*found), "error": lambda: sweep.error(*found)}
        while sweep.counts["points"] < points and time.monotonic() < until:
            ways[mode]()
        if mode in ("chain", "syscall"):
            sweep.again("the last of a chain")
        calls = {"calls": len(found[0])} if found[0] else {}
        row = {"case": case.name, "workers": case.workers, "source": case.source, "mode": mode, **calls, **sweep.counts}
        return row | {"deterministic": deterministic, "failed": sweep.failed}


def trained(name: str, data: Path, home: Path, *, workers: int = 0, source: str = "folder") -> Case:
    """A method on its tiny encoder."""
    import contract_driver  # noqa: F401 - the contract method joins the registry
    from contract_parts import short, tiny

    method = "simclr" if name == BROKEN else name
    words = ["train", str(data), "--method", method, "--encoder", tiny(method), "--for", f"{STEPS}steps"]
    words += [word for key, value in short(method).items() for word in ("--set", f"{key}={value}")]
    words += [*TINY.split(), "--workers", str(workers), "--out", str(home / "run")]
    return Case(name, words, home, workers, source, options={"broken": name == BROKEN})


def commanded(name: str, pictures: Path, run: Path, home: Path, stack: ExitStack) -> Case:
    """A command on a finished run, over what an earlier one left where there is such a thing."""
    out = str(home / "out")
    words = {
        "embed": ["embed", str(run), str(pictures), "--out", out],
        "pack": ["pack", str(pictures), out],
        "export": ["export", str(run), "--out", out],
        "onnx": ["export", str(run), "--format", "onnx", "--out", out],
    }
    if name == "compare":
        return Case(name, comparing(pictures, home), home, start=planned(pictures, home), state=compared)
    if name != "to":
        return Case(name, words[name], home)
    import cluster

    address = stack.enter_context(cluster.cluster()).address
    return Database(name, ["embed", str(run), str(pictures), "--batch", "8", "--to", address], home, state=rows)


def comparing(pictures: Path, home: Path) -> list[str]:
    """A comparison of two methods."""
    return ["compare", str(pictures), *COMPARING.split(), "--methods", ",".join(COMPARED), "--out", str(home / "out")]


def planned(pictures: Path, home: Path) -> Path:
    """One of which only the plans are there: the precision in them follows from a measured speed."""
    start = home.with_name("planned")
    if not start.exists():
        victims.fresh(home)
        assert victims.Victim(comparing(pictures, home), home).end() == 0
        for method in COMPARED:
            run = f"out/runs/{method}-0"
            shutil.copytree(home / run, start / run, ignore=lambda *_: TRAINED)
        for name in ("asked.json", "manifest.parquet", "plans.json"):
            shutil.copy(home / "out" / name, start / "out")
    return start


def compared(home: Path) -> Any:
    """All files, and of figures those that tell no time."""

    def timeless(told: Any) -> Any:
        if isinstance(told, dict):
            return {key: timeless(value) for key, value in told.items() if key not in TIMES}
        return [timeless(one) for one in told] if isinstance(told, list) else told

    files = victims.content(home)
    return {name: timeless(json.loads(text)) if name.endswith(".json") else text for name, text in files.items()}


class Database(Case):
    """`embed --to`: the table goes with the folder."""

    def empty(self) -> None:
        """Without the table."""
        super().empty()
        import psycopg

        with psycopg.connect(self.words[-1], autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS selfsight")
        (self.home / "address").write_text(self.words[-1])


def rows(home: Path) -> Any:
    """All that the database holds, but for numbers that count what was tried."""
    from selfsight.searching.database import Database as Stored

    stored = Stored.open((home / "address").read_text()).fetched()
    return stored.vectors.tobytes(), stored.table.drop_columns(["row"]).to_pydict(), stored.names


def cases(asked: argparse.Namespace, scratch: Path, stack: ExitStack) -> Iterator[tuple[Case, str]]:
    """Everything asked for, with its mode: each case once before the workers and the shards."""
    pictures = photographs.crops(scratch / "pictures", count=PICTURES, side=SIDE)
    shards, home = scratch / "shards", scratch / "home"
    victims.fresh(scratch / "made")
    assert victims.Victim(["pack", pictures, shards], scratch / "made").end() == 0
    finished = trained("simclr", pictures, scratch / "made")
    assert finished.run() == 0, finished.said()
    for source, workers in (("folder", 0), ("folder", 2), ("shards", 2)):
        for mode in asked.modes:
            for name in asked.cases:
                if name not in COMMANDS:
                    data = pictures if source == "folder" else shards
                    yield trained(name, data, home, workers=workers, source=source), mode
                elif source == "folder" and workers == 0 and not (name == "to" and mode in ("syscall", "error")):
                    yield commanded(name, pictures, scratch / "made" / "run", home, stack), mode


def passed(row: dict[str, Any]) -> bool:
    """Nothing differs, nothing was lost, nothing was left behind; the broken saver must be found out at its calls."""
    right = row["deterministic"] and not row["failed"] and row["identical"] == row["ends"]
    right = bool(right and row["whole"] == row["gone"] == row["points"])
    return right if row["case"] != BROKEN else not right or row["mode"] != "syscall"


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown: a line for each case, workers and source together."""
    lines = ["| case | mode | starts | killed | gave up | checkpoint whole | ends | byte-identical |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    names = list(dict.fromkeys((row["case"], row["mode"]) for row in results["rows"]))
    for case, mode in names:
        its = [row for row in results["rows"] if (row["case"], row["mode"]) == (case, mode)]
        sums = {count: sum(row[count] for row in its) for count in COUNTS}
        values = (sums[name] for name in ("points", "died", "refused", "whole", "ends", "identical"))
        lines.append(f"| {case} | {mode} | {' | '.join(map(str, values))} |")
    return "\n".join([*lines, "", summary(results)])


def promises(rows: list[dict[str, Any]]) -> dict[str, str]:
    """What the rows say of promises, for docs/reliability.md."""

    def told(sentence: str, modes: tuple[str, ...], names: tuple[str, ...], workers: int = 0) -> str | None:
        its = [row for row in rows if row["mode"] in modes and row["case"] in names and row["workers"] >= workers]
        sums = {count: sum(row[count] for row in its) for count in COUNTS}
        cases = len({row["case"] for row in its})
        return sentence.format(cases=cases, **sums) if its else None

    same, methods = "{identical} of {ends} ends byte-identical", ("time", "chain", "syscall", "error")
    found = {
        "R1": told(f"{{died}} kills at random moments of {{cases}} methods: {same}", ("time",), METHODS),
        "R2": told(
            f"{{died}} kills again and again, at random moments or at system calls, of {{cases}} methods: {same}",
            ("chain", "syscall"),
            METHODS,
        ),
        "R3": told("with 2 workers: {identical} of {ends} ends are those of a run without", methods, METHODS, 2),
        "R6": told("{whole} of {points} times the newest checkpoint was whole or none was there yet", methods, METHODS),
        "R9": told(
            f"{{points}} refused calls, {{refused}} of them ended the run: {same}, "
            "but for a checkpoint that is not newest",
            ("error",),
            METHODS,
        ),
        "R11": told("{gone} of {points} times nothing was left after 2 s", methods, METHODS + COMMANDS),
        "R25": told(
            f"{{points}} starts that were killed or refused a call, of {{cases}} commands: {same}; "
            "`browse --export` by the tests only",
            methods,
            COMMANDS,
        ),
    }
    return {number: said for number, said in found.items() if said}


def summary(results: dict[str, Any]) -> str:
    """One sentence."""
    honest = [row for row in results["rows"] if row["case"] != BROKEN]
    points, ends, same, whole = (sum(row[c] for row in honest) for c in ("points", "ends", "identical", "whole"))
    found = [row for row in results["rows"] if row["case"] == BROKEN and row["mode"] == "syscall"]
    control = f"; a saver that writes in place is found out: {'yes' if all(map(passed, found)) else 'no'}"
    told = f"{points} starts that were to be killed or refused: {whole} left a whole checkpoint or none yet, "
    told += f"{same} of {ends} ends byte-identical"
    return told + (control if found else "") + "."


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = (*METHODS, *COMMANDS, BROKEN)
    parser.add_argument("--cases", nargs="+", choices=every, default=list(every))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--points", type=int, default=20, help="interruptions in each row")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further interruption after these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS, help="the result file, which is also read")
    parser.add_argument("--table", action="store_true", help="only print what is in the result file")
    return parser.parse_args()


def main() -> None:
    """Sweep, keep each row, print a table; exit 1 when anything differed."""
    asked, until = options(), time.monotonic()
    until += 60 * asked.minutes
    results = {"rows": machine.before(asked.json)["rows"]}
    if not asked.table and not shutil.which("strace") and {"syscall", "error"} & {*asked.modes}:
        sys.exit("the modes syscall and error need strace: apt install strace")
    bench = Bench()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="killsweep_")))
        for case, mode in () if asked.table else cases(asked, scratch, stack):
            key = {"case": case.name, "workers": case.workers, "source": case.source, "mode": mode}
            if any(all(row[name] == value for name, value in key.items()) for row in results["rows"]):
                continue
            if time.monotonic() >= until:
                break
            results["rows"].append(row := bench.swept(case, mode, asked.points, asked.seed, until))
            print(json.dumps(row), file=sys.stderr, flush=True)
            machine.keep(asked.json, {"promises": promises(results["rows"]), **results})
    print(table(results))
    sys.exit(0 if all(map(passed, results["rows"])) else 1)


if __name__ == "__main__":
    main()
