"""VDVS: the article's ten steps picture by picture, its settings, its ranks, and what it refuses."""

from __future__ import annotations

import copy
import re
from itertools import combinations
from math import expm1
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from contract_parts import made
from torch import Tensor, multiprocessing
from torch.nn.functional import cosine_similarity

from selfsight import methods
from selfsight.errors import RecipeError
from selfsight.losses.boxes import answers
from selfsight.losses.exponential import REDUCTIONS, exponential
from selfsight.methods.base import Batch, Facts
from selfsight.methods.vdvs import VDVS
from selfsight.nn.encoder import Encoder
from selfsight.training.request import sorted_settings
from selfsight.training.values import checked, kinds_of_settings

SIZE = 32


def facts(size: int) -> Facts:
    return Facts(count=1000, batch=64, size=size, channels=3, classes=0)


def batch_of(method: VDVS, count: int = 4, channels: int = 3, dtype: type = np.uint8) -> Batch:
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, np.iinfo(dtype).max, (count, 40, 50, channels), dtype=dtype)
    seen = [method.views(SIZE)(picture, np.random.default_rng(n)) for n, picture in enumerate(pictures)]
    return {name: torch.from_numpy(np.stack([one[name] for one in seen])) for name in seen[0]}


def test_is_in_the_registry_with_its_settings() -> None:
    assert methods.get("vdvs") is VDVS
    told = methods.describe("vdvs")
    assert {row["name"] for row in told["settings"]} == {
        "variant", "reduction", "difference_weight", "sum_weight", "normalize_before_sum", "num_crops", "width",
        "augmentation",
    }  # fmt: skip
    assert all(row["note"] for row in told["settings"])
    assert "1.2553" in told["story"]


@pytest.mark.parametrize(
    ("size", "variant", "expected"),
    [(32, "paper", (4, 256, "whole")), (224, "paper", (7, 256, "whole")), (32, "repo", (7, 1024, "vdvs-repo"))],
)
def test_size_and_variant_decide(size: int, variant: str, expected: tuple[object, ...]) -> None:
    resolved = VDVS.resolve({"variant": variant}, facts(size))
    assert tuple(resolved[name][0] for name in ("num_crops", "width", "augmentation")) == expected
    assert all(reason for _, reason in resolved.values())
    assert VDVS.resolve({"variant": variant, "num_crops": 3, "width": 8, "augmentation": "weak"}, facts(size)) == {}


def test_defaults() -> None:
    training = VDVS.defaults(32)
    assert (training.optimizer, training.weight_decay, training.clip, training.warmup) == ("adamw", 1e-4, 10.0, 10.0)
    assert training.rate(128)[0] == pytest.approx(5e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_crops": None},
        {"width": None},
        {"augmentation": None},
        {"num_crops": 1},
        {"reduction": "median"},
        {"difference_weight": 0.0, "sum_weight": 0.0},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_impossible_settings_are_refused(settings: dict[str, object]) -> None:
    given = {"num_crops": 4, "width": 8, "augmentation": "whole", **settings}
    with pytest.raises(RecipeError, match="vdvs"):
        VDVS(Encoder("test_resnet", size=SIZE), **given)


def test_unknown_variants_and_widened_maps_are_refused() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'paper'"):
        made("vdvs", variant="papers").views(SIZE)
    with pytest.raises(RecipeError, match="leaves untrained"):
        made("vdvs", variant="repo", encoder="mobilenetv3_small_050")
    with pytest.raises(RecipeError, match="whole number from 2 on"):
        checked("num_crops", 1, kinds_of_settings(VDVS)["num_crops"])


def by_hand(method: VDVS, batch: Batch) -> tuple[float, float]:
    """Both mean terms as the article tells them, one picture and one pair after another."""
    pairs, sums = [], []
    for whole, crops, boxes in zip(batch["whole"], batch["crops"], batch["boxes"].tolist(), strict=True):
        embeddings = [method.projector(method.encoder(one[None]))[0] for one in (whole, *crops)]
        masks = np.zeros((len(boxes), SIZE, SIZE), bool)
        for mask, (top, left, height, width) in zip(masks, boxes, strict=True):
            mask[top : top + height, left : left + width] = True
        for a, b in combinations(range(len(boxes)), 2):
            iou = (masks[a] & masks[b]).sum() / (masks[a] | masks[b]).sum()
            pairs.append(iou - cosine_similarity(embeddings[1 + a], embeddings[1 + b], dim=0).item())
        covered = masks.any(axis=0).mean()
        sums.append(covered - cosine_similarity(embeddings[0], torch.stack(embeddings[1:]).sum(dim=0), dim=0).item())
    return tuple(np.mean([expm1(4 * abs(d)) for d in errors]) for errors in (pairs, sums))


def test_the_ten_steps() -> None:
    method = made("vdvs", difference_weight=2.0, sum_weight=0.5).eval()
    batch = batch_of(method)
    with torch.no_grad():
        difference, total = by_hand(method, batch)
        terms = method.loss(method.project(batch), batch)
    assert terms["difference"].item() == pytest.approx(difference, rel=1e-4)
    assert terms["sum"].item() == pytest.approx(total, rel=1e-4)
    assert terms["loss"].item() == pytest.approx(2 * difference + 0.5 * total, rel=1e-4)
    assert 0.2 < terms["overlap"].item() < 0.5 < terms["covered"].item() < 0.7


def test_all_views_share_one_encoder_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made("vdvs")
    seen = []
    honest = method.encoder.forward
    monkeypatch.setattr(method.encoder, "forward", lambda pixels: seen.append(len(pixels)) or honest(pixels))
    projections = method.project(batch_of(method))
    assert seen == [4 * 5]
    assert projections["whole"].shape == (4, 256)
    assert projections["crops"].shape == (4, 4, 256)


@pytest.mark.parametrize("variant", ["paper", "repo"])
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (5, np.uint16), (3, np.uint16)])
def test_any_channels_and_sixteen_bits(variant: str, channels: int, dtype: type) -> None:
    encoder = Encoder("test_resnet", size=SIZE, channels=channels, high=float(np.iinfo(dtype).max))
    method = VDVS(encoder, variant=variant, num_crops=3, width=16, augmentation="whole")
    batch = batch_of(method, 2, channels, dtype)
    method.loss(method.project(batch), batch)["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters())


def test_the_released_embedding_adds_the_largest_values() -> None:
    method = made("vdvs", variant="repo").eval()
    batch = batch_of(method, 2)
    patches = method.encoder.patches(batch["whole"])
    expected = method.projector(patches.mean(dim=1) + patches.amax(dim=1))
    torch.testing.assert_close(method.project(batch)["whole"], expected, rtol=1e-4, atol=1e-4)
    assert method.projector.out_features == 1024


def test_what_learns_from_patches_is_kept_by_their_mean() -> None:
    pixels = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for variant, token in (("repo", False), ("paper", True)):
        product = made("vdvs", variant=variant, encoder="test_vit").product.eval()
        means = product.patches(pixels).mean(dim=1)
        assert torch.allclose(product(pixels), means, atol=1e-5) != token


def test_the_articles_recipe_can_be_asked_for_as_it_is_told() -> None:
    story = methods.describe("vdvs")["story"].replace("\n", " ")
    told = dict(pair.split("=") for pair in re.findall(r"--set (\w+=\w+)", story))
    own, loose = sorted_settings(VDVS, "vdvs", told)
    assert own == {"variant": "repo", "reduction": "literal"}
    assert loose == {"warmup": 0.0, "clip": None}


def test_released_targets() -> None:
    """Two equal crops that cover the picture: IoU and share are 1, and 0 in the released histogram."""
    boxes = torch.tensor([[[0, 0, SIZE, SIZE]] * 2])
    same = {"whole": torch.ones(1, 3), "crops": torch.ones(1, 2, 3)}
    batch = {"boxes": boxes, "whole": torch.zeros(1, SIZE, SIZE, 3)}
    assert made("vdvs").loss(same, batch)["loss"].item() == pytest.approx(0.0, abs=1e-5)
    assert made("vdvs", variant="repo").loss(same, batch)["loss"].item() == pytest.approx(2 * expm1(4), rel=1e-5)


def test_chance_is_what_looking_at_nothing_costs() -> None:
    pairs = made("vdvs", sum_weight=0.0)
    assert pairs.chance(8) == pytest.approx(1.2553, rel=0.05)  # of 32 pixels a little more
    both = made("vdvs")
    assert pairs.chance(8) + 0.25 < both.chance(8) < pairs.chance(8) + 0.35
    assert made("vdvs", difference_weight=2.0, sum_weight=0.0).chance(8) == pytest.approx(2 * pairs.chance(8))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_run_at_chance_is_seen_to_be(reduction: str) -> None:
    """The mean loss of constant answers over 400 batches: the guard calls out what is within a hundredth."""
    method = made("vdvs", reduction=reduction)
    boxes = torch.from_numpy(method.views(SIZE).boxes(np.random.default_rng(1), (400, 64, 4)))
    losses = []
    for overlap, covered in (answers(one, SIZE) for one in boxes):
        errors = overlap - 0.3, covered - 0.56
        losses.append(sum(exponential(one, reduction).item() for one in errors))
    assert method.chance(64) == pytest.approx(np.mean(losses), rel=0.01)


def test_the_floor_can_be_reached() -> None:
    """Vectors with the IoUs as cosines are the root of their matrix; the picture stands at its angle to their sum."""
    method = made("vdvs")
    boxes = torch.from_numpy(method.views(SIZE).boxes(np.random.default_rng(0), (1, 4))).double()
    (overlap,), (covered,) = answers(boxes, SIZE)
    iou = torch.eye(4, dtype=torch.float64)
    first, second = torch.triu_indices(4, 4, offset=1)
    iou[first, second] = iou[second, first] = overlap
    crops = torch.nn.functional.pad(torch.linalg.cholesky(iou), (0, 1))  # (4, 5)
    along = torch.nn.functional.normalize(crops.sum(dim=0), dim=0)
    whole = covered * along + (1 - covered**2).sqrt() * torch.eye(5, dtype=torch.float64)[4]
    batch = {"boxes": boxes, "whole": torch.zeros(1, SIZE, SIZE, 3)}
    terms = method.loss({"whole": whole[None], "crops": crops[None]}, batch)
    assert terms["loss"].item() == pytest.approx(method.floor(1), abs=1e-9)


def small_case(reduction: str, rows: slice = slice(None)) -> Tensor:
    """The loss of some of four pictures, and its slope in the weights that embed them."""
    method = made("vdvs", reduction=reduction)
    batch = {name: tensor[rows] for name, tensor in batch_of(method).items()}
    views = torch.cat([batch["whole"][:, None], batch["crops"]], dim=1)[..., ::8, ::8, 0].flatten(2).double() / 255
    weights = torch.linspace(-1, 1, 16 * 8, dtype=torch.float64).view(16, 8).requires_grad_()
    embeddings = views @ weights
    loss = method.loss({"whole": embeddings[:, 0], "crops": embeddings[:, 1:]}, batch)["loss"]
    loss.backward()
    return torch.cat([loss.detach().view(1), weights.grad.flatten()])


def one_of_two(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for reduction in REDUCTIONS:
        both = small_case(reduction, slice(2 * rank, 2 * rank + 2))
        dist.all_reduce(both)
        if rank == 0:
            torch.save(both / 2, f"{folder}/{reduction}.pt")
    dist.destroy_process_group()


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    """Sums, too, are those of the whole batch, and so is the published line's square."""
    multiprocessing.start_processes(one_of_two, (str(tmp_path),), nprocs=2, start_method="forkserver")
    for reduction in REDUCTIONS:
        found = torch.load(tmp_path / f"{reduction}.pt")
        torch.testing.assert_close(found, small_case(reduction), rtol=1e-6, atol=0, msg=reduction)


def test_pictures_that_tell_nothing_are_spoken_of() -> None:
    method = made("vdvs")
    said: list[str] = []
    pictures = [np.zeros((10, 10, 3), np.uint8), np.random.default_rng(0).integers(0, 9, (40, 40, 3), np.uint8)]
    before = copy.deepcopy(method.state_dict())
    method.prepare(SimpleNamespace(some=lambda count: iter(pictures), say=said.append))
    assert [sentence.split(": ")[0] for sentence in said] == ["vdvs", "vdvs"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
