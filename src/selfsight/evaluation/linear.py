"""Linear probe: multinomial logistic regression on frozen features, by L-BFGS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize

from selfsight.evaluation import holdout

# 10 and 1 are among them since raw pixels of emoji_free choose 1.
DECAYS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0.0)
LARGE = 100_000  # weights (a hundred classes and more): from here on no weak decays, and one hold-out
REDUCED = (10.0, 1.0, 1e-1, 1e-2, 1e-3)
FEWER = 100  # iterations there; `converged` then says False
HELD_OUT = 0.1  # of the training part, to choose the decay on
# C2 has one hold-out; with 28 groups in it, it chose 10 for raw pixels of terrain (test 0.33), where 1e-3 has 0.55.
HOLD_OUTS = 3
ITERATIONS = 500
LOSS_TOLERANCE = 1e-6  # relative gain of one iteration below which a fit has converged
CHOOSING_TOLERANCE = 1e-5  # the same while choosing
DECLINE = 0.01  # of accuracy on what is held out, at two decays in a row: weaker ones are not tried
AXES = 1024  # most principal axes kept: raw pixels have 3,072, and cost minutes with hundreds of classes
GRADIENT_TOLERANCE = 1e-5
ROUNDING = 1e-7  # float32: a variance below this share of the largest is rounding


@dataclass(frozen=True)
class Linear:
    """One measurement. `converged` is False when the last fit ran out of iterations."""

    predictions: Int[np.ndarray, "Q"]
    correct: Bool[np.ndarray, "Q"]
    decay: float
    converged: bool

    @property
    def accuracy(self) -> float:
        """Share of test pictures named rightly, [0, 1]."""
        return float(self.correct.mean())


def standardised(
    train: Float[np.ndarray, "N D"], test: Float[np.ndarray, "Q D"]
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "Q D"]]:
    """Both with the training part's mean taken off and its deviation divided out; a constant dimension becomes 0."""
    mean, scale = scaling(train)
    return ((train - mean) * scale).astype(np.float32), ((test - mean) * scale).astype(np.float32)


def scaling(train: Float[np.ndarray, "N D"]) -> tuple[Float[np.ndarray, "D"], Float[np.ndarray, "D"]]:
    """What `standardised` takes off and then multiplies by, float64."""
    mean = train.mean(axis=0, dtype=np.float64)
    deviation = train.std(axis=0, dtype=np.float64)
    constant = deviation <= 1e-6 * float(deviation.max())
    return mean, np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))


def principal(
    train: Float[np.ndarray, "N D"], test: Float[np.ndarray, "Q D"]
) -> tuple[Float[np.ndarray, "N E"], Float[np.ndarray, "Q E"]]:
    """Both turned onto the principal axes of the (centred) training part; axes that it does not vary along are dropped,
    and all but the 1,024 largest (no network's width is cut unless it is wider).

    A rotation leaves ||W||, hence the solution, as it is; but along these axes the problem is nearly diagonal, and
    L-BFGS with the scale of `fit` needs tens of iterations where it needed more than 500.
    """
    kept = axes(train)
    return train @ kept, test @ kept


def axes(train: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "D E"]:
    """The principal axes that `principal` keeps, the largest last."""
    count, width = train.shape
    small = count < width  # then the same axes come from the smaller matrix of products: u of X X' is X'u of X'X
    wide = train.astype(np.float64) if small else train
    products = wide @ wide.T if small else (train.T @ train).astype(np.float64)
    variances, vectors = np.linalg.eigh(products / count)  # the smallest first
    varied = int((variances > ROUNDING * max(float(variances[-1]), ROUNDING)).sum())
    first = len(vectors) - min(varied, AXES)
    if not small:
        return np.asarray(vectors[:, first:], dtype=np.float32)
    return np.asarray(wide.T @ (vectors[:, first:] / np.sqrt(variances[first:] * count)), dtype=np.float32)


def fit(
    features: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    decay: float,
    start: Float[np.ndarray, "E C"],
    tolerance: float = LOSS_TOLERANCE,
    large: bool = False,
) -> tuple[Float[np.ndarray, "E C"], bool]:
    """Minimise mean cross-entropy + decay / 2 * ||W||^2 from `start`; E = D + 1, the last row is the bias (no decay).

    The optimizer works on W divided by `scale`, which makes the curvature along every dimension about 1.
    At most 500 iterations, 100 when `large`. Returns the weights, float64, and whether it met its tolerance.
    """
    count, rows = len(labels), np.arange(len(labels))
    curvature = (features**2).mean(axis=0, dtype=np.float64) / start.shape[1] + decay  # p(1 - p) is about 1 / C
    scale = np.append(1.0 / np.sqrt(np.maximum(curvature, ROUNDING)), 1.0)[:, None]

    def objective(flat: Float[np.ndarray, "P"]) -> tuple[float, Float[np.ndarray, "P"]]:
        weights = flat.reshape(start.shape) * scale
        logits = scores(features, weights)  # (N, C) float32
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[rows, labels].astype(np.float64)
        error = np.exp(logits, out=logits)
        total = error.sum(axis=1, keepdims=True)
        loss = float((np.log(total[:, 0]) - own).mean()) + decay / 2 * float((weights[:-1] ** 2).sum())
        error /= total
        error[rows, labels] -= 1.0
        error /= count
        pull = features.T @ error + decay * weights[:-1]
        return loss, (np.vstack([pull, error.sum(axis=0)]) * scale).ravel()

    options = {"maxiter": FEWER if large else ITERATIONS, "ftol": tolerance, "gtol": GRADIENT_TOLERANCE}
    found = minimize(objective, (start / scale).ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(start.shape) * scale, found.status != 1  # 1: out of iterations


def scores(features: Float[np.ndarray, "N D"], weights: Float[np.ndarray, "E C"]) -> Float[np.ndarray, "N C"]:
    """One logit per class, float32; E = D + 1."""
    narrow = weights.astype(np.float32)
    return np.asarray(features @ narrow[:-1] + narrow[-1])


def choose(
    features: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    groups: Int[np.ndarray, "N"],
    classes: int,
    seed: int = 0,
    large: bool = False,
) -> float:
    """The decay with the best accuracy on a tenth of the training part, mean over three such tenths.

    On a tie the stronger decay. From strong to weak, each fit starts at the last one; the walk ends once two decays in
    a row were worse than the best by more than a point, for the weakest take most of the time. Where nothing can be
    held out, 1e-3. When `large`: one tenth, five decays and at most 100 iterations a fit, for time.
    """
    decays = REDUCED if large else DECAYS
    parts = [holdout.by_group(groups, HELD_OUT, seed + number) for number in range(1 if large else HOLD_OUTS)]
    if not parts[0].any():
        return 1e-3
    weights = [np.zeros((features.shape[1] + 1, classes)) for _ in parts]
    accuracies: list[float] = []
    for decay in decays:
        found = []
        for number, aside in enumerate(parts):
            known = (features[~aside], labels[~aside])
            weights[number], _ = fit(*known, decay, weights[number], CHOOSING_TOLERANCE, large)
            found.append((scores(features[aside], weights[number]).argmax(axis=1) == labels[aside]).mean())
        accuracies.append(float(np.mean(found)))
        if max(accuracies[-2:]) < max(accuracies) - DECLINE:
            break
    return decays[int(np.argmax(accuracies))]


def is_large(widths: Iterable[int], classes: int) -> bool:
    """Whether a table with rows of these widths is probed the quick way: all its rows, if one of them is so wide."""
    return min(max(widths), AXES) * classes >= LARGE


def measure(
    train: Float[np.ndarray, "N D"],
    train_labels: Int[np.ndarray, "N"],
    train_groups: Int[np.ndarray, "N"],
    test: Float[np.ndarray, "Q D"],
    test_labels: Int[np.ndarray, "Q"],
    seed: int = 0,
    *,
    large: bool = False,
) -> Linear:
    """Choose the decay inside the training part, refit on the whole of it, name every test picture.

    Labels are 0 .. C-1, none missing. Features are standardised here, not brought to unit length. `large` is `is_large`
    of the whole table, so that no row has a weaker probe than the one it is compared with.
    """
    near, far = principal(*standardised(train, test))
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    decay = choose(near, train_labels, train_groups, classes, seed, large)
    weights, converged = fit(near, train_labels, decay, np.zeros((near.shape[1] + 1, classes)), large=large)
    predictions = scores(far, weights).argmax(axis=1)
    return Linear(predictions, predictions == test_labels, decay, converged)
