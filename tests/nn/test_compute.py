"""Models compute where it was requested, give the same there, and are afterwards where they were."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from deixis import zoo
from deixis.engine.features.embedding import encode_images, encode_texts, vectors
from deixis.engine.features.store import FeatureStore
from deixis.errors import DeixisError
from deixis.nn import compute
from deixis.nn.compute import computing, current, placed, resolve_device
from deixis.nn.dual import DualEncoder
from tests.pictures import captioned


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return zoo.load("tiny")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return sorted(captioned(tmp_path_factory.mktemp("compute") / "pictures", 5).glob("*.png"))


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine with a GPU, as far as can be seen: where models are moved is noted, and they stay on the processor."""
    places: list[str] = []
    real = torch.nn.Module.to

    def to(self: torch.nn.Module, device: torch.device) -> torch.nn.Module:
        places.append(str(device))
        return real(self, "cpu")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.nn.Module, "to", to)
    return places


def test_without_a_wish_the_fastest_device_there_is_computes(moved: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert current().device == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device() == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device() == torch.device("mps")
    assert resolve_device("cpu") == torch.device("cpu")


def test_a_pass_over_pictures_computes_on_the_gpu_and_brings_the_model_back(
    moved: list[str], encoder: DualEncoder, pictures: list[Path]
) -> None:
    with contextlib.closing(FeatureStore()) as store:
        encode_images(encoder, pictures, [each.name for each in pictures], store)
        assert moved == ["cuda:0", "cpu"]
        with computing("cpu"):
            encode_texts(encoder, ["a"], store)
        assert moved == ["cuda:0", "cpu"]


def test_a_model_is_brought_back_after_an_error(moved: list[str], encoder: DualEncoder) -> None:
    with pytest.raises(RuntimeError, match="stopped"), placed(encoder):
        raise RuntimeError("stopped")
    assert moved == ["cuda:0", "cpu"]


def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeixisError, match=r"--device cuda was requested.*Usable here: cpu\. Leave --device out"):
        resolve_device("cuda")
    with pytest.raises(DeixisError, match=r"--device mps was requested"), computing("mps"):
        pass
    for wrong, message in ((dict(device="gpu"), "no device 'gpu'"), (dict(batch=-1), "--batch is -1")):
        with pytest.raises(DeixisError, match=message), computing(**wrong):  # type: ignore[arg-type]
            pass
    with pytest.raises(DeixisError, match=r"no precision 'int4'.*fp32, bf16, fp16"), computing(precision="int4"):
        pass


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_lower_precision_is_near_full_precision_and_stored_apart(
    encoder: DualEncoder, pictures: list[Path], precision: str
) -> None:
    hashes = [each.name for each in pictures]

    def both() -> Iterator[torch.Tensor]:
        with contextlib.closing(FeatureStore()) as store:
            encode_images(encoder, pictures, hashes, store, mirrored=False)
            yield vectors(encoder, hashes, store).clone()
        yield encoder.encode_image(pictures)
        yield encoder.encode_text(["a red bird"])

    full = list(both())
    with computing(precision=precision):
        assert current().facts == {"device": "cpu", "batch": 0, "precision": precision}
        low = list(both())
    for one, other in zip(full, low, strict=True):
        assert other.dtype == torch.float32
        assert 0 < float((one - other).abs().max()) < 0.05
    assert all(torch.equal(one, other) for one, other in zip(full, both(), strict=True))


def test_so_many_pictures_as_were_requested_are_given_at_a_time(
    encoder: DualEncoder, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    tower = encoder.image_tower.forward
    monkeypatch.setattr(encoder.image_tower, "forward", lambda images: (sizes.append(len(images)), tower(images))[1])
    with computing(batch=2), contextlib.closing(FeatureStore()) as store:
        encode_images(encoder, pictures, [f"batch-{each.name}" for each in pictures], store, mirrored=False)
    assert sizes == [2, 2, 1]


def test_other_threads_compute_so_only_where_that_is_said() -> None:
    found: list[int] = []

    def look() -> None:
        thread = threading.Thread(target=lambda: found.append(current().batch))
        thread.start()
        thread.join()

    with computing("cpu", 7):
        look()
        with computing("cpu", 8, everywhere=True):
            look()
    look()
    assert found == [0, 8, 0]
    assert compute._EVERYWHERE == []
