"""The models of `deixis eval`: names, and image towers alone."""

from __future__ import annotations

import pytest

from deixis.apps.eval.models import load_model
from deixis.errors import DeixisError


def test_an_image_tower_alone_can_be_named_as_a_model_and_an_unknown_name_is_refused() -> None:
    tower = load_model("scratch:resnet:tiny:32")
    assert tower.capabilities == {"encode_image"}
    assert tower.encoder is None
    assert load_model("tiny").capabilities == {"encode_image", "encode_text"}
    with pytest.raises(DeixisError, match="no model called 'tinny'"):
        load_model("tinny")
