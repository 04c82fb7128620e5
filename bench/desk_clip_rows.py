"""desk-clip beside the starter, on what it was never trained on.

`python -m bench.desk_clip_rows` adds a row a set, task and file of changes to `results/desk_clip.jsonl`, of which
docs/desk_clip.md is made.

Retrieval is the mean of both directions, among all pictures of a set; zero-shot is the share of pictures whose class
scores highest. Both models see the same pictures; intervals and differences resample concepts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.desk_clip import ROWS
from bench.desk_clip_data import EXCLUDED_STYLE, concept_codes, concepts, emoji_samples, encode
from bench.rows import environment
from deixis import zoo
from deixis.data import catalogue
from deixis.data.datasets.sources import fetch
from deixis.data.splits import concept_groups
from deixis.engine.adaptation.divisions import divide
from deixis.files import content_hash
from deixis.nn.dual import DualEncoder
from deixis.ops.metrics import accuracy, retrieval
from deixis.ops.stats import cluster_bootstrap
from deixis.types import Sample
from deixis.zoo import desk_clip

__all__ = ["DEMO", "PHOTOGRAPHS", "TestSet", "main", "test_sets"]

SETS = ("starter", "emoji", "emoji-styles", "stamps", "art4apps", "gcompris", "fashion", "photos")
FASHION, TEMPLATE = 500, "a picture of {}"
DEMO, DIVISIONS = "demo, validation part", 20
METRICS = ("mean_r1", "mean_r10", "mean_mrr")
PHOTOGRAPHS = {
    "darknet/dog": "a dog beside a bicycle",
    "darknet/eagle": "an eagle",
    "darknet/giraffe": "a giraffe and a zebra",
    "darknet/horses": "horses in a meadow",
    "darknet/kite": "people flying kites on a beach",
    "data/aloeL": "a potted aloe plant",
    "data/apple": "an apple",
    "data/baboon": "a baboon",
    "data/basketball1": "people playing basketball",
    "data/building": "a tall building",
    "data/butterfly": "a butterfly on a flower",
    "data/fruits": "fruits",
    "data/graf1": "graffiti on a wall",
    "data/home": "a house",
    "data/leuvenA": "cars parked in front of a building",
    "data/licenseplate_motion": "a car with a licence plate",
    "data/messi5": "a soccer player with a ball",
    "data/orange": "an orange",
    "data/squirrel_cls": "a squirrel",
}
"""Of the photographs of OpenCV and darknet, which have no captions: what they show, by their names without ending."""


class TestSet(NamedTuple):
    """What is measured on.

    Attributes:
        name: of the set, and the kind of picture.
        samples: the gallery.
        captions: of each.
        labels: the class of each; none: no zero-shot.
        queries: those that are reported on.
    """

    name: str
    samples: Sequence[Sample]
    captions: Sequence[str]
    labels: Sequence[str] = ()
    queries: Sequence[bool] = ()


def test_sets() -> list[TestSet]:
    """All that is reported on."""
    samples, listed = emoji_samples(), concepts()
    drawn = [
        (sample, listed.get(code, "train") == "unseen")
        for sample, code in zip(samples, concept_codes(samples), strict=True)
        if sample.extra.get("style") == EXCLUDED_STYLE
    ]
    found = []
    for name, unseen in (("trained concepts", False), ("unseen concepts", True)):
        some = [sample for sample, flag in drawn if flag == unseen]
        groups = [sample.extra["group"].replace("-", " and ") for sample in some]
        found.append(TestSet(f"{EXCLUDED_STYLE}, {name}", some, [s.captions[0] for s in some], groups))
    stamps = catalogue.read("stamps").samples
    photo = [bool(sample.extra["photo"]) for sample in stamps]
    folders, words = [sample.id.partition("/")[0] for sample in stamps], [s.captions[0] for s in stamps]
    for name, queries in (("drawings", [not each for each in photo]), ("photographs", photo)):
        found.append(TestSet(f"stamps, {name}", stamps, words, folders, queries))
    chosen_on = set(divide(concept_groups(stamps), 0, DIVISIONS)[0].train)
    found.append(TestSet(DEMO, stamps, words, (), [i in chosen_on for i in range(len(stamps))]))
    art = catalogue.read("art4apps").samples
    found.append(TestSet("art4apps, drawings", art, [s.captions[0] for s in art], [str(s.label) for s in art]))
    described, labelled = catalogue.read("gcompris").samples, catalogue.read("gcompris/labels").samples
    found.append(TestSet("gcompris, photographs", described, [s.captions[0] for s in described]))
    found.append(TestSet("gcompris/labels, photographs", labelled, (), [str(s.label) for s in labelled]))
    fashion = catalogue.read("fashion/test").samples[:FASHION]
    found.append(TestSet("fashion, photographs", fashion, (), [str(s.label) for s in fashion]))
    photos = [s for s in catalogue.read("photos/photographs").samples if s.id.rpartition(".")[0] in PHOTOGRAPHS]
    own = [PHOTOGRAPHS[s.id.rpartition(".")[0]] for s in photos]
    return [*found, TestSet("photos, photographs", photos, own, own)]


class Measured:
    """A model that embeds each text and each gallery once.

    Args:
        model: the starter, or desk-clip.
    """

    def __init__(self, model: DualEncoder) -> None:
        self.model = model
        self._texts: dict[str, Tensor] = {}
        self._images: dict[str, Tensor] = {}

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of texts."""
        new = sorted((text for text in dict.fromkeys(texts) if text not in self._texts), key=len)
        self._texts |= zip(new, self.model.encode_text(new), strict=True)
        return torch.stack([self._texts[text] for text in texts])

    def images(self, data: TestSet, maps: np.ndarray) -> Tensor:
        """Embeddings of a gallery."""
        gallery = "\n".join(sample.id for sample in data.samples)
        if gallery not in self._images:
            self._images[gallery] = images_of(self.model, maps)
        return self._images[gallery]


@torch.no_grad()
def images_of(model: DualEncoder, maps: np.ndarray) -> Tensor:
    """Embeddings, from what the trunk at rest made of the pictures."""
    tower: Any = model.image_tower
    classifier = getattr(tower, "encoder", None)
    inside = tower if classifier is None else classifier.network
    trunk, found = inside.backbone, []
    for start in range(0, len(maps), 64):
        some = torch.from_numpy(maps[start : start + 64]).float().contiguous(memory_format=torch.channels_last)
        features = trunk.bn2(trunk.conv_head(trunk.blocks[-1](some))).mean(dim=(2, 3))
        found.append(tower.head(tower.classifier(features)) if classifier is None else tower.project(features))
    return torch.nn.functional.normalize(torch.cat(found), dim=-1)


def values(model: Measured, data: TestSet, maps: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """One value a query, by task and metric."""
    image, found = model.images(data, maps), {}
    asked = np.array(data.queries or [True] * len(data.samples))
    if data.captions:
        places = {caption: i for i, caption in enumerate(dict.fromkeys(data.captions))}
        keys = torch.tensor([places[caption] for caption in data.captions])
        text = model.texts(list(places))[keys]
        ranked = retrieval(image, text, keys)
        found |= {("retrieval", metric): ranked[metric].numpy()[asked] for metric in METRICS}
    if data.labels:
        names = sorted(set(data.labels))
        text = model.texts([TEMPLATE.format(name) for name in names])
        labels = torch.tensor([names.index(label) for label in data.labels])
        found["zero-shot", "accuracy"] = accuracy(image @ text.T, labels).numpy()[asked]
    return found


def measure(paths: Sequence[Path], say: Callable[[dict[str, Any]], None]) -> None:
    """Measures files of changes and the starter on all sets.

    Args:
        paths: of files of changes.
        say: receives each row.
    """
    starter = zoo.load("starter")
    original, models = Measured(starter), dict[str, Measured]()
    for path in paths:
        model = desk_clip.untrained()
        desk_clip.add_changes(model, desk_clip.read_changes(path))
        models[content_hash(path)] = Measured(model)
    for data in test_sets():
        maps = encode(starter.image_tower, starter.preprocess, data.samples).maps  # type: ignore[arg-type]
        before = values(original, data, maps)
        asked = np.array(data.queries or [True] * len(data.samples))
        clusters = np.array(concept_groups(data.samples))[asked]
        for sha256, model in models.items():
            for (task, metric), own in values(model, data, maps).items():
                arms = {"starter": before[task, metric], "desk_clip": own, "difference": own - before[task, metric]}
                spread = {name: [round(v, 5) for v in cluster_bootstrap(each, clusters)] for name, each in arms.items()}
                what = {"kind": "test", "set": data.name, "task": task, "metric": metric, "sha256": sha256}
                say({**what, **spread, "queries": int(asked.sum()), "classes": len(set(data.labels or data.captions))})


def main(arguments: Sequence[str] | None = None) -> None:
    """Appends the rows of files of changes."""
    parser = argparse.ArgumentParser(prog="python -m bench.desk_clip_rows", description=(__doc__ or "").split(":")[0])
    parser.add_argument("changes", type=Path, nargs="*", default=[desk_clip.WEIGHTS], help="files that were built")
    parser.add_argument("--results", type=Path, default=ROWS, help="for the rows")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in SETS:
        fetch.get(name, print)
    place = environment(1)

    def say(row: dict[str, Any]) -> None:
        with open(given.results, "a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **{key: place[key] for key in ("commit", "date")}}) + "\n")
        print(row["set"], row["task"], row["metric"], row["starter"], row["desk_clip"], flush=True)

    measure(given.changes, say)


if __name__ == "__main__":
    main()
