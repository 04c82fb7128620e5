"""The verb `claim`, what it keeps and what it refuses to keep, and the page that is made of it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deixis.apps.claim import claim as app
from deixis.apps.claim.settings import ClaimSettings
from deixis.engine.claims import claims, records, source_code
from deixis.engine.claims.design import Design, split_setting
from deixis.engine.claims.pending import PendingArm, PendingClaim, up_to_date
from deixis.engine.claims.records import CLAIM_KEYS, CODE_KEYS, VERDICT_KEYS, Ledger, claim_hash, repository
from deixis.engine.claims.source_code import source_hash
from deixis.engine.training.build import configure
from deixis.errors import DeixisError
from deixis.methods import list_methods, read
from deixis.types import Arm, Claim
from docs.papers import Results, golden_files, papers_page
from docs.remarks import REMARKS, VECTORS
from tests import toy_claims
from tests.commands import deixis
from tests.documents import PROJECT
from tests.support import golden_folder


def git(root: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with one file of code."""
    place = tmp_path / "project"
    (place / "src").mkdir(parents=True)
    (place / "src" / "method.py").write_text("CLAIMS = ()\n")
    git(tmp_path, "init", "-q", str(place))
    git(place, "add", ".")
    git(place, "commit", "-qm", "x")
    return place


def small_claim(statistic: str = "area", **changed: Any) -> Claim:
    arms = {
        name: Arm("line", {"learning_rate": 0.1}, data) for name, data in (("clean", {}), ("noisy", {"noise": 4.0}))
    }
    return toy_claims.claim(statistic, **{"arms": arms, "budget": 80, **changed})


@pytest.fixture
def toys(root: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The verb with toys for methods, in one process, in the small repository."""
    literals = SimpleNamespace(claims=(small_claim("final"),))
    toy_claims.verb_with_toys(monkeypatch, literals, root)
    monkeypatch.setattr("deixis.engine.claims.trials._WRITES", 1)
    return literals


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_a_claim_is_tried_and_its_rows_are_kept(
    toys: SimpleNamespace, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app.claim("line", ClaimSettings(folder=str(tmp_path / "runs")))
    said = capsys.readouterr()
    assert "against noisy, final: " in said.out
    assert "In all 0.20 CPU hours" in said.err
    rows, verdicts = (lines(root / "results" / f"{name}.jsonl") for name in ("claims", "verdicts"))
    assert len(rows) == 10
    assert [row["baseline"] for row in verdicts] == ["noisy"]
    assert not any(row["commit"].endswith("+changes") for row in [*rows, *verdicts])
    assert {"adjusted_p", "seeds_wanted", "equal_seconds"} <= set(verdicts[0])
    app.claim("", ClaimSettings(folder=str(tmp_path / "runs")), everything=True)
    assert "1 claims are up to date, 0 are to be tested" in capsys.readouterr().err
    assert len(lines(root / "results" / "claims.jsonl")) == 10


@pytest.mark.slow
def test_more_seeds_add_their_rows_only(toys: SimpleNamespace, root: Path, tmp_path: Path) -> None:
    for seeds in (5, 7):
        app.claim("line", ClaimSettings(folder=str(tmp_path / "runs"), seeds=seeds), quiet=True)
    rows = lines(root / "results" / "claims.jsonl")
    assert sorted((row["arm"], row["seed"]) for row in rows) == [
        (arm, seed) for arm in ("clean", "noisy") for seed in range(7)
    ]
    assert [row["seeds"] for row in lines(root / "results" / "verdicts.jsonl")] == [5, 7]


@pytest.mark.slow
def test_code_that_is_not_committed_keeps_no_row_and_costs_no_step(
    toys: SimpleNamespace, root: Path, tmp_path: Path
) -> None:
    (root / "src" / "new.py").write_text("x = 1\n")
    with pytest.raises(DeixisError, match=r"not as committed \(src/new.py\)") as caught:
        app.claim("line", ClaimSettings(folder=str(tmp_path / "runs")))
    assert "--no-record" in str(caught.value)
    assert not (tmp_path / "runs").exists()
    app.claim("line", ClaimSettings(folder=str(tmp_path / "runs"), record=False), quiet=True)
    assert not (root / "results").exists()
    [kept] = (tmp_path / "runs").rglob("verdicts-*.jsonl")
    assert lines(kept)[0]["commit"].endswith("+changes")


@pytest.mark.slow
def test_what_uncommitted_code_gave_is_done_again_once_it_is_committed(
    toys: SimpleNamespace, root: Path, tmp_path: Path
) -> None:
    (root / "src" / "new.py").write_text("x = 1\n")
    app.claim("line", ClaimSettings(folder=str(tmp_path / "runs"), record=False), quiet=True)
    git(root, "add", ".")
    git(root, "commit", "-qm", "y")
    app.claim("line", ClaimSettings(folder=str(tmp_path / "runs")), quiet=True)
    rows = lines(root / "results" / "claims.jsonl")
    assert len(rows) == 10
    assert not any(row["commit"].endswith("+changes") for row in rows)


@pytest.mark.slow
def test_a_claim_that_was_changed_after_its_first_rows_is_refused_and_one_beside_it_is_not(
    toys: SimpleNamespace, root: Path, tmp_path: Path
) -> None:
    settings = ClaimSettings(folder=str(tmp_path / "runs"))
    app.claim("line", settings, quiet=True)
    [first] = toys.claims
    toys.claims = (dataclasses.replace(first, minimum_effect=0.001),)
    with pytest.raises(DeixisError, match="changed or removed after its first rows") as caught:
        app.claim("line", settings, quiet=True)
    assert "beside it" in str(caught.value)
    toys.claims = (first, dataclasses.replace(first, minimum_effect=0.001))
    with pytest.raises(DeixisError, match="same statement"):
        app.claim("line", settings, quiet=True)
    toys.claims = (first, dataclasses.replace(first, minimum_effect=0.001, statement="A second try."))
    app.claim("line", settings, quiet=True)
    assert {row["claim"] for row in lines(root / "results" / "verdicts.jsonl")} == {first.statement, "A second try."}


@pytest.mark.slow
@pytest.mark.parametrize("look", [{"small": True}, {"arm": ("clean", "noisy")}, {"seeds": 3}])
def test_a_look_keeps_nothing(toys: SimpleNamespace, root: Path, tmp_path: Path, look: dict[str, Any]) -> None:
    toys.claims = (small_claim("final", budget=800 if "small" in look else 80),)
    app.claim("line", ClaimSettings(folder=str(tmp_path / "runs"), **look), quiet=True)
    assert not (root / "results").exists()


@pytest.mark.slow
def test_without_a_repository_rows_stay_in_the_run_folder_and_that_is_said(
    toys: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "repository", lambda file: None)
    app.claim("line", ClaimSettings(folder=str(tmp_path / "runs")))
    assert "is not in a git repository" in capsys.readouterr().err
    [kept] = (tmp_path / "runs").rglob("claims-*.jsonl")
    assert len(lines(kept)) == 10
    (tmp_path / "alone.py").write_text("")
    assert repository(tmp_path / "alone.py") is None


def test_unknown_names_and_too_much_asked_for_are_one_message() -> None:
    assert "There is no method called 'clap'" in deixis("claim", "clap").err
    assert "Give the name of a method, or --all" in deixis("claim").err
    assert "Give the name of a method, or --all" in deixis("claim", "clip", "--all").err
    assert "ridge has no claim" in deixis("claim", "ridge").err


def test_a_line_that_is_no_row_is_named(root: Path) -> None:
    ledger = Ledger(root)
    ledger.claims.parent.mkdir()
    ledger.claims.write_text('{"paper": 1}\n')
    with pytest.raises(DeixisError, match=r"Line 1 of .*claims.jsonl is no row"):
        ledger.rows()
    with pytest.raises(ValueError, match="a row has the keys"):
        Ledger(root / "other").add([], [{"paper": "x"}])


def test_the_fingerprint_of_a_claim_hangs_on_all_it_says() -> None:
    claim = small_claim()
    for change in ({"metric": "other"}, {"minimum_effect": 0.5}, {"budget": 9}, {"options": {}}, {"arms": {}}):
        assert claim_hash(dataclasses.replace(claim, **change)) != claim_hash(claim)
    assert claim_hash(dataclasses.replace(claim)) == claim_hash(claim)


def test_a_metric_of_an_arm_s_own_counts_only_where_there_is_one() -> None:
    """So that claims from before arms could have one keep their fingerprints."""
    claim = small_claim()
    said = repr(records._plain(claim))
    assert "metric" in said
    assert all("metric" not in arm for arm in records._plain(claim)["arms"].values())
    other = {name: dataclasses.replace(arm, metric="other") for name, arm in claim.arms.items()}
    assert claim_hash(dataclasses.replace(claim, arms=other)) != claim_hash(claim)


SOURCE_OF_A_METHOD = """
'''A.'''
from old.place import g
CARD = Card("a")
__all__ = ["f"]
_SCALE = 2.0
class Config:
    '''B.'''
    rate: float = 0.5
    '''C.'''
def f(x: Old, n: int = 3) -> Old:
    '''D.'''
    from old.place import h
    y: Old = g(x)
    return h(y) * _SCALE
CLAIMS = ()
"""


@pytest.fixture
def fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    def of(text: str) -> str:
        (tmp_path / "one.py").write_text(text)
        source_hash.cache_clear()
        return source_hash("one")

    monkeypatch.setattr(source_code.methods, "read", lambda name: SimpleNamespace(path=tmp_path / "one.py"))
    yield of
    source_hash.cache_clear()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("old.place", "new.house"),
        ("from old.place import g", "import typing\nif typing.TYPE_CHECKING:\n    from a import Old\nfrom b import g"),
        ('Card("a")', 'Card("b", tags=("c",))'),
        ("CLAIMS = ()", "CLAIMS = (1,)"),
        ('["f"]', '["f", "g"]'),
        ("'''C.'''", ""),
        ("'''D.'''", "# E"),
        ("y: Old", "y: New"),
        ("x: Old, n: int = 3) -> Old", "x: New, n: Any = 3) -> New"),
        ("return h(y) * _SCALE", "return (\n        h(y)\n        * _SCALE\n    )"),
        ("_SCALE", "_FACTOR"),
        ("y: Old = g(x)\n    return h(y)", "found: Old = g(x)\n    return h(found)"),
        ("CLAIMS = ()", "_GRID = (1, 2)\n_ARMS = {'a': _GRID}\nCLAIMS = (_ARMS,)"),
    ],
)
def test_the_fingerprint_of_a_method_stays_where_nothing_else_is_computed(
    fingerprint: Callable[[str], str], old: str, new: str
) -> None:
    assert old in SOURCE_OF_A_METHOD
    assert fingerprint(SOURCE_OF_A_METHOD.replace(old, new)) == fingerprint(SOURCE_OF_A_METHOD)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2.0", "2.5"),
        ("0.5", "0.1"),
        ("rate: float", "rate: ClassVar[float]"),
        ("n: int = 3", "n: int = 4"),
        ("h(y)", "h(x)"),
        ("def f", "def g"),
        ("f(x: Old, n", "f(n: Old, x"),
        ("rate: float", "pace: float"),
    ],
)
def test_the_fingerprint_of_a_method_changes_with_what_it_computes(
    fingerprint: Callable[[str], str], old: str, new: str
) -> None:
    assert fingerprint(SOURCE_OF_A_METHOD.replace(old, new)) != fingerprint(SOURCE_OF_A_METHOD)


def test_a_function_that_is_taken_from_another_methods_file_counts_with_that_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(import_line: str, other: str) -> str:
        (tmp_path / "one.py").write_text(f"{import_line}\nx = f()\n")
        (tmp_path / "two.py").write_text(other)
        for cached in (source_hash, source_code.file_imports):
            cached.cache_clear()
        return source_hash("one")

    paths = {name: SimpleNamespace(path=tmp_path / f"{name}.py") for name in ("one", "two")}
    monkeypatch.setattr(source_code.methods, "read", paths.__getitem__)
    monkeypatch.setattr(source_code.methods, "list_methods", lambda: list(paths))
    for line in ("from deixis.methods import two", "from deixis.methods.two import f"):
        assert of(line, "def f(): return 1\n") != of(line, "def f(): return 2\n")
    assert of("from deixis.nn import two", "x = 1\n") == of("from deixis.nn import two", "x = 2\n")
    source_hash.cache_clear()


def test_rows_of_older_code_count_where_that_was_compared_with_all_of_the_present_and_nowhere_else(root: Path) -> None:
    lab = dataclasses.replace(toy_claims.LAB, code=lambda name: f"{name}1", around=lambda *_: {"deixis.nn.dual": "nn1"})
    design = Design("clip", small_claim("final"), lab=lab)
    config = {"claim": claim_hash(design.claim), "inputs": "older", "settings": {"learning_rate": 0.1}}
    old = dict.fromkeys(CLAIM_KEYS, 0) | {"paper": "clip", "config": config}
    ledger = Ledger(root)
    ledger.add([{**old, "arm": arm, "seed": seed} for arm in design.claim.arms for seed in range(design.seeds)], [])
    assert not up_to_date(design.code, ledger)
    compared = dict.fromkeys(CODE_KEYS, "") | {"inputs": "older"}
    for codes in ({"line": "line0", "deixis.nn.dual": "nn1"}, {"line": "line1"}):
        records.append_rows(ledger.code, [{**compared, "codes": codes}], CODE_KEYS)
        assert not up_to_date(design.code, ledger), "other code, or not all of it"
    records.append_rows(ledger.code, [{**compared, "codes": {"line": "line1", "moved.dual": "nn1"}}], CODE_KEYS)
    assert up_to_date(design.code, ledger)
    other = dataclasses.replace(design, claim=small_claim("final", minimum_effect=0.9))
    assert not up_to_date(other.code, ledger)


def test_what_was_compared_is_of_rows_that_are_there_and_of_their_commit() -> None:
    ledger = Ledger(PROJECT)
    there = {(row["config"]["inputs"], row["claim"], row["commit"]) for row in ledger.rows()}
    compared = lines(ledger.code)
    assert compared
    assert {(row["inputs"], row["claim"], row["before"]) for row in compared} <= there
    assert not any(row["after"].endswith("+changes") for row in compared)


# --- every claim there is ---------------------------------------------------------------------------------------------

CLAIMED = [(name, number) for name in list_methods() for number, _ in enumerate(read(name).claims)]


@pytest.mark.parametrize(("name", "number"), CLAIMED)
def test_every_claim_can_be_tried_by_the_rules(name: str, number: int) -> None:
    claim = read(name).claims[number]
    counts = set(claims.needed(Design(name, claim)).values())
    assert len(counts) == 1, "all arms try equally many settings"
    for arm in claim.arms.values():
        for setting in claims.first_trials({"arm": arm.grid})["arm"]:
            configure(arm.method, "desk", {**arm.overrides, **split_setting(setting)[0]})
    assert len({each.statement for each in read(name).claims}) == len(read(name).claims)


# --- the page ---------------------------------------------------------------------------------------------------------


def kept_rows() -> Results:
    def row(arm: str, seed: int, last: float) -> dict[str, Any]:
        config = {"claim": "a", "inputs": "b", "settings": {"learning_rate": 0.1}, "statistic": "area", "trials": 3}
        config["curve"] = [[0, 0.0], [50, last / 2], [100, last]]
        values = (
            "clip",
            "A <claim> | of it.",
            arm,
            seed,
            "recall_at_1",
            last,
            100,
            "scenes",
            config,
            7.0,
            "abc",
            "2026",
        )
        return dict(zip(CLAIM_KEYS, values, strict=True))

    values = (
        "clip",
        "A <claim> | of it.",
        "recall_at_1",
        "other",
        "mine",
        0.2,
        0.1,
        0.3,
        5,
        0.05,
        "shown",
        "abc",
        "2026",
    )
    rows = [row(arm, seed, 0.5 + seed / 10) for arm in ("mine", "other") for seed in range(2)]
    return Results(rows, [dict(zip(VERDICT_KEYS[:13], values, strict=True))])


def test_without_rows_the_page_says_so() -> None:
    claimed = read("clip")._replace(claims=(small_claim(),))
    page = papers_page([claimed, read("clip")._replace(claims=())], Results(), {"clip": 2}, "<!-- made -->")
    assert "| 2 golden files, of the authors' code | fit, area: not yet run |" in page.text
    assert "| no claim yet |" in page.text
    assert page.pictures == {}


def test_with_rows_the_page_has_verdicts_numbers_and_a_curve() -> None:
    claimed = read("clip")._replace(claims=(small_claim(),))
    results = kept_rows()
    page = papers_page([claimed], results, {}, "<!-- made -->")
    assert "**shown**, 0.2, 95 % interval 0.1 to 0.3 over 5 seeds" in page.text
    assert "| mine | 0.000 |  | 0.550 | 0.500 to 0.600 | 2 | 7 | 3 | learning_rate 0.1 |" in page.text
    assert "claims/clip-1.svg" in page.text
    drawing = ElementTree.fromstring(page.pictures["claims/clip-1.svg"])
    assert len(drawing.findall("{*}polyline")) == 2 * (2 + 1)
    grid = next(each.get("d", "") for each in drawing.findall("{*}path"))
    assert (grid.count("H"), grid.count("V")) == (4, 4), "lines at both ends and at two numbers between, either way"
    written = [each.text for each in drawing.findall("{*}text")]
    assert {"0", "33", "67", "100"} <= set(written)


def test_an_older_verdict_stays_and_what_stricter_rules_say_of_its_rows_stands_beside() -> None:
    claimed = read("clip")._replace(claims=(small_claim(statement="A <claim> | of it."),))
    results = kept_rows()
    for row in results.claims:
        row["metric"], last = "binding", 0.5 + 0.01 * row["seed"] + 0.3 * (row["arm"] == "mine")
        row["config"].update(curve=[[0, 0.5], [100, last]], options={"held": 400}, statistic="final")
    page = papers_page([claimed], results, {}, "").text
    assert "shown against other (by the present rules void)" in page
    assert "**shown**, 0.2" in page
    assert "the rival did not learn: it ends within chance (0.5, where guessing gives 0.5)" in page
    assert "applied to the same rows: **void**" in page
    new = {**results.verdicts[0], "adjusted_p": 0.02, "seeds_wanted": None, "equal_seconds": 0.4}
    new |= {"samples_low": 0.11, "samples_high": 0.31, "notes": ["as the row says"]}
    page = papers_page([claimed], results._replace(verdicts=[new]), {}, "").text
    assert (
        "P 0.02 after Holm's correction; over seeds and test samples 0.11 to 0.31; +0.4 of the metric at equal" in page
    )
    assert "as the row says" in page


def test_verdicts_that_change_when_a_claim_is_tried_again_are_at_the_top_with_both_figures() -> None:
    first = small_claim(statement="A <claim> | of it.")
    claimed = read("clip")._replace(claims=(first, small_claim(statement="Again.", again=first.statement)))
    results = kept_rows()
    again = {**results.verdicts[0], "claim": "Again.", "difference": 0.01, "low": -0.1, "high": 0.12, "date": "2027"}
    assert "Verdicts that changed" not in papers_page([claimed], results, {}, "").text
    same = papers_page([claimed], results._replace(verdicts=[*results.verdicts, again]), {}, "").text
    assert "Verdicts that changed" not in same, "it is shown again"
    again["verdict"] = "inconclusive"
    page = papers_page([claimed], results._replace(verdicts=[*results.verdicts, again]), {}, "").text
    told = (
        "* clip, against other: **shown** (0.2, 0.1 to 0.3, 5 seeds, 2026) became **inconclusive** "
        "(0.01, -0.1 to 0.12, 5 seeds, 2027)."
    )
    assert told in page
    assert page.index(told) < page.index("| name | paper |")
    other = {**again, "baseline": "a third"}
    page = papers_page([claimed], results._replace(verdicts=[*results.verdicts, other]), {}, "").text
    assert "with other rivals: shown became **inconclusive**. Before: **shown** (0.2" in page


def test_a_claim_that_was_first_run_when_another_had_results_says_so_by_itself() -> None:
    """Unless one commit held both claims before either had any."""
    first = small_claim(statement="A <claim> | of it.")
    claimed = read("clip")._replace(claims=(first, small_claim(statement="Beside it.")))
    results = kept_rows()
    rows = [{**row, "date": "2026-01-01", "commit": "one"} for row in results.claims]
    later = [{**row, "claim": "Beside it.", "date": "2027-02-02", "commit": "two"} for row in results.claims]
    told = (
        "This was first run on 2027-02-02, when results of other claims on the same data were there, around which it "
        "may have been planned: 'A <claim> | of it.' (2026-01-01)."
    )
    page = papers_page([claimed], results._replace(claims=[*rows, *later]), {}, "").text
    assert page.count(told) == page.count("may have been planned") == 1
    together = [{**row, "commit": "one"} for row in later]
    assert "planned" not in papers_page([claimed], results._replace(claims=[*rows, *together]), {}, "").text


def test_remarks_hold_no_figures_which_stand_in_the_rows() -> None:
    assert [key for key, remark in REMARKS.items() if any(map(str.isdigit, remark))] == []


def test_what_is_still_to_be_run_stands_on_the_page_with_minutes_in_order() -> None:
    claims_there = [small_claim(statement=name) for name in ("First.", "Second.")]
    arms = {"clean": PendingArm(4, 5, 30.4), "noisy": PendingArm(4, 5, None)}
    missing = [
        PendingClaim("line", claims_there[0], {"clean": arms["clean"]}, waits="a-model"),
        PendingClaim("line", claims_there[1], arms, stale=True),
    ]
    page = papers_page([], Results(), {}, "", missing).text
    rows = [
        "| line | First. | 9 | 30 | waits for `a-model` |",
        "| line | Second. | 18 | not measured | rows are stale |",
    ]
    assert page.index(rows[0]) < page.index(rows[1])
    assert "Still to be run" not in papers_page([], Results(), {}, "").text


def test_unequal_trials_and_grids_that_end_at_the_best_value_are_reported_on_the_page_of_older_rows() -> None:
    arms = {name: Arm("line", grid={"sizes": ((1, 1), (2, 1), (3, 2))}) for name in ("mine", "other")}
    claimed = read("clip")._replace(claims=(small_claim(statement="A <claim> | of it.", arms=arms),))
    results = kept_rows()
    for row in results.claims:
        row["config"].update(trials=3 + (row["arm"] == "other"), settings={"sizes": [1 + (row["arm"] == "other"), 1]})
    page = papers_page([claimed], results, {}, "").text
    assert "unequal numbers of settings (mine 3, other 4)" in page
    assert "at an end of what was tried: sizes of mine." in page


def test_rows_say_what_code_changed_since_and_older_ones_of_trained_networks_that_threads_are_unknown() -> None:
    claimed, results = read("clip")._replace(claims=(small_claim(),)), kept_rows()
    for row in results.claims:
        row["data"] = "explained"
    page = papers_page([claimed], results, {}, "").text
    assert "threads that was not recorded" in page
    assert "it was not compared whether the present code gives the same" in page
    now = {**source_code.passed_through("normgrad", "explained"), "normgrad": source_hash("normgrad")}
    for row in results.claims:
        row["config"].update(method="normgrad")
    equal = {"inputs": "b", "codes": now, "date": "2026-12-01"}
    page = papers_page([claimed], results._replace(claim_code=[equal]), {}, "").text
    assert "compared with that of these rows on 2026-12-01, and computes the same" in page
    for row in results.claims:
        row["config"].update(codes={f"{name}.moved": code for name, code in now.items()})
    assert "stale: code" not in papers_page([claimed], results, {}, "").text
    for row in results.claims:
        row["config"].update(codes={**now, "deixis.ops.maps": "before"})
    page = papers_page([claimed], results, {}, "").text
    assert "These rows are stale: code changed since, of deixis.ops.maps." in page
    assert "threads that was not recorded" not in page


def test_curves_over_images_a_class_say_so_and_have_a_mark_for_each_number() -> None:
    results = kept_rows()
    for each in results.claims:
        each["config"].update(curve=[[1.0, 0.4], [4.0, 0.5], [16.0, 0.6]], axis="images a class", statistic="crossover")
    page = papers_page([read("clip")._replace(claims=(small_claim(),))], results, {}, "<!-- made -->")
    assert "Horizontal axis: images a class, from 1 up to 16" in page.text
    assert "negative where that is other" in page.text
    drawing = ElementTree.fromstring(page.pictures["claims/clip-1.svg"])
    words = {each.text: float(each.get("x", "nan")) for each in drawing.findall("{*}text")}
    assert words["4"] - words["1"] == words["16"] - words["4"], "each is four times the one before"


def test_golden_files_belong_to_the_longest_name_and_every_one_is_read_by_a_test(tmp_path: Path) -> None:
    for name in ("clip_vit", "clip_adapter_x", "other"):
        (tmp_path / f"{name}.npz").touch()
    assert golden_files(tmp_path, ["clip", "clip_adapter"]) == {"clip": 1, "clip_adapter": 1}
    texts = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "tests").rglob("*.py"))
    assert [path.stem for path in golden_folder().glob("*.npz") if not is_read(path.stem, texts)] == []


@pytest.mark.golden
@pytest.mark.parametrize("name", sorted(VECTORS))
def test_the_page_says_of_golden_numbers_what_their_description_says(name: str) -> None:
    """A loop from the equations is no code of the authors."""
    others = {"srmap": "sr_map", "fairness_indicators": "seer", "mutual_prompt": "ctp"}
    others |= {"sentence_attention": "sab", "verbalise": "smv"}
    file = others.get(name, name)
    description = (golden_folder() / f"{file}.md").read_text()
    said = " ".join(description.split()).lower()
    loop = any(
        each in said
        for each in (
            *("loop implementation", "rest on the paper's equations", "from the paper's equ"),
            *("follow the equations", "are the arithmetic"),
        )
    )
    assert ("equations" in VECTORS[name]) == loop


def test_the_page_says_what_the_golden_numbers_of_every_paper_rest_on() -> None:
    found = golden_files(golden_folder(), list_methods())
    assert {name for name, count in found.items() if count and read(name).card.role == "paper"} == set(VECTORS)


def is_read(stem: str, texts: str) -> bool:
    """Whether a golden file is named, as a whole or as `f"{beginning}_{{...}}"` and its rest."""
    words = stem.split("_")
    halves = [("_".join(words[:i]), "_".join(words[i:])) for i in range(1, len(words))]
    return f'"{stem}"' in texts or any(f'"{a}_{{' in texts and f'"{b}"' in texts for a, b in halves)


def test_what_arms_take_that_no_earlier_claim_trains_is_told(
    toys: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = small_claim("final")
    again, new = first.arms["noisy"], Arm("line", {"learning_rate": 0.1}, {"noise": 2.0})
    more = dataclasses.replace(
        first, statement="Another.", primary=False, arms={"new": new, "noisy": dataclasses.replace(again, grid={})}
    )
    toys.claims = (first, more)
    app.claim("line", ClaimSettings(folder=str(tmp_path / "runs"), record=False))
    said = capsys.readouterr().err.partition("Another.")[2]
    assert "read from the models trained for an earlier claim: noisy" in said
    assert "  new: 0 trials and 5 seeds" in said
    assert "  noisy: " not in said
