"""Classes learned from a few labelled images, as features of a frozen encoder.

A penalty that is not set is chosen by stratified cross-validation on the images themselves: the one under which images
that were held out are explained best (mean cross-entropy). `auto` chooses in the same way which of the cheap methods is
right most often. Images of one group are held out together, and a class with a single group never is, as nothing would
be left to learn it from.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis import engine
from deixis.data.splits import LARGEST_SHARE, Split, folds
from deixis.engine.fewshot.learners import AUTO, CELLS, SPECS, candidates, require, settings_of, takes
from deixis.engine.fewshot.shots import Shots, fields_of, looks_at_cells
from deixis.engine.training.batching import require_encoder
from deixis.engine.training.stages import card_of, trained
from deixis.engine.training.train import Training, batches, fit
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.modes import evaluating
from deixis.types import Batch, Progress
from deixis.types.protocols import AnyMethod, HasConfig, HasScores

__all__ = [
    "PENALTIES",
    "FewShotMethod",
    "Pick",
    "build",
    "choose",
    "forecast",
    "learn",
    "logits",
    "reads_cells",
]

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

_FOLDS = 5
_ITERATIONS = 60
"""Of a solver inside of cross-validation, where three digits will do."""

_BATCH = 32
_STEPS = 300
"""The most steps where no number of epochs is given; batches are then as large as the epochs need."""

_KEPT = 20
"""How often training is saved in a checkpoint."""

_CELLS = 2**24

_TRIED = 64
"""Classes with which a step is tried for a forecast."""

_RATE = 5e9
"""Products a second in double precision, of one core of a modest machine."""

_HEAVY = 2e10
"""Products in a step of a solver from which penalties are not cross-validated: minutes each."""


@runtime_checkable
class FewShotMethod(AnyMethod, HasConfig, HasScores, Protocol):
    """A method that names classes from what a frozen encoder computed."""


@dataclasses.dataclass(frozen=True)
class Pick:
    """What `auto` chose.

    Attributes:
        method: by name.
        why: in a sentence.
        accuracy: method -> share of the held-out images that it named rightly; empty where none could be held out.
    """

    method: str
    why: str
    accuracy: Mapping[str, float] = dataclasses.field(default_factory=dict)


def learn(
    method: str,
    encoder: DualEncoder,
    names: Sequence[str],
    shots: Shots,
    *,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
) -> FewShotMethod:
    """A method that has learned the classes.

    Args:
        method: one of `offered`; `cost.learn_resumed` takes `auto`, too.
        encoder: the frozen model; it is frozen here.
        names: the classes, in the order of the labels.
        shots: labelled images.
        overrides: settings that differ from the method's `desk` preset. Trained methods take the published number of
            steps for `epochs` that are given, and else at most 300.
        seed: of initial weights, order and folds.
        checkpoint: a file in which training is saved, for methods that are trained; where it exists, training resumes.

    Raises:
        DeixisError: no such method or setting, or classes that the method can't distinguish.
    """
    changed = dict(overrides or {})
    _check(method, names, shots)
    open_penalty = takes(method, "penalty") and "penalty" not in changed and not _heavy(names, len(shots), encoder)
    if open_penalty and (parts := _parts(shots, seed)):
        changed["penalty"] = _Trial(method, encoder, names, shots, changed).penalty(parts)
    built = build(method, encoder, names, changed, seed)
    fields_of(built, shots.embedding, shots.features, shots.cells)  # what is missing is said before any work
    if card_of(built).kind == "trained":
        size, steps = _length(built.config.epochs, len(shots), len(names), given="epochs" in changed)
        _train(built, shots, (size, steps), seed, checkpoint)
        return built
    return _fitted(built, shots)


def _train(method: FewShotMethod, shots: Shots, length: tuple[int, int], seed: int, checkpoint: Path | None) -> None:
    """All stages of a method, each with its share of the steps; some are solved for, behind what was trained."""
    size, steps = length
    stages, saved = engine.stages(method), list[Path]()
    shares = [stage.steps if stage.kind == "train" else 0.0 for stage in stages]
    for place, stage in enumerate(stages):
        start, end = (round(steps * sum(shares[:count]) / sum(shares)) for count in (place, place + 1))
        if stage.kind == "fit":
            fit(method, [shots.batch().to(require_encoder(method).device)], stage, seed)
        elif end > start:
            path = checkpoint and (checkpoint.with_stem(f"{checkpoint.stem}-{place}") if place else checkpoint)
            data = batches(shots.batch(), size, seed)
            training = Training(trained(method), data, end - start, stage=stage, seed=seed)
            training.run(checkpoint=path, every=max(1, steps // _KEPT))
            saved += [path] if path and place else []
    for path in saved:
        path.unlink(missing_ok=True)


def choose(
    encoder: DualEncoder,
    names: Sequence[str],
    shots: Shots,
    *,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Pick:
    """Which of the cheap methods names images that were held out rightly most often.

    Args:
        encoder: the frozen model.
        names: the classes, in the order of the labels.
        shots: labelled images.
        overrides: settings; each candidate takes those that it has.
        seed: of the folds.
    """
    for key in overrides or {}:
        if not takes(AUTO, key):
            raise DeixisError(f"No method that is chosen from has a setting {key!r}.", "Name the method that has it.")
    cheap = candidates()
    _check(cheap[0], names, shots)
    parts = _parts(shots, seed)
    if not parts:
        return Pick(cheap[1], _alone(shots, cheap[1]))
    quick = [name for name in cheap if not takes(name, "penalty") or not _heavy(names, len(shots), encoder)]
    found = {}
    for name in quick:
        trial = _Trial(name, encoder, names, shots, settings_of(name, overrides or {}))
        found[name] = trial.accuracy(parts)
    best = max(quick, key=found.__getitem__)
    held = sum(len(part.test) for part in parts)
    others = ", ".join(f"{name} {value:.1%}" for name, value in found.items() if name != best)
    return Pick(
        best,
        f"{best} named {found[best]:.1%} of {held} images rightly that were held out, over {len(parts)} folds "
        f"({others}).",
        found,
    )


def forecast(
    method: str, encoder: DualEncoder, names: Sequence[str], count: int, overrides: Mapping[str, Any] | None = None
) -> float:
    """About how many seconds `learn` will take: a step is tried with a few of the classes.

    Args:
        method: as for `learn`.
        encoder: the frozen model.
        names: the classes.
        count: images to learn from.
        overrides: as for `learn`.
    """
    if method == AUTO:
        return sum(forecast(name, encoder, names, count, settings_of(name, overrides or {})) for name in candidates())
    some = tuple(names[:_TRIED])
    start = time.perf_counter()
    built = build(method, encoder, some, overrides or {})
    if card_of(built).kind == "trained":
        size, steps = _length(built.config.epochs, count, len(names), given="epochs" in (overrides or {}))
        wide = {"image_embedding": encoder.width, "image_features": encoder.feature_width}
        extra = {name: torch.ones(size, width) for name, width in wide.items()}
        if looks_at_cells(built):
            extra[CELLS] = torch.ones(size, _cells(encoder), encoder.width)
        specs = {spec.name: spec for spec in SPECS if spec.name in extra}
        batch = Batch(tuple(map(str, range(size))), labels=torch.zeros(size).long(), extra=extra, specs=specs)
        engine.enter(built, engine.stages(built)[0])
        for _ in range(2):  # the first time some things are set up
            start = time.perf_counter()
            engine.backward(trained(built), batch.to(encoder.device), Progress(0, steps))
        return (time.perf_counter() - start) * steps * len(names) / len(some)
    seconds = (time.perf_counter() - start) * len(names) / len(some)
    if not takes(method, "penalty"):
        return seconds
    fixed = "penalty" in (overrides or {}) or _heavy(names, count, encoder) or count < 1.5 * len(names)
    trials = 0 if fixed else _FOLDS * len(PENALTIES)
    products = 4 * count * len(names) * min(count, encoder.feature_width)
    return seconds + products / _RATE * _ITERATIONS * (trials + 2)


def reads_cells(
    method: str, encoder: DualEncoder, names: Sequence[str], overrides: Mapping[str, Any] | None = None
) -> bool:
    """Whether a method with these settings reads the cells of images; `auto` chooses from methods that do not.

    Args:
        method: as for `learn`.
        encoder: the frozen model.
        names: the classes.
        overrides: as for `learn`.

    Raises:
        DeixisError: it does, and the model gives none.
    """
    return method != AUTO and looks_at_cells(build(method, encoder, names[:2], overrides or {}))


def logits(
    method: FewShotMethod,
    embedding: Float[Tensor, "B D"],
    features: Float[Tensor, "B F"],
    cells: Float[Tensor, "B P D"] | None = None,
) -> Float[Tensor, "B C"]:
    """What a method that `learn` gave says of images.

    Args:
        method: that has learned classes.
        embedding: of images, as in `Shots`.
        features: as in `Shots`.
        cells: as in `Shots`, for methods that read them.
    """
    size = max(1, min(1024, _CELLS // len(method.names)))
    device = require_encoder(method).device
    with torch.no_grad(), evaluating(method):
        pieces = zip(*(each.split(size) for each in fields_of(method, embedding, features, cells)), strict=True)
        rows = [method.scores(*(part.to(device) for part in piece)).cpu() for piece in pieces]
    return torch.cat([torch.empty(0, len(method.names)), *rows])


def _check(method: str, names: Sequence[str], shots: Shots) -> None:
    require(method)
    if len(names) < 2:
        raise DeixisError(
            f"There is {len(names)} class, and classification needs at least two.", "Give images of another class."
        )
    if len(shots) and int(shots.labels.max()) >= len(names):
        raise ValueError(f"a label is {int(shots.labels.max())}, and there are {len(names)} names")


def _cells(encoder: DualEncoder) -> int:
    """How many cells an image has."""
    side = encoder.preprocess.size
    with torch.no_grad(), evaluating(encoder):
        return encoder.image_tokens(torch.zeros(1, 3, side, side, device=encoder.device)).states.shape[1]


def _heavy(names: Sequence[str], count: int, encoder: DualEncoder) -> bool:
    """Whether the classes are so many that a penalty is better given than tuned."""
    return 4.0 * count * len(names) * min(count, encoder.feature_width) > _HEAVY


def build(
    method: str, encoder: DualEncoder, names: Sequence[str], overrides: Mapping[str, Any], seed: int = 0
) -> FewShotMethod:
    """A method that has learned nothing yet.

    Args:
        method: one of `offered`.
        encoder: the frozen model; it is frozen here.
        names: the classes.
        overrides: settings that differ from the method's `desk` preset.
        seed: of initial weights.

    Raises:
        DeixisError: the model's embeddings were never trained, or what the method says of names and settings.
    """
    encoder.require_embeddings(f"learn classes by {method}")
    parts = {"encoder": encoder, "names": tuple(names)}
    built = engine.build(method, "desk", {**overrides, "names": tuple(names)}, parts, seed).to(encoder.device)
    assert isinstance(built, FewShotMethod), "what is offered has `names` and `scores`"
    return built


def _length(epochs: int, count: int, classes: int, given: bool) -> tuple[int, int]:
    """Samples a batch, and steps: the published batches of 32, without what is left over; or larger ones, as far as
    their logits fit into memory."""
    size = min(_BATCH, count)
    steps = epochs * (count // size)
    if given or steps <= _STEPS:
        return size, steps
    return min(count, -(-count * epochs // _STEPS), max(size, _CELLS // classes)), _STEPS


def _fitted(method: FewShotMethod, shots: Shots) -> FewShotMethod:
    """A method that is not trained, fitted to the images."""
    if card_of(method).kind == "fitted":
        return fit(method, [shots.batch().to(require_encoder(method).device)])
    return method.eval()


def _parts(shots: Shots, seed: int) -> list[Split]:
    """Folds for cross-validation; none where half of the classes or more have but one group of images."""
    groups = _groups(shots)
    labels = shots.labels.tolist()
    of_class: dict[int, set[int]] = {}
    for label, group in zip(labels, groups, strict=True):
        of_class.setdefault(label, set()).add(group)
    many = {label for label, own in of_class.items() if len(own) > 1}
    usable = [i for i, label in enumerate(labels) if label in many]
    sizes = torch.bincount(torch.tensor([groups[i] for i in usable], dtype=torch.long))
    if 2 * len(many) <= len(of_class) or len(many) < 2 or int(sizes.max()) > LARGEST_SHARE * len(usable):
        return []
    count = min(_FOLDS, max(len(own) for own in of_class.values()))
    found = folds([groups[i] for i in usable], count, seed, labels=[str(labels[i]) for i in usable])
    tests = [tuple(usable[i] for i in part.test) for part in found if part.test]
    return [Split(tuple(sorted(set(range(len(shots))).difference(test))), test) for test in tests]


def _groups(shots: Shots) -> list[int]:
    """The group of each image: views of one image have one, whatever they were given."""
    images = [name.rpartition("#")[0] or name for name in shots.ids]
    keys: list[Any] = list(shots.groups) or images
    first: dict[Any, int] = {}
    return [first.setdefault(key, len(first)) for key in keys]


def _alone(shots: Shots, method: str) -> str:
    counts = torch.bincount(shots.labels)
    few = int((counts == 1).sum())
    return (
        f"{few} of {len(counts)} classes have one image: nothing can be held out for selection. {method} stays "
        "close to zero-shot."
    )


class _Trial:
    """One method in cross-validation: built once, and learned anew from each part."""

    def __init__(
        self, name: str, encoder: DualEncoder, names: Sequence[str], shots: Shots, overrides: Mapping[str, Any]
    ) -> None:
        quick = {"iterations": _ITERATIONS} if takes(name, "iterations") else {}
        self.method, self.shots = build(name, encoder, names, {**quick, **overrides}), shots
        self.penalties = PENALTIES if takes(name, "penalty") and "penalty" not in overrides else ()

    def _held_out(self, part: Split, penalty: float | None) -> tuple[float, float]:
        """Sums over the images that were held out: of the cross-entropy, and of right answers."""
        if penalty is not None:
            self.method.config = dataclasses.replace(self.method.config, penalty=penalty)
        _fitted(self.method, self.shots.take(part.train))
        test = self.shots.take(part.test)
        found = logits(self.method, test.embedding, test.features, test.cells)
        loss = F.cross_entropy(found.double(), test.labels, reduction="sum")
        return float(loss), float((found.argmax(dim=1) == test.labels).sum())

    def _all(self, parts: Sequence[Split]) -> Float[Tensor, "2 P K"]:
        """Losses and right answers, by penalty and part."""
        rows = [[self._held_out(part, penalty) for part in parts] for penalty in self.penalties or (None,)]
        return torch.tensor(rows, dtype=torch.float64).permute(2, 0, 1)

    def penalty(self, parts: Sequence[Split]) -> float:
        """The one with the least loss; of equal ones the largest."""
        losses = self._all(parts)[0].sum(dim=1)
        return max(self.penalties, key=lambda each: (-float(losses[self.penalties.index(each)]), each))

    def accuracy(self, parts: Sequence[Split]) -> float:
        """Share of right answers; for each part under the penalty that is best on the others, or it would flatter."""
        losses, right = self._all(parts)
        best = (losses.sum(dim=1, keepdim=True) - losses).argmin(dim=0)
        held = sum(len(part.test) for part in parts)
        return float(right.gather(0, best[None]).sum()) / held
