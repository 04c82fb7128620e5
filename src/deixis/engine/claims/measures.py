"""What an arm of a claim is measured by: one number for a method and held-out scenes, the same way for every method.

A method is measured by its capabilities: `compare`, where its card names that, else `encode_image` and `encode_text`.
Ties count against it.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.data.loading.crops import seen_mask
from deixis.data.synthetic.scenes.wording import article
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import require_encoder
from deixis.engine.training.build import configure
from deixis.engine.training.stages import offers
from deixis.errors import DeixisError
from deixis.methods import get, list_methods, read
from deixis.nn.dual import DualEncoder
from deixis.ops.metrics import accuracy, ranks_of_scores, recall_at, retrieval_of_scores
from deixis.types import Sample, Source, Tokens
from deixis.types.protocols import AnyMethod, OffersAttribute, OffersCompare, OffersTokens, OffersVectors

__all__ = ["MEASURES", "PROMPT", "WORDS", "chance", "recall", "scores", "values"]

PROMPT = "A picture of {}."
"""What is said of a class; `{}` is the noun with its article."""

WORDS = 1.0
"""How much words weigh in a composed query, a picture weighing 1; found good on validation scenes."""


def values(name: str, method: AnyMethod, source: Source, batch_size: int = 64) -> Float[Tensor, " Q"]:
    """One value a query, from 0 to 1, more is better, so that queries can be resampled.

    Args:
        name: one of `MEASURES`: `recall_at_1` (an image's caption among all captions, a caption's image among all
            images; the mean of both, one value a sample), `zero_shot` (the label among the nouns of all labels; other
            things in the picture are no wrong answer), `binding` (the true caption before the one with the colours of
            two things exchanged), `pointing` (the patch that is most similar to a phrase, on average over its words,
            lies on what the phrase means; one value a phrase; with `_norm_grad` or `_grad_cam` behind the name, the
            patch where that map of the image's score with the phrase is highest) or `composed` (a picture and words
            that change one thing of it find the picture that shows the change, among all pictures and all changes, the
            query's own picture being a wrong answer; one value a change). With the words alone that is
            `composed_text_alone`, with the picture alone `composed_image_alone`: there the query's own picture is left
            out, since it would always come first.
        method: trained or not, with a part `encoder`; its weights and modes are left as they are.
        source: scenes.
        batch_size: images that go through the method at a time.

    Raises:
        DeixisError: there is no such measure, the samples lack what it needs, or the method can't do it.
    """
    if name not in MEASURES:
        raise DeixisError(f"There is no measure {name!r}.", f"There are: {', '.join(MEASURES)}.")
    if not source.samples:
        raise DeixisError(f"{source.name!r} has no samples to measure {name} on.", "Ask for more scenes.")
    with eval_without_grad(method):
        return MEASURES[name](method, source.samples, batch_size)


def scores(
    method: AnyMethod, images: Float[Tensor, "B 3 H W"], tokens: Tokens, batch_size: int = 64
) -> Float[Tensor, "B G"]:
    """How well each text fits each image, as the method says.

    Args:
        method: in the mode to be measured in.
        images: preprocessed.
        tokens: of the texts.
        batch_size: images that go through the method at a time.
    """
    blocks = images.split(batch_size)
    if offers(method, OffersCompare):
        return torch.cat([method.compare(block, *tokens) for block in blocks])
    if not offers(method, OffersVectors):
        raise DeixisError("The method compares no images with texts.", "Measure something else of it.")
    text = method.encode_text(*tokens)
    return torch.cat([method.encode_image(block) for block in blocks]) @ text.T


def recall(similarity: Float[Tensor, "B B"], keys: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Recall at 1 of an image among texts and of a text among images, and the mean of both.

    Args:
        similarity: of each sample's image (rows) to each sample's text (columns).
        keys: equal for equal texts; any image of a text is a hit.
    """
    return retrieval_of_scores(similarity, keys)["mean_r1"]


def _first(found: Float[Tensor, "Q G"], right: Bool[Tensor, "Q G"]) -> Float[Tensor, " Q"]:
    """1 where a right entry scores above all wrong ones."""
    return recall_at(ranks_of_scores(found, right), 1)


# --- the measures -----------------------------------------------------------------------------------------------------


def _recall_at_1(method: AnyMethod, samples: Sequence[Sample], batch_size: int) -> Tensor:
    encoder, texts = require_encoder(method), [_caption(sample) for sample in samples]
    keys = torch.tensor([texts.index(text) for text in texts])
    tokens = encoder.tokenize(texts)
    return recall(scores(method, _images(encoder, samples), tokens, batch_size).cpu(), keys)


def _zero_shot(method: AnyMethod, samples: Sequence[Sample], batch_size: int) -> Tensor:
    encoder, labels = require_encoder(method), [sample.label or "" for sample in samples]
    if "" in labels:
        raise DeixisError("Some samples have no label, and zero_shot is to be measured.", "Give labelled samples.")
    nouns = sorted(set(labels))
    if len(nouns) < 2:
        raise DeixisError(
            f"All samples show {nouns[0]!r}; there is nothing to choose among.", "Give two nouns or more."
        )
    tokens = encoder.tokenize([PROMPT.format(f"{article(noun)} {noun}") for noun in nouns])
    logits = scores(method, _images(encoder, samples), tokens, batch_size).cpu().double()
    lowest = logits.amin(1)
    for row, sample in enumerate(samples):
        there = {region.category for region in sample.regions} & set(nouns) - {labels[row]}
        logits[row, [nouns.index(noun) for noun in there]] = lowest[row]
    return accuracy(logits, torch.tensor([nouns.index(label) for label in labels]))


def _binding(method: AnyMethod, samples: Sequence[Sample], batch_size: int) -> Tensor:
    pairs = [sample for sample in samples if sample.extra.get("swapped")]
    if not pairs:
        raise DeixisError(
            "No caption names two things and their colours, which binding exchanges.",
            "Give scenes of two things or more that are tinted (tinted=1.0).",
        )
    encoder, found = require_encoder(method), []
    for start in range(0, len(pairs), 16):  # few, since all are compared with all
        block = pairs[start : start + 16]
        texts = [*(_caption(sample) for sample in block), *(str(sample.extra["swapped"]) for sample in block)]
        rows = scores(method, _images(encoder, block), encoder.tokenize(texts), batch_size).cpu()
        found.append(torch.stack([rows.diagonal(), rows.diagonal(len(block))], dim=1))
    return accuracy(torch.cat(found), torch.zeros(len(pairs), dtype=torch.long))


def _pointing(method: AnyMethod, samples: Sequence[Sample], batch_size: int) -> Tensor:
    encoder, found = require_encoder(method), []
    if not offers(method, OffersTokens):
        raise DeixisError("The method has no words and patches to compare.", "Measure something else of it.")
    spoken = [(sample, spans) for sample in samples if (spans := _spans(encoder, sample))]
    for start in range(0, len(spoken), batch_size):
        block = spoken[start : start + batch_size]
        image = method.image_tokens(_images(encoder, [sample for sample, _ in block]))
        text = method.text_tokens(*encoder.tokenize([_caption(sample) for sample, _ in block]))
        maps = F.normalize(text.states, dim=-1) @ F.normalize(image.states, dim=-1).transpose(1, 2)
        for words, (_, spans) in zip(maps.cpu(), block, strict=True):
            found += [
                _points(words[begin:end].mean(0), image.grid, pixels) for (begin, end), (_, pixels) in spans.items()
            ]
    return _joined(found)


class _Compared(nn.Module):
    """A method's scores of images with some texts, as a network whose image tower can be explained.

    Args:
        method: that compares.
        tokens: of the texts.
        batch_size: images that go through it at a time.
    """

    def __init__(self, method: AnyMethod, tokens: Tokens, batch_size: int) -> None:
        super().__init__()
        self.tower = require_encoder(method).image_tower
        self._scores = functools.partial(scores, method, tokens=tokens, batch_size=batch_size)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B G"]:
        return self._scores(images)


def _pointing_of_maps(method: AnyMethod, samples: Sequence[Sample], batch_size: int, variant: str) -> Tensor:
    """As `pointing`, by a map of what the score of the image with the phrase hangs on."""
    encoder, found = require_encoder(method), []
    with torch.no_grad():
        grid = method.image_tokens(_images(encoder, samples[:1])).grid if offers(method, OffersTokens) else None
    if grid is None:
        raise DeixisError("The patches of this image tower do not form a grid.", "Measure something else of it.")
    name, settings = _explaining(variant)
    spoken = [(sample, meant) for sample in samples if (meant := _spans(encoder, sample))]
    for start in range(0, len(spoken), batch_size):
        block = spoken[start : start + batch_size]
        phrases = [[words for words, _ in meant.values()] for _, meant in block]
        texts = sorted({words for each in phrases for words in each})
        most = max(map(len, phrases))
        asked = torch.tensor([[texts.index(words) for words in (each * most)[:most]] for each in phrases])
        network = _Compared(method, encoder.tokenize(texts), batch_size)
        explainer = get(name).Method(configure(name, "desk", settings), encoder=network)
        assert isinstance(explainer, OffersAttribute), "its card says so"
        images = _images(encoder, [sample for sample, _ in block])
        maps = explainer.attribute(images, functools.partial(_columns, columns=asked))
        for each, (_, meant) in zip(maps.cpu(), block, strict=True):
            for heat, (_, pixels) in zip(each, meant.values(), strict=False):  # shorter lists were repeated
                found.append(_points(F.adaptive_avg_pool2d(heat[None], grid).flatten(), grid, pixels))
    return _joined(found)


def _columns(found: Float[Tensor, "B G"], columns: Int64[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    return found.gather(1, columns.to(found.device))


def _explaining(variant: str) -> tuple[str, Mapping[str, Any]]:
    """The method that has a variant of that name, and its settings."""
    cards = {name: read(name).card for name in list_methods()}
    return next((name, card.variants[variant].settings) for name, card in cards.items() if variant in card.variants)


def _joined(found: Sequence[Tensor]) -> Tensor:
    if not found:
        raise DeixisError("No caption has a span for an object with a mask.", "Give scenes with masks, and no noise.")
    return torch.cat(list(found))


def _points(heat: Float[Tensor, " N"], grid: tuple[int, int] | None, pixels: Bool[Tensor, "H W"]) -> Tensor:
    """1 where a patch that the thing covers well is hotter than all others: well is half as much as any patch."""
    if grid is None:
        raise DeixisError("The patches of this image tower do not form a grid.", "Measure something else of it.")
    return _first(heat[None], _well_covered(pixels, grid)[None])


def _well_covered(pixels: Bool[Tensor, "H W"], grid: tuple[int, int]) -> Bool[Tensor, " N"]:
    covered = F.adaptive_avg_pool2d(pixels.float()[None], grid).flatten()
    return covered >= covered.max() / 2


def _changed(
    method: AnyMethod, samples: Sequence[Sample], batch_size: int, weights: tuple[float, float] = (1.0, WORDS)
) -> Tensor:
    """1 where the weighted sum of a picture and words finds the picture that is as the words say."""
    encoder = require_encoder(method)
    if not offers(method, OffersVectors):
        raise DeixisError("The method has no one vector of a picture to add words to.", "Measure something else of it.")
    changed = [(row, change) for row, sample in enumerate(samples) for change in sample.extra.get("changes", ())]
    if not changed:
        raise DeixisError(
            "No scene comes with changes, which composed queries ask for.", "Give scenes that do (changes=4)."
        )
    pictures = [*(s.picture for s in samples), *(change.scene for _, change in changed)]
    blocks = [pictures[start : start + batch_size] for start in range(0, len(pictures), batch_size)]
    gallery = torch.cat([method.encode_image(encoder.read_images(block)) for block in blocks])
    own = torch.tensor([row for row, _ in changed], device=gallery.device)
    text = method.encode_text(*encoder.tokenize([change.words for _, change in changed]))
    found = ((weights[0] * gallery[own] + weights[1] * text) @ gallery.T).cpu()
    if not weights[1]:
        found[torch.arange(len(changed)), own.cpu()] = found.amin(1)
    return _first(found, torch.arange(len(pictures)) == len(samples) + torch.arange(len(changed))[:, None])


MEASURES: Mapping[str, Callable[[AnyMethod, Sequence[Sample], int], Tensor]] = {
    "recall_at_1": _recall_at_1,
    "zero_shot": _zero_shot,
    "binding": _binding,
    "pointing": _pointing,
    "pointing_norm_grad": functools.partial(_pointing_of_maps, variant="norm_grad"),
    "pointing_grad_cam": functools.partial(_pointing_of_maps, variant="grad_cam"),
    "composed": _changed,
    "composed_image_alone": functools.partial(_changed, weights=(1.0, 0.0)),
    "composed_text_alone": functools.partial(_changed, weights=(0.0, 1.0)),
}
"""Name -> what gives one value a query."""


def chance(name: str, method: AnyMethod, source: Source) -> float | None:
    """What `values` are on average where answers are guessed; None where that is not known.

    Args:
        name: one of `MEASURES`.
        method: whose encoder says which part of an image it sees.
        source: scenes.
    """
    samples = source.samples
    if name == "binding":
        return 0.5
    if name == "recall_at_1":
        counts = Counter(map(_caption, samples))
        return sum(counts[_caption(sample)] for sample in samples) / len(samples) ** 2
    if name == "zero_shot":
        nouns = {sample.label for sample in samples}
        others = [len({region.category for region in each.regions} & nouns - {each.label}) for each in samples]
        return sum(1 / (len(nouns) - count) for count in others) / len(samples)
    if name.startswith("pointing"):
        return _chance_of_pointing(method, samples)
    if name.startswith("composed"):
        answers = len(samples) + sum(len(sample.extra.get("changes", ())) for sample in samples)
        return 1 / (answers - (name == "composed_image_alone"))
    return None


def _chance_of_pointing(method: AnyMethod, samples: Sequence[Sample]) -> float | None:
    """The share of patches that a thing covers well."""
    encoder = require_encoder(method)
    with eval_without_grad(method):
        if not offers(method, OffersTokens):
            return None
        grid = method.image_tokens(_images(encoder, samples[:1])).grid
    if grid is None:
        return None
    shares = [
        _well_covered(pixels, grid).float().mean() for each in samples for _, pixels in _spans(encoder, each).values()
    ]
    return float(torch.stack(shares).mean())


# --- what they read ---------------------------------------------------------------------------------------------------


def _caption(sample: Sample) -> str:
    if not sample.captions:
        raise DeixisError(f"The sample {sample.id!r} has no caption.", "Give samples with captions.")
    return sample.captions[0]


def _images(encoder: DualEncoder, samples: Sequence[Sample]) -> Float[Tensor, "B 3 H W"]:
    return encoder.read_images([sample.picture for sample in samples])


def _spans(encoder: DualEncoder, sample: Sample) -> dict[tuple[int, int], tuple[str, Bool[Tensor, "H W"]]]:
    """Stretches of tokens that speak of things, with their words and what the model sees of all things that each
    speaks of, if any."""
    meant: dict[tuple[int, int], tuple[str, Tensor]] = {}
    for region in sample.regions:
        if region.mask is None or not region.spans:
            continue
        pixels = seen_mask(region, encoder.preprocess)
        caption = _caption(sample)
        found = encoder.tokenizer.encode_spans(caption, region.spans, encoder.context_length)
        for span, (start, stop) in zip(found, region.spans, strict=True):
            if span is not None:
                meant[span] = (caption[start:stop], meant[span][1] | pixels if span in meant else pixels)
    return {span: (words, pixels) for span, (words, pixels) in meant.items() if pixels.any()}
