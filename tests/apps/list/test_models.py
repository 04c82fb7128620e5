"""`deixis list models` and the names of published models: a table in the package, and messages without a network."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from deixis import zoo
from deixis.apps.list.models import model_table, recommendation
from deixis.errors import DeixisError
from deixis.zoo.published import TASKS, find, published_models, recommend, same_weights
from tests.commands import SOURCE, deixis


def test_every_published_model_stands_on_one_line_and_goes_by_its_name() -> None:
    models = published_models()
    lines = model_table().splitlines()[1 : 1 + len(models)]
    assert len(models) == 196
    for model, line in zip(models, lines, strict=True):
        assert line.split()[0] == model.name
        assert find(model.name) is find(model.name.replace("/", ":")) is model
    assert model_table("siglip2").count("SigLIP2") == sum("SigLIP2" in each.name for each in models)
    assert "No published model has 'nothing'" in model_table("nothing")


def test_numbers_without_a_source_are_left_blank() -> None:
    [line] = (line for line in model_table("PE-Core-T").splitlines() if line.startswith("PE-Core-T"))
    assert line.split()[1:] == [
        str(round(find("PE-Core-T-16-384").parameters * 4 / 1e6)),
        "384",
        "English",
        "apache-2.0",
    ]
    assert all(each.imagenet is None or 0.2 < each.imagenet < 0.9 for each in published_models())


def test_a_recommendation_fits_the_task_the_memory_and_the_languages() -> None:
    assert all(recommend(task, memory=4.0).megabytes < 4000 for task in TASKS)
    assert recommend("explain", memory=8.0).own
    assert recommend(multilingual=True, memory=8.0).languages == "multilingual"
    assert recommend("adapt", gpu=True, memory=64.0).imagenet > recommend("adapt", memory=64.0).imagenet
    assert recommend(memory=8.0, licences=("mit",)).licence == "mit"
    assert "--model " in recommendation("search", memory=8.0, gpu=False, multilingual=False)
    with pytest.raises(DeixisError, match=r"no task 'cook'.*adapt, search"):
        recommend("cook")
    with pytest.raises(DeixisError, match=r"fits.*0.1 GB.*data get starter"):
        recommend(memory=0.1)


@pytest.mark.parametrize("name", ["ViT-B-32/openai", "ViT-B-32:openai", "openai/clip-vit-base-patch32"])
def test_without_a_network_the_message_says_what_would_be_fetched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(repository: str, files: object) -> None:
        raise OSError("the hub at https://a.hub can't be reached (no answer within 8 seconds)")

    monkeypatch.setattr("deixis.zoo.hub.require_reachable", unreachable)
    with pytest.raises(DeixisError, match=r"can't be reached.*up to 605 MB, licence apache-2\.0.*data get starter"):
        zoo.load(name)


def test_an_architecture_with_several_weights_names_them() -> None:
    with pytest.raises(DeixisError, match=r"'RN101' has several weights.*There are: RN101/openai, RN101/yfcc15m"):
        zoo.load("RN101")
    with pytest.raises(DeixisError, match=r"no weights called 'opnai'. Did you mean RN101/openai"):
        zoo.load("RN101/opnai")
    assert find("ViTamin-S").name == "ViTamin-S/datacomp1b"
    assert find("starter") is None
    assert same_weights("laion/CLIP-ViT-B-32-laion2B-s34B-b79K").name == "ViT-B-32/laion2b_s34b_b79k"


def test_the_command_lists_and_recommends() -> None:
    found = deixis("list", "models", "--name", "RN50/")
    assert found.code == 0
    assert found.out.count("RN50/") == 3
    assert "ViT" in deixis("list", "models", "--task", "explain", "--memory", "4").out
    assert "no list of 'modells'" in deixis("list", "modells").err


def test_the_list_needs_no_torch() -> None:
    code = "import sys; from deixis.apps.list.models import model_table; model_table(); print('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "False", done.stderr
