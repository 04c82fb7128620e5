"""Classes of any name as the model of a run reads them, with the concepts in angle brackets that the run was taught."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deixis.apps.common.concepts import concept_names, encode_texts, reader_of
from deixis.apps.common.loading import load_encoder
from deixis.apps.predict.known_words import require_known_words
from deixis.apps.segment.settings import AUTO_NAME
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.methods import list_methods, read
from deixis.nn.compute import current
from deixis.nn.dual import DualEncoder
from deixis.nn.image_only import words_error
from deixis.types.outputs import Tokens

__all__ = ["TaughtEncoder", "segmenter_of_run"]

_KINDS = {"names", "dual_encoder"}


class TaughtEncoder(DualEncoder):
    """An encoder to which some phrases are directions, whatever stands around them: a template, say.

    Args:
        encoder: whose towers and adapters it shares.
        directions: phrase -> a vector of length 1 in the shared space; of several in a text the longest counts.
    """

    def __init__(self, encoder: DualEncoder, directions: Mapping[str, Float[Tensor, " D"]]) -> None:
        super().__init__(
            encoder.image_tower,
            encoder.text_tower,
            tokenizer=encoder.tokenizer,
            preprocess=encoder.preprocess,
            traits=encoder.traits,
        )
        self.image_adapter, self.text_adapter = encoder.image_adapter, encoder.text_adapter
        self._directions = dict(sorted(directions.items(), key=lambda each: -len(each[0])))

    def encode_text(
        self,
        texts: Int64[Tensor, "B L"] | Tokens | str | Sequence[str],
        batch_size: int = 32,
        *,
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B D"]:
        """Embeddings of length 1, or the directions of phrases; arguments as of `DualEncoder.encode_text`."""
        rows = super().encode_text(texts, batch_size, mask=mask)
        if isinstance(texts, Tokens | Tensor):
            return rows
        for place, text in enumerate([texts] if isinstance(texts, str) else texts):
            known = next((vector for phrase, vector in self._directions.items() if phrase in text), None)
            if known is not None:
                rows[place] = known.to(rows)
        return rows


def segmenter_of_run(run: str, classes: Sequence[str], method: str, encoder: DualEncoder | None = None) -> Any:
    """A method that segments classes by what the model of a run makes of their names.

    Args:
        run: a folder that `deixis index` or `deixis adapt` wrote.
        classes: their names; in some a concept may stand, such as `<my mug>`.
        method: by name, one that is made of an encoder and names alone; or `auto`.
        encoder: the run's model, where it is in memory already.

    Raises:
        DeixisError: no such method, a concept that the run was not taught, or a model that reads no text, or no word
            of a class.
    """
    able = [name for name in list_methods() if _by_names_alone(name)]
    if method not in (AUTO_NAME, *able):
        raise DeixisError(
            f"{method} does not segment by the model of a run.", f"These do: {AUTO_NAME}, {', '.join(able)}."
        )
    encoder = encoder or load_encoder(Path(run) / "model").eval().to(current().device)
    if not encoder.reads_text:
        raise words_error(run)
    taught = [name for name in classes if concept_names(name)]
    rows: Iterable[np.ndarray] = encode_texts(reader_of(encoder), taught, run) if taught else ()
    directions = {name: torch.from_numpy(row) for name, row in zip(taught, rows, strict=True)}
    parts = {"names": list(classes), "encoder": TaughtEncoder(encoder, directions)}
    ready = build(able[0] if method == AUTO_NAME else method, parts=parts).eval().to(current().device)
    if plain := [name for name in classes if name not in directions]:
        require_known_words(ready, plain)
    return ready


def _by_names_alone(name: str) -> bool:
    card = read(name).card
    free = card.kind == "training-free" and "segment" in card.capabilities
    return free and {part.kind for part in card.parts} == _KINDS
