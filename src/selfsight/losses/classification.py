"""Classification: the cross-entropy of a question with K answers, and how often the answer is right."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from selfsight.losses.precision import full, no_autocast

__all__ = ["classification"]


def classification(
    logits: Float[Tensor, "*B K"], answers: Int[Tensor, "*B"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy in nats and share of right answers, both means over all questions. Logits of zero give log K.

    Every rank asks equally many questions, so the mean of the ranks' losses is the loss of the whole batch.
    """
    with no_autocast(logits):
        rows = full(logits).flatten(0, -2)  # (questions, K)
        right = (rows.detach().argmax(dim=1) == answers.flatten()).to(rows.dtype)
        return cross_entropy(rows, answers.flatten()), torch.mean(right)
