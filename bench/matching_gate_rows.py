"""How far matching of texts and regions comes within minutes, in worlds that are simpler and simpler.

The gate of claims about UNITER: matching is right for 90 of 100 held-out pairs within 4 minutes of processor.

    python -m bench.matching_gate_rows codes 0

Rows stand in `results/matching_gate.jsonl`, the curve of every try, those that do not come so far included. `codes`:
two or three of 8 nouns in 8 colours, regions by noisy codes of both; `names`: the same by what the detector says of the
boxes of the data, its distribution over the kinds times the vectors of their names, so that colours are hidden;
`untinted`: the same of things without colours; `nouns`: codes of nouns alone, and captions that list them alone;
`said`: such captions of what the detector says.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bench.rows import ROOT, environment
from deixis import engine
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.engine.claims.tasks import word_regions
from deixis.inputs.images import load_image
from deixis.nn.regions.region_columns import RegionColumns, name_vectors
from deixis.types import Batch, FieldSpec, Made, Progress, Sample
from deixis.types.protocols import AnyMethod

__all__ = ["main"]

RESULTS = ROOT / "results" / "matching_gate.jsonl"
NOUNS = ("truck", "orange", "zebra", "car", "bus", "airplane", "bear", "banana")
MINUTES, BATCH, TRAIN, SEEN, HELD = 4.0, 64, 1500, 1000, 100
SHARPNESS = 4.0  # of codes, against noise of deviation 1


class World(NamedTuple):
    """What is matched.

    Attributes:
        regions: known by noisy `codes`, or by what the `detector` says of them.
        tinted: whether things have colours of which captions speak.
        nouns_alone: whether captions are no more than a list of nouns.
    """

    regions: Literal["codes", "detector"]
    tinted: bool = True
    nouns_alone: bool = False


WORLDS = {
    "codes": World("codes"),
    "names": World("detector"),
    "untinted": World("detector", tinted=False),
    "nouns": World("codes", tinted=False, nouns_alone=True),
    "said": World("detector", tinted=False, nouns_alone=True),
}


def samples_of(world: World, split: str, count: int, seed: int) -> Sequence[Sample]:
    """Scenes of two or three things of different nouns, all of which the caption names."""
    config = SceneConfig(
        nouns=NOUNS,
        objects=(2, 3),
        repeats=1,
        tinted=float(world.tinted),
        named=3,
        phrases=0,
        questions=0,
        masks=False,
    )
    return scenes(seed, count, split=split, side=160, config=config).samples


def codes(
    samples: Sequence[Sample], vectors: dict[str, Tensor], seed: int, colours: bool
) -> list[tuple[Tensor, Tensor]]:
    """Boxes and features of each sample: noisy shares of nouns, and of colours, times the vectors of their words."""
    rng, found = torch.Generator().manual_seed(seed), []
    palette = sorted({region.attributes["colour"] or "plain" for sample in samples for region in sample.regions})

    def shares(place: int, size: int) -> Tensor:
        logits = torch.randn(size, generator=rng)
        logits[place] += SHARPNESS
        return logits.softmax(0)

    for sample in samples:
        rows = []
        for region in sample.regions:
            row = shares(NOUNS.index(region.category), len(NOUNS)) @ torch.stack([vectors[each] for each in NOUNS])
            if colours:
                place = palette.index(region.attributes["colour"] or "plain")
                row = row + shares(place, len(palette)) @ torch.stack([vectors[each] for each in palette])
            rows.append(row)
        found.append((torch.tensor([region.box for region in sample.regions]), torch.stack(rows)))
    return found


@torch.no_grad()
def detected(samples: Sequence[Sample], part: RegionColumns) -> list[tuple[Tensor, Tensor]]:
    """The same by what a detector says of the boxes of the data."""
    found = []
    for sample in samples:
        boxes = torch.tensor([[region.box for region in sample.regions]])
        regions = part.regions(part.preprocess.batch([load_image(sample.picture)]), boxes)
        found.append((boxes[0], regions.features[0]))
    return found


def batch_of(
    method: AnyMethod, samples: Sequence[Sample], regions: Sequence[tuple[Tensor, Tensor]], nouns_alone: bool
) -> Batch:
    """One batch of all samples."""
    longest = max(len(boxes) for boxes, _ in regions)
    boxes, features = (
        torch.nn.utils.rnn.pad_sequence([each[n] for each in regions], batch_first=True) for n in range(2)
    )
    valid = torch.arange(longest) < torch.tensor([len(each) for each, _ in regions])[:, None]
    texts = [(word_regions.nouns_alone(each) if nouns_alone else each).captions[0] for each in samples]
    tokens, mask = method.encoder.tokenizer(texts, 30)  # type: ignore[attr-defined]
    spec = FieldSpec("region_features", "B T F", ragged="T", made=Made("regions", "regions", "features"))
    ids = tuple(sample.id for sample in samples)
    return Batch(
        ids,
        tokens=tokens[:, None],
        boxes=boxes,
        valid={"L": mask[:, None], "T": valid},
        extra={"region_features": features},
        specs={"region_features": spec},
    )


@torch.no_grad()
def right_of(method: AnyMethod, held: Batch, nouns: Sequence[frozenset[str]]) -> int:
    """Of 100 held-out pairs, half of which have the regions of a scene with other nouns, how many are told right."""
    own, other = list(range(len(held))), []
    for row in own:
        steps = (row + step for step in range(1, len(held)))
        other.append(next(each % len(held) for each in steps if nouns[each % len(held)] != nouns[row]))
    pictures = [other[row] if row % 2 else row for row in own]
    regions = held.take(pictures)
    mixed = Batch(
        held.ids,
        tokens=held.tokens,
        boxes=regions.boxes,
        valid={"L": held.valid["L"], "T": regions.valid["T"]},
        extra=regions.extra,
        specs=held.specs,
    )
    method.eval()
    scores = method.match(mixed)  # type: ignore[attr-defined]
    method.train()
    return int(((scores > 0) == (torch.arange(len(held)) % 2 == 0)).sum())


def run(world: str, seed: int, minutes: float) -> dict[str, object]:
    """Trains in one world and gives the row."""
    tried = WORLDS[world]
    settings = {
        **{"proposals": "tiny" if tried.regions == "codes" else "own:centernet", "features": "names", "head": ""},
        **{"tasks": (("itm", 2), ("mlm", 1)), "transport_weight": 0.0},
    }
    method = engine.build("uniter", "desk", settings, seed=seed)
    train, held = samples_of(tried, "train", TRAIN, seed), samples_of(tried, "test", HELD, seed)
    if tried.regions == "codes":
        words = sorted({*NOUNS, *(r.attributes["colour"] or "plain" for s in (*train, *held) for r in s.regions)})
        vectors = dict(zip(words, name_vectors(method.encoder, words), strict=True))  # type: ignore[attr-defined]
        described = [codes(each, vectors, seed + number, tried.tinted) for number, each in enumerate((train, held))]
    else:
        train = train[:SEEN]  # as many as in the claims; the detector takes a quarter of a second for each
        described = [detected(each, method.regions) for each in (train, held)]  # type: ignore[attr-defined]
    data, test = (batch_of(method, *each, tried.nouns_alone) for each in zip((train, held), described, strict=True))
    nouns = [frozenset(region.category for region in sample.regions) for sample in held]
    [stage] = engine.stages(method)
    optimiser = torch.optim.AdamW(engine.enter(method, stage).values(), lr=5e-4, weight_decay=0.01, betas=(0.9, 0.98))
    rng, start, step, curve = torch.Generator().manual_seed(seed), time.process_time(), 0, list[list[float]]()
    method.train()
    while (spent := time.process_time() - start) < 60 * minutes:
        for group in optimiser.param_groups:
            group["lr"] = 5e-4 * min(1.0, (step + 1) / 30)
        some = data.take(torch.randperm(len(data), generator=rng)[:BATCH].tolist())
        loss = method(some, Progress(step, stage=stage.name, seed=seed)).total  # type: ignore[operator]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 5.0)
        optimiser.step()
        step += 1
        if not curve or spent - curve[-1][0] > 15:
            curve.append([round(spent, 1), step, right_of(method, test, nouns)])
            print(curve[-1], flush=True)
            if curve[-1][2] >= 95:
                break
    curve.append([round(time.process_time() - start, 1), step, right_of(method, test, nouns)])
    return {
        **{"world": world, "seed": seed, "minutes": minutes, "pairs": len(data), "held": len(test), "batch": BATCH},
        **{"curve": curve, "passed": curve[-1][2] >= 90, **environment(1)},
    }


def main(arguments: Sequence[str]) -> None:
    """Tries one world."""
    world, seed = arguments[0], int(arguments[1])
    minutes = float(arguments[2]) if len(arguments) > 2 else MINUTES
    torch.set_num_threads(1)
    row = run(world, seed, minutes)
    with Path(RESULTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
