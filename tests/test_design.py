"""The signatures in docs/design.md are held to the types that they are written in."""

from __future__ import annotations

import ast
import dataclasses
import re
import typing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deixis.types import CAPABILITIES, Batch, Card, FieldSpec, SampleSpec, Stage, ViewSpec, specs
from deixis.types.batch import CORE_FIELDS, concatenate

PAGE = Path(__file__).parents[1] / "docs" / "design.md"
CHAPTER = PAGE.read_text(encoding="utf-8").split("## How eight odd papers fit")[1].split("\n## ")[0]
PAPERS = dict(re.findall(r"^### ([^:\n]+):?.*?^```python no-run\n(.*?)^```", CHAPTER, re.MULTILINE | re.DOTALL))
SMALL = {"size": 3, "F": 12, "C": 7, "S": 2, "T": 4}


@dataclasses.dataclass(frozen=True)
class Sketch:
    """What a block declares."""

    card: Card
    config: type
    stages: tuple[Stage, ...]
    functions: dict[str, ast.FunctionDef]

    @property
    def all_needs(self) -> tuple[tuple[FieldSpec, ...], ...]:
        return (self.card.needs, *(s.needs for s in self.stages if s.needs is not None))


def sketch(name: str) -> Sketch:
    """Runs a block's literals; everything else in it is only parsed."""
    tree = ast.parse(PAPERS[name])
    literals = [
        n for n in tree.body if isinstance(n, ast.Assign) or (isinstance(n, ast.ClassDef) and n.name == "Config")
    ]
    scope: dict[str, Any] = {each: getattr(specs, each) for each in specs.__all__}
    scope |= {"dataclass": dataclasses.dataclass, "Literal": typing.Literal, "__name__": __name__}
    exec(compile(ast.Module(literals, []), str(PAGE), "exec"), scope)
    method = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Method")
    functions = {n.name: n for n in method.body if isinstance(n, ast.FunctionDef)}
    stages: tuple[Stage, ...] = ()
    if "stages" in functions:
        answer = functions["stages"].body[-1]
        assert isinstance(answer, ast.Return)
        scope["self"] = SimpleNamespace(config=scope["Config"])
        stages = eval(compile(ast.Expression(answer.value), str(PAGE), "eval"), scope)
    return Sketch(scope["CARD"], scope["Config"], stages, functions)


def default(config: type, name: str, otherwise: Any) -> Any:
    return getattr(config, name, otherwise)


@pytest.fixture(params=list(PAPERS))
def paper(request: pytest.FixtureRequest) -> Sketch:
    return sketch(request.param)


def small(view: ViewSpec) -> ViewSpec:
    """The same shape of view at a sixteenth of its size."""
    return dataclasses.replace(view, size=view.size // 16, width=view.width // 16, longest=view.longest // 16)


def test_all_eight_papers_have_a_block() -> None:
    assert len(PAPERS) == CHAPTER.count("```python no-run") == 8


def test_every_capability_is_in_the_table_and_has_its_arguments(paper: Sketch) -> None:
    assert paper.card.capabilities
    for name in paper.card.capabilities:
        wanted = [argument.split(":")[0] for argument in CAPABILITIES[name].arguments]
        given = [argument.arg for argument in paper.functions[name].args.args[1:]]
        assert given[: len(wanted)] == wanted, name
        required = len(given) - len(paper.functions[name].args.defaults)
        assert required <= len(wanted), f"{name} asks for more than the table gives"


def test_core_fields_keep_their_axes_and_extra_fields_do_not_shadow_the_batch(paper: Sketch) -> None:
    taken = {field.name for field in dataclasses.fields(Batch)}
    for spec in (spec for needs in paper.all_needs for spec in needs):
        core = CORE_FIELDS.get(spec.name)
        if core:
            assert (spec.axes, spec.dtype) == (core.axes, core.dtype), spec.name
            assert set(core.ragged.split()) <= set(spec.ragged.split()), spec.name
        else:
            assert spec.name not in taken, spec.name


def test_every_part_has_a_config_field_and_a_constructor_argument_of_its_name(paper: Sketch) -> None:
    fields = {field.name: field for field in dataclasses.fields(paper.config)}
    arguments = {argument.arg for argument in paper.functions["__init__"].args.kwonlyargs}
    assert arguments == {part.name for part in paper.card.parts}
    for part in paper.card.parts:
        assert ("tuple" in str(fields[part.name].type)) == part.many, part.name
        if part.optional:
            assert fields[part.name].default == "", part.name


def test_a_tokenizer_is_that_of_a_part(paper: Sketch) -> None:
    tokens = any(spec.name == "tokens" for spec in paper.card.needs)
    spec = default(paper.config, "sample", None)
    assert spec or not tokens
    if spec:
        assert spec.tokenizer in {part.name for part in paper.card.parts}


def test_a_stage_reads_only_what_the_card_lists(paper: Sketch) -> None:
    listed = set(paper.card.needs)
    for stage in paper.stages:
        assert set(stage.needs if stage.needs is not None else paper.card.needs) <= listed, stage.name
    if paper.stages and paper.card.kind == "trained":
        read = {s for stage in paper.stages for s in (stage.needs if stage.needs is not None else paper.card.needs)}
        assert read == listed


def test_what_a_stage_trains_is_no_frozen_part(paper: Sketch) -> None:
    frozen = [part.name for part in paper.card.parts if part.frozen]
    for prefix in (prefix for stage in paper.stages for prefix in stage.trainable):
        assert prefix.split(".")[0] not in frozen


def test_a_kind_has_the_functions_it_is_called_by(paper: Sketch) -> None:
    kinds = {stage.kind for stage in paper.stages}
    if paper.card.kind == "trained":
        assert "forward" in paper.functions or {"encode", "loss"} <= set(paper.functions)
    assert ("fit" in kinds) == ("finish" in paper.functions)
    reads = any(stage.kind == "fit" and stage.needs != () for stage in paper.stages)
    assert reads == ("observe" in paper.functions)


def test_the_batch_can_be_made_split_and_put_together_again(paper: Sketch) -> None:
    view, sample = (
        default(paper.config, "view", ViewSpec(size=512)),
        default(paper.config, "sample", SampleSpec(length=6)),
    )
    for needs in paper.all_needs:
        batch = Batch.synthetic(needs, small(view), dataclasses.replace(sample, length=6), **SMALL)
        assert set(batch.extra) == {spec.name for spec in needs} - set(CORE_FIELDS)
        again = concatenate(batch.split(2))
        assert again.ids == batch.ids
        for name in CORE_FIELDS:
            value = getattr(batch, name)
            if isinstance(value, torch.Tensor):
                assert torch.equal(getattr(again, name), value), name
        assert all(torch.equal(again.extra[name], value) for name, value in batch.extra.items())


def test_what_is_not_valid_is_zero_along_every_ragged_axis(paper: Sketch) -> None:
    view = default(paper.config, "view", ViewSpec(size=512))
    batch = Batch.synthetic(paper.card.needs, small(view), SampleSpec(length=6), **SMALL)
    for spec in paper.card.needs:
        value = batch.extra[spec.name] if spec.name in batch.extra else getattr(batch, spec.name)
        for letter in spec.ragged.split():
            mask, axes = batch.valid[letter], spec.axes.split()
            for i in range(len(batch)):
                row = value[i].movedim(axes.index(letter) - 1, 0)
                if letter == "L":
                    row, real = value[i, 0], mask[i, 0]
                else:
                    real = mask[i]
                assert not row[~real].any(), (spec.name, letter)


def test_spans_lie_inside_the_caption_and_distributions_sum_to_one() -> None:
    needs = (
        FieldSpec("tokens", "B K L", "long", ragged="L"),
        FieldSpec("spans", "B T S 2", "long", ragged="T", values="spans"),
        FieldSpec("shares", "B T C", ragged="T", values="distribution"),
    )
    batch = Batch.synthetic(needs, size=20, seed=1, S=3)
    spans, real = batch.spans, batch.valid["T"]
    assert spans is not None
    lengths = batch.valid["L"][:, 0].sum(-1)
    assert (spans[..., 1] <= lengths[:, None, None]).all()
    assert (spans[..., 0] < spans[..., 1])[real].all()
    assert not spans[~real].any()
    torch.testing.assert_close(batch.extra["shares"].sum(-1), real.float())


def test_a_view_may_be_wider_than_high() -> None:
    images = Batch.synthetic((FieldSpec("images", "B 3 H W"),), ViewSpec(size=32, width=128)).images
    assert images is not None
    assert images.shape[1:] == (3, 32, 128)
