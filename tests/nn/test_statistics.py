"""Batch statistics on a copy: the encoder and the random numbers stay as they are."""

from __future__ import annotations

import torch

from selfsight.nn.encoder import Encoder
from selfsight.nn.splitnorm import split_batch_norm
from selfsight.nn.statistics import estimated, normalising


def test_the_copy_knows_the_pictures_and_nothing_else_changes() -> None:
    encoder = Encoder("test_resnet", size=32)
    split_batch_norm(encoder, 2)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    views = torch.randint(0, 256, (32, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    random = torch.get_rng_state()
    copy = estimated(encoder, torch.split(views, 16))
    assert torch.equal(torch.get_rng_state(), random)
    assert encoder.training
    assert not copy.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    first = normalising(copy)[0]
    assert first.running_mean is not None
    assert int(first.num_batches_tracked) == 2
    assert float(first.running_mean.abs().sum()) > 0


def test_a_last_picture_alone_is_passed_over() -> None:
    """257 pictures in batches of 256; the maps of this network are 1 x 1."""
    encoder = Encoder("test_resnet", size=32)
    views = torch.randint(0, 256, (9, 32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    norm = normalising(estimated(encoder, torch.split(views, 8)))[-1]
    assert int(norm.num_batches_tracked) == 1
    assert torch.equal(norm.running_mean, normalising(estimated(encoder, [views[:8]]))[-1].running_mean)
