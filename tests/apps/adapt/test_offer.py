"""A stronger model is offered where the hub answers, and where it would be taken."""

from __future__ import annotations

import pytest

from deixis.apps.adapt import offer
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.console import Reporter
from deixis.zoo.published import recommend


def offered(settings: AdaptSettings, capsys: pytest.CaptureFixture[str], *, quiet: bool = False) -> str:
    offer.offer_model(settings, Reporter(quiet))
    return capsys.readouterr().err


def test_with_a_network_the_model_that_suits_the_machine_is_named_with_its_size_and_licence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offer, "answers", lambda repository, file: True)
    model = recommend("adapt")
    said = offered(AdaptSettings(), capsys)
    assert f"--model {model.name} ({model.about()})" in said
    assert "`deixis list models` shows all" in said


def test_without_a_network_with_another_model_or_where_nothing_is_said_nothing_is_offered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert offered(AdaptSettings(), capsys) == ""  # HF_HUB_OFFLINE is set for tests
    monkeypatch.setattr(offer, "answers", lambda repository, file: True)
    assert offered(AdaptSettings(model="tiny"), capsys) == ""
    assert offered(AdaptSettings(), capsys, quiet=True) == ""
