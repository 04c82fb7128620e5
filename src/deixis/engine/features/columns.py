"""Batch fields that frozen parts make: made once for each content, stored, and looked up by every loader.

A card declares them (`FieldSpec.made`). `PartColumns.make` makes all that a run will need ahead, over all ranks; what
is still missing when a batch is put together (a row that the bounded store has dropped meanwhile) is made then.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deixis.data.loading.sampler import Draw
from deixis.engine.features.calls import BoxCorners, EncodeItem, Inputs, PartCall
from deixis.engine.features.embedding import make
from deixis.engine.features.store import FeatureStore
from deixis.errors import DeixisError
from deixis.inputs.contents import contents
from deixis.nn.frozen import is_frozen
from deixis.types import Batch, FieldSpec, Made, Sample, SampleSpec, Source, place
from deixis.types.batch import CORE_FIELDS, DTYPES
from deixis.types.protocols import AnyMethod

__all__ = ["PartColumns", "WithColumns", "read_for"]

Encode = Callable[[Sample, Draw | None], Batch]
_READ = {"image": "images", "text": "captions", "boxes": "boxes"}


def read_for(needs: Sequence[FieldSpec]) -> set[str]:
    """The names of the fields that data must have something for: those that are read, and what others are made of."""
    return {each for spec in needs for each in ([_READ[of] for of in spec.made.of] if spec.made else [spec.name])}


class PartColumns:
    """What frozen parts make of samples, by field.

    Args:
        method: whose parts make them.
        needs: the fields of its batches, of which those with `made` are made here.
        sample: the template around captions.

    Raises:
        DeixisError: a field names a part that is not there or not frozen, or a method that the part does not have.
    """

    def __init__(self, method: AnyMethod, needs: Sequence[FieldSpec], sample: SampleSpec | None = None) -> None:
        self._template = (sample or SampleSpec()).template
        self._digests: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()
        groups: dict[tuple[str, str, tuple[str, ...]], list[FieldSpec]] = {}
        for spec in {spec.name: spec for spec in needs if spec.made is not None}.values():
            made, part = _checked(method, spec)
            groups.setdefault((made.part, PartCall.stored_as(part, made.call), made.of), []).append(spec)
        self._makers = [(part, of, tuple(specs)) for (part, _, of), specs in groups.items()]
        self._method = method
        self._calls: list[tuple[PartCall, tuple[FieldSpec, ...]]] | None = None
        self._opened: FeatureStore | None = None

    def _store(self) -> FeatureStore:
        self._opened = self._opened or FeatureStore()
        return self._opened

    def calls(self) -> list[tuple[PartCall, tuple[FieldSpec, ...]]]:
        """The calls, and the fields that each gives; parts are fingerprinted when they are first needed."""
        with self._lock:
            if self._calls is None:
                self._calls = [
                    (
                        PartCall(
                            getattr(self._method, part), _made(specs[0]).call, [_made(s).output for s in specs], of
                        ),
                        specs,
                    )
                    for part, of, specs in self._makers
                ]
            return self._calls

    def make(
        self,
        source: Source,
        progress: Callable[[int, int], None] | None = None,
        names: Collection[str] | None = None,
    ) -> int:
        """Makes all that is not in the store yet; under `torchrun` each rank makes its share, and all call this alike.

        Args:
            source: the samples.
            progress: called with the number of samples done and the total.
            names: of the fields that are needed; None: all.

        Returns:
            How many were made; samples whose image can't be read are passed over.
        """
        made = 0
        for call, specs in self.calls():
            if names is not None and not any(spec.name in names for spec in specs):
                continue
            items = [(sample, item) for sample in source.samples for item in self._items(sample, call)]
            found = make(call, [item for _, item in items], self._store(), progress=progress)
            made += found.encoded
            if "image" in call.of:
                pairs = zip(items, found.hashes, strict=True)
                self._digests |= {_name(sample): digest for (sample, _), digest in pairs if digest}
        return made

    def _items(self, sample: Sample, call: PartCall) -> list[EncodeItem]:
        """One for each caption where captions are read, since any of them may be drawn."""
        texts = [self._text(words) for words in sample.words] if "text" in call.of else [""]
        return [EncodeItem(sample.image if "image" in call.of else None, text, _boxes(call, sample)) for text in texts]

    def _text(self, caption: str) -> str:
        return self._template.replace("{}", caption)

    def of_sample(
        self, sample: Sample, captions: Sequence[str], names: Collection[str]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Fields of one sample, with a leading axis of 1, and the masks of ragged ones.

        Args:
            sample: whose image is meant.
            captions: that were drawn for it.
            names: of the fields.

        Raises:
            ImageError: the image can't be read.
        """
        fields: dict[str, Any] = {}
        valid: dict[str, Tensor] = {}
        for call, specs in self.calls():
            wanted = [spec for spec in specs if spec.name in names]
            texts = [self._text(words) for words in captions] if "text" in call.of else [""]
            values = [self._values(call, sample, text) for text in texts] if wanted else []
            for spec in wanted:
                own = [value[_made(spec).output] for value in values]
                several = "K" in spec.axes.split()
                if several and spec.ragged:
                    raise DeixisError(f"{spec.name!r} is ragged and has an axis K.", "Make it of the first caption.")
                value = torch.stack(own) if several else own[0]
                fields[spec.name] = value.to(DTYPES[spec.dtype])[None]
                for letter in spec.ragged.split():
                    valid[letter] = torch.ones(1, value.shape[spec.axes.split().index(letter) - 1], dtype=torch.bool)
        return fields, valid

    def _values(self, call: PartCall, sample: Sample, text: str) -> Mapping[str, Tensor]:
        inputs = Inputs(self._digest(sample) if "image" in call.of else "", text, boxes=_boxes(call, sample))
        return call.values(self._rows(call, inputs, sample))

    def _digest(self, sample: Sample) -> str:
        name = _name(sample)
        if name not in self._digests:
            self._digests[name] = contents(sample.picture).hash
        return self._digests[name]

    def _rows(self, call: PartCall, inputs: Inputs, sample: Sample) -> list[np.ndarray]:
        keys = call.keys(inputs)
        found = {key: row for key, row in self._store().get(keys).items() if call.is_sound(row)}
        if len(found) == len(keys):
            return [found[key] for key in keys]
        image = call.preprocess.read([sample.picture]) if "image" in call.of else None
        with self._lock:  # loaders ask from several threads, and a part computes for one at a time
            rows = call.rows(image, [inputs.text], [inputs.boxes])[0]
        self._store().put(dict(zip(keys, rows, strict=True)))
        return rows

    def close(self) -> None:
        """Closes the store; it is opened again when it is next needed."""
        if self._opened is not None:
            self._opened.close()


class WithColumns:
    """Makes batches of one sample as `collate` does, with the fields that parts make beside.

    Args:
        collate: gives the other fields; with captions, where any field is made of texts.
        columns: the fields that are made.
        needs: all fields of the batch.
        source: all of whose samples must have what the fields are made of.

    Raises:
        DeixisError: samples have no image, and a field is made of it.
    """

    def __init__(self, collate: Encode, columns: PartColumns, needs: Sequence[FieldSpec], source: Source) -> None:
        self._collate, self._columns = collate, columns
        self._fields = {spec.name: spec for spec in needs if spec.made is not None}
        self._drops = {"captions"} - {spec.name for spec in needs}
        of_images = [spec.name for spec in self._fields.values() if "image" in _made(spec).of]
        lacking = [sample.id for sample in source.samples if sample.image is None] if of_images else []
        if lacking:
            names = ", ".join(map(repr, of_images))
            raise DeixisError(
                f"{len(lacking)} of {len(source.samples)} samples of {source.name!r} have no image to make {names} "
                f"from: {', '.join(lacking[:3])}{'...' if len(lacking) > 3 else ''}",
                "Remove these samples, or add what is missing.",
            )

    def make(self, source: Source) -> None:
        """Makes what these batches need of all samples of a source, ahead; else it is made when a batch is."""
        self._columns.make(source, names=self._fields)

    def __call__(self, sample: Sample, draw: Draw | None = None) -> Batch:
        """A batch of this sample alone.

        Args:
            sample: one of the source's.
            draw: what is drawn for it; None for evaluation.
        """
        batch = self._collate(sample, draw)
        captions = batch.captions[0] if batch.captions is not None else ()
        fields, valid = self._columns.of_sample(sample, captions, self._fields)
        core: dict[str, Any] = {name: value for name, value in fields.items() if name in CORE_FIELDS}
        core |= dict.fromkeys(self._drops)
        extra = {name: value for name, value in fields.items() if name not in CORE_FIELDS}
        return dataclasses.replace(
            batch,
            **core,
            valid={**batch.valid, **valid},
            extra={**batch.extra, **extra},
            specs={**batch.specs, **{name: self._fields[name] for name in extra}},
        )


def _name(sample: Sample) -> tuple[str, str]:
    """Ids are unique within a source, and a method may have several sources."""
    return sample.id, place(sample.picture)


def _boxes(call: PartCall, sample: Sample) -> tuple[BoxCorners, ...]:
    return tuple(region.box for region in sample.regions) if "boxes" in call.of else ()


def _made(spec: FieldSpec) -> Made:
    assert spec.made is not None
    return spec.made


def _checked(method: AnyMethod, spec: FieldSpec) -> tuple[Made, Any]:
    made = _made(spec)
    part = getattr(method, made.part, None)
    if part is None or not hasattr(part, made.call):
        found = "which the method does not have" if part is None else f"which has no {made.call!r}"
        raise DeixisError(f"The field {spec.name!r} is made by the part {made.part!r}, {found}.", "Name another part.")
    if isinstance(part, nn.Module) and not is_frozen(part):
        raise DeixisError(
            f"The field {spec.name!r} is computed once, but the part {made.part!r} that computes it is not frozen.",
            "Declare the part frozen, or call it in `encode`.",
        )
    return made, part
