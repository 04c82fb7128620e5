"""A vision transformer that is told what to look for: by further tokens, or by a change of its class token."""

from __future__ import annotations

from typing import Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.dense.whole_tower import require_whole
from deixis.nn.layers.positions import require_side
from deixis.nn.vision.vit import Vit
from deixis.types.outputs import ImageStates

__all__ = ["Condition", "Place", "condition_tower", "conditioned"]

Place = Literal["before norm", "after norm", "class token"]
"""Where a condition enters: as tokens behind the patches, before or after the norm in front of the first block; or as
what is added to the class token."""


def condition_tower(tower: nn.Module) -> Vit:
    """The tower, where it is one that takes conditions.

    Args:
        tower: of images.

    Raises:
        DeixisError: it is no vision transformer that is read at its class token, or it lies in shares on the ranks.
    """
    require_whole(tower)
    if not isinstance(tower, Vit) or tower.config["pool"] != "class":
        raise DeixisError(
            f"{type(tower).__name__} takes no condition: it is no vision transformer that is read at its class token.",
            "Take a model with one, such as one of CLIP's ViTs, --model ViT-B-32/openai; or let a language model read "
            "the pictures of any tower: --set lm=smollm2.",
        )
    return tower


def conditioned(
    tower: Vit,
    images: Float[Tensor, "B 3 H W"],
    extra: Float[Tensor, "B M F"],
    extra_real: Bool[Tensor, "B M"] | None = None,
    place: Place = "before norm",
) -> ImageStates:
    """What the tower says of images with further tokens, which patches and class token attend to as to one another.

    The tokens stand behind the patches and have no position. Where all of an image's are hidden it is the plain tower.
    No patch is dropped.

    Args:
        tower: read at its class token.
        images: preprocessed.
        extra: tokens as wide as the states; at `class token` their sum is added to it, position and all.
        extra_real: which of them there are; by default all.
        place: where they enter.
    """
    real = torch.ones(extra.shape[:2], dtype=torch.bool, device=extra.device) if extra_real is None else extra_real
    require_side(images, tower.config["image_size"])
    patches = tower.patches(images).flatten(2).transpose(1, 2)
    states = torch.cat([cast(Tensor, tower.class_token).expand(len(patches), 1, -1), patches], dim=1)
    states = states + tower.positions
    if place == "class token":
        shift = (extra * real[..., None]).sum(1, keepdim=True)
        states = tower.pre_norm(torch.cat([states[:, :1] + shift, states[:, 1:]], dim=1))
        mask = None
    else:
        if place == "before norm":
            states = tower.pre_norm(torch.cat([states, extra], dim=1))
        else:
            states = torch.cat([tower.pre_norm(states), extra], dim=1)
        mask = torch.cat([real.new_ones(patches.shape[0], patches.shape[1] + 1), real], dim=1)[:, None]
    features = tower.post_norm(tower.blocks(states, mask)[:, 0])
    embedding = F.normalize(tower.projection(features), dim=-1)
    return ImageStates(embedding, features, torch.ones_like(features[:, 0]))


class Condition(nn.Module):
    """Makes tokens of the vector of an instruction by a linear map.

    Args:
        text: width of the vector (E).
        width: of the tokens (F).
        tokens: how many (M).
        strength: deviation of a token's entries at the start, for a vector of length 1.
    """

    def __init__(self, text: int, width: int, tokens: int = 1, strength: float = 0.02) -> None:
        super().__init__()
        self.tokens = tokens
        self.project = nn.Linear(text, tokens * width)
        nn.init.normal_(self.project.weight, std=strength)
        nn.init.zeros_(self.project.bias)

    def forward(self, instruction: Float[Tensor, "B E"]) -> Float[Tensor, "B M F"]:
        """The tokens of each instruction."""
        return self.project(instruction).unflatten(1, (self.tokens, -1))
