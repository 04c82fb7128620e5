"""`deixis list` and `deixis show`: what is told of the methods, from their files alone."""

from __future__ import annotations

import pytest

from deixis.apps.list.catalogue import listing
from deixis.apps.show.description import description
from deixis.methods import all_settings, list_methods, read
from tests import house
from tests.commands import SOURCE, deixis


def test_every_method_is_listed_on_one_line_with_what_it_is() -> None:
    lines = listing().splitlines()
    assert {line.split()[0] for line in lines} == set(list_methods())
    for line in lines:
        card = read(line.split()[0]).card
        assert line.endswith(card.title)
        assert card.kind in line


def test_papers_come_before_their_ancestors_and_baselines() -> None:
    roles = [read(line.split()[0]).card.role for line in listing().splitlines()]
    order = ("paper", "ancestor", "baseline")
    assert roles == sorted(roles, key=order.index)


@pytest.mark.parametrize("name", list_methods())
def test_a_method_is_shown_with_its_settings_parts_and_text(name: str) -> None:
    text, literals = description(name), read(name)
    assert text.startswith(f"{name}: {literals.card.title}")
    assert literals.doc.splitlines()[0] in text
    for setting, value in all_settings(literals.config.desk()).items():
        assert f"  {setting} = {value!r}\n" in text
    for part in literals.card.parts:
        assert f"{part.name} ({part.kind})" in text


@pytest.mark.slow
def test_list_and_show_need_no_torch() -> None:
    for arguments in (["list"], ["show", "residual"], ["--help"]):
        statement = f"from deixis.cli import main\ntry:\n    main({arguments!r})\nexcept SystemExit: pass"
        assert house.heavy_imports(statement, search=(SOURCE,)) == []


def test_the_commands_print_what_is_told_here() -> None:
    assert deixis("list").out == listing() + "\n"
    assert deixis("show", "residual").out == description("residual") + "\n"
    assert "Example: deixis show filip" in deixis("show", "--help").out


def test_other_arguments_are_answered() -> None:
    assert deixis("list", "all").code == 2
    assert deixis("show").code == 2
    assert "no method called 'residal'" in deixis("show", "residal").err
