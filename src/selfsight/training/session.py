"""From a request to a finished run: find the pictures, plan, keep the plan, train each stage, write the encoder."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import numpy as np
import torch

from selfsight import checkpoints, distributed, methods
from selfsight.data import source
from selfsight.data.manifest import Manifest, scan
from selfsight.data.order import Purpose, keyed
from selfsight.data.pictures import Pictures, write_bad_files
from selfsight.data.ranges import format_of
from selfsight.errors import DiskError, Interrupted, RecipeError, RunError, must_have, typed
from selfsight.methods.base import Method
from selfsight.recipe import Columns, Recipe, Whole
from selfsight.runs import TRIALS, only_begun
from selfsight.training import ranks, view_search
from selfsight.training.autotune import stand_in
from selfsight.training.build import engine, facts_of, kept_whitening, method_of, optimizer_of, views_of, whitening_of
from selfsight.training.data import TrainingData
from selfsight.training.events import Events
from selfsight.training.listing import check_share, lost
from selfsight.training.loop import Trainer
from selfsight.training.memory import on_card
from selfsight.training.plan import method_for, own_cores, plan
from selfsight.training.progress import Watcher
from selfsight.training.request import Request, contradiction, parse_length
from selfsight.training.told import plan_rows
from selfsight.training.values import checked
from selfsight.views.sheet import sheet

__all__ = ["folder_for", "manifest_for", "plan_rows", "room_in", "seconds", "train", "usual_workers"]

SHOWN = 8  # pictures in views.png
WORKERS = 2  # threads that prepare pictures; measured: enough to keep two cores of training fed
MOST_WORKERS = 16  # for a GPU, which leaves the cores to them: each keeps a batch in memory
Told = Callable[[Recipe, Mapping[str, str]], None]


def train(
    request: Request,
    folder: Path,
    *,
    workers: int | None = None,
    save_every: float | None = None,
    quiet: bool = False,
    tensorboard: bool = False,
    tell: Told = lambda recipe, reasons: None,
) -> Recipe:
    """Train into `folder`, or go on with the run that it holds; returns the recipe. Errors come before step 1."""
    if tensorboard:
        must_have("--tensorboard", "tensorboard", "tensorboard")
    distributed.join()
    workers = usual_workers(request.device) if workers is None else workers
    request = replace(request, workers=checked("workers", workers, Whole))
    with locked(folder):
        with distributed.first_goes_ahead():
            if distributed.rank() == 0:
                recipe, manifest = settled(request, folder, tell, quiet=quiet)
        events = Events if tensorboard else None
        with ranks.watched():
            if distributed.rank() > 0:
                recipe, manifest = ranks.decided(folder, request.device)
            manifest = ranks.agreed(request.data, recipe, manifest)
            method = stages(
                recipe, manifest, folder, workers=workers, save_every=save_every, quiet=quiet, events=events
            )
        if distributed.rank() == 0:
            with room_in(folder):
                show_outputs(recipe, manifest, method, folder / "outputs.png")
                product = method.product
                kept = kept_whitening(folder / "encoder", product)
                product.whitening = kept or whitening_of(product, recipe, manifest)
                product.save(folder / "encoder", facts_of(recipe))
    return recipe


def usual_workers(device: str | None) -> int:
    """Threads that prepare pictures where nobody says how many; those that are not needed sleep."""
    gpu = torch.cuda.is_available() if device is None else device.startswith("cuda")
    return max(WORKERS, min(own_cores(), MOST_WORKERS)) if gpu else WORKERS


def folder_for(request: Request, out: Path | None) -> Path:
    """Where a run goes: `out`, or runs/<pictures>; a folder of other things is refused."""
    name = Path(request.data[0]).stem or "pictures"
    folder = Path(out) if out else Path("runs") / name
    if folder.exists() and not folder.is_dir():
        raise RunError(f"--out {str(folder)!r} is a file; name a folder that is new or empty")
    if folder.is_dir() and not (folder / "recipe.yaml").exists() and not only_begun(folder):
        raise RunError(f"--out {str(folder)!r} holds other files and no run; name a folder that is new or empty")
    return folder


def seconds(save_every: str | None) -> float | None:
    """How often to save: 90s, 5m, None as often as costs little; RecipeError otherwise."""
    if save_every is None:
        return None
    with suppress(RecipeError):
        number, unit = parse_length(save_every)
        if unit == "minutes":
            return number * 60
    raise RecipeError(f"--save-every {save_every!r} is not a time; write 90s or 5m")


def manifest_for(
    folder: Path, recipe: Recipe, data: list[str] | None, columns: Columns, inherited: Collection[str] = ()
) -> Manifest:
    """The run's own listing, or that of other pictures or other columns of the same ones."""
    if data is None and columns == recipe.columns:
        return Manifest.load(folder / "manifest.parquet")
    kind = methods.get(recipe.method).kind
    return scan(source.find(data or recipe.data, **columns.spelled(), inherited=inherited, kind=kind))


def column_of(recipe: Recipe, data: list[str], columns: Columns) -> Callable[[str], dict[str, str | None]]:
    """What reads one more column of the table of DATA (by default the run's), by the pictures' names."""
    kind = methods.get(recipe.method).kind
    return lambda name: source.values(data or recipe.data, name, kind, group=columns.group, split=columns.split)


def settled(request: Request, folder: Path, tell: Told, *, quiet: bool = False) -> tuple[Recipe, Manifest]:
    """The run's recipe and manifest: those it holds already, or new ones, kept on disk before anything is trained."""
    stored = Recipe.from_yaml(folder / "recipe.yaml") if (folder / "recipe.yaml").exists() else None
    draft = None if stored else view_search.begun(folder)
    known = draft[0] if draft else stored
    columns = known.columns if known else request.columns
    kind = (methods.get(known.method) if known else method_for(request)).kind
    listing = source.find(request.data or (known.data if known else []), **columns.spelled(), kind=kind)
    manifest = scan(listing, seed=0, use_all=known.use_all if known else request.use_all)
    manifest, gone = same(request, folder, known, manifest) if known else (manifest, [])
    if stored:
        rmtree(folder / TRIALS, ignore_errors=True)  # which a kill after the recipe left
        recipe = ranks.shared(stored, manifest, request.device)
        begun = {name: getattr(stored, name) for name in ("world", "micro_batch", "threads", "device")}
        changed = {name: value for name, value in begun.items() if value != getattr(recipe, name)}
        reasons = {name: f"the run was begun with {value}" for name, value in changed.items()}
        if gone:
            reasons["pictures"] = f"{len(gone)} gone or unreadable by now, such as {gone[0]!r}; others stand in"
        tell(recipe, reasons)
        return recipe, manifest
    check_share(manifest)
    recipe, reasons = draft or plan(request, manifest)
    if not draft and view_search.worth_it(request, recipe, manifest):
        try:
            with room_in(folder):
                draft = view_search.drafted(folder, recipe, reasons, manifest, request.workers)
        except view_search.TooShortError:
            if request.views:
                raise
    if draft:
        recipe, reasons = view_search.best(folder, *draft, manifest, workers=request.workers, quiet=quiet)
    tell(recipe, reasons)
    keep(folder, recipe, reasons, manifest)
    rmtree(folder / TRIALS, ignore_errors=True)
    return recipe, manifest


def same(request: Request, folder: Path, known: Recipe, found: Manifest) -> tuple[Manifest, list[str]]:
    """The pictures that a run goes on with, and names of a few that are gone. RunError where anything else changed."""
    kept = Manifest.load(folder / "manifest.parquet")
    gone = lost(kept, found)
    differs = (None if gone else kept.difference(found)) or contradiction(request, known)
    if differs:
        raise RunError(f"{str(folder)!r} cannot go on: {differs}. Undo that, or train anew with another --out")
    if gone:
        return kept, gone
    if found.paths != kept.paths:  # the same pictures in another place
        with room_in(folder):
            found.save(folder / "manifest.parquet")
    return found, []


def keep(folder: Path, recipe: Recipe, reasons: Mapping[str, str], manifest: Manifest) -> None:
    """Everything that is known before step 1; recipe.yaml last, since it makes the folder a run."""
    with room_in(folder):
        manifest.save(folder / "manifest.parquet")
        write_bad_files(folder / "bad_files.csv", manifest.bad)
        show_views(recipe, manifest, folder / "views.png")
        checkpoints.replace_file(folder / "recipe.yaml", recipe.to_yaml(reasons).encode())


def stages(
    recipe: Recipe,
    manifest: Manifest,
    folder: Path,
    *,
    workers: int,
    save_every: float | None,
    quiet: bool,
    events: type[Events] | None = None,
) -> Method:
    """Train what comes before, then the method itself. A stage that is finished is only loaded."""
    first = None
    if recipe.before is not None:
        inside = folder / "stages" / recipe.before.method
        inside.mkdir(parents=True, exist_ok=True)
        shared = replace(recipe.before, columns=recipe.columns)
        try:
            first = stages(shared, manifest, inside, workers=workers, save_every=save_every, quiet=quiet, events=events)
        except Interrupted as error:
            said = f"stopped while {shared.method} was trained; go on with: {typed('train', '--resume', folder)}"
            raise Interrupted(said, error.signal) from error
    method = method_of(recipe, first, folder)
    optimizer = optimizer_of(recipe, method)
    title = f"{recipe.method}: " if recipe.before or folder.parent.name == "stages" else ""
    data = TrainingData(recipe, manifest, method, folder, workers)
    watcher = Watcher(recipe, quiet=quiet or distributed.rank() > 0, title=title)
    data.pictures.say = watcher.say
    with on_card(recipe):
        return Trainer(recipe, folder, engine(recipe), method, optimizer, data, watcher, save_every, events).fit()


def show_views(recipe: Recipe, manifest: Manifest, path: Path) -> None:
    """views.png: originals beside what the network will see. Documents are no pictures."""
    if manifest.kind != "pictures":
        return
    method = stand_in(recipe)
    originals, views = shown(recipe, manifest, method, path.parent)
    visible = getattr(method.views(recipe.side), "visible", dict)  # where patches are hidden from the network
    sheet(originals, [visible(one) for one in views], path, recipe.pixels["low"], recipe.pixels["high"])


def show_outputs(recipe: Recipe, manifest: Manifest, method: Method, path: Path) -> None:
    """outputs.png: originals beside what the trained method makes of them, where it makes pictures."""
    originals, views = shown(recipe, manifest, method, path.parent)
    batch = {name: torch.from_numpy(np.stack([one[name] for one in views])) for name in views[0]}
    batch |= {name: torch.arange(len(views)) for name in ("index", "position")}
    batch |= {"label": torch.full((len(views),), -1)}
    device = next(method.parameters()).device
    with torch.no_grad():
        made = method.eval().outputs({name: tensor.to(device) for name, tensor in batch.items()})
    if made:
        rows = [{name: array[row] for name, array in made.items()} for row in range(len(views))]
        sheet(originals, rows, path, recipe.pixels["low"], recipe.pixels["high"], "What the network makes of pictures")


def shown(
    recipe: Recipe, manifest: Manifest, method: Method, folder: Path
) -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    """A few training pictures, and what the method's views make of them."""
    rows = manifest.train_rows()
    chosen = keyed(recipe.seed, 1, Purpose.MONITOR).permutation(len(rows))[:SHOWN]
    pictures = Pictures(manifest, format_of(recipe), noted=folder / "bad_files.csv", least=recipe.least_side)
    originals = [pictures.read(int(rows[index]), rows)[0] for index in chosen]
    seen = views_of(recipe, method)
    drawn = enumerate(originals)
    return originals, [dict(seen(picture, keyed(recipe.seed, number, Purpose.VIEWS))) for number, picture in drawn]


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """What cannot be written is a DiskError with the remedy."""
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{str(folder)!r} cannot be written ({error.strerror or error}); free some space and give the same command "
            "again: what is trained is kept"
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time in a run folder; the lock of a process that died is gone with it, and what it left half."""
    if distributed.rank() > 0:
        yield
        return
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")  # noqa: SIM115 - held open while the run goes on
    except OSError as error:
        raise DiskError(f"{str(folder)!r} cannot be written ({error.strerror}); choose another --out") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"{str(folder)!r} is in use by another process; wait for it or choose another --out"
            ) from error
        except OSError:
            pass  # a file system without locks
        for inside in folder.glob("**/"):
            checkpoints.clean(inside)
        try:
            yield
        finally:
            with suppress(OSError):
                if new and [path.name for path in folder.iterdir()] == [".lock"]:  # what was asked for was refused
                    (folder / ".lock").unlink()
                    folder.rmdir()
