"""Text into HTML. Everything that came from a user's disk passes through `safe` before it is written."""

from __future__ import annotations

from html import escape

from selfsight.errors import printable


def safe(value: object) -> str:
    """The text of a value, harmless in an element and in a quoted attribute; control characters show."""
    return escape(printable(str(value), "\n\t"), quote=True)


def element(tag: str, body: str, *, names: str = "") -> str:
    """An element around HTML that is already safe; `names` are our own CSS classes."""
    return f'<{tag} class="{names}">{body}</{tag}>' if names else f"<{tag}>{body}</{tag}>"
