"""Which order puts pictures first that do not belong: `python -m bench.unusual_rows`, rows of results/unusual.jsonl.

Among 300 pictures of a set, or all where it has fewer, lie 12 of the other sets. Each order gives every picture a
number, and the AUROC says how often a planted picture stands before one of the set: 0.5 is chance. The orders:

    nearest          by the starter: how unlike the most similar other picture
    nearest five     by the starter: how unlike the five most similar, on average
    size             bytes as PNG at 64 pixels: what an image is expected to cost before anything is learned
    cmim             log p(x|z) at the mean of q(z|x), of a cMIM that was trained on these pictures
    cmim, size off   the same less what a line through (size, log p) predicts: unusual for its size

`size` can be right for a wrong reason: where the set is plainer than the others, its pictures are small. So each set is
the host once, and the mean over hosts counts. Seeds draw the pictures and the weights of cMIM.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from sklearn.metrics import roc_auc_score

from bench.rows import ROOT, environment
from deixis import zoo
from deixis.apps.train.image_files.unusual import png_bytes, similarity_of_nearest, unexplained
from deixis.data import catalogue
from deixis.data.loading.loader import Loader
from deixis.data.loading.sampler import SampleOrder
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import collate_for, preprocess_of
from deixis.engine.training.build import build
from deixis.engine.training.train import Training
from deixis.inputs.images import open_image
from deixis.types import Sample
from deixis.zoo import fine_resnet

__all__ = ["HOSTS", "SETTINGS", "main", "orders", "planted"]

RESULTS = ROOT / "results" / "unusual.jsonl"
HOSTS = ("stamps", "art4apps", "clipart", "fashion/test", "gcompris")
COUNT, PLANTED, SIDE, STEPS, BATCH = 300, 12, 64, 234, 64
SETTINGS = {"latent": 32, "channels": (64, 32, 32), "optim.learning_rate": 2e-3}
"""Of cMIM, as its claims have them; 15,000 images are seen."""


def planted(host: str, seed: int) -> tuple[list[Sample], Bool[np.ndarray, " N"]]:
    """Pictures of a set, behind which lie some of the others in equal numbers; and which those are.

    Args:
        host: one of `HOSTS`.
        seed: of what is drawn.
    """
    rng = np.random.Generator(np.random.PCG64((seed, HOSTS.index(host))))
    others = [each for each in HOSTS if each != host]
    chosen = _drawn(host, COUNT, rng)
    own = len(chosen)
    for each in others:
        chosen += _drawn(each, PLANTED // len(others), rng)
    return chosen, np.arange(len(chosen)) >= own


def _drawn(name: str, count: int, rng: np.random.Generator) -> list[Sample]:
    samples = catalogue.read(name).samples
    return [samples[i] for i in rng.permutation(len(samples))[:count]]


def orders(samples: Sequence[Sample], encoder: Any, seed: int) -> Mapping[str, Float[np.ndarray, " N"]]:
    """A number a picture by name of the order, the highest for the most unusual.

    Args:
        samples: all pictures.
        encoder: the starter.
        seed: of cMIM.
    """
    rows = encoder.encode_image([each.picture for each in samples]).numpy().astype(np.float64)
    with tempfile.TemporaryDirectory() as folder:
        small = [_small(each, Path(folder, f"{number:03}.png")) for number, each in enumerate(samples)]
        size = np.array([png_bytes(open_image(path)) for path in small], float)
        unlikely = _unlikely(small, seed)
    return {
        "nearest": -similarity_of_nearest(rows, 1),
        "nearest five": -similarity_of_nearest(rows, 5),
        "size": size,
        "cmim": unlikely,
        "cmim, size off": unexplained(-unlikely, size),
    }


def _small(sample: Sample, path: Path) -> Path:
    """A picture as a PNG of 64 x 64 pixels."""
    picture = open_image(sample.picture).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    picture.save(path, "PNG")
    return path


def _unlikely(paths: Sequence[Path], seed: int) -> Float[np.ndarray, " N"]:
    """How unlikely a cMIM that learned from the pictures finds each."""
    method = build("cmim", "desk", SETTINGS, {"encoder": fine_resnet.build(4, 32, 28, seed)}, seed=seed)
    source = dataclasses.replace(catalogue.read(HOSTS[0]), samples=tuple(Sample(str(each), each) for each in paths))
    order = SampleOrder(BATCH, seed=seed, shuffle=True, last="drop")
    with Loader(source, collate_for(method, source), order, workers=1) as loader:
        Training(method, loader, STEPS, seed=seed).run()
    images = preprocess_of(method).read(paths)
    with eval_without_grad(method):
        return -method.reconstruct(images)[1].numpy().astype(np.float64)


def main(arguments: Sequence[str] | None = None) -> None:
    """Appends a row a host, seed and order; what has a row is left out."""
    parser = argparse.ArgumentParser(prog="python -m bench.unusual_rows", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="draws a host (default 5)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    there = chosen.results.read_text("utf-8").splitlines() if chosen.results.exists() else []
    done = {(row["host"], row["seed"]) for row in map(json.loads, there)}
    encoder = zoo.load("starter").eval()
    for seed in range(chosen.seeds):
        for host in HOSTS:
            if (host, seed) in done:
                continue
            samples, foreign = planted(host, seed)
            facts = {"host": host, "seed": seed, "pictures": len(samples), "planted": int(foreign.sum())}
            with open(chosen.results, "a", encoding="utf-8") as file:
                for name, values in orders(samples, encoder, seed).items():
                    found = float(roc_auc_score(foreign, values))
                    file.write(json.dumps({**facts, "order": name, "auroc": round(found, 4), **environment(1)}) + "\n")


if __name__ == "__main__":
    main()
