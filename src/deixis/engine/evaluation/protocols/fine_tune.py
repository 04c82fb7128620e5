"""Fine-tuning on a few labels of each class, beside a linear classifier of the frozen features of the same images.

The whole tower learns, with a new classifier on its features, which are made of one length for all encoders. Rate,
decay and length are searched in the same way for every encoder: one after the other, in the same few values, on
validation images, with the first draw of the middle number of labels. Draws of few images begin those of many.
"""

from __future__ import annotations

import copy
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.engine.evaluation.classify import labels_of
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel, preprocess_of
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter
from deixis.engine.evaluation.probes import PENALTIES, ProbeSplit, probe_split
from deixis.engine.fewshot.draws import draw
from deixis.engine.training.fine_tuning import FineTuning, fine_tune, fresh_head, renew
from deixis.errors import DeixisError
from deixis.nn import compute
from deixis.nn.modes import evaluating
from deixis.ops.logistic import linear_layer
from deixis.types import EvalMetric, EvalProtocol
from deixis.types.protocols import OffersEncodeImage

__all__ = ["PROTOCOL", "FineTunePlan", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="The whole tower learns a few labels of each class (--labels), beside a linear classifier",
    capabilities=(("encode_image",), ("adapters",)),
    fields=("images", "labels"),
    metrics=(EvalMetric("fine_tuned", "fine-tuned"), EvalMetric("frozen", "linear classifier")),
    plots=("fine_tuned", "frozen"),
    axis="labelled images a class",
    joined=True,
    test="the split `test`, else two fifths of the images, by concept; labels are drawn from the rest, a part of it "
    "validation, of which at most 200 images choose rate, decay, length and penalty. Values are means over the draws",
    source="ours; few labels of each class as in Trinh et al. 2019 (Selfie)",
    slow=True,
    hours=True,
)

_RATES, _DECAYS, _STEPS = (1e-3, 1e-4, 1e-2), (0.05, 0.5), (50, 150)
"""What is tried; the first of each stands while the others are chosen."""
_BATCH, _CHOSEN, _TRIAL = 32, 200, 100
_SHIFT = 16
"""Images are shifted by up to a sixteenth of their side."""


class FineTunePlan(NamedTuple):
    """Images in parts, and which of them are learned.

    Attributes:
        data: labelled images.
        split: training images to draw from, validation images, test images.
        draws: how many labels -> for each draw the images.
        notes: what a reader should know of them.
    """

    data: EvalSet
    split: ProbeSplit
    draws: Mapping[str, tuple[tuple[int, ...], ...]]
    notes: tuple[str, ...]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> FineTunePlan:
    """The parts, and the draws of labelled images.

    Raises:
        DeixisError: one label of a class is requested, or there is but one; a share is none; or no draw.
    """
    for each in options.labels or (0,):
        if each < 2 and not 0 < each < 1:
            raise DeixisError(
                f"{each:g} labelled images of each class are requested: a tower that is fitted to one picture of a "
                "class learns that picture.",
                "Give 2 or more, or a share of them below 1, as in --labels 5 20 0.5",
            )
    if options.draws < 1:
        raise DeixisError(f"{options.draws} draws are requested.", "Give 1 or more: --draws 5")
    every = data.labelled(options.limit, talk.say)
    split = probe_split(every, validation=True)
    known = every.labelled()
    members = {name: known.where(split.train, [name]) for name in split.classes}
    sizes = [len(own) for own in members.values()]
    if max(sizes) < 2:
        raise DeixisError(
            f"Each of the {len(sizes)} classes has one image to learn from, once others are set aside for validation "
            "and test.",
            "Give more images of each class: ten are a beginning.",
        )
    draws: dict[str, tuple[tuple[int, ...], ...]] = {}
    for wanted in sorted(options.labels, key=lambda each: each * max(sizes) if each < 1 else each):
        counts = {n: max(1, round(wanted * len(own))) if wanted < 1 else int(wanted) for n, own in members.items()}
        found = tuple(
            tuple(i for name, k in counts.items() for i in draw(known, split.train, [name], [k], seed)[k])
            for seed in range(options.draws)
        )
        if not draws or len(found[0]) > len(next(reversed(draws.values()))[0]):
            draws[f"{wanted:.0%}" if wanted < 1 else f"{wanted:g}"] = found
    return FineTunePlan(every, split, draws, _notes(options, sizes, list(draws)))


def _notes(options: EvalOptions, sizes: Sequence[int], draws: Sequence[str]) -> tuple[str, ...]:
    notes = [f"{len(sizes)} classes, of each {min(sizes)} to {max(sizes)} images to draw from; {options.draws} draws."]
    few, single = sum(size < max(options.labels) for size in sizes), sizes.count(1)
    if few:
        notes.append(f"{few} classes have fewer images than {max(options.labels):g}: of these all are learned.")
    if single:
        notes.append(f"{single} classes have a single image to learn from.")
    if len(draws) < len(options.labels):
        notes.append(f"Larger numbers than {draws[-1]} are left out: there are no more images to draw.")
    return tuple(notes)


def measure(plan: FineTunePlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Accuracy of both, one value a test image: the share of draws in which it is labelled right."""
    features = F.normalize(model.image_features(plan.data, talk).double(), dim=1)
    learner = _Learner(plan, model)
    with talk.step("learn"), talk.bar("fine-tune") as bar:
        how, tried = _search(plan, learner) if learner.trains else (None, [])
        columns: dict[Column, Any] = {}
        draws: dict[str, dict[str, list[float]]] = {}
        done = 0
        for condition, found in plan.draws.items():
            right: dict[str, list[Tensor]] = {"fine_tuned": [], "frozen": []} if how else {"frozen": []}
            for number, learned in enumerate(found):
                if how:
                    right["fine_tuned"].append(learner.right(learner.logits(learned, how, number, plan.split.test)[0]))
                right["frozen"].append(learner.right(_linear(features, learner, learned)))
                bar(done := done + 1, len(plan.draws) * len(found))
            columns |= {Column(name, condition): torch.stack(own).mean(0).numpy() for name, own in right.items()}
            draws[condition] = {name: [float(each.mean()) for each in own] for name, own in right.items()}
    notes = [
        *plan.notes,
        f"Rate {how.rate:g}, decay {how.decay:g} and {how.steps} steps of {how.batch} images, chosen on "
        f"{len(learner.chosen)} validation images."
        if how
        else "It has no weights whose features these are, so nothing of it is fine-tuned.",
        *(f"{condition} labels: {_spread(values)}." for condition, values in draws.items()),
    ]
    facts = {
        "classes": len(plan.split.classes),
        "settings": how._asdict() if how else {},
        "tried": tried,
        "draws": draws,
    }
    return EvalOutput.of(columns, plan.data.take(plan.split.test), notes, **facts)


def _spread(values: Mapping[str, Sequence[float]]) -> str:
    """Mean and standard deviation over draws."""
    parts = []
    for metric in (each for each in PROTOCOL.metrics if each.name in values):
        own = [100 * each for each in values[metric.name]]
        spread = f" ± {statistics.stdev(own):.1f}" if len(own) > 1 else ""
        parts.append(f"{metric.title} {statistics.mean(own):.1f}{spread}")
    return ", ".join(parts)


class _Learner:
    """Fine-tunes copies of a model's image tower.

    Args:
        plan: the images.
        model: whose tower is copied; it stays as it is.
    """

    def __init__(self, plan: FineTunePlan, model: EvalModel) -> None:
        self.data, self.split, self.model = plan.data, plan.split, model
        every = plan.split.all
        self.labels = dict(zip(every, labels_of(plan.data.take(every), plan.split.classes).tolist(), strict=True))
        self.chosen = plan.split.validation[:: -(-len(plan.split.validation) // _CHOSEN)]
        self.preprocess = preprocess_of(model.name, model.model if model.encoder is None else model.encoder)
        # What changes the features of a tower (whitening) was fitted to the tower as it is.
        own = type(model).image_features is EvalModel.image_features
        self.trains = own and any(True for _ in _tower_of(model)[0].parameters())

    def labels_at(self, places: Sequence[int]) -> Tensor:
        """Classes of the images there."""
        return torch.tensor([self.labels[i] for i in places])

    def right(self, logits: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
        """Whether each test image is labelled right."""
        return (logits.argmax(dim=1) == self.labels_at(self.split.test)).double()

    def read(self, places: Sequence[int]) -> Float[Tensor, "N 3 H W"]:
        """The images there, on the device that holds here."""
        images: Tensor = self.preprocess.read([self.data.samples[i].picture for i in places])
        return images.to(compute.current().device)

    def logits(
        self, learned: Sequence[int], how: FineTuning, seed: int, *asked: Sequence[int]
    ) -> list[Float[Tensor, "N C"]]:
        """What a copy that has learned some images says of others, group by group."""
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)  # of dropout
            tower, call = _tower_of(self.model, copied=True)
            tower.to(compute.current().device)
            with evaluating(tower), torch.no_grad():
                width = call(self.read(learned[:1])).shape[1]
            head = fresh_head(width, len(self.split.classes)).to(compute.current().device)
            features = functools.partial(_even, call)

            def images(rows: Tensor) -> Tensor:
                return self.read([learned[i] for i in rows.tolist()])

            fine_tune(tower, head, features, images, self.labels_at(learned), how, seed)
            pieces = torch.arange(len(learned)).chunk(-(-len(learned) // how.batch))
            renew(tower, features, (images(piece) for piece in pieces))
            with evaluating(tower), torch.no_grad():
                return [
                    torch.cat([head(features(self.read(some))).cpu() for some in _pieces(group, how.batch)])
                    for group in asked
                ]


def _tower_of(model: EvalModel, *, copied: bool = False) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """What is fine-tuned, and how it is called for features: those that `EvalModel.image_features` gives."""
    inside: Any = model.model if model.encoder is None else model.encoder.image_tower
    inside = copy.deepcopy(inside) if copied else inside
    if model.encoder is not None:
        return inside, lambda images: inside(images).features
    return inside, inside.encode_image if isinstance(inside, OffersEncodeImage) else inside


def _even(call: Callable[[Tensor], Tensor], images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F"]:
    """Features whose numbers have 1 as the mean of their squares, so that a rate means the same for each encoder."""
    rows = call(images).float()
    return F.normalize(rows, dim=1) * rows.shape[1] ** 0.5


def _pieces(places: Sequence[int], size: int) -> list[Sequence[int]]:
    return [places[start : start + size] for start in range(0, len(places), size)]


def _search(plan: FineTunePlan, learner: _Learner) -> tuple[FineTuning, list[dict[str, float]]]:
    """Rate, then decay, then length by validation images: by accuracy, among equals by cross-entropy."""
    learned = list(plan.draws.values())[len(plan.draws) // 2][0]
    labels = learner.labels_at(learner.chosen)
    shift = max(1, learner.preprocess.size // _SHIFT)
    best = FineTuning(_RATES[0], _DECAYS[0], _STEPS[0], _BATCH, shift)
    scores: dict[FineTuning, tuple[float, float]] = {}
    searched: tuple[tuple[str, tuple[Any, ...]], ...] = (("rate", _RATES), ("decay", _DECAYS), ("steps", _STEPS))
    for name, values in searched:
        for how in (best._replace(**{name: value}) for value in values):
            if how not in scores:
                (logits,) = learner.logits(learned, how, 0, learner.chosen)
                right = float((logits.argmax(dim=1) == labels).double().mean())
                scores[how] = right, -float(F.cross_entropy(logits, labels))
        best = max(scores, key=lambda how: scores[how])
    tried = [{"rate": h.rate, "decay": h.decay, "steps": h.steps, "accuracy": s[0]} for h, s in scores.items()]
    return best, tried


def _linear(features: Float[Tensor, "N F"], learner: _Learner, learned: Sequence[int]) -> Float[Tensor, "T C"]:
    """Logits of test images by a linear classifier of frozen features of the same images, its penalty chosen on the
    same validation images."""
    rows, labels, count = features[list(learned)], learner.labels_at(learned), len(learner.split.classes)
    held, wanted = features[list(learner.chosen)], learner.labels_at(learner.chosen)

    def fitted(penalty: float, iterations: int, asked: Tensor) -> Tensor:
        weight, intercept = linear_layer(rows, labels, count, penalty, iterations=iterations)
        return asked @ weight.T + intercept

    losses = {each: float(F.cross_entropy(fitted(each, _TRIAL, held), wanted)) for each in PENALTIES}
    best = min(PENALTIES, key=lambda each: (losses[each], -each))
    return fitted(best, 10 * _TRIAL, features[list(learner.split.test)])
