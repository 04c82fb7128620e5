"""Triplets are a picture and two different variants, the same on every call; votes come from a csv or a task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deixis.data.loading.collate import Collate
from deixis.data.readers.sources import read
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.triplets import KINDS, VariantDrawing, triplets, with_votes
from deixis.engine.claims.tasks import votes as task
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.types import FieldSpec, Source

NEEDS = (FieldSpec("triplets", "B 3 3 H W"), FieldSpec("votes", "B"))


@pytest.fixture(scope="module")
def made() -> Source:
    return triplets(scenes(0, 6, side=48, config=SceneConfig(cast="shapes", phrases=0, questions=0)), 3, 20)


def pixels(picture: VariantDrawing) -> np.ndarray:
    return picture.draw().astype(int)


def test_variants_differ_from_the_reference_and_from_each_other_and_are_always_the_same(made: Source) -> None:
    assert {kind for sample in made.samples for kind, _ in sample.extra["variants"]} == set(KINDS)
    for sample in made.samples:
        reference, left, right = sample.extra["triplets"]
        assert left.kind != right.kind
        assert np.array_equal(left.draw(), left.draw())
        assert (pixels(left) != reference.draw()).any()
        assert pixels(left).shape == reference.draw().shape
    again = triplets(scenes(0, 6, side=48, config=SceneConfig(cast="shapes", phrases=0, questions=0)), 3, 5)
    assert [each.extra["variants"] for each in again.samples] == [each.extra["variants"] for each in made.samples[:5]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_variant_differs_the_more_the_larger_its_amount(kind: str, made: Source) -> None:
    picture, other = made.samples[0].extra["triplets"][0], made.samples[1].extra["triplets"][0]
    weak, strong = (VariantDrawing("", picture, other, kind, amount, 7) for amount in (0.1, 1.0))
    base = picture.draw().astype(int)
    assert abs(pixels(weak) - base).mean() < abs(pixels(strong) - base).mean()


def test_a_batch_of_triplets_holds_three_pictures_a_sample_and_its_vote(made: Source) -> None:
    voted = with_votes(made, [1.0, None, 0.0, *[None] * 17])
    assert [sample.extra["votes"] for sample in voted.samples] == [1.0, 0.0]
    preprocess = Preprocess(32, mode="squash", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    batch = Collate(voted, NEEDS, preprocess)(voted.samples[0])
    assert batch.extra["triplets"].shape == (1, 3, 3, 32, 32)
    assert batch.extra["votes"].tolist() == [1.0]
    expected = preprocess.read([voted.samples[0].extra["triplets"][2]])
    torch.testing.assert_close(batch.extra["triplets"][0, 2], expected[0])


def write(folder: Path, *rows: str, header: str = "reference,left,right,vote") -> Path:
    for name in "abc":
        Image.new("RGB", (9, 9), (ord(name), 40, 90)).save(folder / f"{name}.png")
    (folder / "votes.csv").write_text("\n".join((header, *rows)) + "\n")
    return folder / "votes.csv"


def test_a_csv_of_votes_is_read_and_rows_without_a_vote_are_left_out(tmp_path: Path) -> None:
    rows = (
        "a.png,b.png,c.png,left",
        "a.png,c.png,b.png,0.75",
        "b.png,a.png,c.png,",
        "b.png,a.png,c.png,7",
        "b,a.png,c.png,1",
    )
    source = read(write(tmp_path, *rows), max_skipped=1.0)
    assert [sample.extra["votes"] for sample in source.samples] == [0.0, 0.75]
    assert [Path(each).name for each in source.samples[1].extra["triplets"]] == ["a.png", "c.png", "b.png"]
    assert source.samples[0].groups == source.samples[1].groups, "of one reference"
    assert [each.reason for each in source.skipped] == ["vote is no share", "file not found"]
    assert "1 of 5 triplets have no vote, and are left out." in source.notes
    with pytest.raises(DeixisError, match="No row of"):
        read(write(tmp_path, "a.png,b.png,c.png,"))


def test_votes_all_one_way_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=r"All 2 votes of .* are for the right"):
        read(write(tmp_path, "a.png,b.png,c.png,1", "b.png,a.png,c.png,right"))
    with pytest.raises(DeixisError, match="no column 'vote'"):
        read(write(tmp_path, "a.png,b.png,c.png", header="reference,left,right"))
    with pytest.raises(DeixisError, match="no column 'right'"):
        read(write(tmp_path, "a.png,b.png,1", header="reference,left,vote"))


def test_proxy_votes_are_of_one_mind_mirrored_and_shuffled_ones_are_the_same_dealt_out(made: Source) -> None:
    said = task.proxy_votes(made, "tiny")
    assert len(said) == 20
    assert set(said) <= {0.0, 1.0, None}
    assert {0.0, 1.0} <= set(said)
    voted = with_votes(made, said)
    dealt = task.shuffled(voted, 1)
    assert [sample.id for sample in dealt.samples] == [sample.id for sample in voted.samples]
    assert sorted(sample.extra["votes"] for sample in dealt.samples) == sorted(s.extra["votes"] for s in voted.samples)
