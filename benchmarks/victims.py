"""`selfsight` in processes that are killed, stopped or refused: how they are started, hurt, and looked at afterwards.

They are forked from one that has imported everything and run nothing, which saves seconds each. System calls are hurt
by strace, which joins the forked process before its first line.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parents[1]
sys.path.append(str(HOME / "tests"))  # contract_driver: `selfsight` with the contract method in its registry

FORKED = multiprocessing.get_context("forkserver")
PRELOADED = "selfsight.cli selfsight.training.session selfsight.searching.collect selfsight.exporting.folder "
PRELOADED += "selfsight.comparison.story selfsight.report pandas pyarrow.dataset PIL.PngImagePlugin"
FORKED.set_forkserver_preload(PRELOADED.split())
CALLS = "openat,write,pwrite64,fsync,rename,unlink,unlinkat,mkdir,rmdir,ftruncate"  # what changes a disk
CLOCK = {"timing.jsonl", "report.html", "compare.html", ".lock", "recipe.yaml", "plans.json"}  # tell the time
ANY_TRACER = 0x59616D61, ctypes.c_ulong(-1)  # prctl's PR_SET_PTRACER, PR_SET_PTRACER_ANY
PATIENCE, LEFT = 300.0, 2.0  # seconds for a command, and for its processes to be gone
STEP = re.compile(r"(.*/)?step-(\d{8})/")
EVENT = re.compile(r"(\d+) +(\w+)\(")

Hurt = tuple[str, int, str]  # a system call, the how manieth of its name, and strace's word for what happens to it


def live(words: list[str], home: Path, traced: bool, broken: bool) -> None:
    """In the forked process: the command line, in `home`."""
    os.setsid()
    os.chdir(home)
    with open(home.with_suffix(".said"), "ab") as said:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(said.fileno(), stream.fileno())
    if traced:
        ctypes.CDLL(None).prctl(*ANY_TRACER)
        while "TracerPid:\t0" in Path("/proc/self/status").read_text():
            time.sleep(0.002)
    import contract_driver

    if broken:
        from selfsight import checkpoints

        checkpoints.write = in_place
    contract_driver.run(words, None)


def in_place(folder: Path, step: int, files: dict[str, bytes], facts: dict[str, Any]) -> Path:
    """A saver as it should not be: one folder, written over. For the proof that the sweep finds such a one."""
    from selfsight import checkpoints

    for old in checkpoints.steps(folder):
        (folder / f"step-{old:08d}").rename(folder / f"step-{step:08d}")
    place = folder / f"step-{step:08d}"
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    digests = {name: {"bytes": len(content), "sha256": checkpoints._sha(content)} for name, content in files.items()}
    (place / "manifest.json").write_bytes(checkpoints.signed({"facts": {"step": step, **facts}, "files": digests}))
    return place


class Victim:
    """One process and what became of it."""

    def __init__(self, words: Sequence[object], home: Path, *, traced: bool = False, broken: bool = False) -> None:
        self.home = home
        self.process = FORKED.Process(target=live, args=([str(word) for word in words], home, traced, broken))
        self.process.start()
        self.pid = int(self.process.pid or 0)

    def wait(self, seconds: float = PATIENCE) -> int | None:
        """The exit code, None while it runs."""
        self.process.join(seconds)
        return self.process.exitcode

    def end(self) -> int | None:
        """Wait for it; one that does not end is killed, and its code is None."""
        code = self.wait()
        if code is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.join()
        return code

    def kill(self, number: int = signal.SIGKILL, *, group: bool = True) -> int | None:
        """Send a signal, to the whole group or to the main process, and wait for the end."""
        (os.killpg if group else os.kill)(self.pid, number)
        return self.end()


def left(leader: int) -> int:
    """Processes of a session that are still there after a while; they are killed."""
    until = time.monotonic() + LEFT
    while (found := session(leader)) and time.monotonic() < until:
        time.sleep(0.05)
    for process in found:
        os.kill(process, signal.SIGKILL)
    return len(found)


def session(leader: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def traced(words: Sequence[object], home: Path, hurt: Hurt | None, paths: Sequence[str], **options: bool) -> Victim:
    """Run to the end under strace. Without `hurt` its calls on files are written down; `paths` are those that count."""
    victim = Victim(words, home, traced=True, **options)
    line = ["strace", "-f", "-qq", "-y", "-p", str(victim.pid), "-e", f"trace={CALLS}"]
    if hurt is not None:
        call, number, what = hurt
        line += ["-e", f"inject={call}:{what}:when={number}"]
        line += [word for path in paths for word in ("-P", path.replace("PID", str(victim.pid)))]
    out = str(home.with_suffix(".trace"))
    with subprocess.Popen([*line, "-o", out], stderr=subprocess.DEVNULL) as tracer:
        victim.end()
        tracer.wait(PATIENCE)
    return victim


def calls(words: Sequence[object], home: Path, **options: bool) -> tuple[list[tuple[str, int, str]], list[str]]:
    """The calls that change `home`, as (name, the how manieth of its thread, line), and all paths that they name."""
    victim = traced(words, home, None, (), **options)
    if victim.process.exitcode:
        raise SystemExit(home.with_suffix(".said").read_text()[-2000:])
    inside, counts, events, paths = str(home), Counter[str](), [], set[str]()
    for line in home.with_suffix(".trace").read_text(errors="replace").splitlines():
        found = EVENT.match(line)
        named = re.findall(rf'["<]({re.escape(inside)}/[^">]*)[">]', line)
        if found is None or not named:
            continue
        paths.update(named)
        counts[found[0]] += 1  # strace counts for each thread
        if found[2] != "openat" or re.search(r"O_WRONLY|O_RDWR|O_CREAT", line):
            events.append((found[2], counts[found[0]], line))
    return events, sorted(path.replace(str(victim.pid), "PID") for path in paths)


def fresh(home: Path, start: Path | None = None) -> Path:
    """An empty folder, or a copy of `start`."""
    shutil.rmtree(home, ignore_errors=True)
    home.with_suffix(".said").unlink(missing_ok=True)
    if start is None:
        home.mkdir(parents=True)
        return home
    return Path(shutil.copytree(start, home))


def content(home: Path) -> dict[str, bytes]:
    """All files, but for those that tell the time."""
    files = [path for path in sorted(home.rglob("*")) if path.is_file() and path.name not in CLOCK]
    return {str(path.relative_to(home)): path.read_bytes() for path in files}


def newest(content: dict[str, Any]) -> dict[str, Any]:
    """Without all checkpoints but the newest of their folder."""
    places = {name: found.groups() for name in content if (found := STEP.match(name))}
    last = {folder: max(step for other, step in places.values() if other == folder) for folder, _ in places.values()}
    return {
        name: one for name, one in content.items() if name not in places or places[name][1] == last[places[name][0]]
    }


def whole(run: Path) -> bool:
    """Whether the newest checkpoint of a run, and of each of its stages, is whole; none yet is as good."""
    from selfsight import checkpoints
    from selfsight.errors import CheckpointError

    with warnings.catch_warnings(action="error"):
        for folder in (run, *run.glob("stages/*")):
            try:
                found = checkpoints.latest(folder / "checkpoints")
                if found is not None:
                    checkpoints.read(found)
            except (CheckpointError, UserWarning):
                return False
    return True


def chosen(events: list[Any], count: int, seed: int) -> list[Any]:
    """All, or as many drawn at random, in their order."""
    places = sorted(random.Random(seed).sample(range(len(events)), min(count, len(events))))
    return [events[place] for place in places]
