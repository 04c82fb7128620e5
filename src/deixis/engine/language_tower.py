"""A text tower for a language, trained to say of words what a frozen tower says of their English.

Whatever was indexed by the frozen tower's model is found by it, since the vectors of pictures stay where they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.training.build import build
from deixis.engine.training.stages import stages, trained
from deixis.engine.training.train import batches, train
from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.methods import read as read_method
from deixis.nn.dual import DualEncoder
from deixis.nn.encoders import TextHalf
from deixis.nn.fingerprint import fingerprint
from deixis.nn.language.ngrams import NgramText
from deixis.ops.metrics import ranks_of_scores
from deixis.types import Batch

__all__ = ["TowerReader", "TowerRecipe", "english_ranks", "load_tower", "save_tower", "teacher_digest", "train_tower"]

_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class TowerRecipe:
    """How a tower for a language is trained.

    Attributes:
        method: that trains text towers towards the vectors of another.
        pairs: words with their English that it learns from.
        steps: of the optimiser.
        batch_size: pairs a step.
        temperature: of the contrast.
        learning_rate: at its highest.
        buckets: vectors of words and parts of words.
        inner: width of these vectors.
        seed: of weights and order.
    """

    method: str
    pairs: int = 20_000
    steps: int = 500
    batch_size: int = 256
    temperature: float = 0.05
    learning_rate: float = 3e-3
    buckets: int = 2**16
    inner: int = 128
    seed: int = 0


def train_tower(teacher: DualEncoder, pairs: Sequence[tuple[str, str]], recipe: TowerRecipe) -> NgramText:
    """Trains a tower that averages words and parts of words, in eval mode.

    Args:
        teacher: whose text tower reads the English; it rests.
        pairs: words of the language with their English; those without a letter, which the tower can't read, are left
            out.
        recipe: how.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        tower = NgramText(teacher.width, recipe.inner, recipe.buckets)
    settings = {"pairs": 1.0, "temperature": recipe.temperature, "optim.learning_rate": recipe.learning_rate}
    parts = {"encoder": tower, "teacher": TextHalf(teacher.text_side().with_adapters(None, None))}
    method = build(recipe.method, "desk", settings, parts, recipe.seed)
    (stage,) = stages(method)
    read = [(word, english) for word, english in pairs if tower.tokenizer.pieces(word)]
    data = batches(_batch(read, recipe.method), recipe.batch_size, recipe.seed)
    train(trained(method), data, recipe.steps, stage=stage, seed=recipe.seed)
    return tower.eval()


def _batch(pairs: Sequence[tuple[str, str]], method: str) -> Batch:
    """All pairs: the words are captions, and their English the one passage of each."""
    specs = {need.name: need for need in read_method(method).card.needs if need.name == "passages"}
    return Batch(
        ids=tuple(map(str, range(len(pairs)))),
        captions=tuple((word,) for word, _ in pairs),
        extra={"passages": tuple((english,) for _, english in pairs)},
        specs=specs,
    )


class TowerReader:
    """Reads a language for a model: the tower, with the model's adapter of texts behind it.

    Args:
        tower: for the model's text tower.
        encoder: the model, or its text side.
    """

    def __init__(self, tower: NgramText, encoder: DualEncoder) -> None:
        self._tower, self._adapter = tower.to(encoder.device).eval(), encoder.text_adapter

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "N D"]:
        """Embeddings of length 1.

        Args:
            texts: in the language.
        """
        device = next(self._tower.parameters()).device
        rows = [torch.empty(0, self._tower.width, device=device)]
        for start in range(0, len(texts), _BLOCK):
            tokens = self._tower.tokenizer(texts[start : start + _BLOCK], self._tower.context_length).to(device)
            rows.append(self._tower(tokens.ids, tokens.mask))
        plain = torch.cat(rows)
        return plain if self._adapter is None else self._adapter(plain)


def teacher_digest(encoder: DualEncoder) -> str:
    """What a text tower is, without adapters: of two models with one digest a tower for either fits both."""
    return fingerprint(encoder.text_tower)


def save_tower(tower: NgramText, path: Path) -> None:
    """Writes its weights, whole or not at all."""
    with atomic_path(path) as temporary:
        save_file({name: each.contiguous() for name, each in tower.network.state_dict().items()}, temporary)


def load_tower(path: Path) -> NgramText:
    """Reads what `save_tower` wrote.

    Raises:
        DeixisError: the file is missing, damaged, or of another form.
    """
    try:
        state = load_file(path)
        (buckets, inner), width = state["words.weight"].shape, len(state["projection.weight"])
        tower = NgramText(width, inner, buckets - 1)
        tower.network.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise DeixisError(f"The text tower {path} can't be read: {error}.", "Train it again.") from error
    return tower.eval()


def english_ranks(
    queries: Float[Tensor, "Q D"], english: Float[Tensor, "N D"], right: Int64[Tensor, " Q"]
) -> Int64[Tensor, " Q"]:
    """At which place, from 1 on, each query finds its own English by the cosine.

    Args:
        queries: of length 1.
        english: of length 1, different texts.
        right: which of them is the query's.
    """
    return ranks_of_scores(queries @ english.T, F.one_hot(right, len(english)).bool())
