"""Writes sentences about pictures from what is known to be in them: name, number, colour, place and relation."""

from __future__ import annotations

import csv
import dataclasses
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from deixis import zoo
from deixis.apps.caption.csv_output import require_free_csv
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import read
from deixis.apps.common.formatting import counted
from deixis.apps.common.options import Reading
from deixis.apps.predict.settings import PredictOutput, PredictSettings
from deixis.data.synthetic.scenes.captions import long_caption
from deixis.data.synthetic.scenes.cutouts import Cutout
from deixis.data.synthetic.scenes.expressions import GroundTruth
from deixis.data.synthetic.scenes.layout import ThingFacts
from deixis.data.synthetic.scenes.wording import NUMBERS
from deixis.engine.chat_writer import ChatWriter
from deixis.errors import DeixisError
from deixis.files import atomic_path, explained
from deixis.inputs.images import load_image
from deixis.nn.language.causal_lm import CausalLm
from deixis.nn.language.generation import generate
from deixis.nn.language.sequences import prompt, words_of
from deixis.ops.regions.colours import COLOUR_NAMES, colour_shares
from deixis.types import Region, Sample, place
from deixis.types.protocols import LanguageModel, Proposals
from deixis.zoo.word_kinds import kinds_of

__all__ = ["rephrased", "sentences_of", "write_sentences"]

_SURE = 0.5
"""What a region that was detected must score to be spoken of."""

_MOSTLY = 0.6
"""Share of a box that a colour must have to be named."""

_APART = 0.1
"""By how much that share must be higher than in a box of twice the size: a thin thing has the ground's colour."""

_MOST = 8
"""Things of a picture that are spoken of; numbers are words up to eight."""

_REPHRASE, _REQUEST, _LENGTH = "In other words: {} ", "Rewrite this sentence in other words: {}", 40
_ARTICLE = re.compile(r"^(?:an?|the|some)\s+", re.IGNORECASE)
_NUMBER = re.compile(rf"\b(?:{'|'.join(NUMBERS[2:])}) ")
_WORD = re.compile(r"[^\W\d_]+")
_PLAIN = frozenset(
    "a an and are as at behind beside by can from has have here image in is it its of on one picture scene see seen "
    "shown shows stands that the them there these they this to two we which with you".split()
)


def write_sentences(
    data: str,
    settings: PredictSettings,
    output: PredictOutput,
    reading: Reading,
    proposals: str = "",
    rewrite: str = "",
) -> Path:
    """Writes a csv with a row a sentence, `path,caption`, about each picture of DATA.

    Args:
        data: what `deixis.apps.common.dataset.read` takes.
        settings: device, batch and precision.
        output: the csv.
        reading: columns and the like.
        proposals: the part that detects what is in the pictures; empty: the boxes of the data.
        rewrite: the part that says each sentence in other words; what it says of anything else is dropped. Empty: none.

    Raises:
        DeixisError: `out` is no csv or is there, nothing is known of any picture, or there is no such part.
    """
    out, talk = Path(output.out or "sentences.csv"), Reporter(output.quiet)
    require_free_csv(out, output.overwrite, "sentences")
    source = read(data, reading)
    if not proposals and not any(sample.regions for sample in source.samples):
        raise DeixisError(
            f"{source.name!r} has no boxes, so nothing is known of what the pictures show.",
            "Detect it: --proposals centernet (after `deixis data get detector`), or give data with boxes.",
        )
    with settings.active():
        detector: Proposals | None = zoo.load_part("proposals", proposals) if proposals else None
        writer: LanguageModel | None = zoo.load_part("lm", rewrite, source=source) if rewrite else None
        rows, unsaid, unchanged = [], 0, 0
        with talk.bar("describe") as bar:
            for number, (sample, said) in enumerate(_described(source.samples, detector), 1):
                put = said if writer is None else rephrased(writer, said)
                rows += [(place(sample.picture), sentence) for sentence in put]
                unsaid, unchanged = unsaid + (not said), unchanged + sum(map(str.__eq__, said, put))
                bar(number, len(source.samples))
    if not rows:
        raise DeixisError("Nothing was found in any picture.", "Give data with boxes, or other --proposals.")
    with explained(out), atomic_path(out) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "caption"), *rows])
    notes = f"; nothing is known of {counted(unsaid, 'picture')}" if unsaid else ""
    kept = f"; {unchanged} stay as they were, as other words named other things" if rewrite else ""
    talk.result(f"{counted(len(rows), 'sentence')} in {out}{notes}{kept}.")
    talk.result(f"Train with them: deixis train dreamlip --data {data} --sentences {out}")
    return out


def _described(samples: Sequence[Sample], detector: Proposals | None) -> Iterator[tuple[Sample, list[str]]]:
    """Each sample with its sentences; a picture that can't be read has none."""
    for sample in samples:
        try:
            picture = load_image(sample.picture)
        except DeixisError:
            yield sample, []
            continue
        regions = sample.regions if detector is None else _detected(picture, detector)
        yield sample, sentences_of(_coloured(regions, picture), sample.id, numbers=detector is None)


def _coloured(regions: Sequence[Region], picture: UInt8[Tensor, "3 H W"]) -> list[Region]:
    """The regions with the colour of most of each box, where one has most of it, more than it has of what lies around,
    and the data say nothing of it. People get none: of a dark picture it would say that somebody is black."""
    if not regions:
        return []
    boxes = torch.tensor([region.box for region in regions])
    margin = (boxes[:, 2:] - boxes[:, :2]) / 2
    around = torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1).clamp(0, 1)
    inside, outside = colour_shares((picture[None] / 255).expand(2, -1, -1, -1), torch.stack([boxes, around]))
    shares, numbers = inside.max(1)
    named = (shares >= _MOSTLY) & (shares - outside.gather(1, numbers[:, None])[:, 0] >= _APART)
    named &= torch.tensor(["person" not in kinds_of(region.category.lower()) for region in regions])
    return [
        dataclasses.replace(region, attributes={"colour": COLOUR_NAMES[number], **region.attributes})
        if name
        else region
        for region, name, number in zip(regions, named.tolist(), numbers.tolist(), strict=True)
    ]


def _detected(picture: UInt8[Tensor, "3 H W"], detector: Proposals) -> tuple[Region, ...]:
    """What the detector is sure of."""
    with torch.no_grad():
        found = detector(detector.preprocess.batch([picture]))
    sure = found.valid[0] & (found.scores[0] >= _SURE)
    names = [detector.classes[number] for number in found.classes[0][sure].argmax(1).tolist()]
    boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in found.boxes[0][sure].tolist()]
    return tuple(Region(box, name) for box, name in zip(boxes, names, strict=True))


def sentences_of(regions: Sequence[Region], name: str, *, numbers: bool = True) -> list[str]:
    """Sentences about the things of a picture, in the wording of the long captions of scenes: how many of each there
    are, where each is and in which colour, where that is known, and how two of them lie to each other.

    Args:
        regions: the things; the first eight that have a name are spoken of, the largest first.
        name: of the picture; how it is put hangs on it.
        numbers: whether it is said how many there are of a noun. A detector misses some of several: on 18 photographs
            three of four such numbers were wrong.
    """
    named = [(noun, region) for region in regions if (noun := _noun(region))]
    largest = sorted(named, key=lambda each: -_area(each[1]))[:_MOST]
    if not largest:
        return []
    facts = [_facts(noun, region, number) for number, (noun, region) in enumerate(largest)]
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(zlib.crc32(name.encode("utf-8", "replace")))))
    said = long_caption(rng, GroundTruth(facts), "", 0.0, ())
    texts = [sentence["text"] for sentence in said]
    return texts if numbers else [_NUMBER.sub("", text) for text in texts]


def _noun(region: Region) -> str:
    """What a thing is called: its class, or the first phrase that names it, without article."""
    phrase = region.phrases[0].text if region.phrases else ""
    return _ARTICLE.sub("", (region.category or phrase).strip().rstrip(".")).casefold()


def _area(region: Region) -> float:
    x0, y0, x1, y1 = region.box
    return (x1 - x0) * (y1 - y0)


def _facts(noun: str, region: Region, number: int) -> ThingFacts:
    """A thing of a picture as one of a scene, of which no size is known: in photographs it says nothing."""
    colour = str(region.attributes.get("colour") or "")
    if colour and noun.startswith(f"{colour} "):
        noun = noun.removeprefix(f"{colour} ")
    cutout = Cutout(str(number), noun, Path())
    return ThingFacts(cutout, "", colour, False, region.box, region.box, 1.0, number)


def rephrased(writer: LanguageModel, sentences: Sequence[str]) -> list[str]:
    """The sentences in other words; one stays as it is where the other words name anything that it does not.

    Args:
        writer: what continues a text.
        sentences: any.
    """
    if isinstance(writer, CausalLm) and writer.chat_template:
        answer = ChatWriter(writer, _LENGTH)
        return [_kept(sentence, answer([("user", _REQUEST.format(sentence))])) for sentence in sentences]
    return [_kept(sentence, _continued(writer, _REPHRASE.format(sentence))) for sentence in sentences]


def _continued(writer: LanguageModel, text: str) -> str:
    tokens = writer.tokenizer([text], writer.context_length - _LENGTH)
    return generate(writer, *prompt(writer, None, words_of(writer, *tokens)), _LENGTH)[0].text.strip()


def _kept(sentence: str, other: str) -> str:
    old, new = (set(_words(text)) for text in (sentence, other))
    return other if new - _PLAIN and new <= old | _PLAIN else sentence


def _words(text: str) -> Iterable[str]:
    return (word.casefold() for word in _WORD.findall(text))
