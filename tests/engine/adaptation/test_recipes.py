"""How the main job runs a method follows from what the method reads."""

from __future__ import annotations

import pytest

from deixis.engine.adaptation.recipes import Grid, recipe_for, trains_towers
from deixis.errors import DeixisError


def test_methods_that_read_pictures_train_towers() -> None:
    assert trains_towers("clip")
    assert not trains_towers("residual")


def test_towers_are_held_out_once_and_features_are_folded() -> None:
    (_, towers), (recipe, features) = recipe_for("clip"), recipe_for("residual", {"dropout": 0.5})
    assert towers.holdout
    assert features == Grid()
    assert recipe.overrides == {"dropout": 0.5}


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(DeixisError, match="no method called 'clipp'"):
        recipe_for("clipp")
