"""Fields that frozen parts make: what the part says, made once, with the axes and masks of a field that was read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from deixis import engine, zoo
from deixis.data.loading.sampler import Draw
from deixis.engine.features import columns as module
from deixis.engine.features.columns import PartColumns, WithColumns
from deixis.engine.features.store import FeatureStore
from deixis.engine.training.batching import collate_for
from deixis.errors import DeixisError
from deixis.inputs.images import ImageError
from deixis.inputs.preprocess import Preprocess
from deixis.methods import list_methods, read
from deixis.nn.adaptation.adapters import ImageResidual
from deixis.nn.dual import DualEncoder
from deixis.nn.frozen import freeze
from deixis.types import Batch, FieldSpec, Made, Region, Sample, Source, Tokens
from deixis.types.batch import concatenate
from deixis.types.outputs import RegionProposals
from tests.pictures import captioned


class Regions(NamedTuple):
    boxes: list[Tensor]
    features: list[Tensor]
    classes: list[Tensor]


class Parts(nn.Module):
    """A detector that finds as many regions as an image is bright, and a model that scores pairs."""

    preprocess = Preprocess(size=16)

    def __init__(self, encoder: DualEncoder) -> None:
        super().__init__()
        self.tokenize = encoder.tokenize
        self.called: list[int] = []

    def regions(self, images: Tensor) -> Regions:
        self.called.append(len(images))
        counts = [1 + int(image.mean() > 0) for image in images]
        rows = [image.flatten()[: 5 * n].reshape(n, 5) for image, n in zip(images, counts, strict=True)]
        boxes = [torch.tensor([[0.0, 0.0, 1.0, 1.0]] * n) for n in counts]
        return Regions(boxes, rows, [row.softmax(-1) for row in rows])

    def given(self, images: Tensor, boxes: Tensor, valid: Tensor) -> RegionProposals:
        self.called.append(len(images))
        brightness = images.mean((1, 2, 3))[:, None].expand(len(images), boxes.shape[1])
        return RegionProposals(boxes, valid, brightness, boxes, boxes)

    def scores(self, images: Tensor, tokens: Tokens) -> Tensor:
        self.called.append(len(images))
        return images.mean((1, 2, 3)) * tokens.mask.sum(1)


class Holder(nn.Module):
    """A method, as far as columns see one."""

    def __init__(self, encoder: DualEncoder, parts: Parts) -> None:
        super().__init__()
        self.encoder, self.parts = freeze(encoder), freeze(parts)


@pytest.fixture
def encoder() -> DualEncoder:
    return zoo.load("tiny")


@pytest.fixture
def holder(encoder: DualEncoder) -> Holder:
    return Holder(encoder, Parts(encoder))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    from deixis.apps.common.dataset import read

    return read(str(captioned(tmp_path / "pictures", 6)))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FeatureStore]]:
    stores: list[FeatureStore] = []

    def note() -> FeatureStore:
        stores.append(FeatureStore())
        return stores[-1]

    monkeypatch.setattr(module, "FeatureStore", note)
    yield stores
    for each in stores:
        each.close()


IMAGE = FieldSpec("image_embedding", "B D", made=Made("encoder", "encode_image"))
FEATURES = FieldSpec("image_features", "B F", made=Made("encoder", "image_states", "features"))
TEXT = FieldSpec("text_embedding", "B D", made=Made("encoder", "encode_text", of=("text",)))
TOKENS = FieldSpec("text_states", "B L D", ragged="L", made=Made("encoder", "text_tokens", "states", of=("text",)))
CELLS = FieldSpec("cells", "B N D", made=Made("encoder", "image_tokens", "states"))
BOXES = FieldSpec("boxes", "B T 4", ragged="T", values="boxes", made=Made("parts", "regions", "boxes"))
REGIONS = FieldSpec("region_features", "B T F", ragged="T", made=Made("parts", "regions", "features"))
CLASSES = FieldSpec(
    "region_classes", "B T C", ragged="T", values="distribution", made=Made("parts", "regions", "classes")
)
OWN = FieldSpec(
    "boxes", "B T 4", ragged="T", values="boxes", made=Made("parts", "given", "boxes", of=("image", "boxes"))
)
SCORE = FieldSpec("reference_score", "B", made=Made("parts", "scores", of=("image", "text")))


def words(sample: Sample, draw: Draw | None) -> Batch:
    return Batch((sample.id,), captions=(sample.captions[:1],))


def batch_of(holder: Holder, source: Source, *needs: FieldSpec) -> Batch:
    columns = PartColumns(holder, needs)
    columns.make(source)
    encode = WithColumns(words, columns, needs, source)
    made = concatenate([encode(sample) for sample in source.samples])
    columns.close()
    return made


def pictures(source: Source) -> list[Any]:
    return [sample.picture for sample in source.samples]


def texts(source: Source) -> list[str]:
    return [sample.captions[0] for sample in source.samples]


def test_a_field_is_what_the_part_says_of_each_sample(holder: Holder, source: Source) -> None:
    batch = batch_of(holder, source, IMAGE, FEATURES, TEXT, CELLS)
    encoder = holder.encoder
    images = encoder.read_images(pictures(source))
    with torch.no_grad():
        torch.testing.assert_close(batch.extra["image_embedding"], encoder.encode_image(images))
        torch.testing.assert_close(batch.extra["image_features"], encoder.image_states(images).features)
        torch.testing.assert_close(batch.extra["text_embedding"], encoder.encode_text(texts(source)))
        torch.testing.assert_close(batch.extra["cells"], encoder.image_tokens(images).states)
    assert batch.captions is None, "what only the part reads is not in the batch"
    assert batch.specs == {spec.name: spec for spec in (IMAGE, FEATURES, TEXT, CELLS)}


def test_embeddings_pass_through_the_adapter_that_stands_on_the_part(encoder: DualEncoder, source: Source) -> None:
    adapter = ImageResidual(encoder.feature_width, encoder.width)
    nn.init.normal_(adapter.linear.weight)
    holder = Holder(encoder.with_adapters(adapter, None), Parts(encoder))
    batch = batch_of(holder, source, IMAGE)
    torch.testing.assert_close(batch.extra["image_embedding"], holder.encoder.encode_image(pictures(source)))
    assert not torch.allclose(batch.extra["image_embedding"], encoder.encode_image(pictures(source)))


def test_regions_of_a_detector_are_ragged_fields_and_core_ones_among_them(holder: Holder, source: Source) -> None:
    """As UNITER needs them: boxes, features and class distributions of one pass."""
    batch = batch_of(holder, source, BOXES, REGIONS, CLASSES)
    images = holder.parts.preprocess.read(pictures(source))
    expected = holder.parts.regions(images)
    assert batch.valid["T"].sum(1).tolist() == [len(each) for each in expected.boxes]
    assert len(set(batch.valid["T"].sum(1).tolist())) == 2, "some have one and some two"
    assert batch.boxes is not None
    for i, count in enumerate(batch.valid["T"].sum(1).tolist()):
        torch.testing.assert_close(batch.extra["region_features"][i, :count], expected.features[i])
        torch.testing.assert_close(batch.extra["region_classes"][i, :count], expected.classes[i])
        assert not batch.extra["region_features"][i, count:].any()
    assert holder.parts.called[:-1] == [6], "three fields of one call"


def test_scores_of_a_reference_model_are_made_of_image_and_caption(holder: Holder, source: Source) -> None:
    batch = batch_of(holder, source, SCORE)
    images, tokens = holder.parts.preprocess.read(pictures(source)), holder.encoder.tokenize(texts(source))
    torch.testing.assert_close(batch.extra["reference_score"], holder.parts.scores(images, tokens))


def test_states_of_words_are_those_of_the_real_tokens(holder: Holder, source: Source) -> None:
    batch = batch_of(holder, source, TOKENS)
    for i, text in enumerate(texts(source)):
        with torch.no_grad():
            alone = holder.encoder.text_tokens(holder.encoder.tokenize([text]))
        count = int(alone.mask.sum())
        assert batch.valid["L"][i].sum() == count
        torch.testing.assert_close(batch.extra["text_states"][i, :count], alone.states[0][:count], rtol=1e-4, atol=1e-5)


def test_each_content_is_made_once_and_stays(holder: Holder, source: Source, tmp_path: Path) -> None:
    """Also for a process that was killed and begins again, and for a copy of a picture."""
    first = PartColumns(holder, (REGIONS, SCORE))
    assert first.make(source) == 12
    first.close()
    twin = dataclasses.replace(source.samples[0], id="twin")
    again = PartColumns(holder, (REGIONS, SCORE))
    assert again.make(dataclasses.replace(source, samples=(*source.samples, twin))) == 0
    again.close()
    assert holder.parts.called == [6, 6]


def test_another_part_makes_columns_of_its_own(holder: Holder, source: Source, encoder: DualEncoder) -> None:
    assert batch_of(holder, source, TEXT).extra["text_embedding"].shape == (6, 16)
    with torch.no_grad():
        next(encoder.text_tower.parameters()).add_(1.0)
    columns = PartColumns(holder, (TEXT,))
    assert columns.make(source) == 6
    columns.close()


def test_rows_that_the_bounded_store_has_dropped_are_made_again(
    holder: Holder, source: Source, opened: list[FeatureStore]
) -> None:
    needs = (REGIONS, SCORE, IMAGE)
    columns = PartColumns(holder, needs)
    columns.make(source)
    before = [WithColumns(words, columns, needs, source)(sample) for sample in source.samples]
    opened[0]._database().execute("DELETE FROM rows")
    after = [WithColumns(words, columns, needs, source)(sample) for sample in source.samples]
    for one, other in zip(before, after, strict=True):
        assert all(torch.allclose(value, other.extra[name], atol=1e-6) for name, value in one.extra.items())


def test_every_caption_that_may_be_drawn_is_made_ahead(holder: Holder, source: Source) -> None:
    several = tuple(dataclasses.replace(each, captions=(*each.captions, f"{each.id} again")) for each in source.samples)
    columns = PartColumns(holder, (TEXT,))
    assert columns.make(dataclasses.replace(source, samples=several)) == 12
    columns.close()


def test_a_method_on_frozen_embeddings_is_fed_with_the_caption_that_was_drawn(source: Source) -> None:
    method = engine.build("residual", "tiny")
    several = tuple(dataclasses.replace(each, captions=(*each.captions, "another")) for each in source.samples)
    encode = collate_for(method, dataclasses.replace(source, samples=several))
    rows = [encode(several[0], Draw(0, epoch, several[0].id)) for epoch in range(8)]
    texts = method.encoder.encode_text(list(several[0].captions))
    drawn = {int((row.extra["text_embedding"] @ texts.T).argmax()) for row in rows}
    assert drawn == {0, 1}
    assert set(rows[0].extra) == {"image_embedding", "image_features", "image_doubt", "text_embedding"}


def test_a_picture_that_can_not_be_read_is_left_to_the_loader(holder: Holder, source: Source) -> None:
    pictures(source)[2].write_bytes(b"no picture")
    columns = PartColumns(holder, (REGIONS,))
    assert columns.make(source) == 5
    with pytest.raises(ImageError):
        WithColumns(words, columns, (REGIONS,), source)(source.samples[2])
    columns.close()


def test_a_part_that_trains_makes_no_column(encoder: DualEncoder) -> None:
    holder = nn.Module()
    holder.encoder = encoder
    with pytest.raises(DeixisError, match="'encoder' that computes it is not frozen"):
        PartColumns(holder, (IMAGE,))


@pytest.mark.parametrize(
    ("made", "told"),
    [(Made("sampler", "draw"), "'sampler', which the method does not have"), (Made("parts", "draw"), "has no 'draw'")],
)
def test_a_part_that_can_not_make_a_column_is_named(holder: Holder, made: Made, told: str) -> None:
    with pytest.raises(DeixisError, match=told):
        PartColumns(holder, (FieldSpec("x", "B", made=made),))


def test_words_alone_have_no_image_to_make_a_field_from(holder: Holder, source: Source) -> None:
    bare = dataclasses.replace(source, samples=(dataclasses.replace(source.samples[0], image=None), source.samples[1]))
    with pytest.raises(DeixisError, match=r"1 of 2 samples of .* have no image to make 'image_embedding' from"):
        WithColumns(words, PartColumns(holder, (IMAGE,)), (IMAGE,), bare)


@pytest.mark.parametrize("name", list_methods())
def test_what_a_card_says_is_made_names_a_frozen_part_of_it(name: str) -> None:
    """Or `regions`, a module of the method's own that reads frozen proposals and a frozen tower."""
    frozen = {part.name for part in read(name).card.parts if part.frozen and not part.many}
    frozen |= {"regions"} if "proposals" in frozen else set()
    assert {spec.made.part for spec in read(name).card.needs if spec.made is not None} <= frozen


def test_a_field_is_made_of_the_boxes_of_each_sample_once_for_each_picture_and_boxes(
    holder: Holder, source: Source
) -> None:
    first, second = (0.0, 0.0, 0.5, 1.0), (0.25, 0.25, 1.0, 1.0)
    rows = [(first,), (first, second), (), (first,), (second,), (second, first)]
    samples = tuple(
        dataclasses.replace(sample, regions=tuple(map(Region, boxes)))
        for sample, boxes in zip(source.samples, rows, strict=True)
    )
    again = dataclasses.replace(samples[0], id="again", captions=("the same",))
    other = dataclasses.replace(samples[0], id="other", regions=(Region(second),))
    given = dataclasses.replace(source, samples=(*samples, again, other))
    batch = batch_of(holder, given, OWN)
    assert batch.boxes is not None
    found = [tuple(map(tuple, row[mask].tolist())) for row, mask in zip(batch.boxes, batch.valid["T"], strict=True)]
    assert found == [*rows, (first,), (second,)]
    assert sum(holder.parts.called) == 7
