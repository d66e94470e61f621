"""Text into HTML. Everything that came from a user's disk passes through `safe` before it is written."""

from __future__ import annotations

from html import escape


def safe(value: object) -> str:
    """The text of a value, harmless in an element and in a quoted attribute; unprintable characters show."""
    text = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return escape(text, quote=True)


def element(tag: str, body: str, *, names: str = "") -> str:
    """An element around HTML that is already safe; `names` are our own CSS classes."""
    return f'<{tag} class="{names}">{body}</{tag}>' if names else f"<{tag}>{body}</{tag}>"
