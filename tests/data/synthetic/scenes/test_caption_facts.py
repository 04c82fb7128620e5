"""How true a caption of a scene is."""

from __future__ import annotations

import pytest

from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.caption_facts import caption_facts, has_looks, invented_at_recall, noun_recall
from deixis.types import Region


def thing(noun: str, colour: str, size: str) -> Region:
    return Region((0.1, 0.1, 0.3, 0.3), noun, attributes={"colour": colour, "size": size})


SCENE = (thing("circle", "red", "small"), thing("circle", "red", "large"), thing("star", "blue", "small"))


@pytest.mark.parametrize(
    ("text", "facts", "invented", "missed"),
    [
        ("Two red circles and a blue star.", 1.0, 0.0, 0.0),
        ("A small red circle, a large red circle and a blue star.", 1.0, 0.0, 0.0),
        ("A red circle and a blue star.", 0.8, 0.0, 0.0),  # one of three things is not spoken of
        ("A blue circle and a blue star.", 2 * 0.5 * (1 / 3) / (0.5 + 1 / 3), 0.0, 0.0),
        ("Three red circles.", 2 / 3, 0.0, 0.5),
        ("Two circles and a star.", 0.0, 0.0, 0.0),  # nouns without looks are neither true nor false
        ("Two red circles, a blue star and a heart.", 1.0, 1 / 3, 0.0),
        ("There is a star. The blue star is at the top. The blue star is left of the red circle.", 0.8, 0.0, 0.0),
        ("", 0.0, 0.0, 1.0),
    ],
)
def test_facts_are_the_f1_of_things_with_their_looks(text: str, facts: float, invented: float, missed: float) -> None:
    assert caption_facts(text, SCENE) == pytest.approx((facts, invented, missed))


def test_long_captions_of_scenes_that_name_all_looks_have_no_false_fact() -> None:
    config = SceneConfig(cast="shapes", unseen="nothing", tinted=1.0, repeats=1, masks=False, phrases=0, questions=0)
    for sample in scenes(0, 12, side=48, config=config).samples:
        assert has_looks(sample.regions)
        text = " ".join(each["text"] for each in sample.extra["sentences"])
        assert caption_facts(text, sample.regions) == (1.0, 0.0, 0.0)


def test_at_equal_recall_who_says_less_does_not_invent_less() -> None:
    short, wordy = "A circle.", "A circle, a heart, a moon and a star."
    assert (noun_recall([short], [SCENE]), noun_recall([wordy], [SCENE])) == (0.5, 1.0)
    assert invented_at_recall([wordy], [SCENE], 1.0) == 0.5
    assert invented_at_recall([wordy], [SCENE], 0.5) == invented_at_recall([short], [SCENE], 0.5) == 0.0
