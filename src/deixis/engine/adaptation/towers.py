"""Fine-tuned towers, judged as adapters are: original + strength x (tuned - original), on held-out concepts.

Averaging the weights of the original and the tuned model keeps more of what the original knew than the tuned one does
(Wortsman et al., Robust fine-tuning of zero-shot models, 2022).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from deixis import engine
from deixis.data.loading.sides import names_side
from deixis.engine.adaptation.recipes import AdaptationRecipe
from deixis.engine.features.store import FeatureTable
from deixis.engine.training.train import train
from deixis.errors import DeixisError
from deixis.inputs.read_ahead import read_ahead
from deixis.nn.adaptation.lora import low_rank_changes
from deixis.nn.compute import placed
from deixis.nn.dual import DualEncoder
from deixis.nn.frozen import unfreeze
from deixis.ops.augmentation import mirror
from deixis.types import Batch, Losses, Picture, Progress, Stage
from deixis.types.protocols import HasScale, TrainedMethod

__all__ = ["ImageTextCache", "InterpolatedModel", "prepared", "tune"]

_BATCH = 32


class ImageTextCache:
    """Pictures and texts by sample id, ready for the towers; pictures are kept as bytes, a quarter of their floats.

    Args:
        encoder: whose preprocessing and tokenizer are used.
        mirrors: whether pictures are mirrored in training, which those of text must not be.
    """

    def __init__(self, encoder: DualEncoder, mirrors: bool = True) -> None:
        self._mirrors = mirrors
        self.preprocess, self.tokenize = encoder.preprocess, encoder.tokenize
        self._images: dict[str, UInt8[Tensor, "3 S S"]] = {}
        self._texts: dict[str, str] = {}

    def add(self, ids: Sequence[str], pictures: Sequence[Picture], texts: Sequence[str]) -> None:
        """Reads B pictures, with their texts."""
        with read_ahead(self.preprocess.square, pictures, ahead=_BATCH) as squares:
            self._images |= zip(ids, squares, strict=True)
        self._texts |= zip(ids, texts, strict=True)

    def images(self, ids: Sequence[str]) -> Float[Tensor, "B 3 S S"]:
        """The pictures as the image tower takes them."""
        return self.preprocess.normalise(torch.stack([self._images[name] for name in ids]))

    def texts(self, ids: Sequence[str]) -> list[str]:
        """The texts, B."""
        return [self._texts[name] for name in ids]

    def batches(self, ids: Sequence[str], size: int, seed: int) -> Iterator[Batch]:
        """Endless batches in random order, half of the pictures mirrored but for those whose text names a
        side; the last, short one of a pass is left out."""
        generator = torch.Generator().manual_seed(seed)
        size = min(size, len(ids))
        while True:
            order = torch.randperm(len(ids), generator=generator).tolist()
            for start in range(0, len(ids) - size + 1, size):
                names = [ids[i] for i in order[start : start + size]]
                mirrored = torch.rand(size, generator=generator) < 0.5
                mirrored &= torch.tensor([self._mirrors and not names_side([text]) for text in self.texts(names)])
                images = mirror(self.images(names), mirrored)
                tokens, real = self.tokenize(self.texts(names))
                yield Batch(tuple(names), images=images, tokens=tokens[:, None], valid={"L": real[:, None]})


class InterpolatedModel:
    """A model some of whose weights were trained.

    Args:
        original: the frozen model.
        change: name of a tensor of the original -> tuned minus original.
        library: where the pictures and texts of tables are found.
        scale: that the tuned model's cosines are multiplied by; None is the original's.
    """

    def __init__(
        self, original: DualEncoder, change: Mapping[str, Tensor], library: ImageTextCache, scale: float | None = None
    ) -> None:
        self.original, self.change, self.library = original, change, library
        self.scale = original.scale if scale is None else scale
        self.strength = 1.0
        self._known: dict[float, dict[str, tuple[Tensor, Tensor]]] = {}

    def encoder(self) -> DualEncoder:
        """A model of its own with the weights at the present strength."""
        model = unfreeze(copy.deepcopy(self.original)).requires_grad_(False).eval()
        state = model.state_dict()
        for name, change in self.change.items():
            state[name].add_(self.strength * change)
        # The scale is trained as its logarithm, which is therefore what is averaged.
        scale = self.original.scale * (self.scale / self.original.scale) ** self.strength
        model.traits = dataclasses.replace(model.traits, scale=scale)
        return model

    @torch.inference_mode()
    def embed(self, table: FeatureTable) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Image and text embeddings of the samples of `table`, each computed once a strength."""
        known = self._known.setdefault(self.strength, {})
        todo = [name for name in dict.fromkeys(table.ids) if name not in known]
        if todo:
            model = self.encoder()
            for start in range(0, len(todo), _BATCH):
                names = todo[start : start + _BATCH]
                with placed(model):
                    images = model.encode_image(self.library.images(names).to(model.device)).cpu()
                    texts = model.encode_text(self.library.texts(names)).cpu()
                known |= zip(names, zip(images, texts, strict=True), strict=True)
        image, text = zip(*(known[name] for name in table.ids), strict=True)
        return torch.stack(image), self._shared(torch.stack(text), table)

    @staticmethod
    def _shared(text: Float[Tensor, "B D"], table: FeatureTable) -> Float[Tensor, "B D"]:
        """One vector a caption: with other padding the same words differ in the last digits."""
        first = {int(key): i for i, key in reversed(list(enumerate(table.keys)))}
        return text[[first[int(key)] for key in table.keys]]


def prepared(
    recipe: AdaptationRecipe, original: DualEncoder, seed: int = 0
) -> tuple[TrainedMethod, DualEncoder, Stage]:
    """The method on a copy of the model, that copy, and the one stage in which it is tuned.

    Args:
        recipe: a method that reads images and tokens, and its settings.
        original: the frozen model; it is not touched.
        seed: of weights that are new.

    Raises:
        DeixisError: the method has several stages, or one that fits or draws from other data: what would be tuned in
            the first alone is not what the method gives.
    """
    model = unfreeze(copy.deepcopy(original))
    method = engine.build(recipe.method, "desk", recipe.overrides, {"encoder": model}, seed)
    stages = engine.stages(method)
    if len(stages) != 1 or stages[0].kind != "train" or stages[0].data:
        told = ", ".join(f"{stage.name} ({stage.kind})" for stage in stages)
        raise DeixisError(
            f"{recipe.method} has the stages {told}, and a model is adapted in one stage of training on its pairs.",
            f"Train it: deixis train {recipe.method} --data DATA",
        )
    return engine.trained(method), model, stages[0]


def tune(
    recipe: AdaptationRecipe,
    original: DualEncoder,
    table: FeatureTable,
    steps: Sequence[int],
    seed: int,
    library: ImageTextCache,
) -> dict[int, InterpolatedModel]:
    """Trains towers on the samples of `table`; steps -> the model as it was then.

    Args:
        recipe: a method that reads images and tokens, its settings and batch size.
        original: the frozen model; it is not touched.
        table: whose samples are trained on.
        steps: when to look.
        seed: of order, mirroring and dropout.
        library: where the pictures and texts are found.
    """
    method, model, stage = prepared(recipe, original, seed)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    taken: dict[int, InterpolatedModel] = {}

    def keep(progress: Progress, losses: Losses) -> None:
        if progress.step in steps:
            scale = method.scale if isinstance(method, HasScale) else None
            taken[progress.step] = InterpolatedModel(original, _change(model, start), library, scale)

    batches = library.batches(table.ids, recipe.batch_size, seed)
    with placed(method):
        train(method, batches, max(steps), stage=stage, seed=seed, on_step=keep)
    return taken


@torch.no_grad()
def _change(model: DualEncoder, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tuned minus original, of what changed; low-rank changes under the names of their weights."""
    now = {name: value.cpu() for name, value in model.named_parameters() if "parametrizations." not in name}
    change = {name: (value - start[name]).clone() for name, value in now.items() if not torch.equal(value, start[name])}
    return change | {name: value.cpu() for name, value in low_rank_changes(model).items()}
