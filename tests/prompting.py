"""Encoders to learn prompts for, and CoOp's golden vectors in a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import zoo
from deixis.methods import get
from deixis.nn.adaptation.prompts import ClassTexts, EmbeddingTower
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.frozen import freeze
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.types import Batch, FieldSpec
from tests.clip_golden import text_tower

__all__ = ["NAMES", "clip_like", "few_images", "golden_batch", "golden_method", "golden_rows", "plain"]

Golden = Mapping[str, Tensor]

NAMES = ("heron", "ice cream", "a", "fire_engine", "bee")


class _NoImages(nn.Module):
    """Stands where an image tower would, and is never asked."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = self.feature_width = width

    def forward(self, images: Tensor) -> Any:
        raise AssertionError("the image tower was asked")


def clip_like(seed: int = 0, **layout: Any) -> DualEncoder:
    """The tiny encoder with a text tower of CLIP's layout in place of its own: causal, read at the end of a text."""
    tiny = zoo.load("tiny")
    layout = {"pool": "eos", "end": 2, "activation": "quick_gelu", **layout}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = TextTransformer(TextConfig(tiny.tokenizer.vocabulary, 77, 24, 2, 2, 48, tiny.width, **layout))
        with torch.no_grad():
            for parameter in tower.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    traits = Traits("clip-like", 77, scale=20.0)
    return DualEncoder(
        tiny.image_tower, tower, tokenizer=tiny.tokenizer, preprocess=tiny.preprocess, traits=traits
    ).eval()


def plain(tower: EmbeddingTower, texts: ClassTexts, vectors: Tensor, length: int) -> Tensor:
    """The path that skips nothing: every text padded to `length` tokens, all of them at once."""
    words = texts.assemble(tower, vectors).flatten(0, 1)
    filling = tower.embeddings(torch.zeros(1, 1, dtype=torch.long)).expand(len(words), length - words.shape[1], -1)
    words = torch.cat([words, filling], dim=1)
    mask = texts.mask[texts.back].repeat(len(vectors), 1)
    mask = F.pad(mask, (0, length - mask.shape[1]))
    return tower.from_embeddings(words, mask).unflatten(0, (len(vectors), -1))


def few_images(count: int = 12, classes: int = 5, width: int = 16) -> Batch:
    """Embeddings of length 1 with labels."""
    generator = torch.Generator().manual_seed(5)
    image = F.normalize(torch.randn(count, width, generator=generator), dim=-1)
    return _batch(image, torch.arange(count) % classes)


def _batch(image: Tensor, labels: Tensor) -> Batch:
    specs = {"image_embedding": FieldSpec("image_embedding", "B D")}
    ids = tuple(map(str, range(len(labels))))
    return Batch(ids, labels=labels, extra={"image_embedding": image}, specs=specs)


def golden_batch(golden: Golden) -> tuple[Batch, Tensor]:
    """The stored images and labels, and the images as a leaf."""
    image = golden["in.image_features"].double().requires_grad_()
    return _batch(image, golden["in.labels"]), image


def golden_rows(golden: Golden) -> list[list[int]]:
    """The stored texts without the places of the vectors and without padding."""
    count = int(golden["cfg.n_ctx"])
    rows = [row[: row.index(max(row)) + 1] for row in golden["in.token_ids"].tolist()]
    return [row[:1] + row[1 + count :] for row in rows]


def golden_method(name: str, golden: Golden, lengths: Sequence[int] | None = None, **settings: Any) -> Any:
    """Method `name` in float64 on the stored tower, with the stored texts; what is learned is still to be set."""
    image_width, width = golden["in.image_features"].shape[1], golden["param.text.proj"].shape[1]
    sizes = {"cfg.vocab_size": torch.tensor(len(golden["param.text.token_embedding"]))}
    tower = text_tower({**golden, **sizes, "cfg.embed_dim": torch.tensor(width)})
    tiny = zoo.load("tiny")
    scale = float(golden["param.logit_scale"].exp())
    encoder = DualEncoder(
        _NoImages(image_width),
        tower,
        tokenizer=tiny.tokenizer,
        preprocess=tiny.preprocess,
        traits=Traits("golden", int(golden["cfg.context_length"]), scale),
    )
    rows, count = golden_rows(golden), int(golden["cfg.n_ctx"])
    names = tuple("abcdefgh"[: len(rows)])
    module = get(name)
    config = module.Config(names=names, vectors=count, chunk=2, **settings)
    method = module.Method(config, encoder=freeze(encoder), names=names).double()
    lengths = [len(row) - 3 for row in rows] if lengths is None else lengths
    method.texts = ClassTexts.from_rows(rows, 1, lengths, count, config.position, chunk=2)
    return method
