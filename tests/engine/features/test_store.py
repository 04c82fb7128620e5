"""The store of features: nothing is computed twice, nothing is lost, and nothing wrong stays in it."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from deixis import zoo
from deixis.engine.features.embedding import encode_images, encode_texts
from deixis.engine.features.store import FeatureStore, FeatureTable, table
from deixis.errors import DeixisError
from deixis.files import cache_dir, content_hash
from deixis.nn.dual import DualEncoder
from deixis.types import Batch, ImageStates


class Counting(nn.Module):
    """An image tower that counts the pictures it sees, and can be made to fail."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower, self.width, self.feature_width = tower, tower.width, tower.feature_width
        self.dropout = nn.Dropout(0.5)
        self.seen, self.limit, self.spoil = 0, 10**9, False

    def forward(self, images: Tensor) -> ImageStates:
        if self.seen + len(images) > self.limit:
            raise KeyboardInterrupt
        self.seen += len(images)
        states = self.tower(self.dropout(images))
        return dataclasses.replace(states, features=states.features / 0) if self.spoil else states

    def tokens(self, images: Tensor) -> Any:
        return self.tower.tokens(images)


@pytest.fixture
def encoder() -> DualEncoder:
    tiny = zoo.load("tiny")
    parts = {name: getattr(tiny, name) for name in ("tokenizer", "preprocess", "traits")}
    return DualEncoder(Counting(tiny.image_tower), tiny.text_tower, **parts).eval()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    opened = FeatureStore(tmp_path / "features.sqlite")
    yield opened
    opened.close()


def pictures(folder: Path, count: int = 5, side: int = 40, suffix: str = "png") -> tuple[list[Path], list[str]]:
    paths = []
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 255, (side, side, 3), dtype=np.uint8)
        paths.append(folder / f"{i}.{suffix}")
        Image.fromarray(noise).save(paths[-1])
    return paths, [content_hash(path) for path in paths]


def row(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


# The store


def test_what_is_put_in_comes_out_and_the_rest_is_missing(store: FeatureStore) -> None:
    store.put({"a": row(1, 2), "b": row(3)})
    found = store.get(["b", "a", "c"])
    assert {key: value.tolist() for key, value in found.items()} == {"a": [1, 2], "b": [3]}
    store.put({"a": row(9)})
    assert store.get(["a"])["a"].tolist() == [9], "the latest counts"


def test_more_keys_than_a_statement_takes(store: FeatureStore) -> None:
    store.put({str(i): row(i) for i in range(1700)})
    assert len(store.get([str(i) for i in range(2000)])) == 1700


def test_rows_outlive_the_store_and_the_default_lies_in_the_cache() -> None:
    first = FeatureStore()
    first.put({"a": row(1)})
    first.close()
    second = FeatureStore()
    assert second.path.parent == cache_dir()
    assert second.get(["a"])["a"].tolist() == [1]
    second.close()


def test_two_stores_on_one_file_see_each_others_rows(tmp_path: Path) -> None:
    first, second = FeatureStore(tmp_path / "x.sqlite"), FeatureStore(tmp_path / "x.sqlite")
    first.put({"a": row(1)})
    second.put({"b": row(2)})
    assert set(first.get(["a", "b"])) == set(second.get(["a", "b"])) == {"a", "b"}
    first.close()
    second.close()


@pytest.mark.parametrize("content", [b"not a database", b"\x00" * 5000, b"SQLite format 3\x00" + b"\xff" * 4000])
def test_a_file_that_is_no_database_is_set_aside_and_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(content)
    path.with_name("x.sqlite-journal").write_bytes(b"old")
    store = FeatureStore(path)
    store.put({"a": row(1)})
    assert store.get(["a"])["a"].tolist() == [1]
    store.close()
    assert path.with_suffix(".damaged").read_bytes() == content


def test_damage_that_is_found_while_reading_is_mended_too(tmp_path: Path) -> None:
    """The first half is whole, so that the file opens; what lies behind is not."""
    path = tmp_path / "x.sqlite"
    store = FeatureStore(path)
    store.put({str(i): row(*range(300)) for i in range(200)})
    store.close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\xaa" * (len(data) - len(data) // 2)
    path.write_bytes(data)
    again = FeatureStore(path)
    assert not path.with_suffix(".damaged").exists(), "nothing was noticed yet"
    assert again.get([str(i) for i in range(200)]) == {}
    again.put({"a": row(1)})
    assert again.get(["a"])["a"].tolist() == [1]
    again.close()
    assert path.with_suffix(".damaged").exists()


def test_a_file_that_is_in_use_is_not_taken_for_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting it aside would take it from under the other run."""
    path = tmp_path / "x.sqlite"
    store = FeatureStore(path)
    store.put({"a": row(1)})
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, timeout, **more: connect(file, timeout=0.01, **more))
    other = connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DeixisError, match=r"x\.sqlite can't be used: database is locked.*Wait for other runs"):
        FeatureStore(path)
    other.execute("ROLLBACK")
    other.close()
    assert store.get(["a"])["a"].tolist() == [1]
    store.close()
    assert not path.with_suffix(".damaged").exists()


def test_a_place_where_nothing_can_be_kept_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.sqlite").mkdir()
    for path in (tmp_path / "file" / "x.sqlite", tmp_path / "folder.sqlite"):
        with pytest.raises(DeixisError, match="DEIXIS_CACHE"):
            FeatureStore(path)


def test_where_it_would_grow_beyond_its_limit_the_oldest_rows_go(tmp_path: Path) -> None:
    limit = 100_000
    store = FeatureStore(tmp_path / "x.sqlite", limit)
    for i in range(16):
        store.put({f"{i} {j}": row(*range(250)) for j in range(10)})
        assert len(store.get([f"{i} {j}" for j in range(10)])) == 10, "what was just put in is there"
    kept = store.get([f"{i} {j}" for i in range(16) for j in range(10)])
    order = [10 * i + j for i, j in (map(int, key.split()) for key in kept)]
    assert min(order) == 160 - len(kept), "the last ones, without a gap"
    assert 50 <= len(kept) < 100
    store.close()
    assert store.path.stat().st_size < limit + 20_000, "room that became free is used again"


def test_rows_larger_than_the_limit_are_held_all_the_same(tmp_path: Path) -> None:
    """Those of one batch are needed together."""
    store = FeatureStore(tmp_path / "x.sqlite", 50_000)
    store.put({str(i): row(*range(1000)) for i in range(30)})
    assert len(store.get([str(i) for i in range(30)])) == 30
    store.close()


def test_a_limit_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for told in ("much", "0", "-1", "inf"):
        monkeypatch.setenv("DEIXIS_FEATURES_GB", told)
        with pytest.raises(DeixisError, match=f"DEIXIS_FEATURES_GB is '{told}'"):
            FeatureStore(tmp_path / "x.sqlite")
    monkeypatch.setenv("DEIXIS_FEATURES_GB", "0.5")
    assert FeatureStore(tmp_path / "x.sqlite").limit == 2**29


# Encoding


def test_rows_are_what_the_tower_says_of_the_picture_and_of_its_mirror_image(
    tmp_path: Path, encoder: DualEncoder, store: FeatureStore
) -> None:
    paths, hashes = pictures(tmp_path)
    embedding, features, doubt = encode_images(encoder, paths, hashes, store, batch_size=2)
    images = encoder.read_images(paths)
    with torch.no_grad():
        for view, shown in enumerate((images, images.flip(-1))):
            states = encoder.image_states(shown)
            torch.testing.assert_close(embedding[view], states.embedding)
            torch.testing.assert_close(features[view], states.features)
            torch.testing.assert_close(doubt[view], states.doubt)
    torch.testing.assert_close(embedding[0], encoder.encode_image(paths))


def test_a_large_photograph_is_encoded_as_a_search_for_it_would_be(
    tmp_path: Path, encoder: DualEncoder, store: FeatureStore
) -> None:
    """Both decode it at a reduced scale: else the picture would not quite find itself."""
    paths, hashes = pictures(tmp_path, 2, side=700, suffix="jpg")
    embedding, _, _ = encode_images(encoder, paths, hashes, store)
    torch.testing.assert_close(embedding[0], encoder.encode_image(paths), rtol=0, atol=1e-6)


def test_equal_pictures_are_encoded_once(tmp_path: Path, encoder: DualEncoder, store: FeatureStore) -> None:
    paths, hashes = pictures(tmp_path, 3)
    order = [0, 1, 0, 2, 1, 0]
    steps: list[tuple[int, int]] = []
    embedding, _, _ = encode_images(
        encoder,
        [paths[i] for i in order],
        [hashes[i] for i in order],
        store,
        progress=lambda done, all: steps.append((done, all)),
        batch_size=2,
    )
    assert encoder.image_tower.seen == 3 * 2, "plain and mirrored"
    assert torch.equal(embedding[:, 0], embedding[:, 2])
    assert not torch.equal(embedding[:, 0], embedding[:, 1])
    assert steps == [(0, 3), (2, 3), (3, 3)]


def test_a_second_run_encodes_nothing_and_gives_the_same(
    tmp_path: Path, encoder: DualEncoder, store: FeatureStore
) -> None:
    paths, hashes = pictures(tmp_path)
    first = encode_images(encoder, paths, hashes, store)
    seen = encoder.image_tower.seen
    second = encode_images(encoder, paths, hashes, store)
    assert encoder.image_tower.seen == seen
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert encode_images(encoder, paths, hashes, store, mirrored=False)[0].shape[0] == 1


def test_a_run_that_is_killed_keeps_what_it_had(tmp_path: Path, encoder: DualEncoder, store: FeatureStore) -> None:
    paths, hashes = pictures(tmp_path, 6)
    encoder.image_tower.limit = 8
    with pytest.raises(KeyboardInterrupt):
        encode_images(encoder, paths, hashes, store, batch_size=2)
    encoder.image_tower.limit = 10**9
    store.close()
    again = FeatureStore(store.path)
    encode_images(encoder, paths, hashes, again, batch_size=2)
    again.close()
    assert encoder.image_tower.seen == 6 * 2, "the two batches that were done are not done again"


def test_another_model_has_rows_of_its_own(tmp_path: Path, encoder: DualEncoder, store: FeatureStore) -> None:
    paths, hashes = pictures(tmp_path)
    first = encode_images(encoder, paths, hashes, store)[0]
    with torch.no_grad():
        encoder.image_tower.tower.classifier.weight.mul_(0.5)
    assert not torch.allclose(encode_images(encoder, paths, hashes, store)[0], first)


def test_the_mode_that_the_model_is_in_does_not_matter_and_stays(
    tmp_path: Path, encoder: DualEncoder, store: FeatureStore
) -> None:
    """Dropout would else be kept under the model's name for good."""
    paths, hashes = pictures(tmp_path)
    encoder.train()
    embedding, _, _ = encode_images(encoder, paths, hashes, store, mirrored=False)
    assert all(module.training for module in encoder.modules())
    torch.testing.assert_close(embedding[0], encoder.eval().encode_image(paths))


def test_numbers_that_are_not_finite_are_refused_and_not_kept(
    tmp_path: Path, encoder: DualEncoder, store: FeatureStore
) -> None:
    paths, hashes = pictures(tmp_path)
    encoder.image_tower.spoil = True
    with pytest.raises(DeixisError, match="not finite"):
        encode_images(encoder, paths, hashes, store)
    encoder.image_tower.spoil = False
    assert all(torch.isfinite(each).all() for each in encode_images(encoder, paths, hashes, store))


@pytest.mark.parametrize("wrong", [row(1, 2, 3), np.full(16 + 24 + 1, np.nan, dtype=np.float32)])
def test_a_row_that_cannot_be_right_is_computed_again(
    tmp_path: Path, encoder: DualEncoder, store: FeatureStore, wrong: np.ndarray
) -> None:
    paths, hashes = pictures(tmp_path, 1)
    good = encode_images(encoder, paths, hashes, store)
    store.put({f"{encoder.fingerprint()}/{hashes[0]}/0": wrong})
    again = encode_images(encoder, paths, hashes, store)
    assert all(torch.equal(a, b) for a, b in zip(good, again, strict=True))


# The table


def small(encoder: DualEncoder) -> FeatureTable:
    views = torch.randn(2, 4, 16), torch.randn(2, 4, 24), torch.rand(2, 4)
    texts = ["a dog", "a cat", "a dog", "a bird"]
    with contextlib.closing(FeatureStore()) as store:
        return table(list("abcd"), views, texts, encode_texts(encoder, texts, store))


def test_equal_captions_have_one_key_and_one_vector(encoder: DualEncoder) -> None:
    made = small(encoder)
    assert made.keys.tolist() == [0, 1, 0, 2]
    assert torch.equal(made.text[0], made.text[2])
    torch.testing.assert_close(made.text, encoder.encode_text(["a dog", "a cat", "a dog", "a bird"]))


def test_a_table_can_be_trained_on(encoder: DualEncoder) -> None:
    """Though its numbers come out of inference mode."""
    batch = small(encoder).batch()
    weight = torch.ones(16, requires_grad=True)
    (batch.extra["text_embedding"] * weight + batch.extra["image_embedding"]).sum().backward()
    assert weight.grad is not None


def test_each_view_is_a_sample_of_the_batch(encoder: DualEncoder) -> None:
    made = small(encoder)
    batch: Batch = made.batch()
    assert batch.ids == ("a#0", "b#0", "c#0", "d#0", "a#1", "b#1", "c#1", "d#1")
    assert torch.equal(batch.extra["image_embedding"][5], made.embedding[1, 1])
    assert torch.equal(batch.extra["image_doubt"][6], made.doubt[1, 2])
    assert torch.equal(batch.extra["text_embedding"][5], made.text[1])
    assert batch.extra["caption_key"].tolist() == [0, 1, 0, 2] * 2


def test_taking_keeps_rows_together(encoder: DualEncoder) -> None:
    made = small(encoder)
    taken = made.take([3, 0])
    assert taken.ids == ("d", "a")
    assert len(taken) == 2
    assert torch.equal(taken.states().features, made.features[0, [3, 0]])
    assert torch.equal(taken.text, made.text[[3, 0]])


def test_the_plain_view_stands_for_the_mirrored_one_where_an_image_must_not_be_mirrored(encoder: DualEncoder) -> None:
    rows = small(encoder)
    kept = rows.without_mirror([1])
    assert torch.equal(kept.embedding[0], rows.embedding[0])
    assert torch.equal(kept.embedding[1, 1], rows.embedding[0, 1])
    assert torch.equal(kept.features[1, 1], rows.features[0, 1])
    others = [i for i in range(len(rows)) if i != 1]
    assert torch.equal(kept.embedding[1, others], rows.embedding[1, others])
    assert not torch.equal(rows.embedding[1, 1], rows.embedding[0, 1])


def test_captions_of_others_come_with_their_keys_and_images_stay(encoder: DualEncoder) -> None:
    made = small(encoder)
    dealt = made.with_text_of([1, 0, 3, 3])
    assert dealt.keys.tolist() == [1, 0, 2, 2]
    assert torch.equal(dealt.text[2], made.text[3])
    assert torch.equal(dealt.embedding, made.embedding)
    assert dealt.ids == made.ids
