"""Race `prompt_epoch`: an epoch of CoOp (16 images a class, batches of 32) with random towers of CLIP ViT-B/16's shape.

`published` is the authors' training step in plain torch: the image tower reads each batch anew, and the texts of all
classes go through the text tower at once, 77 tokens each. `plain with tricks` gives that step what anybody would: image
embeddings that are kept from the first epoch on, and texts cut where the longest ends. The image tower of both is ours,
the text tower is written out over the same weights. Before anything is timed, logits and the gradient of the vectors
must agree.

An epoch is the median step times its number of steps. In the case `first epoch` all sides run the image tower over each
image once; in the case `further epochs` only `published` does. Memory is what a process of its own holds at the peak of
one step beyond what it held with the models loaded.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.rows import RESULTS, Race, Timings, added_memory, append_row, environment, make_row, measure_apart
from deixis.engine.training.train import train
from deixis.methods import coop
from deixis.nn.adaptation.prompts import ClassTexts
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.frozen import freeze
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.types import Batch, FieldSpec, Losses, Progress
from deixis.zoo import load

__all__ = ["RACE", "SIDES", "TOLERANCE", "Shape", "differences", "main", "model_of", "plain_step"]

RACE = Race(
    measures="An epoch of CoOp",
    peers=("published", "plain with tricks"),
    equal="logits and the gradient of the vectors",
)

THREADS, TOLERANCE, SHOTS, BATCH = 2, 1e-5, 16, 32
SIDES = ("ours", "published", "plain with tricks")
START, STOP, END = 49_406, 269, 49_407


@dataclasses.dataclass(frozen=True)
class Shape:
    """The sizes of the towers and of the prompts."""

    side: int = 224
    patch: int = 16
    width: int = 768
    depth: int = 12
    text_width: int = 512
    text_depth: int = 12
    out: int = 512
    per_head: int = 64
    length: int = 77
    vectors: int = 16


def model_of(shape: Shape, classes: int, chunk: int = 256) -> coop.Method:
    """CoOp with vectors at random, on random towers, for classes whose names are one to four tokens."""
    torch.manual_seed(0)
    heads, text_heads = shape.width // shape.per_head, shape.text_width // shape.per_head
    image = VitConfig(
        shape.side, shape.patch, shape.width, shape.depth, heads, 4 * shape.width, shape.out, activation="quick_gelu"
    )
    sizes = (shape.text_width, shape.text_depth, text_heads, 4 * shape.text_width, shape.out)
    text = TextConfig(END + 1, shape.length, *sizes, activation="quick_gelu")
    tiny, traits = load("tiny"), Traits("race", shape.length, 100.0)
    parts = {"tokenizer": tiny.tokenizer, "preprocess": tiny.preprocess, "traits": traits}
    encoder = freeze(DualEncoder(Vit(image), TextTransformer(text), **parts))
    config = coop.Config(names=("a", "b"), vectors=shape.vectors, chunk=chunk)
    method = coop.Method(config, encoder=encoder, names=config.names)
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 5, (classes,), generator=generator).tolist()
    names = [torch.randint(300, START, (length,), generator=generator).tolist() for length in lengths]
    rows = [[START, *name, STOP, END] for name in names]
    method.texts = ClassTexts.from_rows(rows, 1, lengths, shape.vectors, chunk=chunk)
    return method


def _images(shape: Shape, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(BATCH, 3, shape.side, shape.side, generator=generator)
    return images, torch.randint(classes, (BATCH,), generator=generator)


def _batch(image: Tensor, labels: Tensor) -> Batch:
    specs = {"image_embedding": FieldSpec("image_embedding", "B D")}
    return Batch(tuple(map(str, range(len(image)))), labels=labels, extra={"image_embedding": image}, specs=specs)


def _texts(method: coop.Method, context: Tensor, length: int) -> Tensor:
    """The class vectors, all at once: texts of `length` tokens through the tower, written out."""
    tower, texts = method.encoder.text_tower, method.texts
    tokens, ends = texts.tokens[texts.back], texts.mask[texts.back].sum(dim=1) - 1
    words = tower.words(F.pad(tokens, (0, max(0, length - tokens.shape[1]))))
    before, behind = words[:, : texts.start], words[:, texts.start + context.shape[1] :]
    states = torch.cat([before, context.expand(len(words), -1, -1), behind], dim=1)
    states = states + tower.positions[: states.shape[1]]
    for block in tower.blocks:
        attention, normed = block.attention, block.attention_norm(states)
        parts = [
            part(normed).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
            for part in (attention.query, attention.key, attention.value)
        ]
        found = F.scaled_dot_product_attention(*parts, is_causal=True)
        states = states + attention.out(found.transpose(1, 2).flatten(2))
        wide = block.perceptron.widen(block.norm(states))
        states = states + block.perceptron.narrow(wide * torch.sigmoid(1.702 * wide))
    return F.normalize(tower.projection(tower.norm(states[torch.arange(len(states)), ends])), dim=-1)


def _plain_logits(method: coop.Method, context: Tensor, image: Tensor, length: int) -> Tensor:
    return method.scale * F.normalize(image, dim=-1) @ _texts(method, context, length).T


def plain_step(
    method: coop.Method, side: str, shape: Shape, images: Tensor, kept: Tensor, labels: Tensor
) -> Callable[[], None]:
    """A plain loop over vectors of its own; each call is one step of SGD with the published settings. `kept` are the
    embeddings of the images from an earlier epoch, in place of which `published` reads the images anew."""
    context = method.context.detach().clone().requires_grad_()
    optim, length = coop.Config().optim, shape.length if side == "published" else method.texts.tokens.shape[1]
    settings = {"momentum": optim.momentum, "weight_decay": optim.weight_decay}
    optimiser = torch.optim.SGD([context], lr=optim.learning_rate, **settings)

    def step() -> None:
        image = _embedded(method, images) if side == "published" else kept
        optimiser.zero_grad()
        F.cross_entropy(_plain_logits(method, context, image, length), labels).backward()
        optimiser.step()

    return step


@torch.no_grad()
def _embedded(method: coop.Method, images: Tensor) -> Tensor:
    embedding: Tensor = method.encoder.image_tower(images).embedding
    return embedding


def differences(shape: Shape, classes: int, chunk: int = 256, published: bool = True) -> dict[str, float]:
    """How far the plain sides are from ours before the first step: logits over the scale, and the gradient of the
    vectors over its largest entry.

    Returns:
        `logits` and `gradient` of each plain side.
    """
    method = model_of(shape, classes, chunk)
    images, labels = _images(shape, classes)
    batch = _batch(_embedded(method, images), labels)
    method(batch, Progress()).total.backward()
    own, ours = method.context.grad, method.scores(batch.extra["image_embedding"])
    found = {}
    for side, length in (("published", shape.length), ("plain with tricks", method.texts.tokens.shape[1])):
        if side == "published" and not published:
            continue
        logits = _plain_logits(method, method.context, batch.extra["image_embedding"], length)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels), method.context)
        found[f"{side}, logits"] = float((logits.detach() - ours).abs().max()) / method.scale
        found[f"{side}, gradient"] = float((gradient - own).abs().max() / gradient.abs().max())
    return found


def _timings(shape: Shape, classes: int, repeats: int, sides: Sequence[str]) -> dict[str, list[float]]:
    """Seconds a step of each side, by turns; of the image tower over one batch under `images`."""
    method, (images, labels) = model_of(shape, classes), _images(shape, classes)
    kept = _embedded(method, images)
    loops = {side: plain_step(method, side, shape, images, kept, labels) for side in sides if side != "ours"}
    batch = _batch(kept, labels)
    seconds: dict[str, list[float]] = {side: [] for side in (*sides, "images")}
    mark = time.perf_counter()

    def by_turns(progress: Progress, losses: Losses) -> None:
        nonlocal mark
        seconds["ours"].append(time.perf_counter() - mark)
        for side, loop in {**loops, "images": lambda: _embedded(method, images)}.items():
            mark = time.perf_counter()
            loop()
            seconds[side].append(time.perf_counter() - mark)
        mark = time.perf_counter()

    train(method, itertools.repeat(batch), repeats + 1, on_step=by_turns)
    return {side: values[1:] for side, values in seconds.items()}  # the first warms up


def _memory(shape: Shape, classes: int, side: str) -> float:
    """MB that one step of a side adds to this process at the most."""
    torch.set_num_threads(THREADS)
    method, (images, labels) = model_of(shape, classes), _images(shape, classes)
    kept = F.normalize(torch.randn(BATCH, shape.out), dim=-1)
    batch = _batch(kept, labels)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # the first of a process imports torch's compiler, 60 MB
    gc.collect()
    if side == "ours":
        return added_memory(lambda: train(method, itertools.repeat(batch), 1))
    # No side runs the image tower before: what it frees the process keeps, and a step would be made of that.
    return added_memory(plain_step(method, side, shape, images, kept, labels))


def _race(classes: int, repeats: int, sides: Sequence[str], results: Path | None) -> None:
    shape = Shape()
    off = differences(shape, classes, published="published" in sides)
    if max(off.values()) > TOLERANCE:
        raise SystemExit(f"{classes} classes: the sides differ by {off}, and {TOLERANCE} is allowed")
    found = _timings(shape, classes, repeats, sides)
    held = {
        side: measure_apart("bench.prompt_epoch", "--measure", side, "--classes", str(classes))["megabytes"]
        for side in sides
    }
    steps = math.ceil(SHOTS * classes / BATCH)
    images = statistics.median(found.pop("images"))
    for peer in sides[1:]:
        first = [steps * (seconds + images) for seconds in found["ours"]]
        theirs = [steps * (seconds + (0 if peer == "published" else images)) for seconds in found[peer]]
        cases = {
            f"{classes} classes, first epoch": (Timings(first, theirs), "s"),
            f"{classes} classes, further epochs": (
                Timings([steps * s for s in found["ours"]], [steps * s for s in found[peer]]),
                "s",
            ),
            f"{classes} classes, memory": (Timings([held["ours"]], [held[peer]]), "MB"),
        }
        for case, (timings, unit) in cases.items():
            told = {"race": "prompt_epoch", "case": case, "peer": peer, "peer_version": torch.__version__}
            row = make_row(told, timings, unit=unit, equal=True, surroundings=environment(threads=THREADS))
            if results is None:
                print(json.dumps(row), flush=True)
            else:
                append_row(row, results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends three rows a plain side and number of classes."""
    parser = argparse.ArgumentParser(prog="python -m bench.prompt_epoch", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="steps a side (default 7)")
    parser.add_argument("--classes", nargs="*", type=int, default=[10, 100, 1000], help="numbers of classes")
    parser.add_argument("--sides", nargs="*", choices=SIDES[1:], default=SIDES[1:], help="against whom")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--print", action="store_true", help="print the rows and add none")
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    if chosen.measure:
        print(json.dumps({"megabytes": _memory(Shape(), chosen.classes[0], chosen.measure)}))
        return
    for classes in chosen.classes:
        _race(classes, chosen.repeats, ("ours", *chosen.sides), None if chosen.print else chosen.results)


if __name__ == "__main__":
    main()
