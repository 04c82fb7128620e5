"""A batch holds what was asked for, and where things lie in it is where they are seen."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deixis import zoo
from deixis.data.loading.collate import Collate
from deixis.data.loading.crops import Window, visible_window
from deixis.data.loading.sampler import Draw
from deixis.errors import DeixisError
from deixis.inputs.images import ImageError
from deixis.inputs.masks import encode_mask
from deixis.inputs.preprocess import Mode, Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.types import Augment, Batch, Crop, FieldSpec, Phrase, Region, Sample, SampleSpec, Source, Tokens, ViewSpec
from deixis.types.batch import CORE_FIELDS, concatenate

PREPROCESS = Preprocess(size=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
TOKENIZER = zoo.load("tiny").tokenizer
FLAT = Window(0.0, 0.0, 1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A black image with a white rectangle x0 y0 x1 y1, in pixels."""

    width: int = 60
    height: int = 40
    white: tuple[int, int, int, int] = (10, 10, 30, 30)
    name: str = "a sheet"

    def draw(self) -> Any:
        pixels = np.zeros((self.height, self.width, 3), dtype=np.uint8)
        x0, y0, x1, y1 = self.white
        pixels[y0:y1, x0:x1] = 255
        return pixels

    @property
    def region(self) -> Region:
        pixels = torch.from_numpy(self.draw()[:, :, 0] > 0)
        x0, y0, x1, y1 = self.white
        box = (x0 / self.width, y0 / self.height, x1 / self.width, y1 / self.height)
        return Region(box, "sheet", mask=encode_mask(pixels))


def source(*samples: Sample) -> Source:
    return Source("toy", Path("."), "captions", "list", samples)


def collate(data: Source, *names: str, preprocess: Preprocess = PREPROCESS, **more: Any) -> Collate:
    return Collate(data, [CORE_FIELDS[name] for name in names], preprocess, TOKENIZER, **more)


def batch(data: Source, *names: str, draw: bool = False, **more: Any) -> Batch:
    """All samples of a source as one batch."""
    each = collate(data, *names, **more)
    return concatenate([each(sample, Draw(0, 0, sample.id) if draw else None) for sample in data.samples])


def captioned(*captions: str, name: str = "a", **more: Any) -> Sample:
    return Sample(name, Sheet(), captions, **more)


# What is asked for


def test_a_batch_holds_what_is_asked_for_and_nothing_else() -> None:
    data = source(captioned("a white square", label="square", regions=(Sheet().region,)))
    for names in (("images",), ("tokens",), ("captions", "labels"), ("boxes", "masks"), ()):
        found = batch(data, *names)
        assert {name for name in CORE_FIELDS if getattr(found, name) not in (None, ())} == set(names)
    assert set(batch(data, "tokens", "boxes").valid) == {"L", "T"}


def test_the_view_of_evaluation_is_the_models_own() -> None:
    found = batch(source(captioned("x")), "images").images
    assert found is not None
    torch.testing.assert_close(found, PREPROCESS.read([Sheet()]), rtol=0, atol=0)
    assert batch(source(captioned("x")), "images", view=ViewSpec(size=16)).images.shape == (1, 3, 16, 16)


def test_texts_are_padded_and_what_is_real_is_told_also_of_the_token_zero() -> None:
    class Zeros(Tokenizer):
        """Every word is token 0."""

        def __init__(self) -> None: ...

        def __call__(self, texts: Any, length: int) -> Any:
            lengths = torch.tensor([len(text.split()) for text in texts])
            mask = torch.arange(int(lengths.max())) < lengths[:, None]
            return Tokens(torch.zeros_like(mask, dtype=torch.long), mask)

    data = source(captioned("one two three", "one"), captioned("one two", name="b"))
    each = Collate(data, [CORE_FIELDS["tokens"]], PREPROCESS, Zeros(), sample=SampleSpec(captions=2))
    found = concatenate([each(sample) for sample in data.samples])
    assert found.tokens is not None
    assert found.tokens.shape == (2, 2, 3)
    assert found.valid["L"].sum(dim=-1).tolist() == [[3, 1], [2, 2]], "a lone caption comes twice"


def test_captions_are_drawn_for_training_and_the_first_for_evaluation() -> None:
    data = source(captioned(*"abcde"))
    each = collate(data, "captions", sample=SampleSpec(captions=2))
    assert each(data.samples[0]).captions == (("a", "b"),)
    drawn = [each(data.samples[0], Draw(0, epoch, "a")).captions[0] for epoch in range(200)]
    assert all(len(set(pair)) == 2 for pair in drawn)
    counts = collections.Counter(name for pair in drawn for name in pair)
    assert all(50 < counts[name] < 110 for name in "abcde"), "80 are expected, 7 is the deviation"
    assert each(data.samples[0], Draw(0, 7, "a")).captions[0] == drawn[7]


def test_a_label_stands_for_a_caption_where_there_is_none_and_the_template_around_it() -> None:
    data = source(Sample("a", None, label="cat"), Sample("b", None, label="ant"))
    found = batch(data, "captions", "tokens", "labels", sample=SampleSpec(template="a {}!"))
    assert found.captions == (("cat",), ("ant",))
    assert found.labels.tolist() == [1, 0]
    assert torch.equal(found.tokens[0], TOKENIZER(["a cat!"], 77).ids)


def test_samples_of_one_concept_bear_one_number_and_others_their_own() -> None:
    groups = (("x", "y"), ("x",), (), ())
    data = source(*(Sample(f"{i}", None, groups=keys) for i, keys in enumerate(groups)))
    first, second, third, fourth = batch(data, "groups").groups.tolist()
    assert first == second
    assert len({first, third, fourth}) == 3


def test_further_fields_come_from_the_columns_of_their_name() -> None:
    needs = [FieldSpec("weights", "B D"), FieldSpec("count", "B", "long"), FieldSpec("note", "B", "object")]
    data = source(*(Sample(f"{i}", None, extra={"weights": [1, i], "count": i, "note": f"n{i}"}) for i in range(2)))
    each = Collate(data, needs, PREPROCESS)
    found = concatenate([each(sample) for sample in data.samples])
    assert found.extra["weights"].tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert found.extra["count"].tolist() == [0, 1]
    assert found.extra["note"] == ("n0", "n1")
    wrong = Sample("x", None, extra={"weights": "many", "count": 1, "note": ""})
    with pytest.raises(DeixisError, match="'weights' of the sample 'x' holds 'many'"):
        each(wrong)


# Regions


@pytest.mark.parametrize("mode", ["pad", "crop", "crop_floor", "squash"])
@pytest.mark.parametrize("size", [(60, 40), (40, 61), (50, 50)])
def test_boxes_and_masks_lie_where_the_thing_is_seen(mode: Mode, size: tuple[int, int]) -> None:
    sheet = Sheet(*size, white=(14, 12, 32, 30))
    data = source(Sample("a", sheet, regions=(sheet.region,)))
    preprocess = dataclasses.replace(PREPROCESS, size=64, mode=mode, fill=0, crop_share=0.9)
    _agree(batch(data, "images", "boxes", "masks", preprocess=preprocess))


@settings(max_examples=12)
@given(st.integers(0, 10**6))
def test_boxes_and_masks_follow_a_random_crop_and_its_mirror_image(epoch: int) -> None:
    sheet = Sheet(60, 40, white=(24, 12, 38, 28))
    data = source(Sample("a", sheet, regions=(sheet.region,)))
    each = collate(data, "images", "boxes", "masks", view=ViewSpec(size=64, augment=Augment(scale=(0.5, 1.0))))
    found = each(data.samples[0], Draw(0, epoch, "a"))
    assert found.boxes is not None
    if found.boxes.shape[1]:
        _agree(found)
    else:
        assert found.images.max() < 0.5, "left out is what is not seen"


def _agree(found: Batch) -> None:
    """The white of the image, the mask and the box are one rectangle, to within two pixels."""
    white = found.images[0].mean(dim=0) > 0.5
    assert (white ^ found.masks[0, 0]).float().mean() < 0.06
    rows, columns = (white.any(dim=d).nonzero()[:, 0] for d in (1, 0))
    if len(rows) < 3 or len(columns) < 3:
        return
    edges = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    torch.testing.assert_close(found.boxes[0, 0] * len(white), edges.float(), rtol=0, atol=2.0)


def test_regions_that_are_not_seen_are_left_out_and_others_cut_at_the_edge() -> None:
    window = Window(0.5, 0.0, 1.0, 0.5)
    assert window.box((0.0, 0.0, 0.4, 0.4)) is None
    assert window.box((0.25, 0.25, 0.75, 1.0)) == (0.0, 0.5, 0.5, 1.0)
    assert Window(1.0, 0.0, 0.5, 0.5).box((0.25, 0.25, 0.75, 1.0)) == (0.5, 0.5, 1.0, 1.0)
    assert FLAT.box((0.1, 0.2, 0.3, 0.4)) == (0.1, 0.2, 0.3, 0.4)


def test_samples_with_fewer_regions_are_padded() -> None:
    whole = encode_mask(torch.ones(40, 60, dtype=torch.bool))
    region = Region((0.2, 0.2, 0.8, 0.8), "dog", (Phrase("the left dog"), Phrase("another")), mask=whole)
    plain = dataclasses.replace(region, phrases=(), mask=None)
    data = source(captioned("x", regions=(region, plain)), captioned("y", name="b"))
    found = batch(data, "boxes", "phrases", "masks")
    assert found.boxes.shape == (2, 2, 4)
    assert found.masks.flatten(2).sum(dim=-1).tolist() == [[32 * 32, 0], [0, 0]]
    assert found.valid["T"].tolist() == [[True, True], [False, False]]
    assert found.phrases == (("the left dog", "dog"), ())
    assert not found.boxes[1].any()


def test_spans_point_at_the_tokens_of_the_first_caption_also_inside_a_template() -> None:
    text = "a dog and a cat"
    regions = tuple(Region((0.1, 0.1, 0.9, 0.9), spans=spans) for spans in (((2, 5),), ((12, 15), (6, 9)), ()))
    data = source(captioned(text, "other", "more", regions=regions))
    spec = SampleSpec(captions=2, template="see {} here")
    found = batch(data, "captions", "tokens", "spans", sample=spec, draw=True)
    assert found.captions[0][0] == text
    whole = f"see {text} here"
    expected = TOKENIZER.encode_spans(whole, [(6, 9), (16, 19), (10, 13)], 77)
    assert found.spans.tolist() == [[[list(expected[0]), [0, 0]], [list(e) for e in expected[1:]], [[0, 0], [0, 0]]]]


def test_columns_with_an_entry_a_region_follow_the_crop() -> None:
    """Each region's feature says where its box begins: whatever is seen, they stay together."""
    boxes = [(0.1 * i, 0.1 * i, 0.1 * i + 0.05, 0.1 * i + 0.05) for i in range(10)]
    features = [[box[0], 1.0] for box in boxes]
    regions = tuple(Region(box, f"thing {i}") for i, box in enumerate(boxes))
    data = source(Sample("a", Sheet(), ("x",), regions=regions, extra={"region_features": features, "right": [1] * 10}))
    needs = [CORE_FIELDS["boxes"], FieldSpec("region_features", "B T F", ragged="T"), CORE_FIELDS["phrases"]]
    needs.append(FieldSpec("right", "B T", "bool", ragged="T"))
    view = ViewSpec(size=32, augment=Augment(scale=(0.2, 0.4)))
    for spec in (*needs, CORE_FIELDS["images"]):
        each = Collate(data, [*{need.name: need for need in (*needs, spec)}.values()], PREPROCESS, view=view)
        counts = set()
        for epoch in range(8):
            found = each(data.samples[0], Draw(0, epoch, "a"))
            seen_ones = [int(name.split()[1]) for name in found.phrases[0]]
            assert found.extra["region_features"][0, :, 0].tolist() == pytest.approx([0.1 * i for i in seen_ones])
            assert found.boxes.shape[1] == found.extra["right"].shape[1] == found.valid["T"].shape[1] == len(seen_ones)
            counts.add(len(seen_ones))
        assert len(counts) > 1
        assert max(counts) < 10, "some are not seen"


def test_a_column_with_another_number_of_entries_than_regions_is_refused() -> None:
    regions = (Region((0.1, 0.1, 0.9, 0.9), "dog"),)
    data = source(Sample("a", Sheet(), regions=regions, extra={"region_features": [[1.0], [2.0]]}))
    each = Collate(data, [CORE_FIELDS["boxes"], FieldSpec("region_features", "B T F", ragged="T")], PREPROCESS)
    with pytest.raises(DeixisError, match="'region_features' of the sample 'a' has 2 entries, and there are 1 regions"):
        each(data.samples[0])


# Views


def test_crops_come_in_groups_with_their_places() -> None:
    data = source(captioned("x"))
    view = ViewSpec(size=32, crops=(Crop(2, 24), Crop(3, 16, Augment(scale=(0.05, 0.2)))), boxes=True)
    each = collate(data, "views", "view_boxes", view=view)
    found, again, other = (each(data.samples[0], Draw(0, epoch, "a")) for epoch in (0, 0, 1))
    assert [group.shape for group in found.views] == [(1, 2, 3, 24, 24), (1, 3, 3, 16, 16)]
    assert [group.shape for group in found.view_boxes] == [(1, 2, 4), (1, 3, 4)]
    assert torch.equal(found.view_boxes[1], again.view_boxes[1])
    assert not torch.equal(found.view_boxes[1], other.view_boxes[1])
    area = (found.view_boxes[1][..., 2] - found.view_boxes[1][..., 0]).abs() * (
        found.view_boxes[1][..., 3] - found.view_boxes[1][..., 1]
    )
    assert (area < 0.25).all()


ALWAYS = Augment(scale=(0.5, 1.0), flip=1.0)


def mirrored(*samples: Sample, **of_source: Any) -> tuple[list[bool], Collate]:
    data = dataclasses.replace(source(*samples), **of_source)
    each = collate(data, "images", "view_boxes", view=ViewSpec(size=32, augment=ALWAYS, crops=(Crop(1, 16, ALWAYS),)))
    boxes = [each(sample, Draw(0, 0, sample.id)).view_boxes[0][0, 0] for sample in data.samples]
    return [bool(box[0] > box[2]) for box in boxes], each


def test_an_image_is_not_mirrored_whose_texts_name_a_side() -> None:
    left = Region((0.1, 0.1, 0.4, 0.4), "dog", (Phrase("the dog on the left"),))
    samples = [captioned("a dog"), captioned("a dog", "der linke Hund", name="b")]
    samples += [captioned("a dog", name="c", regions=(left,)), captioned("a bright leftover", name="d")]
    found, each = mirrored(*samples)
    assert found == [True, False, False, True]
    assert each.notes == ("2 of 4 samples are never mirrored: their texts name a side (left, right).",)
    data = source(*samples)
    assert collate(data, "images", view=ViewSpec(size=32, augment=Augment(flip=0.0))).notes == ()
    assert collate(data, "images").notes == ()


def test_images_of_text_are_not_mirrored() -> None:
    found, each = mirrored(captioned("a dog"), shows_text=True)
    assert found == [False]
    assert each.notes == ("No image is mirrored: those of 'toy' show text.",)


COLOURED = Augment(jitter=(0.8, 0.8, 0.8, 0.2), grey=0.3, blur=0.5, solarise=0.3)


def test_colours_of_a_whole_batch_are_those_of_each_sample_alone() -> None:
    samples = [Sample(f"{i}", Sheet(60 + i, 40, (10, 5, 20 + i, 30)), ("x",)) for i in range(6)]
    data = source(*samples)
    view = ViewSpec(size=32, augment=COLOURED, crops=(Crop(2, 24, COLOURED), Crop(1, 16, Augment())))
    each = collate(data, "images", "views", view=view)

    def draws(name: str) -> Draw:
        return Draw(0, 3, name)

    alone = concatenate([each(sample, draws(sample.id)) for sample in samples])
    rows = [each.row(sample, draws(sample.id)) for sample in samples]
    assert rows[0].images.dtype == rows[0].views[0].dtype == torch.uint8
    together = each.finish(concatenate(rows), draws)
    torch.testing.assert_close(together.images, alone.images, rtol=0, atol=1 / 255)
    for ours, theirs in zip(together.views, alone.views, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1 / 255)
    plain = collate(data, "images", view=ViewSpec(size=32, augment=Augment()))
    assert not torch.allclose(concatenate([plain(s, draws(s.id)) for s in samples]).images, alone.images, atol=0.05)


def test_images_that_are_no_squares_show_all_of_an_image_in_another_shape() -> None:
    data = source(Sample("a", Sheet(60, 40, (30, 0, 60, 40)), regions=(Sheet(60, 40, (30, 0, 60, 40)).region,)))
    found = batch(data, "images", "masks", "boxes", view=ViewSpec(size=16, width=64))
    assert found.images.shape == (1, 3, 16, 64)
    assert torch.equal(found.masks[0, 0], torch.arange(64).expand(16, -1) >= 32)
    assert (found.images[0, :, :, 33:].mean(), found.images[0, :, :, :31].mean()) == (
        pytest.approx(1.0),
        pytest.approx(0.0),
    )
    torch.testing.assert_close(found.boxes, torch.tensor([[[0.5, 0.0, 1.0, 1.0]]]))


def test_images_keep_their_shape_and_two_masks_say_what_is_padding() -> None:
    white = [Sample(f"{w} {h}", Sheet(w, h, (0, 0, w, h)), regions=(Sheet(w, h, (0, 0, w, h)).region,))
             for w, h in ((60, 40), (40, 60), (200, 20))]  # fmt: skip
    data = source(*white)
    preprocess = dataclasses.replace(PREPROCESS, mean=(0.5,) * 3, std=(0.5,) * 3)
    view = ViewSpec(size=20, longest=50, augment=Augment(scale=(1.0, 1.0), shape="image", grey=0.5))
    each = collate(data, "images", "masks", preprocess=preprocess, view=view)
    for draw in (False, True):
        rows = [each.row(sample, Draw(0, 0, sample.id) if draw else None) for sample in white]
        found = each.finish(concatenate(rows), (lambda name: Draw(0, 0, name)) if draw else None)
        assert found.images.shape == (3, 3, 30, 50)
        assert found.valid["H"].sum(1).tolist() == [20, 30, 5]
        assert found.valid["W"].sum(1).tolist() == [30, 20, 50]
        real = found.valid["H"][:, :, None] & found.valid["W"][:, None, :]
        assert torch.equal(found.masks[:, 0], real)
        white_ones = real[:, None].expand_as(found.images).float()  # grey is rounded down to 254
        torch.testing.assert_close(found.images, white_ones, rtol=0, atol=0.01)
    with pytest.raises(DeixisError, match="width 8 and keeps the shape"):
        collate(data, "images", view=ViewSpec(width=8, longest=8))


def test_several_fields_of_tokens_have_tokenizers_lengths_and_texts_of_their_own() -> None:
    data = source(
        captioned("a dog", "a cat", extra={"long": ["a dog that runs on a beach", "a cat that sleeps"]}),
        captioned("a hen", name="b", extra={"long": "a hen"}),
    )
    needs = [CORE_FIELDS["tokens"], FieldSpec("same", "B K M", "long", ragged="M")]
    needs.append(FieldSpec("long_tokens", "B K G", "long", ragged="G"))
    readers = [(SampleSpec(field="same", length=3), TOKENIZER)]
    readers += [(SampleSpec(field="long_tokens", column="long", length=40, captions=2), TOKENIZER)]
    each = Collate(data, needs, PREPROCESS, TOKENIZER, readers=readers)
    draws = {epoch: [each(sample, Draw(0, epoch, sample.id)) for sample in data.samples] for epoch in range(8)}
    for rows in draws.values():
        assert torch.equal(rows[0].tokens[:, :, :2], rows[0].extra["same"][:, :, :2]), "the same caption"
        found = concatenate(rows)
        assert found.extra["same"].shape == (2, 1, 3)
        assert found.extra["long_tokens"].shape[:2] == (2, 2)
        longest = max(map(int, found.valid["G"].flatten(0, 1).sum(1)))
        assert longest == len(TOKENIZER(["a dog that runs on a beach"], 40).ids[0])
        assert not found.extra["long_tokens"][~found.valid["G"]].any()
    assert len({tuple(rows[0].tokens.flatten().tolist()) for rows in draws.values()}) == 2
    with pytest.raises(DeixisError, match="lack the data for 'long_tokens': a"):
        Collate(source(captioned("a dog")), needs, PREPROCESS, TOKENIZER, readers=readers)


def test_what_a_model_sees_of_an_image_that_is_far_too_long() -> None:
    pad = visible_window(dataclasses.replace(PREPROCESS, mode="pad"), 100, 50)
    assert pad == (0.0, -0.5, 1.0, 1.5)
    crop = visible_window(PREPROCESS, 64, 32)
    assert crop == (0.25, 0.0, 0.75, 1.0)


# What can't be made


def test_an_image_that_cannot_be_read_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no image")
    data = source(Sample("x", tmp_path / "x.png", ("y",)))
    with pytest.raises(ImageError):
        batch(data, "images")


@pytest.mark.parametrize("name", ["images", "captions", "tokens", "labels", "boxes", "masks", "spans", "phrases"])
def test_samples_that_lack_what_is_asked_for_are_named_at_the_start(name: str) -> None:
    data = source(Sample("bare 1", None), Sample("bare 2", None))
    with pytest.raises(DeixisError, match=rf"2 of 2 samples of 'toy' lack the data for '{name}': bare 1, bare 2"):
        collate(data, name)


def test_tokens_without_a_tokenizer_are_refused() -> None:
    with pytest.raises(DeixisError, match="no tokenizer"):
        Collate(source(captioned("x")), [CORE_FIELDS["tokens"]], PREPROCESS)


def test_of_sentences_none_is_drawn_twice_and_what_is_missing_is_padding_as_a_whole() -> None:
    long = "A dog. It is 1.5 m long.</s>A dog.\nGrass"
    data = source(Sample("a", None, ("Spot", long)), Sample("b", None, ("...",)), Sample("c", None, ("One.", "Two.")))
    made = collate(data, "captions", "tokens", sample=SampleSpec(captions=4, sentences=True))
    drawn = {made(data.samples[0], Draw(0, epoch, "a")).captions[0] for epoch in range(30)}  # type: ignore[index]
    assert all(len(set(each)) == 4 for each in drawn)
    assert {text for each in drawn for text in each} == {"Spot", "A dog.", "It is 1.5 m long.", "Grass"}
    few = made(data.samples[2])
    assert few.captions == (("One.", "Two.", "", ""),)
    assert few.valid["L"].any(2).tolist() == [[True, True, False, False]]
    assert few.tokens is not None
    assert not few.tokens[0, 2:].any(), "not even the marks of an empty text"
    assert made(data.samples[1]).captions == (("...", "", "", ""),), "a text without a sentence stands for itself"
    first = collate(data, "captions", "tokens", sample=SampleSpec(captions=2, sentences=True, keep_first=True))
    pairs = [first(data.samples[0], Draw(0, epoch, "a")).captions[0] for epoch in range(10)]  # type: ignore[index]
    assert {pair[0] for pair in pairs} == {"Spot"}
    assert len({pair[1] for pair in pairs}) > 1


def test_of_500_sentences_as_many_are_drawn_as_are_requested_and_all_come_in_time() -> None:
    long = " ".join(f"Sentence {number}." for number in range(500))
    data = source(Sample("a", None, (long,)))
    made = collate(data, "captions", sample=SampleSpec(captions=50, sentences=True))
    epochs = [made(data.samples[0], Draw(0, epoch, "a")).captions[0] for epoch in range(100)]  # type: ignore[index]
    assert all(len(set(each)) == 50 for each in epochs)
    assert len({text for each in epochs for text in each}) > 490


def test_targets_are_the_boxes_of_the_regions_where_no_others_are_given() -> None:
    box, other = (0.0, 0.0, 0.5, 0.5), (0.25, 0.5, 1.0, 1.0)
    plain = Sample("plain", None, regions=(Region(box), Region(other)))
    given = Sample("given", None, regions=(Region(box), Region(other)), extra={"targets": (other,)})
    needs = (FieldSpec("targets", "B Q 4", ragged="Q", values="boxes"),)
    source = Source("by hand", Path(), "captions", "by hand", (plain, given))
    encode = Collate(source, needs, Preprocess(size=8))
    batch = concatenate([encode(plain), encode(given)])
    assert batch.extra["targets"].tolist() == [[list(box), list(other)], [list(other), [0.0] * 4]]
    assert batch.valid["Q"].tolist() == [[True, True], [True, False]]
    with pytest.raises(DeixisError, match="lack the data for 'targets'"):
        Collate(dataclasses.replace(source, samples=(Sample("none", None),)), needs, Preprocess(size=8))
