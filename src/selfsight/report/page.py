"""`report.html`: one file that needs nothing else, no script, no network; written from JSON and pictures only."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from selfsight import checkpoints
from selfsight.report.contents import Contents, read
from selfsight.report.html import safe
from selfsight.report.sections import SECTIONS
from selfsight.report.style import STYLE


def write(run_folder: str | Path) -> Path:
    """Write `report.html` into a run's folder and return its path.

    Parts whose files are missing (an evaluation not made yet) are left out. RunError when the folder is no run.
    """
    folder = Path(run_folder)
    return replace(folder / "report.html", page(read(folder)))


def page(run: Contents) -> str:
    """The whole page."""
    footer = "Written by Selfsight from the files of the run. This page loads nothing and runs no script."
    return document(run.name, "Selfsight run", "".join(section(run) for section in SECTIONS), footer)


def document(name: str, kind: str, body: str, footer: str) -> str:
    """A page around its sections. The policy allows this style sheet and embedded pictures, and nothing else."""
    digest = b64encode(sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    title = safe(name)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title} · Selfsight</title><style>{STYLE}</style></head>"
        f"<body><main><header><p>{safe(kind)}</p><h1>{title}</h1></header>{body}"
        f"<footer>{safe(footer)}</footer></main></body></html>\n"
    )


def replace(target: Path, text: str) -> Path:
    """Write a page: a reader sees the old one or the new one, never half of one."""
    checkpoints.replace_file(target, text.encode())
    return target
