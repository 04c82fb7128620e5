"""Scenes: the same each time, and what is said of them holds, told by rules of their own."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw, ImageStat

from deixis.data import catalogue
from deixis.data.synthetic.scenes import Cutout, SceneConfig, scenes
from deixis.data.synthetic.scenes.config import COLOURS, SIZES
from deixis.data.synthetic.scenes.cutouts import pixels
from deixis.data.synthetic.scenes.drawing import Scene, tint
from deixis.data.synthetic.scenes.wording import NUMBERS, plural
from deixis.errors import DeixisError
from deixis.inputs.images import load_image, picture_hash
from deixis.inputs.masks import decode_mask
from deixis.types import Drawing, Sample
from tests.documents import PROJECT
from tests.referring import SPOKEN, centre, lies, looking, meant

SHAPES = SceneConfig(cast="shapes")


def of_shapes(count: int = 60, side: int = 64, seed: int = 0, split: str = "train", **changes: object) -> list[Sample]:
    config = dataclasses.replace(SHAPES, **changes)  # type: ignore[arg-type]
    return list(scenes(seed, count, split=split, side=side, config=config).samples)


def bare(count: int, split: str = "train", seed: int = 0, **changes: object) -> list[Sample]:
    """Scenes with as little said of them as can be, quickly."""
    return of_shapes(count, 48, seed, split, **{"masks": False, "phrases": 0, "questions": 0, **changes})


def drawn(sample: Sample) -> Scene:
    assert isinstance(sample.image, Scene)
    return sample.image


@pytest.fixture
def cast(tmp_path: Path) -> tuple[Cutout, ...]:
    """Two cut-outs of each of three nouns, drawn with soft edges."""
    made = []
    for noun, corners in (("kite", 4), ("gem", 6), ("axe", 3)):
        for variant in (0, 1):
            path = tmp_path / f"{noun}{variant}.png"
            image = Image.new("RGBA", (40, 30))
            ImageDraw.Draw(image).regular_polygon((20, 15, 13), corners, 20 * variant, (90, 160, 200, 255))
            image.resize((44, 33), Image.Resampling.BICUBIC).save(path)
            made.append(Cutout(path.name, noun, path, "drawing", (f"noun:{noun}",)))
    return tuple(made)


# --- the same each time -----------------------------------------------------------------------------------------------


def test_a_scene_hangs_on_seed_and_index_alone() -> None:
    few, many = of_shapes(3), of_shapes(5)
    assert few == many[:3]
    backwards = [picture_hash(drawn(sample)) for sample in reversed(many)]
    assert [picture_hash(drawn(sample)) for sample in many] == backwards[::-1]
    assert len(set(backwards)) == 5
    assert of_shapes(3, seed=1)[0] != few[0]


def test_a_scene_is_a_drawing_that_travels() -> None:
    sample = of_shapes(1)[0]
    again = pickle.loads(pickle.dumps(sample))
    assert again == sample
    assert isinstance(again.image, Drawing)
    assert np.array_equal(again.image.draw(), drawn(sample).draw())
    assert load_image(again.image).shape == (3, 64, 64)


@pytest.mark.slow
def test_another_process_draws_the_same_pixels() -> None:
    code = (
        "import hashlib; from deixis.data.synthetic.scenes import SceneConfig, scenes\n"
        "source = scenes(4, 5, config=SceneConfig(cast='shapes'))\n"
        "print([hashlib.sha256(sample.image.draw()).hexdigest() for sample in source.samples])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = [hashlib.sha256(drawn(sample).draw()).hexdigest() for sample in of_shapes(5, side=224, seed=4)]
    assert done.stdout.strip() == str(here)


def test_words_and_other_settings_leave_the_picture_as_it_is() -> None:
    plain = [sample.image for sample in of_shapes(5)]
    assert plain == [sample.image for sample in of_shapes(5, noise=1.0, invented=1.0, phrases=0, questions=0, named=1)]
    tied = of_shapes(5, rho=1.0)
    assert [drawn(sample).items for sample in tied] == [image.items for image in plain if isinstance(image, Scene)]


# --- pixels -----------------------------------------------------------------------------------------------------------


def masks_of(sample: Sample) -> list[np.ndarray]:
    return [decode_mask(region.mask).numpy() for region in sample.regions if region.mask]


def test_boxes_and_masks_are_those_of_the_visible_pixels(cast: tuple[Cutout, ...]) -> None:
    for sample in scenes(0, 20, side=64, split="train", config=SceneConfig(cast=cast, overlap=0.5)).samples:
        masks = masks_of(sample)
        assert sum(masks).max() == 1, "a pixel belongs to one thing"
        for region, mask in zip(sample.regions, masks, strict=True):
            rows, columns = np.nonzero(mask)
            tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert region.box == pytest.approx([edge / 64 for edge in tight])


def test_what_covers_a_thing_is_known_and_bounded() -> None:
    hidden = 0
    for sample in of_shapes(20, overlap=0.3, objects=(4, 6)):
        items = drawn(sample).items
        for region, mask in zip(sample.regions, masks_of(sample), strict=True):
            own = items[region.attributes["layer"]].solid().sum()
            assert region.attributes["visible"] == pytest.approx(mask.sum() / own)
            assert region.attributes["visible"] >= 0.7
            hidden += region.attributes["visible"] < 1
            x0, y0, x1, y1 = region.attributes["extent"]
            assert x0 <= region.box[0] < region.box[2] <= x1
            assert y0 <= region.box[1] < region.box[3] <= y1
    assert hidden > 5
    apart = bare(20, overlap=0.0)
    assert {region.attributes["visible"] for sample in apart for region in sample.regions} == {1.0}


def test_beside_the_things_the_background_is_untouched() -> None:
    for sample in of_shapes(10):
        scene = drawn(sample)
        touched = np.zeros((64, 64), bool)
        for item in scene.items:
            alpha = pixels(item.picture, item.size, item.flip)[..., 3]
            touched[item.y : item.y + item.size[1], item.x : item.x + item.size[0]] |= alpha > 0
        assert np.array_equal(scene.draw()[~touched], scene.ground.draw(64)[~touched])
        assert (scene.draw() != scene.ground.draw(64)).any(-1)[touched].mean() > 0.8


def test_a_tint_is_nearest_to_the_colour_that_it_is_called() -> None:
    names = [name for name in COLOURS if name != "grey"]
    for sample in of_shapes(10, tinted=1.0):
        for region in sample.regions:
            item = drawn(sample).items[region.attributes["layer"]]
            cut = pixels(item.picture, item.size, item.flip)
            middle = tint(cut, item.colour)[cut[..., 3] > 200].mean(0)
            if region.attributes["colour"] == "grey":
                assert np.ptp(middle) < 2
            else:
                spread = {name: direction(middle) @ direction(COLOURS[name]) for name in names}
                assert max(spread, key=spread.__getitem__) == region.attributes["colour"]


def direction(colour: Sequence[float]) -> np.ndarray:
    chroma = np.asarray(colour, float) - np.mean(colour)
    return chroma / np.linalg.norm(chroma)


def test_sizes_are_by_rule_and_nothing_lies_between() -> None:
    for sample in of_shapes(30, side=128):
        for region in sample.regions:
            low, high = SIZES[region.attributes["size"]]
            x0, y0, x1, y1 = region.attributes["extent"]
            assert low - 0.03 <= max(x1 - x0, y1 - y0) <= high + 0.02


@pytest.mark.parametrize("background", ["plain white", "gradient blue", "noise grey", "stripes pink", "dots yellow"])
def test_backgrounds_are_what_they_are_called(background: str) -> None:
    sample, other = of_shapes(2, backgrounds=(background,))
    assert sample.extra["background"] == background
    ground = drawn(sample).ground.draw(64)
    assert (ground.std(axis=(0, 1)).max() == 0) == (background == "plain white")
    assert not np.array_equal(ground, drawn(other).ground.draw(64))


@pytest.mark.slow
def test_photographs_may_be_backgrounds_each_in_one_split(fetched: Callable[[str], Path]) -> None:
    fetched("photos")
    parts = [
        {drawn(sample).ground.photo for sample in bare(60, split, backgrounds=("photo", "plain white"))}
        for split in ("train", "val", "test")
    ]
    assert all(len(part) > 2 and None in part for part in parts)
    assert sum(len(part - {None}) for part in parts) == len(set().union(*parts) - {None})
    sample = next(sample for sample in bare(9, backgrounds=("photo",)))
    assert drawn(sample).draw().shape == (48, 48, 3)


# --- expressions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tinted", [0.0, 1.0])
def test_every_expression_is_true_of_its_thing_and_of_no_other(tinted: float) -> None:
    families: collections.Counter[str] = collections.Counter()
    for sample in of_shapes(40, tinted=tinted, objects=(2, 6), masks=False, questions=0):
        for number, region in enumerate(sample.regions):
            assert len(region.phrases) == len(region.attributes["families"]) <= 3
            assert len({phrase.text for phrase in region.phrases}) == len(region.phrases)
            for phrase, family in zip(region.phrases, region.attributes["families"], strict=True):
                assert meant(sample.regions, phrase.text) == {number}, phrase.text
                assert (family == "relation") == bool(phrase.relates)
                families[family] += 1
    assert min(families[family] for family in ("unary", "comparison", "relation")) > 25


def test_a_relation_names_its_anchor_and_mostly_matters() -> None:
    matters = total = 0
    for sample in of_shapes(40, objects=(3, 6), masks=False, questions=0):
        for region in sample.regions:
            for phrase in region.phrases:
                if phrase.relates and sum(other.category == region.category for other in sample.regions) > 1:
                    [anchor] = phrase.relates
                    assert sample.regions[anchor].category in phrase.text
                    first = re.split("|".join(f" {spoken} " for spoken in SPOKEN), phrase.text)[0]
                    matters += len(looking(sample.regions, first)) > 1
                    total += 1
    assert matters > 0.6 * total > 15


def test_things_that_look_alike_get_no_expression_that_fits_both(cast: tuple[Cutout, ...]) -> None:
    config = SceneConfig(cast=cast, nouns=("kite",), objects=(3, 3), tinted=0.0)
    for sample in scenes(0, 30, side=64, config=config).samples:
        alone = len(sample.regions) == 1
        assert all(alone or phrase.text != "the kite" for region in sample.regions for phrase in region.phrases)


# --- captions ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_spans_of_the_caption_speak_of_their_thing() -> None:
    for sample in of_shapes(60):
        [caption] = sample.captions
        told = collections.Counter(span for region in sample.regions for span in region.spans)
        for region in sample.regions:
            for start, end in region.spans:
                words = caption[start:end].casefold()
                number, noun = words.split()[0], words.split()[-1]
                count = told[start, end]
                assert noun == (plural(region.category) if count > 1 else region.category)
                assert number in (("a", "an") if count == 1 else (NUMBERS[count],))
                colours = set(words.split()) & set(COLOURS)
                assert colours <= {region.attributes["colour"]}


def test_a_caption_counts_all_of_a_noun_or_does_not_name_it() -> None:
    for sample in of_shapes(60, named=2):
        named = collections.Counter(region.category for region in sample.regions if region.spans)
        there = collections.Counter(region.category for region in sample.regions)
        assert 1 <= len(named) <= 2
        assert all(there[noun] == count for noun, count in named.items())


def test_captions_begin_with_a_capital_and_end_with_a_stop() -> None:
    for sample in of_shapes(40):
        assert re.fullmatch(r"[A-Z][a-z ,\-]+\.", sample.captions[0]), sample.captions[0]
        assert not re.search(r"\ba [aeio]|\ban [^aeiou]|  ", sample.captions[0].casefold())


@pytest.mark.slow
def test_the_long_caption_tells_what_each_sentence_names() -> None:
    for sample in of_shapes(20, invented=0.5):
        whole: set[int] = set()
        for sentence in sample.extra["sentences"]:
            nouns = {sample.regions[i].category for i in sentence["regions"]}
            assert all(noun in sentence["text"] or plural(noun) in sentence["text"] for noun in nouns)
            whole |= set(sentence["regions"])
            if not sentence["true"]:
                assert not any(re.search(rf"\b{region.category}\b", sentence["text"]) for region in sample.regions)
        assert whole == set(range(len(sample.regions)))
    told = [sentence["true"] for sample in bare(60, invented=0.5) for sentence in sample.extra["sentences"]]
    assert told.count(False) / told.count(True) == pytest.approx(0.5, abs=0.12)
    assert all(s["true"] for sample in of_shapes(20) for s in sample.extra["sentences"])


def test_sentences_that_are_true_hold_and_the_others_do_not() -> None:
    forms: collections.Counter[str] = collections.Counter()
    for sample in of_shapes(40, invented=0.3, masks=False, phrases=0, questions=0):
        for sentence in sample.extra["sentences"]:
            form, holds = judged(sample, sentence["text"], sentence["regions"])
            assert holds == sentence["true"], sentence["text"]
            forms[form] += 1
    assert min(forms[form] for form in ("list", "thing", "one of", "relation", "background", "invented")) > 5


def judged(sample: Sample, text: str, things: Sequence[int]) -> tuple[str, bool]:
    """Which form a sentence has, and whether it is so, by rules of its own."""
    regions = sample.regions
    if match := re.fullmatch(r"(?:They are|It is) on an? (.+)\.", text):
        return "background", str(sample.extra["background"]).split()[1] in match[1]
    if match := re.fullmatch(r"There is an? ((?:small|medium-sized|large) \w+) (?:on|at) the \w+\.", text):
        return "invented", bool(looking(regions, f"the {match[1]}"))
    if match := re.fullmatch(r"There (?:is|are) (.+)\.", text):
        said = collections.Counter(re.split(r", | and ", match[1]))
        there = collections.Counter(region.category for region in regions)
        words = (f"{NUMBERS[n]} {plural(noun)}" if n > 1 else noun for noun, n in there.items())
        return "list", {re.sub("^an? ", "", each) for each in said} == set(words)
    if match := re.fullmatch(rf"The (.+) is ({'|'.join(SPOKEN)}) the (.+)\.", text):
        one, other = things
        named = looking(regions, f"the {match[1]}") == {one} and looking(regions, f"the {match[3]}") == {other}
        return "relation", named and lies(regions, one, match[2], other)
    [thing] = things
    region = regions[thing]
    place = re.search(r"(?:on the|at the|in the) (.+)\.", text)
    assert place, text
    right_place = place[1].replace("middle", "centre") == region.attributes["position"]
    told = set(text.replace(",", "").split()) & {*COLOURS, "small", "medium-sized", "large"}
    looks = {region.attributes["size"].replace("medium", "medium-sized"), region.attributes["colour"]} - {""}
    form = "one of" if text.startswith("One of") else "thing"
    noun = plural(region.category) if form == "one of" else region.category
    return form, right_place and told == looks and f" {noun} " in text


def test_a_swapped_caption_has_the_same_words_and_is_wrong() -> None:
    swapped = 0
    for sample in of_shapes(60, tinted=1.0, masks=False, phrases=0, questions=0):
        wrong, [right] = sample.extra["swapped"], sample.captions
        if wrong:
            swapped += 1
            assert bag(wrong) == bag(right)
            assert looks(wrong) != looks(right)
            assert not re.search(r"\ba [aeio]|\ban [^aeiou]|  ", wrong.casefold())
    assert swapped > 15


def bag(caption: str) -> collections.Counter[str]:
    return collections.Counter(word for word in re.findall(r"[a-z-]+", caption.casefold()) if word not in ("a", "an"))


def looks(caption: str) -> collections.Counter[str]:
    """Each number, size, colour and noun that are said together."""
    said = rf"(?:an?|{'|'.join(NUMBERS)}) (?:small |medium-sized |large )?(?:{'|'.join(COLOURS)}) [a-z]+"
    return collections.Counter(re.sub(r"^an ", "a ", each) for each in re.findall(said, caption.casefold()))


@pytest.mark.slow
def test_noisy_captions_come_at_their_rate_and_say_so() -> None:
    clean, noisy = bare(100), bare(100, noise=0.4)
    spoilt = 0
    for one, other in zip(clean, noisy, strict=True):
        assert other.extra["true_caption"] == one.captions[0]
        if not other.extra["noisy"]:
            assert other == one
            continue
        spoilt += 1
        assert other.captions != one.captions
        assert not any(region.spans for region in other.regions)
    assert spoilt == pytest.approx(40, abs=20)  # four standard deviations
    assert {sample.extra["noisy"] for sample in noisy} == {"", "other", "shuffled", "cut"}


# --- background, splits -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.6, 1.0])
def test_the_background_hangs_on_the_noun_as_strongly_as_told(rho: float) -> None:
    samples = bare(200, rho=rho, objects=(1, 1), repeats=1)
    kinds = len(SHAPES.backgrounds)
    share = sum(sample.extra["at_home"] for sample in samples) / 200
    chance = rho + (1 - rho) / kinds
    measured = (share - 1 / kinds) / (1 - 1 / kinds)
    assert measured == pytest.approx(rho, abs=4 * (chance * (1 - chance) / 200) ** 0.5 * kinds / (kinds - 1) + 1e-9)
    homes = collections.defaultdict(set)
    for sample in samples:
        if sample.extra["at_home"]:
            homes[sample.label].add(sample.extra["background"])
    assert all(len(home) == 1 for home in homes.values())


def cutouts_in(samples: Sequence[Sample]) -> set[str]:
    return {region.attributes["cutout"] for sample in samples for region in sample.regions}


@pytest.mark.slow
def test_no_cut_out_is_in_two_splits_and_every_noun_was_seen_in_training() -> None:
    parts = [bare(count, split) for split, count in (("train", 60), ("val", 30), ("test", 30))]
    seen = [cutouts_in(samples) for samples in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))
    nouns = [{region.category for sample in samples for region in sample.regions} for samples in parts]
    assert nouns[1] | nouns[2] <= nouns[0]
    assert cutouts_in(bare(10, "test", seed=9)) <= seen[2], "whatever the seed"


@pytest.mark.slow
def test_whole_concepts_can_be_unseen() -> None:
    nouns = [
        {region.category for sample in bare(40, split, unseen="concept") for region in sample.regions}
        for split in ("train", "val", "test")
    ]
    assert sum(map(len, nouns)) == len(set().union(*nouns)) == 13


@pytest.mark.slow
def test_pairs_of_noun_and_colour_can_be_unseen() -> None:
    pairs = [
        {
            (region.category, region.attributes["colour"])
            for sample in bare(count, split, unseen="pair", tinted=1.0)
            for region in sample.regions
        }
        for split, count in (("train", 60), ("val", 25), ("test", 25))
    ]
    assert sum(map(len, pairs)) == len(set().union(*pairs))
    assert {noun for noun, _ in pairs[2]} <= {noun for noun, _ in pairs[0]}
    assert {colour for _, colour in pairs[2]} <= {colour for _, colour in pairs[0]}


def test_a_noun_with_one_cut_out_is_for_training(cast: tuple[Cutout, ...]) -> None:
    alone = tuple(cutout for cutout in cast if cutout.name.endswith("0.png"))
    assert len(cutouts_in(scenes(0, 20, side=64, config=SceneConfig(cast=alone)).samples)) == 3
    with pytest.raises(DeixisError, match="unseen='concept'"):
        scenes(0, 1, split="test", side=64, config=SceneConfig(cast=alone))


# --- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_scene_holds_as_many_things_as_asked_for() -> None:
    counts = collections.Counter(len(sample.regions) for sample in bare(40, objects=(3, 5)))
    assert set(counts) == {3, 4, 5}
    first = collections.Counter(
        sum(region.category == sample.label for region in sample.regions) for sample in bare(40)
    )
    assert set(first) == {1, 2, 3}
    for sample in bare(30):
        others = collections.Counter(r.category for r in sample.regions if r.category != sample.label)
        assert set(others.values()) <= {1}


def test_the_attributes_count_and_place_a_thing() -> None:
    for sample in of_shapes(20):
        for region in sample.regions:
            assert region.attributes["count"] == sum(r.category == region.category for r in sample.regions)
            x, y = centre(region)
            place = region.attributes["position"]
            assert ("left" in place, "right" in place) == (x < 1 / 3, x >= 2 / 3)
            assert ("top" in place, "bottom" in place) == (y < 1 / 3, y >= 2 / 3)
            assert region.attributes["style"] == "shape"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"side": 20}, "48 to 256"),
        ({"seed": -1}, "negative"),
        ({"split": "dev"}, "train, val, test"),
        ({"config": SceneConfig(cast="toys")}, "stamps, emoji"),
        ({"config": SceneConfig(cast="shapes", nouns=("toys",))}, "arrow"),
        ({"config": SceneConfig()}, "deixis data get stamps"),
        ({"config": SceneConfig(cast="emoji")}, "deixis data get emoji"),
        ({"config": SceneConfig(cast="emoji/noto")}, "deixis data get emoji-styles"),
        ({"config": SceneConfig(cast="shapes", backgrounds=("photo",))}, "deixis data get photos"),
    ],
)
def test_what_cannot_be_made_is_told_with_a_cure(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        scenes(**{"count": 1, "config": SHAPES, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rho": 2.0}, "rho is 2.0"),
        ({"objects": (3, 2)}, "3 to 2"),
        ({"objects": (0, 2)}, "1 to 8"),
        ({"repeats": 0}, "repeats is 0"),
        ({"backgrounds": ("plain mauve",)}, "plain mauve"),
        ({"backgrounds": ()}, "needs a background"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        SceneConfig(**changes)  # type: ignore[arg-type]


def test_the_set_of_scenes_says_what_it_needs() -> None:
    with pytest.raises(DeixisError, match="deixis data get stamps"):
        catalogue.read("scenes")
    with pytest.raises(DeixisError, match="deixis data get stamps"):
        catalogue.read("scenes/test")
    with pytest.raises(DeixisError, match="train, val, test"):
        catalogue.read("scenes/dev")


# --- real cut-outs ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_stamps_make_scenes_in_which_all_of_this_holds(fetched: Callable[[str], Path]) -> None:
    fetched("stamps")
    source = catalogue.read("scenes")
    assert len(source.samples) == 1000
    for sample in source.samples[:200]:
        for region in sample.regions:
            for phrase in region.phrases:
                if " " not in region.category and not any(" " in other.category for other in sample.regions):
                    assert len(meant(sample.regions, phrase.text)) == 1, phrase.text
    seen = [cutouts_in(bare(300, split, cast="stamps")) for split in ("train", "val", "test")]
    assert sum(map(len, seen)) == len(set().union(*seen))


@pytest.mark.slow
def test_no_stamp_of_the_cast_is_nearly_another_one(fetched: Callable[[str], Path]) -> None:
    from deixis.data.synthetic.scenes.object_bank import assemble

    fetched("stamps")
    by_noun = collections.defaultdict(list)
    for cutout in assemble(SceneConfig()):
        small = pixels(cutout.picture, (24, 24)).astype(float)
        by_noun[cutout.noun].append(small[..., 3] / 255 * small[..., :3].mean(-1))
    for noun, members in by_noun.items():
        for i, one in enumerate(members):
            assert all(np.abs(one - other).mean() > 2 for other in members[:i]), noun


@pytest.mark.slow
def test_the_picture_in_the_documents_is_what_the_generator_draws() -> None:
    from docs.pictures import jpeg, scenes_sheet

    old, new = Image.open(PROJECT / "docs/scenes.jpg"), Image.open(io.BytesIO(jpeg(scenes_sheet("shapes"))))
    assert old.size == new.size
    assert max(ImageStat.Stat(ImageChops.difference(old, new)).mean) < 1
