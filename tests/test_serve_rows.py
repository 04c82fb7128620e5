"""A server under clients, changes of its index and hostile guests: the long run, for some seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import hostile_clients, serve_rows


@pytest.mark.slow
def test_a_server_whose_index_is_changed_under_it_answers_of_one_state_and_survives_its_guests(tmp_path: Path) -> None:
    row = serve_rows.measure(tmp_path, clients=8, seconds=6, pictures=500, connections=1200, model="tiny")
    assert row["requests"] > 8
    assert (row["server_errors"], row["without_answer"], row["mixed_answers"]) == (0, 0, 0)
    assert row["changes"] >= 3
    assert row["answered_beside"] == row["asked_beside"]
    assert (row["answered_during"], row["answered_after"], row["cut_off"]) == (1, 1, 0)
    assert row["refused_with_503"] >= row["connections"] - 1000
    assert (row["hostile_pictures"], row["hostile_errors"]) == (300, 0)
    assert row["answers_in_the_end"]


def test_hostile_pictures_are_the_same_each_time_and_of_many_kinds() -> None:
    pictures = hostile_clients.hostile_pictures(60)
    assert pictures == hostile_clients.hostile_pictures(60)
    assert len({picture[:4] for picture in pictures}) > 10
