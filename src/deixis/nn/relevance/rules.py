"""How an affine layer hands its relevance down: the rules of layer-wise relevance propagation, and sets of them.

With inputs x_i, weights w_ij, bias b_j and the relevance R_j of output j, stab(z) being z moved away from 0 by epsilon:

| rule | R_i is the sum over j of R_j times | from |
| --- | --- | --- |
| `Epsilon` | x_i w_ij / stab(sum_i x_i w_ij + b_j) | Bach et al. 2015, equation 58 |
| `Gamma` | the same with w + gamma max(w, 0), and so for b | Montavon et al. 2019 |
| `ZPlus` | x_i max(w_ij, 0) / sum of the same, no bias | Montavon et al. 2017 |
| `AlphaBeta` | alpha (x_i w_ij)+ / (sum of the same + b_j+) - beta the same of negatives | Bach et al., 60 |
| `ZBox` | (x_i w_ij - low w_ij+ - high w_ij-) / stab(sum of the same), no bias | Montavon et al. 2017 |
| `Flat` | 1 / number of inputs of j | Lapuschkin et al. 2019 |

Padding is no input. `ZPlus`, `ZBox`, `Flat` and `AlphaBeta` without bias keep the sum, but for units that no product of
the right sign reaches (depthwise layers, whose units may owe all to their bias, lose most of it so); `Epsilon`, `Gamma`
and `AlphaBeta` lose to the bias and to epsilon what these hold of the denominator. `ZPlus` and `Gamma` are meant for
inputs that are not negative: behind a linear bottleneck `Gamma` may divide by nearly nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["RULES", "Affine", "AlphaBeta", "Epsilon", "Flat", "Gamma", "Rule", "Rules", "ZBox", "ZPlus", "stabilise"]

SMALL = 1e-9


@dataclasses.dataclass(frozen=True)
class Affine:
    """A layer y = w x + b at its input, whatever it is (convolution, linear, scaling).

    Attributes:
        x: the input.
        weight: w.
        bias: b.
        apply: (x, w, b) -> y.
        transpose: (something like y, w) -> w transposed times it, something like x.
        scaled: (factor for each output channel, w) -> w with its outputs multiplied; None where it can't be told.
    """

    x: Float[Tensor, "..."]
    weight: Float[Tensor, "..."]
    bias: Float[Tensor, "..."] | None
    apply: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    transpose: Callable[[Tensor, Tensor], Tensor]
    scaled: Callable[[Tensor, Tensor], Tensor] | None = None


@runtime_checkable
class Rule(Protocol):
    """Relevance of a layer's output -> relevance of its input."""

    def __call__(
        self, layer: Affine, output: Float[Tensor, "..."], relevance: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The relevance of `layer.x`; `output` is y."""
        ...


def stabilise(z: Float[Tensor, "..."], epsilon: float) -> Float[Tensor, "..."]:
    """Moves z by epsilon away from 0, and 0 upwards; epsilon is never less than the smallest normal number."""
    step = max(epsilon, torch.finfo(z.dtype).tiny)
    return (z >= 0).to(z.dtype).mul_(2 * step).sub_(step).add_(z)  # a fifth of the time of torch.where, to the bit


@dataclasses.dataclass(frozen=True)
class Epsilon:
    """x w / stab(z). With `signed` off epsilon is added whatever the sign, as the SR map's authors do."""

    epsilon: float = 1e-6
    signed: bool = True

    def __call__(
        self, layer: Affine, output: Float[Tensor, "..."], relevance: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The relevance of `layer.x`."""
        below = stabilise(output, self.epsilon) if self.signed else output + self.epsilon
        return layer.x * layer.transpose(relevance / below, layer.weight)


@dataclasses.dataclass(frozen=True)
class Gamma:
    """Epsilon with the positive weights, and biases, raised by the share gamma."""

    gamma: float = 0.25
    epsilon: float = SMALL

    def __call__(
        self, layer: Affine, output: Float[Tensor, "..."], relevance: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The relevance of `layer.x`."""
        weight = layer.weight + self.gamma * layer.weight.clamp(min=0)
        bias = None if layer.bias is None else layer.bias + self.gamma * layer.bias.clamp(min=0)
        z = layer.apply(layer.x, weight, bias)
        return layer.x * layer.transpose(relevance / stabilise(z, self.epsilon), weight)


@dataclasses.dataclass(frozen=True)
class ZPlus:
    """Positive weights only, no bias."""

    epsilon: float = SMALL

    def __call__(
        self, layer: Affine, output: Float[Tensor, "..."], relevance: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The relevance of `layer.x`."""
        weight = layer.weight.clamp(min=0)
        z = layer.apply(layer.x, weight, None) + self.epsilon
        return layer.x * layer.transpose(relevance / z, weight)


@dataclasses.dataclass(frozen=True)
class AlphaBeta:
    """Positive and negative parts of x w apart, weighted alpha and -beta; alpha - beta is 1.

    Without `bias` no bias takes part: in a deep network biases may take up all but a millionth.
    """

    alpha: float = 1.0
    beta: float = 0.0
    epsilon: float = SMALL
    bias: bool = True

    def __post_init__(self) -> None:
        if abs(self.alpha - self.beta - 1) > 1e-9 or self.beta < 0:
            raise ValueError(f"alpha - beta must be 1 and beta at least 0: got {self.alpha} and {self.beta}")

    def __call__(
        self, layer: Affine, output: Float[Tensor, "..."], relevance: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The relevance of `layer.x`."""
        found = self.alpha * self._part(layer, relevance, 1)
        return found - self.beta * self._part(layer, relevance, -1) if self.beta else found

    def _part(self, layer: Affine, relevance: Tensor, sign: int) -> Tensor:
        """What the products of one sign get of the relevance."""
        up, down = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
        pairs = [(layer.x.clamp(min=0), up if sign > 0 else down)]
        if bool((layer.x < 0).any()):
            pairs.append((layer.x.clamp(max=0), down if sign > 0 else up))
        bias = None if layer.bias is None or not self.bias else (sign * layer.bias).clamp(min=0) * sign
        z = layer.apply(*pairs[0], bias)
        for x, weight in pairs[1:]:
            z = z + layer.apply(x, weight, None)
        share = relevance / (z + sign * self.epsilon)
        parts = [x * layer.transpose(share, weight) for x, weight in pairs]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


@dataclasses.dataclass(frozen=True)
class ZBox:
    """For inputs between two bounds, which are numbers or one number a channel; no bias."""

    low: float | tuple[float, ...] = -1.0
    high: float | tuple[float, ...] = 1.0
    epsilon: float = SMALL

    def __call__(
        self, layer: Affine, output: Float[Tensor, "..."], relevance: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The relevance of `layer.x`."""
        weights = (layer.weight, layer.weight.clamp(min=0), layer.weight.clamp(max=0))
        inputs = (layer.x, -self._like(layer.x, self.low), -self._like(layer.x, self.high))
        z = sum((layer.apply(x, w, None) for x, w in zip(inputs, weights, strict=True)), torch.zeros_like(output))
        share = relevance / stabilise(z, self.epsilon)
        parts = (x * layer.transpose(share, w) for x, w in zip(inputs, weights, strict=True))
        return sum(parts, torch.zeros_like(layer.x))

    @staticmethod
    def _like(x: Tensor, bound: float | tuple[float, ...]) -> Tensor:
        if isinstance(bound, tuple):
            return x.new_tensor(bound).view(-1, *[1] * (x.ndim - 2)).expand_as(x)
        return torch.full_like(x, bound)


@dataclasses.dataclass(frozen=True)
class Flat:
    """Every input of a unit gets the same."""

    def __call__(
        self, layer: Affine, output: Float[Tensor, "..."], relevance: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The relevance of `layer.x`."""
        ones = torch.ones_like(layer.weight)
        count = layer.apply(torch.ones_like(layer.x), ones, None)
        return layer.transpose(relevance / count, ones)


@dataclasses.dataclass(frozen=True)
class Rules:
    """Which rule holds where: a set of rules, also called a composite.

    Attributes:
        convolution: of convolutions, with the batch norm behind them folded in.
        linear: of linear layers.
        first: of the first of either that the input reaches, if it is another.
        norm: of a batch norm that no convolution or linear layer stands before.
        epsilon: of sums, averages, maxima, products and layer norms.
        attention: `product` shares a head's relevance between weights and values (AttnLRP, Achtibat et al. 2024);
            `constant` takes the weights as constants (Ali et al. 2022), so all of it goes to the values.
        named: pairs of a module's name, which may hold `*`, and its rule; the first that fits wins over all above.
    """

    convolution: Rule = Epsilon()
    linear: Rule = Epsilon()
    first: Rule | None = None
    norm: Rule = Epsilon()
    epsilon: float = SMALL
    attention: Literal["product", "constant"] = "product"
    named: tuple[tuple[str, Rule], ...] = ()


RULES: dict[str, Rules] = {
    "salient_relevance": Rules(Epsilon(SMALL, signed=False), ZPlus()),
    "epsilon": Rules(),
    "gamma": Rules(Gamma(), Gamma()),
    "epsilon_gamma": Rules(Gamma(), Epsilon()),
    "epsilon_gamma_box": Rules(Gamma(), Epsilon(), first=ZBox()),
    "epsilon_plus": Rules(AlphaBeta(bias=False), Epsilon()),
    "epsilon_plus_flat": Rules(AlphaBeta(bias=False), Epsilon(), first=Flat()),
    "epsilon_alpha2_beta1": Rules(AlphaBeta(2.0, 1.0, bias=False), Epsilon()),
    "epsilon_alpha2_beta1_flat": Rules(AlphaBeta(2.0, 1.0, bias=False), Epsilon(), first=Flat()),
    "alpha1_beta0": Rules(AlphaBeta(), AlphaBeta()),
    "attention": Rules(),
    "attention_constant": Rules(attention="constant"),
}
"""Sets of rules by name. `salient_relevance` is the SR map's, `epsilon_plus` and its kin are for convolutional networks
(Montavon et al. 2019), `attention` and `attention_constant` for transformers."""
