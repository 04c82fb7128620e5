"""Captions of a run: of the data, of a csv in their place or behind them, and beside class labels."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deixis.apps.common.dataset import read
from deixis.apps.common.formatting import counted
from deixis.apps.common.options import Reading
from deixis.apps.common.overrides import parse_overrides
from deixis.apps.label.label_table import DRAFT
from deixis.apps.train.settings import TrainSettings
from deixis.data.class_folders import with_folder_labels
from deixis.data.column_questions import asked_one_by_one
from deixis.data.readers.columns import Columns
from deixis.data.readers.formats.text_tables import read_texts
from deixis.data.readers.text_lines import read_text_lines
from deixis.engine.features.columns import read_for
from deixis.engine.training.stages import card_of, config_specs
from deixis.errors import DeixisError
from deixis.methods import read as read_method
from deixis.types import Sample, SampleSpec, Source, place
from deixis.types.protocols import AnyMethod

__all__ = [
    "caption_notes",
    "cut_notes",
    "read_learned",
    "with_captions",
    "with_classes",
    "with_sentences",
    "with_texts",
]


def with_captions(name: str, source: Source, settings: TrainSettings) -> Source:
    """The source with the captions that the settings add, and notes on them.

    Args:
        name: of the method.
        source: of the run, as it was read.
        settings: of the run.

    Raises:
        DeixisError: as `with_sentences`, `with_texts` and `caption_notes`.
    """
    source = asked_one_by_one(source, settings.ask) if settings.ask else source
    found = with_sentences(source, settings.sentences) if settings.sentences else source
    found = with_classes(name, with_texts(found, settings.texts) if settings.texts else found)
    notes = caption_notes(name, found, parse_overrides(name, settings.set, settings.config))
    return dataclasses.replace(found, notes=(*found.notes, *notes))


def read_learned(name: str, data: str | Source, reading: Reading | None) -> Source:
    """Reads what a method learns from; a table without pictures is read as texts by a method that needs no more, and
    for a stage a .txt as one text a line.

    Args:
        name: of the method; empty: of a stage that draws from data of its own.
        data: what `deixis.apps.common.dataset.read` takes, or a source that was read already.
        reading: columns and the like.
    """
    if isinstance(data, Source):
        return data
    if not name and str(data).endswith(".txt"):
        return read_text_lines(Path(data))
    if name and not {"images", "boxes", "labels"} & read_for(read_method(name).card.needs):
        known = reading or Reading()
        found = read_texts(Path(data), Columns(known.path_column, known.caption_column))
        if found is not None:
            return found
    return read(data, reading)


def with_sentences(source: Source, path: str) -> Source:
    """The source with the sentences of each picture behind its own captions.

    Args:
        source: of the run.
        path: a csv with rows `path,caption`.

    Raises:
        DeixisError: the csv can't be read, or has no sentence for any of the pictures.
    """
    said: dict[str, list[str]] = collections.defaultdict(list)
    for sample in read(path).samples:
        said[place(sample.picture)] += sample.captions
    samples = tuple(_extended(sample, said.get(_place(sample), ())) for sample in source.samples)
    missing = sum(_place(sample) not in said for sample in source.samples)
    if missing == len(samples):
        raise DeixisError(
            f"{path} has no sentence for any of the {counted(missing, 'picture')} of {source.name!r}.",
            "Write it for this data: deixis caption DATA --sentences --out sentences.csv",
        )
    note = (f"{counted(missing, 'picture')} of {len(samples)} have no sentence in {path}.",) if missing else ()
    return dataclasses.replace(source, samples=samples, notes=(*source.notes, *note))


def with_texts(source: Source, path: str) -> Source:
    """The source with the captions of a csv; pictures that it does not name keep their own.

    Args:
        source: of the run.
        path: a csv with rows `path,caption`, such as `deixis caption --model` writes. Drafts in a column beside are no
            captions, as nobody has accepted them.

    Raises:
        DeixisError: the csv can't be read, or has no text for any of the pictures.
    """
    said: dict[str, list[str]] = collections.defaultdict(list)
    written = read(path).samples
    for sample in written:
        said[place(sample.picture)] += [caption for caption in sample.captions if caption.strip()]
    found = [said.get(_place(sample), []) for sample in source.samples]
    missing = sum(not texts for texts in found)
    if missing == len(found):
        raise DeixisError(
            f"{path} has no text for any of the {counted(missing, 'picture')} of {source.name!r}.",
            _cure(path, sum(bool(each.extra.get(DRAFT)) and not any(each.captions) for each in written)),
        )
    samples = tuple(
        dataclasses.replace(sample, captions=tuple(texts) or sample.captions)
        for sample, texts in zip(source.samples, found, strict=True)
    )
    notes = [f"{counted(missing, 'picture')} of {len(found)} have no text in {path}."] if missing else []
    return dataclasses.replace(source, samples=samples, notes=(*source.notes, *notes))


def _cure(path: str, drafts: int) -> str:
    """What gives a csv captions, in which so many rows have a draft alone."""
    if drafts:
        return (
            f"{counted(drafts, 'draft')} in it {'is' if drafts == 1 else 'are'} no caption yet: put into the column "
            f"`caption` what is right, by hand or on the page (deixis serve INDEX --captions {path})."
        )
    return "Write one for this data, with rows path,caption: deixis caption DATA --model RUN --out texts.csv"


def with_classes(name: str, source: Source) -> Source:
    """The source with sub-folders as labels, where a method reads labels, see `with_folder_labels`.

    Args:
        name: of the method.
        source: of the run.
    """
    reads = any(need.name == "labels" for need in read_method(name).card.needs)
    return with_folder_labels(source) if reads else source


def caption_notes(name: str, source: Source, changed: Mapping[str, object]) -> list[str]:
    """How many pictures have a caption, how many captions are equal, and that labels are no captions.

    Args:
        name: of the method; of those that compare with themselves without captions.
        source: what is trained on.
        changed: settings of the method that differ from its preset.

    Raises:
        DeixisError: no picture has a caption.
    """
    control = read_method(name).card.control
    if not control or all(changed.get(key) == value for key, value in control.items()):
        return []
    captions = [text for sample in source.samples for text in sample.captions[:1]]
    count, total = len(captions), len(source.samples)
    if not count:
        setting = " ".join(f"{key}={value}" for key, value in control.items())
        raise DeixisError(
            f"None of the {counted(total, 'picture')} of {source.name!r} has a caption.",
            f"Give captions: --texts texts.csv, with rows path,caption. Or train without: --set {setting}",
        )
    notes = (
        []
        if count == total
        else [f"{counted(total - count, 'picture')} of {total} have no caption: they teach the classes alone."]
    )
    equal = count - len(set(captions))
    if equal:
        notes.append(f"{counted(equal, 'caption')} of {count} {'is' if equal == 1 else 'are'} equal to another one.")
    named = sum(_plain(each.captions[0]) == _plain(each.label or "") for each in source.samples if each.captions)
    if named == count:
        notes.append("All captions are the names of the classes, and tell no more than these: that is the control.")
    return notes


def cut_notes(method: AnyMethod, source: Source) -> list[str]:
    """How many captions are longer than the text encoder of a method reads, or than its language model is to say, where
    it has one; and how many regions are spoken of only in what is left out, where it reads which words mean which.

    Args:
        method: as it was built.
        source: what is trained on.
    """
    card = card_of(method)
    spans = any(spec.name == "spans" for spec in card.needs)
    kinds = ("text_encoder", "lm") if card.control or spans else ("lm",)
    names = [part.name for part in card.parts if part.kind in kinds]
    captions = [text for sample in source.samples for text in sample.captions]
    if not names or not captions:
        return []
    part: Any = getattr(method, names[0])
    asked = [spec.length for spec in config_specs(method, SampleSpec) if spec.field == "tokens"]
    length = min(part.context_length, *asked) if asked else part.context_length
    cut = sum(part.tokenizer.overflow(captions, length))
    if not cut:
        return []
    verb = "is" if cut == 1 else "are"
    notes = [f"{counted(cut, 'caption')} {verb} longer than the {length} tokens that are read."]
    if spans and (lost := _cut_regions(part.tokenizer, source, length)):
        notes.append(f"{counted(lost, 'region')} {'has' if lost == 1 else 'have'} no word among these tokens.")
    return notes


def _cut_regions(tokenizer: Any, source: Source, length: int) -> int:
    """How many regions the first caption speaks of only behind its first `length` tokens."""
    spoken = [each for each in source.samples if each.captions and any(region.spans for region in each.regions)]
    cut = tokenizer.overflow([each.captions[0] for each in spoken], length)
    return sum(
        not any(tokenizer.encode_spans(sample.captions[0], region.spans, length))
        for sample, long in zip(spoken, cut, strict=True)
        for region in sample.regions
        if long and region.spans
    )


def _place(sample: Sample) -> str:
    return "" if sample.image is None else place(sample.image)


def _extended(sample: Sample, sentences: list[str] | tuple[()]) -> Sample:
    return dataclasses.replace(sample, captions=(*sample.captions, *sentences))


def _plain(text: str) -> str:
    return "".join(each for each in text.casefold() if each.isalnum())
