from __future__ import annotations

import pytest

from deixis.ops.schedules import rate


def test_a_rate_rises_over_the_warm_up_and_then_stays_or_falls() -> None:
    assert [rate("constant", step, 6, 3) for step in range(6)] == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
    assert [rate("linear", step, 6, 2) for step in range(6)] == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25])
    assert [rate("cosine", step, 4) for step in range(5)] == pytest.approx([1, 0.853553, 0.5, 0.146447, 0], abs=1e-6)
    assert [rate("linear", step, 4, floor=0.2) for step in range(5)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert [rate("step", step, 6, 1, milestones=(2, 4)) for step in range(6)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_it_is_never_zero_within_the_run_nor_above_its_peak(schedule: str) -> None:
    for total, warmup in ((1, 0), (5, 5), (5, 9), (50, 7)):
        assert all(0 < rate(schedule, step, total, warmup) <= 1 for step in range(total))


def test_an_unknown_schedule_is_refused() -> None:
    with pytest.raises(Exception, match="schedule"):
        rate("steps", 0, 1)
