"""A dual encoder of random weights, the same on every call: for tests and demonstrations, it knows nothing."""

from __future__ import annotations

from typing import Literal

import tokenizers
import torch
from tokenizers import decoders, models, pre_tokenizers, processors
from torch import nn
from torch.nn import functional as F

from deixis.inputs.preprocess import Preprocess
from deixis.inputs.tokenizer import Tokenizer
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.language.bert import Bert, BertConfig, MeanPooledText
from deixis.nn.vision.conse import ClassifierTower, ConSE
from deixis.nn.vision.vit import Vit, VitConfig

__all__ = ["byte_tokenizer", "load"]

WIDTH, FEATURES, CLASSES, SIDE, LENGTH = 16, 24, 12, 32, 64


def load(seed: int = 0, image: Literal["classifier", "vit"] = "classifier") -> DualEncoder:
    """A model of 32 pixels, width 16 and 24 features, in eval mode; texts are read byte by byte.

    Args:
        seed: equal seeds give equal weights; the global generator of random numbers is left as it was.
        image: the image tower: convolutions and a classifier, or a vision transformer.
    """
    tokenizer = byte_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = nn.Sequential(
            nn.Conv2d(3, FEATURES, 8, stride=8), nn.ReLU(), nn.Conv2d(FEATURES, FEATURES, 1), nn.ReLU()
        )
        head = ConSE(F.normalize(torch.randn(CLASSES, WIDTH), dim=-1), k=4, temperature=1.0)
        classifier = nn.Linear(FEATURES, CLASSES)
        nn.init.normal_(classifier.weight, std=4.0)
        tower: nn.Module = ClassifierTower(backbone, classifier, head)
        text = MeanPooledText(Bert(BertConfig(tokenizer.vocabulary, WIDTH, 1, 2, 2 * WIDTH, positions=LENGTH)))
        if image == "vit":
            tower = Vit(VitConfig(SIDE, 8, FEATURES, 1, 2, 2 * FEATURES, WIDTH))
    model = DualEncoder(
        tower,
        text,
        tokenizer=tokenizer,
        preprocess=Preprocess(SIDE, mode="pad", interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        traits=Traits(
            "tiny" if image == "classifier" else "tiny-vit", LENGTH, scale=20.0, licence="none needed: random numbers"
        ),
    )
    return model.eval()


def byte_tokenizer(decoder: bool = False) -> Tokenizer:
    """0 is padding, 1 and 2 stand around a text, the other 256 are its bytes.

    Args:
        decoder: whether the way back joins bytes to text; it is one of the tokenizer's rules.
    """
    marks = ["[PAD]", "[START]", "[END]"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    rules = tokenizers.Tokenizer(models.BPE({token: number for number, token in enumerate(marks + alphabet)}, []))
    rules.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if decoder:
        rules.decoder = decoders.ByteLevel()
    rules.add_special_tokens(marks)
    rules.post_processor = processors.TemplateProcessing(
        single="[START] $A [END]", special_tokens=[("[START]", 1), ("[END]", 2)]
    )
    return Tokenizer(rules)
