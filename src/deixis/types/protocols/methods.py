"""What the engine and `explain` call of a method: always, by its kind, and (`Has...`) where the method has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.types.batch import Batch
from deixis.types.outputs import Features, GroundOutput, Losses, Maps, Progress, RankedBoxes
from deixis.types.specs import Card, Claim, Stage

__all__ = [
    "AnyMethod",
    "EvaluatorMethod",
    "FittedMethod",
    "HasAfterBackward",
    "HasAfterStep",
    "HasCandidates",
    "HasClassLooks",
    "HasClassVectors",
    "HasConfig",
    "HasEncode",
    "HasFinish",
    "HasGroundBatch",
    "HasMaps",
    "HasNames",
    "HasObserve",
    "HasPrompt",
    "HasPrototypeScores",
    "HasRate",
    "HasReadLines",
    "HasReadWords",
    "HasReconstruct",
    "HasScale",
    "HasScores",
    "HasScoresOf",
    "HasStages",
    "HasTakeSizes",
    "HasWarnings",
    "HasWords",
    "MethodConfig",
    "MethodFile",
    "TorchModule",
    "TrainedMethod",
    "TrainingFreeMethod",
]

Own = TypeVar("Own")


@runtime_checkable
class TorchModule(Protocol):
    """What is used of `torch.nn.Module`, the only base that methods share: a Protocol can't inherit from it."""

    training: bool

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters, those of its parts included."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The same with their names."""

    def modules(self) -> Iterator[nn.Module]:
        """Itself and all modules in it."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The same with their names."""

    def state_dict(self) -> dict[str, Any]:
        """Parameters and buffers by name."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Takes parameters and buffers."""

    def train(self: Own, mode: bool = True) -> Own:
        """Sets the mode."""

    def eval(self: Own) -> Own:
        """Sets the mode of inference."""

    def to(self: Own, device: torch.device | str) -> Own:
        """Moves it to a device."""


@runtime_checkable
class AnyMethod(TorchModule, Protocol):
    """A method of any kind."""


@runtime_checkable
class TrainedMethod(AnyMethod, Protocol):
    """Kind `trained`: a loss whose gradient is followed; one that does not mix the samples of a batch while it encodes
    them has `encode` and `loss`, too."""

    def __call__(self, batch: Batch, progress: Progress) -> Losses:
        """What `forward` gives: the losses of a batch."""

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """`encode`, then `loss`, where a method has them."""


@runtime_checkable
class HasEncode(Protocol):
    """Encodes sample by sample: gradients can be cached, and a batch cut into pieces."""

    def encode(self, batch: Batch, progress: Progress) -> Features:
        """Row by row, whatever passes through the parts."""

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        """Compares rows with rows; touches no part and changes nothing."""


@runtime_checkable
class HasObserve(Protocol):
    """Reads data in a stage of kind `fit`."""

    def observe(self, batch: Batch, progress: Progress) -> Any:
        """Keeps or sums up what a batch tells."""


@runtime_checkable
class HasFinish(Protocol):
    """Builds or solves something in a stage of kind `fit`."""

    def finish(self, progress: Progress) -> None:
        """Called once, after the stage's batches, if it reads any."""


@runtime_checkable
class FittedMethod(AnyMethod, HasObserve, HasFinish, Protocol):
    """Kind `fitted`: sees each batch once, then solves."""


@runtime_checkable
class TrainingFreeMethod(AnyMethod, Protocol):
    """Kind `training-free`: its capabilities, and `finish` if something must be built first."""


@runtime_checkable
class EvaluatorMethod(AnyMethod, Protocol):
    """Kind `evaluator`: measures other methods."""

    def observe(self, batch: Batch, progress: Progress) -> Mapping[str, Tensor]:
        """The rows that `measure` needs of a batch, one a sample; they are joined over batches and ranks."""

    def measure(self, rows: Mapping[str, Tensor]) -> Mapping[str, Float[Tensor, " Q"]]:
        """Name of a metric -> one value a query."""


@runtime_checkable
class MethodConfig(Protocol):
    """The settings of a method: a dataclass with three presets."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @classmethod
    def tiny(cls: type[Own]) -> Own:
        """For tests."""

    @classmethod
    def desk(cls: type[Own]) -> Own:
        """For two cores and minutes."""

    @classmethod
    def paper(cls: type[Own]) -> Own:
        """As published."""


@runtime_checkable
class MethodFile(Protocol):
    """The module of a method, as `deixis.methods.get` gives it."""

    CARD: Card
    CLAIMS: tuple[Claim, ...]
    Config: type[MethodConfig]
    Method: Callable[..., AnyMethod]


@runtime_checkable
class HasConfig(Protocol):
    """Keeps its settings."""

    config: Any


@runtime_checkable
class HasStages(Protocol):
    """Trains or fits in phases; without it there is one, in which all trains that is not frozen."""

    def stages(self) -> tuple[Stage, ...]:
        """In the order in which they run."""


@runtime_checkable
class HasRate(Protocol):
    """Has a schedule of its own, which no `OptimSpec` can say."""

    def rate(self, progress: Progress) -> float:
        """Factor on the learning rates of a step."""


@runtime_checkable
class HasAfterBackward(Protocol):
    """Changes gradients."""

    def after_backward(self, progress: Progress) -> None:
        """Between a step's gradients and the optimiser."""


@runtime_checkable
class HasAfterStep(Protocol):
    """Changes without a gradient: queues, moving averages, clamps."""

    def after_step(self, progress: Progress, losses: Losses) -> None:
        """After the optimiser's step; `losses.carry` is that of the whole step."""


@runtime_checkable
class HasWarnings(Protocol):
    """Knows when its training goes wrong."""

    def warnings(self, values: Mapping[str, float], progress: Progress) -> Mapping[str, str]:
        """Name of a state that a run should not be in -> a sentence that names it and the cure; each is said once.

        Args:
            values: `samples` that are trained on, `loss`, its parts and the metrics, as they stand in the log.
            progress: behind the step.
        """


@runtime_checkable
class HasPrototypeScores(Protocol):
    """Sorts images into groups without labels."""

    def prototype_scores(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        """How near each image is to each of K prototypes, in the order of `deixis train`'s groups.csv.

        Args:
            images: preprocessed.
        """


@runtime_checkable
class HasReconstruct(Protocol):
    """Makes images again from their codes."""

    def reconstruct(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B 3 h w"], Float[Tensor, " B"]]:
        """What the code of each image tells of it, from 0 to 1, and how likely the image is by that: log p(x|z).

        Args:
            images: preprocessed.
        """


@runtime_checkable
class HasTakeSizes(Protocol):
    """Has tensors whose sizes are those of the data that it was fitted on."""

    def take_sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Makes room for a state that is about to be read: name of a tensor -> its shape."""


@runtime_checkable
class HasReadLines(Protocol):
    """Finds lines of text in pictures of any size, and reads pictures of lines in their own shape."""

    def find_text(self, picture: Any) -> list[tuple[Any, Any]]:
        """Lines in reading order, as `deixis.nn.reading.text_boxes.TextBox`, and what each shows, straightened.

        Args:
            picture: a Pillow image.
        """

    def read_lines(self, pictures: Sequence[Any]) -> tuple[list[str], list[float]]:
        """What is written in each, and how sure it is of that, from 0 to 1.

        Args:
            pictures: Pillow images that show a line and little else.
        """


@runtime_checkable
class HasReadWords(Protocol):
    """Says how sure it is of the words that it reads."""

    def read_with_chances(self, images: Float[Tensor, "B 3 H W"]) -> tuple[list[str], list[float]]:
        """One word an image, and its chance."""


@runtime_checkable
class HasScale(Protocol):
    """Trains the scale of its encoder's cosines; it belongs into the traits of the encoder that is saved."""

    @property
    def scale(self) -> float:
        """As it is now."""


@runtime_checkable
class HasNames(Protocol):
    """Has learned classes.

    Attributes:
        names: of the classes, in the order of its logits.
    """

    names: tuple[str, ...]


@runtime_checkable
class HasScores(HasNames, Protocol):
    """Names classes from what a frozen encoder computed, hence without looking at an image again."""

    @property
    def scores(self) -> Callable[..., Float[Tensor, "B C"]]:
        """Logits, from those of `image_embedding`, `image_features` and `image_cells` that its card needs, in that
        order."""


@runtime_checkable
class HasScoresOf(Protocol):
    """Names classes that it has not learned, too."""

    @property
    def scores_of(self) -> Callable[..., Float[Tensor, "B C"]]:
        """Logits of any classes by their `names`, a keyword, from the fields that `scores` takes."""


@runtime_checkable
class HasGroundBatch(Protocol):
    """Finds phrases from fields that frozen parts made, hence without looking at an image again."""

    def ground_batch(self, batch: Batch, sentence: bool = False) -> GroundOutput:
        """As `ground`, from a batch of the first stage; `sentence`: the caption as a whole is the phrase."""


@runtime_checkable
class HasCandidates(Protocol):
    """Orders boxes by a linear map of what is known of each, which is fitted outside to compare penalties."""

    def feature_groups(self) -> tuple[int, ...]:
        """How many features there are of each kind."""
        ...

    def candidates(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]
    ) -> list[RankedBoxes]:
        """What is known of the boxes of each image for one phrase, the row of tokens."""

    def adopt(self, weight: Float[Tensor, " F"], penalty: float | None = None) -> None:
        """Takes over a map, and the penalty that it was learned with."""


@runtime_checkable
class HasPrompt(Protocol):
    """Learns vectors that stand in the prompts of its classes."""

    def prompt(self) -> Float[Tensor, "c M F"]:
        """M vectors, for all classes or for each."""


@runtime_checkable
class HasClassLooks(Protocol):
    """Has classes that attend to the cells of an image, each by itself."""

    def class_looks(self, cells: Float[Tensor, "B N D"], image: Float[Tensor, "B D"]) -> Float[Tensor, "B C N"]:
        """The weights over the cells, which sum to 1, from cells and embeddings that the encoder gave."""


@runtime_checkable
class HasClassVectors(Protocol):
    """Learns classes as directions in the space of the encoder's embeddings."""

    def class_vectors(self) -> Float[Tensor, "C D"]:
        """One direction of length 1 a class."""


@runtime_checkable
class HasMaps(Protocol):
    """Gives the maps of layers beside the one that `attribute` gives of them."""

    def maps(self, images: Float[Tensor, "B c H W"], score: Callable[[Any], Tensor]) -> Maps:
        """As `attribute`, with the maps of the layers; between -1 and 1 where they are signed."""


@runtime_checkable
class HasWords(Protocol):
    """Explains a text, too."""

    def words(self, texts: Any, images: Float[Tensor, "T D"]) -> Float[Tensor, "T L"]:
        """The part of each token in a text's similarity to an image, 0 for padding."""
