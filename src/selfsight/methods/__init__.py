"""The folder is the registry: one final `Method` per file."""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from typing import Any, get_type_hints

from selfsight.errors import RecipeError, unknown
from selfsight.methods.base import Method
from selfsight.recipe import spelled

__all__ = ["Method", "describe", "get", "names", "settings"]


def names() -> list[str]:
    """Every method there is."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base")


def get(name: str) -> type[Method]:
    """The method of this name; RecipeError with the nearest guess when there is none."""
    if name not in names():
        raise RecipeError(unknown("method", name, names()))
    module = import_module(f"{__name__}.{name}")
    return next(
        thing
        for thing in vars(module).values()
        if inspect.isclass(thing) and issubclass(thing, Method) and thing.__module__ == module.__name__
    )


def settings(method: type[Method]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments of the constructor: what `--set` accepts."""
    every: dict[str, Any] = dict(inspect.signature(method.__init__).parameters)
    return {name: p for name, p in every.items() if p.kind is inspect.Parameter.KEYWORD_ONLY and name != "before"}


def describe(name: str) -> dict[str, Any]:
    """Idea, paper and settings of a method as its file tells them: docstrings, and the comment behind each default."""
    kind = get(name)
    story = inspect.getdoc(import_module(kind.__module__)) or ""
    source = inspect.getsource(kind.__init__)
    notes = {m[1]: m[2] for m in re.finditer(r"^\s+(\w+): .*,\s+# (.*)$", source, re.MULTILINE)}
    hints = get_type_hints(kind.__init__, include_extras=True)
    rows = [
        {"name": key, "type": spelled(hints[key]), "default": p.default, "note": notes.get(key, "")}
        for key, p in settings(kind).items()
    ]
    return {"name": name, "idea": inspect.getdoc(kind) or "", "story": story, "settings": rows}
