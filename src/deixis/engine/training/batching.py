"""From a method and samples to what makes its batches: the card's fields, the config's views, the parts' own eyes."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Int64
from torch import Tensor

from deixis.data.loading.collate import Collate
from deixis.engine.features.columns import PartColumns, WithColumns, read_for
from deixis.engine.training.stages import card_of, config_specs, name_of, stages
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.nn.dual import DualEncoder
from deixis.types import FieldSpec, Region, Sample, SampleSpec, Source, Stage, ViewSpec
from deixis.types.batch import CORE_FIELDS
from deixis.types.protocols import AnyMethod

__all__ = [
    "QUESTION",
    "collate_for",
    "columns_for",
    "cut_note",
    "encoder_of",
    "needs_of",
    "phrase_spans",
    "preprocess_of",
    "require_encoder",
    "text_reader",
    "tokenized",
]

QUESTION = "question"
"""The column of data in which questions stand."""


def encoder_of(method: AnyMethod) -> DualEncoder | None:
    """The first part that is a dual encoder; None where the method has none."""
    for part in card_of(method).parts:
        value = getattr(method, part.name, None)
        if part.kind == "dual_encoder" and isinstance(value, DualEncoder):
            return value
    return None


def require_encoder(method: AnyMethod) -> DualEncoder:
    """The first part that is a dual encoder.

    Raises:
        DeixisError: there is none.
    """
    encoder = encoder_of(method)
    if encoder is None:
        raise DeixisError(
            f"{card_of(method).title!r} is built on no dual encoder, whose tokenizer and preprocessing are needed.",
            "Take a method that is built on one.",
        )
    return encoder


def needs_of(method: AnyMethod, stage: Stage) -> tuple[FieldSpec, ...]:
    """The fields of a stage's batches: its own, or the card's."""
    return card_of(method).needs if stage.needs is None else stage.needs


def columns_for(method: AnyMethod) -> PartColumns:
    """The fields that the method's frozen parts make, of all its stages. Loaders share them.

    Raises:
        DeixisError: a field names a part that can't make it.
    """
    needs = [spec for stage in (Stage(), *stages(method)) for spec in needs_of(method, stage)]
    return PartColumns(method, needs, _main(method))


def collate_for(
    method: AnyMethod, source: Source, stage: Stage | None = None, columns: PartColumns | None = None
) -> Collate | WithColumns:
    """Makes batches of samples for a stage of a method.

    The fields are those that the stage or the card needs; views and captions are what a `ViewSpec` and a `SampleSpec`
    among the config's fields ask for; preprocessing and tokens are those of the method's parts; what frozen parts make
    is looked up in the store, or made.

    Args:
        method: that is fed.
        source: the samples.
        stage: which of the method's stages.
        columns: see `columns_for`; None: of their own.

    Raises:
        DeixisError: the samples lack what a field is made from.
    """
    stage = stage or Stage()
    needs = needs_of(method, stage)
    sample, tokenizer = _reader(method, _main(method))
    readers = [_reader(method, spec) for spec in config_specs(method, SampleSpec) if spec.field != "tokens"]
    view = stage.view or next(iter(config_specs(method, ViewSpec)), None)
    read = {spec.name: spec for spec in needs if spec.made is None}
    made = read_for([spec for spec in needs if spec.made is not None])
    if "captions" in made:
        read.setdefault("captions", CORE_FIELDS["captions"])
    if view is not None and view.augment is not None and "images" in read:
        _refuse_regions([spec for spec in needs if spec.made is not None and "T" in spec.ragged.split()])
    collate = Collate(
        source,
        tuple(read.values()),
        getattr(_first_with(method, "preprocess"), "preprocess", None) or Preprocess(size=ViewSpec().size),
        tokenizer,
        view=view,
        sample=sample,
        readers=[(spec, reader) for spec, reader in readers if reader is not None],
    )
    return WithColumns(collate, columns or columns_for(method), needs, source) if made else collate


def _first_with(method: AnyMethod, attribute: str) -> Any:
    """The first part of the card, of whatever kind, that brings a preprocessing or a tokenizer; None where none does.

    Batches hold one version of the images; a method whose further parts want another makes it itself.
    """
    for part in card_of(method).parts:
        value = getattr(method, part.name, None)
        for each in value if part.many and value else (value,):
            if getattr(each, attribute, None) is not None:
                return each
    return None


def preprocess_of(method: AnyMethod) -> Preprocess:
    """How a whole picture becomes the method's input, as in its batches."""
    return _of_texts(method, (), ()).preprocess


def text_reader(method: AnyMethod, column: str = "") -> tuple[SampleSpec, Any]:
    """How a method reads texts: the spec of a column, no longer than the part can read, and the part's tokenizer; None
    where no part has one.

    Args:
        method: whose part reads them.
        column: of data, such as `QUESTION`; where the method's config has no spec of it, texts are read as captions.
    """
    specs = [spec for spec in config_specs(method, SampleSpec) if column and spec.column == column]
    return _reader(method, specs[0] if specs else _main(method))


def tokenized(
    method: AnyMethod, texts: Sequence[str], column: str = ""
) -> list[tuple[Int64[Tensor, "1 L"], Bool[Tensor, "1 L"]]]:
    """Token numbers of each text as captions, or texts of a column, have them in the method's batches, and which of
    them are real.

    Args:
        method: whose part reads them.
        texts: at least one.
        column: see `text_reader`.

    Raises:
        DeixisError: there is no text, an empty one, or no part of the method reads texts.
    """
    if not texts or not all(text.strip() for text in texts):
        raise DeixisError("There is no text, or an empty one.", "Give at least one, in words.")
    spec, tokenizer = text_reader(method, column)
    if column and spec.column == column and tokenizer is not None:
        return [tokenizer([spec.template.replace("{}", text)], spec.length) for text in texts]
    collate = _of_texts(method, texts, (CORE_FIELDS["tokens"],))
    found = []
    for text in texts:
        batch = collate(Sample("", None, (text,)))
        assert batch.tokens is not None
        found.append((batch.tokens[:, 0], batch.valid["L"][:, 0]))
    return found


def cut_note(method: AnyMethod, texts: Sequence[str], column: str = "") -> str:
    """How many texts, such as questions, are longer than a method reads, and which; empty: none is.

    Args:
        method: whose part reads them.
        texts: any.
        column: see `text_reader`; what the texts are called.
    """
    spec, tokenizer = text_reader(method, column)
    if not hasattr(tokenizer, "overflow"):
        return ""
    cuts = tokenizer.overflow([spec.template.replace("{}", text) for text in texts], spec.length)
    cut = [textwrap.shorten(text, 60, placeholder="...") for text, long in zip(texts, cuts, strict=True) if long]
    if not cut:
        return ""
    verb, more = ("is", "") if len(cut) == 1 else ("are", ", ..." * (len(cut) > 3))
    return (
        f"{len(cut)} of {len(texts)} {column or 'text'}{'s' * (len(texts) > 1)} {verb} longer than the {spec.length} "
        f"tokens that {name_of(method)} reads, and {verb} cut: {', '.join(map(repr, cut[:3]))}{more}."
    )


def phrase_spans(method: AnyMethod, text: str, spans: Sequence[tuple[int, int]]) -> Int64[Tensor, "1 T 1 2"]:
    """Where stretches of a text lie among the tokens that `tokenized` gives.

    Args:
        method: whose part reads them.
        text: the whole text.
        spans: first character of each and the one behind its last.

    Raises:
        DeixisError: the method reads fewer tokens than it takes to reach one of them.
    """
    regions = tuple(Region((0.0, 0.0, 1.0, 1.0), spans=(span,)) for span in spans)
    sample = Sample("", None, (text,), regions=regions)
    source = Source("", Path(), "captions", "", (sample,))
    collate = collate_for(method, source, Stage(needs=(CORE_FIELDS["tokens"], CORE_FIELDS["spans"])))
    assert isinstance(collate, Collate)
    found = collate(sample).spans
    assert found is not None
    if found.shape[1] < len(spans) or (found[0, :, 0, 1] <= found[0, :, 0, 0]).any():
        raise DeixisError("The text is longer than the model reads.", "Give fewer phrases at a time.")
    return found


def _of_texts(method: AnyMethod, texts: Sequence[str], needs: tuple[FieldSpec, ...]) -> Collate:
    samples = tuple(Sample(str(number), None, (text,)) for number, text in enumerate(texts))
    collate = collate_for(method, Source("", Path(), "captions", "", samples), Stage(needs=needs))
    assert isinstance(collate, Collate)
    return collate


def _refuse_regions(made: Sequence[FieldSpec]) -> None:
    """What a part makes of the regions of a whole image would not be that of its crop."""
    if made:
        raise DeixisError(
            f"{made[0].name!r} is made of the regions of whole images, and the view cuts the images at random.",
            "Take a view without augment, or give the regions with the data.",
        )


def _main(method: AnyMethod) -> SampleSpec:
    """The requested form of the captions and their tokens."""
    return next((spec for spec in config_specs(method, SampleSpec) if spec.field == "tokens"), SampleSpec())


def _reader(method: AnyMethod, spec: SampleSpec) -> tuple[SampleSpec, Any]:
    """The spec with texts no longer than the part can read, and the tokenizer of that part; None where it has none."""
    part = getattr(method, spec.tokenizer, None) or _first_with(method, "tokenizer")
    length = getattr(part, "context_length", spec.length)
    return dataclasses.replace(spec, length=min(spec.length, length)), getattr(part, "tokenizer", None)
