"""How the starter's constants were chosen: prompt form, classes mixed, temperature and centring, on drawings.

The pictures are the sets `emoji` and `art4apps`, which the demo does not adapt to. Images and
prompts are encoded once; every setting is then a small product. Chosen is the setting with the highest mean of both
sets' `mean_mrr`; where the best lies at an edge of the grid, the grid is made wider and all is run again.

Centring subtracts the mean class embedding: from the images alone (as it is subtracted from each class), or from both
sides.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.rows import RESULTS, environment
from deixis import zoo
from deixis.data import catalogue
from deixis.data.datasets.sources import fetch
from deixis.nn.dual import DualEncoder
from deixis.nn.vision.conse import ConSE
from deixis.ops.metrics import retrieval
from deixis.zoo.starter import PROMPTS, class_prompts

__all__ = ["main"]

SETS = ("emoji", "art4apps")
MIXED = (5, 10, 30, 100)
TEMPERATURES = (1.0, 1.5, 2.0, 2.5, 3.0)
CENTRINGS = ("none", "image", "both")
TOLD = ("image_to_text_r10", "text_to_image_r10", "mean_mrr")


class Encoded(NamedTuple):
    """What every setting starts from: class scores [B, C], caption embeddings [B, D], equal numbers for equal captions
    [B], and the samples' names."""

    scores: Tensor
    texts: Tensor
    keys: Tensor
    ids: tuple[str, ...]


def encode(model: DualEncoder, name: str) -> Encoded:
    """One set through both towers."""
    fetch.get(name, print)
    samples = catalogue.read(name).samples
    captions = [sample.captions[0] for sample in samples]
    distinct = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    scores = []
    with torch.no_grad():
        for start in range(0, len(samples), 32):
            images = model.read_images([sample.image for sample in samples[start : start + 32]])
            scores.append(model.image_tower.classifier(model.image_states(images).features))
    keys = torch.tensor([distinct[caption] for caption in captions])
    ids = tuple(f"{name}/{sample.id}" for sample in samples)
    return Encoded(torch.cat(scores), model.encode_text(captions), keys, ids)


def measure(encoded: Encoded, head: ConSE, centring: str) -> dict[str, float]:
    """Retrieval with one setting, as means over the set."""
    centre = head.prototypes.mean(0)
    image = F.normalize(head.mix(encoded.scores) - centre * (centring != "none"), dim=-1)
    text = F.normalize(encoded.texts - centre * (centring == "both"), dim=-1)
    values = retrieval(image, text, encoded.keys)
    return {metric: round(float(values[metric].mean()), 5) for metric in TOLD}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the grid, appends a row a setting and set, writes the names of all pictures used."""
    parser = argparse.ArgumentParser(prog="python -m bench.starter_choice", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS.with_name("starter_choice.jsonl"), help="for the rows")
    results = parser.parse_args(arguments).results
    fetch.get("starter", print)
    model = zoo.load("starter", centred=False)
    encoded = {name: encode(model, name) for name in SETS}
    prototypes = {form: model.encode_text(class_prompts(form)) for form in PROMPTS}
    surroundings = environment(torch.get_num_threads())
    stamp = {key: surroundings[key] for key in ("commit", "date")}
    rows: list[dict[str, Any]] = []
    ranking: dict[tuple[str, int, float, str], float] = {}
    for setting in itertools.product(PROMPTS, MIXED, TEMPERATURES, CENTRINGS):
        prompt, k, temperature, centring = setting
        head = ConSE(prototypes[prompt], k, temperature)
        found = {name: measure(encoded[name], head, centring) for name in SETS}
        for name in SETS:
            row = {"set": name, "prompt": prompt, "k": k, "temperature": temperature, "centring": centring}
            rows.append({**row, **found[name], "images": len(encoded[name].ids), **stamp})
        ranking[setting] = sum(found[name]["mean_mrr"] for name in SETS) / len(SETS)
    with open(results, "a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    names = "".join(f"{each}\n" for name in SETS for each in encoded[name].ids)
    results.with_name(f"{results.stem}_paths.txt").write_text(names, encoding="utf-8")
    for setting in sorted(ranking, key=lambda each: -ranking[each])[:10]:
        print(f"{100 * ranking[setting]:.2f}", *setting)


if __name__ == "__main__":
    main()
