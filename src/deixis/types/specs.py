"""What a method file declares about itself, as plain literals: readable without importing torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from deixis.types.claim_specs import Arm, Claim, Trunk
from deixis.types.optim import OptimGroup, OptimSpec
from deixis.types.view_specs import Augment, Crop, ViewSpec

__all__ = [
    "CAPABILITIES",
    "Arm",
    "Augment",
    "Capability",
    "Card",
    "Claim",
    "Crop",
    "FieldSpec",
    "Made",
    "OptimGroup",
    "OptimSpec",
    "Part",
    "PartKind",
    "PartSource",
    "SampleSpec",
    "Stage",
    "Trunk",
    "Variant",
    "ViewSpec",
]

Kind = Literal["trained", "fitted", "training-free", "evaluator"]
Role = Literal["paper", "baseline", "ancestor"]


@dataclasses.dataclass(frozen=True)
class Made:
    """Who makes a field: a frozen part of the method, once for each content.

    `Made("encoder", "image_states", "features")` is `encoder.image_states(images).features`.

    Attributes:
        part: its name in the card; it must be frozen.
        call: the method of the part that is called with batches of what stands in `of`, in that order.
        output: the attribute of the result that is the field, or its place in a list such as that of feature maps;
            empty: the result itself. One row a sample; rows of different lengths (a list of tensors, or a tensor beside
            a `mask` or `valid`) make a ragged field.
        of: what it is made from: `image`, as the part's preprocessing gives it; `text`, the tokens of the caption by
            the part's tokenizer; and `boxes`, those of the sample's regions with a mask, in shares of the whole image.
    """

    part: str
    call: str
    output: str = ""
    of: tuple[Literal["image", "text", "boxes"], ...] = ("image",)


@dataclasses.dataclass(frozen=True)
class FieldSpec:
    """One field of a `Batch`.

    Attributes:
        name: of a core field (`images`, `tokens`...) or of an entry of `Batch.extra`.
        axes: axis letters and fixed sizes, such as `"B T 4"`; without a leading B the field is shared by the batch.
        dtype: `float`, `long`, `bool`, or `object` for what is no tensor.
        ragged: the axis letters that are padded with zeros, such as `"T"` or `"H W"`; `Batch.valid[letter]` is the
            mask of each. An L without a K beside it is that of the first caption.
        values: how synthetic values are drawn: `normal`, `unit` (rows of length 1), `uniform` (0 to 1), `boxes`
            (x0 y0 x1 y1 order, 0 to 1), `class` (integers below the size of C), `spans` (start and end, inside the
            first caption) or `distribution` (rows that sum to 1).
        made: the frozen part that makes the field, where it is not read from the data.
    """

    name: str
    axes: str
    dtype: Literal["float", "long", "bool", "object"] = "float"
    ragged: str = ""
    values: Literal["normal", "unit", "uniform", "boxes", "class", "spans", "distribution"] = "normal"
    made: Made | None = None


@dataclasses.dataclass(frozen=True)
class SampleSpec:
    """What a method asks of the samples: captions per image, whose tokens, how long, how many stay together.

    Attributes:
        captions: captions drawn per image (K).
        tokenizer: the part whose tokenizer makes the tokens.
        length: tokens per caption at the most (L).
        group: samples of one group (the first of their concepts) that stand side by side, also where a batch is split.
        same: a column whose value all samples of a batch share; empty: batches are mixed.
        template: what is tokenised, `{}` being the caption.
        field: the batch field of the tokens; one beside `tokens` has a `SampleSpec` of its own in the config and a
            `FieldSpec` such as `FieldSpec("long_tokens", "B K M", "long", ragged="M")`.
        column: the column that holds the texts of this field; empty: the captions.
        sentences: captions are cut into sentences, of which `captions` are drawn; missing ones are padding.
        keep_first: of these the first is the whole first caption, in every step.
    """

    captions: int = 1
    tokenizer: str = "encoder"
    length: int = 77
    group: int = 1
    template: str = "{}"
    field: str = "tokens"
    column: str = ""
    sentences: bool = False
    keep_first: bool = False
    same: str = ""


@dataclasses.dataclass(frozen=True)
class Part:
    """Something a method is built on; its Config has a field of the same name that says which one to load.

    Attributes:
        name: of the Config field and of the constructor's argument.
        kind: what is asked for, by the name of a file in `zoo/parts`: `dual_encoder`, `image_tower`, `text_encoder`,
            `lm`, `proposals` (regions of an image), `names` (class names) or `sampler` (images made from text).
        frozen: it never trains and stays in eval mode.
        optional: the method also works without.
        many: the Config field is a tuple, and so is what the constructor gets.
    """

    name: str
    kind: str
    frozen: bool = False
    optional: bool = False
    many: bool = False


@dataclasses.dataclass(frozen=True)
class PartSource:
    """One form of the names from which parts of a kind are loaded.

    Attributes:
        form: as it is written, what varies in capitals, such as `timm:NAME`.
        example: a name of this form.
        gives: what is loaded.
        fetch: what it costs to fetch, and from where; empty: nothing is fetched.
    """

    form: str
    example: str
    gives: str
    fetch: str = ""


@dataclasses.dataclass(frozen=True)
class PartKind:
    """A kind of part: a file in `zoo/parts` declares it as `PART`.

    Attributes:
        gives: what a method gets.
        protocol: the class or Protocol of it.
        sources: the names it is loaded by.
        later: what can't be loaded yet, and with which papers it comes; empty where the kind is whole.
    """

    gives: str
    protocol: str
    sources: tuple[PartSource, ...]
    later: str = ""


@dataclasses.dataclass(frozen=True)
class Variant:
    """Settings of a method that users know by a name of their own.

    Attributes:
        settings: what is changed in its Config; the value `"*"` is the name itself.
        standard: whether a comparison shows it where nothing is named.
        compared: what a comparison changes besides, where the settings would take too long.
        layers: of explainers with the setting `layers`, which rows a comparison shows: `each`, a row for each of some
            layers on the way and for the method's own choice; `all`, those on the way combined; `deepest`, the last of
            those on the way. Empty: one row.
    """

    settings: Mapping[str, Any] = dataclasses.field(hash=False)
    standard: bool = False
    compared: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    layers: tuple[Literal["each", "all", "deepest"], ...] = ()


@dataclasses.dataclass(frozen=True)
class Card:
    """Who a method is.

    Attributes:
        title: of the paper, or of the baseline.
        year: of first publication.
        kind: `trained` (by gradient), `fitted` (sees the data once, closed form or a convex solver), `training-free`,
            or `evaluator` (measures others).
        needs: the batch fields it reads; it reads no others.
        parts: what it is built on.
        capabilities: which methods of the table `CAPABILITIES` it offers.
        role: `paper`, `baseline` or `ancestor` (a published method that a paper is a delta on).
        min_batch: the smallest batch its loss has a meaning for.
        non_gradient_state: prefixes of tensors that change without a gradient: in `after_step` (averages, queues), in
            `finish` (what was fitted), or as running statistics of a batch norm.
        zero_gradient: names, or ends of names, of trainable tensors whose gradient is zero in theory (a bias before a
            batch norm, the bias of attention's keys): whether they move is left to rounding.
        skip_contract: rules of the contract that the authors' code breaks, and this one too; the docstring says why.
        venue: where it was published.
        arxiv: its number there.
        code: the authors' repository, `owner/name`.
        tags: free words for finding it.
        variants: settings that have names of their own, beside the method's; a `*` in a name stands for anything.
        automatic: of what learns classes, whether `auto` may choose it.
        control: settings without what the method adds to the training of a classifier; `deixis train` trains both, and
            keeps the better one.
    """

    title: str
    year: int
    kind: Kind
    needs: tuple[FieldSpec, ...] = ()
    parts: tuple[Part, ...] = ()
    capabilities: tuple[str, ...] = ()
    role: Role = "paper"
    min_batch: int = 1
    non_gradient_state: tuple[str, ...] = ()
    zero_gradient: tuple[str, ...] = ()
    skip_contract: tuple[str, ...] = ()
    venue: str = ""
    arxiv: str = ""
    code: str = ""
    tags: tuple[str, ...] = ()
    variants: Mapping[str, Variant] = dataclasses.field(default_factory=dict, hash=False)
    automatic: bool = True
    control: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One phase of training.

    Attributes:
        name: for logs and checkpoints.
        kind: `train` (gradient steps) or `fit` (observe all, finish).
        trainable: prefixes of the names of the parameters that train; `""` is all that is not a frozen part.
        needs: the batch fields of this stage, where they differ from the card's; with `()` batches hold ids alone.
        steps: this stage's share of all steps.
        view: the images it asks for, where they differ from the config's.
        evaluate: prefixes of modules that are kept in eval mode though the method trains.
        data: which of a run's sources it draws from, by name; `""` is the run's own.
        batch: its batches as a share of the run's, where a sample of it is several images.
    """

    name: str = "train"
    kind: Literal["train", "fit"] = "train"
    trainable: tuple[str, ...] = ("",)
    needs: tuple[FieldSpec, ...] | None = None
    steps: float = 1.0
    view: ViewSpec | None = None
    evaluate: tuple[str, ...] = ()
    data: str = ""
    batch: float = 1.0


@dataclasses.dataclass(frozen=True)
class Capability:
    """Something a method can do for a user, called in eval mode; it changes neither weights nor mode.

    Attributes:
        arguments: argument names and axes.
        output: axes of what comes back.
        needs: the core batch fields from which an evaluator calls it.
        protocols: of `engine/evaluation/protocols` that measure it.
        later: protocols that would measure it, and are not there.
    """

    arguments: tuple[str, ...]
    output: str
    needs: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    later: tuple[str, ...] = ()


_NEAREST = ("style", "identity", "copies", "corruption", "pair-retrieval")
_BY_TEXT = ("retrieval", "zero-shot", "described", "robustness")
_FEW_SHOT = ("few-shot", "base-to-new", "cross-style")

CAPABILITIES: dict[str, Capability] = {
    "encode_image": Capability(
        ("images: B 3 H W",),
        "B D",
        ("images",),
        (*_BY_TEXT, "knn", "linear", "fine-tune", "fairness", *_FEW_SHOT, "saliency", "grounding", "miou", *_NEAREST),
    ),
    "encode_text": Capability(
        ("tokens: B L", "mask: B L"),
        "B D",
        ("tokens",),
        (*_BY_TEXT, *_FEW_SHOT, "saliency", "grounding", "miou", "pair-retrieval"),
    ),
    "encode_about": Capability(("images: B 3 H W", "instructions: B strings"), "B D", ("images",), later=("aspects",)),
    "image_tokens": Capability(
        ("images: B 3 H W",), "B N D, grid, mask", ("images",), ("dense", "detect", "patches", "propagate")
    ),
    "text_tokens": Capability(("tokens: B L", "mask: B L"), "B L D, mask", ("tokens",), later=("alignment",)),
    "compare": Capability(
        ("images: B 3 H W", "tokens: G L", "mask: G L"),
        "B G",
        ("images", "tokens"),
        ("retrieval", "zero-shot", "robustness"),
    ),
    "adapters": Capability(
        (),
        "image adapter, text adapter",
        (),
        (*_BY_TEXT, "knn", "linear", "fine-tune", "fairness", *_NEAREST),
    ),
    "classify": Capability(("images: B 3 H W",), "B C", ("images", "labels"), ("classification",)),
    "attribute": Capability(("images: B 3 H W", "score: output -> B"), "B H W", ("images", "masks"), ("saliency",)),
    "ground": Capability(
        ("images: B 3 H W", "tokens: B L", "mask: B L", "spans: B T S 2"),
        "GroundOutput",
        ("images", "tokens", "spans", "boxes"),
        ("grounding", "detection"),
    ),
    "refer": Capability(("batch: Batch",), "B T", ("boxes", "tokens"), ("refer",)),
    "match": Capability(("batch: Batch",), "B", ("tokens",), ("pair-retrieval",)),
    "align": Capability(("batch: Batch",), "B L T", ("tokens", "boxes", "spans"), ("word-region",)),
    "segment": Capability(("images: B 3 H W",), "B C H W", ("images", "masks"), ("miou",)),
    "caption": Capability(("images: B 3 H W",), "list of B strings", ("images", "captions"), ("caption",)),
    "answer": Capability(
        ("images: B 3 H W", "tokens: B L", "mask: B L"), "list of B strings", ("images", "tokens"), ("answer",)
    ),
    "answer_mask": Capability(
        ("images: B 3 H W", "tokens: B L", "mask: B L"), "B H W", ("images", "tokens", "masks"), ("answer-iou",)
    ),
    "read": Capability(("images: B 3 H W",), "list of B strings", ("images", "captions"), ("word-accuracy",)),
    "verbalise": Capability(
        ("words: list of N strings", "scores: N", "writer: messages -> string"), "string", (), later=("coverage",)
    ),
}
