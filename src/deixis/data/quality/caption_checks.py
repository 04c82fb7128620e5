"""What is wrong with the captions of a collection: missing, repeated, too long, without words, not English."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence

from deixis.data.dictionaries import LANGUAGE_NAMES
from deixis.data.quality.languages import language
from deixis.data.quality.report import Finding, as_findings
from deixis.data.readers.captions import MAX_CAPTION, excerpt
from deixis.inputs.tokenizer import Tokenizer
from deixis.types.samples import Sample

__all__ = ["LONG", "MULTILINGUAL", "Reader", "Wording", "check_captions"]

MULTILINGUAL = 100_000
"""Tokens from which a vocabulary is taken for one of many languages: CLIP has 49,408, MiniLM 30,522, XLM-R 250,002."""

LONG = 2_000
"""Characters above which a caption is rather a document."""

_FEW = 0.01
_CHUNK = 1000
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd]")


@dataclasses.dataclass(frozen=True)
class Reader:
    """Who is to read the captions.

    Attributes:
        name: the limit and the model, for tables.
        overflow: whether each text would be cut.
        english: whether it knows hardly anything but English.
    """

    name: str
    overflow: Callable[[Sequence[str]], Sequence[bool]]
    english: bool = True

    @classmethod
    def of(cls, name: str, tokenizer: Tokenizer, length: int) -> Reader:
        """The reader that cuts texts at `length` tokens."""

        def overflow(texts: Sequence[str]) -> Sequence[bool]:
            return tokenizer.overflow([text[:MAX_CAPTION] for text in texts], length)

        return cls(f"{length} tokens of {name}", overflow, tokenizer.vocabulary < MULTILINGUAL)


@dataclasses.dataclass(frozen=True)
class Wording:
    """Figures on the captions and the languages that occur, as in `CheckReport`; and what to look at."""

    figures: dict[str, int | None]
    languages: dict[str, int]
    findings: list[Finding]


def check_captions(samples: Sequence[Sample], reader: Reader | None, *, expected: bool) -> Wording:
    """Checks all captions, each distinct one once.

    Args:
        samples: whatever is said about them.
        reader: who is to read the captions; None: whether they fit is not measured.
        expected: whether a sample without words is a fault.
    """
    counts = collections.Counter(caption for sample in samples for caption in sample.captions)
    holders = {caption: sample.id for sample in reversed(samples) for caption in sample.captions}
    missing = [sample.id for sample in samples if expected and not _worded(sample)]
    wordless = [text for text in counts if not any(map(str.isalpha, text))]
    cut = None if reader is None else [text for text, over in _overflows(list(counts), reader) if over]
    foreign = {text: name for text in counts if (name := language(text))}
    figures: dict[str, int | None] = {
        "total": counts.total(),
        "distinct": len(counts),
        "missing": len(missing),
        "repeated": counts.total() - len(counts),
        "wordless": len(wordless),
        "cut": None if cut is None else len(cut),
    }

    def show(text: str) -> str:
        return f"{holders[text]}: {excerpt(text)}"

    findings = as_findings(
        "caption_missing", "images without a caption", missing, len(samples),
        "images have no caption", "Caption them, or they can't be trained on.",
    ) + as_findings(
        "caption_wordless", "captions without letters", wordless, len(counts),
        "captions hold no letters", "Check that the text files hold captions.", show,
    ) + as_findings(
        "caption_cut", "captions cut at the context length", cut or [], len(counts),
        f"captions are longer than {reader.name if reader else ''}", "Put what matters first.", show,
    )  # fmt: skip
    findings += (
        _repeated(counts, show) + _foreign(foreign, counts.total() and len(counts), reader, show) + _odd(counts, show)
    )
    return Wording(figures, dict(collections.Counter(foreign.values()).most_common()), findings)


def _worded(sample: Sample) -> bool:
    """Whether there is anything to learn words from."""
    return bool(sample.captions or sample.questions or any(region.phrases for region in sample.regions))


def _overflows(texts: Sequence[str], reader: Reader) -> Iterator[tuple[str, bool]]:
    for start in range(0, len(texts), _CHUNK):
        part = texts[start : start + _CHUNK]
        yield from zip(part, reader.overflow(part), strict=True)


def _repeated(counts: collections.Counter[str], show: Callable[[str], str]) -> list[Finding]:
    """Captions that stand more than once; a warning where they are the rule."""
    spare = counts.total() - len(counts)
    many = spare > len(counts)
    findings = as_findings(
        "caption_repeated", "repeated captions", [text for text, times in counts.most_common() if times > 1],
        counts.total(), "captions occur more than once, most often" if many else "",
        "Captions that distinguish images are better training data." if many else "",
        lambda text: f"{counts[text]} times: {show(text)}",
    )  # fmt: skip
    return [dataclasses.replace(each, count=spare) for each in findings]


def _foreign(
    foreign: dict[str, str], distinct: int, reader: Reader | None, show: Callable[[str], str]
) -> list[Finding]:
    """Captions in other languages; a warning where they are more than a few and the reader knows English only."""
    warned = (reader is None or reader.english) and len(foreign) >= _FEW * distinct
    kinds = collections.Counter(foreign.values()).most_common(3)
    listed = ", ".join(f"{count} {name}" for name, count in kinds)
    return as_findings(
        "caption_foreign", "captions not in English", list(foreign), distinct,
        f"captions are not in English ({listed})" if warned else "",
        f"Translate them, or take a model of many languages.{_searchable(kinds)}" if warned else "",
        lambda text: f"{foreign[text]}: {show(text)}",
    )  # fmt: skip


def _searchable(kinds: Sequence[tuple[str, int]]) -> str:
    """What can be done without either, where there is a dictionary of the commonest language that has one."""
    codes = {name: code for code, name in LANGUAGE_NAMES.items()}
    for name, _ in kinds:
        if name in codes:
            code = codes[name]
            return f" Words of {name} can be searched with: deixis data get language-{code}, then --language {code}."
    return ""


def _odd(counts: collections.Counter[str], show: Callable[[str], str]) -> list[Finding]:
    control, long = [text for text in counts if _CONTROL.search(text)], [text for text in counts if len(text) > LONG]
    return as_findings(
        "caption_control", "captions with control characters", control, len(counts),
        "captions hold NUL or other characters that are no text", "Check how the captions were written.", show,
    ) + as_findings(
        "caption_long", f"captions over {LONG:,} characters", long, len(counts),
        f"captions have more than {LONG:,} characters", "Give a caption, not a document.", show,
    )  # fmt: skip
