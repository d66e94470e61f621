"""`selfsight`, with the contract method in its registry, that can be told to die.

KILL_AT=12 kills it after step 12, KILL_AT=12a right after the checkpoint of step 12 is saved, KILL_AT=12s in the middle
of writing that checkpoint. `before:` in front means: in the stage that is trained before. KILL_AT=plan kills it before
the recipe is written.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import selfsight.methods

CONTRACT = str(Path(__file__).parent / "contract")
if CONTRACT not in selfsight.methods.__path__:
    selfsight.methods.__path__.append(CONTRACT)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(at: str) -> None:
    """Put the fault in place."""
    from selfsight import checkpoints
    from selfsight.training.loop import Trainer

    if at == "plan":
        arm_plan()
        return
    wanted, _, point = at.rpartition(":")
    step, moment = int(point.rstrip("sa")), point[-1]
    after, save, into_place = Trainer.after, Trainer.save, checkpoints.into_place

    def meant(checkpoint_of: Path) -> bool:
        return ("stages" in checkpoint_of.parts[-4:]) == (wanted == "before")

    def dying_after(self: Trainer, done: int, signals: object) -> None:
        if done == step and moment.isdigit() and meant(self.folder):
            die()
        after(self, done, signals)

    def dying_save(self: Trainer, done: int, **options: bool) -> None:
        save(self, done, **options)
        if done == step and moment == "a" and meant(self.folder):
            self.saver.look(wait=True)  # until it is on the disk
            die()

    def dying_in_place(partial: Path, final: Path) -> None:
        if moment == "s" and final.name == f"step-{step:08d}" and meant(final):
            die()
        into_place(partial, final)

    Trainer.after, Trainer.save, checkpoints.into_place = dying_after, dying_save, dying_in_place


def arm_plan() -> None:
    """Die before the recipe is in place."""
    from selfsight import checkpoints

    replace_file = checkpoints.replace_file

    def dying(path: Path, content: bytes) -> None:
        if path.name == "recipe.yaml":
            die()
        replace_file(path, content)

    checkpoints.replace_file = dying


def narrow(put: Callable[[object, str, int], None] = setattr) -> None:
    """Make jigsaw's head narrow, whose width is no setting: millions of weights are saved and read for nothing."""
    from selfsight.methods import jigsaw

    for name in ("TILE_WIDTH", "WIDTH"):
        put(jigsaw, name, 64)


def run(arguments: list[str], kill_at: str | None) -> None:
    """What a forked child does: the command line, as it would be in a process of its own."""
    narrow()
    if kill_at:
        arm(kill_at)
    from selfsight import cli

    sys.exit(cli.main(arguments))


if __name__ == "__main__":
    if os.environ.get("KILL_AT"):
        arm(os.environ["KILL_AT"])
    from selfsight.__main__ import main

    sys.exit(main())
