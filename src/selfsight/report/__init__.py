"""A run as people read it: a self-contained page, and tables for the terminal. No torch in here."""

from selfsight.report.page import write

__all__ = ["write"]
