"""A queue holds the last rows, newest first."""

from __future__ import annotations

import pytest
import torch

from deixis.errors import DeixisError
from deixis.nn.layers.queue import RowQueue


def test_the_newest_rows_stand_first_and_the_oldest_drop_out() -> None:
    queue = RowQueue(5, 1)
    queue.push(torch.tensor([[1.0], [2.0]]))
    assert not queue.is_full
    queue.push(torch.tensor([[3.0], [4.0]]))
    queue.push(torch.tensor([[5.0], [6.0]]))
    assert queue.is_full
    assert queue.rows[:, 0].tolist() == [5.0, 6.0, 3.0, 4.0, 1.0]


def test_more_rows_than_it_holds_leave_the_first_of_them() -> None:
    queue = RowQueue(2, 1)
    queue.push(torch.arange(4.0)[:, None])
    assert queue.rows[:, 0].tolist() == [0.0, 1.0]


def test_a_queue_of_nothing_is_refused() -> None:
    with pytest.raises(DeixisError, match="A queue of 0 rows holds nothing"):
        RowQueue(0, 4)
