"""Where claims about captions and answers meet: scenes of one or two shapes, a dual encoder and a language model that
know them, and what arms say of scenes never seen.

Per seed one encoder learns from pairs and one language model from sentences, each from scenes of its own; both are
cached, and all arms of a seed have the same. An arm then learns from texts alone, or from captions with their pictures.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import zoo
from deixis.data.loading.crops import seen_mask
from deixis.data.synthetic.scenes import SceneConfig, caption_facts, drawing, hearing, scenes
from deixis.data.synthetic.scenes.caption_facts import SceneFacts
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.claims.source_code import file_hash
from deixis.engine.evaluation.captions.sources import generated
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import phrase_spans, preprocess_of, tokenized
from deixis.engine.training.stages import name_of, offers
from deixis.errors import DeixisError
from deixis.files import atomic_path, cache_dir, write_json
from deixis.nn.compute import on_threads
from deixis.nn.dual import DualEncoder
from deixis.nn.language.sequences import continuation_loss, ended, words_of
from deixis.ops.contrastive import info_nce
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, OffersAnswer, OffersCaption, OffersTokens
from deixis.zoo import scratch

__all__ = ["NOUNS", "TASK", "Options", "make"]

TASK = TaskCard(
    title="Scenes of one or two shapes: captions and answers about scenes that were never seen",
    metrics=("facts", "true_nouns", "named_nouns", "well_formed", "answers", "noun_pointing"),
    passes=(
        "deixis.nn.language.causal_lm",
        "deixis.nn.vision.modified_resnet",
        "deixis.nn.vision.vit",
        "deixis.data.synthetic.scenes.hearing",
        "deixis.data.synthetic.scenes.caption_facts",
    ),
)

NOUNS = ("arrow", "bar", "circle", "cross", "heart", "ring", "star", "triangle")
"""Shapes that differ at 64 pixels."""

_MADE_BY = (Path(__file__), Path(str(drawing.__file__)), Path(str(scratch.__file__)))
"""Code that the encoder and the language model hang on, part of the cache's keys."""

_ENCODER, _LANGUAGE = 1_000_003, 2_000_003
"""Added to the seed of the scenes that the encoder, and the language model, learn from."""

_BATCH, _RATE, _DECAY = 64, 1e-3, 0.1
_SYLLABLES = "ba do fi gu ka le mo nu pa ri so tu ve wi xa zo".split()
_NAMED = f"it is called {' '.join(_SYLLABLES)}"


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `told`.

    Attributes:
        learn: from `texts` alone, from captions with `pictures`, or from `questions` about texts, one by one.
        text: what is learned of a scene: its `short` caption, or the `long` text of several sentences.
        count: scenes to learn from.
        share: of these, of which the others are left out.
        named: share of the texts with a made-up name, which no picture shows.
        asked: share of the questions about the pictures that a stage may draw from, as the source `questions`; 0: none.
        pairs: scenes with pictures and captions that adapters may be fitted on.
        objects: the fewest and the most things in a scene.
        side: of the images, in pixels.
        image: tower of the encoder, as in `deixis.zoo.scratch.build`: `resnet` or `vit`.
        encoder_scenes: that the encoder learns from.
        encoder_pairs: that it sees.
        language_texts: that the language model learns from, once.
        held: scenes to tune on, and as many to report on.
        batch_size: texts or captions a step.
    """

    learn: Literal["texts", "pictures", "questions"] = "texts"
    text: Literal["short", "long"] = "short"
    count: int = 22_000
    share: float = 1.0
    named: float = 0.0
    asked: float = 0.0
    pairs: int = 50
    objects: tuple[int, int] = (1, 2)
    side: int = 64
    image: str = "resnet"
    encoder_scenes: int = 4000
    encoder_pairs: int = 58_000
    language_texts: int = 12_000
    held: int = 400
    batch_size: int = 64


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; trains encoder and language model where the cache does not hold them: four minutes.

    Args:
        options: see `Options`.
        seed: of the scenes, the encoder and the language model.

    Raises:
        DeixisError: a value is out of range.
    """
    require_least(options, count=2, held=2, batch_size=2, pairs=2, encoder_scenes=2, language_texts=2)
    if not 0 < options.share <= 1 or not 0 <= options.named <= 1 or not 0 <= options.asked <= 1:
        found = f"share is {options.share}, named {options.named} and asked {options.asked}."
        raise DeixisError(found, "All are shares.")
    validation, test = (_scenes(options, seed, split, options.held) for split in ("val", "test"))
    pairs = _scenes(options, seed + 1, "train", options.pairs)
    return TrainingTask(
        _train(options, seed),
        validation,
        test,
        lambda number: _encoder(options, seed),
        options.batch_size,
        sources={"pairs": pairs, **({"questions": _questions(options, seed)} if options.asked else {})},
        measures=_MEASURES,
        parts={"lm": lambda number: _language_model(options, seed)},
    )


# --- scenes and texts -------------------------------------------------------------------------------------------------


def _scenes(options: Options, seed: int, split: str, count: int, masks: bool = True) -> Source:
    config = SceneConfig(
        cast="shapes",
        unseen="nothing",
        nouns=NOUNS,
        objects=options.objects,
        repeats=1,
        tinted=1.0,
        phrases=0,
        questions=4,
        masks=masks,
    )
    return scenes(seed, count, split=split, side=options.side, config=config)


def _train(options: Options, seed: int) -> Source:
    if options.learn == "pictures":
        source = _scenes(options, seed, "train", options.count, masks=False)
        said = [_said(sample, options.text) for sample in source.samples]
    else:
        source = Source("texts of scenes", Path(), "text", "made", ())
        said = []
        for number, facts in enumerate(_texts(options, seed, options.count)):
            text, asked = facts[options.text], facts["questions"] if options.learn == "questions" else [["", ""]]
            said += [
                Sample(f"text/{number:06d}/{place}", None, (text,), extra={"question": question, "answer": answer})
                for place, (question, answer) in enumerate(asked)
            ]
    kept = said[: max(options.batch_size, round(options.share * len(said)))]
    rng = np.random.Generator(np.random.PCG64((seed, 5)))
    marked = [_with_name(sample, rng) if rng.random() < options.named else sample for sample in kept]
    return dataclasses.replace(source, samples=tuple(marked))


def _questions(options: Options, seed: int) -> Source:
    """Pictures to learn from with a question, whose answer stands in place of the caption; the first share of them."""
    source = _scenes(options, seed, "train", options.count, masks=False)
    asked = [
        dataclasses.replace(
            sample,
            id=f"{sample.id}/{place}",
            captions=(each.answer,),
            questions=(),
            extra={**sample.extra, "question": each.question},
        )
        for sample in source.samples
        for place, each in enumerate(sample.questions)
    ]
    return dataclasses.replace(
        source, samples=tuple(asked[: max(options.batch_size, round(options.asked * len(asked)))])
    )


def _said(sample: Sample, text: str) -> Sample:
    words = sample.captions[0] if text == "short" else _long(sample)
    return dataclasses.replace(sample, captions=(words,), questions=())


def _long(sample: Sample) -> str:
    return " ".join(each["text"] for each in sample.extra["sentences"])


def _with_name(sample: Sample, rng: np.random.Generator) -> Sample:
    """A sentence more, with a name of three syllables: unpredictable, and not to be seen. Each is a word that the
    language model can say."""
    name = " ".join(_SYLLABLES[i] for i in rng.integers(0, len(_SYLLABLES), 3))
    return dataclasses.replace(sample, captions=(f"{sample.captions[0].rstrip('.')}. It is called {name}.",))


def _texts(options: Options, seed: int, count: int) -> Sequence[dict[str, Any]]:
    """Texts of scenes and questions about them, made once: placing things takes longer than learning what is said."""
    path = _path(options, ("objects", "side"), seed, count, "json")
    if not path.exists():
        found = [
            {
                "short": sample.captions[0],
                "long": _long(sample),
                "questions": [(each.question, each.answer) for each in sample.questions],
            }
            for sample in _scenes(options, seed, "train", count, masks=False).samples
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    read: Sequence[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return read


def _path(options: Options, fields: Sequence[str], seed: int, count: int, suffix: str) -> Path:
    """Where what hangs on these options lies in the cache."""
    decisive = {name: getattr(options, name) for name in fields}
    surroundings = [torch.__version__, torch.backends.cpu.get_cpu_capability(), *map(file_hash, _MADE_BY)]
    key = json.dumps([decisive, seed, count, surroundings], sort_keys=True)
    return cache_dir("told", f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.{suffix}")


# --- encoder and language model ---------------------------------------------------------------------------------------


def _encoder(options: Options, seed: int) -> DualEncoder:
    """A dual encoder of this seed, that has learned from pairs."""
    fields = ("objects", "side", "image", "encoder_scenes", "encoder_pairs")
    texts = tuple(each["short"] for each in _texts(options, seed + _ENCODER, options.encoder_scenes))
    built = scratch.build(texts, "small", options.side, seed, image=options.image)
    path = _path(options, fields, seed, options.encoder_scenes, "safetensors")
    _trained(built, path, lambda: _learn_pairs(built, options, seed))
    return built.eval()


def _learn_pairs(encoder: DualEncoder, options: Options, seed: int) -> None:
    source = _scenes(options, seed + _ENCODER, "train", options.encoder_scenes, masks=False)
    images = torch.cat([encoder.read_images([sample.picture]) for sample in source.samples])
    tokens, mask = encoder.tokenize([sample.captions[0] for sample in source.samples])

    def loss(rows: Tensor) -> Tensor:
        image = encoder.encode_image(images[rows])
        return info_nce(image, encoder.encode_text(tokens[rows], mask=mask[rows]), scale=encoder.scale)

    _learn(encoder, loss, len(images), options.encoder_pairs // _BATCH, seed)


def _language_model(options: Options, seed: int) -> Any:
    """A language model of this seed, that has learned sentences about scenes."""
    made = _texts(options, seed + _LANGUAGE, options.language_texts)
    texts = [each[("short", "long")[number % 2]] for number, each in enumerate(made)]
    known = [*texts, *(" ".join(pair) for each in made for pair in each["questions"]), _NAMED]
    source = Source("texts", Path(), "text", "made", tuple(Sample(str(i), None, (t,)) for i, t in enumerate(known)))
    built = zoo.load_part("lm", f"{scratch.NAME}:small", source=source, seed=seed)
    path = _path(options, ("objects", "side", "language_texts"), seed, len(known), "safetensors")
    _trained(built, path, lambda: _learn_language(built, texts, seed))
    return built.eval()


def _learn_language(lm: Any, texts: Sequence[str], seed: int) -> None:
    target = ended(lm, words_of(lm, *lm.tokenizer(texts, lm.context_length // 2)))

    def loss(rows: Tensor) -> Tensor:
        some = type(target)(target.ids[rows], target.mask[rows])
        start = lm.embed(torch.full((len(rows), 1), lm.start))
        return continuation_loss(lm, start, some).sum() / some.mask.sum()

    _learn(lm, loss, len(texts), len(texts) // _BATCH, seed)


def _trained(module: nn.Module, path: Path, learn: Callable[[], None]) -> None:
    """Reads the weights, or learns and keeps them."""
    with contextlib.suppress(OSError, SafetensorError, RuntimeError):  # missing or damaged: trained again
        module.load_state_dict(load_file(path))
        return
    with torch.random.fork_rng(devices=[]), on_threads(1):  # over more, sums are rounded in another order
        learn()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        save_file({name: value.contiguous() for name, value in module.state_dict().items()}, temporary)


def _learn(module: nn.Module, loss: Callable[[Tensor], Tensor], count: int, steps: int, seed: int) -> None:
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, max(10, steps))
    module.train()
    with torch.enable_grad():
        for _ in range(steps):
            optimiser.zero_grad()
            loss(torch.randperm(count)[:_BATCH]).backward()
            optimiser.step()
            schedule.step()
    module.eval()


# --- measures ---------------------------------------------------------------------------------------------------------


def _captions(method: AnyMethod, source: Source) -> list[str]:
    if not offers(method, OffersCaption):
        raise DeixisError(f"{name_of(method)} describes no pictures.", "Measure something else of it.")
    return generated(method, [sample.picture for sample in source.samples])


def _facts(method: AnyMethod, source: Source, value: Callable[[SceneFacts], float]) -> Float[Tensor, " Q"]:
    texts = _captions(method, source)
    pairs = zip(texts, source.samples, strict=True)
    return torch.tensor([value(caption_facts.caption_facts(text, sample.regions)) for text, sample in pairs]).double()


def _well_formed(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    return torch.tensor([float(hearing.well_formed(text)) for text in _captions(method, source)]).double()


def _answers(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """Whether each question about a scene is answered as expected."""
    asked = [(sample, each) for sample in source.samples for each in sample.questions]
    preprocess, right = preprocess_of(method), []
    distinct = list(dict.fromkeys(each.question for _, each in asked))
    rows = dict(zip(distinct, tokenized(method, distinct), strict=True))
    with eval_without_grad(method):
        if not offers(method, OffersAnswer):
            raise DeixisError(f"{name_of(method)} answers no questions.", "Measure something else of it.")
        for start in range(0, len(asked), _BATCH):
            some = asked[start : start + _BATCH]
            images = preprocess.read([sample.picture for sample, _ in some])
            wide = max(rows[each.question][0].shape[1] for _, each in some)
            padded = [
                torch.cat(
                    [F.pad(rows[each.question][k], (0, wide - rows[each.question][k].shape[1])) for _, each in some]
                )
                for k in (0, 1)
            ]
            given = method.answer(images, *padded)
            right += [_plain(one) == _plain(each.answer) for one, (_, each) in zip(given, some, strict=True)]
    return torch.tensor(right).double()


def _plain(answer: str) -> str:
    return " ".join(answer.casefold().replace(" - ", "-").strip(" .").split())


def _pointing(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """Whether the patch that is most similar to the noun of a thing, on average over its tokens, lies on the thing."""
    preprocess, found = preprocess_of(method), []
    spans = {noun: phrase_spans(method, noun, [(0, len(noun))])[0, 0, 0].tolist() for noun in NOUNS}
    words = dict(zip(NOUNS, tokenized(method, NOUNS), strict=True))
    with eval_without_grad(method):
        if not offers(method, OffersTokens):
            raise DeixisError(f"{name_of(method)} has no words and patches to compare.", "Measure something else.")
        texts = {noun: method.text_tokens(*words[noun]).states[0, slice(*spans[noun])] for noun in NOUNS}
        for sample in source.samples:
            image = method.image_tokens(preprocess.read([sample.picture]))
            if image.grid is None:
                raise DeixisError("The patches form no grid.", "Measure something else of it.")
            patches = F.normalize(image.states[0], dim=-1)
            for region in sample.regions:
                heat = (patches @ F.normalize(texts[region.category], dim=-1).T).mean(1)
                shares = F.adaptive_avg_pool2d(seen_mask(region, preprocess).float()[None], image.grid).flatten()
                found.append(float(shares[int(heat.argmax())] >= shares.max() / 2))
    return torch.tensor(found).double()


_MEASURES: dict[str, Callable[[Any, Source], Tensor]] = {
    "facts": functools.partial(_facts, value=lambda each: each.facts),
    "true_nouns": functools.partial(_facts, value=lambda each: 1 - each.invented),
    "named_nouns": functools.partial(_facts, value=lambda each: 1 - each.missed),
    "well_formed": _well_formed,
    "answers": _answers,
    "noun_pointing": _pointing,
}
