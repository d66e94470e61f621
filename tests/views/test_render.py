"""Rendering: any channels, both types, pure, the same from any thread."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import oracle_views as oracle
import pytest
from PIL import Image

from selfsight.views import draw, recipes
from selfsight.views.draw import Draw
from selfsight.views.render import render, turn, whole

GEOMETRY = Draw(top=3, left=5, height=40, width=33, flip=True, sigma=1.3)


def picture(channels: int, dtype: type = np.uint8, side: int = 60) -> np.ndarray:
    photograph = oracle.photographs((side,))[0]
    stack = np.concatenate([photograph, photograph[::-1], photograph[:, ::-1]] * 17, axis=2)[..., :channels]
    return stack.astype(dtype) * (257 if dtype is np.uint16 else 1)


@pytest.mark.parametrize("size", [16, 32, 96])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 9, 150])
def test_every_channel_is_rendered_as_it_would_be_alone(channels: int, dtype: type, size: int) -> None:
    image = picture(channels, dtype)
    view = render(image, GEOMETRY, size)
    assert view.shape == (size, size, channels)
    assert view.dtype == dtype
    alone = [render(image[..., [channel]], GEOMETRY, size) for channel in range(channels)]
    difference = np.abs(view.astype(float) - np.concatenate(alone, axis=2))
    assert difference.max() <= (1 if dtype is np.uint8 else 257)


def test_sixteen_bits_show_the_picture_of_eight() -> None:
    for image, one in oracle.draws(recipes.get("simclr", 224), oracle.photographs((64,)), 40):
        eight, sixteen = render(image, one, 48), render(image.astype(np.uint16) * 257, one, 48)
        assert np.abs(eight - sixteen / 257).mean() < 2.5


@pytest.mark.parametrize("size", [8, 32, 224])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 90), (300, 2), (33, 31)])
def test_pictures_of_any_shape_have_views(height: int, width: int, size: int) -> None:
    image = np.full((height, width, 3), 77, np.uint8)
    assert (whole(image, size) == 77).all()
    assert (render(image, Draw(0, 0, height, width, sigma=2.0), size) == 77).all()


@pytest.mark.parametrize("size", [32, 64, 224])
def test_the_evaluation_view_is_pillows_antialiased_centre_crop(size: int) -> None:
    differences = []
    for image in oracle.photographs():
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        centre = Image.fromarray(image).crop((left, top, left + side, top + side))
        expected = np.asarray(centre.resize((size, size), Image.Resampling.BILINEAR), float)
        differences.append(np.abs(whole(image, size) - expected).mean())
    assert np.mean(differences) <= 3.0
    assert np.max(differences) <= 5.0


def test_rendering_reads_and_writes_nothing_else() -> None:
    image = picture(3)
    image.setflags(write=False)
    full = Draw(0, 0, *image.shape[:2])
    view = render(image, full, image.shape[0])
    assert not np.shares_memory(view, image)
    for one in (full, GEOMETRY, full._replace(colour=(("hue", 0.1), ("contrast", 0.5)))):
        assert (render(image, one, 32) == render(image, one, 32)).all()


def test_threads_render_what_one_thread_renders() -> None:
    drawn = oracle.draws(recipes.get("simclr", 224), oracle.photographs((64, 150)), 64)
    expected = [render(image, one, 64) for image, one in drawn]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: render(*pair, 64), drawn * 4))
    assert all((view == expected[n % len(drawn)]).all() for n, view in enumerate(found))


def test_a_flip_mirrors() -> None:
    image = picture(3)
    plain = Draw(*draw.centre(*image.shape[:2]))
    assert (render(image, plain._replace(flip=True), 32) == render(image, plain, 32)[:, ::-1]).all()


@pytest.mark.parametrize("degrees", [0.0, 30.0, 90.0, 200.0])
def test_turning_is_pillows(degrees: float) -> None:
    photograph = oracle.photographs((64,))[0]
    turned = turn(photograph, degrees)
    expected = np.asarray(Image.fromarray(photograph).rotate(degrees, Image.Resampling.BILINEAR))
    inside = np.asarray(Image.new("L", photograph.shape[1::-1], 255).rotate(degrees, Image.Resampling.BILINEAR)) == 255
    inside = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    assert np.abs(turned.astype(float) - expected)[inside].mean() < 1.0
    assert turned.shape == photograph.shape
