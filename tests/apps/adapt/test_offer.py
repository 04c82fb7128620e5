"""A stronger model is offered where the hub answers, and where it would be taken."""

from __future__ import annotations

import os
import subprocess
import sys

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
    assert said.count("The starter is adapted, since") == 1


def test_without_a_network_with_another_model_or_where_nothing_is_said_nothing_is_offered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = offered(AdaptSettings(), capsys)  # HF_HUB_OFFLINE is set for tests
    assert "docs/desk_clip.md" in said
    assert "suits this machine" not in said
    monkeypatch.setattr(offer, "answers", lambda repository, file: True)
    assert offered(AdaptSettings(model="tiny"), capsys) == ""
    assert offered(AdaptSettings(), capsys, quiet=True) == ""


@pytest.mark.slow
@pytest.mark.parametrize("offline", ["0", "1"])
def test_in_a_fresh_process_a_hub_that_is_not_there_is_no_error(offline: str) -> None:
    code = "from deixis.zoo.hub import answers; print(answers('organisation/name', 'README.md', 20.0))"
    nowhere = {"HF_HUB_OFFLINE": offline, "HF_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **nowhere}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
