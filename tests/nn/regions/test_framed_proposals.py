"""Regions lie in the frame of another part's preprocessing, whoever reads the picture."""

from __future__ import annotations

import numpy as np
import torch

from deixis import zoo
from deixis.inputs.preprocess import Preprocess
from deixis.nn.regions.framed_proposals import FramedProposals

SEEN = Preprocess(64, mode="pad", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), fill=0)


def test_a_picture_read_in_the_frame_and_one_resized_from_the_other_part_give_the_same_regions() -> None:
    part = zoo.load_part("proposals", "tiny")
    framed = FramedProposals(part, SEEN)
    rows, columns = np.mgrid[:96, :32] * 2
    picture = np.stack([rows, columns * 2, rows * 0 + 90], axis=-1).astype(np.uint8)
    assert (framed.preprocess.size, framed.preprocess.mode) == (part.preprocess.size, "pad")
    read, resized = framed.regions(framed.preprocess.batch([picture])), framed.of_frame(SEEN.batch([picture]))
    colours = slice(0, 3)
    torch.testing.assert_close(read.features[..., colours], resized.features[..., colours], rtol=0.05, atol=0.05)
    squashed = part(part.preprocess.batch([picture]))
    apart = (squashed.features - read.features)[..., colours].abs().max()
    assert float(apart) > 0.2, "another frame shows other regions"
