"""The slow twin of the views: Pillow and torchvision, one operation after another, on the same draw."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image
from scipy.ndimage import correlate1d
from sklearn.datasets import load_sample_images
from torchvision.transforms import functional as F

from selfsight.views.draw import Draw, length
from selfsight.views.recipes import Recipe

ADJUST = {
    "brightness": F.adjust_brightness,
    "contrast": F.adjust_contrast,
    "saturation": F.adjust_saturation,
    "hue": F.adjust_hue,
}
KERNEL = 23  # side of the Gaussian window at 224 pixels, a tenth of the side, SimCLR appendix A


@cache
def photographs(sides: tuple[int, ...] = (24, 40, 64, 150, 300, 427)) -> tuple[np.ndarray, ...]:
    """Two real photographs of scikit-learn in several sizes, smaller and larger than the views, not all square."""
    pictures = []
    for number, photograph in enumerate(load_sample_images().images):
        for side in sides:
            width = side * (4 + number) // 4 if side < 427 else 640
            scale = max(side / 427, width / 640)
            large = Image.fromarray(photograph).resize(
                (round(640 * scale), round(427 * scale)), Image.Resampling.BICUBIC
            )
            pictures.append(np.asarray(large.crop((0, 0, width, side))))
    return tuple(pictures)


def draws(
    recipe: Recipe, pictures: tuple[np.ndarray, ...], count: int = 200, seed: int = 0
) -> list[tuple[np.ndarray, Draw]]:
    """`count` draws, over the pictures in turn."""
    generator = np.random.default_rng(seed)
    turns = (pictures[n % len(pictures)] for n in range(count))
    return [(p, recipe.draw(p.shape, generator.random(length(p.shape[2])).tolist())) for p in turns]


def blurred(view: Image.Image, sigma: float) -> Image.Image:
    """torchvision's gaussian_blur, rows and then columns: its window of 23 x 23 at once takes eight times as long."""
    window = np.exp(-0.5 * (np.arange(KERNEL) - KERNEL // 2) ** 2 / sigma**2)
    rows = correlate1d(np.asarray(view, np.float32), window / window.sum(), axis=0, mode="mirror")
    both = correlate1d(rows, window / window.sum(), axis=1, mode="mirror")
    return Image.fromarray(both.round().astype(np.uint8))


def rendering(image: np.ndarray, draw: Draw, size: int) -> np.ndarray:
    """The same draw by Pillow and torchvision. Three channels, uint8."""
    box = [draw.top, draw.left, draw.height, draw.width]
    view = F.resized_crop(Image.fromarray(image), *box, [size, size], F.InterpolationMode.BILINEAR, antialias=True)
    if draw.flip:
        view = F.hflip(view)
    for name, amount in draw.colour:
        view = ADJUST[name](view, amount)
    if draw.sigma:
        view = blurred(view, draw.sigma)
    if draw.solarise:
        view = F.solarize(view, 128)
    return np.asarray(view)
