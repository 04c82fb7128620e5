"""Package clients that answer as told."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from deixis.data.datasets.sources import packages
from tests.registries import build_deb


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a shell script of the given name in front of the real tools."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def add(name: str, body: str) -> None:
        script = folder / name
        script.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    return add


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt that has been updated at least once."""
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "deb.example_main_Packages").touch()
    monkeypatch.setattr(packages, "APT_LISTS", lists)
    return lists


@pytest.fixture
def apt(
    tmp_path: Path, tools: Callable[[str, str], None], listed: Path
) -> Callable[[str, Callable[[Path], None]], None]:
    """An apt-get that knows the packages it is given: name, and what fills their root folder."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    tools(
        "apt-get",
        f'for name; do :; done; echo "$name" >> "{shelf}/calls"\n'
        f'cp "{shelf}/${{name}}"_*.deb . 2>/dev/null || {{ echo "E: Unable to locate package $name" >&2; exit 100; }}',
    )

    def add(name: str, fill: Callable[[Path], None]) -> None:
        build_deb(shelf, name, fill, "")

    return add
