"""What a method's loss has compared is what its runs are searched by: embeddings, tokens, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import deixis
from deixis import engine, zoo
from deixis.engine.export.export_encoder import trained_encoder
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from tests.commands import deixis as command
from tests.commands import own_cache
from tests.pictures import captioned

QUERY = "ooo ooooo oooo"
TRAIN = ("--config=tiny", "--steps=6", "--batch-size=8", "--workers=0", "--precision=float32", "--quiet")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pictures, a run of FILIP on them, and their index by it."""
    folder = tmp_path_factory.mktemp("tokens")
    with own_cache(folder / "cache"):
        captioned(folder / "pictures", 24)
        for words in (("train", "filip", "--data", folder / "pictures", "--out", folder / "run", *TRAIN), ()):
            done = command(
                *(words or ("index", folder / "pictures", "--out", folder / "index", "--model", folder / "run"))
            )
            assert done.code == 0, done.err
        yield folder


def scores(place: Path) -> dict[str, float]:
    """Path -> what the trained method itself says of it and the query."""
    encoder = zoo.load(place / "run" / "model")
    method = engine.build("filip", "tiny", parts={"encoder": encoder}).eval()
    paths = sorted((place / "pictures").glob("*.png"))
    images = torch.stack([encoder.preprocess(load_image(path)) for path in paths])
    with torch.no_grad():
        found = method.compare(images, *encoder.tokenize([QUERY]))[:, 0]
    return dict(zip(map(str, paths), found.tolist(), strict=True))


def test_results_are_ranked_as_the_method_itself_compares(place: Path) -> None:
    wanted = scores(place)
    results = deixis.search(place / "index", QUERY, k=24)
    assert [hit.item["path"] for hit in results] == sorted(wanted, key=lambda path: -wanted[path])
    assert [hit.score for hit in results] == pytest.approx(sorted(wanted.values(), reverse=True), abs=1e-3)
    assert results.sentence == "Compared token by token: 24 of 24 pictures, those whose mean token is nearest."


def test_only_proposed_pictures_are_compared_and_their_number_is_reported(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deixis.apps.search.searcher.CANDIDATES", 5)
    few, wanted = deixis.search(place / "index", QUERY, k=3), scores(place)
    assert len(few) == 3
    assert "5 of 24 pictures" in few.sentence
    assert [hit.score for hit in few] == pytest.approx([wanted[hit.item["path"]] for hit in few], abs=1e-3)


def test_what_is_more_than_a_text_is_ranked_by_the_mean_of_the_tokens_and_says_so(place: Path) -> None:
    picture = sorted((place / "pictures").glob("*.png"))[0]
    results = deixis.search(place / "index", picture, k=30)
    assert {hit.item["path"] for hit in results} == {
        str(each) for each in (place / "pictures").glob("*.png") if each != picture
    }
    assert "mean of the tokens" in results.sentence


def test_pictures_that_are_gone_are_left_out_and_where_all_are_it_is_an_error(place: Path, tmp_path: Path) -> None:
    pictures = captioned(tmp_path / "pictures", 4)
    assert command("index", pictures, "--out", tmp_path / "index", "--model", place / "run").code == 0
    first, *others = sorted(pictures.glob("*.png"))
    first.unlink()
    assert len(deixis.search(tmp_path / "index", QUERY)) == 3
    for path in others:
        path.unlink()
    with pytest.raises(DeixisError, match="none of 4 candidates can be read"):
        deixis.search(tmp_path / "index", QUERY)


def test_embeddings_of_such_a_model_are_the_mean_direction_of_its_tokens(place: Path) -> None:
    encoder = deixis.load(place / "run")
    tokens, mask = encoder.tokenize(["a", "a longer text"])
    with torch.no_grad():
        states = encoder.text_tokens(tokens, mask)
        means = [F.normalize(row[real], dim=-1).mean(0) for row, real in zip(states.states, states.mask, strict=True)]
        torch.testing.assert_close(encoder.encode_text(tokens, mask=mask), F.normalize(torch.stack(means), dim=-1))


def test_no_chances_are_told_which_were_measured_on_embeddings(place: Path) -> None:
    assert deixis.search(place / "index", QUERY)[0].relevance is None
    with pytest.raises(DeixisError, match="minimum relevance"):
        deixis.search(place / "index", QUERY, min_relevance=0.5)


def test_other_programs_are_not_given_a_model_whose_embeddings_they_would_make_otherwise(
    place: Path, tmp_path: Path
) -> None:
    encoder = deixis.load(place / "run")
    assert zoo.layouts_for(encoder) == []
    with pytest.raises(DeixisError, match="compares tokens"):
        zoo.save_as(encoder, tmp_path / "out", "openclip")


@pytest.mark.parametrize(("method", "similarity"), [("clip", "embeddings"), ("filip", "tokens"), ("caption", "none")])
def test_a_trained_encoder_says_what_its_loss_compared(method: str, similarity: str) -> None:
    encoder = trained_encoder(engine.build(method, "tiny"))
    assert encoder is not None
    assert encoder.traits.similarity == similarity


def test_a_model_whose_loss_compared_no_embeddings_is_not_indexed(tmp_path: Path) -> None:
    encoder = trained_encoder(engine.build("caption", "tiny"))
    assert encoder is not None
    zoo.save(encoder, tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["similarity"] == "none"
    captioned(tmp_path / "pictures", 4)
    done = command("index", tmp_path / "pictures", "--out", tmp_path / "index", "--model", tmp_path / "model")
    assert done.code == 2
    assert "can't index pictures: its training compared no embeddings" in done.err
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("method", ["caption", "filip"])
def test_adapt_refuses_a_method_whose_loss_trains_no_embeddings(method: str, tmp_path: Path) -> None:
    captioned(tmp_path / "pictures", 4)
    done = command("adapt", tmp_path / "pictures", "--out", tmp_path / "run", "--method", method, "--model", "tiny")
    assert done.code == 2
    assert f"deixis train {method}" in done.err
