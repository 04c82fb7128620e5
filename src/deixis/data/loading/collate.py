"""From a sample to its row of a `Batch`: exactly the fields that a method requires."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deixis.data.loading.crops import WHOLE, region_mask
from deixis.data.loading.image_views import ImageViews, Visible
from deixis.data.loading.sampler import Draw, group_of
from deixis.data.loading.sides import may_mirror, mirror_notes
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.inputs.sentences import sentence_pool
from deixis.inputs.tokenizer import Tokenizer
from deixis.types.batch import CORE_FIELDS, DTYPES, Batch
from deixis.types.samples import Region, Sample, Source
from deixis.types.specs import FieldSpec, SampleSpec, ViewSpec

__all__ = ["Collate", "Reader"]

Reader = tuple[SampleSpec, Tokenizer]
"""How a further field of tokens is made."""

_OF_IMAGES = frozenset({"images", "views", "view_boxes"})
_OF_REGIONS = ("boxes", "masks", "spans", "phrases")


class Collate:
    """Makes batches of one sample; `deixis.types.batch.concatenate` joins them. May be called from many threads.

    With a `Draw`, the captions are drawn, images are varied where the view says so and crops are placed at random,
    as the seed, the epoch and the sample's id say. Without one, the first captions and the model's own view of the
    image are taken. Boxes, masks, spans, phrases and all columns with one entry a region follow the image and the text;
    regions outside the visible part are left out of all of them.

    What can be done for many samples at once is done by `finish`: a loader joins what `row` gives and calls it once a
    batch. Called, it does both for one sample.

    Args:
        source: the samples; their labels are numbered in sorted order, and so are their groups.
        needs: the fields to fill.
        preprocess: how images are brought to the model's size.
        tokenizer: for `tokens` and `spans`.
        view: of the images; the default is the square of `preprocess`.
        sample: captions per image, their template, and their length, which the model's context must hold.
        readers: of further fields of tokens.

    Raises:
        DeixisError: the samples lack what a field is made from.
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
        readers: Sequence[Reader] = (),
    ) -> None:
        self.needs = {spec.name: spec for spec in needs}
        self.sample, self._tokenizer = sample or SampleSpec(), tokenizer
        self._readers = {spec.field: (spec, reader) for spec, reader in readers if spec.field in self.needs}
        self._per_region = [spec.name for spec in needs if spec.name not in CORE_FIELDS and _per_region(spec)]
        # What regions need to know of an image: which part of it is visible.
        needed = self._asks("masks", "boxes") or (
            "images" in self.needs and self._asks(*_OF_REGIONS, *self._per_region)
        )
        placed = {"regions"} if needed else set()
        self._views = ImageViews(view or ViewSpec(size=0), preprocess, frozenset(_OF_IMAGES & set(self.needs) | placed))
        self._source = source
        self.classes = tuple(sorted({each.label for each in source.samples if each.label is not None}))
        self._labels = {label: number for number, label in enumerate(self.classes)}
        keys = sorted({group_of(each) for each in source.samples})
        self._groups = {key: number for number, key in enumerate(keys)}
        if self._asks("tokens", "spans") and self._tokenizer is None:
            raise DeixisError("Tokens are required, and there is no tokenizer.", "Give the model's tokenizer.")
        for name in self.needs:
            self._refuse_lacking(source, name)

    @property
    def preprocess(self) -> Preprocess:
        """How a whole image is brought to the view's size."""
        return self._views.preprocess

    def __call__(self, sample: Sample, draw: Draw | None = None) -> Batch:
        """A batch of this sample alone.

        Args:
            sample: one of the source's.
            draw: what is drawn for it; None for evaluation.

        Raises:
            ImageError: its image can't be read.
        """
        return self.finish(self.row(sample, draw), None if draw is None else lambda _: draw)

    def row(self, sample: Sample, draw: Draw | None = None) -> Batch:
        """As a call, but for what `finish` does; images then have 8 bits a value where that is left."""
        fields: dict[str, Any] = {"ids": (sample.id,)}
        valid: dict[str, Tensor] = {}
        visible = Visible(WHOLE, (self._views.view.size,) * 2)
        if sample.image is not None and self._views.fields:
            images, valid, visible = self._views.row(
                sample, draw, self._views.mirrors and may_mirror(self._source, sample)
            )
            fields |= images
        captions = self._captions(sample, draw, self.sample)
        if "captions" in self.needs:
            fields["captions"] = (captions,)
        if "tokens" in self.needs:
            fields["tokens"], valid["L"] = self._tokens(captions, self.sample, self._tokenizer)
        if "labels" in self.needs and sample.label is not None:
            fields["labels"] = torch.tensor([self._labels[sample.label]])
        if "groups" in self.needs:
            fields["groups"] = torch.tensor([self._groups[group_of(sample)]])
        specs = {name: spec for name, spec in self.needs.items() if name not in CORE_FIELDS}
        extra = {name: self._extra(sample, draw, spec, valid) for name, spec in specs.items()}
        if self._asks(*_OF_REGIONS, *self._per_region):
            valid["T"] = self._regions(sample, visible, captions, fields, extra)
        batch = Batch(**fields, valid=valid, extra=extra, specs=specs)
        # What differs in size from sample to sample is finished before it is padded.
        finish = self._views.view.longest > 0
        return self._views.finish(batch, None if draw is None else lambda _: draw) if finish else batch

    def finish(self, batch: Batch, draws: Callable[[str], Draw] | None = None) -> Batch:
        """What is left to do for rows that were put together.

        Args:
            batch: of them.
            draws: sample id -> what is drawn for it, as for `row`; None for evaluation.
        """
        return self._views.finish(batch, draws)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how these samples are varied."""
        return mirror_notes(self._source) if self._views.mirrors else ()

    def _asks(self, *names: str) -> bool:
        return any(name in self.needs for name in names)

    # --- words --------------------------------------------------------------------------------------------------------

    def _captions(self, sample: Sample, draw: Draw | None, spec: SampleSpec) -> tuple[str, ...]:
        """As many captions as are requested: drawn from the sample's, again from the first where it has too few; of
        sentences none comes twice, and what is missing is empty."""
        words = _words(sample, spec.column)
        if spec.sentences:
            words = sentence_pool(words, spec.keep_first)
        count, keep = spec.captions, int(spec.keep_first or ("spans" in self.needs and not spec.column))  # of the first
        if draw is not None and len(words) > count:
            chance = draw(f"captions {spec.column}".strip(), len(words))
            rest = sorted(range(keep, len(words)), key=lambda i: chance[i])
            words = tuple(words[i] for i in [*range(keep), *rest])
        if spec.sentences:
            return (*words[:count], *[""] * (count - len(words)))
        return tuple(words[i % len(words)] for i in range(count)) if words else ()

    def _tokens(self, captions: Sequence[str], spec: SampleSpec, tokenizer: Tokenizer | None) -> tuple[Tensor, Tensor]:
        """[1, K, L] of both: token numbers, and which are real."""
        assert tokenizer is not None
        tokens, mask = tokenizer([spec.template.replace("{}", caption) for caption in captions], spec.length)
        if spec.sentences:  # not even the marks of an empty text are real
            mask = mask & torch.tensor([bool(caption) for caption in captions])[:, None]
            tokens = tokens * mask
        return tokens[None], mask[None]

    def _extra(self, sample: Sample, draw: Draw | None, spec: FieldSpec, valid: dict[str, Tensor]) -> Any:
        """A further field: tokens of a reader, or the column of that name. Adds what of it is real."""
        ragged = spec.ragged.split()
        if spec.name in self._readers:
            sample_spec, reader = self._readers[spec.name]
            value, valid[ragged[0]] = self._tokens(self._captions(sample, draw, sample_spec), sample_spec, reader)
            return value
        axes = spec.axes.split()
        if axes[-3:] == ["3", "H", "W"]:
            return self._pictures(sample, spec)
        value = _targets(sample) if _derived(sample, spec.name) else _column(sample, spec)
        for letter in ragged:
            if letter in axes and letter != "T" and letter not in valid:
                valid[letter] = torch.ones(1, value.shape[axes.index(letter)], dtype=torch.bool)
        return value

    def _pictures(self, sample: Sample, spec: FieldSpec) -> Tensor:
        """A column of several pictures of a sample [1, ..., 3, H, W], each whole, as the model takes it."""
        pictures, count = sample.extra[spec.name], int(spec.axes.split()[1])
        if len(pictures) != count:
            raise DeixisError(
                f"The column {spec.name!r} of the sample {sample.id!r} has {len(pictures)} pictures, not {count}.",
                "Fix the column, or remove the sample.",
            )
        return self.preprocess.read(list(pictures))[None]

    # --- regions ------------------------------------------------------------------------------------------------------

    def _regions(
        self, sample: Sample, visible: Visible, captions: Sequence[str], fields: dict[str, Any], extra: dict[str, Any]
    ) -> Tensor:
        """Adds the fields with one entry a region, and takes those that are not visible out of columns; returns the
        mask of the regions that are, [1, T]."""
        boxes = [visible.window.box(region.box) for region in sample.regions]
        inside = [number for number, box in enumerate(boxes) if box is not None]
        regions = [sample.regions[number] for number in inside]
        if "boxes" in self.needs:
            fields["boxes"] = torch.tensor([boxes[number] for number in inside]).reshape(1, len(inside), 4)
        if "masks" in self.needs:
            masks = [region_mask(region, visible.window, visible.size) for region in regions]
            fields["masks"] = torch.stack(masks)[None] if masks else torch.zeros(1, 0, *visible.size, dtype=torch.bool)
        if "phrases" in self.needs:
            fields["phrases"] = (tuple(_phrase(region) for region in regions),)
        if "spans" in self.needs:
            fields["spans"] = self._spans(captions[0] if captions else "", regions)
        for name in self._per_region:
            _require_paired(sample, name, extra[name].shape[1])
            extra[name] = extra[name][:, inside]
        return torch.ones(1, len(inside), dtype=torch.bool)

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

    def _refuse_lacking(self, source: Source, name: str) -> None:
        """Names samples that lack what a field is made from; of regions, some sample must have one."""
        has = _HAS.get(name, lambda sample: sample.extra.get(name) is not None or _derived(sample, name))
        if name in self._readers:
            column = self._readers[name][0].column
            has = lambda sample: bool(_words(sample, column))  # noqa: E731
        lacking = [sample.id for sample in source.samples if not has(sample)]
        if len(lacking) > (len(source.samples) - 1 if name in _OF_REGIONS else 0):
            raise DeixisError(
                f"{len(lacking)} of {len(source.samples)} samples of {source.name!r} lack the data for {name!r}: "
                f"{', '.join(lacking[:3])}{'...' if len(lacking) > 3 else ''}",
                "Remove these samples, or add what is missing.",
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


def _words(sample: Sample, column: str = "") -> tuple[str, ...]:
    """Its captions, or its label where it has none; or the texts of a column."""
    if column:
        texts = sample.extra.get(column, ())
        return (texts,) if isinstance(texts, str) else tuple(str(text) for text in texts or ())
    return sample.words


def _derived(sample: Sample, name: str) -> bool:
    """Whether the targets are what the sample's regions are: its text means all of them, and no others are given."""
    return name == "targets" and name not in sample.extra and bool(sample.regions)


def _targets(sample: Sample) -> Tensor:
    """[1, Q, 4]: the boxes that the text means, in shares of the whole image."""
    return torch.tensor([region.box for region in sample.regions]).reshape(1, -1, 4)


def _per_region(spec: FieldSpec) -> bool:
    """Whether a column has one entry a region."""
    return "T" in spec.ragged.split() and spec.axes.split()[:2] == ["B", "T"]


def _require_paired(sample: Sample, name: str, count: int) -> None:
    """Makes sure that a column has as many entries as the sample has regions."""
    if count != len(sample.regions):
        raise DeixisError(
            f"The column {name!r} of the sample {sample.id!r} has {count} entries, and there are "
            f"{len(sample.regions)} regions.",
            "Give one entry for each region, in their order.",
        )


def _phrase(region: Region) -> str:
    return region.phrases[0].text if region.phrases else region.category


def _column(sample: Sample, spec: FieldSpec) -> Any:
    """The column of that name, with a leading axis of one sample."""
    value = sample.extra[spec.name]
    if spec.dtype == "object":
        return (value,)
    try:
        return torch.as_tensor(value, dtype=DTYPES[spec.dtype])[None]
    except (TypeError, ValueError, RuntimeError) as error:
        raise DeixisError(
            f"The column {spec.name!r} of the sample {sample.id!r} holds {value!r:.80}, and numbers are expected.",
            "Fix the column, or remove the sample.",
        ) from error
