"""Encoders by name, of every kind of sample: timm's networks for pictures, networks of words for documents."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from selfsight import checkpoints
from selfsight.errors import MissingError, brief
from selfsight.nn import architectures, words
from selfsight.nn.embedder import Embedder
from selfsight.nn.encoder import Encoder
from selfsight.nn.whitening import FILE, Whitening
from selfsight.nn.words import Words

__all__ = ["known", "load", "of", "usual_scale"]


def of(name: str) -> type[Encoder] | type[Words]:
    """The class that makes an encoder of this name."""
    return Words if words.known(name) else Encoder


def known(name: str) -> bool:
    """Whether there is an architecture of this name."""
    return words.known(name) or architectures.known(name)


def usual_scale(
    name: str, channels: int, trained: bool, weights: Path | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that pixels are normalised by, see `architectures`; bytes stay as they are."""
    kept = (0.0,) * channels, (1.0,) * channels
    return kept if words.known(name) else architectures.usual_scale(name, channels, trained, weights)


def load(folder: Path) -> Embedder:
    """The encoder in a folder, of whatever kind, with its whitening; MissingError when it holds none."""
    try:
        name = str(checkpoints.entries(folder / "config.json")["architecture"])
    except (OSError, ValueError, KeyError, TypeError):
        name = ""  # its own class says what is wrong
    encoder = of(name).load(folder)
    try:
        encoder.whitening = Whitening.load(folder / FILE, encoder.width)
    except (OSError, ValueError, SafetensorError) as error:
        raise MissingError(f"the whitening in {str(folder)!r} cannot be read ({brief(error)})") from error
    return encoder
