"""What grows with an index is measured, fitted and told; what was not measured is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import scale_rows
from deixis.indexing.index import Index
from docs.build import table
from docs.scale import fitted, scale_page


def test_a_law_is_found_again_and_no_part_of_it_is_negative() -> None:
    law = fitted({n: 0.002 + 3e-7 * n for n in (10**4, 10**5, 10**6)})
    assert law is not None
    assert (law.fixed, law.each, law.most) == (pytest.approx(0.002), pytest.approx(3e-7), 10**6)
    assert law.error < 1e-9
    assert law(10**9) == pytest.approx(300.002)
    steep = fitted({10: 1.0, 20: 5.0, 30: 9.0})
    assert steep is not None
    assert steep.fixed == 0
    assert fitted({10: 1.0}) is None


def test_the_page_is_made_of_what_there_is_and_says_what_there_is_not() -> None:
    empty = scale_page([], [], "made", table)
    assert empty.count("Not measured yet") == 6
    search = [
        {"what": "search", "vectors": n, "width": 512, "query_seconds": n / 1e7, "batch_query_seconds": n / 1e9}
        for n in (10**4, 10**5)
    ]
    shards = {"what": "shards", "vectors": 10**5, "parts": 2, "equal": True, "query_seconds": 0.006}
    page = scale_page([*search, {**shards, "batch_query_seconds": 0.001}], [], "made", table)
    assert "One query: 0 ms + 100 ns x N, within 0 % of each median up to 100,000." in page
    assert "| 1,000,000,000 | by the law | 2.05e+03 GB | 100 s | 1 s |  |" in page
    assert "| 100,000 | 2 | yes | 6 ms | 1 ms | 10 ms |" in page


def test_sizes_of_the_race_stand_in_where_no_row_was_measured() -> None:
    rows = [
        {"race": "search_exact", "case": f"{size}, batch {batch}", "ours": seconds, "unit": "s"}
        for size, batch, seconds in (("20k", 1, 0.002), ("20k", 500, 0.1), ("1M", 1, 0.1), ("1M", 500, 5.0))
    ]
    page = scale_page([], rows, "made", table)
    assert "| 20,000 | 2 ms | 0.2 ms |" in page
    assert "| 1,000,000 | 100 ms | 10 ms |" in page


@pytest.mark.slow
def test_a_row_of_each_kind_is_measured(tmp_path: Path) -> None:
    data = np.concatenate(list(scale_rows.vectors(300)))
    queries = np.concatenate(list(scale_rows.vectors(5, seed=1)))
    row = scale_rows.search_row(tmp_path / "index", data, queries)
    assert (row["vectors"], row["batch"]) == (300, 5)
    index = Index.open(tmp_path / "index")
    assert scale_rows.shards_row(tmp_path, data, queries, 2, index)["equal"]
    assert scale_rows.cuts(7, 3) == [(0, 2), (2, 4), (4, 7)]


def test_one_law_is_fitted_to_the_races_of_one_day() -> None:
    races = [
        {"race": "search_exact", "case": f"{size}, batch {batch}", "ours": ours * batch, "date": f"2026-{day}T00:00"}
        for day, sizes, ours in (("11-25", ("20k", "200k", "1M"), 0.001), ("12-01", ("20k", "60k"), 5.0))
        for size in sizes
        for batch in (1, 500)
    ]
    page = scale_page([], races, "made", table)
    assert "| 20,000 | 1 ms | 1 ms |" in page
    assert "60,000" not in page
