"""One small collection, indexed once, and one server of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deixis.apps.index.index import index
from deixis.errors import DeixisError
from tests.apps.serve.screen import Screen
from tests.apps.serve.serving import Running, running
from tests.commands import own_cache
from tests.pictures import COLOURS, picture


@pytest.fixture(scope="session", autouse=True)
def no_detector() -> Iterator[None]:
    """As on a machine that has none, which also saves each server its loading."""

    def refuse(model: Any, capability: str) -> Any:
        raise DeixisError(f"No method here offers {capability}.", "Get the detector.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deixis.apps.serve.server_state.open_or_default", refuse)
        yield


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`pictures`, in a sub-folder for each colour, and `run`, an index of them."""
    folder = tmp_path_factory.mktemp("serve")
    rng = random.Random(0)
    with own_cache(folder / "cache"):
        for i in range(24):
            word = list(COLOURS)[i % 6]
            picture(folder / "pictures" / word / f"{i:02}.png", COLOURS[word], rng)
        index(str(folder / "pictures"), folder / "run", "tiny", quiet=True)
        yield folder


@pytest.fixture(scope="session")
def server(collection: Path) -> Iterator[Running]:
    """A server of that index, with small limits."""
    with running(collection / "run") as started:
        yield started


@pytest.fixture
def screen(browser: Any, server: Running) -> Iterator[Screen]:
    """The page of a test's server, not opened yet; at the end its console must be silent."""
    screen = Screen(browser, server.address)
    yield screen
    screen.close()
