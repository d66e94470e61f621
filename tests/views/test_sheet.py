"""Sheets: what is on them, and that small or odd pictures do not break them."""

from io import BytesIO
from pathlib import Path

import numpy as np
import oracle_views as oracle
import pytest
from PIL import Image, ImageFont

from selfsight.views import recipes
from selfsight.views.sheet import CELL, _shortened, contact_sheet, contact_sheet_of, png_bytes, sheet, thumbnail


def seen(images: list[np.ndarray], views: int = 2) -> list[dict[str, np.ndarray]]:
    transform = recipes.multi_view("simclr-keep-colour", 32, views)
    return [transform(image, np.random.default_rng(number)) for number, image in enumerate(images)]


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_sheet_shows_originals_and_views(tmp_path: Path) -> None:
    red, blue = (np.full((40, 40, 3), colour, np.uint8) for colour in ((250, 0, 0), (0, 0, 250)))
    sheet([red, blue], seen([red, blue]), tmp_path / "views.png")
    pixels = pixels_of(tmp_path / "views.png")
    for colour in ((250, 0, 0), (0, 0, 250)):
        assert (pixels == colour).all(axis=2).sum() == 3 * CELL * CELL  # the original and two views


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_any_channels_and_depths_and_facts(tmp_path: Path, channels: int, dtype: type) -> None:
    image = np.random.default_rng(0).integers(0, 200, (30, 50, channels)).astype(dtype)
    views = seen([image], 14)
    views[0] |= {"whole": image, "boxes": np.zeros((4, 4), np.int64)}
    sheet([image], views, tmp_path / "views.png", 0.0, 200.0)
    assert pixels_of(tmp_path / "views.png").shape[1] < 20 * CELL


def test_a_contact_sheet_holds_every_picture(tmp_path: Path) -> None:
    pictures = [*oracle.photographs(), np.zeros((1, 900, 3), np.uint8), np.zeros((3, 2, 1), np.uint8)]
    contact_sheet(pictures, ["a folder/with a very long name of a file.png"] * len(pictures), tmp_path / "sheet.png")
    assert pixels_of(tmp_path / "sheet.png").shape[1] > 8 * CELL
    contact_sheet([], [], tmp_path / "empty.png")


def test_a_contact_sheet_of_files_has_a_cross_for_the_broken(tmp_path: Path) -> None:
    for number in range(5):
        Image.new("RGB", (600, 300), (9, 200, 10 * number)).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    paths = sorted(str(path) for path in tmp_path.iterdir())
    contact_sheet_of(paths, [Path(path).name for path in paths], tmp_path / "sheet.png", most=6)
    pixels = pixels_of(tmp_path / "sheet.png")
    assert [(pixels == (9, 200, 10 * n)).all(axis=2).any() for n in range(5)] == [True] * 5
    assert not (pixels[-CELL - 60 : -60] == 255).all()


def test_png_keeps_the_pixels_and_nothing_else() -> None:
    image = oracle.photographs((40,))[0]
    back = Image.open(BytesIO(png_bytes(image)))
    assert (np.asarray(back) == image).all()
    assert back.info == {}


def test_a_thumbnail_is_small_and_keeps_the_aspect() -> None:
    image = np.zeros((100, 200, 1), np.uint16)
    assert Image.open(BytesIO(thumbnail(image, 50))).size == (50, 25)
    assert Image.open(BytesIO(thumbnail(image, 500))).size == (200, 100)


def test_a_long_caption_is_cut_in_the_middle() -> None:
    font = ImageFont.load_default(13)
    cut = _shortened("a_long_folder/picture_0001.jpg", font, 100)
    assert cut.startswith("a_lo")
    assert cut.endswith(".jpg")
    assert font.getlength(cut) <= 100
    assert _shortened("short", font, 100) == "short"
