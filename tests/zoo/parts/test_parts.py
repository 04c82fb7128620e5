"""Kinds of parts are files, found by listing; what they say they load, they load, and it keeps the kind's Protocol."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deixis import zoo
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.nn.fingerprint import fingerprint
from deixis.types import protocols
from deixis.zoo import parts, scratch
from deixis.zoo.parts import kinds, load_part, part_kind
from tests.house import HEAVY
from tests.support import texts

KINDS = kinds()
CLASSES: dict[str, Any] = {"DualEncoder": DualEncoder, **vars(protocols)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_says_what_it_gives_which_names_it_loads_and_what_each_costs(kind: str) -> None:
    declared = part_kind(kind)
    assert declared.gives
    assert declared.sources
    for source in declared.sources:
        assert source.form
        assert source.example
        assert source.gives


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_has_all_members_of_the_kinds_protocol(kind: str) -> None:
    assert isinstance(load_part(kind, "tiny"), CLASSES[part_kind(kind).protocol])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_loaded_by_the_same_call(kind: str) -> None:
    assert load_part(kind, "tiny", source=texts("a cat"), seed=3) is not None


@pytest.mark.parametrize("kind", ["dual_encoder", "text_encoder", "lm"])
def test_a_new_part_knows_the_words_of_the_data_and_there_must_be_some(kind: str) -> None:
    part = load_part(kind, "scratch:tiny", source=texts("a red bird", "a boat"))
    assert part.tokenizer.vocabulary == len(scratch.MARKS) + 4
    with pytest.raises(DeixisError, match="'texts' has no captions, and a new model knows the words of its captions"):
        load_part(kind, "scratch:tiny", source=texts(" "))


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_that_exists_already_is_given_back(kind: str) -> None:
    part = load_part(kind, "tiny")
    again = load_part(kind, part)
    assert again is part or again == part


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_name_gives_an_equal_part(kind: str) -> None:
    assert fingerprint(load_part(kind, "tiny")) == fingerprint(load_part(kind, "tiny"))


def test_what_the_kinds_declare_is_read_without_torch() -> None:
    code = "import sys; from deixis.zoo.parts import kinds, part_kind; [part_kind(kind) for kind in kinds()]"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(set({HEAVY!r}) & set(sys.modules))"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "set()"


def test_a_new_kind_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_kind.py").write_text(
        "from deixis.types import PartKind, PartSource\n"
        'PART = PartKind("a toy", "Toy", (PartSource("NAME", "ball", "a ball"),))\n'
        "def load(name: str, size: int = 1) -> tuple[str, int]:\n    return name, size\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(parts, "__path__", [*parts.__path__, str(tmp_path)])
    assert "toy_kind" in kinds()
    assert zoo.load_part("toy_kind", "ball", size=3) == ("ball", 3)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("image_towers", "tiny", r"no kind of part 'image_towers'. Did you mean 'image_tower'\? The kinds are: dual_"),
        ("lm", "gpt2", r"no lm called 'gpt2'. There are: tiny .*scratch"),
        ("proposals", "detr", r"Mask proposals come with OVDiff. There are: centernet"),
        ("sampler", "sd15", r"Stable Diffusion is not loaded here.* There are: set:NAME"),
        *(
            (
                "sampler",
                f"diffusers:{name}",
                r"draws by diffusion, and none that does can be built here.* Give a folder",
            )
            for name in ("./sd", "/models/sd15", "stable-diffusion-v1-5", "runwayml/stable-diffusion-v1-5", "")
        ),
        ("text_encoder", "minilm6", r"no model called 'minilm6'"),
        ("dual_encoder", "scratch", r"a new model, whose words come from captions"),
        ("image_tower", "scratch:rnn", r"'rnn' is unknown"),
    ],
)
def test_a_name_that_is_not_loaded_is_told_with_what_is(kind: str, name: str, said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        load_part(kind, name)
