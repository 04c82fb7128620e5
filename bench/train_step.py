"""Race `train_step`: a training step of CLIP (forward, backward, AdamW) by the engine, against plain loops.

`open_clip` is open_clip's own model and loss, stepped as its training script does on one device without mixed
precision; it runs once more with torch's fused AdamW, which the script does not use and a user could. `torch` is a loop
over our own towers with the loss written in torch and the fused AdamW: what is lost to it is the price of the house.
All sides start from the same weights and see the same batch, of texts of full length; before anything is timed, the
loss and the norm of each tensor's gradient must agree.

The memory of a side is what a process of its own holds at its peak beyond what it held without a model: weights,
gradients, AdamW's moments and what is kept for the backward pass.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import gc
import importlib.metadata
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.rows import RESULTS, Race, Timings, added_memory, append_row, environment, make_row, measure_apart
from deixis.engine import backward
from deixis.engine.training.train import train
from deixis.methods.clip import Config, Method
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.types import Batch, Losses, Progress
from deixis.zoo import load
from deixis.zoo.layouts import openclip
from deixis.zoo.layouts.places import fill
from deixis.zoo.layouts.weights import Weights

__all__ = ["CASES", "RACE", "SIDES", "TOLERANCE", "Shape", "differences", "main", "model_of", "noise", "steps"]

RACE = Race(
    measures="A training step of CLIP",
    peers=("open_clip", "open_clip with fused AdamW", "torch"),
    equal="the loss and the norm of each tensor's gradient",
)

THREADS, TOLERANCE, FUSED = 2, 1e-4, "open_clip with fused AdamW"
SIDES = ("ours", "open_clip", FUSED, "torch")


@dataclasses.dataclass(frozen=True)
class Shape:
    """The sizes of a model and its batch."""

    batch: int
    out: int
    side: int
    patch: int
    width: int
    depth: int
    text_width: int
    text_depth: int
    length: int = 77
    vocabulary: int = 49_408
    per_head: int = 64


CASES = {
    "ViT-S/16, depth 6, 112 px, batch 32": Shape(32, 256, 112, 16, 384, 6, 256, 4),
    "ViT-B/32, 224 px, batch 8": Shape(8, 512, 224, 32, 768, 12, 512, 12),
}


def _theirs(shape: Shape) -> nn.Module:
    torch.manual_seed(0)
    image = {"layers": shape.depth, "width": shape.width, "head_width": shape.per_head, "patch_size": shape.patch}
    text = {"context_length": shape.length, "vocab_size": shape.vocabulary, "width": shape.text_width}
    import open_clip

    return open_clip.CLIP(
        shape.out,
        {**image, "image_size": shape.side},
        {**text, "heads": shape.text_width // shape.per_head, "layers": shape.text_depth},
    )


def _ours(shape: Shape, state: dict[str, Tensor] | None = None) -> Method:
    """Our method, with new weights or with those of open_clip's model."""
    image = VitConfig(
        image_size=shape.side,
        patch_size=shape.patch,
        width=shape.width,
        depth=shape.depth,
        heads=shape.width // shape.per_head,
        hidden=4 * shape.width,
        out=shape.out,
    )
    text = TextConfig(
        vocabulary=shape.vocabulary,
        length=shape.length,
        width=shape.text_width,
        depth=shape.text_depth,
        heads=shape.text_width // shape.per_head,
        hidden=4 * shape.text_width,
        out=shape.out,
    )
    towers, scale = (Vit(image), TextTransformer(text)), 1 / 0.07
    if state is not None:
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        weights = Weights("the race", shapes, lambda name: state[name].clone(), "pickle")
        scale = math.exp(fill(weights, openclip.parts(*towers), ["logit_scale"])["logit_scale"])
    tiny = load("tiny")  # for a tokenizer and a preprocessing, which no step asks for
    traits = Traits("race", shape.length, scale)
    encoder = DualEncoder(*towers, tokenizer=tiny.tokenizer, preprocess=tiny.preprocess, traits=traits)
    return Method(Config(), encoder=encoder)


def noise(shape: Shape) -> Batch:
    """Noise for images; texts of full length, that end with the highest token as CLIP's do."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(shape.batch, 3, shape.side, shape.side, generator=generator)
    tokens = torch.randint(1, shape.vocabulary - 1, (shape.batch, 1, shape.length), generator=generator)
    tokens[..., -1] = shape.vocabulary - 1
    return Batch(ids=tuple(map(str, range(shape.batch))), images=images, tokens=tokens)


def _optimiser(parameters: Sequence[Tensor], fused: bool) -> torch.optim.Optimizer:
    """As open_clip's script makes it (but for `fused`), with our settings."""
    optim = Config().optim
    groups = [
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": optim.weight_decay},
    ]
    return torch.optim.AdamW(groups, lr=optim.learning_rate, betas=optim.betas, eps=optim.eps, fused=fused)


def _their_loss(model: nn.Module, batch: Batch) -> Tensor:
    import open_clip

    return open_clip.ClipLoss()(*model(batch.images, batch.tokens[:, 0]))


def _plain_loss(method: Method, batch: Batch) -> Tensor:
    image = method.encoder.image_tower(batch.images).embedding
    text = method.encoder.text_tower(batch.tokens[:, 0])
    logits, right = method.logit_scale.exp() * image @ text.T, torch.arange(len(image))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def _loop(model: nn.Module, batch: Batch, side: str) -> Callable[[], None]:
    """A plain loop; each call is one step."""
    loss = _plain_loss if side == "torch" else _their_loss
    optimiser = _optimiser(list(model.train().parameters()), fused=side != "open_clip")

    def step() -> None:
        optimiser.zero_grad()
        loss(model, batch).backward()
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))

    return step


def differences(shape: Shape) -> dict[str, float]:
    """How far the plain loops are from the engine before the first step: loss and norms of gradients, relative.

    Returns:
        `open_clip` and `torch`, each with its largest relative difference.
    """
    model, batch = _theirs(shape).train(), noise(shape)
    method = _ours(shape, model.state_dict()).train()
    plain = copy.deepcopy(method)
    found = backward(method, batch, Progress(0, 1)).total
    own = {"the loss": float(found.detach()), **_under_their_names(method)}
    largest = {}
    for name, side, loss in (("open_clip", model, _their_loss), ("torch", plain, _plain_loss)):
        value = loss(side, batch)
        value.backward()
        norms = {"the loss": float(value.detach()), **(_norms(side) if side is model else _under_their_names(side))}
        if norms.keys() != own.keys():
            raise SystemExit(f"one side alone has a gradient for {sorted(norms.keys() ^ own.keys())}")
        largest[name] = max(abs(own[key] - norms[key]) / norms[key] for key in own)
    return largest


def _norms(module: nn.Module) -> dict[str, float]:
    return {name: float(value.grad.norm()) for name, value in module.named_parameters() if value.grad is not None}


def _under_their_names(method: Method) -> dict[str, float]:
    """The norms of our gradients by open_clip's names; of queries, keys and values, which are one there, together."""
    squares = {"logit_scale": float(method.logit_scale.grad.norm()) ** 2}
    for part in openclip.parts(method.encoder.image_tower, method.encoder.text_tower):
        for name, norm in _norms(part.module).items():
            key = part.places[name].key
            squares[key] = squares.get(key, 0.0) + norm**2
    return {key: value**0.5 for key, value in squares.items()}


def _timings(shape: Shape, repeats: int) -> dict[str, list[float]]:
    """Samples a second of each side, by turns: the loops step whenever the engine tells of a step of its own."""
    model, batch = _theirs(shape), noise(shape)
    method = _ours(shape, model.state_dict())
    models = {"open_clip": model, FUSED: copy.deepcopy(model), "torch": copy.deepcopy(method)}
    loops = {side: _loop(each, batch, side) for side, each in models.items()}
    rates: dict[str, list[float]] = {side: [] for side in SIDES}
    mark = time.perf_counter()

    def by_turns(progress: Progress, losses: Losses) -> None:
        nonlocal mark
        for side in SIDES:
            if side in loops:
                mark = time.perf_counter()
                loops[side]()
            rates[side].append(shape.batch / (time.perf_counter() - mark))
        mark = time.perf_counter()

    train(method, itertools.repeat(batch), repeats + 1, on_step=by_turns)
    return {side: values[1:] for side, values in rates.items()}  # the first warms up


def _memory(shape: Shape, side: str) -> float:
    """MB that one side's model and three of its steps add to this process at the most."""
    torch.set_num_threads(THREADS)
    small = Shape(2, 8, 16, 8, 8, 1, 8, 1, length=4, vocabulary=16, per_head=8)
    build = _theirs if side in ("open_clip", FUSED) else _ours
    steps(build(small), noise(small), side)  # loads all code
    gc.collect()
    batch = noise(shape)
    return added_memory(lambda: steps(build(shape), batch, side))


def model_of(shape: Shape, side: str) -> nn.Module:
    """The model of one of `SIDES`; all have the same weights."""
    model = _theirs(shape)
    return model if side in ("open_clip", FUSED) else _ours(shape, model.state_dict())


def steps(model: nn.Module, batch: Batch, side: str) -> None:
    """Three steps of one of `SIDES`."""
    if side == "ours":
        train(model, itertools.repeat(batch), 3)
        return
    step = _loop(model, batch, side)
    for _ in range(3):
        step()


def _race(case: str, repeats: int, memory_repeats: int, results: Path) -> None:
    off = differences(CASES[case])
    if max(off.values()) > TOLERANCE:
        raise SystemExit(f"{case}: the sides differ by {off}, and {TOLERANCE} is allowed")
    rates = _timings(CASES[case], repeats)
    gc.collect()
    held: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(memory_repeats):
        for side, values in held.items():
            values.append(measure_apart("bench.train_step", "--measure", side, "--cases", case)["megabytes"])
    theirs = importlib.metadata.version("open_clip_torch")
    for peer in SIDES[1:]:
        for name, unit, found in ((case, "samples/s", rates), (f"{case}, memory", "MB", held)):
            timings = Timings(found["ours"], found[peer])
            told = {"race": "train_step", "case": name, "peer": peer}
            told["peer_version"] = torch.__version__ if peer == "torch" else theirs
            row = make_row(told, timings, unit=unit, equal=True, surroundings=environment(threads=THREADS))
            append_row(row, results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends six rows a case: time and memory against each loop."""
    parser = argparse.ArgumentParser(prog="python -m bench.train_step", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="steps a side (default 7, the fewest)")
    parser.add_argument("--memory-repeats", type=int, default=1, help="processes a side (default 1)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    if chosen.measure:
        print(json.dumps({"megabytes": _memory(CASES[chosen.cases[0]], chosen.measure)}))
        return
    if chosen.repeats < 7:
        parser.error("fewer than 7 measurements say too little")
    for case in chosen.cases:
        _race(case, chosen.repeats, chosen.memory_repeats, chosen.results)


if __name__ == "__main__":
    main()
