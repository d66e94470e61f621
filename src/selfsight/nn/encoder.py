"""The encoder: any timm backbone of any channel count, with its own preprocessing.

Integer input is pixels as decoded, channels last; the encoder scales and normalises it. Float input passes as it is.
What is saved is timm's own folder layout, so the result loads without Selfsight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from jaxtyping import Bool, Float, Int, Shaped
from safetensors import SafetensorError
from safetensors.torch import save
from timm.layers.patch_embed import PatchEmbed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import adapt_input_conv
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from selfsight import checkpoints
from selfsight.errors import MissingError, RecipeError, brief
from selfsight.nn import patches as patching
from selfsight.nn.architectures import TIMMS_OWN, arguments_for, known, unfit, unknown_encoder, usual
from selfsight.nn.convolution import by_products
from selfsight.nn.embedder import Drawn, Embedder
from selfsight.nn.hub import where_it_answers
from selfsight.nn.statistics import normalising
from selfsight.nn.tensors import tensors_of
from selfsight.views.recipes import multi_view, within
from selfsight.views.render import whole

WITHOUT: tuple[tuple[str, ...], ...] = (  # tried in this order
    (),
    ("dynamic_img_pad",),
    ("dynamic_img_size", "dynamic_img_pad"),
    ("dynamic_img_size", "dynamic_img_pad", "patch_size"),
    ("dynamic_img_size", "dynamic_img_pad", "patch_size", "img_size"),
)


class Encoder(Embedder):
    """A timm backbone and the pixel scale it was trained with.

    `low` and `high` are the pixel values that become 0 and 1; `mean` and `std` then normalise, per channel.
    """

    kind = "pictures"
    backbone: Any  # a timm network: nn.Module with timm's own methods
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        name: str,
        *,
        channels: int = 3,
        size: int = 224,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        low: float = 0.0,
        high: float = 255.0,
        pretrained: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.name, self.channels, self.size, self.low, self.high = name, channels, size, low, high
        wished = arguments_for(name, size, pretrained=pretrained) if arguments is None else arguments
        backbone, self.arguments = _create(name, channels, size, pretrained, wished)
        self.backbone = by_products(backbone)
        published = usual(channels, self.backbone.pretrained_cfg if pretrained else {})
        self.mean, self.std = tuple(mean or published[0]), tuple(std or published[1])
        self.maps = int(self.backbone.num_features)  # width of the feature map
        self.width = int(getattr(self.backbone, "head_hidden_size", self.maps) or self.maps)
        self.register_buffer("scale", 1 / (torch.tensor(self.std) * (high - low)))
        self.register_buffer("shift", (low / (high - low) + torch.tensor(self.mean)) / torch.tensor(self.std))

    def forward(self, pixels: Shaped[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
        """Embeddings: the backbone's pooled output before any head. Integer (B, H, W, C) or float (B, C, H, W)."""
        embeddings: Tensor = self.backbone(self.normalised(pixels))
        return embeddings

    def train(self, mode: bool = True) -> Encoder:
        """Train or eval mode; batch norms that keep their statistics stay in the latter."""
        super().train(mode)
        for norm in normalising(self.backbone) if self.keeps_statistics else ():
            norm.eval()
        return self

    def view(self, sample: np.ndarray, size: int) -> np.ndarray:
        """The whole picture at `size` pixels, see `views.render.whole`."""
        return whole(sample, size)

    def pair(self, recipe: str, size: int) -> Drawn:
        """Two draws of the named view recipe."""
        drawn: Drawn = within(multi_view(recipe, size), self.low, self.high)
        return drawn

    def patches(
        self,
        pixels: Shaped[Tensor, "B ..."],
        keep: Int[Tensor, "B K"] | None = None,
        hide: Bool[Tensor, "B L"] | None = None,
        token: Float[Tensor, "D"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """One vector for each position of the last feature map, row-major; class tokens are left out.

        `hide` puts `token` in the place of patch embeddings before positions are added (BEiT); `keep` leaves only these
        patches, in this order, to the blocks (MAE). Networks that cannot do either raise RecipeError.
        """
        images = self.normalised(pixels)
        if keep is None and hide is None:
            return patching.vectors(self.backbone.forward_features(images), self.maps, self.prefix)
        self.must_hide()
        return patching.partial(self.backbone, images, keep, hide, token)[:, self.prefix :]

    def must_hide(self) -> None:
        """RecipeError unless patches can be hidden from the network: not where neighbours have seen them already."""
        way = getattr(type(self.backbone), "forward_features", None)
        if way is not VisionTransformer.forward_features or not isinstance(self.backbone.patch_embed, PatchEmbed):
            raise RecipeError(
                f"patches cannot be hidden from {self.name!r}; use a plain vision transformer such as "
                "--encoder vit_tiny_patch16_224"
            )

    @property
    def prefix(self) -> int:
        """How many class and register tokens stand before the patches."""
        return int(getattr(self.backbone, "num_prefix_tokens", 0))

    def grid(self, size: int) -> tuple[int, int]:
        """Height and width of the feature map for views of `size` pixels."""
        was = self.training
        self.eval()
        with torch.no_grad():
            probe = torch.zeros(1, self.channels, size, size, device=self.scale.device)
            features = self.backbone.forward_features(probe)
        self.train(was)
        return patching.grid(features, self.maps, self.prefix)

    def patch(self, size: int) -> int:
        """Side, in pixels, of the square that a position stands for in views of `size` pixels."""
        across = self.grid(size)[0]
        own = getattr(getattr(self.backbone, "patch_embed", None), "patch_size", (size,))[0]
        return int(own) if -(-size // own) == across else -(-size // across)

    def check(self, size: int | None = None) -> None:
        """RecipeError when the network cannot take views of its own size, or of the `size` that a method needs."""
        was = self.training
        try:
            with torch.no_grad():
                self.eval()(torch.zeros(1, self.channels, *(size or self.size,) * 2, device=self.scale.device))
        except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
            raise RecipeError(unfit(self.name, self.size, error, size)) from error
        self.train(was)

    def normalised(self, pixels: Shaped[Tensor, "B ..."]) -> Float[Tensor, "B C H W"]:
        """Integer pixels, channels last, to what the network was made for; float input passes."""
        if pixels.is_floating_point():
            return pixels
        scaled = pixels.float() * self.scale - self.shift
        moved = scaled.permute(0, 3, 1, 2)
        return moved if self.channels_last else moved.contiguous()

    def save(self, folder: Path, facts: Mapping[str, Any] | None = None) -> Path:
        """Write config.json, model.safetensors and preprocess.json; `timm.create_model("local-dir:...")` loads it."""
        shape = [self.channels, self.size, self.size]
        scale = {"mean": self.mean, "std": self.std}
        made_for = {"input_size": shape, **scale, "interpolation": "bilinear", "crop_pct": 1.0, "num_classes": 0}
        config = {"architecture": self.name, "num_classes": 0, "num_features": self.width}
        config |= {"model_args": {"in_chans": self.channels, **self.arguments}, "pretrained_cfg": made_for}
        preprocess: dict[str, Any] = {"size": self.size, "channels": self.channels, "low": self.low, "high": self.high}
        preprocess |= {**scale, "resize": "short side to size, antialiased", "crop": "centre"}
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.backbone.state_dict().items()}
        told = json.dumps({**preprocess, **(facts or {})}, indent=1)
        files = {"model.safetensors": save(weights, {"format": "pt"}), "preprocess.json": told.encode()}  # transformers
        return checkpoints.seal(folder, {**files, **self.extra(), "config.json": json.dumps(config, indent=1).encode()})

    @classmethod
    def load(cls, folder: Path, **given: float) -> Encoder:
        """The encoder that `save` wrote, or any folder in timm's layout; MissingError when none is whole there.

        A `low` and `high` that are given stand for its own: pixels come from elsewhere.
        """
        try:
            checkpoints.intact(folder)
            config = checkpoints.entries(folder / "config.json")
            seen = checkpoints.entries(folder / "preprocess.json") if (folder / "preprocess.json").exists() else {}
            weights = tensors_of(folder / "model.safetensors")
            arguments = {key: value for key, value in config.get("model_args", {}).items() if key not in TIMMS_OWN}
            channels = arguments.pop("in_chans", seen.get("channels", 3))
            size = int(config["pretrained_cfg"]["input_size"][-1])
            scale = {key: seen.get(key, config["pretrained_cfg"].get(key)) for key in ("mean", "std")}
            scale |= {key: float(seen[key]) for key in ("low", "high") if key in seen} | given
            if not scale.get("low", 0.0) < scale.get("high", 255.0):
                raise ValueError("its scale of pixels has no width")
            name = str(config["architecture"])
            encoder = cls(name, channels=channels, size=size, arguments=arguments, **scale)
            own = encoder.backbone.state_dict()  # a classifier that the folder may hold is left out
            encoder.backbone.load_state_dict({name: tensor for name, tensor in weights.items() if name in own})
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            raise MissingError(
                f"{str(folder)!r} holds no encoder that can be read ({brief(error)}); name a run or its encoder folder"
            ) from error
        return encoder


def fitted(encoder: Encoder, name: str, tensor: Tensor) -> Tensor:
    """A given tensor in the shape of the encoder's own, as timm converts its published weights; else unchanged.

    The first convolution takes another number of channels, position embeddings another grid.
    """
    own = encoder.backbone.state_dict()[name]
    if tensor.shape == own.shape:
        return tensor
    first = encoder.backbone.pretrained_cfg.get("first_conv") or ()
    firsts = {f"{one}.weight" for one in ((first,) if isinstance(first, str) else first)}
    if name in firsts and tensor.ndim == 4 and tensor.shape[2:] == own.shape[2:] and tensor.shape[0] == own.shape[0]:
        return adapt_input_conv(encoder.channels, tensor, base_chans=tensor.shape[1])
    if name == "pos_embed" and tensor.ndim == 3 and hasattr(encoder.backbone, "patch_embed"):
        prefix = 0 if getattr(encoder.backbone, "no_embed_class", False) else encoder.backbone.num_prefix_tokens
        grid = encoder.backbone.patch_embed.grid_size
        resampled: Tensor = resample_abs_pos_embed(tensor, new_size=list(grid), num_prefix_tokens=prefix)
        return resampled
    return tensor


def _create(
    name: str, channels: int, size: int, pretrained: bool, arguments: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The network, and those of the arguments that it takes: not every architecture knows a size or a patch size."""
    if not known(name):
        raise RecipeError(unknown_encoder(name))
    tries = [{key: arguments[key] for key in arguments if key not in without} for without in WITHOUT]
    for number, tried in enumerate(tries):
        try:
            with where_it_answers() if pretrained else nullcontext():
                return timm.create_model(name, pretrained=pretrained, num_classes=0, in_chans=channels, **tried), tried
        except TypeError as error:
            if tries[-1] == tried or number == len(tries) - 1:
                raise RecipeError(unfit(name, size, error)) from error
        except Exception as error:
            if not pretrained:
                raise RecipeError(unfit(name, size, error)) from error
            raise MissingError(
                f"there are no pretrained weights for {name!r} on this machine and they cannot be fetched "
                f"({type(error).__name__}); connect to the network once, or name what is here: `train` takes --weights "
                "FILE, `evaluate` and `compare` --pretrained FOLDER (config.json and model.safetensors)"
            ) from error
    raise AssertionError("one of the tries returns or raises")
