"""How `desk-clip` is built: the starter's towers, trained jointly by the method `clip` and the engine.

    python -m bench.desk_clip --choose       tries the settings, on concepts that are left out of the training for it
    python -m bench.desk_clip --seed 0       trains with the best of them on all, and writes a file of changes

What trains is the two projections, the last layer of the text tower and, where that is chosen, the last block of the
image trunk; all else is the starter's, at rest, so that each picture and text goes through it once. A batch holds a
concept once. Training starts at the texts' principal directions and the ridge regression of the pictures onto them.
What was encoded, and checkpoints, lie in the cache: a build that was stopped goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from bench.desk_clip_data import EncodedImages, Pair, encode, pairs, row_pairs
from bench.desk_clip_towers import CachedImages, CachedTexts, read_texts, start
from bench.rows import RESULTS, environment
from deixis import engine
from deixis.data.datasets.sources import fetch
from deixis.engine.training.train import Training
from deixis.files import atomic_path, cache_dir, content_hash
from deixis.nn.dual import DualEncoder
from deixis.ops.metrics import retrieval
from deixis.types import Batch, OptimGroup, OptimSpec, Stage
from deixis.zoo import desk_clip

__all__ = ["ROWS", "Recipe", "best", "build", "main", "material", "start_of"]

ROWS = RESULTS.with_name("desk_clip.jsonl")
SETS = ("starter", "emoji", "emoji-styles", "clipart", "photos")
STEPS, TRIAL, BATCH, TEXT_LAYERS, DROPOUT, PENALTY = 80, 60, 192, 1, 0.3, 0.5
CHOICE_SEED, CHECKPOINT = 100, 25
OPTIM = OptimSpec(
    learning_rate=3e-4, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-6, schedule="cosine", warmup=0.1, clip=1.0
)
SLOW = 0.1
"""Times the rate of the projections: that of layers which were trained before."""


class Recipe(NamedTuple):
    """What is chosen.

    Attributes:
        block: whether the last block of the image trunk trains.
        rows: whether the rows of the ImageNet classifier are trained on, as features without a picture.
    """

    block: bool
    rows: bool


class Material(NamedTuple):
    """What trainings see.

    Attributes:
        pairs: pictures, and behind them classes.
        images: the pictures, encoded.
        features: of all pairs, behind the trunk at rest.
        texts: the number of each text.
        states: of all texts, before the layers that train.
        seconds: of the processor, of all of it.
    """

    pairs: Sequence[Pair]
    images: EncodedImages
    features: Tensor
    texts: Mapping[str, int]
    states: Sequence[Tensor]
    seconds: float

    def means(self, layers: nn.ModuleList) -> Tensor:
        """The mean state of the first text of each pair, behind layers as they are."""
        texts = CachedTexts(layers, nn.Identity(), self.states)
        first = torch.tensor([self.texts[pair.texts[0]] for pair in self.pairs])
        with torch.no_grad():
            return torch.cat([texts.means(some) for some in first.split(256)])


def material(model: DualEncoder) -> Material:
    """Encodes pictures and texts."""
    begun = time.process_time()
    classifier: Any = model.image_tower.encoder.network  # type: ignore[union-attr]
    pictures, rows = pairs(), row_pairs()
    listed = time.process_time() - begun
    images = encode(classifier, model.preprocess, [pair.sample for pair in pictures if pair.sample])
    weight = classifier.classifier.weight.detach()[[pair.row for pair in rows]]
    classes = weight / weight.norm(dim=1).mean() * images.features.norm(dim=1).mean()
    every = [*pictures, *rows]
    texts = {text: i for i, text in enumerate(dict.fromkeys(text for pair in every for text in pair.texts))}
    states, reading = _states(model, list(texts))
    seconds = listed + images.seconds + reading
    return Material(every, images, torch.cat([images.features, classes]), texts, states, seconds)


def _states(model: DualEncoder, texts: Sequence[str]) -> tuple[Sequence[Tensor], float]:
    """What `read_texts` gives, from the cache where it was read before; and the seconds that it took."""
    key = hashlib.sha256(json.dumps([texts, TEXT_LAYERS]).encode()).hexdigest()[:24]
    path, begun = cache_dir("desk-clip") / f"texts-{key}.safetensors", time.process_time()
    if not path.is_file():
        states = read_texts(model, texts, TEXT_LAYERS)
        lengths, seconds = torch.tensor([len(each) for each in states]), torch.tensor(time.process_time() - begun)
        with atomic_path(path) as temporary:
            save_file({"states": torch.cat(states), "lengths": lengths, "seconds": seconds}, temporary)
    stored = load_file(path)
    return stored["states"].split(stored["lengths"].tolist()), float(stored["seconds"])


def stream(data: Material, chosen: Sequence[int], seed: int) -> Iterator[Batch]:
    """Batches for ever: in each pass every concept comes once, with one of its pictures or its class, and a text.

    Args:
        data: of which pairs are drawn.
        chosen: the pairs that are trained on.
        seed: of the draws.
    """
    holders: dict[str, list[int]] = defaultdict(list)
    for number in chosen:
        holders[data.pairs[number].key].append(number)
    rng, keys = random.Random(seed), sorted(holders)
    while True:
        rng.shuffle(keys)
        for begin in range(0, len(keys) - BATCH + 1, BATCH):
            drawn = [rng.choice(holders[key]) for key in keys[begin : begin + BATCH]]
            words = [data.texts[rng.choice(data.pairs[i].texts)] for i in drawn]
            yield Batch(
                tuple(map(str, drawn)),
                images=torch.tensor(drawn, dtype=torch.float32)[:, None, None, None],
                tokens=torch.tensor(words)[:, None, None],
            )


class Build(NamedTuple):
    """A model that was trained, and the towers that read what is cached."""

    model: DualEncoder
    cached: DualEncoder
    scale: float
    seconds: float


def build(data: Material, recipe: Recipe, seed: int, choosing: bool) -> Build:
    """Trains a model.

    Args:
        data: pictures and texts.
        recipe: what trains, and on what.
        seed: of draws and dropout.
        choosing: leave out the concepts that settings are chosen on, and take fewer steps.
    """
    begun, model = time.process_time(), desk_clip.untrained()
    chosen = [
        number
        for number, pair in enumerate(data.pairs)
        if not (choosing and pair.choice) and (pair.sample is not None or recipe.rows)
    ]
    image, text = start_of(model, data, recipe)
    means = data.means(text.layers)
    start(model, data.features[chosen], means[chosen], PENALTY)
    cached = DualEncoder(image, text, tokenizer=model.tokenizer, preprocess=model.preprocess, traits=model.traits)
    slow = ("text_tower.layers", *(("image_tower.last",) if recipe.block else ()))
    groups = tuple(OptimGroup(f"encoder.{name}.", scale=SLOW) for name in slow)
    optim = dataclasses.replace(OPTIM, groups=groups)
    method: Any = engine.build("clip", overrides={"layers": "all", "optim": optim}, parts={"encoder": cached})
    norms = tuple(name for name, each in method.named_modules() if isinstance(each, nn.BatchNorm2d))
    path = cache_dir("desk-clip") / f"block{recipe.block:d}-rows{recipe.rows:d}-seed{seed}.safetensors"
    steps = TRIAL if choosing else STEPS
    training = Training(method, stream(data, chosen, seed), steps, stage=Stage(evaluate=norms), seed=seed)
    training.run(checkpoint=path, every=CHECKPOINT)
    return Build(model, cached.eval(), method.scale, time.process_time() - begun)


def start_of(model: DualEncoder, data: Material, recipe: Recipe) -> tuple[CachedImages, CachedTexts]:
    """The towers that read what is cached."""
    image, text = model.image_tower, model.text_tower
    trunk: Any = image.encoder.network.backbone  # type: ignore[union-attr]
    last = nn.Sequential(trunk.blocks[-1], trunk.conv_head, trunk.bn2) if recipe.block else None
    layers: Any = text.encoder.network.bert.layers  # type: ignore[union-attr]
    maps = data.images.maps
    return (
        CachedImages(last, image.project, data.features, maps, DROPOUT),  # type: ignore[arg-type]
        CachedTexts(layers[len(layers) - TEXT_LAYERS :], text.project, data.states),  # type: ignore[arg-type]
    )


@torch.no_grad()
def chosen_value(data: Material, made: Build) -> float:
    """Mean reciprocal rank, of both directions, on the drawings of concepts that settings are chosen on."""
    here = [
        number
        for number, pair in enumerate(data.pairs)
        if pair.choice and pair.sample is not None and "style" in pair.sample.extra
    ]
    texts = [data.texts[data.pairs[i].texts[0]] for i in here]
    image = made.cached.image_tower(torch.tensor(here, dtype=torch.float32)[:, None, None, None]).embedding
    text = made.cached.text_tower(torch.tensor(texts)[:, None])
    return float(retrieval(image, F.normalize(text, dim=-1), torch.tensor(texts))["mean_mrr"].mean())


def changes(made: Build, hashes: Sequence[str]) -> dict[str, Tensor]:
    """What training changed, in 16 bits, with the scale and the hashes of the pictures that were trained on."""
    before, after = desk_clip.untrained().state_dict(), made.model.state_dict()
    differ = {name: after[name] - before[name] for name in after if not torch.equal(after[name], before[name])}
    seen = torch.tensor([list(bytes.fromhex(each)) for each in sorted(set(hashes))], dtype=torch.uint8)
    scale = torch.tensor(made.scale, dtype=torch.float64)
    return {**{name: each.half().contiguous() for name, each in differ.items()}, "scale": scale, "trained_on": seen}


def best(rows: Sequence[Mapping[str, Any]]) -> Recipe:
    """The recipe with the highest value among the rows of kind `choice`."""
    tried = [row for row in rows if row["kind"] == "choice"]
    if not tried:
        raise SystemExit("No settings have been tried: python -m bench.desk_clip --choose")
    found = max(tried, key=lambda row: row["mean_mrr"])
    return Recipe(found["block"], found["rows"])


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def _append(path: Path, row: Mapping[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({**row, **environment(torch.get_num_threads())}) + "\n")
    print({key: value for key, value in row.items() if key != "settings"}, flush=True)


def _settings() -> dict[str, Any]:
    names = ("STEPS", "TRIAL", "BATCH", "TEXT_LAYERS", "DROPOUT", "PENALTY", "SLOW")
    return {**{name.lower(): globals()[name] for name in names}, "optim": dataclasses.asdict(OPTIM)}


def _choose(data: Material, results: Path) -> None:
    """A row for each recipe that has none."""
    done = {Recipe(row["block"], row["rows"]) for row in _rows(results) if row["kind"] == "choice"}
    for recipe in (Recipe(*each) for each in itertools.product((False, True), repeat=2)):
        if recipe not in done:
            made = build(data, recipe, CHOICE_SEED, choosing=True)
            value = {"mean_mrr": round(chosen_value(data, made), 5), "scale": round(made.scale, 3)}
            cost = {"seconds": round(made.seconds, 1), "encoding_seconds": round(data.seconds, 1)}
            _append(results, {"kind": "choice", **recipe._asdict(), "seed": CHOICE_SEED, **value, **cost})


def _build(data: Material, seed: int, out: Path, results: Path) -> None:
    recipe = best(_rows(results))
    made = build(data, recipe, seed, choosing=False)
    with atomic_path(out) as temporary:
        save_file(changes(made, data.images.hashes), temporary)
    size = {"sha256": content_hash(out), "megabytes": round(out.stat().st_size / 1e6, 2)}
    cost = {"seconds": round(made.seconds, 1), "encoding_seconds": round(data.seconds, 1)}
    counts = {"pictures": len(data.images.hashes), "classes": len(data.pairs) - len(data.images.hashes)}
    row = {"kind": "build", **recipe._asdict(), "seed": seed, "scale": round(made.scale, 3), **size, **counts, **cost}
    _append(results, {**row, "settings": _settings()})


def main(arguments: Sequence[str] | None = None) -> None:
    """Tries the settings, or builds with the best of them."""
    parser = argparse.ArgumentParser(prog="python -m bench.desk_clip", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--choose", action="store_true", help="try the settings that have no row yet")
    parser.add_argument("--seed", type=int, action="append", default=[], help="build with this seed")
    parser.add_argument("--out", type=Path, default=cache_dir("desk-clip", "built"), help="folder for files of changes")
    parser.add_argument("--results", type=Path, default=ROWS, help="for the rows")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in SETS:
        fetch.get(name, print)
    data = material(desk_clip.untrained())
    if given.choose:
        _choose(data, given.results)
    given.out.mkdir(parents=True, exist_ok=True)
    for seed in given.seed:
        _build(data, seed, given.out / f"seed-{seed}.safetensors", given.results)


if __name__ == "__main__":
    main()
