"""Models by name: what their weights are fetched from is said before it is done."""

from __future__ import annotations

from deixis.apps.common.loading import tell_weights


def test_each_network_whose_weights_are_fetched_is_named_once_with_its_licence() -> None:
    named = ["starter", "timm:regnety_320.seer", "timm:regnety_320.seer@s4", "timm:resnet18:untrained", "my-run"]
    said: list[str] = []
    tell_weights([*named, "timm:resnet18.a1_in1k+whiten:64"], said.append)
    assert said == [
        "timm:regnety_320.seer: weights of timm/regnety_320.seer of the Hugging Face hub, licence seer-license.",
        "timm:resnet18.a1_in1k: weights of timm/resnet18.a1_in1k of the Hugging Face hub, licence apache-2.0.",
    ]
