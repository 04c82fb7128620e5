"""Where claims about masks and names meet: a few scenes with masks, and an encoder that learned names from captions.

A dual encoder is trained once a seed on scenes with captions and without masks, and cached. Each arm begins with its
weights, learns from few scenes with masks, and names the class of each pixel of scenes whose cut-outs were in neither.
The class 0 is the background and one of the mean.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.claims.source_code import file_hash
from deixis.engine.evaluation.pixels.overlap import total_overlap
from deixis.engine.evaluation.pixels.predicting import pixel_classes
from deixis.files import atomic_path, cache_dir
from deixis.nn.compute import on_threads
from deixis.nn.dual import DualEncoder
from deixis.nn.vision.fine_resnet import FineResNet, FineResNetConfig
from deixis.ops.contrastive import info_nce
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod
from deixis.zoo import scratch

__all__ = ["TASK", "Options", "make", "scene_config", "scene_source", "trained_encoder"]

TASK = TaskCard(
    title="Scenes with masks: few to learn from, and an encoder that learned the names from captions",
    metrics=("miou",),
    passes=("deixis.zoo.scratch",),
)

_BATCH = 64
_ANOTHER = 10_000
"""What the seed of scenes with masks is above that of scenes with captions."""

_DECISIVE = ("cast", "nouns", "scale", "side", "captions", "steps", "channels")
"""Options that the encoder hangs on."""

_LEARNING_RATE, _DECAY = 1e-3, 0.05


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `masks`.

    Attributes:
        cast: as in `deixis.data.synthetic.scenes.SceneConfig`, and so are `objects` and `scale`.
        nouns: the classes, in the order in which methods name them: shapes that differ at 64 pixels.
        objects: the fewest and the most things in a scene.
        scale: factor on the size of things.
        side: of the images, in pixels.
        count: scenes with masks to learn from.
        held: scenes to tune on, and as many to report on.
        captions: scenes of a single thing that the encoder learns from.
        steps: that it learns for, 64 scenes each.
        channels: of the stem of its image tower, CLIP's ResNet with a stride of 8.
        batch_size: scenes a step of the arms.
    """

    cast: str = "shapes"
    nouns: tuple[str, ...] = ("arrow", "bar", "circle", "cross", "heart", "ring", "star", "triangle")
    objects: tuple[int, int] = (1, 3)
    scale: float = 1.5
    side: int = 64
    count: int = 100
    held: int = 300
    captions: int = 4000
    steps: int = 800
    channels: int = 8
    batch_size: int = 16


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; trains the encoder where the cache does not hold it: some three minutes.

    Args:
        options: see `Options`.
        seed: of the scenes and the encoder.

    Raises:
        DeixisError: a value is out of range, or the set that the scenes are made of is not in the cache.
    """
    require_least(options, count=2, held=2, captions=2, steps=0, batch_size=2)
    # Scenes of another seed than those with captions, and of the same cut-outs.
    masked = scene_source(options, SPLITS[0], options.count, seed + _ANOTHER)
    validation, test = (scene_source(options, split, options.held, seed) for split in SPLITS[1:])
    trained = trained_encoder(options, seed)

    def encoder(number: int) -> DualEncoder:
        return copy.deepcopy(trained)

    def miou(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
        """One value a class, the background among them: intersection over union in all scenes."""
        pairs = pixel_classes(method, source.samples, options.nouns)
        ious = total_overlap(pairs, len(options.nouns) + 1).iou()
        return ious[ious.isfinite()]

    return TrainingTask(masked, validation, test, encoder, options.batch_size, measures={"miou": miou})


def scene_source(options: Options, split: str, count: int, seed: int, rho: float = 0.0) -> Source:
    """Scenes of a split, each with its caption and masks.

    Args:
        options: see `Options`.
        split: one of `SPLITS`.
        count: how many.
        seed: of the scenes.
        rho: how strongly the background hangs on the first noun.
    """
    return scenes(seed, count, split=split, side=options.side, config=scene_config(options, rho))


def scene_config(options: Options, rho: float) -> SceneConfig:
    """What the scenes hold.

    Args:
        options: see `Options`.
        rho: as for `scene_source`.
    """
    return SceneConfig(
        cast=options.cast,
        nouns=options.nouns,
        objects=options.objects,
        repeats=1,
        tinted=1.0,
        phrases=0,
        questions=0,
        scale=options.scale,
        rho=rho,
    )


# --- the encoder ------------------------------------------------------------------------------------------------------


def trained_encoder(options: Options, seed: int) -> DualEncoder:
    """A dual encoder that was trained on scenes with captions, in eval mode; from the cache where it is there.

    Args:
        options: of scenes and sizes.
        seed: of scenes, weights and order.
    """
    source = scene_source(dataclasses.replace(options, objects=(1, 1)), SPLITS[0], options.captions, seed)
    texts = [caption for sample in source.samples for caption in sample.captions]
    encoder = _untrained(texts, options, seed)
    surroundings = [torch.__version__, torch.backends.cpu.get_cpu_capability(), file_hash(Path(__file__))]
    decisive = {name: getattr(options, name) for name in _DECISIVE}
    facts = json.dumps([decisive, seed, *surroundings], sort_keys=True)
    name = f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.safetensors"
    path = cache_dir("masks", name)
    with contextlib.suppress(OSError, SafetensorError, RuntimeError):  # missing or damaged: trained again
        encoder.load_state_dict(load_file(path))
        return encoder.eval()
    with torch.random.fork_rng(devices=[]), on_threads(1):  # over more, sums are rounded in another order
        _train(encoder, source.samples, options.steps, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        save_file({key: value.contiguous() for key, value in encoder.state_dict().items()}, temporary)
    return encoder


def _untrained(texts: Sequence[str], options: Options, seed: int) -> DualEncoder:
    """The small text tower of `scratch`, beside an image tower whose map is fine enough for masks."""
    plain = scratch.build(texts, "small", 64, seed, "transformer", "resnet")  # 64: a side that its tower takes
    channels = options.channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = FineResNet(FineResNetConfig(options.side, (1, 1, 1, 1), channels, channels // 2, plain.width))
    preprocess = dataclasses.replace(plain.preprocess, size=options.side)
    return DualEncoder(tower, plain.text_tower, tokenizer=plain.tokenizer, preprocess=preprocess, traits=plain.traits)


def _train(encoder: DualEncoder, samples: Sequence[Sample], steps: int, seed: int) -> None:
    """By the symmetric cross-entropy of CLIP at the encoder's scale."""
    pixels = _drawn(samples)
    tokens = encoder.tokenize([sample.captions[0] for sample in samples])
    preprocess = encoder.preprocess
    mean, std = (torch.tensor(each)[:, None, None] for each in (preprocess.mean, preprocess.std))
    torch.manual_seed(seed)
    optimiser = torch.optim.AdamW(encoder.parameters(), weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, max(steps, 1))
    encoder.train()
    for _ in range(steps):
        rows = torch.randint(len(pixels), (min(_BATCH, len(pixels)),))
        image = encoder.encode_image((pixels[rows].float() / 255 - mean) / std)
        text = encoder.encode_text(tokens.ids[rows], mask=tokens.mask[rows])
        loss = info_nce(image, text, scale=encoder.scale)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    encoder.eval()


def _drawn(samples: Sequence[Sample]) -> UInt8[Tensor, "B 3 H W"]:
    drawn: list[Any] = [sample.image.draw() for sample in samples]  # type: ignore[union-attr]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)
