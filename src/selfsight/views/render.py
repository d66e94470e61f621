"""Render: a picture and a draw make a view. Pure functions of both, on integer pixels as they were decoded.

Safe to call from several threads: nothing is kept between calls, and OpenCV releases the interpreter's lock. How many
threads OpenCV itself uses is the loader's business.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from selfsight.data.halving import FOUR, halved, in_fours
from selfsight.data.ranges import FULL
from selfsight.views import colour
from selfsight.views.draw import Draw, centre

SHRINK = 1.4  # from here on a shrink is antialiased; below, bilinear is off by about one grey level (test_gate.py)


def render(image: np.ndarray, draw: Draw, size: int) -> np.ndarray:
    """Crop, resize, flip, colour, blur, in this order (SimCLR, appendix A), solarise (BYOL, appendix B), turn.

    `image` is (H, W, C), uint8 or uint16, and is not written to. Returns (size, size, C) of the same type.
    """
    box = image[draw.top : draw.top + draw.height, draw.left : draw.left + draw.width]
    view = resize(box, size)
    if draw.flip:
        view = cv2.flip(view, 1) if image.shape[2] <= FOUR else view[:, ::-1]
    if draw.colour:
        view = colour.apply(view, draw.colour, draw.gains, draw.low)
    if draw.sigma:
        view = blur(view, draw.sigma)
    if draw.solarise:
        view = solarised(view, draw.low, draw.high)
    view = view.reshape(size, size, image.shape[2])  # OpenCV drops the axis of a single channel
    return np.ascontiguousarray(np.rot90(view, draw.turns)) if draw.turns else view


def solarised(view: np.ndarray, low: float, high: float) -> np.ndarray:
    """x, or black + white - x where that is less, but not below black; of 8 bits these are 0 and 255."""
    if view.dtype == np.uint8 or (low, high) == (0, FULL):
        return cv2.min(view, cv2.bitwise_not(view))
    inverted = np.maximum(round(low + high) - view.astype(np.int32), round(low))
    less: np.ndarray = np.minimum(view, inverted).astype(view.dtype)
    return less


def whole(image: np.ndarray, size: int) -> np.ndarray:
    """The evaluation view: short side to `size`, centre crop, antialiased, nothing random.

    `image` is (H, W, C), uint8 or uint16. Returns (size, size, C) of the same type.
    """
    return render(image, Draw(*centre(*image.shape[:2])), size)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resize to (size, size), bilinear, antialiased when it shrinks.

    A shrink is sampled at twice the size and halved by 2x2 means, which comes close to the triangle filter of Pillow
    and torchvision at a fraction of its cost; one of more than 2x goes through half-size levels first. Bilinear as in
    torchvision's RandomResizedCrop, which MoCo and lightly use; SimCLR's own code is bicubic.
    """
    if image.shape[2] > FOUR:
        return in_fours(lambda part: resize(part, size), image)
    image = halved(image, size)
    if max(image.shape[:2]) > SHRINK * size:
        image = cv2.resize(image, (2 * size, 2 * size), interpolation=cv2.INTER_LINEAR)
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)


def cells(image: np.ndarray, side: int) -> np.ndarray:
    """The mean of each cell of a grid over the whole picture, whatever its shape: (side, side, C) of the same type.

    Slower than `resize` and exact: a picture and its copy in another size have the same means.
    """
    if image.shape[2] > FOUR:
        return in_fours(lambda part: cells(part, side), image)
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).reshape(side, side, image.shape[2])


def turn(image: np.ndarray, degrees: float) -> np.ndarray:
    """Turn (H, W, C) about its centre, counter-clockwise; what comes in from outside mirrors what is inside."""
    if image.shape[2] > FOUR:
        return in_fours(lambda part: turn(part, degrees), image)
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    turned = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return turned.reshape(image.shape)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (H, W, C) or (H, W); `sigma` in pixels."""
    if image.ndim == 3 and image.shape[2] > FOUR:
        return in_fours(lambda part: blur(part, sigma), image)
    side = 2 * math.ceil(3.0 * sigma) + 1  # beyond 3 sigma lies 0.3 % of the weight
    return cv2.GaussianBlur(image, (side, side), sigma)
