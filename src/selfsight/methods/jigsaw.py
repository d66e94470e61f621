"""Jigsaw: in which of P orders are the tiles of the picture laid out?

Noroozi & Favaro 2016, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles", arXiv 1603.09246:
one network sees each tile on its own, a head sees what it makes of all of them. The geometry and the normalisation of
tiles are those of a later port, bbrattoli/JigsawPuzzlePytorch. A batch of B pictures costs 9B small views.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import factorial, log
from typing import Any, final

from torch import nn

from selfsight.errors import RecipeError, unknown
from selfsight.losses.classification import classification
from selfsight.methods.base import Batch, Facts, Method, Part, Portion, Prepared, Projections, Terms, Training, Whole
from selfsight.nn.contrast import standardised
from selfsight.nn.encoder import Encoder
from selfsight.nn.heads import mlp
from selfsight.nn.statistics import check_rows
from selfsight.views.draw import Views
from selfsight.views.permutations import CRITERIA
from selfsight.views.puzzle import Puzzle, tile_size
from selfsight.views.tiles import LOOKED_AT, SMALL, check_size, doubts, enough

MOST = 2000  # permutations: each takes 362,880 comparisons to choose, in every worker; published at most 1000
TILE_WIDTH, WIDTH = 512, 1024  # of what the head sees of a tile, and of its hidden layer (paper: 512, 4096)


@final
class Jigsaw(Method):
    """Name the permutation of a picture's tiles."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        tiles: int = 3,  # along a side: 3 (paper) or 2
        permutations: int | None = None,  # P; published 64, 100 and 1000 of 3 x 3; all 24 of 2 x 2
        criterion: str = "min",  # greedy by the least distance; the paper's "mean" lets near twins in
        grey: Portion = 0.3,  # chance that a picture is made grey, released port
        tile_share: Part = 0.75,  # side of a tile in its cell: 64 of 85 pixels (port); the paper's text 64 of 75
        shift: Whole = 0,  # most pixels that each channel of a tile is moved by; paper 2
    ) -> None:
        super().__init__(encoder)
        if permutations is None:
            raise RecipeError("jigsaw: permutations is not set; pass it or take Jigsaw.resolve's")
        check_puzzle(tiles, permutations, criterion)
        self.tiles, self.permutations, self.criterion = tiles, permutations, criterion
        self.grey, self.tile_share, self.shift = grey, tile_share, shift
        encoder.check(tile_size(tiles, encoder.size, tile_share))
        self.reducer = nn.Sequential(nn.Linear(encoder.width, TILE_WIDTH), nn.ReLU())
        self.head = mlp([tiles**2 * TILE_WIDTH, WIDTH, permutations], norm=True)

    @classmethod
    def defaults(cls, size: int) -> Training:
        """Up to 96 px ours, above it the paper's rate and the port's length; all with the cosine instead of steps."""
        if size <= SMALL:
            return Training("sgd", lr=0.05, lr_batch=256, weight_decay=5e-4, batch=256, epochs=200, quick=1.0)
        return Training("sgd", lr=0.01, lr_batch=256, momentum=0.9, weight_decay=5e-4, batch=256, epochs=70)

    @classmethod
    def resolve(cls, settings: Mapping[str, Any], facts: Facts) -> dict[str, tuple[Any, str]]:
        """How many permutations. RecipeError when tiles do not fit the views, or the set is impossible."""
        tiles, wanted = settings.get("tiles", 3), settings.get("permutations")
        count, why = (24, "all of 2 x 2 tiles") if tiles == 2 else (100, "of the published 64, 100 and 1000")
        check_puzzle(tiles, count if wanted is None else wanted, settings.get("criterion", "min"))
        check_size("jigsaw", tile_size(tiles, facts.size, settings.get("tile_share", 0.75)), facts.size)
        check_rows("jigsaw", facts.batch, facts.micro_batch)
        return {"permutations": (count, why)} if wanted is None else {}

    def prepare(self, data: Prepared) -> None:
        """Say how many pictures are too small for tiles."""
        for doubt in doubts("jigsaw", data.some(LOOKED_AT)):
            data.say(doubt)

    def views(self, size: int) -> Views:
        """The tiles in the drawn order, and which order it is."""
        side = enough(tile_size(self.tiles, size, self.tile_share), self.encoder.grid, size)
        return Puzzle(self.tiles, side, self.permutations, self.criterion, self.tile_share, self.grey, self.shift)

    def project(self, batch: Batch) -> Projections:
        """Logits of the P permutations; every tile has mean 0 and deviation 1, all tiles in one encoder batch."""
        tiles = batch["tiles"]  # (B, 9, h, w, C)
        pixels = standardised(self.encoder.normalised(tiles.flatten(0, 1)))  # (9B, C, h, w)
        rows = self.reducer(self.encoder(pixels))  # (9B, 512)
        return {"logits": self.head(rows.reshape(len(tiles), -1))}  # (B, P)

    def loss(self, projections: Projections, batch: Batch) -> Terms:
        """Cross-entropy over the permutations."""
        loss, accuracy = classification(projections["logits"], batch["permutation"])
        return {"loss": loss, "accuracy": accuracy}

    def chance(self, batch: int) -> float:
        """The loss of logits that say nothing: log P."""
        return log(self.permutations)

    def floor(self, batch: int) -> float:
        """The least loss there is: every permutation named, and sure of it."""
        return 0.0


def check_puzzle(tiles: int, permutations: int, criterion: str) -> None:
    """RecipeError for a puzzle that cannot be."""
    if tiles not in (2, 3):
        raise RecipeError(f"jigsaw has 2 x 2 or 3 x 3 tiles, not {tiles} x {tiles}; use tiles=2 or tiles=3")
    most = min(MOST, factorial(tiles**2))
    if not 2 <= permutations <= most:
        raise RecipeError(f"of {tiles} x {tiles} tiles permutations must be from 2 to {most}, not {permutations}")
    if criterion not in CRITERIA:
        raise RecipeError(unknown("jigsaw criterion", criterion, CRITERIA))
