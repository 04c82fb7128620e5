"""The one value that flows from data to method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.types.outputs import Tokens
from deixis.types.specs import FieldSpec, SampleSpec, ViewSpec

__all__ = ["CORE_FIELDS", "DTYPES", "Batch", "concatenate"]

CORE_FIELDS: dict[str, FieldSpec] = {
    spec.name: spec
    for spec in (
        FieldSpec("images", "B 3 H W"),
        FieldSpec("captions", "B", "object"),
        FieldSpec("tokens", "B K L", "long", ragged="L"),
        FieldSpec("labels", "B", "long", values="class"),
        FieldSpec("boxes", "B T 4", ragged="T", values="boxes"),
        FieldSpec("masks", "B T H W", "bool", ragged="T"),
        FieldSpec("spans", "B T S 2", "long", ragged="T", values="spans"),
        FieldSpec("phrases", "B", "object"),
        FieldSpec("groups", "B", "long"),
        FieldSpec("views", "B V 3 H W"),
        FieldSpec("view_boxes", "B V 4", values="boxes"),
    )
}
DTYPES = {"float": torch.float32, "long": torch.long, "bool": torch.bool}
"""`FieldSpec.dtype` -> that of tensors; `object` has none."""
_SIZES = {"K": 1, "L": 8, "T": 3, "S": 1, "H": 32, "W": 32, "C": 5, "D": 16, "F": 24, "N": 4, "V": 2, "Q": 3, "G": 6}


@dataclasses.dataclass(frozen=True)
class Batch:
    """Samples side by side, frozen.

    Ragged axes are padded with zeros (the empty string, for captions); `valid[letter]` [B, size] tells what is real.

    Attributes:
        ids: one name a sample, stable over epochs; per-sample random draws hang on it.
        images: [B, 3, H, W], preprocessed.
        captions: B tuples of strings.
        tokens: [B, K, L]; `valid["L"]` says what is padding, as number 0 may be a token.
        labels: [B], class indices.
        boxes: [B, T, 4] as x0 y0 x1 y1, from 0 to 1.
        masks: [B, T, H, W].
        spans: [B, T, S, 2], token positions in the first caption, end exclusive; an empty span is padding.
        phrases: B tuples of strings.
        groups: [B], equal numbers for samples that belong together; they lie side by side, `split(size, group)` keeps
            them so.
        views: groups of crops, each [B, V, 3, h, w] (their sizes differ).
        view_boxes: the crops' places in the image, each [B, V, 4]; a mirrored crop has x0 > x1.
        valid: axis letter -> [B, size], or for L [B, K, L].
        extra: further fields, described by `specs`.
        specs: name -> FieldSpec of every entry of `extra`.
    """

    ids: tuple[str, ...]
    images: Tensor | None = None
    captions: tuple[tuple[str, ...], ...] | None = None
    tokens: Tensor | None = None
    labels: Tensor | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None
    spans: Tensor | None = None
    phrases: tuple[tuple[str, ...], ...] | None = None
    groups: Tensor | None = None
    views: tuple[Tensor, ...] = ()
    view_boxes: tuple[Tensor, ...] = ()
    valid: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    specs: Mapping[str, FieldSpec] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [name for name in self.extra if name not in self.specs]
        if missing:
            raise ValueError(f"extra fields without a FieldSpec: {', '.join(missing)}")
        for name, value in self._rows():
            if len(value) != len(self.ids):
                raise ValueError(f"field {name!r} has {len(value)} rows, and the batch {len(self.ids)} ids")

    def __len__(self) -> int:
        return len(self.ids)

    def _rows(self) -> list[tuple[str, Any]]:
        """Every value with one row a sample, with a name for messages."""
        named = [(name, getattr(self, name)) for name in CORE_FIELDS if name not in ("views", "view_boxes")]
        named += [(f"views[{i}]", value) for i, value in enumerate(self.views)]
        named += [(f"view_boxes[{i}]", value) for i, value in enumerate(self.view_boxes)]
        named += [(f"valid[{letter}]", value) for letter, value in self.valid.items()]
        named += [(name, value) for name, value in self.extra.items() if self.specs[name].axes.startswith("B")]
        return [(name, value) for name, value in named if value is not None]

    def _rebuild(self, f: Callable[[Any], Any], shared: Callable[[Any], Any]) -> Batch:
        """A new batch with `f` applied to all per-sample values and `shared` to the others."""
        changes: dict[str, Any] = {"ids": f(self.ids)}
        for name in CORE_FIELDS:
            value = getattr(self, name)
            if isinstance(value, tuple) and name in ("views", "view_boxes"):
                changes[name] = tuple(f(each) for each in value)
            elif value is not None:
                changes[name] = f(value)
        changes["valid"] = {letter: f(mask) for letter, mask in self.valid.items()}
        changes["extra"] = {
            name: (f if self.specs[name].axes.startswith("B") else shared)(value) for name, value in self.extra.items()
        }
        return dataclasses.replace(self, **changes)

    def take(self, index: Sequence[int]) -> Batch:
        """The samples at `index`, in that order."""
        where = torch.as_tensor(index, dtype=torch.long)

        def rows(value: Any) -> Any:
            return (
                value[where.to(value.device)] if isinstance(value, Tensor) else tuple(value[i] for i in where.tolist())
            )

        return self._rebuild(rows, lambda value: value)

    def split(self, size: int, group: int = 1) -> list[Batch]:
        """Consecutive pieces of at most `size` samples, a multiple of `group` so that groups stay whole."""
        if size < group or len(self) % group:
            raise ValueError(f"{len(self)} samples in groups of {group} do not split into pieces of {size}")
        step = size - size % group
        return [self.take(range(i, min(i + step, len(self)))) for i in range(0, len(self), step)]

    def caption(self, which: Int64[Tensor, " B"] | int = 0) -> Tokens:
        """The tokens of one caption a sample; where `valid` says nothing of texts, all of them are real.

        Args:
            which: number of the caption among the K, one for all samples or one for each.

        Raises:
            ValueError: the batch holds no tokens.
        """
        if self.tokens is None:
            raise ValueError("the batch holds no tokens")
        rows, mask = torch.arange(len(self), device=self.tokens.device), self.valid.get("L")
        ids = self.tokens[rows, which]
        return Tokens(ids, torch.ones_like(ids, dtype=torch.bool) if mask is None else mask[rows, which])

    def map(self, f: Callable[[Tensor], Tensor]) -> Batch:
        """`f` applied to every tensor."""

        def tensors(value: Any) -> Any:
            return f(value) if isinstance(value, Tensor) else value

        return self._rebuild(tensors, tensors)

    def to(self, device: torch.device | str) -> Batch:
        """All tensors on `device`."""
        return self.map(lambda value: value.to(device, non_blocking=True))

    @staticmethod
    def synthetic(
        needs: Sequence[FieldSpec],
        view: ViewSpec | None = None,
        sample: SampleSpec | None = None,
        size: int = 4,
        seed: int = 0,
        **sizes: int,
    ) -> Batch:
        """A random batch that holds exactly `needs`, for tests and demonstrations.

        Args:
            needs: fields to fill.
            view: image side and crops.
            sample: captions per image and their length.
            size: number of samples (B).
            seed: equal seeds give equal batches.
            **sizes: size of an axis by its letter, such as `D=384`.
        """
        view, sample = view or ViewSpec(size=_SIZES["H"]), sample or SampleSpec(length=_SIZES["L"])
        asked = {"H": view.size, "W": view.width or view.size, "K": sample.captions, "L": sample.length}
        sizes = {**_SIZES, **asked, **sizes, "B": size}
        draw = _Draw(torch.Generator().manual_seed(seed), sizes)
        core: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for spec in needs:
            if spec.name == "views":
                core["views"] = tuple(
                    torch.randn(size, c.count, 3, c.size, c.size, generator=draw.rng) for c in view.crops
                )
            elif spec.name == "view_boxes":
                core["view_boxes"] = tuple(draw.boxes((size, c.count)) for c in view.crops)
            else:
                (core if spec.name in CORE_FIELDS else extra)[spec.name] = draw.field(spec)
        specs = {spec.name: spec for spec in needs if spec.name in extra}
        ids = tuple(f"synthetic-{seed}-{i}" for i in range(size))
        return Batch(ids=ids, **core, extra=extra, specs=specs, valid=draw.valid)


class _Draw:
    """Random values for `Batch.synthetic`: lengths of ragged axes are drawn once, so that fields agree on them."""

    def __init__(self, rng: torch.Generator, sizes: Mapping[str, int]) -> None:
        self.rng, self.sizes = rng, sizes
        self.valid: dict[str, Tensor] = {}

    def boxes(self, shape: tuple[int, ...]) -> Tensor:
        corners = torch.rand(*shape, 2, 2, generator=self.rng).sort(dim=-2).values
        return corners.flatten(-2)

    def spans(self, shape: tuple[int, ...]) -> Tensor:
        length = self._valid("L")[:, 0].sum(dim=-1).reshape(-1, *[1] * (len(shape) - 1))
        first, last = (torch.rand(2, *shape, generator=self.rng) * length).long().sort(dim=0).values
        return torch.stack([first, last + 1], dim=-1)

    def field(self, spec: FieldSpec) -> Any:
        shape = tuple(int(a) if a.isdigit() else self.sizes[a] for a in spec.axes.split())
        if spec.dtype == "object":
            return tuple((f"a picture of thing {i}",) for i in range(self.sizes["B"]))
        value = self._values(spec, shape)
        for letter in spec.ragged.split():
            value = value * self._mask(letter, spec.axes.split()).to(value.dtype)
        return value

    def _values(self, spec: FieldSpec, shape: tuple[int, ...]) -> Tensor:
        if spec.values == "boxes":
            return self.boxes(shape[:-1])
        if spec.values == "spans":
            return self.spans(shape[:-1])
        if spec.dtype == "bool":
            return torch.rand(*shape, generator=self.rng) < 0.5
        if spec.dtype == "long":
            low, high = (0, self.sizes["C"]) if spec.values == "class" else (1, 30)
            return torch.randint(low, high, shape, generator=self.rng)
        value = (
            torch.rand(*shape, generator=self.rng)
            if spec.values == "uniform"
            else torch.randn(*shape, generator=self.rng)
        )
        if spec.values == "distribution":
            return value.softmax(dim=-1)
        return F.normalize(value, dim=-1) if spec.values == "unit" else value

    def _valid(self, letter: str) -> Tensor:
        if letter not in self.valid:
            lead = tuple(self.sizes[a] for a in ("BK" if letter == "L" else "B"))
            lengths = torch.randint(1, self.sizes[letter] + 1, lead, generator=self.rng)
            self.valid[letter] = torch.arange(self.sizes[letter]) < lengths[..., None]
        return self.valid[letter]

    def _mask(self, letter: str, axes: Sequence[str]) -> Tensor:
        """What is real along `letter`, with a 1 for every other axis but B and, for texts, K."""
        mask, kept = self._valid(letter), {"B", letter}
        if letter == "L":
            mask, kept = (mask, kept | {"K"}) if "K" in axes else (mask[:, 0], kept)
        return mask.reshape([self.sizes[a] if a in kept else 1 for a in axes])


def concatenate(batches: Sequence[Batch]) -> Batch:
    """Batches one after the other; ragged axes are padded to the longest, shared fields come from the first.

    Raises:
        ValueError: the batches hold different fields, or differ in size along an axis that is not ragged.
    """
    first = batches[0]
    for other in batches[1:]:
        if differ := _held(first) ^ _held(other):
            raise ValueError(f"only some of the batches hold {', '.join(sorted(differ))}")

    def join(spec: FieldSpec, values: Sequence[Any]) -> Any:
        # A list of spans has no mask: an empty span is its padding.
        ragged = {*spec.ragged.split(), *first.valid, *("S" if spec.values == "spans" else "")}
        return _join(spec.name, values, [d for d, axis in enumerate(spec.axes.split()) if axis in ragged])

    changes: dict[str, Any] = {"ids": tuple(i for b in batches for i in b.ids)}
    for name, spec in CORE_FIELDS.items():
        values = [getattr(b, name) for b in batches]
        if name in ("views", "view_boxes"):
            changes[name] = tuple(join(spec, group) for group in zip(*values, strict=True))
        elif values[0] is not None:
            changes[name] = join(spec, values)
    changes["valid"] = {
        letter: _join(f"valid[{letter}]", [b.valid[letter] for b in batches], [mask.dim() - 1])
        for letter, mask in first.valid.items()
    }
    changes["extra"] = {
        name: join(first.specs[name], [b.extra[name] for b in batches])
        if first.specs[name].axes.startswith("B")
        else value
        for name, value in first.extra.items()
    }
    return dataclasses.replace(first, **changes)


def _held(batch: Batch) -> set[str]:
    """Names of the fields that are there."""
    return {name for name, _ in batch._rows()} | set(batch.extra)


def _join(name: str, values: Sequence[Any], ragged: Sequence[int]) -> Any:
    """Rows of all values; tensors that differ along the dimensions `ragged` are padded with zeros."""
    if not isinstance(values[0], Tensor):
        return tuple(each for value in values for each in value)
    shape = [max(sizes) for sizes in zip(*(v.shape[1:] for v in values), strict=True)]
    for value in values:
        if any(value.shape[d] != size and d not in ragged for d, size in enumerate(shape, 1)):
            raise ValueError(f"{name}: rows of {list(value.shape[1:])} do not fit beside rows of {shape}")
    pads = [[p for d in reversed(range(len(shape))) for p in (0, shape[d] - v.shape[d + 1])] for v in values]
    # A pad of nothing would copy all the same, and whole images come through here.
    return torch.cat([F.pad(v, pad) if any(pad) else v for v, pad in zip(values, pads, strict=True)])
