"""Pooling: the mean of each feature and its largest value."""

import torch

from selfsight.nn.pooling import mean_plus_max


def test_mean_plus_max() -> None:
    patches = torch.tensor([[[1.0, -1.0], [3.0, -3.0], [5.0, -2.0]]])
    assert mean_plus_max(patches).tolist() == [[3.0 + 5.0, -2.0 - 1.0]]
