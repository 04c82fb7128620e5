"""The detector: what is said without it, and, with it, that it gives what TensorFlow.js gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from deixis import zoo
from deixis.data.datasets.sources.detector import DETECTOR
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.ops.regions.boxes import pairwise_iou
from deixis.zoo import detector

Fetched = Callable[[str], Path]

EXPECTED = {
    "heat": (0.00197068, 0.000183624, 0.00131225, 0.00166546),
    "sides": (18.7614, 31.7334, 54.2489, 4.45414),
    "features": (0.0736972, 0.130771, 0.0, 2.08706),
}
"""Four values of each map, of a picture of ramps and squares."""


def test_without_its_files_the_detector_says_how_to_get_them() -> None:
    with pytest.raises(DeixisError, match=r"centernet.json, centernet.bin missing.*deixis data get detector"):
        zoo.load_part("proposals", "centernet")
    cache_dir("detector").mkdir(parents=True)
    (cache_dir("detector") / detector.FILES[0]).write_text("{}")
    with pytest.raises(DeixisError, match=r"\(centernet.bin missing\)"):
        zoo.load_part("proposals", "centernet")
    (cache_dir("detector") / detector.FILES[1]).write_text("")
    with pytest.raises(
        DeixisError, match=r"no graph of TensorFlow.*Remove the folder .*, then run: deixis data get detector"
    ):
        zoo.load_part("proposals", "centernet")


def test_fetching_brings_the_files_that_loading_reads() -> None:
    assert tuple(DETECTOR.files) == detector.FILES
    assert len(detector.CLASSES) == len(set(detector.CLASSES)) == 80


@pytest.mark.slow
def test_the_heat_maps_are_those_of_tensorflow_js(fetched: Fetched) -> None:
    fetched("detector")
    part = zoo.load_part("proposals", "centernet")
    y, x = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    image = torch.stack([x / 2, y / 2, ((x // 64 + y // 64) % 2) * 200])[None].floor()
    with torch.no_grad():
        maps = part._read(part.network(image))
    # from @tensorflow/tfjs-converter 4.22.0 with its plain backend
    for name, expected in EXPECTED.items():
        found = maps[name][0, [0, 1, 2, 3], [3, 40, 90, 127], [5, 60, 100, 127]]
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_on_the_dog_picture_eight_images_at_once_give_what_each_gives_alone(fetched: Fetched) -> None:
    fetched("detector")
    dog = fetched("photos") / "darknet/dog.jpg"
    part = zoo.load_part("proposals", "centernet")
    images = part.preprocess.batch([dog])
    batch = torch.cat([images, *(images.roll(shift, -1) for shift in range(20, 160, 20))])
    with torch.no_grad():
        together, alone = part(batch), [part(each[None]) for each in batch]
    for row, single in enumerate(alone):
        count = int(single.valid.sum())
        assert int(together.valid[row].sum()) == count
        for name in ("boxes", "scores", "features", "classes"):
            torch.testing.assert_close(getattr(together, name)[row, :count], getattr(single, name)[0, :count])
    # boxes drawn by eye
    for kind, box in {
        "bicycle": (0.15, 0.2, 0.745, 0.745),
        "dog": (0.17, 0.38, 0.405, 0.94),
        "truck": (0.61, 0.13, 0.895, 0.295),
    }.items():
        of_kind = together.scores[0] * together.classes[0, :, part.classes.index(kind)] / together.classes[0].amax(-1)
        assert pairwise_iou(together.boxes[0, of_kind.argmax()][None], torch.tensor([box])) >= 0.75, kind


@pytest.mark.slow
def test_a_second_load_reads_what_the_first_converted(fetched: Fetched) -> None:
    folder = fetched("detector")
    first = zoo.load_part("proposals", "centernet:5")
    assert (folder / "centernet.safetensors").is_file()
    (folder / "centernet.safetensors").write_bytes(b"damaged")
    second = zoo.load_part("proposals", "centernet")
    assert (first.count, second.count) == (5, 20)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
