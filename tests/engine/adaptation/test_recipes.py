"""How the main job runs a method follows from what the method reads."""

from __future__ import annotations

import pytest

from deixis.engine.adaptation.recipes import Grid, recipe_for, trains_towers
from deixis.errors import DeixisError


def test_methods_that_read_pictures_train_towers() -> None:
    assert trains_towers("clip")
    assert not trains_towers("residual")


def test_only_what_is_trained_has_steps_to_choose() -> None:
    (recipe, trained), (_, fitted) = recipe_for("residual", {"dropout": 0.5}), recipe_for("ridge")
    assert trained == Grid()
    assert fitted.steps == (1,)
    assert recipe.overrides == {"dropout": 0.5}
    assert 1.0 in recipe_for("clip")[1].strengths, "towers may be taken as they were trained"


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(DeixisError, match="no method called 'clipp'"):
        recipe_for("clipp")
