"""Fitting: one training serves all numbers of steps, and what comes of it is ready to use."""

from __future__ import annotations

import numpy as np
import torch

from deixis.engine.adaptation.evaluate import measure_retrieval
from deixis.engine.adaptation.fitting import fit
from deixis.engine.adaptation.recipes import AdaptationRecipe
from tests.planted import planted, tiny

RESIDUAL = AdaptationRecipe("residual", {"learning_rate": 3e-2})
RIDGE = AdaptationRecipe("ridge", {"penalty": 0.05})


def test_looking_on_the_way_does_not_change_where_it_leads() -> None:
    """One training run serves all numbers of steps, and each is what training that long alone gives."""
    table = planted(gain=1.0, concepts=20).table
    recipe = AdaptationRecipe("residual", {"dropout": 0.0})
    several, alone = fit(recipe, tiny(), table, (5, 10), 0), fit(recipe, tiny(), table, (5,), 0)
    for one, other in zip(several[5], alone[5], strict=True):  # type: ignore[arg-type]
        assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())
    assert not torch.equal(several[5][0].linear.weight, several[10][0].linear.weight)  # type: ignore[index]


def test_adapters_come_ready_to_use() -> None:
    taken = fit(RESIDUAL, tiny(), planted(concepts=20).table, (3,), 0)[3]
    for adapter in taken:  # type: ignore[union-attr]
        assert adapter is not None
        assert not adapter.training
        assert not any(parameter.requires_grad for parameter in adapter.parameters())


def test_a_fitted_method_gives_the_same_for_all_steps() -> None:
    table = planted(concepts=20).table
    taken = fit(RIDGE, tiny(), table, (10, 20), 0)
    first, second = (measure_retrieval(table, taken[step])["mean_mrr"] for step in (10, 20))
    assert np.array_equal(first, second)
