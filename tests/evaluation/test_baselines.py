"""Raw pixels and simple statistics: any channel count and depth, and what they can and cannot see."""

import numpy as np
import pytest

from selfsight.evaluation import baselines


def picture(seed: int, channels: int, dtype: type = np.uint8, side: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (side, side, channels)).astype(dtype)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_channel_count_and_depth(channels: int, dtype: type) -> None:
    images = [picture(seed, channels, dtype) for seed in range(4)]
    train = np.array([True, True, True, False])
    rows = baselines.both(images, train)
    assert rows["raw_pixels"].shape == (4, 32 * 32 * channels)
    np.testing.assert_allclose(rows["raw_pixels"][train].mean(axis=0), 0, atol=1e-6)
    colours = 512 if channels == 3 else 32 * channels
    assert rows["simple_statistics"].shape == (4, colours + 256)
    np.testing.assert_allclose(rows["simple_statistics"] @ rows["simple_statistics"].T <= 2 + 1e-5, True)
    np.testing.assert_allclose((rows["simple_statistics"] ** 2).sum(axis=1), 2, atol=1e-5)
    np.testing.assert_array_equal(rows["raw_pixels"], baselines.raw_pixels(images, train))
    np.testing.assert_array_equal(rows["simple_statistics"], baselines.simple_statistics(images))


def test_depth_is_the_same_picture() -> None:
    image = picture(0, 3)
    deep = image.astype(np.uint16) * 257
    np.testing.assert_allclose(baselines.statistics(image), baselines.statistics(deep), atol=0.03)
    ranged = baselines.statistics((image.astype(np.uint16) * 16), low=0, high=255 * 16)
    np.testing.assert_allclose(baselines.statistics(image), ranged, atol=0.03)


def test_colour_part_is_a_histogram() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    row = baselines.statistics(red)
    assert np.flatnonzero(row).tolist() == [7 * 64]  # all in the bin of full red; no gradient anywhere
    assert row.max() == pytest.approx(1)
    nearly = red.copy()
    nearly[..., 0] = 250  # a small change moves the histogram a little, not into another bin
    assert row @ baselines.statistics(nearly) > 0.9


def test_gradient_part_knows_orientation_and_place() -> None:
    ramp = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))
    across = baselines.gradients(ramp).reshape(4, 4, 16)
    down = baselines.gradients(ramp.T).reshape(4, 4, 16)
    np.testing.assert_allclose(across[..., 0], 1 / 16, atol=1e-3)
    np.testing.assert_allclose(down[..., 4], 1 / 16, atol=1e-3)
    np.testing.assert_allclose(baselines.gradients(ramp[:, ::-1]).reshape(4, 4, 16)[..., 8], 1 / 16, atol=1e-3)
    half = ramp.copy()
    half[16:] = 0.5
    assert baselines.gradients(half).reshape(4, 4, 16)[3].sum() == pytest.approx(0)


def test_tiny_and_flat_pictures() -> None:
    for shape in [(1, 1, 1), (3, 7, 3), (200, 150, 1)]:
        assert np.isfinite(baselines.statistics(np.full(shape, 9, np.uint8))).all()
        assert np.isfinite(baselines.pixels(np.full(shape, 9, np.uint8))).all()


def test_statistics_tell_colours_apart_where_labels_are_colours() -> None:
    generator = np.random.default_rng(0)
    tints = generator.integers(40, 216, (5, 3))
    images = [np.clip(tints[i % 5] + generator.normal(0, 12, (40, 40, 3)), 0, 255).astype(np.uint8) for i in range(50)]
    rows = baselines.simple_statistics(images)
    nearest = (rows @ rows.T - 9 * np.eye(50)).argmax(axis=1)
    assert (nearest % 5 == np.arange(50) % 5).all()
