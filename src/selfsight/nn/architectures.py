"""What timm's architectures are called, what makes one fit a view's size, and the pixel scale it was published with."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm

from selfsight import checkpoints
from selfsight.errors import RecipeError, brief
from selfsight.runs import START, run_of

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SMALL_VIEW = 40  # pixels: below this a network of stride 32 would be left with one position
SMALLEST = 16  # pixels: up to here a stride of 16 would leave one, too
RESIDUAL = ("resnet", "resnext", "wide_resnet")  # whose stride may be chosen
SMALL_STRIDE, FINE_STRIDE = 16, 8  # of these where pictures are so small: where that was measured, and elsewhere
STRIDES = (8, 16, 32)
ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True}  # tiles and small crops are other sizes than the view
TIMMS_OWN = ("checkpoint_path", "cache_dir", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "scriptable")
DECIDED = (*TIMMS_OWN, "in_chans", "img_size", "num_classes")  # by the new run, whatever the weights were trained with


def known(name: str) -> bool:
    """Whether timm has an architecture of this name and, where the name ends in a tag, weights of that tag."""
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:  # the tag
        return False
    return bool(timm.is_model(name))


def unknown_encoder(name: str) -> str:
    """One sentence for an architecture that timm does not have."""
    near = get_close_matches(name, timm.list_models(pretrained="." in name), n=3)
    guess = f" Did you mean {', '.join(near)}?" if near else ""
    return (
        f"there is no encoder {brief(name)!r}; any timm architecture will do, such as resnet18 or "
        f"vit_tiny_patch16_224.{guess}"
    )


def usual_scale(
    name: str, channels: int, trained: bool, weights: Path | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation in units of full scale: what given weights were trained with, where that is told.

    Else the architecture's own when its weights are used.
    """
    published = timm.get_pretrained_cfg(name) if trained else None
    own = {"mean": published.mean, "std": published.std} if published is not None else {}
    return usual(channels, own | _told(name, weights)[1])


def stride_for(name: str, size: int) -> int | None:
    """The stride of a ResNet that starts from random weights on a CPU, for such small pictures; None: the usual."""
    return SMALL_STRIDE if name.startswith(RESIDUAL) and SMALLEST < size <= SMALL_VIEW else None


def check_stride(name: str, stride: int) -> None:
    """RecipeError where a network cannot have this stride."""
    if not name.startswith(RESIDUAL):
        raise RecipeError(f"the stride of {brief(name)!r} cannot be chosen, only a ResNet's; leave output_stride out")
    if stride not in STRIDES:
        raise RecipeError(f"a stride of {stride} cannot be had; output_stride is one of {', '.join(map(str, STRIDES))}")


def arguments_for(
    name: str,
    size: int,
    *,
    stride: int | None = None,
    pretrained: bool = False,
    weights: Path | None = None,
    untrained: bool = False,
    told: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What makes an architecture fit views of this size. Given weights keep what they were trained with, where that is
    told: patch size, pooling, stride, unless one is given; random ones may choose.

    `untrained` is the same architecture with random weights in place of the given ones. `told` is what given weights
    would tell.
    """
    if not known(name):
        return {}
    published, told = timm.get_pretrained_cfg(name), _told(name, weights)[0] if told is None else dict(told)
    if "vit" in name or (published is not None and published.fixed_input_size):
        if pretrained or weights is not None:
            return {"img_size": size, **ANY_SIZE, **told}
        return {"img_size": size, **ANY_SIZE} | ({"patch_size": max(2, size // 8)} if size < 96 else {})
    if not name.startswith(RESIDUAL):
        return told
    # timm starts residual branches at zero. SimCLR and MoCo do not (methods that do say so), and an untrained network
    # with dead branches would be too easy a baseline.
    alive = {} if pretrained and not untrained else {"zero_init_last": False}
    small = {"output_stride": FINE_STRIDE} if size <= SMALL_VIEW else {}
    return alive | small | told | ({"output_stride": stride} if stride else {})


def beside(weights: Path) -> Path:
    """The folder that tells what network weights are of: their own, or of a run's checkpoint that of its start."""
    return weights.parent if weights.with_name("config.json").is_file() else run_of(weights) / START


def _told(name: str, weights: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments and scale of the network that `config.json` beside a weights file tells; ({}, {}) where it does not."""
    try:
        config = checkpoints.entries(beside(weights) / "config.json") if weights is not None else {}
        if config["architecture"].split(".")[0] != name.split(".")[0]:
            return {}, {}
        published = config.get("pretrained_cfg", {})
        scale = {key: tuple(map(float, published[key])) for key in ("mean", "std") if published.get(key)}
        return {key: value for key, value in config.get("model_args", {}).items() if key not in DECIDED}, scale
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, {}


def usual(channels: int, published: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = published.get("mean", IMAGENET[0]), published.get("std", IMAGENET[1])
    if channels == len(mean):
        return tuple(mean), tuple(std)
    return (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels


def unfit(name: str, size: int, error: Exception, part: int | None = None) -> str:
    """One sentence for views of `size`, or the parts of them that a method needs, which a network cannot take."""
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
