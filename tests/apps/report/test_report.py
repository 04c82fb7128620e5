"""The report says what the result says, in one file that is safe to open and asks the network for nothing."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deixis.apps.common import formatting
from deixis.apps.report import charts
from deixis.apps.report.charts import Estimate
from deixis.apps.report.report import Example, render
from deixis.apps.report.thumbnails import Thumbnails
from deixis.apps.report.verdict_text import verdict
from tests.support import few

_STYLE = Path(__file__).parents[3] / "src/deixis/apps/report/templates/report.css"


class _Page(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def names(self) -> list[str]:
        return [tag for tag, _ in self.tags]


def _page(result: dict[str, Any], gallery: list[Example], folder: Path) -> _Page:
    return _Page(render(result, gallery, folder / "page.html").read_text(encoding="utf-8"))


def test_a_full_result_is_told_in_the_order_of_a_reader(result, gallery, tmp_path):
    page = _page(result, gallery, tmp_path)
    headings = ["Before and after", "Division by division", "Kinds of pictures", "Controls", "What was forgotten"]
    headings += ["How sure a result is", "Searches that got better", "Searches that got worse", "The choice"]
    headings += ["The data", "Use the model"]
    places = [page.text.rindex(heading) for heading in headings]
    assert places == sorted(places)
    assert page.text.index(result["sentence"]) < places[0]


@pytest.mark.parametrize(
    "words", ["46.3", "54.9", "+8.6", "+6.6 to +10.7", "42.9–49.9", "−9.5", "3 min 42 s", "1.3 GB"]
)
def test_figures_stand_in_points_with_one_decimal_and_true_signs(result, tmp_path, words):
    assert words in _page(result, [], tmp_path).text


def test_a_run_on_labels_without_any_optional_part_leaves_no_gap(labels_result, tmp_path):
    page = _page(labels_result, [], tmp_path)
    assert "Accuracy" in page.text
    assert "no proven gain" in page.text
    assert "Not measured" in page.text
    assert "deixis data get" in page.text
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections == ["measures", "forgotten", "data", "use"]
    assert "R@10" not in page.text
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == [f"#{section}" for section in sections]
    bodies = [i for i, (_, attrs) in enumerate(page.tags) if attrs.get("class") == "body"]
    assert all(page.tags[i + 1][0] not in ("section", "footer") for i in bodies)


@pytest.mark.parametrize(
    "part",
    few(
        ["split", "method", "t_interval", "per_split", "training_seeds", "slices", "controls", "seconds", "versions"],
        *("per_split", "controls"),
    ),
)
def test_any_optional_part_may_be_missing_or_empty(result, gallery, tmp_path, part):
    empty = copy.deepcopy(result)
    empty[part] = {} if isinstance(empty[part], dict) else []
    del result[part]
    assert "Before and after" in _page(result, gallery, tmp_path).text
    assert "Before and after" in _page(empty, gallery, tmp_path).text


def test_a_search_that_got_worse_has_its_reason_in_a_sentence(result, gallery, tmp_path):
    said = 'The word » <i>"sea"</i> « is most important for the score (61 %).'
    told = [dataclasses.replace(each, reason=said if each.rank_after > each.rank_before else "") for each in gallery]
    page = _page(result, told, tmp_path)
    worse = page.text[page.text.rindex("Searches that got worse") :]
    assert page.text.count(said) == worse.count(said) == sum(bool(each.reason) for each in told)
    assert f"Why the first after: {said}" in page.text
    assert "i" not in page.names()


def test_what_users_wrote_is_escaped_everywhere(result, gallery, tmp_path):
    evil = '"><script>alert(1)</script>&amp;'
    result["sentence"] = result["data"]["name"] = result["data"]["path"] = evil
    result["data"]["skipped"] = [{"path": evil, "reason": evil, "detail": evil}]
    result["data"]["check"] = {evil: [1, evil]}
    result["slices"][evil] = result["slices"]["drawings"]
    result["controls"][evil] = result["controls"]["ridge"]
    result["model"]["name"] = result["method"]["config"]["note"] = evil
    page = _page(result, gallery, tmp_path)
    assert "script" not in page.names()
    assert page.text.count(evil) >= 10


def test_strange_characters_of_names_can_be_written(result, tmp_path):
    result["data"]["skipped"] = [{"path": "a\x00b\udce9.jpg", "reason": "missing", "detail": ""}]
    assert "a\ufffdb\ufffd.jpg" in _page(result, [], tmp_path).text


def test_a_page_names_no_outside_address_and_allows_none(result, gallery, tmp_path):
    text = render(result, gallery, tmp_path / "page.html").read_text(encoding="utf-8")
    page = _Page(text)
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"data:image/\w+;base64,[\w+/=]+", "", text), re.IGNORECASE)
    for _, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert (attrs.get(name) or "#").startswith(("#", "data:"))
        assert not [name for name in attrs if name.startswith("on")]


def test_the_page_is_one_outline_that_can_be_read_aloud(result, gallery, tmp_path):
    page = _page(result, gallery, tmp_path)
    levels = [int(name[1]) for name in page.names() if re.fullmatch("h[1-6]", name)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.tags[0] == ("html", {"lang": "en"})
    assert page.names().count("caption") == page.names().count("table")
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if attrs.get("role") == "img")
    identities = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(identities) == len(set(identities))


def test_the_right_picture_is_marked_in_words_too(result, gallery, tmp_path):
    page = _page(result, gallery, tmp_path)
    assert "1 · right" in page.text
    assert "After, place 1, the right picture" in [attrs.get("aria-label") for _, attrs in page.tags]


def test_each_distinct_picture_is_stored_once_and_few_enough_of_them(result, tmp_path):
    paths = []
    for i in range(160):
        Image.effect_noise((200, 160), 90).convert("RGB").save(tmp_path / f"{i}.jpg")
        paths.append(tmp_path / f"{i}.jpg")
    gallery = [
        Example(f"query {i}", "text_to_image", paths[9 * i], 9, 1 if i % 2 else 20, (*paths[9 * i : 9 * i + 4],))
        for i in range(16)
    ] * 2
    out = render(result, gallery, tmp_path / "page.html")
    text = out.read_text(encoding="utf-8")
    stored = re.findall(r"data:image/\w+;base64,[\w+/=]+", text)
    assert 40 <= len(stored) == len(set(stored)) <= 60
    assert out.stat().st_size < 3_000_000
    used = set(re.findall(r'<use href="#([\w-]+)"', text))
    assert used == set(re.findall(r'<image id="([\w-]+)"', text))


def test_thumbnails_are_small_and_an_unreadable_one_is_a_placeholder(tmp_path):
    Image.new("RGB", (1000, 500)).save(tmp_path / "wide.png")
    Image.new("RGBA", (30, 20), (0, 0, 0, 0)).save(tmp_path / "tiny.png")
    (tmp_path / "text.jpg").write_text("no picture")
    thumbnails = Thumbnails()
    wide, tiny = thumbnails[tmp_path / "wide.png"], thumbnails[tmp_path / "tiny.png"]
    assert (wide.width, wide.height) == (160, 80)
    assert (tiny.width, tiny.height) == (30, 20)
    assert tiny.address.startswith("data:image/png")
    assert [thumbnails[tmp_path / name].address for name in ("text.jpg", "gone.jpg")] == ["", ""]
    assert len(list(thumbnails.readable())) == 2
    assert thumbnails[tmp_path / "wide.png"] is wide


def test_long_lists_of_what_was_skipped_are_cut_and_counted(result, tmp_path):
    page = _page(result, [], tmp_path)
    assert "missing: 27" in page.text
    assert "holiday-019.jpg" in page.text
    assert "holiday-020.jpg" not in page.text
    assert "and 7 more" in page.text


def test_the_check_may_be_rows_instead_of_a_table(result, tmp_path):
    assert "near duplicates 12 cat.png = cat-2.png" in _page(result, [], tmp_path).text
    result["data"]["check"] = [("near duplicates", 12, "a.jpg = b.jpg"), ["images", 4, ""]]
    assert "near duplicates 12 a.jpg = b.jpg" in _page(result, [], tmp_path).text
    result["data"]["check"] = {"near": list(range(40)), "captions": {"cut": None, "missing": 3}}
    text = _page(result, [], tmp_path).text
    assert "near 40" in text
    assert "captions: missing 3" in text


def test_the_lines_to_copy_survive_a_folder_with_spaces_and_quotes(result, tmp_path):
    run = Path("my run's folder")
    text = _Page(render(result, [], tmp_path, run=run).read_text(encoding="utf-8")).text
    assert "deixis search 'my run'\"'\"'s folder' picture.jpg" in text
    assert 'deixis.load("my run\'s folder")' in text


def test_a_folder_gets_a_report_and_nothing_half_written(result, tmp_path):
    assert render(result, [], tmp_path) == tmp_path / "report.html"
    del result["sentence"]
    with pytest.raises(KeyError):
        render(result, [], tmp_path / "other.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("kept", "low", "high", "words"),
    [
        ("adapted", 0.01, 0.05, "The adapted model was saved."),
        ("adapted", -0.01, 0.05, "but there is no proven gain"),
        ("adapted", -0.05, -0.01, "on the test part it is worse"),
        ("original", 0.01, 0.05, "The original model was retained: no proven gain."),
    ],
)
def test_the_verdict_claims_no_more_than_the_interval(result, kept, low, high, words):
    result["kept"] = kept
    result["difference"]["mean_mrr"] = {"value": (low + high) / 2, "low": low, "high": high}
    found = verdict(result)
    assert words in found.title
    assert (found.tone == "better") == (kept == "adapted" and low > 0)
    assert ("which includes 0" in " ".join(found.lines)) == (low < 0 < high)


@pytest.mark.parametrize(
    ("strengths", "words"),
    [((0.5, 0.25), "in all 2 splits"), ((0.5, 0.0), "in 1 of 2 splits; in the others"), ((0.0, 0.0), "in any split")],
)
def test_the_choice_on_validation_is_counted_by_what_was_taken(result, strengths, words):
    result["method"]["chosen"] = [{"split": i, "steps": 40, "strength": value} for i, value in enumerate(strengths)]
    assert words in verdict(result).lines[0]


def test_the_field_of_a_hundred_shows_the_measure_that_the_sentence_tells(result, tmp_path):
    assert "48 before and after" in _page(result, [], tmp_path).text
    result["told"] = "text_to_image_r1"
    text = _page(result, [], tmp_path).text
    assert "where the right picture came first" in text
    assert "22 before and after" in text


def test_labels_are_said_to_be_tested_on_new_pictures_and_not_on_new_concepts(labels_result, tmp_path):
    text = _page(labels_result, [], tmp_path).text
    assert "pictures that neither was trained on" in text
    assert "concepts" not in text.replace(labels_result["sentence"], "")


def test_a_control_is_explained_by_its_name():
    assert "shuffled at random" in formatting.control_meaning("shuffled_captions")
    assert "without learning" in formatting.control_meaning("mean-shift")
    assert formatting.control_meaning("something new")


@given(st.floats(-1, 1))
def test_signs_are_true_minus_signs_and_zero_has_none(value):
    text = formatting.signed(value)
    assert "-" not in text
    assert text == "0.0" if abs(round(100 * value, 1)) == 0 else text[0] == ("+" if value > 0 else formatting.MINUS)


@pytest.mark.slow
@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 3), min_size=1, max_size=8))
def test_every_dot_interval_and_zero_lie_on_the_axis(triples):
    rows = [("row", Estimate(*(sorted(triple)[i] for i in (1, 0, 2)))) for triple in triples]
    plot = charts.interval_plot(rows)
    assert 0 <= plot.zero <= 100
    assert all(0 <= dot.low <= dot.value <= dot.high <= 100 for dot in plot.dots)
    assert 2 <= len(plot.ticks) <= 12
    assert [tick.label for tick in plot.ticks].count("0") == 1
    assert [tick.place for tick in plot.ticks] == sorted(tick.place for tick in plot.ticks)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_field_of_a_hundred_always_holds_a_hundred(before, after):
    counts = charts.hundred(before, after)
    assert sum(counts.values()) == 100
    assert min(counts.values()) >= 0
    assert counts["kept"] + counts["lost"] == round(100 * before)


def test_validation_figures_are_averaged_over_splits_and_choices_counted():
    curves = [
        {"split": split, "steps": [10, 20], "strength": [0.0, 0.5], "mrr": [[0.2, 0.3], [0.2, 0.4 + 0.1 * split]]}
        for split in (0, 1)
    ]
    heat = charts.heat(curves, [{"steps": 20, "strength": 0.5}, {"steps": 10, "strength": 0.5}])
    assert heat.steps == ["10", "20"]
    assert [[cell.text for cell in cells] for _, cells in heat.rows] == [["20.0", "20.0"], ["30.0", "45.0"]]
    assert [[cell.chosen for cell in cells] for _, cells in heat.rows] == [[0, 0], [1, 1]]
    assert heat.rows[1][1][1].tint == 1


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_ground_differ_enough_to_be_read(scheme):
    """The ratio of 4.5 that WCAG 2.2 asks for at level AA (success criterion 1.4.3)."""
    blocks = re.findall(r":root \{(.*?)\}", _STYLE.read_text(encoding="utf-8"), re.DOTALL)
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", blocks[scheme]))
    for ground in ("ground", "raised", "faint"):
        for ink in ("ink", "soft", "better", "worse", "mark"):
            dark, light = sorted(_luminance(colours[name]) for name in (ground, ink))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, ink)
