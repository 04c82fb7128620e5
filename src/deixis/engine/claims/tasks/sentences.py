"""Where claims about long texts meet: pictures of many things, described by a short caption and by many sentences.

The short caption of training names one thing and is wrong for some; a fifth of the sentences speak of what is not
there. What is held out has true captions that name all things. Generated scenes have texts of sizes, relations and
backgrounds, too, and small towers learn little of these within some 25,000 images; outfits have clothes, their colours
and places alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.data.loading.crops import seen_mask
from deixis.data.synthetic.outfits import OutfitConfig, outfits
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.data.synthetic.scenes.wording import article
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.measures import PROMPT
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import require_encoder
from deixis.engine.training.stages import offers
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, OffersTokens
from deixis.zoo import scratch

__all__ = ["TASK", "Options", "make", "patch_iou"]

TASK = TaskCard(
    title="Generated pictures of several things with long descriptions: trained on these, found by ordinary captions",
    metrics=("recall_at_1", "patch_iou"),
)

_BATCH = 64
_NOWHERE = -1


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `sentences`.

    Attributes:
        captions: what training reads: the `short` caption, the `long` text whole, or all `sentences`, the caption among
            them, as captions of their own.
        world: `scenes` of things of a cast, or `outfits` of coloured clothes.
        cast: of scenes, as in `deixis.data.synthetic.scenes.SceneConfig`.
        objects: the fewest and the most things in a scene.
        clothes: the fewest and the most in an outfit.
        wrong: share of the short captions that are wrong.
        invented: share of the sentences that are followed by one about what is not there: 1/4 makes a fifth of all.
        side: of the images, in pixels.
        count: pictures to train on.
        held: pictures to tune on, and as many to report on.
        length: tokens of a text at the most.
        image: the image tower, as in `deixis.zoo.scratch.build`.
        size: of the towers, one of `deixis.zoo.scratch.SIZES`.
        batch_size: images a step.
    """

    captions: Literal["short", "long", "sentences"] = "sentences"
    world: Literal["scenes", "outfits"] = "scenes"
    cast: str = "shapes"
    objects: tuple[int, int] = (4, 6)
    clothes: tuple[int, int] = (3, 4)
    wrong: float = 0.3
    invented: float = 0.25
    side: int = 48
    count: int = 4000
    held: int = 400
    length: int = 96
    image: str = "vit"
    size: str = "small"
    batch_size: int = 64


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; the pictures are the same whatever is read.

    Args:
        options: see `Options`.
        seed: of the pictures and their texts.

    Raises:
        DeixisError: a value is out of range, or the set that the pictures are made of is not in the cache.
    """
    if options.captions not in ("short", "long", "sentences"):
        raise DeixisError(f"captions is {options.captions!r}.", "It is one of: short, long, sentences.")
    if not 2 <= options.batch_size <= options.count:
        raise DeixisError(
            f"A batch of {options.batch_size} is requested, and there are {options.count} pictures.",
            "Request batches of 2 or more, and no more than there are pictures.",
        )
    plain, validation, test = _sources(options, seed)
    texts = [_texts(sample) for sample in plain.samples]
    train = dataclasses.replace(
        plain, samples=tuple(_told(*each, options.captions) for each in zip(plain.samples, texts, strict=True))
    )
    words = tuple(text for each in texts for text in each)

    def encoder(number: int) -> DualEncoder:
        built = scratch.build(words, options.size, options.side, number, image=options.image)
        return _lengthened(built, options.length, number)

    return TrainingTask(train, validation, test, encoder, options.batch_size, measures={"patch_iou": patch_iou})


def _sources(options: Options, seed: int) -> tuple[Source, Source, Source]:
    """To train on, with a caption of one thing and all sentences; to tune on and to report on, with true captions."""
    if options.world == "outfits":
        whole = OutfitConfig(things=options.clothes, side=options.side)
        short = dataclasses.replace(whole, named=1, wrong=options.wrong, invented=options.invented, masks=False)
        train = outfits(seed, options.count, SPLITS[0], short)
        validation, test = (outfits(seed, options.held, part, whole) for part in SPLITS[1:])
        return train, validation, test
    shared = SceneConfig(cast=options.cast, objects=options.objects, repeats=1, tinted=1.0, phrases=0, questions=0)
    spoilt = dataclasses.replace(shared, named=1, noise=options.wrong, invented=options.invented, masks=False)
    train = scenes(seed, options.count, split=SPLITS[0], side=options.side, config=spoilt)
    validation, test = (scenes(seed, options.held, split=each, side=options.side, config=shared) for each in SPLITS[1:])
    return train, validation, test


def _texts(sample: Sample) -> tuple[str, ...]:
    """The short caption and all sentences."""
    return (sample.captions[0], *(sentence["text"] for sentence in sample.extra["sentences"]))


def _told(sample: Sample, texts: Sequence[str], captions: str) -> Sample:
    chosen = {"short": texts[:1], "long": (" ".join(texts),), "sentences": texts}[captions]
    return dataclasses.replace(sample, captions=tuple(chosen))


def _lengthened(encoder: DualEncoder, length: int, seed: int) -> DualEncoder:
    """The same towers with random weights anew, for texts of that length."""
    settings = scratch.described(encoder)
    settings |= {"context_length": length, "text_tower": {**settings["text_tower"], "length": length}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return scratch.rebuilt(settings, encoder.tokenizer)


def patch_iou(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """How well patches are classified by the nouns: one value an image, the mean over its nouns of intersection over
    union. Patches that show nothing but background do not count.

    Args:
        method: that offers tokens of images and texts.
        source: pictures with masks.

    Raises:
        DeixisError: the method has no tokens to classify.
    """
    encoder = require_encoder(method)
    nouns = sorted({region.category for sample in source.samples for region in sample.regions})
    values: list[Tensor] = []
    with eval_without_grad(method):
        if not offers(method, OffersTokens):
            raise DeixisError("The method has no patches to classify.", "Measure something else of it.")
        names = encoder.encode_text([PROMPT.replace("{}", f"{article(noun)} {noun}") for noun in nouns])
        for start in range(0, len(source.samples), _BATCH):
            block = source.samples[start : start + _BATCH]
            tokens = method.image_tokens(encoder.read_images([sample.picture for sample in block]))
            assert tokens.grid is not None
            found = (F.normalize(tokens.states, dim=-1) @ names.T).argmax(2)
            for sample, classes in zip(block, found, strict=True):
                values.append(_mean_iou(classes, _shown(sample, nouns, encoder, tokens.grid)))
    return torch.stack(values)


def _shown(sample: Sample, nouns: Sequence[str], encoder: DualEncoder, grid: tuple[int, int]) -> Int64[Tensor, " N"]:
    """The noun that covers most of each patch, by number; -1 where things cover less than half of it."""
    shares = torch.zeros(len(nouns), *grid)
    for region in sample.regions:
        pixels = seen_mask(region, encoder.preprocess)
        shares[nouns.index(region.category)] += F.adaptive_avg_pool2d(pixels.float()[None], grid)[0]
    covered = shares.sum(0).flatten() >= 0.5
    return torch.where(covered, shares.flatten(1).argmax(0), _NOWHERE)


def _mean_iou(found: Int64[Tensor, " N"], shown: Int64[Tensor, " N"]) -> Float[Tensor, ""]:
    there = shown != _NOWHERE
    found, shown = found.cpu()[there], shown[there]
    classes = shown.unique()
    if not len(classes):
        return torch.zeros(())
    both = [((found == each) & (shown == each)).sum() / ((found == each) | (shown == each)).sum() for each in classes]
    return torch.stack(both).mean()
