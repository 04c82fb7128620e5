"""One vector of length 1 for a set of states and one for another, to be compared by their cosine."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PooledPair"]


class PooledPair(nn.Module):
    """The mean of the real states of each side, mapped linearly, of length 1.

    Args:
        width: of the states (F), on both sides.
        out: of the vectors (D).
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, out), nn.Linear(width, out)

    def forward(
        self,
        first: tuple[Float[Tensor, "B N F"], Bool[Tensor, "B N"]],
        second: tuple[Float[Tensor, "B L F"], Bool[Tensor, "B L"]],
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """The vectors of both sides.

        Args:
            first: states, and which are real.
            second: the same of the other side.
        """
        return F.normalize(self.first(_mean(*first)), dim=-1), F.normalize(self.second(_mean(*second)), dim=-1)


def _mean(states: Float[Tensor, "B N F"], real: Bool[Tensor, "B N"]) -> Float[Tensor, "B F"]:
    weights = real.to(states)[..., None]
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
