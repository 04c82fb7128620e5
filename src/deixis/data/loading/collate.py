"""From a sample to its row of a `Batch`: exactly the fields that a method asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deixis.data.loading.crops import Window, random_window, seen
from deixis.data.loading.sampler import Draw
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.inputs.masks import decode_mask
from deixis.inputs.preprocess import Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.types.batch import CORE_FIELDS, Batch
from deixis.types.samples import Region, Sample, Source
from deixis.types.specs import FieldSpec, SampleSpec, ViewSpec

__all__ = ["AUGMENT_SCALE", "Collate"]

AUGMENT_SCALE = (0.5, 1.0)
"""The area that a varied image keeps, as a share of the whole."""

_DTYPES = {"float": torch.float32, "long": torch.long, "bool": torch.bool}
_WHOLE = Window(0.0, 0.0, 1.0, 1.0)
_OF_REGIONS = ("boxes", "masks", "spans", "phrases")


class Collate:
    """Makes batches of one sample; `deixis.types.batch.concatenate` joins them. May be called from many threads.

    With a `Draw`, the captions are drawn, images are varied where the view asks for it and crops are placed at random,
    as the seed, the epoch and the sample's id say. Without one, the first captions and the model's own view of the
    image are taken. Boxes, masks and spans follow the image and the text; regions outside what is seen are left out.

    Args:
        source: the samples; their labels are numbered in sorted order, and so are their groups.
        needs: the fields to fill.
        preprocess: how images are brought to the model's size.
        tokenizer: for `tokens` and `spans`.
        view: of the images; the default is the square of `preprocess`.
        sample: captions per image, their template, and their length, which the model's context must hold.

    Raises:
        DeixisError: the samples lack what a field is made from, or what is asked for is not made yet.
    """

    def __init__(
        self,
        source: Source,
        needs: Sequence[FieldSpec],
        preprocess: Preprocess,
        tokenizer: Tokenizer | None = None,
        *,
        view: ViewSpec | None = None,
        sample: SampleSpec | None = None,
    ) -> None:
        self.needs = {spec.name: spec for spec in needs}
        self.view, self.sample = view or ViewSpec(size=preprocess.size), sample or SampleSpec()
        self._preprocess, self._tokenizer = dataclasses.replace(preprocess, size=self.view.size), tokenizer
        self.classes = tuple(sorted({each.label for each in source.samples if each.label is not None}))
        self._labels = {label: number for number, label in enumerate(self.classes)}
        keys = sorted({_group(each) for each in source.samples})
        self._groups = {key: number for number, key in enumerate(keys)}
        self._refuse_later()
        for name in self.needs:
            self._refuse_lacking(source, name)

    @property
    def preprocess(self) -> Preprocess:
        """How a whole image is brought to the view's size."""
        return self._preprocess

    def __call__(self, sample: Sample, draw: Draw | None = None) -> Batch:
        """A batch of this sample alone.

        Args:
            sample: one of the source's.
            draw: what is drawn for it; None for evaluation.

        Raises:
            ImageError: its image can't be read.
        """
        fields: dict[str, Any] = {"ids": (sample.id,)}
        valid: dict[str, Tensor] = {}
        window = self._images(sample, draw, fields)
        captions = self._captions(sample, draw)
        if "captions" in self.needs:
            fields["captions"] = (captions,)
        if "tokens" in self.needs:
            fields["tokens"], valid["L"] = self._tokens(captions)
        if "labels" in self.needs and sample.label is not None:
            fields["labels"] = torch.tensor([self._labels[sample.label]])
        if "groups" in self.needs:
            fields["groups"] = torch.tensor([self._groups[_group(sample)]])
        if self._asks(*_OF_REGIONS):
            valid["T"] = self._regions(sample, window, captions, fields)
        specs = {name: spec for name, spec in self.needs.items() if name not in CORE_FIELDS}
        extra = {name: _column(sample, spec) for name, spec in specs.items()}
        return Batch(**fields, valid=valid, extra=extra, specs=specs)

    def _asks(self, *names: str) -> bool:
        return any(name in self.needs for name in names)

    # --- images -------------------------------------------------------------------------------------------------------

    def _images(self, sample: Sample, draw: Draw | None, fields: dict[str, Any]) -> Window:
        """Adds what is seen of the image; gives the part that `images` shows."""
        if not self._asks("images", "views", "view_boxes", "masks", "boxes") or sample.image is None:
            return _WHOLE
        varied = draw if self.view.augment else None
        if varied is None and not self._asks("views", "view_boxes", *_OF_REGIONS):
            fields["images"] = self._preprocess.read([sample.picture])
            return _WHOLE
        image = load_image(sample.picture, smallest=self._smallest())
        height, width = image.shape[1:]
        if varied is None:
            window = seen(self._preprocess, width, height)
        else:
            window = random_window(varied("image", 5), width, height, AUGMENT_SCALE)
        if "images" in self.needs:
            shown = self._preprocess(image) if varied is None else window.show(image, self._preprocess)
            fields["images"] = shown[None]
        if self._asks("views", "view_boxes"):
            self._crops(image, draw or Draw(0, 0, sample.id), fields)
        return window

    def _smallest(self) -> int | None:
        """What a JPEG's shorter side must keep, where the largest of all views is wanted."""
        side = max([self.view.size, *(crop.size for crop in self.view.crops)])
        return self._preprocess.reduce * side or None

    def _crops(self, image: Tensor, draw: Draw, fields: dict[str, Any]) -> None:
        height, width = image.shape[1:]
        views, boxes = [], []
        for group, crop in enumerate(self.view.crops):
            preprocess = dataclasses.replace(self._preprocess, size=crop.size)
            windows = [
                random_window(draw(f"crop {group} {i}", 5), width, height, crop.scale) for i in range(crop.count)
            ]
            views.append(torch.stack([window.show(image, preprocess) for window in windows])[None])
            boxes.append(torch.tensor(windows)[None])
        if "views" in self.needs:
            fields["views"] = tuple(views)
        if "view_boxes" in self.needs:
            fields["view_boxes"] = tuple(boxes)

    # --- words --------------------------------------------------------------------------------------------------------

    def _captions(self, sample: Sample, draw: Draw | None) -> tuple[str, ...]:
        """As many captions as are asked for: drawn from the sample's, again from the first where it has too few."""
        words = sample.words
        count, keep = self.sample.captions, 1 if "spans" in self.needs else 0  # spans speak of the first
        if draw is not None and len(words) > count:
            chance = draw("captions", len(words))
            rest = sorted(range(keep, len(words)), key=lambda i: chance[i])
            words = tuple(words[i] for i in [*range(keep), *rest])
        return tuple(words[i % len(words)] for i in range(count)) if words else ()

    def _tokens(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """[1, K, L] of both: token numbers, and which are real."""
        assert self._tokenizer is not None
        texts = [self.sample.template.replace("{}", caption) for caption in captions]
        tokens, mask = self._tokenizer(texts, self.sample.length)
        return tokens[None], mask[None]

    # --- regions ------------------------------------------------------------------------------------------------------

    def _regions(self, sample: Sample, window: Window, captions: Sequence[str], fields: dict[str, Any]) -> Tensor:
        """Adds the fields with one entry a region; gives the mask of those there are, [1, T]."""
        placed = [(region, window.box(region.box)) for region in sample.regions]
        kept = [(region, box) for region, box in placed if box is not None]
        count = len(kept)
        if "boxes" in self.needs:
            fields["boxes"] = torch.tensor([box for _, box in kept]).reshape(1, count, 4)
        if "masks" in self.needs:
            side = self.view.size
            masks = [_mask(region, window, side) for region, _ in kept]
            fields["masks"] = torch.stack(masks)[None] if masks else torch.zeros(1, 0, side, side, dtype=torch.bool)
        if "phrases" in self.needs:
            fields["phrases"] = (tuple(_phrase(region) for region, _ in kept),)
        if "spans" in self.needs:
            fields["spans"] = self._spans(captions[0] if captions else "", [region for region, _ in kept])
        return torch.ones(1, count, dtype=torch.bool)

    def _spans(self, caption: str, regions: Sequence[Region]) -> Tensor:
        """[1, T, S, 2]: where the caption speaks of each region, in tokens."""
        assert self._tokenizer is not None
        before = max(0, self.sample.template.find("{}"))
        text = self.sample.template.replace("{}", caption)
        found = []
        for region in regions:
            spans = [(before + start, before + end) for start, end in region.spans]
            places = self._tokenizer.encode_spans(text, spans, self.sample.length)
            found.append([place for place in places if place is not None])
        most = max([1, *map(len, found)])
        filled = [[*places, *[(0, 0)] * (most - len(places))] for places in found]
        return torch.tensor(filled, dtype=torch.long).reshape(1, len(regions), most, 2)

    # --- what can't be made -------------------------------------------------------------------------------------------

    def _refuse_later(self) -> None:
        if self.view.width or self.view.longest:
            raise DeixisError("Images that are no squares are not made yet.", "Ask for a view of one size.")
        if self.sample.group > 1:
            raise DeixisError("Batches of identities x samples are not made yet.", "Ask for groups of 1.")
        if self._asks("tokens", "spans") and self._tokenizer is None:
            raise DeixisError("Tokens are asked for, and there is no tokenizer.", "Give the model's tokenizer.")

    def _refuse_lacking(self, source: Source, name: str) -> None:
        """Names samples that lack what a field is made from; of regions, some sample must have one."""
        has = _HAS.get(name, lambda sample: sample.extra.get(name) is not None)
        lacking = [sample.id for sample in source.samples if not has(sample)]
        if len(lacking) > (len(source.samples) - 1 if name in _OF_REGIONS else 0):
            raise DeixisError(
                f"{len(lacking)} of {len(source.samples)} samples of {source.name!r} have nothing to make {name!r} "
                f"from: {', '.join(lacking[:3])}{'...' if len(lacking) > 3 else ''}",
                "Leave these samples out, or give them what is missing.",
            )


_HAS: dict[str, Callable[[Sample], bool]] = {
    **dict.fromkeys(("images", "views", "view_boxes"), lambda sample: sample.image is not None),
    **dict.fromkeys(("captions", "tokens"), lambda sample: bool(sample.words)),
    "labels": lambda sample: sample.label is not None,
    "groups": lambda sample: True,
    **dict.fromkeys(("boxes", "phrases"), lambda sample: bool(sample.regions)),
    "masks": lambda sample: any(region.mask for region in sample.regions),
    "spans": lambda sample: any(region.spans for region in sample.regions),
}


def _group(sample: Sample) -> str:
    """The concept that it belongs to first, or itself."""
    return f"group {sample.groups[0]}" if sample.groups else f"sample {sample.id}"


def _phrase(region: Region) -> str:
    return region.phrases[0].text if region.phrases else region.category


def _mask(region: Region, window: Window, size: int) -> Tensor:
    if region.mask is None:
        return torch.zeros(size, size, dtype=torch.bool)
    return window.mask(decode_mask(region.mask), size)


def _column(sample: Sample, spec: FieldSpec) -> Any:
    """The column of that name, with a leading axis of one sample."""
    value = sample.extra[spec.name]
    if spec.dtype == "object":
        return (value,)
    try:
        return torch.as_tensor(value, dtype=_DTYPES[spec.dtype])[None]
    except (TypeError, ValueError, RuntimeError) as error:
        raise DeixisError(
            f"The column {spec.name!r} of the sample {sample.id!r} holds {value!r:.80}, and numbers are wanted.",
            "Mend the column, or leave the sample out.",
        ) from error
