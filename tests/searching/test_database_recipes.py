"""The lines that docs/search.md gives away: each database finds what the exact search finds."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from test_diverse import index_of

PAGE = Path(__file__).parents[2] / "docs" / "search.md"
BLOCKS = re.findall(r"^```py\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
RECIPES = {name: block for block in BLOCKS for name in ("qdrant", "lancedb", "milvus") if name in block}


@pytest.mark.parametrize("name", ["qdrant", "lancedb", "milvus"])
def test_a_recipe_finds_the_nearest(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    index = index_of(np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32), ["cat", None, "dog"] * 100)
    (tmp_path / "vectors").mkdir()
    np.save(tmp_path / "vectors" / "embeddings.npy", index.vectors)
    parquet.write_table(index.table, tmp_path / "vectors" / "embeddings.parquet")
    names: dict[str, object] = {}
    with warnings.catch_warnings(action="ignore"):  # the clients' own
        exec(compile(RECIPES[name], f"{PAGE} ({name})", "exec"), names)
    cosines, rows = index.nearest(np.asarray(index.vectors[:1]), 5)
    assert [path for path, _ in names["found"]] == [index.names[row] for row in rows[0]]
    np.testing.assert_allclose([score for _, score in names["found"]], cosines[0], atol=1e-5)
    assert len(RECIPES[name].strip().splitlines()) <= 17
