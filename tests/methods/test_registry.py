"""A method is found by its file's name, and what it declares is read without running it."""

from __future__ import annotations

import dataclasses
import textwrap
import typing
from collections.abc import Callable
from pathlib import Path

import pytest

from deixis.errors import DeixisError
from deixis.methods import _registry, get, list_methods, read, summaries
from deixis.types import ViewSpec, specs

PRESETS = "\n".join(
    f"""
    @classmethod
    def {preset}(cls) -> Config:
        '''A preset.'''
        return cls(rate={rate})
"""
    for preset, rate in (("tiny", 1.0), ("desk", 0.1), ("paper", 0.01))
)
CONFIG = f'''
@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        rate: of learning.
    """

    rate: float = 0.5
{PRESETS}
'''
TOP = '"""A paper."""\n\nfrom __future__ import annotations\n\nimport no_such_package\nfrom torch import nn\n'
CARD = 'CARD = Card(title="A paper", year=2020, kind="trained", needs=NEEDS)\n'
NEEDS = '_AXES = "B D"\nNEEDS = (FieldSpec("x", _AXES),)\n'
REST = "class Method(nn.Module):\n    x = no_such_package.f()\n\nCLAIMS = ()\n"
PAPER = TOP + NEEDS + CARD + CONFIG + REST

Write = Callable[..., None]


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Write:
    """Writes files into a folder of methods that stands in for the package's own."""
    (tmp_path / "baselines").mkdir()
    monkeypatch.setattr(_registry, "_HERE", tmp_path)
    _registry.read.cache_clear()

    def put(**files: str) -> None:
        for name, text in files.items():
            (tmp_path / f"{name.replace('__', '/')}.py").write_text(text, encoding="utf-8")
        _registry.read.cache_clear()

    return put


@pytest.fixture(autouse=True)
def _forget() -> typing.Iterator[None]:
    yield
    _registry.read.cache_clear()


def line_of(text: str, part: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if part in line)


# Finding


def test_methods_are_the_files_of_two_folders_without_the_private_ones(write: Write) -> None:
    write(zeta=PAPER, alpha=PAPER, baselines__middle=PAPER, _shared="", baselines___private="")
    assert list_methods() == ["alpha", "middle", "zeta"]


def test_summaries_say_what_cards_say() -> None:
    cards = {name: read(name).card for name in list_methods()}
    assert {name: tuple(each) for name, each in summaries().items()} == {
        name: (card.title, card.kind, card.role) for name, card in cards.items()
    }


def test_a_card_that_cannot_be_summarised_from_its_constants_is_read_whole(write: Write) -> None:
    written = 'title="A paper", year=2020, kind="trained"'
    write(
        paper=PAPER.replace(written, '"A paper", 2020, kind="trained"'),
        other=PAPER.replace(written, 'title=_AXES + "!", year=2020, kind="fitted", role="ancestor"'),
    )
    assert summaries() == {"other": ("B D!", "fitted", "ancestor"), "paper": ("A paper", "trained", "paper")}


@pytest.mark.parametrize("ask", [read, get])
def test_a_name_that_is_nearly_one_brings_the_near_ones(ask: Callable[[str], object]) -> None:
    with pytest.raises(DeixisError, match=r"no method called 'residaul'. Did you mean residual\?"):
        ask("residaul")
    with pytest.raises(DeixisError, match="`deixis list` shows all"):
        ask("xyzzy")


def test_no_two_files_have_one_name() -> None:
    folder = Path(_registry.__file__).parent
    stems = [path.stem for path in folder.rglob("*.py") if not path.stem.startswith("_")]
    assert len(stems) == len(set(stems))


# Reading


def test_a_file_is_read_without_being_run(write: Write) -> None:
    """It imports a package that is not there."""
    write(paper=PAPER)
    literals = read("paper")
    assert (literals.name, literals.doc, literals.claims) == ("paper", "A paper.", ())
    assert literals.card == specs.Card("A paper", 2020, "trained", (specs.FieldSpec("x", "B D"),))
    assert dataclasses.asdict(literals.config.desk()) == {"rate": 0.1}
    assert literals.config().rate == 0.5


def test_names_defined_above_and_arithmetic_are_literals(write: Write) -> None:
    write(
        paper=PAPER.replace("rate: float = 0.5", "rate: float = -_BASE * 2**3 / 4").replace(
            "_AXES =", "_BASE = 3\n_AXES ="
        )
    )
    assert read("paper").config().rate == -6.0


def test_the_types_of_settings_can_be_told(write: Write) -> None:
    """Flags are made from them; a type is known by the name it has in the file."""
    fields = 'view: ViewSpec = ViewSpec(64)\n    mode: Literal["a", "b"] = "a"\n    rate: float = 0.5'
    write(paper=PAPER.replace("rate: float = 0.5", fields))
    hints = typing.get_type_hints(read("paper").config)
    assert hints == {"view": ViewSpec, "mode": typing.Literal["a", "b"], "rate": float}
    assert read("paper").config.tiny().view == ViewSpec(64)


def test_a_constant_that_only_the_code_needs_may_be_anything(write: Write) -> None:
    """It is skipped, not run: such as the smallest number of a dtype, or a compiled pattern."""
    write(paper=PAPER.replace("_AXES =", "_EPSILON = no_such_package.finfo().eps\n_WORDS = [w for w in 'ab']\n_AXES ="))
    assert read("paper").card.title == "A paper"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("needs=NEEDS", "needs=tuple(x for x in NEEDS)", "GeneratorExp is no literal|a call of tuple is no literal"),
        ("year=2020", "year=int('2020')", "a call of int is no literal"),
        ("year=2020", "year=_EPSILON", "'_EPSILON' is no literal defined above"),
        ('title="A paper"', 'title=open("secret").read()', r"a call of open\(.*\.read is no literal"),
        ("CLAIMS = ()", "CLAIMS = make_claims()", "a call of make_claims is no literal"),
        ("rate: float = 0.5", "rate: float = no_such_package.RATE", "'no_such_package' is no literal defined above"),
        ("return cls(rate=0.1)", "return cls(rate=no_such_package.RATE)", "'no_such_package' is no literal"),
        ("class Config:", "class Config(no_such_package.Base):", "'no_such_package' is no literal"),
    ],
)
def test_what_is_no_literal_is_refused_with_its_line(write: Write, before: str, after: str, said: str) -> None:
    text = PAPER.replace(before, after).replace("NEEDS = (", "_EPSILON = no_such_package.eps\nNEEDS = (")
    write(paper=text)
    with pytest.raises(TypeError, match=f"paper.py, line {line_of(text, after)}: .*({said})"):
        read("paper")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "        return cls(rate=0.1)",
            "        rate = 0.1\n        return cls(rate=rate)",
            "must be one `return cls",
        ),
        ("        return cls(rate=0.1)", "        return Config(rate=0.1)", "must be one `return cls"),
        ("    rate: float = 0.5", "    print(1)\n    rate: float = 0.5", "holds fields and presets only"),
    ],
)
def test_a_config_that_would_run_code_is_refused(write: Write, before: str, after: str, said: str) -> None:
    write(paper=PAPER.replace(before, after))
    with pytest.raises(TypeError, match=rf"paper.py, line \d+: .*{said}"):
        read("paper")


@pytest.mark.parametrize("name", ["CARD", "CLAIMS", "Config"])
def test_a_file_that_declares_too_little_is_refused(write: Write, name: str) -> None:
    write(paper=PAPER.replace(f"{name} =", "lower =").replace(f"class {name}", "class Other"))
    with pytest.raises(TypeError, match=f"paper.py declares no {name}"):
        read("paper")


# A delta on a parent paper


def delta(imports: str, parent: str) -> str:
    return textwrap.dedent(
        f'''
        """A delta."""

        from __future__ import annotations

        {imports}

        CARD = Card(title="A delta", year=2021, kind="trained")

        @dataclass(frozen=True)
        class Config({parent}.Config):
            """Settings.

            Attributes:
                weight: of the new term.
            """

            weight: float = 2.0

        class Method({parent}.Method):
            pass

        CLAIMS = ()
        '''
    )


@pytest.mark.parametrize(
    ("imports", "parent"),
    [
        ("from deixis.methods import paper", "paper"),
        ("from deixis.methods import paper as parent", "parent"),
        ("from deixis.methods.baselines import middle", "middle"),
    ],
)
def test_a_delta_inherits_settings_and_presets_without_importing_its_parent(
    write: Write, imports: str, parent: str
) -> None:
    write(paper=PAPER, baselines__middle=PAPER, child=delta(imports, parent))
    config = read("child").config
    assert dataclasses.asdict(config.tiny()) == {"rate": 1.0, "weight": 2.0}
    assert config.__mro__[1] is read("middle" if parent == "middle" else "paper").config


def test_a_delta_may_use_nothing_but_the_config_of_its_parent(write: Write) -> None:
    child = delta("from deixis.methods import paper", "paper").replace("weight: float = 2.0", "weight: float = paper.W")
    write(paper=PAPER, child=child)
    with pytest.raises(TypeError, match=r"paper\.Config of its parent, not paper\.W"):
        read("child")


def test_a_config_taken_out_of_its_module_is_refused_with_its_line(write: Write) -> None:
    child = delta("from deixis.methods.paper import Config as Base", "paper").replace("(paper.Config)", "(Base)")
    write(paper=PAPER, child=child)
    with pytest.raises(TypeError, match=f"child.py, line {line_of(child, '(Base)')}: 'Base' is no literal"):
        read("child")
