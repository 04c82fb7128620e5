"""The nearest text: copied, with the answer that stands beside it."""

from __future__ import annotations

from typing import Any

import torch

from deixis import engine
from deixis.engine.training.checkpoint import load_state, save_state
from deixis.methods.baselines import nearest_text
from deixis.types import Batch, Progress

SAID = ("a red cup", "a blue hat", "a red hat")


def learned(**settings: Any) -> nearest_text.Method:
    method = engine.build("nearest_text", "tiny", settings, seed=0)
    rows = method.encoder.encode_text(list(SAID)).clone()
    fields: dict[str, Any] = {"text_embedding": rows}
    specs = {"text_embedding": nearest_text.TEXT}
    if settings:
        fields |= {"question": ("which colour?", "which colour?", "what is it?"), "answer": ("red", "blue", "a hat")}
        specs |= {"question": nearest_text.ASKED, "answer": nearest_text.ANSWERED}
    batch = Batch(tuple("abc"), captions=tuple((each,) for each in SAID), extra=fields, specs=specs)
    method.observe(batch, Progress())
    method.finish(Progress())
    return method.eval()


def test_an_image_gets_the_text_that_is_nearest_to_it_also_after_saving(tmp_path: Any) -> None:
    method = learned()
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    nearest = (method.encoder.encode_image(images) @ method.rows.T).argmax(1).tolist()
    assert method.caption(images) == [SAID[place] for place in nearest]
    save_state(method, tmp_path / "state.safetensors", {})
    again = engine.build("nearest_text", "tiny", seed=0)
    load_state(again, tmp_path / "state.safetensors")
    assert again.caption(images) == method.caption(images)


def test_a_question_gets_the_answer_of_the_nearest_text_that_was_asked_it() -> None:
    method = learned(questions=True)
    images = torch.rand(1, 3, 32, 32)
    asked = ["what is it?", "which colour?", "where is it?"]
    found = [method.answer(images, *method.encoder.tokenize([question]))[0] for question in asked]
    assert found[0] == "a hat"
    assert found[1] in ("red", "blue")
    assert found[2] == ""
