"""Writes `src/deixis/zoo/published.json`, what `deixis list models` shows: `python -m bench.published_rows`.

Names, repositories, configs and preprocessing are those of the installed open_clip; parameters are counted on the meta
device. Zero-shot accuracies on ImageNet are open_clip's (docs/openclip_results.csv of its repository, commit f862f86,
copied to openclip_imagenet.csv beside this file); where it has none, none is given. Licences are those that timm tells
of the same weights; where it knows none, none is given.
"""

from __future__ import annotations

import csv
import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

from bench.rows import ROOT
from bench.zoo_rows import architectures, parameters

__all__ = ["main"]

TABLE = ROOT / "src" / "deixis" / "zoo" / "published.json"
ACCURACIES = Path(__file__).with_name("openclip_imagenet.csv")
COSTS = ROOT / "results" / "model_cost.jsonl"
SOURCE = "https://github.com/mlfoundations/open_clip/blob/f862f86/docs/openclip_results.csv"

# Repository -> a network of timm with the same weights, whose licence timm tells.
_SAME = (
    (r"timm/.*SigLIP2.*", "vit_base_patch16_siglip_224.v2_webli"),
    (r"timm/.*SigLIP.*", "vit_base_patch16_siglip_224.webli"),
    (r"timm/PE-Core.*", "vit_pe_core_base_patch16_224.fb"),
    (r"timm/eva.*", "eva02_base_patch16_clip_224.merged2b"),
    (r"apple/DFN2B.*", "vit_base_patch16_clip_224.dfn2b"),
    (r"apple/DFN5B.*", "vit_huge_patch14_clip_224.dfn5b"),
    (r"apple/MobileCLIP-.*", "fastvit_mci1.apple_mclip"),
    (r"timm/MobileCLIP2.*", "fastvit_mci0.apple_mclip2_dfndr2b"),
    (r"jienengchen/.*", "vitamin_base_224.datacomp1b_clip"),
)
_MULTILINGUAL = r".*(i18n|SigLIP2|worldwide|xlm-roberta|nllb|mt5).*"


def licence(repository: str) -> str:
    """Of the weights in a repository, as timm tells it; empty where it does not know them."""
    from timm.models import get_pretrained_cfg

    same = next((network for pattern, network in _SAME if re.fullmatch(pattern, repository)), "")
    own = repository.removeprefix("timm/")
    for network in filter(None, (own if own != repository else "", same)):
        try:
            found = get_pretrained_cfg(network)
        except (RuntimeError, ValueError, KeyError):
            continue
        if found is not None and found.license:
            return str(found.license)
    return ""


def costs() -> dict[str, float]:
    """Architecture -> processor seconds for an image on one core, from the rows of `bench.model_cost_rows`."""
    lines = COSTS.read_text(encoding="utf-8").splitlines() if COSTS.is_file() else []
    return {row["architecture"]: row["seconds"] for row in map(json.loads, lines)}


def main() -> None:
    """Writes the table."""
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    lines = csv.DictReader(ACCURACIES.read_text(encoding="utf-8").splitlines())
    accuracies = {(line["name"], line["pretrained"]): float(line["imagenet"]) for line in lines}
    seconds = costs()
    models: dict[str, Any] = {}
    for name, tags in architectures().items():
        if not tags:
            continue
        weights = {}
        for tag in tags:
            told = get_pretrained_cfg(name, tag)
            repository, _, file = told["hf_hub"].rpartition("/")
            weights[tag] = {
                "repository": repository,
                **({"file": file} if file else {}),
                "licence": licence(repository),
                "imagenet": accuracies.get((name, tag)),
                "preprocess": {
                    key: told[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in told
                },
            }
        whole, image = parameters(name)
        models[name] = {
            "config": open_clip.get_model_config(name),
            "parameters": whole,
            "image_parameters": image,
            **({"seconds": seconds[name]} if name in seconds else {}),
            "languages": "multilingual" if re.fullmatch(_MULTILINGUAL, name) else "English",
            "weights": weights,
        }
    table = {"open_clip": importlib.metadata.version("open_clip_torch"), "imagenet_source": SOURCE, "models": models}
    TABLE.write_text(json.dumps(table, separators=(",", ":")).replace('},"', '},\n"') + "\n", encoding="utf-8")
    print(f"{TABLE}: {len(models)} architectures, {sum(len(each['weights']) for each in models.values())} checkpoints")


if __name__ == "__main__":
    main()
