"""`deixis adapt --task segment`: whether masks or boxes of one's own teach the classes of pixels better than what needs
no training, and the run for `deixis segment --model`."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import check_and_read
from deixis.apps.common.formatting import counted
from deixis.apps.common.runs import Clock, free_name, run_folder, versions
from deixis.apps.segment.segment import default_segmenter, free_methods
from deixis.apps.train.method_runs import save_built
from deixis.data.loading.loader import Loader
from deixis.data.loading.sampler import SampleOrder
from deixis.data.splits import split
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, QueryValues
from deixis.engine.evaluation.protocols.miou import SegmentPlan, measure, plain_name
from deixis.engine.training.batching import collate_for
from deixis.engine.training.build import build
from deixis.engine.training.stages import name_of, stages, trained
from deixis.engine.training.train import train
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.inputs.images import shown_size
from deixis.methods import list_methods, read
from deixis.nn.compute import current
from deixis.ops.stats import cluster_t_interval
from deixis.types import Losses, Mask, Progress, Region, Sample, Source
from deixis.types.protocols import AnyMethod, HasConfig, HasFinish
from deixis.zoo.training_images import write_training_images

__all__ = ["STEPS", "Teaching", "adapt_to_pixels", "class_of", "taught"]

STEPS = 300
"""Of each of the two trainings: on the part that is learned from, and on everything."""

_BATCH = 8
_FEWEST, _MOST = 5, 100
_BESIDE = "everywhere"
_ALL, _PICTURE = Column("miou"), Column("picture_miou")
_SHAPE = 0.02
"""By how much the proportions of a mask and its picture may differ."""


class Teaching(NamedTuple):
    """What is learned from.

    Attributes:
        source: pictures; each region has a category alone, and, where `supervision` says so, a mask.
        names: the classes.
        supervision: `masks` or `boxes`.
        unmasked: pictures that are left out, as others have masks and a region of theirs has a box alone.
    """

    source: Source
    names: tuple[str, ...]
    supervision: str
    unmasked: int = 0


def class_of(region: Region) -> str:
    """What a region is called: its category, else its first phrase; without article and capitals."""
    said = region.category or next((each.text for each in region.phrases), "")
    return plain_name(said.replace(",", " "))


def taught(source: Source) -> Teaching:
    """What the regions of some data teach: masks, where pictures have one for each region; else boxes.

    Args:
        source: checked pictures.

    Raises:
        DeixisError: no region has a name, there are too many classes, or a mask is not of its picture's shape.
    """
    named = [(each, [region for region in each.regions if class_of(region)]) for each in source.samples]
    named = [(sample, regions) for sample, regions in named if regions]
    if not named:
        raise DeixisError(
            f"{source.root} holds no masks or boxes that name anything.",
            "Give COCO's json, or a table with the columns image, category (or phrase) and x0, y0, x1, y1.",
        )
    masked = [pair for pair in named if all(region.mask is not None for region in pair[1])]
    supervision = "masks" if masked else "boxes"
    samples = tuple(
        dataclasses.replace(
            sample, label=None, captions=(), regions=tuple(_plain(each, supervision) for each in regions)
        )
        for sample, regions in masked or named
    )
    names = tuple(sorted({region.category for sample in samples for region in sample.regions}))
    if len(names) > _MOST:
        raise DeixisError(
            f"The regions of {source.root} have {len(names)} names, and {_MOST} classes are the most.",
            "Name classes, not single things, in a column category.",
        )
    unmasked = len(named) - len(samples)
    return Teaching(dataclasses.replace(source, kind="images", samples=samples), names, supervision, unmasked)


def _plain(region: Region, supervision: str) -> Region:
    return Region(region.box, class_of(region), mask=region.mask if supervision == "masks" else None)


def _require_shape(sample: Sample) -> None:
    width, height = shown_size(sample.picture)
    for mask in (region.mask for region in sample.regions if region.mask is not None):
        if abs(mask.width * height / (mask.height * width) - 1) > _SHAPE:
            raise DeixisError(
                f"A mask of {sample.id} is {mask.width} x {mask.height} pixels, and the picture {width} x {height}.",
                "Give masks of the whole picture, at its size or another of the same shape.",
            )


def adapt_to_pixels(
    source: Source,
    out: str | Path,
    settings: AdaptSettings,
    *,
    rival: AnyMethod | None = None,
    how: tuple[str, int] = ("desk", STEPS),
    overwrite: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Learns the classes of pixels from masks, or boxes where there are none, and writes a run folder.

    On pictures of concepts that nothing was learned from, it is compared with what `deixis segment` does without
    training, and kept only where the mIoU of pictures rises beyond chance; else that is what the run holds.

    Args:
        source: pictures with masks or boxes that have a name.
        out: the run folder.
        settings: model, share to train on and seed.
        rival: in place of the method that needs no training, with the classes of the data in alphabetical order.
        how: preset of the method that is trained, and steps of each training.
        overwrite: replace a run that is there.
        quiet: print nothing.

    Returns:
        What stands in `result.json`.

    Raises:
        DeixisError: as `taught`; there are too few pictures; or `out` is taken.
    """
    talk, clock, out = Reporter(quiet), Clock(), Path(out)
    _reservation = free_name(out, overwrite)
    data, teaching = _checked(taught(source), talk)
    parts = split(data.groups, settings.seed, settings.train, minimum=_FEWEST)
    held = _with_truth(data.take(parts.test))
    first = rival if rival is not None else _rival(teaching.names)
    second = _learned(teaching, parts.train, (settings, *how), talk)
    values = [_measured(each, held, teaching.names, talk) for each in (first, second)]
    result = _result(teaching, settings, values, (name_of(first), name_of(second)), len(parts.train))
    kept = first
    if result["kept"] == "adapted":
        kept = _learned(teaching, range(len(data.samples)), (settings, *how), talk)
    with run_folder(out, overwrite) as folder:
        assert isinstance(kept, HasConfig)
        save_built(kept, folder, how[0] if kept is not first else "desk", _named(kept.config, teaching.names))
        if kept is not first:
            write_training_images(folder, data.hashes)
        result |= {"seconds": clock.read(), "peak_mb": clock.peak_mb(), "versions": versions()}
        write_json(folder / "result.json", result)
    talk.result(result["sentence"])
    talk.result(f"Use it: deixis segment photo.jpg --model {out}")
    return result


def _checked(teaching: Teaching, talk: Reporter) -> tuple[EvalSet, Teaching]:
    """The pictures that can be read, in groups of one concept."""
    checked = check_and_read(teaching.source, talk)
    report, samples = checked.report, checked.source.samples
    for sample in samples:
        _require_shape(sample)
    if teaching.unmasked:
        talk.say(_left_out(teaching))
    data = EvalSet.of(checked.source, report.hashes, report.same, report.fingerprint, captions=False)
    if (count := len(set(data.groups))) < _FEWEST:
        beside = f" {_left_out(teaching)}" if teaching.unmasked else ""
        raise DeixisError(
            f"There {'is' if count == 1 else 'are'} {counted(count, 'different picture')} with {teaching.supervision}, "
            f"and {_FEWEST} are needed to hold some out; near-duplicates count once.{beside}",
            f"Give {teaching.supervision} in more pictures.",
        )
    if len(teaching.names) == 1:
        talk.say(f"There is one class, {teaching.names[0]}: all other pixels are its background.")
    return data, teaching._replace(source=checked.source)


def _left_out(teaching: Teaching) -> str:
    """What is said of the pictures that have boxes where others have masks."""
    left, verb = counted(teaching.unmasked, "picture"), "is" if teaching.unmasked == 1 else "are"
    return f"{left} {verb} left out: a thing there has a box alone, and others have masks."


def _with_truth(data: EvalSet) -> EvalSet:
    """What is measured against: where there are no masks, boxes that are filled."""

    def filled(region: Region, size: tuple[int, int]) -> Region:
        if region.mask is not None:
            return region
        x0, y0, x1, y1 = (share * side for share, side in zip(region.box, size * 2, strict=True))
        return dataclasses.replace(region, mask=Mask(*size, polygons=((x0, y0, x1, y0, x1, y1, x0, y1),)))

    samples = tuple(
        dataclasses.replace(each, regions=tuple(filled(region, shown_size(each.picture)) for region in each.regions))
        for each in data.samples
    )
    return dataclasses.replace(data, source=dataclasses.replace(data.source, samples=samples))


def _rival(names: Sequence[str]) -> AnyMethod:
    """What segments without training: the default, or, where that was not fetched, the first that can be had."""
    try:
        found: AnyMethod = default_segmenter(names)
    except DeixisError as error:
        for name in free_methods():
            with contextlib.suppress(DeixisError):
                if not isinstance(method := build(name, parts={"names": list(names)}).eval(), HasFinish):
                    return method.to(current().device)  # type: ignore[no-any-return]
        raise error
    return found


def _learner() -> str:
    """The method that is trained on regions to segment."""
    cards = {name: read(name).card for name in list_methods()}
    wanted = {"boxes", "masks"}
    return next(
        name
        for name, card in cards.items()
        if card.kind == "trained" and "segment" in card.capabilities and wanted <= {each.name for each in card.needs}
    )


def _learned(
    teaching: Teaching, index: Sequence[int], how: tuple[AdaptSettings, str, int], talk: Reporter
) -> AnyMethod:
    """The method after learning from some of the pictures.

    Args:
        teaching: all pictures.
        index: of those to learn from.
        how: settings, preset and steps.
        talk: is told of it.
    """
    (settings, preset, steps), every = how, teaching.source.samples
    source = dataclasses.replace(teaching.source, samples=tuple(every[i] for i in index))
    changed = {"names": teaching.names, "supervision": teaching.supervision}
    parts = {} if preset == "tiny" else {"encoder": settings.model}
    method = trained(build(_learner(), preset, {**changed, **parts}, seed=settings.seed))
    method.to(current().device)  # type: ignore[attr-defined]
    order = SampleOrder(min(_BATCH, len(source.samples)), seed=settings.seed, shuffle=True, last="drop")
    stage = stages(method)[0]
    with (
        talk.step("train", f"train on {counted(len(source.samples), 'picture')}"),
        talk.bar("train") as bar,
        Loader(source, collate_for(method, source, stage), order, workers=1) as loader,
    ):

        def on_step(progress: Progress, losses: Losses) -> None:
            bar(progress.step, steps)

        return train(method, loader, steps, stage=stage, seed=settings.seed, on_step=on_step)


def _measured(method: AnyMethod, held: EvalSet, names: tuple[str, ...], talk: Reporter) -> dict[Column, QueryValues]:
    """By the protocol of mIoU; under the condition `everywhere` one class everywhere."""
    model = EvalModel(name_of(method), method)
    arms = measure(SegmentPlan(held, names), model, EvalOptions(methods=(_BESIDE,)), talk).arms
    beside = arms[_BESIDE][_ALL]
    return {**arms[""], Column(_ALL.metric, _BESIDE): beside}


def _result(
    teaching: Teaching,
    settings: AdaptSettings,
    values: Sequence[Mapping[Column, QueryValues]],
    methods: tuple[str, str],
    learned_from: int,
) -> dict[str, Any]:
    """Before, after, the gain of pictures with its interval over concepts, and what is kept."""
    first, second = (each[_PICTURE] for each in values)
    gain = cluster_t_interval(second.values - first.values, first.clusters)
    before, after, least = (
        float(each[column].values.mean())
        for each, column in ((values[0], _ALL), (values[1], _ALL), (values[0], Column(_ALL.metric, _BESIDE)))
    )
    kept = gain.low > 0
    counts = collections.Counter(len(sample.regions) for sample in teaching.source.samples)
    regions = sum(number * count for number, count in counts.items())
    truth = "" if teaching.supervision == "masks" else ", against filled boxes, as there are no masks"
    end = f"what was learned from {regions} {teaching.supervision} is kept" if kept else "the original is kept"
    end = end if kept or gain.value <= 0 else f"no proven gain, so {end}"
    said = (
        f"On {counted(len(first.values), 'held-out picture')} the mIoU is {100 * after:.0f} after training, "
        f"{100 * before:.0f} with {methods[0]} without training and {100 * least:.0f} with one class everywhere{truth}"
    )
    low, high = (f"{100 * each:+.0f}" for each in gain[1:])
    return {
        "format": 1,
        "kind": "pixels",
        "data": {"name": teaching.source.name, "images": len(teaching.source.samples), "regions": regions},
        "classes": list(teaching.names),
        "supervision": teaching.supervision,
        "learned_from": learned_from,
        "held_out": len(first.values),
        "model": settings.model,
        "methods": {"before": methods[0], "after": methods[1]},
        "seed": settings.seed,
        "primary": _PICTURE.metric,
        **{
            which: {column.metric: float(each[column].values.mean()) for column in (_ALL, _PICTURE)}
            for which, each in zip(("before", "after"), values, strict=True)
        },
        "everywhere": least,
        "difference": {_PICTURE.metric: dict(gain._asdict())},
        "kept": "adapted" if kept else "original",
        "sentence": f"{said}; a picture gains {100 * gain.value:+.0f} (95 %: {low} to {high}): {end}.",
    }


def _named(config: Any, names: Sequence[str]) -> dict[str, Any]:
    """Settings with the classes in them, of which a method may have been given the names as a part."""
    plain = dataclasses.asdict(config)
    return {**plain, "names": tuple(names) if isinstance(plain["names"], tuple | list) else ",".join(names)}
