"""What stops a training otherwise: signals, a second process, a full disk, a rank that is lost; and what saving costs.

    python benchmarks/stops.py [--only NAME ...]

Each check is a training (or command) of its own on a tiny encoder; most end with the run gone on with, which must be
byte-identical to one that nobody disturbed. Those of small disks mount a tmpfs, which needs root:
without, they are told as not tried. Checks that are in the result file are not made again.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import machine
import photographs
import victims

RESULTS = Path(__file__).with_name("results") / "stops.json"
STEPS, PICTURES, SIDE = 60, 64, 40
TINY = "--method moco --encoder test_resnet --size 32 --batch 8 --device cpu --precision fp32 --threads 1 --use-all"
TINY += f" --for {STEPS}steps --workers 2"
SLOW, LIMIT = 10.0, 0.01  # seconds to end after a signal; share of the time that saving may take
FOLLOWED, SAVES = 8, 5  # steps that a save falls into, and saves that are tried
Told = tuple[bool, str]  # whether the promise was kept, and what was seen


def words(home: Path, save_every: str = "0.001s") -> list[str]:
    """The training."""
    return [
        "train",
        str(home.parent / "pictures"),
        *TINY.split(),
        "--save-every",
        save_every,
        "--out",
        str(home / "run"),
    ]


def expected(home: Path) -> dict[str, bytes]:
    """What a run that nobody disturbs leaves."""
    kept = home.with_name("straight")
    if not kept.exists():
        victims.fresh(home)
        assert victims.Victim(words(home), home).end() == 0, said(home)
        shutil.copytree(home, kept)
    victims.fresh(home)
    return victims.content(kept)


def said(home: Path) -> str:
    """What the commands printed, without the breaks of its lines."""
    return " ".join(home.with_suffix(".said").read_text(errors="replace").split())


def begun(home: Path, step: int = 3) -> victims.Victim:
    """A training that has saved at this step."""
    victim = victims.Victim(words(home), home)
    until = time.monotonic() + victims.PATIENCE
    while victim.wait(0.01) is None and time.monotonic() < until:
        if any(int(path.name[5:13]) >= step for path in (home / "run" / "checkpoints").glob("step-????????")):
            return victim
    raise SystemExit(f"it did not begin: {said(home)}")


def stopped(home: Path, number: int, code: int, *, group: bool = False, twice: bool = False) -> Told:
    """A signal, and the same command again."""
    right, victim, began = expected(home), begun(home), time.monotonic()
    (os.killpg if group else os.kill)(victim.pid, number)
    if twice:
        os.kill(victim.pid, number)
    ended = victim.end()
    took, whole, left = time.monotonic() - began, victims.whole(home / "run"), victims.left(victim.pid)
    again = victims.Victim(words(home), home).end()
    same = victims.content(home) == right
    kept = ended == code and took <= SLOW and whole and not left and again == 0 and same
    return kept, f"exit code {ended} after {took:.1f} s, {left} processes left, byte-identical: {same}"


def terminate(home: Path) -> Told:
    """SIGTERM ends after a save, exit code 143."""
    return stopped(home, signal.SIGTERM, 143)


def usr1(home: Path) -> Told:
    """SIGUSR1, as schedulers send it, ends after a save, exit code 138."""
    return stopped(home, signal.SIGUSR1, 138)


def interrupt(home: Path) -> Told:
    """Ctrl-C (SIGINT to the group) ends after a save, exit code 130."""
    return stopped(home, signal.SIGINT, 130, group=True)


def interrupt_twice(home: Path) -> Told:
    """A second Ctrl-C ends at once and harms nothing."""
    return stopped(home, signal.SIGINT, 130, twice=True)


def frozen(home: Path) -> Told:
    """SIGSTOP, a while later SIGCONT: the run goes on as if nothing had been."""
    right, victim = expected(home), begun(home)
    os.killpg(victim.pid, signal.SIGSTOP)
    time.sleep(5)
    os.killpg(victim.pid, signal.SIGCONT)
    code, same = victim.end(), victims.content(home) == right
    return code == 0 and same, f"exit code {code}, byte-identical: {same}"


def second_process(home: Path) -> Told:
    """A second process in the folder is refused and harms nothing; the lock of a killed one is not in the way."""
    right, victim = expected(home), begun(home)
    other = victims.Victim(words(home), home).end()
    running = victim.wait(0) is None
    victim.kill()
    again, same = victims.Victim(words(home), home).end(), victims.content(home) == right
    told = f"second: exit code {other}; after a kill: exit code {again}, byte-identical: {same}"
    return other == 2 and running and "in use by another process" in said(home) and again == 0 and same, told


@contextmanager
def tmpfs(place: Path, size: str) -> Iterator[Path]:
    """A small disk."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def full_disk(home: Path) -> Told:
    """A disk that fills up costs saves, not the run; one that has no room to begin with is a sentence."""
    right = expected(home)
    shutil.rmtree(home)
    with tmpfs(home, "24m"):
        victim = begun(home)
        with suppress(OSError), open(home / "ballast", "wb", buffering=0) as ballast:
            while ballast.write(bytes(1 << 16)):
                pass
        until = time.monotonic() + 60
        while "the next save tries again" not in said(home) and victim.wait(0.05) is None and time.monotonic() < until:
            pass
        refused, whole = said(home).count("the next save tries again"), victims.whole(home / "run")
        (home / "ballast").unlink()
        code = victim.end()
        again = victims.Victim(words(home), home).end() if code else 0
        same = victims.content(home) == right
    with tmpfs(home.with_name("tiny"), "1m") as tiny:
        none = victims.Victim(words(tiny), tiny).end()
        sentence = "free some space" in said(tiny)
        torn = len(list(tiny.rglob("*.tmp-*")))
    told = f"{refused} saves refused, exit code {code}, byte-identical: {same}; without room: exit code {none}"
    kept = refused > 0 and whole and code in (0, 2) and again == 0 and same and none == 2 and sentence and not torn
    return kept, told


def small_temporary(home: Path) -> Told:
    """TMPDIR on another, tiny file system does not matter."""
    right = expected(home)
    with tmpfs(home.with_name("temporary"), "4k") as place:
        line = [sys.executable, "-m", "selfsight", *words(home)]
        environment = {**os.environ, "TMPDIR": str(place)}
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        found = [path.name for path in place.rglob("*")]
    same = victims.content(home) == right
    told = f"exit code {done.returncode}, byte-identical: {same}, there in the end: {', '.join(found) or 'nothing'}"
    return done.returncode == 0 and same, told


def small_shared_memory(home: Path) -> Told:
    """A /dev/shm of 1 MiB does not matter, as containers have it: pictures come from threads."""
    right = expected(home)
    hidden = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$0" -m selfsight "$@"'  # from this process only
    line = ["unshare", "--mount", "sh", "-c", hidden, sys.executable, *words(home)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    same = victims.content(home) == right
    return done.returncode == 0 and same, f"exit code {done.returncode}, byte-identical: {same}"


def lost_rank(home: Path, lost: int, patience: float | None) -> Told:
    """Two gloo ranks, one of which is lost; the other's words and how long it waited."""
    sys.path.append(str(victims.HOME / "tests" / "training"))
    import test_ranks

    pictures = home.parent / "pictures"
    victims.fresh(home)
    faults = [None, None]
    faults[lost] = "still 5" if patience else "5"
    codes, words_of, took = test_ranks.ranks(home, [pictures, pictures], *faults, patience=patience, lost=lost)
    named = f"rank {lost} of 2 ended or stands still" in words_of[1 - lost]
    whole = victims.whole(home / "run")
    again, _, _ = test_ranks.ranks(home, [pictures, pictures])
    kept = codes[1 - lost] == 2 and named and whole and again == [0, 0] and took <= 10 + (patience or 0)
    return kept, f"the other ended after {took:.1f} s, rank named: {named}, gone on with: {again == [0, 0]}"


def killed_rank_0(home: Path) -> Told:
    """Rank 0 of 2 is killed: the other names it and ends within 10 s."""
    return lost_rank(home, 0, None)


def killed_rank_1(home: Path) -> Told:
    """Rank 1 of 2 is killed: the other names it and ends within 10 s."""
    return lost_rank(home, 1, None)


def frozen_rank_0(home: Path) -> Told:
    """Rank 0 of 2 stands still: the other names it within the ranks' patience (here 5 s, usually 120 s) and 10 s."""
    return lost_rank(home, 0, 5.0)


def frozen_rank_1(home: Path) -> Told:
    """Rank 1 of 2 stands still: the other names it within the ranks' patience (here 5 s, usually 120 s) and 10 s."""
    return lost_rank(home, 1, 5.0)


def saving(home: Path) -> Told:
    """Saving SimCLR with a ResNet-50 as often as is usual takes no more than 1 % of the time."""
    import torch
    from contract_parts import made

    from selfsight import checkpoints
    from selfsight.training import state
    from selfsight.training.saver import Saver

    victims.fresh(home)
    method, saver = made("simclr", encoder="resnet50"), Saver(None, print)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.0, momentum=0.9)
    pixels = torch.randint(0, 256, (32, 2, 64, 64, 3), dtype=torch.uint8)
    sizes = list[int]()

    def steps() -> float:
        began = time.process_time()
        for _ in range(FOLLOWED):
            optimizer.zero_grad(set_to_none=True)
            method.loss(method.project({"views": pixels}), {})["loss"].backward()
            optimizer.step()
        return time.process_time() - began

    def write(files: Any) -> None:
        sizes.append(sum(map(len, files.values())))
        checkpoints.write(home, len(sizes), files, {})

    steps()
    with_save, without = list[float](), list[float]()
    for turn in range(2 * SAVES):
        began = time.process_time()
        if turn % 2:
            saver.save(lambda room: state.pack(method, optimizer, room), write, must=False)
        held = time.process_time() - began
        (with_save if turn % 2 else without).append(held + steps())
        saver.look(wait=True)
    saver.close()
    longer = statistics.median(with_save) - statistics.median(without)
    told = f"{longer:.2f} s of a processor for a save of {sizes[-1] / 1e6:.0f} MB, held up for {saver.held:.2f} s"
    return longer / saver.usual <= LIMIT, f"{told}; one in {saver.usual:.0f} s: {longer / saver.usual:.2%} of the time"


CHECKS: tuple[Callable[[Path], Told], ...] = (
    terminate, usr1, interrupt, interrupt_twice, frozen, second_process, full_disk, small_temporary,
    small_shared_memory, killed_rank_0, killed_rank_1, frozen_rank_0, frozen_rank_1, saving,
)  # fmt: skip


PROMISES = {
    "R7": ("terminate", "usr1", "interrupt", "interrupt_twice", "saving"),
    "R9": ("full_disk", "small_temporary", "small_shared_memory"),
    "R11": ("frozen", "second_process"),
    "R12": ("killed_rank_0", "killed_rank_1", "frozen_rank_0", "frozen_rank_1"),
}


def promises(rows: list[dict[str, Any]]) -> dict[str, str]:
    """What the rows say of promises, for docs/reliability.md."""
    found = {}
    for number, names in PROMISES.items():
        its = [row for row in rows if row["name"] in names and row["kept"] is not None]
        broken = "".join(f"; not kept: {row['promise']} ({row['told']})" for row in its if not row["kept"])
        cost = "".join(f"; saving: {row['told']}" for row in its if row["name"] == "saving")
        if its:
            found[number] = f"{sum(row['kept'] for row in its)} of {len(its)} situations as promised{broken}{cost}"
    return found


def table(results: dict[str, Any]) -> str:
    """The findings as Markdown."""
    lines = ["| what | kept | seen |", "|---|---|---|"]
    for row in results["rows"]:
        kept = {True: "yes", False: "no", None: "not tried"}[row["kept"]]
        lines.append(f"| {row['promise']} | {kept} | {row['told']} |")
    return "\n".join(lines)


def made(check: Callable[[Path], Told], scratch: Path) -> dict[str, Any]:
    """The row of a check."""
    needs_root = check in (full_disk, small_temporary, small_shared_memory) and os.geteuid() != 0
    kept, told = (None, "it needs root to mount a small disk") if needs_root else check(scratch / "home")
    promise = (inspect.getdoc(check) or "").replace("\n", " ")
    return {"name": check.__name__, "promise": promise.rstrip("."), "kept": kept, "told": told}


def main() -> None:
    """Make the checks, keep each, print a table; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[check.__name__ for check in CHECKS])
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further check after these")
    parser.add_argument("--json", type=Path, default=RESULTS, help="the result file, which is also read")
    parser.add_argument("--table", action="store_true", help="only print what is in the result file")
    asked = parser.parse_args()
    rows = machine.before(asked.json)["rows"]
    until = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory(prefix="stops_") as scratch:
        for check in () if asked.table else CHECKS:
            wanted = asked.only is None or check.__name__ in asked.only
            if not wanted or any(row["name"] == check.__name__ for row in rows) or time.monotonic() > until:
                continue
            if not Path(scratch, "pictures").exists():
                photographs.crops(Path(scratch, "pictures"), count=PICTURES, side=SIDE)
            rows.append(row := made(check, Path(scratch)))
            print(json.dumps(row), file=sys.stderr, flush=True)
            machine.keep(asked.json, {"promises": promises(rows), "rows": rows})
    print(table({"rows": rows}))
    sys.exit(1 if any(row["kept"] is False for row in rows) else 0)


if __name__ == "__main__":
    main()
