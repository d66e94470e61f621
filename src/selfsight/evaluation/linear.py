"""Linear probe: multinomial logistic regression on frozen features, by L-BFGS (methods.md C2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import logsumexp

from selfsight.evaluation import holdout

# methods.md C2 has 1e-1 ... 1e-6 and 0; 1 is added because many weak dimensions (raw pixels) want more than 0.1.
DECAYS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 0.0)
HELD_OUT = 0.1  # of the training part, to choose the decay on (methods.md C2)
PATIENCE = 2  # values without a gain before the walk from strong to weak decay stops
ITERATIONS = 500  # methods.md C2
LOSS_TOLERANCE = 1e-7  # relative gain of one iteration: below it float32 features have nothing more to say
GRADIENT_TOLERANCE = 1e-5
ROUNDING = 1e-7  # float32: a variance below this share of the largest is rounding


@dataclass(frozen=True)
class Linear:
    """One measurement. `converged` is False when the last fit ran out of its 500 iterations."""

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
    mean = train.mean(axis=0, dtype=np.float64)
    deviation = train.std(axis=0, dtype=np.float64)
    constant = deviation <= 1e-6 * float(deviation.max())
    scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
    return ((train - mean) * scale).astype(np.float32), ((test - mean) * scale).astype(np.float32)


def principal(
    train: Float[np.ndarray, "N D"], test: Float[np.ndarray, "Q D"]
) -> tuple[Float[np.ndarray, "N E"], Float[np.ndarray, "Q E"]]:
    """Both turned onto the principal axes of the (centred) training part; axes that it does not vary along are dropped.

    A rotation leaves ||W||, hence the solution, as it is; but along these axes the problem is nearly diagonal, and
    L-BFGS with the scale of `fit` needs tens of iterations where it needed more than 500.
    """
    covariance = (train.T @ train).astype(np.float64) / len(train)
    variances, axes = np.linalg.eigh(covariance)
    kept = axes[:, variances > ROUNDING * max(float(variances[-1]), ROUNDING)].astype(np.float32)
    return train @ kept, test @ kept


def fit(
    features: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    decay: float,
    start: Float[np.ndarray, "E C"],
) -> tuple[Float[np.ndarray, "E C"], bool]:
    """Minimise mean cross-entropy + decay / 2 * ||W||^2 from `start`; E = D + 1, the last row is the bias (no decay).

    The optimizer works on W divided by `scale`, which makes the curvature along every dimension about 1.
    Returns the weights, float64, and whether the optimizer met its tolerance.
    """
    count, rows = len(labels), np.arange(len(labels))
    curvature = (features**2).mean(axis=0, dtype=np.float64) / start.shape[1] + decay  # p(1 - p) is about 1 / C
    scale = np.append(1.0 / np.sqrt(np.maximum(curvature, ROUNDING)), 1.0)[:, None]

    def objective(flat: Float[np.ndarray, "P"]) -> tuple[float, Float[np.ndarray, "P"]]:
        weights = flat.reshape(start.shape) * scale
        logits = scores(features, weights).astype(np.float64)
        logits -= logsumexp(logits, axis=1, keepdims=True)
        loss = -logits[rows, labels].mean() + decay / 2 * float((weights[:-1] ** 2).sum())
        error = np.exp(logits)
        error[rows, labels] -= 1.0
        error /= count
        pull = features.T @ error.astype(np.float32) + decay * weights[:-1]
        return loss, (np.vstack([pull, error.sum(axis=0)]) * scale).ravel()

    options = {"maxiter": ITERATIONS, "ftol": LOSS_TOLERANCE, "gtol": GRADIENT_TOLERANCE}
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
) -> tuple[float, Float[np.ndarray, "E C"]]:
    """The decay with the best accuracy on a tenth of the training part, and the weights to refit from.

    Walks from strong to weak, each fit starting at the last one, and stops after two values without a gain. On a tie
    the stronger decay stays. Where nothing can be held out, 1e-3 from zero.
    """
    weights = np.zeros((features.shape[1] + 1, classes))
    aside = holdout.by_group(groups, HELD_OUT, seed)
    if not aside.any():
        return 1e-3, weights
    best, chosen, kept, waited = -1.0, DECAYS[0], weights, 0
    for decay in DECAYS:
        weights, _ = fit(features[~aside], labels[~aside], decay, weights)
        accuracy = float((scores(features[aside], weights).argmax(axis=1) == labels[aside]).mean())
        waited += 1
        if accuracy > best:
            best, chosen, kept, waited = accuracy, decay, weights, 0
        if waited == PATIENCE:
            break
    return chosen, kept


def measure(
    train: Float[np.ndarray, "N D"],
    train_labels: Int[np.ndarray, "N"],
    train_groups: Int[np.ndarray, "N"],
    test: Float[np.ndarray, "Q D"],
    test_labels: Int[np.ndarray, "Q"],
    seed: int = 0,
) -> Linear:
    """Choose the decay inside the training part, refit on the whole of it, name every test picture.

    Labels are 0 .. C-1, none missing. Features are standardised here, not brought to unit length.
    """
    near, far = principal(*standardised(train, test))
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    decay, start = choose(near, train_labels, train_groups, classes, seed)
    weights, converged = fit(near, train_labels, decay, start)
    predictions = scores(far, weights).argmax(axis=1)
    return Linear(predictions, predictions == test_labels, decay, converged)
