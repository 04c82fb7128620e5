"""Models and searches in the shape that the package mteb evaluates.

import mteb
from deixis.apps.mteb import MtebEncoder, MtebSearch

mteb.evaluate(MtebEncoder("my-run"), mteb.get_tasks(tasks=["Flickr30kT2IRetrieval"]))

`MtebEncoder` follows mteb's protocol of encoders: mteb searches by itself. `MtebSearch` follows that of searches: the
index of this library answers, exactly, and only the best are retained.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor

from deixis import zoo
from deixis.errors import DeixisError
from deixis.indexing.changes import build
from deixis.indexing.compose import compose
from deixis.indexing.index import Index
from deixis.nn.dual import DualEncoder

__all__ = ["MtebEncoder", "MtebSearch"]

_BATCH = 32


class MtebEncoder:
    """A model of images and texts, for `mteb.evaluate`.

    Args:
        model_name: a name, a model or run folder, or a `DualEncoder`.
        revision: what mteb files results under; the first letters of the model's fingerprint by default.
        device: where the model is put.
        **options: what `zoo.load` takes.

    Raises:
        DeixisError: mteb is not installed, or there is no such model.
    """

    def __init__(
        self,
        model_name: str | PathLike[str] | DualEncoder,
        revision: str | None = None,
        *,
        device: str | None = None,
        **options: Any,
    ) -> None:
        encoder = model_name if isinstance(model_name, DualEncoder) else zoo.load(model_name, **options)
        self.encoder = encoder.eval().to(device) if device else encoder.eval()
        self.mteb_model_meta = _meta(self.encoder, revision)

    def encode(self, inputs: Iterable[Mapping[str, Any]], **options: Any) -> Float32[np.ndarray, "N D"]:
        """Embeddings of length 1, one a row.

        Args:
            inputs: batches, each a mapping with `text` or `image` (Pillow images), or both, which are then mixed half
                and half (ALIGN, section 7).
            **options: what mteb passes besides: `batch_size` counts, the task does not.

        Raises:
            DeixisError: a batch holds neither.
        """
        size = int(options.get("batch_size", _BATCH))
        rows = [np.empty((0, self.encoder.width), np.float32)]
        rows += [self._encode(batch, size) for batch in inputs]
        return np.concatenate(rows)

    def _encode(self, batch: Mapping[str, Any], size: int) -> Float32[np.ndarray, "N D"]:
        texts, images = batch.get("text"), batch.get("image")
        if texts is None and images is None:
            raise DeixisError(
                f"A batch of {', '.join(batch) or 'nothing'} can't be encoded.", "Choose tasks of texts and images."
            )
        words = (
            None if texts is None else self.encoder.encode_text([str(text) for text in texts], size).numpy(force=True)
        )
        images_rows = None if images is None else self.encoder.encode_image(list(images), size).numpy(force=True)
        if words is None or images_rows is None:
            return np.asarray(words if images_rows is None else images_rows)
        return np.stack([compose(w, s, how="sum") for w, s in zip(words, images_rows, strict=True)])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Float[Tensor, "N M"]:
        """The cosine of each of the first with each of the second."""
        first, second = (_rows(each) for each in (embeddings1, embeddings2))
        return first @ second.T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Float[Tensor, " N"]:
        """The cosine of each of the first with its counterpart."""
        return (_rows(embeddings1) * _rows(embeddings2)).sum(-1)


class MtebSearch:
    """The index of this library, for retrieval tasks of `mteb.evaluate`.

    Args:
        model: as for `MtebEncoder`.
        folder: where the index of the task at hand is written; a temporary folder by default.
    """

    def __init__(self, model: str | PathLike[str] | DualEncoder, folder: str | PathLike[str] | None = None) -> None:
        self.encoder = MtebEncoder(model)
        self.mteb_model_meta = self.encoder.mteb_model_meta
        self._folder = Path(tempfile.mkdtemp(prefix="deixis-")) if folder is None else Path(folder)
        if folder is None:
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._index: Index | None = None

    def index(self, corpus: Any, *, encode_kwargs: Mapping[str, Any] | None = None, **task: Any) -> None:
        """Encodes and indexes the documents of a task.

        Args:
            corpus: a `datasets.Dataset` with `id` and `text` or `image`, or both.
            encode_kwargs: as `encode` takes them.
            **task: what mteb passes besides; it makes no difference.
        """
        names, vectors = self._encoded(corpus, encode_kwargs or {})
        model = self.encoder.encoder
        items = [{"id": name, "path": name} for name in names]
        place = self._folder / "index"
        self._index = build(place, vectors, items, model=model.name, fingerprint=model.fingerprint())

    def search(
        self,
        queries: Any,
        *,
        top_k: int,
        encode_kwargs: Mapping[str, Any] | None = None,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **task: Any,
    ) -> dict[str, dict[str, float]]:
        """The best documents of each query, with their cosine similarity.

        Args:
            queries: a `datasets.Dataset`, as the corpus.
            top_k: how many a query.
            encode_kwargs: as `encode` takes them.
            top_ranked: the documents to choose among, by query; all where not given.
            **task: what mteb passes besides; it makes no difference.

        Raises:
            DeixisError: nothing was indexed.
        """
        if self._index is None:
            raise DeixisError("Nothing was indexed.", "Call index(corpus) first.")
        names, vectors = self._encoded(queries, encode_kwargs or {})
        if top_ranked is None:
            hits = self._index.search(vectors, min(top_k, len(self._index)))
            return {
                name: {self._name(row): float(score) for row, score in zip(rows, scores, strict=True)}
                for name, rows, scores in zip(names, hits.rows.tolist(), hits.scores, strict=True)
            }
        return {
            name: self._among(self._index, vector, top_ranked[name], top_k)
            for name, vector in zip(names, vectors, strict=True)
        }

    def _among(self, index: Index, vector: np.ndarray, names: Sequence[str], k: int) -> dict[str, float]:
        mask = np.zeros(index.rows, bool)
        mask[[index.row_of(name) for name in names]] = True
        hits = index.search(vector, min(k, len(names)), where=mask)
        return {self._name(row): float(score) for row, score in zip(hits.rows[0].tolist(), hits.scores[0], strict=True)}

    def _name(self, row: int) -> str:
        assert self._index is not None
        return str(self._index.item(row)["id"])

    def _encoded(self, rows: Any, options: Mapping[str, Any]) -> tuple[list[str], Float32[np.ndarray, "N D"]]:
        known = [name for name in ("text", "image") if name in rows.column_names]
        size = int(options.get("batch_size", _BATCH))
        batches = ({name: batch[name] for name in known} for batch in rows.iter(size))
        return [str(name) for name in rows["id"]], self.encoder.encode(batches, **options)


def _rows(embeddings: Any) -> Float[Tensor, "N D"]:
    import torch
    from torch.nn import functional as F

    return F.normalize(torch.atleast_2d(torch.as_tensor(embeddings).float()), dim=-1)


def _meta(encoder: DualEncoder, revision: str | None) -> Any:
    """What mteb wants to know of a model."""
    try:
        from mteb.models.model_meta import ModelMeta
    except ImportError as error:
        raise DeixisError("The package mteb is not installed.", "Install it: pip install 'deixis[mteb]'") from error
    name = encoder.name if "/" not in encoder.name else Path(encoder.name).name
    return ModelMeta.create_empty(
        {
            "name": f"deixis/{name}",
            "revision": revision or encoder.fingerprint()[:12],
            "embed_dim": encoder.width,
            "max_tokens": encoder.context_length,
            "n_parameters": sum(each.numel() for each in encoder.parameters()),
            "modalities": ["image", "text"],
            "framework": ["PyTorch"],
            "similarity_fn_name": "cosine",
        }
    )
