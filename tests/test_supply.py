"""What is delivered: a list of all packages, and lowest versions without a known hole."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# CVE-2026-24747 and CVE-2025-32434; 14 of Pillow's to 12.3; CVE-2026-27489 and -34447; CVE-2025-62727.
FLOORS = {"torch": "2.10", "pillow": "12.3", "onnx": "1.21", "starlette": "0.49.1"}


def test_no_version_with_a_known_hole_is_let_in() -> None:
    extras = PROJECT["optional-dependencies"].values()
    asked = [Requirement(one) for some in (PROJECT["dependencies"], *extras) for one in some]
    assert {one.name for one in asked} >= set(FLOORS)
    for one in asked:
        (floor,) = [Version(part.version) for part in one.specifier if part.operator == ">="] or [None]
        if one.name in FLOORS:
            assert floor is not None
            assert floor >= Version(FLOORS[one.name]), one
    told = (ROOT / "SECURITY.md").read_text("utf-8")
    assert all(version in told for version in FLOORS.values())


def test_the_list_of_packages(tmp_path: Path) -> None:
    """Selfsight's own and what these need, an extra's when it is named, and nothing that only tests need."""
    found = {}
    for extras in ((), ("export",)):
        command = [str(ROOT / "scripts" / "sbom"), str(tmp_path / "sbom.json"), *extras]
        subprocess.run(command, check=True, capture_output=True)
        bom = json.loads((tmp_path / "sbom.json").read_text("utf-8"))
        assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
        found[extras] = {re.sub("[-_.]+", "-", one["name"]).lower(): one for one in bom["components"]}
        assert all(one["version"] and one["purl"].startswith("pkg:pypi/") for one in bom["components"])
        refs = {one["bom-ref"] for one in bom["components"]}
        assert {ref for one in bom["dependencies"] for ref in one["dependsOn"]} <= refs
    own = {Requirement(one).name.lower() for one in PROJECT["dependencies"]}
    assert own < set(found[()])
    assert "pytest" not in found[()]
    assert set(found["export",]) - set(found[()]) >= {"onnx", "onnxruntime"}


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    """Pictures of the demo and the page of `browse` too, which an editable installation never misses."""
    package, ours = ROOT / "src" / "selfsight", tmp_path / "project"
    shutil.copytree(ROOT / "src", ours / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, ours)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, ours]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {file.relative_to(ROOT / "src").as_posix() for file in package.rglob("*") if file.is_file()}
    assert held == {file for file in files if "__pycache__" not in file}
