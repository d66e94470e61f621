"""What several ranks owe each other: to see the same pictures, and to know who is gone when one does not answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from torch._C._distributed_c10d import TCPStore
from torch.distributed import DistError

from selfsight import distributed, methods
from selfsight.data import source
from selfsight.data.manifest import Manifest, scan
from selfsight.errors import RecipeError, RunError, SelfsightError, TrainingError
from selfsight.recipe import Recipe
from selfsight.training.build import accelerator_of
from selfsight.training.length import facts_of
from selfsight.training.plan import check_shared, fitting, own_cores

__all__ = ["agreed", "decided", "parting", "shared", "watched"]

BEAT = 1.0  # seconds between two signs of life
SILENCE = 3.0  # seconds without one after which a rank is gone
STORE = timedelta(seconds=5)  # for torchrun's store to be reached
ANSWER = 2.0  # seconds for it to say what it holds


def decided(folder: Path, device: str | None = None) -> tuple[Recipe, Manifest]:
    """The recipe and the listing that rank 0 has written. RunError where this machine does not see them."""
    if not (folder / "recipe.yaml").is_file():
        raise RunError(
            f"rank {distributed.rank()} sees no run in {str(folder)!r}; put --out on a disk that all machines share"
        )
    manifest = Manifest.load(folder / "manifest.parquet")
    return shared(Recipe.from_yaml(folder / "recipe.yaml"), manifest, device), manifest


def shared(recipe: Recipe, manifest: Manifest, device: str | None = None) -> Recipe:
    """The recipe on as many ranks as there are now: the same global batches, in micro-batches that are no larger; and
    on `device` where one is asked for.

    A method's state is the same on all ranks, but for running statistics, of which a checkpoint holds rank 0's.
    RunError where so many cannot share the batch, or where the method cannot work on what one of them takes at once.
    """
    if device and device != recipe.device:
        accelerator_of(device)
        before = recipe.before and shared(recipe.before, manifest, device)
        return shared(replace(recipe, device=device, before=before), manifest)
    world = distributed.world()
    if world == recipe.world:
        return recipe
    try:
        check_shared(recipe.batch, recipe.device, world)
        micro = fitting(recipe.micro_batch, recipe.batch // world)
        now = replace(recipe, world=world, micro_batch=micro, threads=min(recipe.threads, own_cores()))
        methods.get(recipe.method).resolve(recipe.settings, facts_of(vars(now), manifest))
    except RecipeError as error:
        reason, _, _ = str(error).partition(";")
        raise RunError(
            f"the run was begun with {recipe.world} rank(s) and cannot go on with {world}: {reason}; start it with "
            f"{recipe.world} again, or train anew with another --out"
        ) from error
    return replace(now, before=recipe.before and shared(recipe.before, manifest))


def agreed(data: Sequence[str], recipe: Recipe, manifest: Manifest) -> Manifest:
    """This rank's own listing of the same pictures: the first rank of another machine than rank 0's looks for itself.

    Raises RunError on every rank when one of them sees others; names, contents, labels and parts count. Where the
    pictures lie in another place there, the machine's other ranks look afterwards, by what its cache knows then.
    """
    machine, first = int(os.environ.get("GROUP_RANK", "0")), os.environ.get("LOCAL_RANK", "0") == "0"
    own, differs = manifest, None
    if machine > 0 and first:
        try:
            own = _listed(data, recipe)
            differs = manifest.difference(own)
        except SelfsightError as error:
            differs = str(error)
    found = distributed.everyones((differs, own.paths != manifest.paths, machine), patience=distributed.PATIENCE)
    for rank, (said, _, _) in enumerate(found):
        if said is not None:
            what = said.removeprefix("the pictures changed: ").rstrip(".")
            raise RunError(f"rank {rank} does not see the pictures of rank 0: {what}; give every machine the same DATA")
    apart = {where for _, elsewhere, where in found if elsewhere}
    if machine in apart and not first:
        own = _listed(data, recipe)
    if apart:
        distributed.everyones(None, patience=distributed.PATIENCE)  # until they have looked
    return own


def _listed(data: Sequence[str], recipe: Recipe) -> Manifest:
    kind = methods.get(recipe.method).kind
    return scan(source.find(list(data) or recipe.data, **recipe.columns.spelled(), kind=kind), use_all=recipe.use_all)


@contextmanager
def watched() -> Iterator[None]:
    """When the ranks can no longer talk to each other, TrainingError names the one that is gone, if one is."""
    if distributed.world() == 1:
        yield
        return
    pulse = Pulse()
    try:
        yield
    except RuntimeError as error:
        if gone := pulse.silent():
            named = f"rank {' and rank '.join(map(str, gone))} of {distributed.world()}"
            said = f"{named} ended or stands still (its own message says why)"
        elif _lost_touch(error):
            wait = distributed.STEP_PATIENCE.total_seconds()
            said = f"no rank has ended, but one kept the others waiting for over {wait:.0f} s, or the network failed"
        else:
            raise
        raise TrainingError(f"{said}; the last checkpoint is whole: give the same command again") from error
    finally:
        pulse.stop()


@contextmanager
def parting(save: Callable[[], None]) -> Iterator[None]:
    """When the ranks can no longer talk to each other in the block, `save` first: rank 0 has what is done."""
    try:
        yield
    except RuntimeError as error:
        if distributed.world() > 1 and _lost_touch(error):
            save()
        raise


def _lost_touch(error: RuntimeError) -> bool:
    """Whether it is one of those by which torch says so."""
    return isinstance(error, DistError) or "gloo" in str(error)


class Pulse:
    """A sign of life of this rank every second, in the store by which the ranks met."""

    def __init__(self) -> None:
        place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self._store = TCPStore(*place, is_master=False, wait_for_workers=False, timeout=STORE)
        self._ended = threading.Event()
        self._store.set(_key(distributed.rank()), "0")
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more signs."""
        self._ended.set()
        self._thread.join(BEAT)  # a store that stands still may hold it: it is a daemon

    def silent(self) -> list[int]:
        """The ranks that give no sign any more; rank 0 where the store, which it keeps, is gone or stands still."""
        found: list[list[int]] = []
        asking = threading.Thread(target=lambda: found.append(self._silent()), daemon=True)
        asking.start()
        asking.join(SILENCE + ANSWER)
        return found[0] if found else [0]

    def _silent(self) -> list[int]:
        others = [rank for rank in range(distributed.world()) if rank != distributed.rank()]
        try:
            before = self._beats(others)
            time.sleep(SILENCE)
            after = self._beats(others)
        except RuntimeError:
            return [0]
        return [rank for rank, old, new in zip(others, before, after, strict=True) if old == new]

    def _beats(self, ranks: Sequence[int]) -> list[bytes]:
        found: list[bytes] = [self._store.get(_key(rank)) for rank in ranks]
        return found

    def _beat(self) -> None:
        count = 0
        while not self._ended.wait(BEAT):
            count += 1
            try:
                self._store.set(_key(distributed.rank()), str(count))
            except RuntimeError:  # whoever keeps the store has ended
                return


def _key(rank: int) -> str:
    return f"selfsight/pulse/{rank}"
