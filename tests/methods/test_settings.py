"""Settings by name: those inside of value objects too, and by the names that they had before."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from deixis.apps.common.overrides import parse_overrides
from deixis.engine.training.build import configure, restored
from deixis.errors import DeixisError
from deixis.methods import all_settings, get, list_methods
from deixis.types import OptimGroup, OptimSpec

FORMER = {
    "warmup": 3,
    "schedule": "cosine",
    "optimiser": "lamb",
    "learning_rate": 0.01,
    "weight_decay": 0.1,
    "beta1": 0.8,
    "beta2": 0.95,
    "epsilon": 1e-5,
    "text_rate": 2.0,
}


def test_the_settings_of_an_optimiser_go_by_their_full_names_and_by_those_they_had() -> None:
    config = configure("clip", "tiny", {**FORMER, "optim.floor": 0.1})
    assert config.optim == OptimSpec(
        "lamb",
        learning_rate=0.01,
        weight_decay=0.1,
        betas=(0.8, 0.95),
        eps=1e-5,
        schedule="cosine",
        warmup=3,
        floor=0.1,
        groups=(OptimGroup("encoder.text_tower.", 2.0),),
    )
    assert configure("clip", "tiny", {"optim.learning_rate": 3.0, "learning_rate": 2}).optim.learning_rate == 2.0
    assert configure("clip", "tiny", {"optim": {"floor": 0.5}}).optim.learning_rate == 0.01, "the rest stays"
    assert configure("clip", "tiny", {"optim": OptimSpec()}).optim == OptimSpec()


@pytest.mark.parametrize("name", list_methods())
def test_what_is_saved_as_json_is_what_is_read(name: str) -> None:
    for preset in ("tiny", "desk", "paper"):
        config = getattr(get(name).Config, preset)()
        assert restored(name, json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_a_config_that_was_saved_before_is_read() -> None:
    """As a run of ALIGN and a classifier of CoOp wrote it when each had its settings of the optimiser itself."""
    align = {"encoder": "tiny", "temperature": 0.07, "lowest": 0.01, "smoothing": 0.1, "warmup": 50}
    align |= {"schedule": "linear", "optimiser": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1}
    assert restored("align", align) == configure("align", "desk", {"encoder": "tiny"})
    coop: dict[str, Any] = {"vectors": 16, "words": "", "spread": 0.02, "position": "end", "shared": True}
    coop |= {"scale": 0.0, "chunk": 256, "optimiser": "sgd", "learning_rate": 0.002, "momentum": 0.9}
    coop |= {"weight_decay": 5e-4, "epochs": 200, "warmup_epochs": 1, "warmup_rate": 1e-5}
    assert restored("coop", coop) == get("coop").Config.paper()


def test_a_name_is_that_of_a_setting_or_refused_with_those_near() -> None:
    with pytest.raises(DeixisError, match=r"clip has no setting 'optim.rate'"):
        configure("clip", "tiny", {"optim.rate": 1.0})
    with pytest.raises(DeixisError, match=r"has no setting 'rank.x'.*rank"):
        configure("clip", "tiny", {"rank.x": 1.0})
    with pytest.raises(DeixisError, match="ridge has no setting 'learning_rate'"):
        configure("ridge", "tiny", {"learning_rate": 1.0})
    with pytest.raises(DeixisError, match="clip has no setting 'desk'"):
        configure("clip", "tiny", {"desk": 1.0})
    with pytest.raises(DeixisError, match="OptimGroup has no 'prefx'"):
        configure("clip", "tiny", {"optim.groups": [{"prefx": "encoder."}]})


def test_settings_are_typed_as_name_and_value() -> None:
    texts = ("optim.learning-rate=1", "warmup=0.1", "optim.betas=0.8,0.9", "optim.no_decay=words", "epsilon=1e-3")
    texts += ('optim.groups=[{"prefix": "encoder.", "scale": 3}]', "text_rate=2", "rank=4", "optim.nesterov=yes")
    with pytest.raises(DeixisError, match="true or false is expected"):
        parse_overrides("clip", texts, "desk")
    optim = configure("clip", "desk", parse_overrides("clip", (*texts[:6], texts[7]), "desk")).optim
    assert (optim.learning_rate, optim.warmup, optim.betas, optim.no_decay) == (1.0, 0.1, (0.8, 0.9), ("words",))
    assert (optim.eps, optim.groups) == (1e-3, (OptimGroup("encoder.", 3.0),))


def test_all_settings_are_listed_by_their_full_names() -> None:
    listed = all_settings(configure("coop", "paper"))
    assert listed["optim.optimiser"] == "sgd"
    assert listed["epochs"] == 200
    assert "optim" not in listed
