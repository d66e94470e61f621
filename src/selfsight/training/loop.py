"""The loop. It reads top to bottom and names no method.

A checkpoint of step s is taken before the `on_epoch_start` of an epoch that begins at s, and a start inside an epoch
never calls it: so going on from a checkpoint is the same as never having stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from selfsight import __version__, checkpoints, distributed, heap
from selfsight.errors import CollapsedError, DiskError, DivergedError, Interrupted, typed
from selfsight.methods.base import Batch, Epoch, Method, Projections, Terms
from selfsight.nn.embedder import Embedder
from selfsight.recipe import Recipe
from selfsight.training import gradcache, guard, ranks, schedule, signs, state
from selfsight.training.best import Best
from selfsight.training.build import facts_of
from selfsight.training.data import TrainingData, reachable
from selfsight.training.events import Events
from selfsight.training.fault import blamed, finite
from selfsight.training.journal import Journal
from selfsight.training.optimizers import clip, let_wait, set_rate
from selfsight.training.progress import Watcher
from selfsight.training.saver import Saver, found
from selfsight.training.signals import Signals

PATIENCE = 3  # steps in a row that are not finite before training stops itself


@dataclass
class Trainer:
    """What the steps share. One is made for each stage of a run."""

    recipe: Recipe
    folder: Path
    fabric: Fabric
    method: Method
    optimizer: torch.optim.Optimizer
    data: TrainingData
    watcher: Watcher
    save_every: float | None  # seconds; 0 saves at every step, None as often as costs little
    events: type[Events] | None = None

    def __post_init__(self) -> None:
        self.best = Best(self.recipe.keep)

    def fit(self) -> Method:
        """Train to the recipe's last step, from the newest whole checkpoint if there is one."""
        self.wrapped, self.optimizer = self.fabric.setup(self.method, self.optimizer)
        self.wrapped.mark_forward_method("project")
        said: list[str] = []
        step = self.restore(said.append)  # after the weights are on their device, where the optimizer's memory must be
        self.watcher.done = step
        self.journal = Journal(self.folder if distributed.rank() == 0 else None, step - (step == 0), self.events)
        self.running = gradcache.running_statistics(self.method)
        self.failures = 0
        self.saver = Saver(self.save_every, self.watcher.say)
        self.guard = guard.Guard(self.recipe.lr, lambda: self.method.chance(self.recipe.batch))
        for line in self.journal.past():
            self.guard.note(line)
        for sentence in said:
            self.journal.start(step, sentence)
        self.signs: dict[str, float] = {}  # of the step that the guard looks at next
        self.collapsed = ""  # what it found, where that is to stop the run
        with ExitStack() as stack:
            stack.enter_context(heap.kept())
            stack.callback(self.journal.close)
            stack.callback(self.data.close)
            signals = stack.enter_context(Signals())
            stack.enter_context(self.watcher)
            stack.callback(self.saver.close)
            if step == 0:
                self.begin()
            while step < self.recipe.steps:
                step = self.epoch(step, signals)
            distributed.wait_for_first()  # which saves the last step, meanwhile a signal may have come
            if late := int(distributed.largest(torch.tensor([float(signals.asked)]))):
                raise self.interrupted(step, late)
        for buffer in self.running:
            distributed.copy_first(buffer)  # each rank gathered its own; a checkpoint holds rank 0's
        self.best.install(self.method.product)  # known to rank 0, which alone keeps the encoder
        return self.method

    def restore(self, *heard: Callable[[str], None]) -> int:
        """The step to go on from; what is to be said of the checkpoints is `heard` by each of these, too."""
        newest = found(self.folder, self.watcher.say, *heard)
        if newest is None:
            return 0
        folder, facts, files = newest
        if distributed.rank() == 0:
            checkpoints.drop_after(self.folder / "checkpoints", int(facts["step"]))
        state.unpack(files, self.method, self.raw_optimizer, folder)
        self.best.unpack(files)
        return int(facts["step"])

    def begin(self) -> None:
        """Before step 1: fill buffers, prove that a checkpoint can be written, measure the untouched encoder."""
        self.method.prepare(self.data.prepared(self.method, self.journal.say, self.watcher.say))
        heard = self.watcher.say, partial(self.journal.start, 0)
        self.saver.foresee(self.folder, state.bytes_of(self.method, self.recipe.optimizer), *heard)
        self.save(0, must=True)
        self.look(0)
        if self.glances(0):
            self.glance(0)

    def epoch(self, step: int, signals: Signals) -> int:
        """The rest of the epoch that `step` lies in; returns the step it ended at."""
        recipe, data = self.recipe, self.data
        number, within = divmod(step, recipe.epoch_steps)
        record = self.record(number)
        self.method.progress = number * recipe.epoch_steps / recipe.steps  # the same when going on inside the epoch
        if within == 0:
            self.method.on_epoch_start(record)
        order = self.method.order(record)[within * recipe.batch :]
        batches = data.loader.batches(order, step * recipe.batch, recipe.batch, distributed.rank(), distributed.world())
        for batch in reachable(batches, lambda: self.save(step)):  # noqa: B023 - called between two steps
            started = time.monotonic()
            self.step(step, self.fabric.to_device(batch))
            step += 1
            self.watcher.step(step, time.monotonic() - started)
            self.watcher.bad_files(self.data.found_bad)
            self.after(step, signals)
            if step == recipe.steps:
                break
        return step

    def record(self, number: int) -> Epoch:
        """What a method may know of an epoch."""
        return Epoch(
            number=number, seed=self.recipe.seed, batch=self.recipe.batch, labels=self.data.labels,
            features=lambda: self.data.features(self.method),
            forget=lambda module: state.forget(self.raw_optimizer, module),
        )  # fmt: skip

    @property
    def raw_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer under Fabric's wrapping."""
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def step(self, step: int, batch: Batch) -> None:
        """Forward, backward, finite?, optimizer, `on_step_end`. A step that is not finite changes nothing."""
        recipe, method = self.recipe, self.method
        method.progress = step / recipe.steps
        rate = recipe.lr * schedule.rate(method.progress, recipe.warmup)
        set_rate(self.raw_optimizer, rate, method.progress)
        before = [buffer.clone() for buffer in self.running]
        self.optimizer.zero_grad(set_to_none=True)
        with ranks.parting(partial(self.save, step, running=before)):
            terms, projections = self.gradient(step, batch)
            norm = torch.nn.utils.get_total_norm([p.grad for p in method.parameters() if p.grad is not None])
            sound = finite(terms["loss"], norm, self.running)
        if not sound:
            statistic = state.not_finite(dict(method.named_buffers()))
            gradcache.put_back(self.running, before)
            self.complain(step, batch, blamed(method, batch, projections, terms, statistic))
            return
        self.failures = 0
        if recipe.clip is not None:
            clip(method.parameters(), recipe.clip, norm, each=recipe.clip_each)
        watched = signs.Watched(method) if self.glances(step + 1) else None
        let_wait(self.raw_optimizer, method.progress)
        self.optimizer.step()
        with torch.no_grad():
            method.on_step_end(projections, batch)
        if watched:
            self.signs = watched.moved() | signs.of_projections(projections)
        means = distributed.average(torch.stack([value.float() for value in terms.values()]))
        named = dict(zip(terms, means.tolist(), strict=True))
        self.note(step + 1, epoch=step // recipe.epoch_steps, progress=(step + 1) / recipe.steps, lr=rate, **named)
        self.watcher.terms(named)

    def gradient(self, step: int, batch: Batch) -> tuple[Terms, Projections]:
        """The gradient of the step's batch in the parameters."""
        return gradcache.gradient(
            self.method,
            self.wrapped.project,
            batch,
            self.recipe.micro_batch,
            key=(self.recipe.seed * 1_000_003 + (step * 1024 + distributed.rank()) * 1024) % 2**63,
            backward=self.fabric.backward,
            quiet=lambda last: self.fabric.no_backward_sync(self.wrapped, enabled=not last),
            autocast=self.fabric.autocast,
        )

    def complain(self, step: int, batch: Batch, tensor: str) -> None:
        """Say which tensor was not finite, and in which samples' step; stop after three in a row."""
        self.failures += 1
        samples = distributed.gather(batch["index"]).tolist()
        self.note(step + 1, skipped="not finite", tensor=tensor, samples=samples)
        self.watcher.say(
            f"step {step + 1}: {tensor} is not finite; nothing was changed (samples {str(samples[:4])[1:-1]} ...)"
        )
        if self.failures >= PATIENCE:
            raise DivergedError(
                f"training stopped at step {step + 1}: {PATIENCE} steps in a row were not finite, the last one in "
                f"{tensor}; the last checkpoint is from before. Train anew with another --out and a lower --lr, or "
                "--precision fp32"
            )

    def note(self, step: int, **values: Any) -> None:
        """A line of metrics.jsonl, and what the guard says to it."""
        self.journal.metric(step, **values)
        for alarm in self.guard.note({"step": step, **values}):
            self.journal.metric(step, alarm=alarm.cause, sentence=alarm.sentence)
            self.watcher.warn(step, alarm.cause, alarm.sentence)
            self.collapsed = alarm.sentence if self.recipe.on_collapse == "stop" else ""

    def after(self, step: int, signals: Signals) -> None:
        """Look, save and stop where it is time; ranks agree first."""
        if step in self.recipe.looks:
            self.look(step)
        if self.glances(step):
            self.glance(step)
        self.saver.look()
        due = self.saver.due and distributed.rank() == 0  # which alone saves
        flags = torch.tensor([signals.asked, due, bool(self.collapsed), self.data.untold], dtype=torch.float32)
        with ranks.parting(partial(self.save, step)):
            asked = distributed.largest(flags)
        if asked[3]:
            self.data.tell_bad_files()
        if asked[:3].any() or step == self.recipe.steps:
            self.save(step)
        if asked[2]:
            raise CollapsedError(
                f"stopped after step {step} of {self.recipe.steps}, as --on-collapse stop asks: "
                f"{self.collapsed or 'rank 0 says why'}. To go on all the same, give the same command again"
            )
        if asked[0]:
            raise self.interrupted(step, int(asked[0]))

    def interrupted(self, step: int, signal: int) -> Interrupted:
        """What a signal ends with: where it stopped, and what is saved where the disk was too full for that."""
        self.saver.look(wait=True)
        saved = checkpoints.steps(self.folder / "checkpoints")[-1] if distributed.rank() == 0 else step
        told = f"stopped after step {step} of {self.recipe.steps}" + f", of which {saved} are saved" * (saved < step)
        return Interrupted(f"{told}; go on with: {typed('train', '--resume', self.folder)}", signal)

    def shown(self, step: int) -> Embedder:
        """The encoder that is measured: batch norms of one that nobody trained have seen no pictures yet."""
        product, given = self.method.product, self.recipe.weights or self.recipe.pretrained
        with self.fabric.autocast():
            return product if step > 0 or given else self.data.monitor.calibrated(product)

    def look(self, step: int) -> None:
        """Measure the encoder on the monitor's pictures; on one rank, since all hold the same."""
        if distributed.rank() == 0:
            encoder = self.shown(step)
            seen = self.data.monitor.look(encoder, self.fabric.autocast)
            kept = {"kept": True} if self.best.offer(step, seen, encoder) else {}
            self.note(step, progress=step / self.recipe.steps, **seen, **kept)
            self.watcher.quality(step, seen)
            self.journal.time(step, images_per_second=self.watcher.images_per_second)
        distributed.wait_for_first()

    def glances(self, step: int) -> bool:
        """Whether the guard looks after this step, and once more at the end; on one rank, since all hold the same."""
        last = step == self.recipe.steps > guard.EVERY
        return (step % guard.EVERY == 0 or last) and distributed.rank() == 0

    def glance(self, step: int) -> None:
        """Note the signs of a collapse: of the encoder, of what the method keeps, and of the step just done."""
        seen = self.data.monitor.glance(self.shown(step), self.fabric.autocast, self.recipe.batch)
        found = {**seen, **signs.of_clusters(self.method), **self.signs}
        self.signs = {}
        self.note(step, **{f"{guard.SIGN}{name}": value for name, value in found.items()})

    def save(self, step: int, *, must: bool = False, running: Sequence[Tensor] = ()) -> None:
        """A checkpoint of `step` (`running`: before one begun since). A full disk costs the save, not the run."""
        if distributed.rank() == 0:
            gradcache.put_back(self.running, running)
            if step not in {0, *self.recipe.looks}:  # looks note it; the clock of a start that goes on begins there
                self.journal.time(step)
            copy = partial(state.pack, self.method, self.raw_optimizer)
            self.saver.save(copy, partial(self.write, step, self.best.pack()), must=must or step == self.recipe.steps)

    def write(self, step: int, best: Mapping[str, bytearray], files: Mapping[str, bytearray]) -> None:
        """Journal first, then what counts on it; DiskError when there is no room for either."""
        try:
            self.journal.sync()
            self.data.note_bad_files()
            if step == 0:
                self.method.product.save(self.folder / "untrained", facts_of(self.recipe))
        except OSError as error:
            raise DiskError(
                f"step {step} cannot be noted in {str(self.folder)!r} ({error.strerror}); free some space, the earlier "
                "checkpoint is untouched"
            ) from error
        facts = {"listing": self.recipe.listing, "version": __version__}
        checkpoints.write(self.folder / "checkpoints", step, {**files, **best}, facts)
