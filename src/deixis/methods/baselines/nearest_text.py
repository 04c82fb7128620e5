"""The nearest text: an image is described by the text, of those that were read, whose embedding is nearest to its own.

    caption(image) = text_i,                      i = argmax_i  z_i . image
    answer(image, q) = answer_i,                  i = argmax over those that were asked q,  z_i . image

It learns nothing, and needs no images: what a language model that learned from texts alone has to beat. Of a question
that no text was asked it knows nothing, and answers with an empty text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.dual import DualEncoder
from deixis.nn.layers.pooling import real_tokens
from deixis.types import Batch, Card, FieldSpec, Made, Part, Progress, Stage

__all__ = ["CARD", "CLAIMS", "Config", "Method"]

TEXT = FieldSpec("text_embedding", "B D", values="unit", made=Made("encoder", "encode_text", of=("text",)))
CAPTIONS = FieldSpec("captions", "B", "object")
ASKED, ANSWERED = FieldSpec("question", "B", "object"), FieldSpec("answer", "B", "object")

CARD = Card(
    title="The text whose embedding is nearest to the image's",
    year=2021,
    kind="fitted",
    role="baseline",
    needs=(TEXT, CAPTIONS),
    parts=(Part("encoder", "dual_encoder", frozen=True),),
    capabilities=("caption", "answer"),
    non_gradient_state=("texts", "rows"),
    venue="ICML",
    arxiv="2103.00020",
    tags=("captions", "questions", "control"),
)


@dataclass(frozen=True)
class Config:
    """Settings of the nearest text.

    Attributes:
        encoder: whose embeddings are compared.
        questions: whether texts come with a question and its answer, in columns of these names.
    """

    encoder: str = "starter"
    questions: bool = False

    @classmethod
    def tiny(cls) -> Config:
        """For tests: the tiny encoder."""
        return cls(encoder="tiny")

    @classmethod
    def desk(cls) -> Config:
        """The starter."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """The same as `desk`."""
        return cls()


class Method(nn.Module):
    """A frozen encoder, and all texts with their embeddings.

    Attributes:
        rows: the embeddings.
        texts: for each the text, the question and the answer, as the bytes of a JSON list.
    """

    rows: Tensor
    texts: Tensor

    def __init__(self, config: Config, *, encoder: DualEncoder) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.register_buffer("rows", torch.zeros(0, encoder.width))
        self.register_buffer("texts", torch.zeros(0, dtype=torch.uint8))
        self._seen: list[tuple[str, Tensor, tuple[str, str, str]]] = []

    def stages(self) -> tuple[Stage, ...]:
        """All texts are read once."""
        needs = (TEXT, CAPTIONS, ASKED, ANSWERED) if self.config.questions else (TEXT, CAPTIONS)
        return (Stage("texts", kind="fit", needs=needs),)

    def take_sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Makes room for as many texts as a saved state has."""
        self.rows, self.texts = self.rows.new_zeros(shapes["rows"]), self.texts.new_zeros(shapes["texts"])

    def observe(self, batch: Batch, progress: Progress) -> None:
        """Keeps the texts of a batch."""
        assert batch.captions is not None
        asked = [batch.extra[spec.name] if self.config.questions else [""] * len(batch) for spec in (ASKED, ANSWERED)]
        said = [each[0] if each else "" for each in batch.captions]
        self._seen += zip(batch.ids, batch.extra["text_embedding"], zip(said, *asked, strict=True), strict=True)

    def finish(self, progress: Progress) -> None:
        """Puts them together, in the order of their names."""
        if not self._seen:
            raise ValueError("nothing was observed")
        ordered = sorted(self._seen, key=lambda each: each[0])
        self.rows = F.normalize(torch.stack([row for _, row, _ in ordered]), dim=-1).to(self.rows)
        text = bytearray(json.dumps([said for _, _, said in ordered]).encode())
        self.texts = torch.frombuffer(text, dtype=torch.uint8).clone().to(self.rows.device)
        self._seen.clear()

    @torch.no_grad()
    def caption(self, images: Float[Tensor, "B 3 H W"]) -> list[str]:
        """The nearest text of each image."""
        known = self._known()
        return (
            [known[place][0] for place in self._scores(images).argmax(dim=1).tolist()] if known else [""] * len(images)
        )

    @torch.no_grad()
    def answer(
        self, images: Float[Tensor, "B 3 H W"], tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None
    ) -> list[str]:
        """Of each question the answer that stands beside the nearest text that was asked the same."""
        known, scores = self._known(), self._scores(images)
        numbers = {question: self._numbers(question) for question in {each[1] for each in known}}
        found = []
        for row, ids, real in zip(scores, tokens, real_tokens(tokens, mask), strict=True):
            wanted = tuple(ids[real].tolist())
            places = [place for place, (_, question, _) in enumerate(known) if numbers[question] == wanted]
            found.append(known[places[int(row[places].argmax())]][2] if places else "")
        return found

    def _numbers(self, question: str) -> tuple[int, ...]:
        """Of the tokens of a question."""
        ids, mask = self.encoder.tokenizer([question], self.encoder.context_length)
        return tuple(ids[0][mask[0]].tolist())

    def _scores(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N"]:
        return F.normalize(self.encoder.encode_image(images), dim=-1) @ self.rows.T

    def _known(self) -> Sequence[tuple[str, str, str]]:
        found = json.loads(self.texts.cpu().numpy().tobytes()) if len(self.texts) else []
        return [(text, question, answer) for text, question, answer in found]


CLAIMS = ()
