"""Queries for saliency maps: pictures of several things with their masks, each thing in turn, and what maps of
them are measured by."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis.data.loading.crops import WHOLE, box_mask, seen_mask, visible_window
from deixis.data.synthetic.scenes.wording import article
from deixis.engine.training.batching import require_encoder
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.inputs.images import shown_size
from deixis.nn.blocks import blocks
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.ops.maps import blur, highest, hits, spearman
from deixis.ops.saliency_metrics import area_under, changed, difficult, energy, overlap
from deixis.types import Sample, Source
from deixis.types.protocols import AnyMethod, HasConfig, OffersAttribute

__all__ = [
    "METRICS",
    "PROMPT",
    "ExplainerMethod",
    "NounScore",
    "SaliencyQueries",
    "between_things",
    "build_explainer",
    "explain",
    "localisation",
    "measured",
    "perturbation",
    "questions",
]

PROMPT = "a picture of {}"
"""The text of a query; `{}` is the noun with its article."""

_CHUNK = 16

_TOLERANCE = 15 / 224
"""Of the pointing game, as a share of the image's side: 15 pixels at 224 (Zhang et al. 2018)."""

Maps = Float[Tensor, "Q H W"]


@runtime_checkable
class ExplainerMethod(AnyMethod, OffersAttribute, HasConfig, Protocol):
    """What is measured: a method that explains the layers that its config names."""


@dataclasses.dataclass(frozen=True)
class SaliencyQueries:
    """Pictures, and questions about them; questions of one picture follow one another.

    Attributes:
        images: preprocessed [B, 3, S, S].
        nouns: all that occur.
        texts: of each noun, scaled so that the product with an embedding is the model's score [C, D].
        picture: of each question [Q].
        noun: of each query [Q].
        masks: where it is [Q, S, S].
        others: whether a thing of another noun is in the picture, too [Q].
    """

    images: Float[Tensor, "B 3 S S"]
    nouns: tuple[str, ...]
    texts: Float[Tensor, "C D"]
    picture: Int64[Tensor, " Q"]
    noun: Int64[Tensor, " Q"]
    masks: Bool[Tensor, "Q S S"]
    others: Bool[Tensor, " Q"]

    def part(self, pictures: int) -> SaliencyQueries:
        """The questions about the first so many pictures."""
        retained = self.picture < pictures
        fields = {name: getattr(self, name)[retained] for name in ("picture", "noun", "masks", "others")}
        return dataclasses.replace(self, images=self.images[:pictures], **fields)


def questions(encoder: DualEncoder, source: Source, limit: int = 0) -> SaliencyQueries:
    """A query for every kind of thing that a picture shows and that has a mask; things of one noun are one query. Where
    no thing of the source has a mask, boxes stand for them.

    Args:
        encoder: by whose preprocessing the pictures are read.
        source: regions with categories, and masks or boxes.
        limit: the most pictures; 0: all.

    Raises:
        DeixisError: no region has a category, or all have one noun.
    """
    boxes = not any(region.mask for sample in source.samples for region in sample.regions)
    chosen: list[Sample] = []
    found: list[tuple[int, str, Tensor]] = []
    for sample in source.samples:
        masks = _masks(encoder, sample, boxes)
        if masks and (not limit or len(chosen) < limit):
            found += [(len(chosen), noun, mask) for noun, mask in masks.items()]
            chosen.append(sample)
    nouns = tuple(sorted({noun for _, noun, _ in found}))
    if len(nouns) < 2:
        raise DeixisError(
            f"{source.name!r} shows {len(nouns)} kinds of things with masks or boxes; at least two are needed, to "
            "compare queries.",
            "Give pictures whose regions have masks or boxes, and classes: set:scenes (made of stamps), "
            "set:photos-boxes, or COCO's instances.",
        )
    with evaluating(encoder), torch.no_grad():
        texts = encoder.encode_text([PROMPT.format(f"{article(noun)} {noun}") for noun in nouns])
    picture = torch.tensor([place for place, _, _ in found])
    return SaliencyQueries(
        encoder.read_images([sample.picture for sample in chosen]),
        nouns,
        encoder.scale * texts,
        picture,
        torch.tensor([nouns.index(noun) for _, noun, _ in found]),
        torch.stack([mask for _, _, mask in found]),
        torch.bincount(picture)[picture] > 1,
    )


def _masks(encoder: DualEncoder, sample: Sample, boxes: bool) -> dict[str, Bool[Tensor, "S S"]]:
    """Noun -> what the model sees of all things of it."""
    preprocess, meant = encoder.preprocess, dict[str, Tensor]()
    named = [each for each in sample.regions if each.category and (boxes or each.mask is not None)]
    window = visible_window(preprocess, *shown_size(sample.picture)) if boxes and named else WHOLE
    for region in named:
        size = (preprocess.size, preprocess.size)
        pixels = box_mask(region.box, window, size) if boxes else seen_mask(region, preprocess)
        meant[region.category] = meant[region.category] | pixels if region.category in meant else pixels
    return {noun: pixels for noun, pixels in meant.items() if pixels.any()}


def build_explainer(name: str, settings: Mapping[str, Any], encoder: DualEncoder, seed: int = 0) -> ExplainerMethod:
    """A method that explains `encoder`.

    Args:
        name: of the method.
        settings: that differ from its `desk` preset.
        encoder: that is explained.
        seed: of its draws.

    Raises:
        DeixisError: the method explains nothing.
    """
    method = build(name, "desk", settings, {"encoder": encoder}, seed)
    if not isinstance(method, ExplainerMethod):
        raise DeixisError(f"{name} explains no model.", "Take a method that offers `attribute`.")
    return method


def explain(method: OffersAttribute, queries: SaliencyQueries, nouns: Int64[Tensor, " Q"] | None = None) -> Maps:
    """The map of each question. Questions of one picture share the forward pass.

    Args:
        method: what makes the maps.
        queries: the questions.
        nouns: queried in place of the queries' own.
    """
    nouns, found = queries.noun if nouns is None else nouns, []
    for start in range(0, len(queries.images), _CHUNK):
        images = queries.images[start : start + _CHUNK]
        inside = (queries.picture >= start) & (queries.picture < start + len(images))
        rows, place = queries.picture[inside] - start, _places(queries.picture[inside])
        table = torch.zeros(len(images), int(place.max()) + 1, dtype=torch.long)
        table[rows, place] = nouns[inside]
        found.append(method.attribute(images, NounScore(queries.texts, table))[rows, place])
    return torch.cat(found)


class NounScore:
    """The model's scores of nouns, and its loss with each noun as the right one among all.

    Args:
        texts: scaled embeddings of all nouns.
        nouns: that are asked for, T of each image.
    """

    def __init__(self, texts: Float[Tensor, "C D"], nouns: Int64[Tensor, "B T"]) -> None:
        self._texts, self._nouns = texts, nouns

    def __call__(self, output: Float[Tensor, "B D"]) -> Float[Tensor, "B T"]:
        """The scores of the nouns."""
        return torch.einsum("bd,btd->bt", output, self._texts[self._nouns].to(output))

    def loss(self, output: Float[Tensor, "B D"]) -> Float[Tensor, "B T"]:
        """Cross-entropies of the nouns among all."""
        logits = output @ self._texts.to(output).T
        return -logits.log_softmax(1).gather(1, self._nouns.to(output.device))


def _places(pictures: Int64[Tensor, " Q"]) -> Int64[Tensor, " Q"]:
    """How many questions of the same picture come before."""
    _, counts = pictures.unique_consecutive(return_counts=True)
    return torch.cat([torch.arange(int(count)) for count in counts])


# --- one number a question --------------------------------------------------------------------------------------------


def localisation(maps: Maps, queries: SaliencyQueries) -> dict[str, Float[Tensor, " Q"]]:
    """Maps against masks: `pointing` (the highest pixel is nearer to the thing than 15 pixels of 224), that of the
    `difficult` questions (NaN for others), `exact` (it lies on the thing), `energy`, `overlap` and `named` (on the
    mean the map is higher on the thing named than on the picture's others; 1/2 where it does not tell them apart, NaN
    where there are no others)."""
    points, masks = highest(maps), queries.masks
    hit = hits(points, masks, max(1.0, _TOLERANCE * maps.shape[-1])).double()
    hard = difficult(masks, queries.others)
    return {
        "pointing": hit,
        "difficult": torch.where(hard, hit, torch.full_like(hit, torch.nan)),
        "exact": hits(points, masks, 1.0).double(),
        "energy": energy(maps, masks),
        "overlap": overlap(maps, masks),
        "named": _named(maps, queries),
    }


def _named(maps: Maps, queries: SaliencyQueries) -> Float[Tensor, " Q"]:
    values = []
    for place, mask in enumerate(queries.masks):
        same = queries.picture == queries.picture[place]
        rest = queries.masks[same].any(0) & ~mask
        own, other = maps[place][mask].double().mean(), maps[place][rest].double().mean()  # NaN of no pixel
        values.append(torch.nan if own.isnan() or other.isnan() else float(own > other) + float(own == other) / 2)
    return torch.tensor(values, dtype=torch.double)


def between_things(maps: Maps, queries: SaliencyQueries) -> Float[Tensor, " Q"]:
    """Rank correlation of a question's map with that of the next question about the same picture, in turn; 1 is a map
    that does not depend on the query. NaN where nothing else is in the picture, or a map is constant."""
    place, counts = _places(queries.picture), torch.bincount(queries.picture)[queries.picture]
    following = torch.arange(len(maps)) - place + (place + 1) % counts
    found = spearman(maps, maps[following])
    return torch.where(queries.others, found, torch.full_like(found, torch.nan))


def perturbation(
    encoder: DualEncoder, maps: Maps, queries: SaliencyQueries, steps: int = 6, fill: Literal["blur", "mean"] = "blur"
) -> dict[str, Float[Tensor, " Q"]]:
    """Areas under the probability of the queried noun, among all nouns, while pixels go (`deletion`, low is good) or
    come (`insertion`, high is good).

    Args:
        encoder: whose score it is.
        maps: of the questions.
        queries: the questions.
        steps: in which all pixels change.
        fill: what is left where a pixel went: a strong blur, or the mean colour of the encoder's training images.
    """
    found: dict[str, list[Tensor]] = {"deletion": [], "insertion": []}
    with evaluating(encoder), torch.no_grad():
        for start in range(0, len(maps), _CHUNK):
            part = slice(start, start + _CHUNK)
            images, nouns = queries.images[queries.picture[part]], queries.noun[part]
            nothing = blur(images, images.shape[-1] / 20) if fill == "blur" else torch.zeros_like(images)
            for name, begin, end in (("deletion", images, nothing), ("insertion", nothing, images)):
                curve = [
                    (encoder.encode_image(each) @ queries.texts.T).softmax(1).gather(1, nouns[:, None])[:, 0]
                    for each in changed(begin, maps[part], steps, end)
                ]
                found[name].append(area_under(torch.stack(curve)))
    return {name: torch.cat(each) for name, each in found.items()}


# --- what claims measure ----------------------------------------------------------------------------------------------


def _at(method: ExplainerMethod, layer: str) -> ExplainerMethod:
    """The same method with its map of one layer."""
    again = copy.copy(method)
    again.config = dataclasses.replace(method.config, layers=(layer,))
    return again


def _pointing(method: ExplainerMethod, queries: SaliencyQueries) -> Tensor:
    return localisation(explain(method, queries), queries)["exact"]


def _pointing_early(method: ExplainerMethod, queries: SaliencyQueries) -> Tensor:
    """The mean over all blocks but the last, each alone."""
    return _pointing_at(method, queries, blocks(require_encoder(method).image_tower)[:-1])


def _pointing_first_half(method: ExplainerMethod, queries: SaliencyQueries) -> Tensor:
    """The mean over the blocks of the first half, each alone."""
    there = blocks(require_encoder(method).image_tower)
    return _pointing_at(method, queries, there[: max(1, len(there) // 2)])


def _pointing_at(method: ExplainerMethod, queries: SaliencyQueries, layers: Sequence[str]) -> Tensor:
    return torch.stack([_pointing(_at(method, layer), queries) for layer in layers]).mean(0)


def _overlap(method: ExplainerMethod, queries: SaliencyQueries) -> Tensor:
    return localisation(explain(method, queries), queries)["overlap"]


def _class_sensitivity(method: ExplainerMethod, queries: SaliencyQueries) -> Tensor:
    """(1 - rank correlation) / 2 of the maps for the likeliest noun and for the least likely one, the mean over all
    blocks, each alone: one value a picture. A constant map ranks nothing: 0, as if both were the same."""
    encoder = require_encoder(method)
    with evaluating(encoder), torch.no_grad():
        scores = encoder.encode_image(queries.images) @ queries.texts.T
    ends = torch.stack([scores.argmax(1), scores.argmin(1)], dim=1)
    pictures = torch.arange(len(ends)).repeat_interleave(2)
    size = queries.masks.shape[-2:]
    both = dataclasses.replace(
        queries,
        picture=pictures,
        noun=ends.flatten(),
        masks=queries.masks.new_zeros(len(pictures), *size),
        others=torch.ones_like(pictures, dtype=torch.bool),
    )
    found = []
    for layer in blocks(require_encoder(method).image_tower):
        maps = explain(_at(method, layer), both).unflatten(0, (-1, 2))
        found.append((1 - spearman(maps[:, 0], maps[:, 1]).nan_to_num(1.0)) / 2)
    return torch.stack(found).mean(0)


METRICS: Mapping[str, Callable[[ExplainerMethod, SaliencyQueries], Float[Tensor, " Q"]]] = {
    "pointing_game": _pointing,
    "pointing_early": _pointing_early,
    "pointing_first_half": _pointing_first_half,
    "overlap": _overlap,
    "class_sensitivity": _class_sensitivity,
}
"""Name -> one value a question (of `class_sensitivity`, a picture), from 0 to 1, more is better. Pointing is exact: at
64 pixels a tolerance of 15 would reach a quarter of the image."""


def measured(name: str, method: ExplainerMethod, queries: SaliencyQueries) -> Float[Tensor, " Q"]:
    """The values of one of `METRICS`.

    Raises:
        DeixisError: there is no such measure.
    """
    if name not in METRICS:
        raise DeixisError(f"There is no measure {name!r} of maps.", f"There are: {', '.join(METRICS)}.")
    return METRICS[name](method, queries)
