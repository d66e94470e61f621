"""The encoder: any timm backbone of any channel count, with its own preprocessing.

Integer input is pixels as decoded, channels last; the encoder scales and normalises it. Float input passes as it is.
What is saved is timm's own folder layout, so the result loads without Selfsight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float, Shaped
from safetensors import SafetensorError
from safetensors.torch import load, save
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models import adapt_input_conv
from torch import Tensor, nn

from selfsight import checkpoints
from selfsight.errors import MissingError, RecipeError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SMALL_VIEW = 40  # pixels: below this a network of stride 32 would be left with one position
SMALL_STRIDE = 8
WITHOUT: tuple[tuple[str, ...], ...] = (  # tried in this order
    (),
    ("dynamic_img_size", "dynamic_img_pad"),
    ("dynamic_img_size", "dynamic_img_pad", "patch_size"),
    ("dynamic_img_size", "dynamic_img_pad", "patch_size", "img_size"),
)
ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True}  # tiles and small crops are other sizes than the view


class Encoder(nn.Module):
    """A timm backbone and the pixel scale it was trained with.

    `low` and `high` are the pixel values that become 0 and 1; `mean` and `std` then normalise, per channel.
    """

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
        self.backbone, self.arguments = _create(name, channels, size, pretrained, wished)
        usual = _usual(channels, self.backbone.pretrained_cfg if pretrained else {})
        self.mean, self.std = tuple(mean or usual[0]), tuple(std or usual[1])
        self.maps = int(self.backbone.num_features)  # width of the feature map
        self.width = int(getattr(self.backbone, "head_hidden_size", self.maps) or self.maps)
        self.register_buffer("scale", 1 / (torch.tensor(self.std) * (high - low)))
        self.register_buffer("shift", (low / (high - low) + torch.tensor(self.mean)) / torch.tensor(self.std))
        self.channels_last = False

    def forward(self, pixels: Shaped[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
        """Embeddings: the backbone's pooled output before any head. Integer (B, H, W, C) or float (B, C, H, W)."""
        embeddings: Tensor = self.backbone(self.normalised(pixels))
        return embeddings

    def patches(self, pixels: Shaped[Tensor, "B ..."]) -> Float[Tensor, "B L D"]:
        """One vector for each position of the last feature map, row-major; class tokens are left out."""
        features: Tensor = self.backbone.forward_features(self.normalised(pixels))
        if features.ndim == 4:
            last = features.shape[1] != self.maps  # some timm networks keep channels last
            return features.flatten(1, 2) if last else features.flatten(2).transpose(1, 2)
        return features[:, getattr(self.backbone, "num_prefix_tokens", 0) :]

    def grid(self, size: int) -> tuple[int, int]:
        """Height and width of the feature map for views of `size` pixels."""
        was = self.training
        self.eval()
        with torch.no_grad():
            probe = torch.zeros(1, self.channels, size, size, device=self.scale.device)
            features = self.backbone.forward_features(probe)
        self.train(was)
        if features.ndim == 4:
            height, width = features.shape[1:3] if features.shape[1] != self.maps else features.shape[2:]
            return int(height), int(width)
        side = round((features.shape[1] - getattr(self.backbone, "num_prefix_tokens", 0)) ** 0.5)
        return side, side

    def check(self, size: int | None = None) -> None:
        """RecipeError when the network cannot take views of its own size, or of the `size` that a method needs."""
        was = self.training
        try:
            with torch.no_grad():
                self.eval()(torch.zeros(1, self.channels, *(size or self.size,) * 2, device=self.scale.device))
        except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
            raise RecipeError(_unfit(self.name, self.size, error, size)) from error
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
        folder.mkdir(parents=True, exist_ok=True)
        shape = [self.channels, self.size, self.size]
        pretrained = {
            "input_size": shape,
            "mean": self.mean,
            "std": self.std,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
        }
        config = {
            "architecture": self.name,
            "num_classes": 0,
            "num_features": self.width,
            "model_args": {"in_chans": self.channels, **self.arguments},
            "pretrained_cfg": {**pretrained, "num_classes": 0},
        }
        preprocess: dict[str, Any] = {"size": self.size, "channels": self.channels, "low": self.low, "high": self.high}
        preprocess |= {
            "mean": self.mean,
            "std": self.std,
            "resize": "short side to size, antialiased",
            "crop": "centre",
        }
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.backbone.state_dict().items()}
        told = json.dumps({**preprocess, **(facts or {})}, indent=1)
        checkpoints.replace_file(folder / "model.safetensors", save(weights))
        checkpoints.replace_file(folder / "preprocess.json", told.encode())
        # last: a folder with config.json is an encoder that is whole
        checkpoints.replace_file(folder / "config.json", json.dumps(config, indent=1).encode())
        return folder

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        """The encoder that `save` wrote, or any folder in timm's layout; MissingError when it holds none."""
        try:
            config = json.loads((folder / "config.json").read_text())
            seen = json.loads((folder / "preprocess.json").read_text()) if (folder / "preprocess.json").exists() else {}
            weights = load((folder / "model.safetensors").read_bytes())
            arguments = dict(config.get("model_args", {}))
            channels = arguments.pop("in_chans", seen.get("channels", 3))
            size = config["pretrained_cfg"]["input_size"][-1]
            scale = {key: seen.get(key, config["pretrained_cfg"].get(key)) for key in ("mean", "std")}
            pixels = {key: seen[key] for key in ("low", "high") if key in seen}
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise MissingError(
                f"{str(folder)!r} holds no encoder that can be read ({error}); name a run or its encoder folder"
            ) from error
        encoder = cls(config["architecture"], channels=channels, size=size, arguments=arguments, **scale, **pixels)
        own = encoder.backbone.state_dict()  # a classifier that the folder may hold is left out
        encoder.backbone.load_state_dict({name: tensor for name, tensor in weights.items() if name in own})
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


def known(name: str) -> bool:
    """Whether timm has an architecture of this name."""
    return bool(timm.is_model(name))


def unknown_encoder(name: str) -> str:
    """One sentence for an architecture that timm does not have."""
    near = get_close_matches(name, timm.list_models(), n=3)
    guess = f" Did you mean {', '.join(near)}?" if near else ""
    return (
        f"there is no encoder {name!r}; any timm architecture will do, such as resnet18 or vit_tiny_patch16_224.{guess}"
    )


def usual_scale(name: str, channels: int, trained: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation in units of full scale: the architecture's own when its weights are used."""
    published = timm.get_pretrained_cfg(name) if trained else None
    return _usual(channels, {"mean": published.mean, "std": published.std} if published is not None else {})


def _create(
    name: str, channels: int, size: int, pretrained: bool, arguments: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The network, and those of the arguments that it takes: not every architecture knows a size or a patch size."""
    if not known(name):
        raise RecipeError(unknown_encoder(name))
    tries = [{key: arguments[key] for key in arguments if key not in without} for without in WITHOUT]
    for number, tried in enumerate(tries):
        try:
            return timm.create_model(name, pretrained=pretrained, num_classes=0, in_chans=channels, **tried), tried
        except TypeError as error:
            if tries[-1] == tried or number == len(tries) - 1:
                raise RecipeError(_unfit(name, size, error)) from error
        except Exception as error:
            if not pretrained:
                raise RecipeError(_unfit(name, size, error)) from error
            raise MissingError(
                f"there are no pretrained weights for {name!r} on this machine and they cannot be fetched "
                f"({type(error).__name__}); connect to the network once, or give a file with --weights FILE"
            ) from error
    raise AssertionError("one of the tries returns or raises")


def _unfit(name: str, size: int, error: Exception, part: int | None = None) -> str:
    usual = timm.get_pretrained_cfg(name)
    made_for = usual.input_size[-1] if usual is not None else 224
    reason = str(error).split("\n")[0][:120]
    if part is not None:
        return (
            f"{name!r} cannot take the {part} px parts of a view that this method shows it ({reason}); give another "
            "--encoder, such as resnet18"
        )
    return (
        f"{name!r} cannot take views of {size} px ({reason}); give --size {made_for}, which it was published for, or "
        "another --encoder"
    )


def arguments_for(
    name: str, size: int, *, pretrained: bool = False, weights: Path | None = None, untrained: bool = False
) -> dict[str, Any]:
    """What makes an architecture fit views of this size. Given weights keep their patch size; random ones may choose.

    `untrained` is the same architecture with random weights in place of the given ones.
    """
    if not known(name):
        return {}
    published = timm.get_pretrained_cfg(name)
    if "vit" in name or (published is not None and published.fixed_input_size):
        if pretrained or weights is not None:
            return {"img_size": size, **_patch_size(weights), **ANY_SIZE}
        return {"img_size": size, **ANY_SIZE} | ({"patch_size": max(2, size // 8)} if size < 96 else {})
    if not name.startswith(("resnet", "resnext", "wide_resnet")):
        return {}
    # timm starts residual branches at zero. SimCLR and MoCo do not (methods that do say so), and an untrained network
    # with dead branches would be too easy a baseline.
    alive = {} if pretrained and not untrained else {"zero_init_last": False}
    return alive | ({"output_stride": SMALL_STRIDE} if size <= SMALL_VIEW else {})


def _patch_size(weights: Path | None) -> dict[str, Any]:
    """The patch size that `config.json` beside a weights file tells; without one it is the published."""
    try:
        told = json.loads(weights.with_name("config.json").read_text())["model_args"] if weights is not None else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {key: told[key] for key in ("patch_size",) if key in told}


def _usual(channels: int, published: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = published.get("mean", IMAGENET[0]), published.get("std", IMAGENET[1])
    if channels == len(mean):
        return tuple(mean), tuple(std)
    return (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
