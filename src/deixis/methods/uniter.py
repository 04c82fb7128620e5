"""UNITER: one BERT reads the words of a text and the regions of a picture together, and learns by filling gaps.

Regions are those that a detector proposes, or one's own. Each step trains one task, drawn in turn:

    mlm      hidden words, from the other words and all regions: CE(decoder(head(h_w)), word), the decoder tied to words
    mrfr     features of hidden regions: |head(h_r) W - f|^2, with the W that features are embedded with
    mrc      the detector's class of hidden regions: CE, the background left out
    mrckl    the detector's distribution c of hidden regions: KL(c || softmax(out(head(h_r))))
    itm      whether text and picture belong together, from the pooled first state: CE over two classes; in half of the
             pairs picture or text come from another row
    + transport, in `itm`:  D = sum_ij P_ij (1 - cos(h_wi, h_rj)),  P = ipot(cost), a constant

Masking is conditional: where words are hidden all regions are there, and the other way round. Under `joint` both are
hidden in each step, and still one task is trained: as many targets are told as under `conditional`.

Then one head is trained on: `refer` (which region a phrase means), `answer` (one of many answers), `rank` (whether a
text fits better than others, starting from the matching row of `itm`), `pictures` (a text about two pictures).

As in the authors' code, and unlike the paper: a layer norm in each branch of a region before their sum; a hidden region
is a learned vector, not zeros; means of `mrfr` and `mrckl` are over all numbers, so that the KL is 1/C of the true one
(`kl="region"` and `regression="region"` are the paper's); and transport pulls matching pairs together and pushes others
apart with weight 0.1 (`transport="paper"` pulls alone). Otherwise than there: a text may be exchanged instead of a
picture (`exchange="both"`, as the paper says), pairs that are equal are no false negatives, dropout of attention's
weights is left out, and a hidden word is a vector of its own, which starts as that of `[MASK]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.frozen import freeze
from deixis.nn.language.bert import Bert, BertConfig
from deixis.nn.language.marks import mask_token, word_numbers
from deixis.nn.regions.gap_heads import GapHeads, HiddenVectors, mean_loss, share_right, small_start
from deixis.nn.regions.hiding import hide_regions, hide_words
from deixis.nn.regions.picture_pair import PicturePair
from deixis.nn.regions.region_columns import RegionColumns, name_vectors
from deixis.nn.regions.single_stream import PredictionHead, SingleStream
from deixis.ops.collective import gather, mean_count
from deixis.ops.pairs.proximal_transport import cosine_cost, ipot, uniform_plan
from deixis.ops.pairs.text_regions import TextRegions, content_keys, exchange, negative_rows, own_rows, phrase_alone
from deixis.ops.regions.candidates import geometry7, right_candidates
from deixis.ops.regions.choosing import margin_loss, pick_negative, refer_loss
from deixis.types import Batch, Card, FieldSpec, Losses, Made, OptimSpec, Part, Progress, SampleSpec, Stage
from deixis.types.claim_specs import Arm, Claim
from deixis.types.outputs import GroundOutput
from deixis.types.protocols import ImageEncoder, Proposals, TextEncoder

__all__ = ["CARD", "CLAIMS", "Config", "Method", "class_divergence", "hard_class", "transport_loss"]

TOKENS = FieldSpec("tokens", "B K L", "long", ragged="L")
BOXES = FieldSpec("boxes", "B T 4", ragged="T", values="boxes", made=Made("regions", "regions", "boxes"))
FEATURES = FieldSpec("region_features", "B T F", ragged="T", made=Made("regions", "regions", "features"))
CLASSES = FieldSpec(
    "region_classes", "B T C", ragged="T", values="distribution", made=Made("regions", "regions", "classes")
)
TARGETS = FieldSpec("targets", "B Q 4", ragged="Q", values="boxes")
ANSWER = FieldSpec("answer", "B", "long", values="class")
LABELS = FieldSpec("labels", "B", "long", values="class")
OTHER_BOXES = FieldSpec("other_boxes", "B N 4", ragged="N", values="boxes")
OTHER_FEATURES = FieldSpec("other_features", "B N F", ragged="N")

CARD = Card(
    title="UNITER: UNiversal Image-TExt Representation Learning",
    year=2019,
    kind="trained",
    needs=(TOKENS, BOXES, FEATURES, CLASSES, TARGETS),
    parts=(
        Part("encoder", "text_encoder", frozen=True),
        Part("proposals", "proposals", frozen=True),
        Part("tower", "image_tower", frozen=True, optional=True),
    ),
    capabilities=("match", "align", "refer", "ground"),
    min_batch=2,
    zero_gradient=("attention.key.bias",),
    venue="ECCV",
    arxiv="1909.11740",
    code="ChenRocks/UNITER",
    tags=("single stream", "regions", "optimal transport", "grounding", "re-ranking"),
)

_TRIED = 8  # negatives of `rank` of which the hardest is taken


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        encoder: whose tokenizer and word vectors are used, and whose layers are the start.
        proposals: the detector; `own:centernet` for boxes that data have.
        tower: sees the crops of regions, where features are `crop`.
        features: what is known of a region: the detector's `map`, a `crop` seen by the tower, or its class by `names`.
        start: weights to begin with: those of the `encoder` (its word vectors; of a BERT its layers, too), or `random`.
        train_words: whether the table of word vectors trains; else it stays that of the encoder.
        width: of the states, and `heads` of attention and `hidden` width of a layer, where the start is no BERT.
        heads: see width.
        hidden: see width.
        depth: layers.
        dropout: of embeddings and layers.
        tasks: which are trained, and how often each in a round.
        masking: `conditional` or `joint`, see above.
        mask_share: of the words, or regions, that are hidden.
        regression: `mean` over all numbers, or of the sums of each `region`, as printed.
        kl: `mean` over all numbers, or of the sums of each `region`, as printed.
        background: whether the detector's class 0 is the background.
        negative_share: of the pairs of `itm` that do not match.
        exchange: what of them is another's: the `image`, as released, or one of `both`, as printed.
        transport_weight: of the transport; 0: none.
        transport: `released`: others are pushed apart; or `paper`.
        plan: of the transport: `ipot`, or `uniform`, as a control.
        transport_beta: the larger, the more even the plan.
        transport_steps: iterations of `ipot`.
        pretrain: whether the tasks are trained, in a first stage.
        head: that is trained in a last one; empty: none.
        head_share: of the steps that are the head's, where there are both.
        refer_layers: linear maps of the head of regions, 1 or 2.
        refer_loss: `softmax` over regions, or `margin`.
        overlap: IoU with what is meant from which on a region is right.
        margin: of `margin` and of `rank`.
        hard: share of the negatives of `margin` that are the best of the wrong ones, and of `rank` that are the hardest
            of eight.
        answers: that there are.
        optim: how it is optimised.
        sample: whose tokens, and how many.
    """

    encoder: str = "minilm"
    proposals: str = "centernet"
    tower: str = ""
    features: Literal["map", "crop", "names"] = "map"
    start: Literal["encoder", "random"] = "encoder"
    train_words: bool = True
    width: int = 128
    heads: int = 4
    hidden: int = 512
    depth: int = 2
    dropout: float = 0.0
    tasks: tuple[tuple[str, int], ...] = (("itm", 2), ("mlm", 2), ("mrfr", 1), ("mrckl", 1))
    masking: Literal["conditional", "joint"] = "conditional"
    mask_share: float = 0.15
    regression: Literal["mean", "region"] = "mean"
    kl: Literal["mean", "region"] = "mean"
    background: bool = False
    negative_share: float = 0.5
    exchange: Literal["image", "both"] = "both"
    transport_weight: float = 0.1
    transport: Literal["released", "paper"] = "released"
    plan: Literal["ipot", "uniform"] = "ipot"
    transport_beta: float = 0.5
    transport_steps: int = 50
    pretrain: bool = True
    head: Literal["", "refer", "answer", "rank", "pictures"] = ""
    head_share: float = 0.5
    refer_layers: int = 1
    refer_loss: Literal["softmax", "margin"] = "softmax"
    overlap: float = 0.5
    margin: float = 0.2
    hard: float = 0.3
    answers: tuple[str, ...] = ()
    optim: OptimSpec = OptimSpec(learning_rate=5e-4, weight_decay=0.01, betas=(0.9, 0.98), clip=5.0)
    sample: SampleSpec = SampleSpec(tokenizer="encoder", length=60)

    @classmethod
    def tiny(cls) -> Config:
        """For tests: all tasks, and the head of regions."""
        return cls(
            encoder="tiny",
            proposals="tiny",
            start="random",
            width=16,
            heads=2,
            hidden=24,
            tasks=(("itm", 1), ("mlm", 1), ("mrfr", 1), ("mrc", 1), ("mrckl", 1)),
            transport_steps=5,
            head="refer",
            refer_layers=2,
            optim=OptimSpec(learning_rate=1e-2, clip=5.0),
            sample=SampleSpec(tokenizer="encoder", length=8),
        )

    @classmethod
    def desk(cls) -> Config:
        """For two cores: two layers of MiniLM, whose word vectors rest, and regions by the names of their classes."""
        return cls(
            features="names",
            train_words=False,
            optim=OptimSpec(
                learning_rate=5e-4, weight_decay=0.01, betas=(0.9, 0.98), schedule="linear", warmup=0.1, clip=5.0
            ),
            sample=SampleSpec(tokenizer="encoder", length=30),
        )

    @classmethod
    def paper(cls) -> Config:
        """As published, the base size, for the data of COCO and Visual Genome; it starts from BERT, which is to be
        given as the encoder, with `start=encoder`. A head is learned at rates of its own."""
        return cls(
            start="random",
            width=768,
            heads=12,
            hidden=3072,
            depth=12,
            dropout=0.1,
            background=True,
            optim=OptimSpec(
                learning_rate=5e-5, weight_decay=0.01, betas=(0.9, 0.98), schedule="linear", warmup=10_000, clip=5.0
            ),
        )


# ---- what is learned


def class_divergence(logits: Float[Tensor, "M C"], distribution: Float[Tensor, "M C"]) -> Float[Tensor, "M C"]:
    """The terms of KL(distribution || softmax(logits)), 0 where the distribution is.

    Args:
        logits: of the classes of each region.
        distribution: what the detector says; rows sum to 1.
    """
    logs = distribution.clamp(min=torch.finfo(distribution.dtype).tiny).log()
    return torch.where(distribution > 0, distribution * (logs - logits.log_softmax(-1)), torch.zeros_like(logits))


def hard_class(distribution: Float[Tensor, "*B C"], background: bool) -> Int64[Tensor, "*B"]:
    """The likeliest class, of those behind the first where that is the background.

    >>> hard_class(torch.tensor([[0.6, 0.1, 0.3]]), background=True).item()
    2
    """
    first = int(background)
    return distribution[..., first:].argmax(-1) + first


def transport_loss(
    distance: Float[Tensor, " B"], matching: Bool[Tensor, " B"], form: Literal["released", "paper"] = "released"
) -> Float[Tensor, ""]:
    """The distances of pairs that match, as released less those of others, over the number of all pairs.

    Args:
        distance: between the words and the regions of each pair.
        matching: which belong together.
        form: `paper` has the matching pairs alone.
    """
    sign = matching.to(distance) - (0.0 if form == "paper" else (~matching).to(distance))
    return (distance * sign).sum() / mean_count(float(len(distance))).to(distance)


# ---- the method


class Method(nn.Module):
    """The stream, the heads of its tasks, and the head that is trained last."""

    def __init__(
        self, config: Config, *, encoder: TextEncoder, proposals: Proposals, tower: ImageEncoder | None = None
    ) -> None:
        super().__init__()
        if config.start == "random" and not config.train_words:
            raise DeixisError(
                "Random word vectors that do not train mean nothing.", "Set train_words, or another start."
            )
        if config.head == "answer" and not config.answers:
            raise DeixisError("There are no answers to choose from.", "Give them: --set answers=...")
        self.config, self.encoder, self.proposals, self.tower = config, encoder, proposals, tower
        names = name_vectors(encoder, proposals.classes) if config.features == "names" else None
        self.regions = freeze(RegionColumns(proposals, config.features, tower=tower, names=names))
        bert = next((each for each in encoder.modules() if isinstance(each, Bert)), None)  # type: ignore[attr-defined]
        bert = bert if config.start == "encoder" else None
        sizes = self._sizes(bert)
        self.stream = SingleStream(sizes, self.regions.width, config.dropout)
        self.pooler = nn.Linear(sizes.width, sizes.width)
        tasks = [name for name, _ in config.tasks] if config.pretrain else []
        self.heads = GapHeads(self.stream, tasks, self.regions.width, len(proposals.classes))
        self.hidden = HiddenVectors(sizes.width, self.regions.width) if config.pretrain else None
        self.head: Any = self._head(sizes)
        self.apply(small_start)
        self._start(bert)
        self._words = word_numbers(encoder)
        self.turns = sum(share for _, share in config.tasks)

    def _sizes(self, bert: Bert | None) -> BertConfig:
        config, vocabulary = self.config, self.encoder.tokenizer.vocabulary
        if bert is not None:
            return replace(bert.config, depth=config.depth)
        width = self.encoder.token_width if config.start == "encoder" else config.width
        heads = config.heads if width % config.heads == 0 else 1
        return BertConfig(
            vocabulary, width, config.depth, heads, config.hidden, positions=max(512, config.sample.length)
        )

    def _head(self, sizes: BertConfig) -> nn.Module | None:
        config, width = self.config, sizes.width
        if config.head == "refer":
            two = [PredictionHead(width)] if config.refer_layers == 2 else []
            return nn.Sequential(*two, nn.Linear(width, 1))
        if config.head == "answer":
            return nn.Sequential(PredictionHead(width, 2 * width), nn.Linear(2 * width, len(config.answers)))
        return PicturePair(width, sizes.heads, dropout=config.dropout) if config.head == "pictures" else None

    @torch.no_grad()
    def _start(self, bert: Bert | None) -> None:
        """The weights to begin with."""
        if bert is not None:
            self.stream.start_from(bert)
        elif self.config.start == "encoder":
            with torch.device("cpu"):
                every = torch.arange(self.stream.config.vocabulary)
            self.stream.words.weight.copy_(self.encoder.embeddings(every[None])[0])
        if not self.config.train_words:
            freeze(self.stream.words)
        mark = mask_token(self.encoder)
        if mark is not None and self.hidden is not None:
            self.hidden.word.copy_(self.stream.words.weight[mark])

    def stages(self) -> tuple[Stage, ...]:
        """The tasks, then the head."""
        config = self.config
        boxes, features, classes = (self._made(each) for each in (BOXES, FEATURES, CLASSES))
        pair = (TOKENS, boxes, features)
        names = {name for name, _ in config.tasks}
        kinds = (classes,) if names & {"mrc", "mrckl"} else ()
        share = config.head_share if config.head and config.pretrain else 1.0
        pretrain = Stage(
            "pretrain",
            trainable=("stream.", *(("pooler.", "heads.") if "itm" in names else ("heads.",)), "hidden."),
            needs=(*pair, *kinds),
            steps=1 - share if share < 1 else 1.0,
        )
        more = {
            "refer": (("head.",), (TARGETS,)),
            "answer": (("pooler.", "head."), (ANSWER,)),
            "rank": (("pooler.", "heads.match."), ()),
            "pictures": (("head.",), (OTHER_BOXES, OTHER_FEATURES, LABELS)),
        }
        trainable, needs = more.get(config.head, ((), ()))
        data = "phrases" if config.head == "refer" and config.pretrain else ""
        last = Stage(config.head, trainable=("stream.", *trainable), needs=(*pair, *needs), steps=share, data=data)
        return (*((pretrain,) if config.pretrain else ()), *((last,) if config.head else ()))

    def _made(self, spec: FieldSpec) -> FieldSpec:
        """The field, made of the boxes of the data where these are the regions."""
        assert spec.made is not None
        own = hasattr(self.proposals, "describer")
        return replace(spec, made=replace(spec.made, of=("image", "boxes"))) if own else spec

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        """The part of the task whose turn it is; with `itm` that of the transport. In the last stage, that of the head.

        A pair that does not match takes its picture or its text from another row, so there is no `encode`.
        """
        pairs = self._pairs(batch)
        if progress.stage != "pretrain":
            return getattr(self, f"_{self.config.head}_losses")(batch, pairs, progress)
        task = progress.turn(self.config.tasks)
        if task == "itm":
            return self._matching_losses(batch, pairs, progress)
        return self._masked_losses(task, batch, pairs, progress)

    # ---- hidden words and regions

    def _masked_losses(self, task: str, batch: Batch, pairs: TextRegions, progress: Progress) -> Losses:
        joint = self.config.masking == "joint"
        share = self.config.mask_share
        chosen_words, tokens, hidden = hide_words(pairs, batch.ids, share, self._words, progress)
        chosen_regions = hide_regions(pairs, batch.ids, share, progress)
        if task != "mlm" and not joint:
            tokens, hidden = pairs.tokens, torch.zeros_like(pairs.words)
        covered = chosen_regions if task != "mlm" or joint else torch.zeros_like(pairs.regions)
        words, regions = self._states(pairs._replace(tokens=tokens), hidden, covered)
        if task == "mlm":
            logits = self.heads.words(words[chosen_words], self.stream.words.weight)
            losses = F.cross_entropy(logits, pairs.tokens[chosen_words], reduction="none")
            return Losses(
                {"mlm": mean_loss(losses, len(losses))},
                metrics={"words_told": share_right(logits, pairs.tokens[chosen_words])},
            )
        states = regions[chosen_regions]
        return Losses({task: self._region_loss(task, states, batch, chosen_regions)})

    def _region_loss(self, task: str, states: Tensor, batch: Batch, chosen: Tensor) -> Float[Tensor, ""]:
        if task == "mrfr":
            target = batch.extra["region_features"][chosen]
            found = self.heads.features(states, self.stream.regions.feature.weight)
            return mean_loss((found - target).square(), len(target), self.config.regression == "region")
        logits, classes = self.heads.classes(states), batch.extra["region_classes"][chosen]
        if task == "mrc":
            return mean_loss(
                F.cross_entropy(logits, hard_class(classes, self.config.background), reduction="none"), len(logits)
            )
        return mean_loss(class_divergence(logits, classes), len(logits), self.config.kl == "region")

    # ---- do they belong together

    def _matching_losses(self, batch: Batch, pairs: TextRegions, progress: Progress) -> Losses:
        config = self.config
        draws = progress.uniform("pairs", batch.ids, 3).to(pairs.boxes.device)
        keys, both = content_keys(batch.ids, pairs), config.exchange == "both"
        texts, pictures, matching = exchange(keys, draws, config.negative_share, both)
        given = pairs.gathered().take(texts, pictures)
        words, regions = self._states(given)
        logits = self.heads.match(self._pooled(words))
        parts = {"itm": mean_loss(F.cross_entropy(logits, matching.long(), reduction="none"), len(logits))}
        metrics: dict[str, Any] = {"pairs_told": share_right(logits, matching.long())}
        if config.transport_weight:
            cost, plan = self._plan(given, words, regions)
            distance = (plan * cost).sum((1, 2))
            parts["transport"] = config.transport_weight * transport_loss(distance, matching, config.transport)
            metrics["plan_entropy"] = -(plan * plan.clamp(min=1e-12).log()).sum((1, 2)).mean()
        return Losses(parts, metrics=metrics)

    def _plan(self, pairs: TextRegions, words: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """What it costs to carry each word to each region, and how much is."""
        cost, config = cosine_cost(words, regions, pairs.words, pairs.regions), self.config
        if config.plan == "uniform":
            return cost, uniform_plan(pairs.words, pairs.regions).to(cost)
        plan = ipot(
            cost.detach(), pairs.words, pairs.regions, beta=config.transport_beta, iterations=config.transport_steps
        )
        return cost, plan

    # ---- heads

    def _refer_losses(self, batch: Batch, pairs: TextRegions, progress: Progress) -> Losses:
        scores, config = self._region_scores(pairs), self.config
        right = right_candidates(pairs.boxes, pairs.regions, batch.extra["targets"], batch.valid["Q"], config.overlap)
        if config.refer_loss == "softmax":
            return Losses({"refer": refer_loss(scores, right, pairs.regions)})
        draws, wrong = progress.uniform("negative", batch.ids, 2).to(scores), pairs.regions & ~right
        bad = pick_negative(scores.detach(), wrong, draws, config.hard)
        good = scores.masked_fill(~right, -torch.inf).argmax(1)
        counted = right.any(1) & wrong.any(1)
        first, second = (scores.gather(1, each[:, None])[:, 0] for each in (good, bad))
        return Losses({"refer": margin_loss(first, second, config.margin, counted)})

    def _answer_losses(self, batch: Batch, pairs: TextRegions, progress: Progress) -> Losses:
        """BCE over all answers, summed, of questions whose answer is one of them."""
        logits, answer = self._answer_logits(pairs), batch.extra["answer"]
        wanted = F.one_hot(answer.clamp(min=0), logits.shape[1]).to(logits) * (answer >= 0).to(logits)[:, None]
        losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1)
        return Losses({"answer": mean_loss(losses, len(losses))})

    def _rank_losses(self, batch: Batch, pairs: TextRegions, progress: Progress) -> Losses:
        """Each pair against its text with another picture and its picture with another text."""
        draws, keys = progress.uniform("rank", batch.ids, 2 + _TRIED).to(pairs.boxes), content_keys(batch.ids, pairs)
        everyone, every = gather(keys.double()).long(), pairs.gathered()
        own, good, losses = own_rows(keys, everyone), self._rank_scores(pairs), []
        for side in range(2):
            rows = [negative_rows(keys, everyone, draws[:, 2 + n]) for n in range(_TRIED)]
            counted = rows[0] >= 0
            tried = [every.take(*((own, row.clamp(min=0)) if side else (row.clamp(min=0), own))) for row in rows]
            bad = self._rank_scores(self._hardest(tried, draws[:, side] < self.config.hard))
            losses.append(margin_loss(good, bad, self.config.margin, counted))
        return Losses({"rank": (losses[0] + losses[1]) / 2})

    @torch.no_grad()
    def _hardest(self, tried: Sequence[TextRegions], hard: Bool[Tensor, " B"]) -> TextRegions:
        """Of some pairs a row the one with the highest score, without gradient, where `hard`; else the first."""
        if not bool(hard.any()):
            return tried[0]
        best = torch.stack([self._rank_scores(each) for each in tried]).argmax(0)
        place = torch.where(hard, best, 0)
        rows = torch.arange(len(place), device=place.device)
        return TextRegions(*(torch.stack(column)[place, rows] for column in zip(*tried, strict=True)))

    def _pictures_losses(self, batch: Batch, pairs: TextRegions, progress: Progress) -> Losses:
        assert batch.labels is not None
        logits = self.compare_pictures(batch)
        return Losses({"pictures": mean_loss(F.cross_entropy(logits, batch.labels, reduction="none"), len(logits))})

    def compare_pictures(self, batch: Batch) -> Float[Tensor, "B 2"]:
        """Logits of whether what a text says of two pictures is false, and true.

        Args:
            batch: with the regions of a second picture, `other_boxes` and `other_features`.
        """
        pairs = self._pairs(batch)
        others = pairs._replace(
            boxes=batch.extra["other_boxes"], features=batch.extra["other_features"], regions=batch.valid["N"]
        )
        one, two = (torch.cat(self._states(each), dim=1) for each in (pairs, others))
        first, second = (torch.cat([each.words, each.regions], dim=1) for each in (pairs, others))
        return self.head(one, first, two, second)

    # ---- states and scores

    def _pairs(self, batch: Batch) -> TextRegions:
        assert batch.boxes is not None
        tokens, mask = batch.caption()
        return TextRegions(tokens, mask, batch.boxes, batch.extra["region_features"], batch.valid["T"])

    def _states(
        self, pairs: TextRegions, hidden: Tensor | None = None, covered: Tensor | None = None
    ) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B T D"]]:
        """Of words and of regions, of which some may be hidden."""
        features = pairs.features
        if covered is not None and self.hidden is not None:
            features = torch.where(covered[..., None], self.hidden.region.to(features), features)
        words = self.stream.embed_words(pairs.tokens, hidden, None if self.hidden is None else self.hidden.word)
        regions = self.stream.embed_regions(features, geometry7(pairs.boxes))
        states: tuple[Tensor, Tensor] = self.stream(words, pairs.words, regions, pairs.regions)
        return states

    def _pooled(self, words: Float[Tensor, "B L D"]) -> Float[Tensor, "B D"]:
        return torch.tanh(self.pooler(words[:, 0]))

    def _rank_scores(self, pairs: TextRegions) -> Float[Tensor, " B"]:
        return self.heads.match(self._pooled(self._states(pairs)[0]))[:, 1]

    def _answer_logits(self, pairs: TextRegions) -> Float[Tensor, "B C"]:
        return self.head(self._pooled(self._states(pairs)[0]))

    def _region_scores(self, pairs: TextRegions) -> Float[Tensor, "B T"]:
        """By the head where it is there; else the mean cosine of all words with a region."""
        words, regions = self._states(pairs)
        if self.config.head == "refer":
            return self.head(regions)[..., 0]
        cosines = 1 - cosine_cost(words, regions)
        return (cosines * pairs.words[..., None]).sum(1) / pairs.words.sum(1, keepdim=True).clamp(min=1)

    # ---- capabilities

    @torch.no_grad()
    def match(self, batch: Batch) -> Float[Tensor, " B"]:
        """Log odds that text and picture belong together; after `rank`, the score that was learned there."""
        pairs = self._pairs(batch)
        if self.config.head == "rank":
            return self._rank_scores(pairs)
        logits = self.heads.match(self._pooled(self._states(pairs)[0]))
        return logits[:, 1] - logits[:, 0]

    @torch.no_grad()
    def align(self, batch: Batch) -> Float[Tensor, "B L T"]:
        """The cosine of each word with each region, 0 for padding."""
        pairs = self._pairs(batch)
        both = pairs.words[:, :, None] & pairs.regions[:, None]
        return (1 - cosine_cost(*self._states(pairs))) * both

    @torch.no_grad()
    def tell_words(self, batch: Batch, hidden: Bool[Tensor, "B L"]) -> Int64[Tensor, "B L"]:
        """The tokens, with the likeliest word in each hidden place, by the words that are not hidden and all regions.

        Args:
            batch: of texts and regions.
            hidden: which words are.

        Raises:
            DeixisError: it never learned to.
        """
        if not hasattr(self.heads, "word"):
            raise DeixisError(
                "This run did not learn to tell hidden words.", 'Train with the task: --set tasks=(("mlm", 1),).'
            )
        pairs = self._pairs(batch)
        words, _ = self._states(pairs, hidden)
        likeliest = self.heads.words(words[hidden], self.stream.words.weight).argmax(-1)
        return pairs.tokens.masked_scatter(hidden, likeliest)

    @torch.no_grad()
    def refer(self, batch: Batch) -> Float[Tensor, "B T"]:
        """How well the text fits each region; the lowest number for padding."""
        pairs = self._pairs(batch)
        scores = self._region_scores(pairs)
        return scores.masked_fill(~pairs.regions, torch.finfo(scores.dtype).min)

    @torch.no_grad()
    def ground(
        self,
        images: Float[Tensor, "B 3 H W"],
        tokens: Int64[Tensor, "B L"],
        mask: Bool[Tensor, "B L"],
        spans: Int64[Tensor, "B T S 2"] | None = None,
        boxes: Float[Tensor, "B Q 4"] | None = None,
    ) -> GroundOutput:
        """The regions of each image, and how well each phrase fits them; a phrase is read alone.

        Args:
            images: as the detector takes them.
            tokens: of the encoder.
            mask: which of them are real.
            spans: the tokens of each phrase; the whole text is one phrase where there are none.
            boxes: regions in place of those that the detector proposes.
        """
        found = self.regions.regions(images, boxes)
        rows = [spans[:, number] for number in range(spans.shape[1])] if spans is not None else [None]
        scores = []
        for each in rows:
            ids, real = (tokens, mask) if each is None else phrase_alone(tokens, mask, each)
            pairs = TextRegions(ids, real, found.boxes.to(images), found.features.to(images), found.valid)
            scores.append(self._region_scores(pairs))
        return GroundOutput(found.boxes, torch.stack(scores, dim=1), found.valid)


_BASE = {"proposals": "own:centernet", "tasks": (("itm", 2), ("mlm", 1)), "transport_weight": 1.0}
_REFER = {**_BASE, "head": "refer", "transport_weight": 0.1}
_FILL = {**_BASE, "transport_weight": 0.1}  # measured as the tasks leave it, before expressions change it
_RATES = {"optim.learning_rate": (2.5e-4, 5e-4, 1e-3, 2e-3)}
_WEIGHTS = {"optim.learning_rate": (5e-4, 1e-3), "transport_weight": (0.1, 1.0)}
_TRANSPORT = {
    "transport": Arm("uniter", _BASE, {}, _WEIGHTS),
    "uniform plan": Arm("uniter", {**_BASE, "plan": "uniform"}, {}, _WEIGHTS),
    "no transport": Arm("uniter", {**_BASE, "transport_weight": 0.0}, {}, _RATES),
}
_RULES: dict[str, Any] = {
    **{"statistic": "final", "data": "word_regions", "options": {"said": "nouns"}},
    **{"budget": 40_000, "seeds": 5, "first_seed": 100},
}

# In the world `said` of `bench/matching_gate_rows.py`, where matching is learned within minutes. Settings of the world
# were chosen with seed 0, those of the arms on validation scenes.
CLAIMS = (
    Claim(
        "Transport between words and regions makes words point at their regions, more than a uniform plan of the same "
        "weight does.",
        arms=_TRANSPORT,
        metric="alignment",
        minimum_effect=0.05,
        cheap="uniform plan",
        trial=0.5,
        **_RULES,
    ),
    Claim(
        "Trained with transport, the plan that carries words to regions is sharper than after training with a uniform "
        "one or with none: its entropy falls shorter of the uniform plan's.",
        arms=_TRANSPORT,
        metric="plan_sharpness",
        minimum_effect=0.05,
        primary=False,
        cheap="uniform plan",
        trial=0.5,
        **_RULES,
    ),
    Claim(
        "Of 300 labelled expressions a pre-trained model learns more than the same start without pre-training.",
        arms={
            "pre-trained": Arm("uniter", _REFER),
            "untrained": Arm("uniter", {**_REFER, "pretrain": False}, data={"learn": "phrases"}),
        },
        metric="referring",
        minimum_effect=0.05,
        primary=False,
        cheap="untrained",
        **_RULES,
    ),
    Claim(
        "Masking one side at a time prepares better for expressions than masking both, at 15 % and, as a stress, 40 %.",
        arms={
            "conditional": Arm("uniter", _REFER),
            "joint": Arm("uniter", {**_REFER, "masking": "joint"}),
            "conditional, 40 %": Arm("uniter", {**_REFER, "mask_share": 0.4}),
            "joint, 40 %": Arm("uniter", {**_REFER, "masking": "joint", "mask_share": 0.4}),
        },
        metric="referring",
        minimum_effect=0.02,
        primary=False,
        cheap="joint",
        **_RULES,
    ),
    Claim(
        "Masking one side at a time tells more hidden nouns where the picture is complete than masking both, at 15 % "
        "and, as a stress, 40 %.",
        arms={
            "conditional": Arm("uniter", _FILL),
            "joint": Arm("uniter", {**_FILL, "masking": "joint"}),
            "conditional, 40 %": Arm("uniter", {**_FILL, "mask_share": 0.4}),
            "joint, 40 %": Arm("uniter", {**_FILL, "masking": "joint", "mask_share": 0.4}),
        },
        metric="hidden_nouns",
        minimum_effect=0.02,
        primary=False,
        cheap="joint",
        **{**_RULES, "budget": 20_000},  # as many of the tasks as under the claim above, of which half is the head's
    ),
)
