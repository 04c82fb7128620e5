"""Messy and noisy captions: as often as is said, of some nouns more than of others, and the same each time."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import pytest

from deixis.data.synthetic.scenes import SceneConfig, caption_noise, scenes
from deixis.data.synthetic.scenes.config import COLOURS
from deixis.data.synthetic.scenes.shapes import SHAPES
from deixis.errors import DeixisError
from deixis.types import Region, Sample, Source


def spoken(count: int) -> Source:
    """Captions of one thing each, as scenes have them."""
    nouns, samples = list(SHAPES), []
    for i in range(count):
        noun, colour = nouns[i % len(nouns)], tuple(COLOURS)[i % 7]
        caption = f"A picture of a {colour} {noun} number {i}."
        region = Region((0.0, 0.0, 1.0, 1.0), noun, spans=((13, len(caption) - 1),))
        samples.append(Sample(f"scene {i}", None, (caption,), noun, extra={"noisy": ""}, regions=(region,)))
    return Source("spoken", Path("."), "text", "a list", tuple(samples))


SOURCE = spoken(400)


def test_the_same_seed_gives_the_same_captions_and_another_seed_others() -> None:
    for change in (lambda seed: caption_noise.messy(SOURCE, seed), lambda seed: caption_noise.noisy(SOURCE, seed, 0.4)):
        one, again, other = ([s.captions for s in change(seed).samples] for seed in (1, 1, 2))
        assert one == again != other


def test_pictures_and_labels_stay() -> None:
    for changed in (caption_noise.messy(SOURCE, 0), caption_noise.noisy(SOURCE, 0, 0.5)):
        assert [(s.id, s.image, s.label) for s in changed.samples] == [(s.id, s.image, s.label) for s in SOURCE.samples]


def test_noise_is_as_frequent_as_asked_for_and_uneven_over_nouns() -> None:
    rates = [caption_noise.noise_rate(f"noun {i}", 0.4) for i in range(2000)]
    assert abs(np.mean(rates) - 0.4) < 0.02
    assert min(rates) < 0.02
    assert max(rates) > 0.78
    wrong: dict[str, list[bool]] = collections.defaultdict(list)
    for sample in caption_noise.noisy(spoken(3000), 3, 0.5).samples:
        wrong[sample.label or ""].append(bool(sample.extra["noisy"]))
    assert set(wrong) == set(SHAPES)
    for noun, each in wrong.items():
        assert abs(np.mean(each) - caption_noise.noise_rate(noun, 0.5)) < 0.15


def test_a_noisy_caption_is_anothers_a_piece_of_its_own_or_says_nothing() -> None:
    true = [sample.captions[0] for sample in SOURCE.samples]
    kinds: collections.Counter[str] = collections.Counter()
    for sample, own in zip(caption_noise.noisy(SOURCE, 0, 0.5).samples, true, strict=True):
        [caption], kind = sample.captions, sample.extra["noisy"]
        kinds[kind] += 1
        assert {
            "": caption == own,
            "other": caption in true,
            "fragment": caption in own and len(caption) < len(own),
            "generic": caption in caption_noise.GENERIC,
        }[kind]
        assert bool(kind) != any(region.spans for region in sample.regions), "other words, other places"
    assert min(kinds[kind] for kind in ("other", "fragment", "generic")) > 0.2 * (len(true) - kinds[""])


def test_without_noise_nothing_changes() -> None:
    assert caption_noise.noisy(SOURCE, 0, 0.0) == SOURCE


@pytest.mark.slow
def test_a_noun_is_one_of_several_words_the_first_most_often() -> None:
    words = collections.Counter(
        word for sample in caption_noise.messy(spoken(3000), 0, 0.0).samples for word in sample.captions[0].split()
    )
    counts = [words[word] for word in caption_noise.synonyms("circle")]
    assert all(counts)
    assert counts[0] == max(counts)
    assert 0.3 < counts[0] / sum(counts) < 0.45, "1 of 1 + 1/2 + ... + 1/8"


def test_words_beside_the_point_are_as_many_as_asked_for() -> None:
    without, some = (
        [s.captions[0].split() for s in caption_noise.messy(SOURCE, 0, share).samples] for share in (0.0, 0.4)
    )
    lengths = [sum(map(len, captions)) for captions in (without, some)]
    assert abs(1 - lengths[0] / lengths[1] - 0.4) < 0.04
    kinds = [len({word for caption in captions for word in caption}) for captions in (without, some)]
    assert kinds[1] > kinds[0] + 500, "most of them are rare"


def test_synonyms_are_words_of_their_own() -> None:
    every = [word for noun in SHAPES for word in caption_noise.synonyms(noun)]
    assert len(every) == len(SHAPES) * caption_noise.SYNONYMS
    assert len(set(every)) > 0.98 * len(every)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(DeixisError, match="share"):
        caption_noise.messy(SOURCE, 0, share)
    with pytest.raises(DeixisError, match="share"):
        caption_noise.noisy(SOURCE, 0, share)


def test_scenes_can_be_messy_and_noisy() -> None:
    source = scenes(0, 6, side=48, config=SceneConfig(cast="shapes", masks=False, phrases=0, questions=0))
    changed = caption_noise.messy(caption_noise.noisy(source, 0, 0.5), 0)
    assert [sample.image for sample in changed.samples] == [sample.image for sample in source.samples]
    assert all(a.captions != b.captions for a, b in zip(changed.samples, source.samples, strict=True))
    assert [sample.extra["true_caption"] for sample in changed.samples] == [s.captions[0] for s in source.samples]
