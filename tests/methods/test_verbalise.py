"""What holds most of a score is found, quoted and measured as the paper defines it, up to the last word."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.methods import verbalise as smv
from deixis.methods.verbalise import Config
from tests.support import golden_folder


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load((golden_folder() / "smv_search").with_suffix(".npz"), allow_pickle=False) as stored:
        return dict(stored)


def config_of(golden: dict[str, np.ndarray], example: int) -> Config:
    given = {name: golden[f"cfg.ex{example}.{name}"].item() for name in ("length", "metric", "value", "sign")}
    return Config(**given)


def place(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask).tolist()


@pytest.mark.golden
def test_masks_of_a_window_of_five_are_those_of_the_definition(golden: dict[str, np.ndarray]) -> None:
    gaps, centred = smv.window_masks(5)
    assert gaps.tolist() == golden["out.conv_masks_5"].astype(bool).tolist()
    assert centred.tolist() == golden["out.span_masks_5"].astype(bool).tolist()


@pytest.mark.golden
def test_every_step_of_the_search_is_that_of_the_definition(golden: dict[str, np.ndarray]) -> None:
    assert int(golden["cfg.n_examples"]) >= 1
    for example in range(int(golden["cfg.n_examples"])):
        out = {
            key.removeprefix(f"out.ex{example}."): value
            for key, value in golden.items()
            if key.startswith(f"out.ex{example}.")
        }
        config, raw = config_of(golden, example), torch.from_numpy(golden[f"in.ex{example}.scores"])
        assert raw.nonzero()[:, 0].tolist() == out["kept"].tolist()
        scores = smv.scaled(raw)
        close(scores, out["normalised"])
        limit = smv.limit_of(scores, config.metric, config.value)
        close(torch.tensor(limit, dtype=torch.float64), out["threshold"])
        chosen = torch.zeros(len(scores), dtype=torch.bool)
        for name, masks in zip(("conv", "span"), smv.window_masks(config.length), strict=True):
            sets = smv.candidates(scores, masks, limit, config.sign)
            assert sets.tolist() == out[f"{name}_sets"].tolist()
            close((sets.double() @ scores) / sets.sum(1), out[f"{name}_value"])
            held = smv.coverage(sets, scores)
            close(held, out[f"{name}_coverage"])
            ends = [(each[0], each[-1]) for each in map(place, sets.numpy())]
            for key, more in (("range", 1), ("published", 0)):
                whole = torch.zeros_like(sets)
                for row, (first, last) in zip(whole, ends, strict=True):
                    row[first : last + more] = True
                close(smv.coverage(whole, scores), out[f"{name}_coverage_{key}"])
            best = smv.strongest(sets, scores, config.top)
            assert best.tolist() == out[f"{name}_top"].tolist()
            chosen |= sets[best].any(0)
        single = torch.eye(len(scores), dtype=torch.bool)
        close(smv.coverage(single, scores), out["total_coverage"])
        best = smv.strongest(single, scores, config.top)
        assert best.tolist() == out["total_top"].tolist()
        chosen |= single[best].any(0)
        assert torch.equal(smv.salient_words(scores, config), chosen)
        runs_are_those(scores, chosen, config, out, golden)
        tokens = golden[f"in.ex{example}.tokens"].tolist()
        assert smv.Method(config).verbalise(tokens, raw) == str(out["text"])


def runs_are_those(
    scores: Tensor, chosen: Tensor, config: Config, out: dict[str, np.ndarray], golden: dict[str, np.ndarray]
) -> None:
    assert chosen.nonzero()[:, 0].tolist() == out["union"].tolist()
    ends = smv.merged(chosen)
    assert [list(each) for each in ends] == out["merged"].tolist()
    sets = torch.zeros(len(ends), len(scores), dtype=torch.bool)
    for row, (first, last) in zip(sets, ends, strict=True):
        row[first : last + 1] = True
    held = smv.coverage(sets, scores)
    close(held, out["merged_coverage"])
    close(held.quantile(0.75), out["quartile"])
    order = smv.strongest(sets, scores, len(sets)).tolist()
    assert [order.index(each) for each in range(len(ends))] == out["merged_rank"].tolist()
    runs = smv.salient_runs(scores, config)
    assert [ends.index((run.first, run.last)) for run in runs] == out["selected"].tolist()
    for count, expected in zip(golden["cfg.coverage_at_k"].tolist(), out["coverage_at"].tolist(), strict=True):
        assert smv.coverage_at(scores, runs, count) == pytest.approx(expected, abs=1e-12)


def close(found: Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found, torch.from_numpy(np.asarray(expected)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("sign", ["+", "none"])
def test_the_candidates_are_all_sets_that_a_slow_loop_finds(sign: str) -> None:
    scores = torch.randn(9, generator=torch.Generator().manual_seed(1))
    gaps, _ = smv.window_masks(5)
    expected = set()
    for start, mask in itertools.product(range(5), gaps.tolist()):
        words = [start + each for each, taken in enumerate(mask) if taken]
        covered = [float(scores[word]) for word in words]
        if sum(covered) / len(covered) > 0.3 and (sign == "none" or min(covered) >= 0):
            expected.add(tuple(words))
    found = smv.candidates(scores, gaps, 0.3, sign)
    assert [tuple(place(row)) for row in found.numpy()] == sorted(expected)


def test_a_score_in_the_last_word_is_found_and_a_single_word_holds_what_is_its() -> None:
    words, scores = "this may just be about the end".split(), torch.tensor([0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.94])
    assert "» end «" in smv.Method(Config()).verbalise(words, scores)
    assert smv.coverage(torch.eye(7, dtype=torch.bool), scores)[-1] == pytest.approx(0.94)


def test_words_that_hold_nothing_are_no_part_of_the_text_that_is_searched() -> None:
    words, scores = ["[CLS]", "red", "[PAD]", "bird"], torch.tensor([0.0, 0.5, 0.0, 0.5])
    assert (
        smv.Method(Config()).verbalise(words, scores) == "The phrase » red bird « is most important for the prediction"
    )


def test_a_sentence_of_the_score_says_what_part_each_word_holds() -> None:
    words, scores = "a dog on a blue bicycle".split(), torch.tensor([0.05, 0.25, 0.02, 0.03, 0.10, 0.39])
    said = smv.Method(Config.desk()).verbalise(words, scores / scores.sum())
    assert (
        said == "The word » bicycle « is most important for the score (46 %). The word » dog « is also salient (30 %)."
    )


@pytest.mark.parametrize("scores", [[0.0, 0.0], [-1.0, -0.5], []])
def test_where_no_word_speaks_for_the_score_nothing_is_said(scores: list[float]) -> None:
    assert smv.Method(Config.desk()).verbalise(["a", "dog"][: len(scores)], torch.tensor(scores)) == ""


def test_only_what_windows_with_gaps_and_without_both_find_is_compared() -> None:
    scores = torch.tensor([0.1, 0.2, 0.9, 1.0, 0.8, 0.1, -0.2, 0.6, -0.3, 0.5])
    every, both = (smv.salient_words(scores, Config(search=search)) for search in ("all", "compare"))
    assert bool((both <= every).all())
    assert 0 < int(both.sum()) < int(every.sum())


def test_the_prompt_quotes_each_word_with_its_score_and_says_when_it_was_computed() -> None:
    prompt = smv.instruction(["fine", "film"], torch.tensor([0.5, -0.25]), "good", "sentiment classifier")
    assert prompt.startswith("fine (0.50) film (-0.25)\n\nA sentiment classifier predicted the label 'good'")
    assert "computed after the prediction" in prompt
    assert prompt != smv.instruction(
        ["fine", "film"], torch.tensor([0.5, -0.25]), "good", "sentiment classifier", "words"
    )


WORDS, SCORES = ["a", "dog,", "on", "a", "blue", "bicycle."], torch.tensor([0.05, 0.25, 0.02, 0.04, -0.25, 0.39])


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        ('The word "bicycle" (0.39) was most important, then "Dog" (25 %).', True),
        ("It looked at 'bicycle', and hardly at » a dog « (0.30).", True),
        ('"Blue bicycle" decided it: 0.14 in all, 0.39 of one word.', True),
        ("", False),  # silent
        ("The numbers were computed after the prediction.", False),  # silent about the text
        ('The word "dog" (0.25) was most important, then "bicycle" (0.39).', False),  # another first
        ('The word "bicycle" (0.39) was most important, then "sea" (0.25).', False),  # not of the text
        ('The word "bicycle" (0.25) was most important.', False),  # the number of another
        ('The word "bicycle" (93 %) was most important.', False),
        ('Of 6 words "bicycle" was most important.', False),  # a number of nothing
        ('The most important words are "dog bicycle".', False),  # no neighbours
        ('The word "bicycle" (0.39) was most important, then "dog', False),  # cut
        ('"bicycle" was most important, ' * 4 + 'then "dog".', False),  # a loop
        ('The word "bicycle" ' + "really " * 70 + "was.", False),  # not brief
    ],
)
def test_what_a_language_model_says_passes_if_it_quotes_words_and_numbers_rightly(answer: str, holds: bool) -> None:
    assert smv.is_faithful(answer, WORDS, SCORES) is holds
    template = smv.Method(Config.desk()).verbalise(WORDS, SCORES)
    said = smv.Method(Config.desk()).verbalise(WORDS, SCORES, lambda messages: answer)
    assert said == (answer if holds else template)


def test_a_language_model_is_given_an_example_whose_answer_holds_and_then_the_prompt_of_the_paper() -> None:
    asked: list[Any] = []

    def writer(messages: Any) -> str:
        asked.extend(messages)
        return "?"

    smv.Method(Config.desk()).verbalise(WORDS, SCORES, writer)
    assert [role for role, _ in asked] == ["user", "assistant", "user"]
    assert asked[2][1].startswith("a (0.05) dog, (0.25)")
    example = re.findall(r"(\S+) \((-?[\d.]+)\)", asked[0][1].split("\n")[0])
    assert smv.is_faithful(asked[1][1], [word for word, _ in example], torch.tensor([float(s) for _, s in example]))
    assert smv.Method(Config.desk()).verbalise(["a"], torch.zeros(1), writer) == ""
    assert len(asked) == 3, "of scores that are all zero nothing is asked"


def test_presets_are_the_published_search_and_one_for_short_texts() -> None:
    published = Config.paper()
    assert (published.length, published.metric, published.value, published.sign, published.top) == (
        5,
        "mean",
        0.4,
        "+",
        5,
    )
    assert isinstance(engine.build("verbalise", "desk"), smv.Method)
