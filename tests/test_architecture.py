"""The house rules that a reader relies on, read from the source itself. Layers are import-linter's (pyproject.toml)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HOME = Path(__file__).resolve().parents[1]
SOURCE = HOME / "src" / "selfsight"
FILES = sorted(SOURCE.rglob("*.py"))
METHODS = sorted(file for file in (SOURCE / "methods").glob("*.py") if file.name not in {"__init__.py", "base.py"})
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}

JUNK = {"utils", "util", "helpers", "helper", "common", "misc"}
ABBREVIATIONS = {"cj_prob", "bsz", "feats", "feat", "cfg"}
FENCES = {  # library: the only places that may import it, relative to the package
    "lightning_fabric": ("training/",),
    "timm": ("nn/encoder.py", "nn/architectures.py"),
    "cv2": ("views/", "data/"),
    "PIL": ("data/decode", "views/sheet.py"),
    "tifffile": ("data/decode",),
    "cyclopts": ("cli.py",),
    "faiss": ("searching/quick.py",),
    "psycopg": ("searching/database.py", "searching/fill.py"),
    "onnx": ("exporting/",),
    "onnxruntime": ("exporting/",),
}
LIGHT = ("__init__.py", "__main__.py", "cli.py", "api.py", "recipe.py", "checkpoints.py", "errors.py", "report/")
HEAVY = {"torch", "timm", "cv2", "lightning_fabric", "sklearn", "scipy"}
RANDOM_RECORDS = {"Generator", "SeedSequence", "Philox", "PCG64", "PCG64DXSM", "default_rng", "BitGenerator"}


def where(file: Path) -> str:
    return file.relative_to(SOURCE).as_posix()


def nodes(file: Path, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
    return (node for node in ast.walk(TREES[file]) if isinstance(node, kinds))


def imports(tree: ast.AST) -> Iterator[str]:
    """The top name of every absolute import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def at_import(tree: ast.Module) -> ast.Module:
    """The module without what runs later (functions) or never (TYPE_CHECKING)."""
    later = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = [n for n in tree.body if not (isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test))]
    return ast.Module([n for n in body if not isinstance(n, later)], [])


def code_lines(function: ast.FunctionDef) -> int:
    """Lines of the body that are neither docstring nor blank."""
    docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if docstring else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("file", FILES, ids=where)
def test_budgets(file: Path) -> None:
    """Hard limits; half of them is what we aim at."""
    assert len(file.read_text(encoding="utf-8").splitlines()) <= (120 if file in METHODS else 300)
    long = {f.name: code_lines(f) for f in nodes(file, ast.FunctionDef) if code_lines(f) > 40}
    assert not long


@pytest.mark.parametrize("file", FILES, ids=where)
def test_names(file: Path) -> None:
    """No junk drawer, no abbreviations."""
    assert not JUNK & {part.removesuffix(".py") for part in file.relative_to(SOURCE).parts}
    assert not ABBREVIATIONS & ({n.id for n in nodes(file, ast.Name)} | {n.arg for n in nodes(file, ast.arg)})


@pytest.mark.parametrize("file", FILES, ids=where)
def test_fences(file: Path) -> None:
    """A library is used in its room; what answers `--help` loads nothing heavy."""
    outside = {library for library, rooms in FENCES.items() if not where(file).startswith(rooms)}
    assert not outside & set(imports(TREES[file]))
    if where(file).startswith(LIGHT) and "/" not in where(file).removeprefix("report/"):
        assert not HEAVY & set(imports(at_import(TREES[file])))


@pytest.mark.parametrize("file", FILES, ids=where)
def test_state_and_randomness(file: Path) -> None:
    """State is born in `__init__` and saved; random numbers come from a generator that was passed in."""
    assert "random" not in set(imports(TREES[file])), "use a numpy Generator that is passed in"
    for node in nodes(file, ast.Attribute):
        if ast.unparse(node.value) in {"np.random", "numpy.random"}:
            assert node.attr in RANDOM_RECORDS, f"np.random.{node.attr} is global state"
        assert node.attr != "trainer" or where(file).startswith("training/")
    for function in nodes(file, ast.FunctionDef):
        called = {n.func.attr for n in ast.walk(function) if isinstance(getattr(n, "func", None), ast.Attribute)}
        assert "register_buffer" not in called or function.name == "__init__"
    for keyword in nodes(file, ast.keyword):
        assert not (keyword.arg == "persistent" and ast.unparse(keyword.value) == "False")
    assert all(handler.type is not None for handler in nodes(file, ast.ExceptHandler)), "a bare except hides faults"


@pytest.mark.parametrize("file", METHODS, ids=where)
def test_one_final_method_per_file(file: Path) -> None:
    """One class, straight from Method, with a test file of its name."""
    classes = [node for node in TREES[file].body if isinstance(node, ast.ClassDef)]
    methods = [node for node in classes if "Method" in {ast.unparse(base) for base in node.bases}]
    assert len(methods) == 1, "one Method per file"
    assert "final" in {ast.unparse(d).split(".")[-1] for d in methods[0].decorator_list}, "mark it @final"
    assert (HOME / "tests" / "methods" / f"test_{file.name}").is_file()


def test_nothing_but_its_own_file_names_a_method() -> None:
    """The loop and the rest know no method. Docstrings may cite one, view recipes bear names, the plan has one."""
    for file in FILES:
        if where(file).startswith(("methods/", "views/recipes")) or where(file) == "training/plan.py":
            continue
        docstrings = {id(node.value) for node in nodes(file, ast.Expr)}
        strings = {n.value for n in nodes(file, ast.Constant) if isinstance(n.value, str) and id(n) not in docstrings}
        words = {word.lower() for text in strings for word in re.findall(r"[\w-]+", text)}
        words |= {node.id.lower() for node in nodes(file, ast.Name)}
        assert not words & {method.stem for method in METHODS}, where(file)
