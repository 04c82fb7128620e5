"""Writes what classes are, in words, as a csv that `--knowledge` reads: texts whose own class is the nearest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deixis.apps.caption.class_writer import LM, written_by_model
from deixis.apps.caption.csv_output import require_free_csv
from deixis.apps.caption.settings import CaptionSettings
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import read
from deixis.apps.common.formatting import counted
from deixis.apps.common.options import Reading
from deixis.apps.few_shot.classifier_inputs import model_of
from deixis.apps.predict.settings import PredictOutput
from deixis.data.knowledge.texts import write_texts
from deixis.engine.fewshot.knowledge import embedder, knowledge_of, remarks_on
from deixis.engine.fewshot.names import class_names
from deixis.errors import DeixisError
from deixis.files import atomic_path, explained
from deixis.nn.dual import DualEncoder

__all__ = ["nearest_to_own", "write_class_texts"]

_MODEL = "starter"
_TEMPLATE = "a photo of a {}."


def write_class_texts(data: str, settings: CaptionSettings, output: PredictOutput, reading: Reading) -> Path:
    """Writes a csv with a row a text, `class,text`, of the classes of DATA.

    Args:
        data: what `deixis.apps.common.dataset.read` takes, with labels.
        settings: where the texts are from, and the model that checks them.
        output: the csv.
        reading: columns and the like.

    Raises:
        DeixisError: `out` is no csv or is there, there are no classes, or no texts of them.
    """
    out, talk = Path(output.out or "texts.csv"), Reporter(output.quiet)
    require_free_csv(out, output.overwrite, "texts of classes")
    source = read(data, reading)
    labels = sorted({str(sample.label) for sample in source.samples if sample.label})
    names = class_names(labels, least=2)
    with settings.active():
        encoder = model_of(settings.model or _MODEL)
        if settings.by == LM:
            known = written_by_model(names, talk)
            notes = remarks_on(known, encoder, names)
        else:
            known, notes = knowledge_of(settings.by, encoder, names, source, labels)
        pairs = known.pairs(names)
        kept = nearest_to_own(encoder, names, pairs)
    for note in notes:
        talk.say(note)
    if not kept:
        raise DeixisError(
            f"None of {counted(len(pairs), 'text')} is nearer to its own class than to another.",
            "Names that are codes say nothing: give the texts as they are, with --knowledge.",
        )
    spoken = dict(zip(names, labels, strict=True))
    with explained(out), atomic_path(out) as temporary:
        write_texts(temporary, [(spoken[name], text) for name, text in kept])
    gone = len(pairs) - len(kept)
    dropped = f"; {counted(gone, 'text')} dropped, of which another class is nearer" if gone else ""
    classes = len({name for name, _ in kept})
    talk.result(f"{counted(len(kept), 'text')} of {classes} of {len(names)} classes in {out}{dropped}.")
    talk.result(f"Use them: deixis adapt {data} --method described --knowledge {out}")
    return out


def nearest_to_own(
    encoder: DualEncoder, names: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The texts that are nearer to the name of their own class than to that of any other.

    Args:
        encoder: whose text tower compares them.
        names: of the classes.
        pairs: (class, text).
    """
    embed = embedder(encoder)
    if not pairs:
        return []
    classes = embed([_TEMPLATE.format(name) for name in names])
    best = (embed([text for _, text in pairs]) @ classes.T).argmax(axis=1)
    return [pair for pair, place in zip(pairs, best.tolist(), strict=True) if names[place] == pair[0]]
