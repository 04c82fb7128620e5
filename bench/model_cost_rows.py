"""What an image costs on one core, for one model of each kind: `python -m bench.model_cost_rows`.

Processor seconds, which other programs on the machine hardly change, for a batch of 4 through the image tower as deixis
builds it, and the memory of its weights with what a further batch adds; weights are zeros, which takes as long. Rows
are added to results/model_cost.jsonl; `bench.published_rows` copies the seconds into the table of `deixis list models`.
"""

from __future__ import annotations

import json
import time

import torch

from bench.rows import ROOT, added_memory, environment
from deixis.zoo.layouts.openclip import build
from deixis.zoo.layouts.openclip_config import read_towers
from deixis.zoo.layouts.settings import StrictConfig
from deixis.zoo.published import find, published_models

__all__ = ["main"]

RESULTS = ROOT / "results" / "model_cost.jsonl"
KINDS = (
    *("ViT-B-32", "ViT-B-16", "ViT-L-14", "RN50", "ViT-B-16-SigLIP", "convnext_base", "MobileCLIP2-S0", "EVA02-B-16"),
    *("ViTamin-S", "PE-Core-B-16", "coca_ViT-B-32"),
)
BATCH = 4


def _measured(tower: torch.nn.Module, images: torch.Tensor) -> tuple[float, float]:
    """Processor seconds for an image, the least of three batches, and the MB that the second one adds."""
    times: list[float] = []

    def run() -> None:
        start = time.process_time()
        with torch.no_grad():
            tower(images)
        times.append((time.process_time() - start) / BATCH)

    run()
    memory = added_memory(run)
    run()
    return min(times), memory


def main() -> None:
    """Adds a row for each of `KINDS`."""
    torch.set_num_threads(1)
    for name in KINDS:
        model = find(next(each.name for each in published_models() if each.name.startswith(f"{name}/")))
        assert model is not None
        tower, _ = build(*read_towers(StrictConfig(model.settings["model_cfg"], name))[:2], name)
        state = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in tower.state_dict().items()}
        tower.load_state_dict(state, assign=True)
        images = torch.zeros(BATCH, 3, model.image_size, model.image_size)
        seconds, memory = _measured(tower.eval(), images)
        row = {
            "architecture": name,
            "image_size": model.image_size,
            "parameters": model.image_parameters,
            "seconds": float(f"{seconds:.3g}"),
            "megabytes": round(model.image_parameters * 4 / 1e6 + memory),
            "batch": BATCH,
            **environment(1),
        }
        with open(RESULTS, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


if __name__ == "__main__":
    main()
