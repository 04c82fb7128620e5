"""What is exported gives the embeddings of the model, without torch; what 8 bits cost is measured."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from deixis import zoo
from deixis.apps.adapt.adapt import adapt
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.export import export as app
from deixis.apps.export.export import export
from deixis.apps.export.settings import ExportSettings
from deixis.apps.index.index import index
from deixis.data import catalogue
from deixis.engine.export import onnx
from deixis.errors import DeixisError
from deixis.indexing.index import Index
from deixis.nn.adaptation.adapters import ImageResidual, TextResidual
from deixis.nn.dual import DualEncoder
from deixis.ops.metrics import retrieval
from deixis.types import Tokens
from deixis.zoo import scratch
from tests.commands import deixis, own_cache, start
from tests.pictures import captioned
from tests.zoo import checkpoints

ONNX = ExportSettings(onnx=True)
TEXTS = ["a red bird", "", "qqqqqqqqqqqqqq and some more words than the others have", "x" * 500]


def shaken(encoder: DualEncoder) -> DualEncoder:
    """With an adapter on each side that does something."""
    image, text = ImageResidual(encoder.feature_width, encoder.width), TextResidual(encoder.width)
    for value in (*image.parameters(), *text.parameters()):
        torch.nn.init.normal_(value, std=0.1)
    return encoder.with_adapters(image.requires_grad_(False), text.requires_grad_(False)).eval()


def without_torch(folder: Path, code: str) -> Any:
    """Runs code in a process of its own that can import neither torch nor deixis; gives what it printed, from JSON."""
    barrier = (
        "import sys\n"
        "for name in ('torch', 'deixis', 'torchvision', 'timm', 'transformers', 'onnx'):\n"
        "    sys.modules[name] = None\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", barrier + code],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def programs(folder: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)\n```", (folder / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("export")
    with own_cache(folder / "cache"):
        yield folder


@pytest.fixture(scope="module")
def made(run: Path, place: Path) -> Path:
    """The run as graphs, in 32 and in 8 bits."""
    export(run, ExportSettings(int8=True), out=place / "made", quiet=True)
    return place / "made"


# equal embeddings


def towers(folder: Path, kind: str) -> DualEncoder:
    """Small models of random weights, one for each kind of tower."""
    if kind == "tiny":
        return shaken(zoo.load("tiny"))
    if kind == "new ViT":
        return scratch.build(TEXTS, "tiny", 32, image="vit-mean")
    if kind == "new ResNet and bag of words":
        return scratch.build(TEXTS, "tiny", 32, image="resnet", text="bag")
    if kind == "SigLIP":
        checkpoints.put_merges()
        with checkpoints.quiet():
            checkpoints.transformers_folder(folder / "siglip", "siglip")
        return zoo.load(folder / "siglip")
    vision = {"CLIP ViT": checkpoints.VIT, "CLIP ResNet": checkpoints.RESNET}[kind]
    checkpoints.open_clip_folder(folder / "clip", checkpoints.open_clip_config(vision))
    return zoo.load(folder / "clip")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["tiny", "new ViT", "new ResNet and bag of words", "CLIP ViT", "CLIP ResNet", "SigLIP"]
)
def test_graphs_give_the_embeddings_of_the_model_for_any_batch_and_length(kind: str, tmp_path: Path) -> None:
    encoder = towers(tmp_path, kind)
    onnx.write(encoder, tmp_path)
    graphs = onnx.Graphs(tmp_path)
    assert [type(size) for size in graphs.shape("image")] == [str, int, int, int]
    assert [type(size) for size in graphs.shape("text")] == [str, str]
    side, length = encoder.preprocess.size, encoder.context_length
    for count in (1, 3, 17):
        pixels = torch.randn(count, 3, side, side)
        texts = [TEXTS[i % len(TEXTS)] for i in range(count)]
        with torch.no_grad():
            wanted = encoder.encode_image(pixels), encoder.encode_text(encoder.tokenize(texts))
        tokens = encoder.tokenize(texts)
        longer = Tokens(*(torch.nn.functional.pad(each, (0, length - each.shape[1])) for each in tokens))
        torch.testing.assert_close(graphs.encode_image(pixels), wanted[0], atol=2e-6, rtol=0)
        torch.testing.assert_close(graphs.encode_text(tokens), wanted[1], atol=2e-6, rtol=0)
        torch.testing.assert_close(graphs.encode_text(longer), wanted[1], atol=2e-6, rtol=0)
        assert graphs.encode_image(pixels).norm(dim=-1).tolist() == pytest.approx([1.0] * count)


@pytest.mark.slow
def test_graphs_tell_what_belongs_to_them_and_no_place_of_the_machine(run: Path, made: Path) -> None:
    encoder = zoo.load(run)
    for int8 in (False, True):
        graphs = onnx.Graphs(made, int8=int8)
        for side in onnx.SIDES:
            told = graphs.metadata(side)
            assert told["model_fingerprint"] == encoder.fingerprint()
            assert told["kind"] == side
            assert told["licence"] == encoder.licence
            assert (json.loads(told["scale"]), json.loads(told["bias"])) == (20.0, 0.0)
            assert json.loads(told["preprocess"])["size"] == 32
            assert json.loads(told["context_length"]) == 64
            assert (told.get("int8") == "true") == int8
            content = (made / onnx.graph_name(side, int8)).read_bytes()
            assert b"site-packages" not in content
            assert b"/deixis/" not in content


@pytest.mark.slow
def test_the_page_in_the_folder_gives_the_same_embeddings_without_torch(run: Path, made: Path, tmp_path: Path) -> None:
    """What a reader copies, in a process that has onnxruntime, numpy, pillow and tokenizers only."""
    pictures = {"a.png": (37, 24), "b.jpg": (300, 200), "c.jpg": (30, 90)}
    for number, (name, size) in enumerate(pictures.items()):
        values = np.random.default_rng(number).integers(0, 256, (size[1] // 3, size[0] // 3, 3), np.uint8)
        with Image.fromarray(values) as small, small.resize(size, Image.Resampling.BICUBIC) as picture:
            exif = picture.getexif()
            exif[0x0112] = 6 if name == "c.jpg" else 1  # stored on its side
            picture.save(tmp_path / name, quality=95, exif=exif)
    with Image.new("RGBA", (40, 40), (200, 10, 10, 90)) as picture:
        picture.save(tmp_path / "d.png")
    paths = [str(tmp_path / name) for name in (*pictures, "d.png")]
    definitions, use = programs(made)
    code = f"{definitions}\nprint(json.dumps([encode_images({paths!r}).tolist(), encode_texts({TEXTS!r}).tolist()]))"
    images, texts = (torch.tensor(each) for each in without_torch(made, code))
    encoder = zoo.load(run)
    torch.testing.assert_close(images, encoder.encode_image(paths), atol=1e-5, rtol=0)
    torch.testing.assert_close(texts, encoder.encode_text(TEXTS), atol=1e-5, rtol=0)
    shutil.copytree(made, tmp_path / "copy")
    shutil.copy(tmp_path / "b.jpg", tmp_path / "copy" / "photo.jpg")
    scores = without_torch(
        tmp_path / "copy", f"{definitions}\n{use.replace('print(', 'print(json.dumps((')[:-1]}).tolist()))"
    )
    wanted = encoder.similarity(encoder.encode_image(tmp_path / "b.jpg"), encoder.encode_text(["a red bird", "a boat"]))
    torch.testing.assert_close(torch.tensor(scores), wanted, atol=1e-3, rtol=0)


# what is told


@pytest.mark.slow
def test_the_check_and_the_files_are_told(run: Path, made: Path) -> None:
    told = json.loads((made / "export.json").read_text())
    assert told["check"]["images"] == 24  # the test pairs of the first split
    assert told["check"]["real"] is True
    assert max(told["check"]["largest_difference"].values()) <= app.LIMIT
    assert told["adapters"] == ["image"]  # ridge leaves the texts alone
    assert told["model"]["fingerprint"] == zoo.load(run).fingerprint()
    assert told["files"].items() <= {each.name: each.stat().st_size for each in made.iterdir()}.items()
    assert {"tokenizer.json", "preprocess.json", "README.md", "image.onnx", "text-int8.onnx"} <= set(told["files"])
    assert {"onnx", "onnxruntime", "torch"} <= set(told["versions"])
    page = (made / "README.md").read_text()
    assert yaml.safe_load(page.split("---\n")[1])["library_name"] == "onnx"
    assert f"{max(told['check']['largest_difference'].values()):.1e}" in page
    assert str(run.parent) not in page + (made / "export.json").read_text()


@pytest.mark.slow
def test_what_8_bits_cost_is_measured_on_the_runs_own_test_pairs(run: Path, made: Path) -> None:
    """The same numbers as from embedding the pairs here, once with either graph."""
    told = json.loads((made / "export.json").read_text())["int8"]
    asked = set(json.loads((run / "split-0" / "result.json").read_text())["split"]["test"])
    items = [item for _, item in Index.open(run / "index").items() if item["id"] in asked]
    assert told["pairs"] == len(items) == len(asked)
    assert "trained on these pairs" in told["note"]
    encoder = zoo.load(run)
    pixels = encoder.preprocess.read([item["path"] for item in items])
    tokens, keys = encoder.tokenize([item["captions"][0] for item in items]), torch.arange(len(items))
    for which, int8 in (("before", False), ("after", True)):
        graphs = onnx.Graphs(made, int8=int8)
        values = retrieval(graphs.encode_image(pixels), graphs.encode_text(tokens), keys)
        for name in ("mean_r1", "mean_r10", "mean_mrr"):
            assert told[which][name]["value"] == pytest.approx(float(values[name].mean()))
    for name, gain in told["difference"].items():
        assert gain["value"] == pytest.approx(told["after"][name]["value"] - told["before"][name]["value"])
        assert gain["low"] <= gain["value"] <= gain["high"]
    assert all(0.9 < each["lowest"] <= 1.0001 for each in told["cosine"].values())
    for side in onnx.SIDES:
        small, large = ((made / onnx.graph_name(side, int8)).stat().st_size for int8 in (True, False))
        assert small < large


@pytest.mark.slow
def test_the_starter_on_real_images(fetched: Callable[[str], Path], tmp_path: Path) -> None:
    fetched("starter")
    fetched("stamps")
    captioned = [each for each in catalogue.read("stamps").samples if each.captions][:150]
    lines = [f'{each.picture.absolute()},"{each.captions[0]}"' for each in captioned]
    (tmp_path / "stamps.csv").write_text("\n".join(["path,caption", *lines]), encoding="utf-8")
    process = start("export", "starter", "--int8", "--data", "stamps.csv", "--out", "out", cwd=tmp_path)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "Warning" not in err
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert max(told["check"]["largest_difference"].values()) < 1e-5
    assert told["check"]["images"] == 32
    assert told["int8"]["pairs"] == len(captioned) // 2  # the others calibrate
    assert "ranges from 64 calibration images" in told["int8"]["how"]["image"]  # EfficientNet
    assert "as they come" in told["int8"]["how"]["text"]  # MiniLM
    assert abs(told["int8"]["difference"]["mean_mrr"]["value"]) < 0.05
    assert told["files"]["text-int8.onnx"] < 0.3 * told["files"]["text.onnx"]
    assert "mean, R@10" in out
    assert "not a race" in out


# other programs


@pytest.fixture(scope="module")
def clip(place: Path) -> Path:
    checkpoints.open_clip_folder(place / "clip", checkpoints.open_clip_config(checkpoints.VIT))
    return place / "clip"


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["openclip", "huggingface"])
def test_folders_for_other_programs_load_there_as_their_page_says(
    layout: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.put_merges()
    result = export(clip, ExportSettings(to=layout), out=tmp_path / "out", quiet=True)
    assert max(result["read_again"]["largest_difference"].values()) == 0
    monkeypatch.chdir(tmp_path)
    there, here = programs(tmp_path / "out")[:2]
    found: dict[str, Any] = {}
    with checkpoints.quiet(), torch.no_grad():
        exec(there, found)
        texts = ["the red bird", "on a bird"]
        if layout == "openclip":
            tokens = zoo.load(clip).tokenize(texts).ids  # the table of merges is a small one, and open_clip has CLIP's
            tokens = torch.nn.functional.pad(tokens, (0, 16 - tokens.shape[1]))
            ours = found["model"].eval().encode_text(tokens, normalize=True)
            assert found["tokenizer"](texts).shape == (2, 16)
        else:
            tokens = found["tokenizer"](texts, padding=True, return_tensors="pt")
            ours = found["model"].eval().get_text_features(**tokens)
            ours = torch.nn.functional.normalize(getattr(ours, "pooler_output", ours), dim=-1)
    wanted = zoo.load(clip).encode_text(texts)
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)
    assert "deixis.load('out')" in here
    assert zoo.load(tmp_path / "out").encode_text(texts).equal(wanted)


@pytest.mark.slow
def test_a_clip_whose_towers_were_tuned_goes_back_to_open_clip(clip: Path, place: Path, tmp_path: Path) -> None:
    """As the card of its run says."""
    checkpoints.put_merges()
    settings = AdaptSettings(model=str(clip), method="clip", layers="last", splits=2, controls=False)
    adapt(str(captioned(tmp_path / "pictures", 24)), tmp_path / "tuned", settings, quiet=True)
    page = (tmp_path / "tuned" / "README.md").read_text()
    assert "`deixis export tuned --to openclip`" in page
    assert str(place) not in page
    export(tmp_path / "tuned", ExportSettings(to="openclip"), out=tmp_path / "out", quiet=True)
    pixels = torch.randn(3, 3, 32, 32)
    assert zoo.load(tmp_path / "out").encode_image(pixels).equal(zoo.load(tmp_path / "tuned").encode_image(pixels))
    assert "## Before and after" in (tmp_path / "out" / "README.md").read_text()


def test_adapters_have_no_place_elsewhere_and_onnx_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapted = shaken(zoo.load("tiny"))
    monkeypatch.setattr(zoo, "load", lambda name: adapted)
    (tmp_path / "my-run").mkdir()
    answer = deixis("export", tmp_path / "my-run", "--to", "openclip", "--out", tmp_path / "out")
    assert answer.code == 2
    assert "has adapters (image and text), which openclip has no place for" in answer.err
    assert "--onnx" in answer.err
    assert not (tmp_path / "out").exists()


# bad input


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "Nothing to write was requested"),
        (("--onnx", "--to", "openclip"), "Both ONNX and a layout"),
        (("--to", "tensorflow"), "no layout 'tensorflow'"),
    ],
)
def test_what_to_write_must_be_told(flags: tuple[str, ...], told: str, tmp_path: Path) -> None:
    answer = deixis("export", "tiny", *flags, "--out", tmp_path / "out")
    assert answer.code == 2
    assert told in answer.err
    assert not list(tmp_path.iterdir())


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=r"no folder .*nowhere"):
        export(tmp_path / "nowhere", ONNX, out=tmp_path / "out")
    with pytest.raises(DeixisError, match="no model called 'startr'"):
        export("startr", ONNX, out=tmp_path / "out")
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "manifest.json").write_text("{}")
    for folder in (tmp_path, tmp_path / "index"):
        with pytest.raises(DeixisError, match="an index and no model"):
            export(folder, ONNX, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("dear")
    for overwrite in (False, True):
        with pytest.raises(DeixisError, match="other files in it"):
            export("tiny", ONNX, out=tmp_path / "out", overwrite=overwrite)
    assert (tmp_path / "out" / "letter.txt").read_text() == "dear"
    zoo.save(zoo.load("tiny"), tmp_path / "run" / "model")
    with pytest.raises(DeixisError, match="is the run itself"):
        export(tmp_path / "run", ONNX, out=tmp_path / "run", overwrite=True)


def test_a_place_that_can_not_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeixisError, match=r"can't be written"):
        export("nothing that could be loaded", ONNX, out=tmp_path / "file" / "out")


def test_a_missing_package_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    answer = deixis("export", "starter", "--onnx", "--out", tmp_path / "out")  # whose weights are not even here
    assert answer.code == 2
    assert "pip install 'deixis[export]'" in answer.err
    assert not list(tmp_path.iterdir())


def test_8_bits_are_not_written_where_nothing_measures_them(tmp_path: Path) -> None:
    answer = deixis("export", "tiny", "--int8", "--out", tmp_path / "out")
    assert answer.code == 2
    assert "too little to measure it on: 0 captioned images" in answer.err
    assert "--data" in answer.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_graphs_that_differ_are_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "LIMIT", 0.0)
    with pytest.raises(DeixisError, match=r"other image embeddings.*Nothing was written"):
        export("tiny", ONNX, out=tmp_path / "out", quiet=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_damaged_graphs_are_named(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "copy")
    whole = (tmp_path / "copy" / "text.onnx").read_bytes()
    (tmp_path / "copy" / "text.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DeixisError, match=r"text\.onnx is no ONNX graph"):
        onnx.Graphs(tmp_path / "copy")
    (tmp_path / "copy" / "image.onnx").unlink()
    with pytest.raises(DeixisError, match=r"image\.onnx is no ONNX graph"):
        onnx.Graphs(tmp_path / "copy")


@pytest.mark.slow
def test_pictures_that_have_moved_are_not_asked_for(place: Path, tmp_path: Path) -> None:
    """An index whose pictures are gone is checked on made-up ones, and says so; again, and in place of the first."""
    captioned(tmp_path / "pictures", 12)
    index(str(tmp_path / "pictures"), tmp_path / "index", "tiny", quiet=True)
    shutil.rmtree(tmp_path / "pictures")
    for overwrite in (False, True):
        answer = deixis(
            "export", tmp_path / "index", "--onnx", "--out", tmp_path / "out", *(["--overwrite"] if overwrite else [])
        )
        assert answer.code == 0, answer.err
        assert "made-up pictures (the pictures of index are not where they were)" in answer.out
    assert json.loads((tmp_path / "out" / "export.json").read_text())["check"]["real"] is False
