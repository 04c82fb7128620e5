"""From a path to samples that can be learned from: read, checked, encoded. Every verb begins so."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Container, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from deixis.apps.common.console import Reporter
from deixis.apps.common.formatting import counted
from deixis.apps.common.loading import load_encoder
from deixis.apps.common.options import Reading
from deixis.apps.common.runs import writable
from deixis.apps.common.settings_keywords import takes_settings
from deixis.data import catalogue
from deixis.data.quality import check as checks
from deixis.data.quality.image_probe import left_out
from deixis.data.readers import sources
from deixis.engine.features.calls import PartCall
from deixis.engine.features.embedding import encode_images, encode_once, encode_texts
from deixis.engine.features.store import FeatureStore, FeatureTable, table
from deixis.errors import DeixisError
from deixis.files import cache_dir, explained, write_json
from deixis.inputs.clip_bpe import ClipTokenizer
from deixis.inputs.opening import allow_pixels
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.dual import DualEncoder
from deixis.types import ImageStates, Picture, Sample, Skipped, Source
from deixis.zoo import starter

__all__ = [
    "CheckedDataset",
    "check",
    "check_and_read",
    "drop_unlabelled",
    "embed",
    "embed_pairs",
    "embed_plain",
    "encode_source",
    "in_a_sentence",
    "read",
    "reader",
    "texts",
]

_CLIP_CONTEXT = 77
_TEMPLATE = "a photo of a {}."


@dataclasses.dataclass(frozen=True)
class CheckedDataset:
    """Samples whose images can be decoded, and what the check said.

    Attributes:
        source: the readable samples.
        report: of the check; its `hashes` and `same` go with these samples.
    """

    source: Source
    report: checks.CheckReport

    @property
    def pictures(self) -> list[Picture]:
        """The images, in order."""
        return [sample.picture for sample in self.source.samples]


@takes_settings(reading=Reading)
def read(data: str | Sequence[str], reading: Reading | None = None) -> Source:
    """Reads DATA: whatever `sources.read` knows, or `set:NAME` for a set that `deixis data get NAME` fetched.

    Args:
        data: a path, a pattern, `set:NAME`, or `set:NAME/PART` for a part of one; or the paths of images.
        reading: columns and the like, where they are not to be guessed; its limit on pixels holds for this process.
    """
    if reading is not None:
        allow_pixels(reading.max_pixels)
    if isinstance(data, str) and data.startswith("set:"):
        return catalogue.read(data[4:])
    r = reading or Reading()
    return sources.read(
        Path(data) if isinstance(data, str) else data,
        path_column=r.path_column,
        caption_column=r.caption_column,
        label_column=r.label_column,
        group_column=r.group,
        names_as_captions=r.names_as_captions,
    )


def check_and_read(source: Source, talk: Reporter, encoder: DualEncoder | None = None) -> CheckedDataset:
    """Checks all images of a source; with an encoder also whether captions fit its context."""
    for note in source.notes:
        talk.say(note)
    judge = "not measured, no model was given" if encoder is None else _reader(encoder)
    with talk.step("check"), talk.bar("check images") as bar:
        report = checks.check(source, reader=judge, progress=bar)
    usable = report.usable(source)
    _require_some(usable, source)
    return CheckedDataset(usable, report)


def _require_some(usable: Source, source: Source) -> None:
    if not usable.samples:
        first = usable.skipped[len(source.skipped)]
        if first.reason == "not enough memory":
            raise MemoryError  # the command line says what to do
        raise DeixisError(
            f"None of the {counted(len(source.samples), 'image')} of {source.root} can be read; "
            f"the first: {first.detail}",
            "Give pictures that an image viewer can open.",
        )


def drop_unlabelled(collection: CheckedDataset, talk: Reporter) -> CheckedDataset:
    """The samples with words to learn from: a label where there are labels, else a caption. The others are skipped."""
    source, report = collection.source, collection.report
    what = "label" if source.kind == "labels" else "caption"
    retained = [i for i, s in enumerate(source.samples) if (s.label if source.kind == "labels" else s.captions)]
    if len(retained) == len(source.samples):
        return collection
    talk.say(
        f"{len(source.samples) - len(retained)} of {len(source.samples)} images have no {what}, and are skipped. "
        "`deixis index` with the new model makes all of them searchable."
    )
    place = {old: new for new, old in enumerate(retained)}
    same = ([place[i] for i in group if i in place] for group in report.same)
    bare = (Skipped(s.id, f"no {what}") for i, s in enumerate(source.samples) if i not in place)
    return CheckedDataset(
        dataclasses.replace(
            source, samples=tuple(source.samples[i] for i in retained), skipped=(*source.skipped, *bare)
        ),
        dataclasses.replace(
            report,
            hashes=tuple(report.hashes[i] for i in retained),
            same=tuple(tuple(group) for group in same if len(group) > 1),
        ),
    )


def texts(source: Source) -> list[str]:
    """One sentence a sample: its first caption, or its class in a sentence."""
    if source.kind == "labels":
        return [in_a_sentence(str(sample.label)) for sample in source.samples]
    return [sample.captions[0] for sample in source.samples]


def in_a_sentence(label: str) -> str:
    """A class as a text that a model can read."""
    return _TEMPLATE.format(label.replace("_", " "))


@takes_settings(reading=Reading)
def check(
    data: str, reading: Reading | None = None, *, model: str = "", json: str | Path = "", quiet: bool = False
) -> checks.CheckReport:
    """Checks DATA without learning anything: corrupt, duplicate, missing, truncated, imbalanced, leaking.

    Args:
        data: what `read` takes.
        reading: columns and the like, where they are not to be guessed.
        model: whose context the captions must fit, see `reader`.
        json: a file to write the report to, or `-` for standard output, which then holds nothing else; its keys are
            described at `CheckReport.to_dict`.
        quiet: print nothing, but what `json` requests.

    Returns:
        The report; its `status` is 0 clean, 1 warnings, 2 unusable.
    """
    talk, file = Reporter(quiet), None if str(json) in ("", "-") else Path(json)
    if file is not None:
        _require_place(file)
    judge = reader(model)
    source = read(data, reading)
    for note in source.notes:
        talk.say(note)
    with talk.bar("check images") as bar:
        report = checks.check(source, reader=judge, progress=bar)
    word = {0: "clean", 1: "warnings", 2: "unusable"}[report.status]
    sentence = f"{source.name}: {word}. {report.reason} {report.cure}".strip()
    if str(json) == "-":
        talk.say(sentence)
        sys.stdout.write(dumps(report.to_dict(), indent=2, ensure_ascii=False) + "\n")
        return report
    talk.result(sentence)
    talk.table(f"{source.layout}", ("what", "count", "example"), report.rows())
    if file is not None:
        with explained(file):
            write_json(file, report.to_dict())
    return report


def _require_place(file: Path) -> None:
    """Refuses, before any work, a file for a report that can't be written."""
    if file.is_dir():
        raise DeixisError(f"{file} is a folder; the report goes into a file.", "Choose another --json.")
    try:
        writable(file)
    except DeixisError as error:
        raise DeixisError(error.found, "Choose another --json.") from error


def reader(model: str = "") -> checks.Reader | str:
    """Whose tokens a check counts.

    Args:
        model: a name or a model folder. Where none is given: CLIP's encoding with its 77 tokens, which nearly every
            image-text model reads, if its table is in the cache; else the starter's, if that is.

    Returns:
        The reader, or why there is none.

    Raises:
        DeixisError: there is no such model.
    """
    path = cache_dir("starter") / starter.FILES["tokenizer"]
    if model == "starter" and path.is_file():  # its weights take seconds, and aren't needed
        return checks.Reader.of("the starter", Tokenizer.from_file(path), starter.CONTEXT)
    if model:
        return _reader(load_encoder(model))
    with contextlib.suppress(DeixisError):
        return checks.Reader.of("CLIP", ClipTokenizer.cached(), _CLIP_CONTEXT)
    with contextlib.suppress(DeixisError):
        return reader("starter")
    return "not measured, no tokenizer is in the cache. Run: deixis data get clip-bpe"


def _reader(encoder: DualEncoder) -> checks.Reader | str:
    if not encoder.reads_text:
        return f"not measured, {encoder.name} reads no text"
    return checks.Reader.of(encoder.name, encoder.tokenizer, encoder.context_length)


def embed(
    encoder: DualEncoder, samples: Sequence[Sample], hashes: Sequence[str], talk: Reporter, *, mirrored: bool
) -> tuple[Float[Tensor, "V B D"], Float[Tensor, "V B F"], Float[Tensor, "V B"]]:
    """Encodes the images of samples with the frozen towers, from the store where they were encoded before."""
    store = FeatureStore()
    reported: list[int] = []
    try:
        with talk.step("encode"), talk.bar("encode images") as bar:

            def update(done: int, total: int) -> None:
                if not reported and done > 0:
                    talk.say(f"{done} of {total} images were encoded before; resuming")
                reported.append(done)
                bar(done, total)

            pictures = [sample.picture for sample in samples]
            return encode_images(encoder, pictures, hashes, store, mirrored=mirrored, progress=update)
    finally:
        store.close()


def embed_plain(encoder: DualEncoder, samples: Sequence[Sample], hashes: Sequence[str], talk: Reporter) -> ImageStates:
    """The plain view of `embed`, its embeddings through the model's adapter where it has one."""
    states = ImageStates(*(view[0].clone() for view in embed(encoder, samples, hashes, talk, mirrored=False)))
    return dataclasses.replace(states, embedding=PartCall.states(encoder).embedding(states))


def embed_pairs(
    encoder: DualEncoder, collection: CheckedDataset, talk: Reporter, *, mirrored: bool, prefix: str = ""
) -> FeatureTable:
    """The frozen features of samples with captions or labels, images and texts.

    Args:
        encoder: the frozen model.
        collection: checked samples.
        talk: receives the progress.
        mirrored: whether each image is also encoded mirrored.
        prefix: what the ids begin with.
    """
    source = collection.source
    views = embed(encoder, source.samples, collection.report.hashes, talk, mirrored=mirrored)
    with talk.step("encode"), contextlib.closing(FeatureStore()) as store:
        sentences = texts(source)
        vectors = encode_texts(encoder, sentences, store)
    return table([f"{prefix}{sample.id}" for sample in source.samples], views, sentences, vectors)


class EncodedSource(NamedTuple):
    """Samples whose images were read and encoded in one pass.

    Attributes:
        source: the readable samples.
        hashes: of the contents of their images.
    """

    source: Source
    hashes: tuple[str, ...]


def encode_source(
    encoder: DualEncoder | PartCall,
    source: Source,
    store: FeatureStore,
    talk: Reporter,
    *,
    known: Container[str] = (),
    unread: Mapping[int, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> EncodedSource:
    """Reads and encodes the images of a source in one pass, with the frozen towers, into the store.

    In place of `check_and_read` and `embed` where nothing is learned: nobody needs to know then what looks alike or
    what is lopsided, and a picture that can't be read is found by encoding it.

    Args:
        encoder: whose towers encode; or the call of its states, see `deixis.engine.features.image_call`.
        source: with images.
        store: where rows are stored.
        talk: receives the progress.
        known: hashes of contents that need no encoding.
        unread: number of a sample -> hash of its image, for those that need no reading either.
        progress: called, too, with (images done, images in all); what it raises ends the pass.

    Raises:
        DeixisError: a sample has no image, or none of the images can be read.
    """
    for note in source.notes:
        talk.say(note)
    unread, start = unread or {}, time.perf_counter()
    samples = [each for number, each in enumerate(source.samples) if number not in unread]
    with talk.step("encode"), talk.bar("encode images") as bar:

        def update(done: int, total: int) -> None:
            bar(done, total)
            if progress is not None:
                progress(done, total)

        found = encode_once(encoder, [each.picture for each in samples], store, known=known, progress=update)
    broken = tuple(left_out(samples[i], error) for i, error in found.failures.items())
    read = iter(found.hashes)
    hashes = [unread[number] if number in unread else next(read) for number in range(len(source.samples))]
    readable = tuple(each for each, digest in zip(source.samples, hashes, strict=True) if digest)
    usable = dataclasses.replace(source, samples=readable, skipped=(*source.skipped, *broken))
    _require_some(usable, source)
    before = len(samples) - len(broken) - found.encoded
    engine = encoder.engine if isinstance(encoder, PartCall) and found.encoded else ""
    _tell_encoded(talk, len(samples), before, time.perf_counter() - start, engine)
    return EncodedSource(usable, tuple(digest for digest in hashes if digest))


def _tell_encoded(talk: Reporter, images: int, before: int, seconds: float, engine: str) -> None:
    if images:
        copies = f"; {before} of them were encoded before, or are copies" if before else ""
        by = f", embedded with {engine}" if engine else ""
        talk.say(f"{counted(images, 'image')} in {seconds:.1f} s, {images / seconds:.0f} a second{by}{copies}")
