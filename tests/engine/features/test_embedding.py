"""The pipeline from pictures to vectors: each is read and decoded once, ahead of the model but not far, and what comes
out is what the model says of it."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from deixis import zoo
from deixis.engine.features.embedding import encode_once, fitting, vectors
from deixis.engine.features.store import FeatureStore
from deixis.errors import DeixisError
from deixis.inputs import preprocess
from deixis.inputs.images import ImageError, picture_hash
from deixis.nn.dual import DualEncoder
from deixis.types import ImageStates


@dataclasses.dataclass(eq=False)
class Kept:
    """A picture (`types.Stored`) that counts how often it is read."""

    name: str
    data: bytes
    reads: int = 0

    def read(self) -> bytes:
        self.reads += 1
        return self.data


def kept(seed: int, size: tuple[int, int] = (40, 30), kind: str = "PNG", mode: str = "RGB") -> Kept:
    noise = np.random.default_rng(seed).integers(0, 255, (size[1] // 10, size[0] // 10, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(size).convert(mode).save(stream, kind)
    return Kept(f"{seed}.{kind.lower()}", stream.getvalue())


@pytest.fixture
def encoder() -> DualEncoder:
    return zoo.load("tiny")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path / "features.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is decoded for the model, as it is."""
    seen: list[object] = []
    whole = preprocess.open_image

    def noted(source: object, **settings: object) -> Image.Image:
        seen.append(source)
        return whole(source, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(preprocess, "open_image", noted)
    return seen


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each batch had that the model was given."""
    sizes: list[int] = []
    states = DualEncoder.image_states

    def noted(self: DualEncoder, images: Tensor) -> ImageStates:
        sizes.append(len(images))
        return states(self, images)

    monkeypatch.setattr(DualEncoder, "image_states", noted)
    return sizes


def test_the_vectors_are_what_the_model_says_of_each_picture_in_order(
    encoder: DualEncoder, store: FeatureStore
) -> None:
    """Whatever their sizes and formats, a large photograph at a reduced scale among them."""
    shapes = [(40, 30), (1200, 900), (16, 200), (33, 33), (300, 20), (64, 48)]
    kinds = [("PNG", "RGB"), ("JPEG", "RGB"), ("PNG", "L"), ("WEBP", "RGB"), ("JPEG", "L"), ("PNG", "RGBA")]
    pictures = [kept(i, shape, *kind) for i, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))]
    found = encode_once(encoder, pictures, store, batch_size=4)
    assert found.hashes == tuple(map(picture_hash, pictures))
    expected = encoder.encode_image(pictures)
    torch.testing.assert_close(vectors(encoder, found.hashes, store), expected, rtol=0, atol=1e-6)


def test_each_picture_is_read_once_and_each_content_decoded_and_encoded_once(
    encoder: DualEncoder, store: FeatureStore, decoded: list[object], asked: list[int]
) -> None:
    pictures = [*map(kept, range(5)), kept(3), kept(0)]
    found = encode_once(encoder, pictures, store, batch_size=2)
    assert [each.reads for each in pictures] == [1] * 7
    assert (len(decoded), asked, found.encoded) == (5, [2, 2, 1], 5)
    again = encode_once(encoder, pictures, store, batch_size=2)
    assert (len(decoded), len(asked), again.encoded) == (5, 3, 0), "what is in the store is only read, for its hash"
    assert again.hashes == found.hashes


def test_contents_that_are_known_elsewhere_are_left_alone(
    encoder: DualEncoder, store: FeatureStore, decoded: list[object]
) -> None:
    pictures = [*map(kept, range(3))]
    known = {picture_hash(pictures[1])}
    found = encode_once(encoder, pictures, store, known=known)
    assert (len(decoded), found.encoded) == (2, 2)
    assert all(found.hashes)


def test_threads_read_on_while_the_model_computes_but_not_far(
    encoder: DualEncoder, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model waits, in its first batch, until more has been read than that batch: alone it would wait for ever."""
    pictures, beyond, computed, lead = [*map(kept, range(40))], threading.Event(), [0], [0]
    states = DualEncoder.image_states

    def reading(self: Kept) -> bytes:
        self.reads += 1
        begun = sum(each.reads for each in pictures)
        lead[0] = max(lead[0], begun - computed[0])
        if begun > 8:
            beyond.set()
        return self.data

    def computing(self: DualEncoder, images: Tensor) -> ImageStates:
        assert beyond.wait(60)
        computed[0] += len(images)
        return states(self, images)

    monkeypatch.setattr(Kept, "read", reading)
    monkeypatch.setattr(DualEncoder, "image_states", computing)
    assert encode_once(encoder, pictures, store, batch_size=8).encoded == 40
    assert lead[0] <= 8 + 2 * 8, "the batch that is computed, and two ahead"


def test_a_broken_picture_is_told_with_its_place_and_name_and_the_others_are_encoded(
    encoder: DualEncoder, store: FeatureStore, tmp_path: Path, decoded: list[object]
) -> None:
    good = kept(1)
    cut = Kept("cut.png", good.data[:150])
    pictures = [good, cut, kept(2), Kept("copy.png", cut.data), tmp_path / "gone.png", tmp_path]
    found = encode_once(encoder, pictures, store, batch_size=2)
    assert list(found.failures) == [1, 3, 4, 5]
    assert [bool(digest) for digest in found.hashes] == [True, False, True, False, False, False]
    assert [getattr(found.failures[i], "reason", "") for i in (1, 3, 4, 5)] == [
        "truncated", "truncated", "missing", "a folder",
    ]  # fmt: skip
    assert "cut.png" in str(found.failures[1])
    assert "copy.png" in str(found.failures[3])
    assert len(decoded) == 2 + 3, "the broken one again, from where it lies, and its copy, for their names"
    assert len(vectors(encoder, [digest for digest in found.hashes if digest], store)) == 2


def test_nothing_that_can_be_read_and_nothing_at_all(encoder: DualEncoder, store: FeatureStore) -> None:
    found = encode_once(encoder, [Kept("a", b"x"), Kept("b", b"")], store)
    assert (found.hashes, found.encoded, sorted(found.failures)) == (("", ""), 0, [0, 1])
    assert isinstance(found.failures[0], ImageError)
    assert encode_once(encoder, [], store).hashes == ()
    assert vectors(encoder, [], store).shape == (0, encoder.width)


def test_a_pass_that_was_stopped_goes_on_where_it_was(
    encoder: DualEncoder, store: FeatureStore, asked: list[int]
) -> None:
    """Whatever `progress` raises ends it: so a server ends a job, and so does Ctrl-C."""
    pictures, steps = [*map(kept, range(7))], list[tuple[int, int]]()

    def stop(done: int, total: int) -> None:
        steps.append((done, total))
        if done >= 4:
            raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        encode_once(encoder, pictures, store, progress=stop, batch_size=2)
    assert steps == [(2, 7), (4, 7)]
    assert threading.active_count() == threads, "no thread reads on"
    assert encode_once(encoder, pictures, store, batch_size=2).encoded == 3
    assert asked == [2, 2, 2, 1]


def test_an_adapter_is_applied_to_what_the_towers_said(encoder: DualEncoder, store: FeatureStore) -> None:
    """One that drops out while it trains, too: the vectors of an index hang on no mode."""

    class Turned(nn.Module):
        config: ClassVar = {"kind": "turned"}

        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, states: ImageStates) -> Tensor:
            return nn.functional.normalize(self.drop(states.embedding).flip(-1) + states.doubt[:, None], dim=-1)

    pictures = [*map(kept, range(3))]
    adapted = encoder.with_adapters(Turned(), None)
    found = encode_once(adapted, pictures, store)
    made = vectors(adapted, found.hashes, store)
    torch.testing.assert_close(made, adapted.encode_image(pictures), rtol=0, atol=1e-6)
    assert encode_once(encoder, pictures, store).encoded == 0, "the towers' rows serve all adapters on them"
    assert not torch.allclose(vectors(encoder, found.hashes, store), made)


def test_rows_that_have_gone_from_the_store_are_told(encoder: DualEncoder, store: FeatureStore) -> None:
    found = encode_once(encoder, [kept(0)], store)
    with pytest.raises(DeixisError, match=r"just stored in .*features\.sqlite are missing.*DEIXIS_CACHE"):
        vectors(encoder, [*found.hashes, "0" * 64], store)


def test_of_large_pictures_fewer_make_a_batch() -> None:
    assert (fitting(16), fitting(224), fitting(448), fitting(10_000)) == (32, 32, 8, 1)
    assert 30 * 224**2 < fitting(336) * 336**2 <= 32 * 224**2
