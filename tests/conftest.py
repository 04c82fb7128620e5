"""One thread, one seed a test, shapes checked at run time; no fast test touches the network, and none the user's cache
that does not ask for what is fetched."""

from __future__ import annotations

import functools
import gc
import os
import random
import socket
import sys
import typing
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before the first import of numpy, whose library for matrices is told here what torch is told below: each product has
# its second thread wait busily for the next one, up to 25 ms of processor time of a core that other tests need.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.documents import summary
from tests.shape_checks import check_shapes
from tests.slow_list import listed

# What is imported stays: looking through it for what may be freed, again and again, nearly doubled the time to start.
gc.disable()

# Containers often ask Python to keep no bytecode. Without it all of the package is instrumented and compiled anew in
# each process that runs tests: half of the time to collect them.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Before the first import of deixis.
check_shapes("deixis")

FEWER = 30
"""Examples of a property in the fast tests; all of them have 100, or as many as the property asks for."""

LOOPBACK = ("127.", "::1", "localhost")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") != "no":
        return  # this process hands out tests and runs none: it need not wait for torch
    import hypothesis
    import torch

    _remember()

    torch.set_num_threads(1)
    torch.set_warn_always(True)  # else a warning is an error in the first test that meets it, and in no other
    if not torch.cuda.is_available():
        # Torch's own also writes down the whole stack, once for each kind of device that there might be, for an error
        # that may come when that is first used; it took longer than most tests.
        torch.manual_seed = torch.default_generator.manual_seed
    # The same examples in every run, fewer where slow tests are left out, and none fails because the machine is busy.
    count = FEWER if "not slow" in config.getoption("markexpr", "") else 100
    hypothesis.settings.register_profile("deixis", deadline=None, derandomize=True, database=None, max_examples=count)
    hypothesis.settings.load_profile("deixis")


def _remember() -> None:
    """What is asked for thousands of times, and always has the same answer."""
    from hypothesis.internal.conjecture import providers

    from deixis.methods import _registry

    if sys.version_info < (3, 12):  # later ones do so themselves
        typing._get_protocol_attrs = functools.cache(typing._get_protocol_attrs)
    # Without it examples hang on which modules were imported, and all of these are parsed for constants in them.
    if hasattr(providers, "_local_constants"):  # of hypothesis itself, so that another version may have none
        providers._get_local_constants = lambda: providers._local_constants
    files, home = _registry._files, _registry._HERE  # which no test writes into
    own = functools.cache(files)
    _registry._files = lambda: dict(own()) if home == _registry._HERE else files()  # a test may add to its dict
    _copy_tiny()


def _copy_tiny() -> None:
    """Most tests begin with the tiny encoder: a copy of one takes a sixth of the time that it takes to build it."""
    import torch

    from deixis.zoo import tiny
    from tests.copies import copier

    load = tiny.load

    @functools.cache
    def copies(seed: int, image: Any, *_: object) -> Callable[[], Any]:
        return copier(load(seed, image))

    def copied(seed: int = 0, image: Any = "classifier") -> Any:
        made_for = torch.get_default_device(), torch.get_default_dtype(), torch.is_inference_mode_enabled()
        return copies(seed, image, *made_for)()

    tiny.load = copied


@pytest.hookimpl(tryfirst=True)  # before markers choose
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid in listed() and not item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.slow(listed=True))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(summary())


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    """The seed of a test hangs on its name alone, not on what ran before."""
    import numpy as np
    import torch

    seed = zlib.crc32(request.node.nodeid.encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@pytest.fixture(autouse=True)
def _isolated(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Tests have an empty cache of their own, but for those that ask for what is fetched; fast ones reach this machine
    only, and so do those that are slow by the list alone."""
    if "fetched" not in request.fixturenames:
        name = f"cache-{zlib.crc32(request.node.nodeid.encode()):08x}"
        monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path_factory.getbasetemp() / name))
    slow = request.node.get_closest_marker("slow")
    if slow is not None and not slow.kwargs.get("listed"):
        return
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOOPBACK):
            raise OSError(f"a fast test tried to reach {address}; mark it slow")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture
def golden() -> Path:
    """The folder of golden vectors."""
    from tests.support import golden_folder

    return golden_folder()


@pytest.fixture
def fetched(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Gives the folder of what `deixis data get NAME` brings, or skips the test and says why it can't be had.

    What came and is not what was expected is a failure, not a skip.
    """
    assert request.node.get_closest_marker("slow"), "what is fetched is for tests that are marked slow"

    def get(name: str) -> Path:
        from deixis.data.datasets.sources import fetch
        from deixis.errors import DeixisError

        try:
            return Path(fetch.get(name))
        except DeixisError as error:
            if name not in fetch.recipes() or "SHA-256" in str(error):
                raise
            pytest.skip(f"{name} is not available: {error}")

    return get
