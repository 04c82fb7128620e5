"""How to load a model, for its card: only by programs that can load it."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import jinja2

from deixis import zoo
from deixis.apps.report.card_parts import UNPRINTABLE, Subject, block, code
from deixis.engine.export.onnx import effective, graph_name, preprocessing
from deixis.inputs.clip_bpe import ClipTokenizer

__all__ = ["loading"]


def loading(subject: Subject) -> Iterator[str]:
    """Paragraphs and programs to copy."""
    folder = UNPRINTABLE.sub(" ", subject.folder)
    if subject.form == "onnx":
        yield from _with_onnxruntime(subject)
        return
    if subject.form == "openclip":
        yield "With open_clip:"
        yield block(
            "import open_clip\n\n"
            f"model, _, preprocess = open_clip.create_model_and_transforms({f'local-dir:{folder}'!r})\n"
            f"tokenizer = open_clip.get_tokenizer({f'local-dir:{folder}'!r})"
        )
    if subject.form == "huggingface":
        yield "With transformers:"
        yield block(
            "from transformers import AutoImageProcessor, AutoModel, AutoTokenizer\n\n"
            f"model = AutoModel.from_pretrained({folder!r})\n"
            f"tokenizer = AutoTokenizer.from_pretrained({folder!r})\n"
            f"processor = AutoImageProcessor.from_pretrained({folder!r})"
        )
    yield "With deixis:"
    yield block(_deixis_lines(subject, folder))
    if subject.form == "deixis":
        if os.path.isabs(subject.encoder.name):
            yield f"It is built on the checkpoint {code(subject.base)}, which must lie where it lay when this was made."
        yield _elsewhere(subject, folder)


def _deixis_lines(subject: Subject, folder: str) -> str:
    if subject.learns_classes:
        return f'import deixis\n\nclasses = deixis.load_classifier({folder!r})\nprint(classes.predict(["photo.jpg"]))'
    lines = (
        "import deixis\n\n"
        f"model = deixis.load({folder!r})\n"
        'images = model.encode_image(["photo.jpg"])\n'
        'texts = model.encode_text(["a red bird", "a boat"])\n'
        "print(model.similarity(images, texts))"
    )
    if subject.form == "deixis" and subject.base in ("starter", "desk-clip"):
        return f"# once: deixis data get {subject.base}\n{lines}"
    return lines


def _elsewhere(subject: Subject, folder: str) -> str:
    """What other programs can have of a run's model."""
    plain = effective(subject.encoder)
    text = f"For onnxruntime: {code(f'deixis export {folder} --onnx')}."
    if subject.learns_classes:
        return f"{text} That writes the towers, without the classifier."
    names = {"openclip": "open_clip", "huggingface": "transformers"}
    fit = zoo.layouts_for(plain)
    for layout in fit:
        text += f" For {names[layout]}: {code(f'deixis export {folder} --to {layout}')}."
    if not fit:
        why = "adapters" if plain.image_adapter or plain.text_adapter else "towers"
        text += f" open_clip and transformers have no place for its {why}."
    return text


def _with_onnxruntime(subject: Subject) -> Iterator[str]:
    encoder = subject.encoder
    clip = isinstance(encoder.tokenizer, ClipTokenizer)
    how = preprocessing(encoder)
    yield (
        "With onnxruntime, numpy, pillow and tokenizers alone, in this folder. Both graphs take batches of any size; "
        "what comes out has length 1."
    )
    text = _template().render(
        mode=how["mode"],
        reduce=how["reduce"],
        interpolation=how["interpolation"].upper(),
        context=encoder.context_length,
        clip=clip,
    )
    yield block(text.strip())
    yield block(
        'images, texts = encode_images(["photo.jpg"]), encode_texts(["a red bird", "a boat"])\n'
        f"print({encoder.scale!r} * images @ texts.T + {encoder.bias or 0.0!r})"
    )
    notes = ["Pictures of 16 bits a channel must be scaled to 8 first."]
    if clip:
        notes.append("deixis repairs broken encodings and HTML entities in texts before; this does not.")
    if subject.export.get("int8"):
        notes.append(f"In 8 bits: {code(graph_name('image', True))} and {code(graph_name('text', True))}.")
    yield " ".join(notes)


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Python, made of a model's own settings
    )
    return environment.get_template("onnxruntime.txt")
