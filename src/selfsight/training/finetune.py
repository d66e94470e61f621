"""Supervised training of an encoder with a linear head: fine-tuning a trained one, or from scratch an untrained one.

One procedure for every start, so that what differs is the start: AdamW and a cosine as MAE is fine-tuned (He et al.
2022, 2111.06377, table 9), crops and mirror images and no other change as SimCLR is (Chen et al. 2020, 2002.05709,
appendices B.5 and B.8: colour may be what tells the classes apart), and the rate chosen among a few on a part of the
training pictures (Kornblith et al. 2019, 1805.08974, section 3.2).
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from selfsight.data.loader import Loader
from selfsight.data.order import permuted
from selfsight.data.pictures import Pictures
from selfsight.embedding.embed import best_device, embed
from selfsight.errors import TrainingError
from selfsight.evaluation import holdout
from selfsight.losses.classification import classification
from selfsight.methods.base import Group, Training
from selfsight.nn.attention import plain_attention
from selfsight.nn.encoder import Encoder
from selfsight.training import schedule
from selfsight.training.optimizers import build, set_rate
from selfsight.views.recipes import multi_view, within

__all__ = ["Lesson", "Tuned", "choose", "pace", "state_digest", "train", "tune", "work"]

TRAINING = Training("adamw", weight_decay=0.05)  # betas 0.9 and 0.999: MAE, table 9
RATES = (
    3e-4,
    1e-3,
    1e-4,
)  # on a tie the first; 1e-3 is MAE's at 1024 pictures, small batches and trained weights want less
HEAD = 10.0  # its rate beside the encoder's: it starts at nothing (SwAV's eval_semisup.py has 20, at 10 % of labels)
WARMUP = 0.05  # share of the steps: MAE, 5 epochs of 100
VIEWS = "crop-flip"
CHOSEN_ON = 0.2  # of the training pictures, whole groups
CHOSEN_IN = 1 / 3  # of the steps, for each rate
FEWEST = 50  # pictures below which a fifth of them can choose nothing: the first rate is taken
WORKERS = 2
TIMED = 4  # steps, the first of which warms up

Tell = Callable[[], None]


@dataclass(frozen=True)
class Tuned:
    """An encoder and its linear head, trained together; `lr` is the rate that was used."""

    encoder: Encoder
    head: nn.Linear
    size: int
    lr: float

    def predict(self, pictures: Pictures, rows: Int[np.ndarray, "Q"]) -> Int[np.ndarray, "Q"]:
        """The class of each picture, seen whole; -1 where its file cannot be read."""
        vectors, kept = embed(self.encoder, pictures, rows, size=self.size, device=self.encoder.device)
        with torch.no_grad():
            logits = self.head(torch.from_numpy(vectors).to(self.head.weight.device))
        classes = np.full(len(rows), -1)
        classes[np.isin(rows, kept)] = logits.argmax(dim=1).cpu().numpy()
        return classes


@dataclass(frozen=True)
class Lesson:
    """What is learned from, and how: everything but the start and the rate. Labels are 0 .. C-1, none missing."""

    pictures: Pictures
    rows: Int[np.ndarray, "N"]
    labels: Int[np.ndarray, "N"]
    size: int
    steps: int
    batch: int
    seed: int = 0
    views: str = VIEWS
    precision: str = "fp32"
    workers: int = WORKERS
    device: torch.device | None = None  # by default the best there is

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """The batches of all steps. Epochs follow each other without a gap: a batch may hold a picture again."""
        asked = self.steps * self.batch
        epochs = range(-(-asked // len(self.rows)))
        order = torch.cat([permuted(len(self.rows), self.seed, epoch) for epoch in epochs])[:asked]
        form = self.pictures.format
        seen = within(multi_view(self.views, self.size, views=1), form.low, form.high)
        labels = torch.from_numpy(self.labels.astype(np.int64))
        loader = Loader(self.pictures, self.rows, labels, seen, seed=self.seed, workers=self.workers)
        try:
            yield from loader.batches(order, 0, self.batch)
        finally:
            loader.close()


def tune(
    encoder: Encoder,
    pictures: Pictures,
    rows: Int[np.ndarray, "N"],
    labels: Int[np.ndarray, "N"],
    *,
    size: int,
    steps: int,
    batch: int,
    seed: int = 0,
    groups: Int[np.ndarray, "N"] | None = None,
    lr: float | None = None,
    views: str = VIEWS,
    precision: str = "fp32",
    workers: int = WORKERS,
    device: torch.device | None = None,
    tell: Tell = lambda: None,
) -> Tuned:
    """A copy of `encoder` and a new linear head, trained on `rows` to give `labels` (0 .. C-1); the given one stays.

    The result depends on the seed, not on the workers. Fewer pictures than a batch are shown several times in it, each
    time in another view. Without `lr` see `choose`; `groups` (default: each picture) are not divided there. `tell` is
    called after each step, `work` times in all. Raises ValueError for a batch of one, TrainingError when the loss is
    not finite.
    """
    if batch < 2 or not len(rows):
        raise ValueError(f"batch norm needs two pictures, but the batch is {batch} of {len(rows)} pictures")
    lesson = Lesson(pictures, rows, labels, size, steps, batch, seed, views, precision, workers, device)
    rate = lr if lr is not None else choose(encoder, lesson, np.arange(len(rows)) if groups is None else groups, tell)
    return train(encoder, lesson, rate, tell)


def work(steps: int, pictures: int, *, chosen: bool = False) -> int:
    """Steps that `tune` makes in all; `chosen`: its rate is given."""
    tries = 0 if chosen or pictures < FEWEST else len(RATES)
    return steps + tries * _brief(steps)


def choose(encoder: Encoder, lesson: Lesson, groups: Int[np.ndarray, "N"], tell: Tell = lambda: None) -> float:
    """The rate of `RATES` that names a fifth of the pictures best, after a third of the steps on the rest.

    With fewer than 50 pictures, or in one group, the first. Raises TrainingError when none gives finite numbers.
    """
    aside = holdout.by_group(groups, CHOSEN_ON, lesson.seed)
    if len(lesson.rows) < FEWEST or not aside.any():
        return RATES[0]
    rest = replace(lesson, rows=lesson.rows[~aside], labels=lesson.labels[~aside], steps=_brief(lesson.steps))
    found: dict[float, float] = {}
    for lr in RATES:
        try:
            guessed = train(encoder, rest, lr, tell).predict(lesson.pictures, lesson.rows[aside])
            found[lr] = float((guessed == lesson.labels[aside]).mean())
        except TrainingError as error:
            failure = error
    if not found:
        raise failure
    return max(found, key=lambda lr: found[lr])


def train(encoder: Encoder, lesson: Lesson, lr: float, tell: Tell = lambda: None) -> Tuned:
    """One training at one rate. Dropout, where the network has any, is seeded; the global generator stays as it was."""
    with _seeded(lesson.seed):
        own = copy.deepcopy(encoder).requires_grad_(True).train()  # a teacher's copy would be frozen
        own.to(lesson.device or best_device())
        own.whitening = None  # the head learns from what the network itself gives
        head = nn.Linear(own.width, int(lesson.labels.max()) + 1, device=own.device)
        nn.init.zeros_(head.weight)  # MAE: a deviation of 2e-5
        nn.init.zeros_(head.bias)
        parameters = [*own.parameters(), *head.parameters()]
        optimizer = build([Group(list(own.parameters())), Group(list(head.parameters()), lr=HEAD)], TRAINING, lr)
        for step, batch in enumerate(lesson.batches()):
            set_rate(optimizer, lr * schedule.rate(step / lesson.steps, WARMUP), step / lesson.steps)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(own.device.type, torch.bfloat16, enabled=lesson.precision == "bf16"), plain_attention():
                logits = head(own(batch["views"][:, 0].to(own.device)))
            loss, _ = classification(logits, batch["label"].to(own.device))
            torch.autograd.backward(loss)
            _must_be_finite(loss, parameters, f"step {step + 1} at the rate {lr:g}")
            optimizer.step()
            tell()
    return Tuned(own.eval(), head.eval(), lesson.size, lr)


def pace(encoder: Encoder, lesson: Lesson) -> float:
    """Seconds that a step takes, from a few."""
    stamps: list[float] = []
    train(encoder, replace(lesson, steps=TIMED), RATES[0], lambda: stamps.append(time.monotonic()))
    return max(1e-4, (stamps[-1] - stamps[0]) / (len(stamps) - 1))


def state_digest(module: nn.Module) -> str:
    """SHA-256 of all weights and buffers: what must not change while others learn from a copy."""
    found = sha256()
    for name, tensor in module.state_dict().items():
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _must_be_finite(loss: Tensor, parameters: list[nn.Parameter], where: str) -> None:
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise TrainingError(
            f"supervised training stopped at {where}: loss or gradient is not finite; see whether the encoder's own "
            "numbers are, with `selfsight evaluate` and no --finetune"
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _brief(steps: int) -> int:
    return max(1, round(steps * CHOSEN_IN))
