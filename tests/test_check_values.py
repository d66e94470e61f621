"""Every published check value is asked for by a test; those that are not are named here, each with its reason."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
ENTRIES = json.loads((TESTS / "check_values.json").read_text())
OPEN = {  # by path, as `fnmatch` reads it
    "ibot_koleo/*": "no such method yet",
    "mocov3/*": "no such method yet",
    "simmim/*": "no such method yet",
    "wmse/*": "no such method yet",
    "sobel/*": "left out of DeepCluster: the encoder that is kept takes pictures, not edges",
    "ntxent/expected/tf_simclr_sum_of_two_means_T0.5": "the code's sum over both views is twice the mean that is ours",
    "ntxent/closed_forms/*=*": "the same numbers as in `value`",
    "ntxent/closed_forms/all vectors identical, N=4": "the same number as in `value`",
    "barlow_twins/expected/C": "the loss has sums over the matrix, never the matrix",
    "barlow_twins/expected/scaled_by_0.1*": "the scale is solo-learn's, and no setting",
    "deepcluster/dcv2/ignore_index": "torch's mark of what is left out; ours is -1, as solo-learn's",
    "lars/expected/b_*": "solo-learn's form; ours is that of the papers' own code",
    "retrieval/*/*AP": "over the whole ranking; what is told stops at R, Musgrave et al. 2020",
    "clustering/expected/NMI_geometric": "the arithmetic mean is what scikit-learn and the papers take",
    "clustering/expected/purity": "not told: it grows with the number of clusters",
    "twonn/expected/facco_fit_drop10": "the dimension is told by maximum likelihood, not by the fit",
    "diagnostics/expected/std_times_sqrt_d_unbiased": "the population's deviation is told, as SimSiam does",
}


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all that a formula gives; its inputs and words about it are left out."""
    if isinstance(value, dict):
        for key in value.keys() - {"inputs"}:
            yield from leaves(value[key], (*path, key))
    elif not isinstance(value if not isinstance(value, list) else value[0], str):
        yield path


class Asked:
    """What a test takes out of an entry: keys as they stand, keys with a blank, and what is taken in a loop."""

    def __init__(self, text: str) -> None:
        tree = list(ast.walk(ast.parse(text)))
        self.keys = {node.value for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        filled = [node for node in tree if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant)]
        self.blanks = [re.compile("".join(map(pattern, node.values))) for node in filled]
        names = {node.targets[0].id: key for node in tree if (key := bound(node))}
        taken = [one for node in tree if (one := looped(node))]
        self.loops = {names.get(one.id) if isinstance(one, ast.Name) else key_of(one) for one in taken}

    def __contains__(self, path: tuple[str, ...]) -> bool:
        blanks = any(one.fullmatch(path[-1]) for one in self.blanks)
        return path[-1] in self.keys or blanks or any(key in self.loops for key in path[:-1])


def pattern(part: ast.expr) -> str:
    """A part of an f-string, as a regular expression."""
    return re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+"


def key_of(node: ast.AST) -> str | None:
    """The key of `...["key"]`, or of `...["key"][name]`, which takes all of them one by one."""
    if not isinstance(node, ast.Subscript):
        return None
    return node.slice.value if isinstance(node.slice, ast.Constant) else key_of(node.value)


def bound(node: ast.AST) -> str | None:
    """The key whose value a name is given."""
    single = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    return key_of(node.value) if single else None


def looped(node: ast.AST) -> ast.expr | None:
    """What is taken as a whole: by `.items()` or `.values()`, by `list(...)`, or by keys that are computed."""
    if isinstance(node, ast.Attribute) and node.attr in ("items", "values"):
        return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "list":
        return node.args[0] if node.args else None
    return node.value if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Call) else None


def test_every_value_is_asked_for_or_named_as_open() -> None:
    texts = [file.read_text() for file in TESTS.rglob("test_*.py") if file != Path(__file__)]
    texts = [text for text in texts if "check_values.json" in text]
    missing = []
    for name in ENTRIES.keys() - {"_about"}:
        tests = [Asked(text) for text in texts if f'["{name}"]' in text]
        missing += ["/".join(path) for path in leaves(ENTRIES[name], (name,)) if not any(path in one for one in tests)]
    assert [path for path in missing if not any(fnmatchcase(path, one) for one in OPEN)] == []
    assert [one for one in OPEN if not any(fnmatchcase(path, one) for path in missing)] == []
