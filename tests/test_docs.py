"""The pages keep their word: code blocks run, command lines parse, links lead somewhere, the method table is whole."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from contract_parts import tiny

import selfsight
from selfsight import cli, methods

HOME = Path(__file__).resolve().parents[1]
README = HOME / "README.md"
PAGES = sorted((HOME / "docs").rglob("*.md"))
METHODS = [name for name in methods.names() if (Path(methods.__file__).parent / f"{name}.py").is_file()]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All Python of a page, in one namespace, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    namespace: dict[str, object] = {"__name__": page.stem}
    for block in blocks(page, "python"):
        before = text[: text.index(block)].count("\n")  # so that a traceback names the page's own line
        exec(compile("\n" * before + block, str(page), "exec"), namespace)


@pytest.mark.parametrize("name", [name for name in METHODS if methods.get(name).kind == "pictures"])
def test_the_loop_of_the_docs_drives_every_method(name: str) -> None:
    """The page says "a method", so its lines must do for each of them; on a tiny encoder here."""
    namespace: dict[str, object] = {}
    for block in blocks(HOME / "docs" / "your-own-loop.md", "python"):
        exec(block.replace('build("simclr")', f'build("{name}", "{tiny(name)}")'), namespace)
    assert type(namespace["method"]) is methods.get(name)


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_command_lines_parse(page: Path) -> None:
    for line in "".join(blocks(page, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "selfsight":
            cli.application().parse_args(words[1:], exit_on_error=False, print_error=False)
        elif words:
            assert (HOME / words[0]).is_file(), line


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "text")], ids=lambda page: page.name)
def test_command_lines_that_are_text_parse_too(page: Path) -> None:
    """They stand behind a launcher, or take long; a benchmark's flags may be those of another that it imports."""
    benchmarks = "".join(file.read_text(encoding="utf-8") for file in (HOME / "benchmarks").glob("*.py"))
    for line in "".join(blocks(page, "text")).splitlines():
        if ours := re.search(r"(^|-m )selfsight ([^#']+)", line):
            cli.application().parse_args(shlex.split(ours[2]), exit_on_error=False, print_error=False)
        if script := re.search(r"^\S+python (\S+\.py)([^#]*)", line):
            assert (HOME / script[1]).is_file(), line
            flags = re.findall(r"--([a-z-]+)", script[2])  # some are named in a loop
            assert all(f'"--{flag}"' in benchmarks or f'"{flag}"' in benchmarks for flag in flags), line


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        led = page.parent / target if target else page
        assert led.exists(), target
        assert not anchor or anchor in anchors(led), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as code hosts make them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_methods_pages_are_what_their_files_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pages.py", "--check"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(HOME / "docs" / "pages.py"), run_name="__main__")
    assert ended.value.code == 0, ended.value.code


def test_every_function_is_told() -> None:
    page = (HOME / "docs" / "python.md").read_text(encoding="utf-8")
    missing = [name for name in selfsight.__all__ if f"`{name}(" not in page]
    assert missing == ["__version__", "errors"]


def test_the_readme_python_is_python() -> None:
    for block in blocks(README, "python"):
        compile(block, "README.md", "exec")
