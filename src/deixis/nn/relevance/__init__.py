"""Layer-wise relevance propagation: how much of a score each pixel, word or hidden value carries.

    found = relevance(model, images, lambda logits: logits[:, 3], rules="epsilon_plus_flat")

The network runs as it is, whatever its modules are, while each torch function it calls is looked up in a table
(`FUNCTIONS`) and given a backward that is a rule (`RULES`). Sums, skips and pools share by their parts (epsilon rule);
batch norms are folded into the layer before; activations hand relevance on; layer norms and normalised embeddings take
their norm as a constant; attention follows AttnLRP (Achtibat et al. 2024, equations 11 and 13) or takes its weights as
constants (Ali et al. 2022). Relevance starts as output times gradient of the score: the logit at its place, or the
parts of a cosine, which sum to it. What has no rule is refused by name.
"""

from __future__ import annotations

from deixis.nn.relevance.attribution import Relevance, relevance
from deixis.nn.relevance.functions import FUNCTIONS
from deixis.nn.relevance.pairs import pair_score, text_relevance
from deixis.nn.relevance.rules import RULES, AlphaBeta, Epsilon, Flat, Gamma, Rule, Rules, ZBox, ZPlus
from deixis.nn.relevance.words import TextGradients, text_gradients

__all__ = [
    "FUNCTIONS",
    "RULES",
    "AlphaBeta",
    "Epsilon",
    "Flat",
    "Gamma",
    "Relevance",
    "Rule",
    "Rules",
    "TextGradients",
    "ZBox",
    "ZPlus",
    "pair_score",
    "relevance",
    "text_gradients",
    "text_relevance",
]
