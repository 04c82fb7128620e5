"""Sentences of a picture are merged where none of their boxes compete; phrases and questions become captions."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from deixis.data.grounding import merge_sentences, referring, with_questions
from deixis.errors import DeixisError
from deixis.ops.regions.boxes import pairwise_giou
from deixis.types import Phrase, Question, Region, Sample, Source


def source(*samples: Sample) -> Source:
    return Source("by hand", Path(), "captions", "by hand", samples)


def said(number: int, text: str, *boxes: tuple[float, ...], picture: str = "one.png") -> Sample:
    regions = tuple(Region(box, spans=((0, 5),)) for box in boxes)  # type: ignore[arg-type]
    return Sample(str(number), Path(picture), (text,), regions=regions)


def random_sentences(count: int) -> list[Sample]:
    rng = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, 2, 2, generator=rng).sort(dim=2).values.flatten(2).tolist()
    return [said(n, f"thing {n:02d} and more", *map(tuple, corners[n])) for n in range(count)]


def test_merged_sentences_never_compete_and_each_is_said_once() -> None:
    samples = random_sentences(40)
    found = merge_sentences(source(*samples), longest=90).samples
    assert len(found) < 20
    assert sorted(". ".join(each.captions[0] for each in found).split(". ")) == [each.captions[0] for each in samples]
    for merged in found:
        assert len(merged.captions[0]) <= 90
        words = [merged.captions[0][slice(*span)] for region in merged.regions for span in region.spans]
        assert words == ["thing"] * len(merged.regions), "spans follow their words"
        for one, other in itertools.combinations(merged.regions, 2):
            apart = samples[[r.box for s in samples for r in s.regions].index(one.box) // 2]
            if other.box not in [region.box for region in apart.regions]:
                assert float(pairwise_giou(torch.tensor([one.box]), torch.tensor([other.box]))) <= 0.5


def test_colours_are_at_most_one_more_than_the_conflicts_of_any_sentence() -> None:
    samples = random_sentences(30)
    boxes = torch.tensor([[region.box for region in sample.regions] for sample in samples])
    close = (pairwise_giou(boxes.flatten(0, 1), boxes.flatten(0, 1)) > 0.5).view(30, 2, 30, 2).any(3).any(1)
    most = int(close.fill_diagonal_(False).sum(1).max())
    assert len(merge_sentences(source(*samples), longest=10_000).samples) <= most + 1


def test_other_pictures_are_never_merged_and_a_long_sentence_stays_alone() -> None:
    box = (0.0, 0.0, 0.2, 0.2)
    samples = (said(0, "short one", box), said(1, "another", box, picture="two.png"), said(2, "long " * 60))
    assert [each.captions[0] for each in merge_sentences(source(*samples)).samples] == [
        "short one", "long " * 60, "another"
    ]  # fmt: skip


BIRD = Region((0.0, 0.0, 0.4, 0.4), "bird", (Phrase("the red bird left of the dog", (1,)), Phrase("it")))
DOG = Region((0.5, 0.5, 0.9, 0.9), "dog", attributes={"families": []})
OTHER = Region((0.5, 0.0, 0.9, 0.4), "bird")


def test_an_expression_becomes_the_caption_of_a_sample_whose_noun_or_whole_means_its_box() -> None:
    sample = Sample("s", Path("one.png"), ("a bird and a dog",), regions=(BIRD, DOG, OTHER))
    first, second = referring(source(sample)).samples
    assert (first.captions, first.regions[0].box, first.extra["rivals"]) == ((BIRD.phrases[0].text,), BIRD.box, 1)
    assert first.captions[0][slice(*first.regions[0].spans[0])] == "bird"
    assert second.regions[0].spans == ((0, 2),), "a phrase without the noun means the box as a whole"
    [whole, _] = referring(source(sample), align="phrase").samples
    assert whole.regions[0].spans == ((0, len(BIRD.phrases[0].text)),)
    among, _ = referring(source(sample), among="all").samples
    assert [region.box for region in among.regions] == [BIRD.box, DOG.box, OTHER.box]
    assert among.extra["targets"] == (BIRD.box,)
    assert [bool(region.spans) for region in among.regions] == [True, False, False]
    with pytest.raises(DeixisError, match="No region of 'by hand' has a phrase"):
        referring(source(said(0, "nothing refers")))


def test_questions_become_captions_with_numbers_of_their_kind_and_answer() -> None:
    questions = (Question("Is it red?", "yes", "yes/no"), Question("Why?", "so", "why"), Question("How?", "9", "count"))
    sample = Sample("s", Path("one.png"), ("a bird",), regions=(BIRD,), questions=questions)
    found = with_questions(source(sample), (("count", ("1", "2")), ("yes/no", ("no", "yes")))).samples
    assert [(s.captions[0], s.extra["question_kind"], s.extra["question_answer"]) for s in found] == [
        ("a bird", -1, -1),
        ("Is it red?", 1, 1),
    ]
    assert found[1].regions == ()
