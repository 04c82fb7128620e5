"""Each number of `paper()` against what the papers and their code give, in one table."""

from __future__ import annotations

from typing import Any

import pytest

from deixis.methods import list_methods, read

_CONTEXT = {
    "optim.optimiser": "sgd",
    "optim.learning_rate": 0.002,
    "optim.weight_decay": 5e-4,
    "optim.decay_1d": True,  # of the context vectors, also where there is one
    "warmup_epochs": 1,
    "warmup_rate": 1e-5,
    "spread": 0.02,
    "position": "end",
    "shared": True,
}
"""Of CoOp, whose optimiser, schedule and start the papers that follow keep."""

PUBLISHED: dict[str, dict[str, Any]] = {
    "align": {
        "temperature": 1.0,
        "smoothing": 0.1,
        "optim.optimiser": "lamb",
        "optim.learning_rate": 1e-3,
        "optim.weight_decay": 1e-5,
        "optim.schedule": "linear",
        "optim.warmup": 10_000,
        "view.augment.scale": ((289 / 346) ** 2, (289 / 346) ** 2),
        "view.augment.shape": "image",
        "view.augment.flip": 0.5,
    },
    "clip": {
        "scale": 1 / 0.07,
        "highest_scale": 100.0,
        "share_repeats": False,
        "layers": "all",
        "optim.optimiser": "adamw",
        "optim.learning_rate": 5e-4,
        "optim.weight_decay": 0.2,
        "optim.betas": (0.9, 0.98),
        "optim.eps": 1e-6,
        "optim.schedule": "cosine",
        "optim.warmup": 2000,
        "optim.decay_1d": False,  # all but gains and biases
        "view.augment.shape": "square",
        "view.augment.scale": (1.0, 1.0),
        "view.augment.flip": 0.0,
    },
    "dreamlip": {
        "scale": 1 / 0.07,
        "share_repeats": False,
        "layers": "all",
        "sample.captions": 7,  # with the raw one; these and what follows of the released code
        "sample.keep_first": True,
        "grouping": 1.0,
        "threshold": 0.0,
        "negatives": "slot",
        "group_negatives": "image",  # of the paper; the code has the whole batch
        "optim.learning_rate": 5e-4,
        "optim.weight_decay": 0.2,
        "optim.betas": (0.9, 0.98),
        "optim.schedule": "cosine",
        "optim.warmup": 2000,
    },
    "perceptual_init": {
        "order": "before",
        "margin": 0.05,
        "distance": "plain",
        "highest_scale": 100.0,
        "share_repeats": False,
        "layers": "all",
        "optim.learning_rate": 5e-4,
        "optim.weight_decay": 0.1,
        "optim.betas": (0.9, 0.98),
        "optim.eps": 1e-8,
        "optim.clip": 3.0,
        "optim.schedule": "cosine",
        "optim.warmup": 2500,
    },
    "plip": {
        "contrast": "cmpm",
        "colour": 0.02,
        "attributes": 0.1,
        "masking": "phrases",
        "fusion": "sum",
        "decoder": 256,
        "optim.learning_rate": 2e-3,
        "optim.schedule": "step",
        "optim.milestones": (30 / 70, 50 / 70),
        "optim.gamma": 0.1,
        "optim.warmup": 10 / 70,
        "view.augment.flip": 0.5,
    },
    "filip": {
        "scale": 1 / 0.07,
        "share_repeats": False,
        "layers": "all",
        "keep": 0.25,
        "optim.optimiser": "lamb",
        "optim.learning_rate": 2e-3 * (40_960 / 512) ** 0.5,
        "optim.weight_decay": 3e-3,
        "optim.betas": (0.9, 0.999),
        "optim.eps": 1e-4,
        "optim.schedule": "cosine",
        "optim.warmup": 3000,
        "optim.decay_1d": False,  # nor embeddings: `test_filip`
    },
    "coop": {**_CONTEXT, "vectors": 16, "words": "", "epochs": 200},
    "cocoop": {**_CONTEXT, "words": "a photo of a", "epochs": 10, "reduction": 16},
    "pre": {
        **_CONTEXT,
        "words": "a photo of a",
        "epochs": 50,
        "network": "bilstm",
        "residual": True,
        "separate": False,
        "bottleneck": 64,
    },
    "fairness_indicators": {
        "topk": 5,
        "ks": (1, 5, 10, 50),
    },
    "pixpro": {
        "encoder": "timm:resnet50:untrained",
        "layers": "all",
        "statistics": True,
        "hidden": 4096,
        "width": 256,
        "objective": "consistency",
        "predictor": "propagation",
        "gamma": 2.0,
        "clamp": 0.0,
        "transform": "conv1",
        "ratio": 0.7,
        "instance": 0.0,
        "momentum": 0.99,
        "optim.optimiser": "lars",
        "optim.learning_rate": 1.0 * 1024 / 256,
        "optim.momentum": 0.9,
        "optim.weight_decay": 1e-5,
        "optim.decay_1d": False,
        "optim.schedule": "cosine",
        "optim.warmup": 5 / 100,
    },
    "mdetr": {
        "queries": "learned",
        "count": 100,
        "stride": 32,
        "width": 256,
        "heads": 8,
        "hidden": 2048,
        "layers": 6,
        "dropout": 0.1,
        "slots": 255,
        "alignment_width": 64,
        "temperature": 0.07,
        "count_padding": True,
        "no_object": 0.1,
        "token_weight": 1.0,
        "alignment_weight": 1.0,
        "box_weight": 5.0,
        "giou_weight": 2.0,
        "meeting": "joint",
        "contrast": 0.0,
        "focal_alpha": 0.25,
        "focal_gamma": 2.0,
        "average": 0.9998,
        "optim.optimiser": "adamw",
        "optim.learning_rate": 1e-4,
        "optim.weight_decay": 1e-4,
        "optim.clip": 0.1,
        "optim.schedule": "step",
        "optim.milestones": (35 / 40,),
        "view.size": 800,
        "view.longest": 1333,
    },
    "normgrad": {"cell": "norm_grad_selective", "combine": "product", "depth": "uniform", "rate": 0.0025},
    "projection_head": {  # of the co-author's code and of a reproduction; the paper's text could not be read
        "loss": "supcon",
        "head": "mlp",
        "hidden": 512,
        "width": 128,
        "kappa": 1.5,
        "temperature": 0.5,
        "layers": "all",
        "statistics": True,
        "optim.optimiser": "sgd",
        "optim.learning_rate": 0.1,
        "optim.weight_decay": 1e-6,
    },
    "seer": {
        "layers": "all",
        "statistics": True,
        "hidden": (8192, 8192),
        "width": 256,
        "norm": False,
        "prototypes": 16_000,
        "power": 0.0,
        "assigning": 2,
        "temperature": 0.1,
        "epsilon": 0.03,
        "rounds": 10,
        "hard_steps": 0,
        "held_steps": 313,
        "queue": 0,
        "optim.optimiser": "lars",
        "optim.learning_rate": 0.3 * 7936 / 256,
        "optim.momentum": 0.9,
        "optim.weight_decay": 1e-5,
        "optim.schedule": "cosine",
        "optim.warmup": 0.043648,
        "optim.floor": 1e-3,
    },
    "srmap": {
        "rules": "salient_relevance",
        "step": "salient",
        "longest": 250,
        "scales": (1.0, 0.8, 0.5, 0.3),
        "half_sizes": (3, 2, 1, 1),
        "relative_scales": (1.0, 0.5, 0.25),
        "min_scale": 0.2,
        "nearest": 64,
        "position_weight": 3.0,
        "foci": 0.8,
    },
}
"""Method -> field -> value, as published; where a paper names none, as its code has it."""


def value(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_settings_as_published_are_those_of_the_paper(name: str) -> None:
    config = read(name).config.paper()
    assert {path: value(config, path) for path in PUBLISHED[name]} == PUBLISHED[name]


def test_no_paper_is_missing_from_the_table() -> None:
    assert not {name for name in list_methods() if read(name).card.role == "paper"} - set(PUBLISHED)
