"""Tokenizers name patches, stay frozen, and say so when few codes are used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from selfsight.errors import RecipeError
from selfsight.nn import tokenizers
from selfsight.nn.codebook import Codebook
from selfsight.nn.encoder import Encoder
from selfsight.nn.patches import patchify
from selfsight.nn.tokenizers import LearnedTokenizer, PatchClusters
from selfsight.views.masks import Blocks, Masked
from selfsight.views.recipes import multi_view


def pictures(count: int = 24, channels: int = 3, dtype: type = np.uint8) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, np.iinfo(dtype).max, (count, 5, 5, channels)).astype(dtype)
    return list(coarse.repeat(8, axis=1).repeat(8, axis=2))


def looked(encoder: Encoder, some: list[np.ndarray]) -> tokenizers.Looked:
    views = Masked(multi_view("zoom-flip", 32, views=1), Blocks((8, 8), 26, 4))
    return tokenizers.looked_at(lambda count: some, views, encoder, 0)


@pytest.mark.parametrize(("channels", "dtype"), [(3, np.uint8), (1, np.uint16), (5, np.uint8)])
def test_clusters_of_whitened_patches_equal_their_slow_twin(channels: int, dtype: type) -> None:
    encoder = Encoder("test_vit", size=32, channels=channels, high=float(np.iinfo(dtype).max))
    clusters = PatchClusters(16, encoder)
    images = [seen["images"] for seen in looked(encoder, pictures(channels=channels, dtype=dtype))(24)]
    clusters.begin(images, seed=0)
    rows = patchify(torch.cat(images), 4).flatten(0, 1).double()
    centred = rows - rows.mean(dim=0)
    covariance = np.cov(centred.T.numpy(), bias=True)
    softened = covariance + 0.1 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    whitened = centred.numpy() @ clusters.whitening.double().numpy()
    np.testing.assert_allclose(  # distances are Mahalanobis's, of the softened covariance
        (whitened**2).sum(axis=1),
        np.einsum("ni,ij,nj->n", centred.numpy(), np.linalg.inv(softened), centred.numpy()),
        rtol=1e-3,
    )
    distances = ((whitened[:, None] - clusters.vectors.numpy()) ** 2).sum(axis=2)
    assert np.mean(clusters.codes(torch.cat(images)).flatten().numpy() == distances.argmin(axis=1)) > 0.99


def test_learned_codes_are_the_largest_logit_or_the_nearest_vector() -> None:
    encoder, layer = Encoder("test_vit", size=32), nn.Linear(64, 7)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rows = layer(encoder.eval().patches(images))
    assert torch.equal(LearnedTokenizer(encoder, layer, None, 7).codes(images), rows.argmax(dim=2))
    book = Codebook(9, 7)
    expected = torch.cdist(rows, book.vectors).argmin(dim=2)
    assert torch.equal(LearnedTokenizer(encoder, layer, book, 9).codes(images), expected)


@pytest.mark.parametrize("book", [None, Codebook(64, 64)], ids=["logits", "codebook"])
def test_codes_are_the_same_in_mixed_precision(book: Codebook | None) -> None:
    """They were counted in full precision, and name what a network of full precision has learned to name."""
    encoder = Encoder("test_vit", size=32)
    tokenizer = LearnedTokenizer(encoder, nn.Linear(64, 64), book, 64)
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = tokenizer.codes(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(tokenizer.codes(images), expected)


def test_the_mean_colour_is_that_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(4, 5, 12)
    expected = rows.view(-1, 3).mean(dim=0)
    torch.testing.assert_close(tokenizers.mean_colour(rows, 3), expected)
    other = tokenizers.mean_colour(rows[2:], 3)
    monkeypatch.setattr(tokenizers.distributed, "average", lambda own: (own + other) / 2)
    torch.testing.assert_close(tokenizers.mean_colour(rows[:2], 3), expected)


def test_a_tokenizer_is_frozen() -> None:
    encoder = Encoder("test_resnet", size=32)
    tokenizer = LearnedTokenizer(encoder, nn.Linear(encoder.maps, 7), None, 7)
    nn.Sequential(tokenizer).train()
    assert not any(module.training for module in tokenizer.modules())
    assert not any(p.requires_grad for p in tokenizer.parameters())
    images, before = torch.randn(4, 3, 32, 32), {k: v.clone() for k, v in tokenizer.state_dict().items()}
    tokenizer.codes(images)
    with torch.no_grad():
        next(encoder.parameters()).zero_()
    assert all(torch.equal(value, before[name]) for name, value in tokenizer.state_dict().items())


class Constant(tokenizers.Tokenizer):
    """Names everything alike."""

    def codes(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 64, dtype=torch.int64)


def test_what_is_told_is_the_entropy_of_the_codes_and_their_collapse() -> None:
    encoder = Encoder("test_vit", size=32)
    seen = looked(encoder, pictures())
    hidden = sum(int(part["hidden"].sum()) for part in seen(24))
    lonely, clusters = Constant(8), PatchClusters(8, encoder)
    said = tokenizers.begun(lonely, seen, 26, 0)
    assert "a loss of 0.0" in said
    assert "uses 1 of its 8 codes" in said
    assert lonely.shares[0].item() == pytest.approx((hidden + 1) / (hidden + 8))
    said = tokenizers.begun(clusters, seen, 26, 0)
    codes = torch.cat([clusters.codes(part["images"])[part["hidden"].bool()] for part in seen(24)])
    shares = torch.bincount(codes) / len(codes)
    assert f"a loss of {-float(torch.xlogy(shares, shares).sum()):.2f}" in said
    assert "in effect" not in said
    same = looked(encoder, [np.zeros((40, 40, 3), np.uint8)] * 16)
    told = tokenizers.begun(PatchClusters(8, encoder), same, 26, 0)
    assert told.endswith("codes in effect: try --set codes=N with fewer"), "it is k-means and has no training"
    assert clusters.shares.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("size", "count", "codes"),
    [(32, 10_000, 1024), (96, 256, 1024), (32, 64, 256), (32, 100, 256), (224, 10_000, 8192), (224, 1000, 2048)],
)
def test_as_many_codes_as_the_pictures_fill(size: int, count: int, codes: int) -> None:
    found, reason = tokenizers.affordable(size, count, None)
    assert found == codes
    assert "not comparable" in reason
    assert codes <= 4 * count


@pytest.mark.parametrize("wanted", [1, 10_000])
def test_too_many_codes_are_refused(wanted: int) -> None:
    with pytest.raises(RecipeError, match=r"--set codes=N with N from 2 to 256"):
        tokenizers.affordable(32, 64, wanted)


def test_pictures_are_looked_at_as_the_encoder_sees_them_the_same_each_time() -> None:
    encoder = Encoder("test_vit", size=32)

    def some(count: int) -> Iterator[np.ndarray]:
        return iter(pictures(300)[:count])

    batches = tokenizers.looked_at(some, multi_view("zoom-flip", 32, views=1), encoder, 0)
    first, second = (torch.cat([seen["images"] for seen in batches(300)]) for _ in range(2))
    assert first.shape == (300, 3, 32, 32)
    assert torch.equal(first, second)
    assert torch.equal(next(batches(2))["images"], first[:2])


def test_drawn_patches_are_the_pixels_again() -> None:
    views = torch.randint(0, 65536, (3, 32, 32, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint16)
    encoder = Encoder("test_vit", size=32, channels=5, low=100.0, high=60_000.0)
    made = tokenizers.drawn(encoder, patchify(encoder.normalised(views), 4), views)
    assert made.dtype == np.uint16
    np.testing.assert_allclose(made, views.numpy().clip(100, 60_000), atol=1)
    hidden = torch.zeros(3, 64, dtype=torch.int64)
    hidden[:, 9] = 1  # second row, second column
    covered = tokenizers.covered(encoder, views, hidden)
    assert (np.ptp(covered[:, 4:8, 4:8], axis=(1, 2)) == 0).all()
    np.testing.assert_allclose(covered[:, :4], made[:, :4], atol=1)


def test_a_method_that_names_nothing_is_refused() -> None:
    encoder = Encoder("test_vit", size=32)
    with pytest.raises(RecipeError, match="'dvae' is a method that is trained before"):
        tokenizers.of(None, "dvae", 8, encoder)
