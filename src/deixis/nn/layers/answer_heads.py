"""Answers to questions of several kinds: a head says which kind is asked, and one for each kind what the answer is."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.ops.collective import mean_count

__all__ = ["AnswerHeads"]

_YES_OR_NO = ("no", "yes")


class AnswerHeads(nn.Module):
    """A linear map of a state of its own for the kind, and for the answers of each kind.

    Args:
        width: of the states (D).
        kinds: the answers of each kind; just `no` and `yes` are told by one number.
    """

    def __init__(self, width: int, kinds: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.kinds = tuple(map(tuple, kinds))
        sizes = [1 if answers == _YES_OR_NO else len(answers) for answers in self.kinds]
        self.heads = nn.ModuleList(nn.Linear(width, size) for size in (len(sizes), *sizes))

    def forward(self, states: Float[Tensor, "B N D"]) -> list[Float[Tensor, "B _"]]:
        """Logits of the kinds, then of the answers of each, from as many states."""
        return [head(state) for head, state in zip(self.heads, states.unbind(1), strict=True)]

    @staticmethod
    def loss(
        logits: Sequence[Float[Tensor, "B _"]], kind: Int64[Tensor, " B"], answer: Int64[Tensor, " B"]
    ) -> Float[Tensor, ""]:
        """Cross-entropy of the kind, and of the answer by the head of that kind alone; the mean of each, summed.

        Args:
            logits: as `forward` gives them.
            kind: of the question; none is asked where it is none of them, such as -1.
            answer: its number among those of its kind; told by one number, above 0 for yes.
        """
        loss = logits[0].new_zeros(())
        asked = (kind >= 0) & (kind < len(logits) - 1)
        for number, said in enumerate(logits):
            mine, wanted = (kind == number - 1, answer) if number else (asked, kind)
            if number and said.shape[1] == 1:
                yes = (wanted[mine] > 0).to(said)
                each = F.binary_cross_entropy_with_logits(said[mine, 0], yes, reduction="sum")
            else:
                each = F.cross_entropy(said[mine], wanted[mine], reduction="sum")
            count = mean_count(mine.sum())
            loss = loss + each / count.where(count > 0, 1.0).to(said)
        return loss

    def names(self, logits: Sequence[Float[Tensor, "B _"]]) -> list[str]:
        """The likeliest answer of the likeliest kind."""
        found = []
        for row, kind in enumerate(logits[0].argmax(1).tolist()):
            said, answers = logits[1 + kind][row], self.kinds[kind]
            found.append(answers[int(said > 0) if len(said) == 1 else int(said.argmax())])
        return found
