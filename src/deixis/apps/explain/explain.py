"""Why a model scores as it does: maps of where in the image, and shares of which words.

found = deixis.explain("starter", "photo.jpg", ["a red bird", "a boat"])
found.overlay(0, 1).save("boat.png")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis import zoo
from deixis.apps.common.concepts import concept_names, encode_texts, reader_of
from deixis.apps.common.console import Reporter
from deixis.apps.common.runs import writable
from deixis.apps.common.settings_keywords import change_settings
from deixis.apps.explain.class_looks import explain_classes
from deixis.apps.explain.contrast import EverydayContrast, split_counters
from deixis.apps.explain.explainers import chosen_method, explainer
from deixis.apps.explain.explanations import TEXT_BLIND, Explanation, joined
from deixis.apps.explain.inputs import ModelInputs, Transform, model_inputs
from deixis.apps.explain.reason import ReasonWriter
from deixis.apps.explain.settings import DEFAULT, WRITER, ExplainSettings
from deixis.apps.explain.targets import ClassScore, RecordedScore, Target, Words, of_each, require_words, words_of
from deixis.engine.chat_writer import ChatWriter
from deixis.errors import DeixisError
from deixis.files import atomic_path, explained
from deixis.inputs.images import pictures_in
from deixis.nn.compute import autocast, batch_size, current
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.nn.relevance import pair_score
from deixis.nn.taps import require_tappable
from deixis.ops.precision import to_float32
from deixis.types.outputs import Maps

__all__ = ["Explainer", "Explanation", "explain", "explain_file", "free_file"]

_BATCH = 16
_FEW = 12
"""Each so many-th everyday thing is enough to find some that a text does not mean."""
_UNIT, _SIGNED = (0.0, 1.0), (-1.0, 1.0)


def explain(
    model: str | os.PathLike[str] | nn.Module,
    images: Any,
    texts: str | Sequence[str] | None = None,
    *,
    target: Target | None = None,
    preprocess: Transform | None = None,
    settings: ExplainSettings | None = None,
    **changes: Any,
) -> Explanation:
    """What in each image, and which words of each text, a score hangs on.

    Mode, weights and their need of gradients are afterwards as before, on errors, too.

    Args:
        model: a name, a model or run folder, a `DualEncoder`, or any classifier.
        images: one or several paths, Pillow images or uint8 tensors [3, H, W]; or a preprocessed batch [B, 3, H, W].
        texts: for models of images and texts: one, or T that share each image's forward pass.
        target: for classifiers: a class, one an image [B], T an image [B, T], or a function of the output that gives
            [B] or [B, T]; the likeliest class by default.
        preprocess: for classifiers that are given pictures: what makes their input, [3, H, W].
        settings: method, layers and the like.
        **changes: fields of the settings, such as `method="grad_cam"` or `layers=("layer3", "layer4")`.

    Raises:
        DeixisError: a name is unknown, an image can't be read, or the model can't be explained in this way.
    """
    return Explainer(model, preprocess=preprocess, settings=settings, **changes)(images, texts, target=target)


class Explainer:
    """A model, and how its scores are explained.

    Args:
        model: as for `explain`.
        preprocess: as for `explain`.
        settings: as for `explain`.
        **changes: as for `explain`.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | nn.Module,
        *,
        preprocess: Transform | None = None,
        settings: ExplainSettings | None = None,
        **changes: Any,
    ) -> None:
        self.settings = change_settings(settings or ExplainSettings(), changes)
        self._run = model if isinstance(model, str | os.PathLike) and Path(model).is_dir() else None
        with self.settings.active():
            self.model = zoo.load(model).to(current().device) if isinstance(model, str | os.PathLike) else model
        if not isinstance(self.model, nn.Module):
            raise DeixisError(
                f"A {type(model).__name__} can't be explained.", "Give a torch module, or a model's name or folder."
            )
        require_tappable(self.model)
        self.method = chosen_method(self.model, self.settings)
        self._explaining = explainer(self.model, self.settings)
        self._everyday: EverydayContrast | None = None
        self.preprocess = preprocess or (self.model.preprocess if isinstance(self.model, DualEncoder) else None)

    def __call__(
        self, images: Any, texts: str | Sequence[str] | None = None, *, target: Target | None = None
    ) -> Explanation:
        """As `explain`."""
        return self._explained(images, texts, target, shown=True)

    def _explained(
        self, images: Any, texts: str | Sequence[str] | None, target: Target | None, shown: bool
    ) -> Explanation:
        queries = [texts] if isinstance(texts, str) else list(texts or ())
        device = self._device or torch.device("cpu")
        with self.settings.active(), evaluating(self.model), torch.inference_mode(False), autocast(device):
            batches = _batches(images, self.preprocess is not None)
            inputs = self._inputs(batches, shown)
            if isinstance(self.model, DualEncoder):
                parts = self._of_pairs(self.model, inputs, queries, target)
            else:
                parts = self._of_classes(inputs, sum(map(len, batches)), queries, target)
        return joined(parts, flat=isinstance(texts, str))

    def attribute(self, inputs: Any, target: Any = None) -> Float[Tensor, "*B H W"]:
        """The maps alone, called as captum's methods are.

        Args:
            inputs: images, as for `explain`.
            target: a class; for a model of images and texts a text, or several.
        """
        texts = isinstance(self.model, DualEncoder) and not callable(target)
        explained = self._explained(inputs, target if texts else None, None if texts else target, shown=False)
        return explained.maps

    def _of_pairs(
        self, encoder: DualEncoder, batches: Iterable[ModelInputs], texts: list[str], target: Target | None
    ) -> list[Explanation]:
        if target is not None and (texts or not callable(target)):
            raise DeixisError("A model of images and texts has no classes.", "Give texts in place of target=.")
        if target is None:
            require_words(encoder, [*texts, *self.settings.others] if texts else [])
            directions = self._directions(encoder, texts)
            others = encoder.encode_text(self.settings.others) if self.settings.others else None
        parts = []
        for inputs in batches:
            if callable(target):
                score = RecordedScore(target)
            else:
                score = RecordedScore(pair_score(directions.expand(len(inputs.pixels), -1, -1), others))
            maps, blind = self._pair_maps(inputs.pixels, score, None if callable(target) else directions, others)
            words: Words = ()
            if texts and self.settings.tower != "image" and not any(map(concept_names, texts)):
                words = words_of(encoder, texts, score.output, self._explaining, self.settings.word_scores)
            part = self._part(inputs, score, texts, maps, words)
            parts.append(replace(part, text_blind=blind))
        return parts

    def _directions(self, encoder: DualEncoder, texts: list[str]) -> Float[Tensor, "T D"]:
        """What images are compared with: texts, in which a run's concepts may stand."""
        if self._run is None or not any(map(concept_names, texts)):
            return encoder.encode_text(texts)
        return torch.from_numpy(encode_texts(reader_of(encoder), texts, self._run)).to(encoder.device)

    def _pair_maps(
        self, pixels: Tensor, score: RecordedScore, directions: Tensor | None, others: Tensor | None
    ) -> tuple[Maps, tuple[tuple[bool, ...], ...]]:
        """The maps of each text, and whether each is nearly that of unrelated texts."""
        if directions is None or self.settings.tower == "text":
            return self._maps(pixels, score), ()
        assert isinstance(self.model, DualEncoder)
        contrast = self._contrast(self.model)
        every = torch.cat([directions, contrast.counters(directions)]).expand(len(pixels), -1, -1)
        mapped = pair_score(every, contrast.texts if others is None and self.method == DEFAULT["pairs"] else others)

        def both(output: Any) -> Tensor:
            score(output)  # records the whole image
            return mapped(output)

        return split_counters(self._maps(pixels, both))

    def _contrast(self, encoder: DualEncoder) -> EverydayContrast:
        """The everyday things: all where maps are held against them, a few where one is only compared with."""
        if self._everyday is None:
            self._everyday = EverydayContrast(encoder, 1 if self.method == DEFAULT["pairs"] else _FEW)
        return self._everyday

    def _of_classes(
        self, batches: Iterable[ModelInputs], count: int, texts: list[str], target: Target | None
    ) -> list[Explanation]:
        if texts or self.settings.others or self.settings.tower == "text":
            raise DeixisError(
                f"{type(self.model).__name__} is no model of images and texts.",
                "Give target=, the number of a class; or a DualEncoder, such as deixis.load gives.",
            )
        parts, done, wanted = [], 0, of_each(target, count)
        for inputs in batches:
            end = done + len(inputs.pixels)
            score = RecordedScore(
                target if callable(target) else ClassScore(None if wanted is None else wanted[done:end])
            )
            parts.append(self._part(inputs, score, [], self._maps(inputs.pixels, score), ()))
            done = end
        return parts

    def _inputs(self, batches: list[Any], shown: bool) -> Iterator[ModelInputs]:
        for batch in batches:
            inputs = model_inputs(batch, self.preprocess, with_pictures=shown)
            yield inputs._replace(pixels=inputs.pixels.to(self._device)) if self._device else inputs

    @property
    def _device(self) -> torch.device | None:
        return next((each.device for each in self.model.parameters()), None)

    def _part(
        self,
        inputs: ModelInputs,
        score: RecordedScore,
        texts: list[str],
        maps: Maps,
        words: Words,
    ) -> Explanation:
        targets = (tuple(texts),) * len(inputs.pixels) if texts else score.targets
        return Explanation(
            self.method,
            targets,
            to_float32(score.values).cpu(),
            to_float32(maps.image).cpu(),
            {name: to_float32(each).cpu() for name, each in maps.raw.items()},
            _SIGNED if maps.signed else _UNIT,
            words,
            inputs.pictures,
            inputs.windows,
        )

    def _maps(self, pixels: Tensor, score: Callable[[Any], Tensor]) -> Maps:
        """The image's side of a score."""
        if isinstance(self.model, DualEncoder) and self.settings.tower == "text":
            with torch.no_grad():
                values = score(self.model.encode_image(pixels))
            return Maps(values.new_zeros(*values.shape, 0, 0), {})
        return self._explaining.maps(pixels, score)


# Settings


# Images


def _batches(images: Any, transformed: bool) -> list[Any]:
    """A batch that is preprocessed stays one; of pictures, which a transform takes, so many are in memory at a time."""
    if isinstance(images, Tensor) and images.is_floating_point() and not (transformed and images.dim() == 3):
        return [images]
    images = pictures_in(images)
    size = batch_size(_BATCH)
    return [images[start : start + size] for start in range(0, len(images), size)]


# The command line


def explain_file(
    photo: str,
    texts: Sequence[str],
    model: str = "starter",
    settings: ExplainSettings | None = None,
    *,
    out: str = "",
    overwrite: bool = False,
    quiet: bool = False,
) -> Explanation:
    """Explains one picture: writes overlays as PNG and the maps as .npy beside, and prints the words' shares.

    Args:
        photo: path of the picture.
        texts: what it is held against; none: the classes that a run's method has learned, where they look at images.
        model: a name, or a model or run folder.
        settings: method, layers and the like.
        out: the PNG; by default `NAME-explained.png` in the working folder.
        overwrite: replace what is there.
        quiet: print nothing.

    Raises:
        DeixisError: as `explain`, or a file is there already or can't be written.
    """
    talk, settings = Reporter(quiet), settings or ExplainSettings()
    path = Path(out or f"{Path(photo).stem}-explained.png")
    files = _free(path, settings, overwrite)
    writer = ReasonWriter(ChatWriter(zoo.load_part("lm", WRITER))) if settings.say == "lm" else None  # refused at once
    found = explain(model, photo, list(texts), settings=settings) if texts else explain_classes(model, photo, settings)
    texts = found.targets[0]
    for target in files:
        with explained(target), atomic_path(target) as temporary, open(temporary, "wb") as file:
            if target.suffix == ".npy":
                np.save(file, torch.stack([found.on_picture(0, text) for text in range(len(texts))]).numpy())
            else:
                found.sheet().save(file, "PNG")
    what = "similarity, less that of others," if settings.others else "similarity"
    for number, text in enumerate(texts):
        talk.result(f"{text}: {what} {found.scores[0, number]:.3f}")
        if found.text_blind and found.text_blind[0][number]:
            talk.result(f"  map: {TEXT_BLIND}")
        if found.words:
            talk.result("  " + "   ".join(f"{word} {share:.0%}" for word, share in found.words[0][number]))
        if settings.say != "none" and (sentence := found.sentence(0, number, writer, settings.form)):
            talk.result(f"  {sentence}")
    if writer is not None and writer.sentence:
        talk.result(writer.sentence)
    talk.result(
        f"{' and '.join(map(str, files))} written: {found.method}" + f" of {', '.join(found.raw)}" * bool(found.raw)
    )
    return found


def _free(path: Path, settings: ExplainSettings, overwrite: bool) -> list[Path]:
    """The files that are written, where they can be."""
    free_file(path, overwrite)
    if settings.tower == "text":
        return [path]
    _require_free(path.with_suffix(".npy"), overwrite)
    return [path, path.with_suffix(".npy")]


def free_file(path: Path, overwrite: bool) -> None:
    """Makes sure that a PNG of this name can be written.

    Args:
        path: of the file.
        overwrite: replace what is there.

    Raises:
        DeixisError: it is no name of a PNG, taken, or can't be made.
    """
    if path.suffix.lower() != ".png":
        raise DeixisError(f"{path} is no name of a PNG file.", "Let --out end in .png.")
    _require_free(path, overwrite)


def _require_free(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise DeixisError(f"{path} is a folder.", "Choose another --out.")
    if path.exists() and not overwrite:
        raise DeixisError(f"There is {path} already.", "Choose another --out, or replace it with --overwrite.")
    writable(path)
