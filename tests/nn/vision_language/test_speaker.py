"""What a language model reads in place of an image, whose tokens the loss is of, and what trains."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from deixis import zoo
from deixis.nn.frozen import is_frozen
from deixis.nn.language.causal_lm import CausalLm
from deixis.nn.language.generation import Beam
from deixis.nn.language.sequences import compact, continuation_loss, ended, words_of
from deixis.nn.vision_language.projector import Projector
from deixis.nn.vision_language.raw_patches import RawPatches
from deixis.nn.vision_language.speaker import Speaker, pooled_grid, prepare_lm
from deixis.types.outputs import Tokens, TokenStates
from tests.support import texts

TEXTS = ["a red bird sings", "a boat", ""]


def model() -> CausalLm:
    found: CausalLm = zoo.load_part("lm", "scratch:tiny", source=texts(*TEXTS), seed=2)
    return found


def read(lm: CausalLm, *said: str) -> Tokens:
    return words_of(lm, *lm.tokenizer(said, 20))


def test_words_are_what_a_tokenizer_gives_without_the_marks_around_them_and_an_end_comes_behind() -> None:
    lm = model()
    ids = read(lm, *TEXTS).ids
    assert lm.tokenizer.decode(ids[0].tolist()) == TEXTS[0]
    assert ids.shape[1] == 4
    target = ended(lm, read(lm, *TEXTS))
    assert target.mask.sum(1).tolist() == [5, 3, 1]
    assert target.ids[target.mask].tolist().count(lm.end) == 3
    assert (target.ids[range(3), target.mask.sum(1) - 1] == lm.end).all()


def test_what_is_real_moves_together_in_its_order() -> None:
    mask = torch.tensor([[False, True, False, True], [True, False, False, False]])
    found, numbers = compact(mask, torch.arange(8).reshape(2, 4))
    assert found.tolist() == [[True, True], [True, False]]
    assert numbers[found].tolist() == [1, 3, 4]


@torch.no_grad()
def test_the_loss_is_that_of_each_target_token_behind_image_and_question_by_a_loop() -> None:
    lm = model()
    prefix = torch.randn(3, 2, lm.width, generator=torch.Generator().manual_seed(0))
    question, target = read(lm, "a boat", "", "red"), ended(lm, read(lm, *TEXTS))
    found = continuation_loss(lm, prefix, target, question)
    for row in range(3):
        words, answer = question.ids[row, question.mask[row]], target.ids[row, target.mask[row]].tolist()
        for place, token in enumerate(answer):
            before = torch.cat([words, torch.tensor(answer[:place], dtype=torch.long)])
            inputs = torch.cat([prefix[row], lm.words(before)])[None]
            scores = lm.logits(lm.states(inputs, torch.ones(1, inputs.shape[1], dtype=torch.bool)))[0, -1]
            assert float(found[row, place]) == pytest.approx(float(scores.logsumexp(0) - scores[token]), abs=1e-4)
        assert not found[row, len(answer) :].any()


def test_a_text_alone_begins_with_the_token_that_texts_begin_with() -> None:
    lm = model()
    target = ended(lm, read(lm, *TEXTS))
    start = lm.embed(torch.full((3, 1), lm.start))
    torch.testing.assert_close(continuation_loss(lm, None, target), continuation_loss(lm, start, target))


def test_a_projector_gives_its_vectors_token_by_token_and_in_full_precision() -> None:
    states = torch.randn(2, 3, 5)
    projector = Projector("prefix", 5, 7, count=4)
    last = cast(nn.Linear, projector.maps[0])
    expected = torch.stack([states @ last.weight[7 * k : 7 * k + 7].T + last.bias[7 * k : 7 * k + 7] for k in range(4)])
    torch.testing.assert_close(projector(states), expected.permute(1, 2, 0, 3).flatten(1, 2))
    for kind in ("linear", "mlp"):
        assert Projector(kind, 5, 7)(states).shape == (2, 3, 7)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        assert projector(states.bfloat16()).dtype == torch.float32


def test_patches_are_averaged_to_a_grid_and_pixels_are_patches_as_they_are() -> None:
    pixels = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).float()
    tower = RawPatches(2, 8)
    tokens = tower.tokens(pixels)
    assert tokens.grid == (4, 4)
    assert torch.equal(tokens.states[1, 6], pixels[1, :, 2:4, 4:6].flatten())
    whole = pooled_grid(tokens, 2).unflatten(1, (2, 2))
    torch.testing.assert_close(whole[0, 0, 1], tokens.states[0].reshape(4, 4, 12)[:2, 2:].mean((0, 1)))
    assert pooled_grid(tokens, 9) is tokens.states
    with pytest.raises(ValueError, match="on no grid"):
        pooled_grid(TokenStates(tokens.states, tokens.mask), 2)
    with pytest.raises(ValueError, match="do not divide"):
        RawPatches(3, 8)


def trained(trains: Any) -> tuple[Speaker, set[str], Tensor]:
    """A speaker after one step: names of what has moved, and what the language model said before."""
    lm, tower = model(), RawPatches(4, 8)
    ids, mask = lm.tokenizer(TEXTS, 9)
    before = lm(ids, mask).detach()
    prepare_lm(lm, trains, rank=2)
    torch.testing.assert_close(lm(ids, mask), before)
    speaker = Speaker(tower, Projector("linear", tower.token_width, lm.width), lm).train()
    start = copy.deepcopy(speaker.state_dict())
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for _ in range(2):  # the second thin matrix of a low-rank change is 0 at first, and with it the other's gradient
        target = ended(lm, read(lm, *TEXTS))
        speaker.token_loss(speaker.prefix(images), target).sum().backward()
        with torch.no_grad():
            for value in speaker.parameters():
                if value.grad is not None:
                    value -= 0.1 * value.grad
    return (
        speaker,
        {name for name, value in speaker.state_dict().items() if not torch.equal(value, start[name])},
        before,
    )


def test_the_projector_trains_alone_with_low_rank_changes_or_with_all_of_the_language_model() -> None:
    moved = {trains: trained(trains)[1] for trains in ("projector", "lora", "all")}
    assert moved["projector"] == {"projector.maps.0.weight", "projector.maps.0.bias"}
    changes = {f"lm.blocks.0.{part}" for part in ("attention.query", "perceptron.narrow")}
    assert {f"{name}.change.{side}" for name in changes for side in ("up", "down")} <= moved["lora"]
    assert all(".change." in name for name in moved["lora"] - moved["projector"])
    assert {"lm.words.weight", "lm.blocks.0.attention.query.weight", "lm.norm.weight"} <= moved["all"]


def test_what_does_not_train_is_frozen_module_by_module_so_that_no_run_stores_it() -> None:
    speaker, _, _ = trained("lora")
    frozen = tuple(f"{name}." for name, module in speaker.named_modules() if is_frozen(module))
    stored = {name for name in speaker.state_dict() if not name.startswith(frozen)}
    assert stored == {name for name in speaker.state_dict() if ".change." in name or name.startswith("projector.")}


def test_a_list_of_answers_is_scored_by_the_probability_of_saying_them() -> None:
    speaker, _, _ = trained("projector")
    lm = cast(CausalLm, speaker.lm)
    prefix, question = speaker.prefix(torch.randn(2, 3, 8, 8)).detach(), read(lm, "boat", "a red")
    answers = [read(lm, said).ids[0].tolist() for said in ("red", "a bird")]
    scores = speaker.score(prefix, answers, question)
    for column, numbers in enumerate(answers):
        target = ended(lm, Tokens(torch.tensor([numbers] * 2), torch.ones(2, len(numbers), dtype=torch.bool)))
        torch.testing.assert_close(scores[:, column], -speaker.token_loss(prefix, target, question).sum(1))
    said = speaker.say(prefix, 4, question, Beam(2))
    target = ended(lm, read(lm, *(each.text for each in said)))
    assert all(each.log_prob <= 0 for each in said)
    assert len(said) == len(target.ids) == 2
