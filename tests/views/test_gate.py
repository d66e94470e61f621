"""The picture gate: our rendering of a draw is the antialiased Pillow/torchvision rendering of the same draw."""

import numpy as np
import oracle_views as oracle
import pytest

from selfsight.views import recipes
from selfsight.views.render import render

WITHOUT_HUE, WITH_HUE = 3.0, 6.0  # grey levels of 255, mean over draws: the promise of the design
WORST = 6.0  # no single draw may be further off


def differences(name: str, size: int, hue: bool) -> np.ndarray:
    """Mean absolute difference of each draw with (or without) hue, in grey levels."""
    recipe = recipes.get(name, size)
    found = []
    for image, draw in oracle.draws(recipe, oracle.photographs()):
        if any(step == "hue" for step, _ in draw.colour) == hue:
            view, expected = render(image, draw, size), oracle.rendering(image, draw, size)
            found.append(np.abs(view.astype(float) - expected).mean())
    return np.array(found)


@pytest.mark.parametrize("name", recipes.names())
@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize(("hue", "limit"), [(False, WITHOUT_HUE), (True, WITH_HUE)])
def test_a_view_is_the_picture_that_torchvision_would_show(name: str, size: int, hue: bool, limit: float) -> None:
    found = differences(name, size, hue)
    if len(found):
        print(f"{name} {size} px, hue {hue}: {len(found)} draws, mean {found.mean():.2f}, worst {found.max():.2f}")
        assert found.mean() <= limit
        assert found.max() <= WORST
