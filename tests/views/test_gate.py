"""The picture gate: our rendering of a draw is the antialiased Pillow/torchvision rendering of the same draw."""

from dataclasses import replace

import numpy as np
import oracle_views as oracle
import pytest
from PIL import Image
from torchvision.transforms.functional import gaussian_blur

from selfsight.views import recipes
from selfsight.views.render import render

LIMITS = {False: 3.0, True: 6.0}  # with hue or without: grey levels of 255, mean over draws, as the design promises
WORST = 8.0  # no single draw may be further off; measured 6.3


@pytest.mark.parametrize("name", recipes.names())
@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("hue", [False, True])
def test_a_view_is_the_picture_that_torchvision_would_show(name: str, size: int, hue: bool) -> None:
    drawn, rows = [], recipes.rows(name, size)
    for recipe in rows:
        jitter = recipe.jitter if hue else (*recipe.jitter[:3], 0.0)
        drawn += oracle.draws(replace(recipe, jitter=jitter), oracle.photographs(), 200 // len(rows))
    found = [np.abs(render(p, d, size).astype(float) - oracle.rendering(p, d, size)).mean() for p, d in drawn]
    print(f"{name}, {size} px, hue {hue}: mean {np.mean(found):.2f}, worst {np.max(found):.2f} of 255")
    assert np.mean(found) <= LIMITS[hue]
    assert np.max(found) <= WORST


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_the_quick_blur_of_the_twin_is_torchvisions(sigma: float) -> None:
    """But for rounding: one grey level at one pixel of a thousand."""
    for photograph in oracle.photographs((40, 300)):
        view = Image.fromarray(photograph)
        theirs = gaussian_blur(view, [oracle.KERNEL, oracle.KERNEL], [sigma, sigma])
        apart = np.abs(np.asarray(oracle.blurred(view, sigma), int) - np.asarray(theirs, int))
        assert apart.max() <= 1
        assert apart.mean() <= 1e-3
