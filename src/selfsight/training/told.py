"""The plan as people read it: every value that was decided, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from selfsight import methods
from selfsight.recipe import Recipe

__all__ = ["plan_rows"]

SHOWN = (
    "method",
    "encoder",
    "weights",
    "size",
    "view_size",
    "pictures",
    "batch",
    "micro_batch",
    "length",
    "steps",
    "lr",
    "optimizer",
    "momentum",
    "beta2",
    "weight_decay",
    "decay_growth",
    "warmup",
    "clip",
    "clip_each",
    "seed",
    "precision",
    "channels_last",
    "device",
    "world",
    "threads",
    "keep",
    "on_collapse",
)


def plan_rows(recipe: Recipe, reasons: Mapping[str, str]) -> list[tuple[str, object, str]]:
    """The plan as rows of (setting, value, because)."""
    rows: list[tuple[str, object, str]] = []
    kind = methods.get(recipe.method).kind
    for name in SHOWN:
        value = _shown(recipe, name)
        if value is not None:
            called = kind if name == "pictures" else name.replace("_", " ")
            rows.append((called, value, reasons.get(name, "as kept in the recipe")))
    rows += list(_before(recipe, reasons))
    if kind == "pictures":
        told = f"{recipe.pixels['channels']} x {recipe.pixels['dtype']}"
        rows.append(("pixels", told, reasons.get("pixels", "as kept in the recipe")))
    if recipe.output_stride is not None:
        rows.append(("stride", recipe.output_stride, reasons.get("output_stride", "as kept in the recipe")))
    if recipe.least_side is not None:
        told = f"halved while {recipe.least_side} px stay"
        rows.append(("large pictures", told, reasons.get("least_side", "as kept in the recipe")))
    looks = f"{recipe.monitor_points} looks at {recipe.monitor_pictures} {kind}"
    rows.append(("monitor", looks, reasons.get("monitor_points", "as kept in the recipe")))
    for name, value in recipe.settings.items():
        rows.append((f"  {name}", value, reasons.get(f"settings.{name}", "as kept in the recipe")))
    if recipe.searched:
        scores = recipe.searched.items()
        tried = ", ".join(f"{name} {'not finite' if score is None else f'{score:.3f}'}" for name, score in scores)
        rows.append(("views tried", tried, reasons.get("searched", "as kept in the recipe")))
    rows += [(name, reasons[name], "from the measured step") for name in ("eta", "memory") if name in reasons]
    if "canvases" in reasons:
        kept, _, where = reasons["canvases"].partition(", ")
        rows.append(("decoded pictures", kept, where))
    if recipe.keep_statistics:
        rows.append(("batch norm", "as given", reasons.get("keep_statistics", "as kept in the recipe")))
    elif "batch norm" in reasons:
        rows.append(("batch norm", "per micro-batch", reasons["batch norm"]))
    return rows


def _before(recipe: Recipe, reasons: Mapping[str, str]) -> Iterator[tuple[str, object, str]]:
    """What is trained first, and before that."""
    while recipe.before is not None:
        recipe = recipe.before
        told = reasons.get(f"before.{recipe.method}", "as kept in the recipe")
        yield "trained before", f"{recipe.method}, {recipe.steps} steps", told


def _shown(recipe: Recipe, name: str) -> object:
    value = getattr(recipe, name)
    if name == "clip" and value is None:
        return "none"
    idle = {"beta2": recipe.optimizer != "adamw", "decay_growth": value == 1, "clip_each": not value}
    if idle.get(name):
        return None
    if name == "warmup":
        return f"{value * recipe.steps:.0f} steps"
    return value
