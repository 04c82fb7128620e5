"""desk-clip: what is said where a piece of it is missing or another, and that the shipped file was built."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.desk_clip import ROWS
from bench.desk_clip_data import CONCEPTS, concepts, divide
from deixis import zoo
from deixis.errors import DeixisError
from deixis.files import content_hash
from deixis.zoo import desk_clip

Fetched = Callable[[str], Path]


def rows(kind: str) -> list[dict]:
    lines = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_without_the_starter_desk_clip_says_how_to_get_it() -> None:
    with pytest.raises(DeixisError, match=r"desk-clip is made of the starter.*deixis data get desk-clip"):
        zoo.load("desk-clip")


def test_a_file_of_changes_that_is_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "desk_clip.safetensors"
    with pytest.raises(DeixisError, match=r"is missing.*make desk-clip"):
        desk_clip.read_changes(path)
    save_file({"scale": torch.tensor(20.0)}, path)
    with pytest.raises(DeixisError, match=r"SHA-256 [0-9a-f]{64}, and 00 was expected: it is refused"):
        desk_clip.read_changes(path, "00")
    path.write_bytes(b"no tensors")
    with pytest.raises(DeixisError, match=r"can't be read.*make desk-clip"):
        desk_clip.read_changes(path)


def test_a_tensor_that_has_no_place_in_the_model_is_named() -> None:
    with pytest.raises(DeixisError, match="no place for the tensor"):
        desk_clip.add_changes(zoo.load("tiny"), {"image_tower.more": torch.ones(1), "scale": torch.tensor(20.0)})


def test_the_file_in_the_package_is_small_in_half_precision_and_has_a_row() -> None:
    changes = desk_clip.read_changes(desk_clip.WEIGHTS, desk_clip.SHA256)
    assert desk_clip.WEIGHTS.stat().st_size <= 12e6
    assert {each.dtype for name, each in changes.items() if "tower" in name} == {torch.float16}
    [row] = [row for row in rows("build") if row["sha256"] == desk_clip.SHA256]
    assert row["pictures"] >= len(changes["trained_on"]) == len(desk_clip.trained_on())
    assert row["seconds"] + row["encoding_seconds"] <= 40 * 60


def test_the_shipped_build_lies_within_the_spread_of_all() -> None:
    builds = {row["sha256"] for row in rows("build")}
    test = [row for row in rows("test") if row["metric"] == "mean_mrr"]
    assert len(builds) > 1
    assert {row["sha256"] for row in test} == builds
    for name in {row["set"] for row in test}:
        mrr = {row["sha256"]: row["desk_clip"][0] for row in test if row["set"] == name}
        others = [value for sha256, value in mrr.items() if sha256 != desk_clip.SHA256]
        assert min(others) - 0.03 <= mrr[desk_clip.SHA256] <= max(others) + 0.03


def test_a_third_of_the_concepts_is_never_trained_on_and_a_tenth_of_the_others_chosen_on() -> None:
    parts = divide([f"code:{number:X}" for number in range(300)])
    counts = {part: list(parts.values()).count(part) for part in ("unseen", "choice", "train")}
    assert counts == {"unseen": 100, "choice": 20, "train": 180}
    assert parts == divide([f"code:{number:X}" for number in reversed(range(300))])
    listed = list(concepts().values())
    assert (listed.count("unseen"), listed.count("choice")) == (550, 110)


@pytest.mark.slow
def test_no_picture_of_what_it_never_sees_was_trained_on(fetched: Fetched) -> None:
    from bench.desk_clip_data import concept_codes, emoji_samples, pairs, write
    from deixis.data import catalogue

    for name in ("emoji", "emoji-styles", "clipart", "stamps", "art4apps"):
        fetched(name)
    samples, seen = emoji_samples(), desk_clip.trained_on()
    write(CONCEPTS.with_suffix(".again"))
    again = CONCEPTS.with_suffix(".again")
    try:
        assert again.read_text() == CONCEPTS.read_text()
    finally:
        again.unlink()
    hidden = [
        sample
        for sample, code in zip(samples, concept_codes(samples), strict=True)
        if concepts().get(code) == "unseen" or sample.extra.get("style") == "openmoji"
    ]
    others = [sample for name in ("stamps", "art4apps") for sample in catalogue.read(name).samples]
    assert not seen & {content_hash(sample.picture) for sample in (*hidden, *others)}
    drawn = {content_hash(pair.sample.picture) for pair in pairs() if isinstance(pair.sample.picture, Path)}
    assert drawn <= seen


@pytest.mark.slow
def test_desk_clip_loads_with_the_scale_it_was_trained_to_and_matches_drawings(fetched: Fetched) -> None:
    fetched("starter")
    model = zoo.load("desk-clip")
    assert (model.name, model.width) == ("desk-clip", desk_clip.WIDTH)
    assert model.scale == pytest.approx(float(desk_clip.read_changes(desk_clip.WEIGHTS)["scale"]))
    assert zoo.load("desk-clip").fingerprint() == model.fingerprint() != desk_clip.untrained().fingerprint()
