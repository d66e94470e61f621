"""Which method suits these pictures? Several methods on one budget, measured alike and told apart by statistics."""

from selfsight.comparison.story import compare

__all__ = ["compare"]
