"""Adapts the image side of a model to votes on what looks alike; how often it agrees with held-out ones is measured."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis import zoo
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import encode_source, read
from deixis.apps.common.formatting import counted
from deixis.apps.common.runs import Clock, free_name, run_folder, versions
from deixis.apps.index.index import write_index
from deixis.engine.features.embedding import vectors
from deixis.engine.features.store import FeatureStore
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.nn.adaptation.adapters import ImageResidual
from deixis.nn.dual import DualEncoder
from deixis.nn.frozen import freeze
from deixis.ops.similarity.triplets import agrees, triplet_hinge
from deixis.ops.stats import Interval, cluster_t_interval
from deixis.types import ImageStates, Picture, Source

__all__ = ["VotedTriplets", "adapt_to_votes", "fit_votes", "held_out_agreement"]

_FOLDS, _STEPS, _RATE, _DECAY, _MARGIN = 5, 60, 3e-2, 0.05, 0.2
_LEAST = 20
_BLOCK = 32


@dataclasses.dataclass(frozen=True)
class VotedTriplets:
    """Triplets of pictures that a frozen tower has seen.

    Attributes:
        states: what it says of each picture.
        places: of reference, left and right among the pictures.
        votes: share of votes for the right one.
        references: a number for each reference picture.
    """

    states: ImageStates
    places: Int64[Tensor, "T 3"]
    votes: Float[Tensor, " T"]
    references: Int64[Tensor, " T"]

    def __len__(self) -> int:
        return len(self.votes)

    def embedded(self, adapter: ImageResidual | None, rows: Int64[Tensor, " M"]) -> Float[Tensor, "3 M D"]:
        """Reference, left and right of some triplets, through an adapter or none."""
        found = self.states.embedding if adapter is None else adapter(self.states)
        return found[self.places[rows]].transpose(0, 1)

    @torch.no_grad()
    def agreement(self, adapter: ImageResidual | None, rows: Int64[Tensor, " M"]) -> Bool[Tensor, " M"]:
        """Whether the nearer variant is the one that was chosen."""
        reference, left, right = self.embedded(adapter, rows)
        return agrees(reference, left, right, self.votes[rows])


def fit_votes(data: VotedTriplets, rows: Int64[Tensor, " M"]) -> ImageResidual:
    """An adapter that was trained on some of the votes by the triplet hinge.

    Args:
        data: all of them.
        rows: those to train on.
    """
    features, width = data.states.features.shape[1], data.states.embedding.shape[1]
    adapter = ImageResidual(features, width, gated=False)
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=_RATE, weight_decay=_DECAY)
    for _ in range(_STEPS):
        reference, left, right = data.embedded(adapter, rows)
        loss = triplet_hinge(reference, left, right, data.votes[rows], _MARGIN)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return adapter.eval()


def held_out_agreement(data: VotedTriplets, seed: int) -> tuple[Bool[Tensor, " T"], Bool[Tensor, " T"]]:
    """Whether each vote is agreed with before and after, by adapters that were trained on other references alone."""
    everything = torch.arange(len(data))
    before = data.agreement(None, everything)
    after = torch.zeros_like(before)
    order = torch.randperm(int(data.references.max()) + 1, generator=torch.Generator().manual_seed(seed))
    folds = order[data.references] % _FOLDS
    for fold in folds.unique().tolist():
        inside, outside = (folds != fold).nonzero()[:, 0], (folds == fold).nonzero()[:, 0]
        after[outside] = data.agreement(fit_votes(data, inside), outside)
    return before, after


def adapt_to_votes(
    source: Source, out: str | Path, settings: AdaptSettings, *, overwrite: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Adapts the image side to votes and writes a run folder: model, index of the source, `result.json`.

    The adapted model is kept only if it agrees more often with votes on references that it was not trained on.

    Args:
        source: the pictures to search afterwards.
        out: the run folder.
        settings: the votes, the model and the seed.
        overwrite: replace a run that is there.
        quiet: print nothing.

    Returns:
        What stands in `result.json`.

    Raises:
        DeixisError: the file holds no votes or too few, or `out` is taken.
    """
    talk, clock, out = Reporter(quiet), Clock(), Path(out)
    _reservation = free_name(out, overwrite)
    if settings.about:
        raise DeixisError("--votes and --about were both given.", "Adapt to votes or learn respects: leave one out.")
    voted = read(settings.votes)
    _require_votes(voted, settings.votes)
    encoder = zoo.load(settings.model).eval()
    encoder.require_embeddings("be adapted")
    if encoder.image_adapter is not None:
        raise DeixisError(f"{settings.model} has been adapted already.", "Adapt the model that it stands on.")
    freeze(encoder)
    with talk.step("encode", "look at the pictures that were voted on"):
        data = _seen(encoder, voted)
    with talk.step("train", "train on the votes"):
        before, after = held_out_agreement(data, settings.seed)
        gain = cluster_t_interval((after.double() - before.double()).numpy(), data.references.numpy())
        adapter = fit_votes(data, torch.arange(len(data)))
    kept = gain.low > 0
    adapted = encoder.with_adapters(adapter, None) if kept else encoder
    result = _result(voted, settings, (before, after), gain, kept)
    with contextlib.closing(FeatureStore()) as store:
        source, hashes = encode_source(adapted, source, store, talk)
        rows = vectors(adapted, hashes, store)
    with run_folder(out, overwrite) as folder:
        zoo.save(adapted, folder / "model")
        write_index(folder / "index", adapted, rows, source, hashes, talk=talk)
        result |= {"compute": clock.read(), "versions": versions()}
        write_json(folder / "result.json", result)
    talk.result(result["sentence"])
    talk.result(f"Search by a picture: deixis search {out} a.jpg")
    return result


def _require_votes(voted: Source, path: str) -> None:
    if not all("triplets" in sample.extra for sample in voted.samples):
        raise DeixisError(
            f"{path} holds no votes on what looks alike.",
            "Give a table with the columns reference, left, right, vote: deixis label DATA --triplets begins one.",
        )
    references = len({sample.groups for sample in voted.samples})
    if references < _LEAST:
        raise DeixisError(
            f"{path} has votes on {counted(references, 'reference')}, and {_LEAST} are needed to train and to measure.",
            "Vote on more of them.",
        )


def _seen(encoder: DualEncoder, voted: Source) -> VotedTriplets:
    """What the tower says of every picture, each once."""
    numbers: dict[Picture, int] = {}
    places = [[numbers.setdefault(each, len(numbers)) for each in s.extra["triplets"]] for s in voted.samples]
    pictures, states = list(numbers), list[ImageStates]()
    with torch.no_grad():
        for start in range(0, len(pictures), _BLOCK):
            states.append(encoder.image_states(encoder.read_images(pictures[start : start + _BLOCK])))
    fields = {
        field.name: torch.cat([getattr(each, field.name) for each in states]).float().cpu()
        for field in dataclasses.fields(ImageStates)
    }
    known: dict[int, int] = {}
    references = [known.setdefault(place[0], len(known)) for place in places]
    votes = torch.tensor([float(sample.extra["votes"]) for sample in voted.samples])
    return VotedTriplets(ImageStates(**fields), torch.tensor(places), votes, torch.tensor(references))


def _result(
    voted: Source, settings: AdaptSettings, agreed: tuple[Tensor, Tensor], gain: Interval, kept: bool
) -> dict[str, Any]:
    before, after = (float(each.double().mean()) for each in agreed)
    hundred = f"Of 100 held-out votes it agrees with {100 * after:.0f}, and did with {100 * before:.0f} before"
    span = f"(95 %: {100 * gain.low:+.0f} to {100 * gain.high:+.0f})"
    end = "the adapted model is kept" if kept else "no proven gain, so the original is kept"
    return {
        "format": 1,
        "kind": "votes",
        "data": {"name": voted.name, "triplets": len(voted.samples)},
        "model": settings.model,
        "seed": settings.seed,
        "before": {"agreement": before},
        "after": {"agreement": after},
        "difference": {"agreement": dict(gain._asdict())},
        "kept": "adapted" if kept else "original",
        "sentence": f"{hundred} {span}: {end}. Whether searches by words are as good as before was not measured.",
    }
