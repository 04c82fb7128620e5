"""A few labelled images as an estimator: fitted in three lines, by scikit-learn's rules, with what is wrong said."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import deixis
from deixis import zoo
from deixis.apps.common.dataset import read
from deixis.apps.few_shot import classifier as app
from deixis.engine.fewshot import cost, few_shot, learners
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.methods import coop
from tests.commands import own_cache
from tests.pictures import COLOURS, labelled, spoil
from tests.support import few

# A small penalty that is told: nothing needs to be cross-validated.
QUICK: dict[str, Any] = {"model": "tiny", "method": "linear", "shots": 5, "settings": {"penalty": 1e-3}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("few")
    with own_cache(folder / "cache"):
        yield folder


@pytest.fixture(scope="module")
def data(place: Path) -> Path:
    return labelled(place / "pictures", 36)


@pytest.fixture(scope="module")
def pairs(data: Path) -> tuple[list[str], list[str]]:
    files = sorted(data.rglob("*.png"))
    return [str(file) for file in files], [file.parent.name for file in files]


@pytest.fixture(scope="module")
def fitted(data: Path) -> app.FewShotClassifier:
    return deixis.FewShotClassifier(**QUICK).fit(str(data))


def fit(*what: Any, **changed: Any) -> app.FewShotClassifier:
    return deixis.FewShotClassifier(**{**QUICK, **changed}).fit(*what)


# use


@pytest.mark.slow
def test_a_folder_a_source_pairs_and_lists_are_learned_alike(data: Path, pairs: Any) -> None:
    """All images are taken, since a draw hangs on what they are called."""
    X, y = pairs
    found = [
        fit(*given, shots=None).predict_proba(X)
        for given in (
            (str(data),),
            (read(str(data)),),
            (list(zip(X, y, strict=True)),),
            (X, y),
            (np.array(X), np.array(y)),
        )
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-6)


def test_a_folder_with_sides_is_learned_from_one_and_scored_on_the_other(place: Path) -> None:
    labelled(place / "sides" / "train", 12, seed=6)
    labelled(place / "sides" / "test", 12, seed=7)
    clf = fit(str(place / "sides"), shots=2)
    assert all(name.startswith("train/") for name in clf.shots_)
    tests = sorted((place / "sides" / "test").rglob("*.png"))
    assert clf.score(str(place / "sides")) == clf.score(tests, [file.parent.name for file in tests])


def test_colours_are_told_apart_after_five_images_of_each(
    fitted: app.FewShotClassifier, data: Path, pairs: Any
) -> None:
    X, y = pairs
    assert fitted.classes_.tolist() == sorted(COLOURS)
    assert len(fitted.shots_) == 5 * len(COLOURS)
    assert fitted.score(X, y) == fitted.score(str(data)) == np.mean(fitted.predict(X) == np.array(y)) > 0.9


def test_probabilities_are_of_the_classes_in_their_order(fitted: app.FewShotClassifier, pairs: Any) -> None:
    found = fitted.predict_proba(pairs[0])
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (fitted.classes_[found.argmax(axis=1)] == fitted.predict(pairs[0])).all()
    assert fitted.decision_function(pairs[0]).shape == found.shape
    assert fitted.predict([]).shape == (0,)


def test_two_classes_have_one_margin(pairs: Any) -> None:
    X, y = pairs
    two = [(file, label) for file, label in zip(X, y, strict=True) if label in list(COLOURS)[:2]]
    clf = fit(two)
    margin = clf.decision_function([file for file, _ in two])
    assert margin.shape == (len(two),)
    assert (clf.classes_[(margin > 0).astype(int)] == clf.predict([file for file, _ in two])).all()


def test_labels_keep_their_type(pairs: Any) -> None:
    X, y = pairs
    numbers = [sorted(COLOURS).index(label) for label in y]
    clf = fit(X, numbers)
    assert clf.predict(X).dtype.kind == "i"
    assert clf.score(X, numbers) > 0.9


def test_contents_pillow_images_and_arrays_are_images_too(fitted: app.FewShotClassifier, pairs: Any) -> None:
    files = pairs[0][:3]
    decoded = [Image.open(file).convert("RGB") for file in files]
    expected = fitted.decision_function(files)
    for given in ([Path(file).read_bytes() for file in files], decoded, [np.asarray(image) for image in decoded]):
        np.testing.assert_allclose(fitted.decision_function(given), expected, rtol=1e-5, atol=1e-5)
    assert fitted.predict(files[0]).shape == fitted.predict(decoded[0]).shape == (1,)
    with pytest.raises(DeixisError, match=r"image 0 is an array float64 \[4, 4\]"):
        fitted.predict([np.zeros((4, 4))])


@pytest.mark.slow
def test_names_call_a_class_otherwise_and_templates_stand_around_them(pairs: Any) -> None:
    X, y = pairs
    numbers = [sorted(COLOURS).index(label) for label in y]
    by_word = fit(X, y, method="zero_shot", settings=None, templates=("see {}", "{}!"))
    called = fit(
        X,
        numbers,
        method="zero_shot",
        settings=None,
        templates=("see {}", "{}!"),
        names=dict(enumerate(sorted(COLOURS))),
    )
    np.testing.assert_allclose(called.predict_proba(X), by_word.predict_proba(X))
    assert not np.allclose(by_word.predict_proba(X), fit(X, y, method="zero_shot", settings=None).predict_proba(X))


@pytest.mark.slow
def test_auto_says_what_it_chose_and_why(pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_shot, "PENALTIES", (1e-3,))
    clf = fit(*pairs, method="auto", settings=None)
    assert clf.choice_.method in learners.candidates()
    assert type(clf.method_).__module__.endswith(clf.choice_.method)
    assert "were held out" in clf.choice_.why


def test_the_tower_looks_at_each_image_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = labelled(place / "counted", 12, seed=9)
    read, read_ = Preprocess.read, []

    def counted(self: Any, images: Any, *options: Any) -> Any:
        read_.extend(images)
        return read(self, images, *options)

    monkeypatch.setattr(Preprocess, "read", counted)
    for method in ("linear", "zero_shot"):
        fit(str(folder), shots=2, method=method, settings=None if method == "zero_shot" else QUICK["settings"]).score(
            str(folder)
        )
    assert len(read_) == 12


def test_the_nearest_words_of_vectors_that_were_not_moved_are_those_they_started_from(pairs: Any) -> None:
    still = {"words": "a red bird", "learning_rate": 1e-9, "warmup_rate": 1e-9, "epochs": 1}
    clf = fit(*pairs, method="coop", settings=still)
    (found,) = clf.prompts_
    assert "".join(token for token, _ in found).replace("Ġ", " ") == "a red bird"
    assert max(far for _, far in found) < 0.01
    with pytest.raises(AttributeError, match="linear learns no prompt vectors"):
        _ = fit(*pairs).prompts_


# keeping


@pytest.mark.parametrize("method", few(learners.offered(), *learners.candidates()))
def test_a_saved_classifier_answers_alike_when_the_images_are_gone(method: str, place: Path, tmp_path: Path) -> None:
    folder = labelled(place / f"gone-{method}", 12, seed=3)
    settings = {"epochs": 2} if learners.takes(method, "epochs") else {}
    settings |= {"penalty": 0.1} if learners.takes(method, "penalty") else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*reads? texts of classes, and none are given")
        clf = fit(str(folder), method=method, shots=1, settings=settings)
    probe = Image.new("RGB", (40, 40), (200, 40, 40))
    expected = clf.predict_proba(probe)
    clf.save(tmp_path / "kept")
    shutil.rmtree(folder)
    again = deixis.load_classifier(tmp_path / "kept")
    np.testing.assert_array_equal(again.predict_proba(probe), expected)
    assert again.classes_.tolist() == clf.classes_.tolist()
    assert {**again.get_params(), "model": ""} == {**clf.get_params(), "model": ""}


def test_what_is_no_classifier_or_a_damaged_one_is_told(
    fitted: app.FewShotClassifier, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeixisError, match="holds no classifier"):
        deixis.load_classifier(tmp_path)
    with pytest.raises(DeixisError, match="holds files other than a classifier"):
        fitted.save(data)
    fitted.save(tmp_path / "kept")
    fitted.save(tmp_path / "kept")  # one's own may be replaced
    facts = tmp_path / "kept" / "classifier.json"
    other = json.loads(facts.read_text())
    facts.write_text(json.dumps({**other, "model_fingerprint": "0"}))
    with pytest.raises(DeixisError, match="not the one that the classifier was made with"):
        deixis.load_classifier(tmp_path / "kept")
    facts.write_text("{")
    with pytest.raises(DeixisError, match="can't be read"):
        deixis.load_classifier(tmp_path / "kept")


def test_a_save_that_fails_leaves_the_old_one(
    fitted: app.FewShotClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted.save(tmp_path / "kept")
    before = {file.name: file.read_bytes() for file in (tmp_path / "kept").glob("*.*")}

    def full(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(app, "save_state", full)
    with pytest.raises(OSError, match="disk full"):
        fitted.save(tmp_path / "kept")
    assert {file.name: file.read_bytes() for file in (tmp_path / "kept").glob("*.*")} == before
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


# bad input


def test_fewer_images_than_shots_are_said_and_used(pairs: Any) -> None:
    with pytest.warns(UserWarning, match="6 of 6 classes have fewer than 50 images, 6 the least; all are used"):
        clf = fit(*pairs, shots=50)
    assert len(clf.shots_) == 36
    assert len(clf.notes_) == 1


@pytest.mark.slow
def test_a_class_with_one_image_is_learned_and_a_lopsided_draw_is_said(pairs: Any) -> None:
    X, y = pairs
    one = [i for i, label in enumerate(y) if label == y[0]]
    kept = [i for i in range(len(y)) if i not in one[1:]]
    with pytest.warns(UserWarning, match="1 of 6 classes have fewer than 5 images, 1 the least"):
        clf = fit([X[i] for i in kept], [y[i] for i in kept])
    assert y[0] in clf.classes_
    with pytest.warns(UserWarning, match="largest class has 12 images, the smallest 1"):
        fit(
            [X[i] for i in kept for _ in range(2 if y[i] != y[0] else 1)],
            [y[i] for i in kept for _ in range(2 if y[i] != y[0] else 1)],
            shots=None,
        )


@pytest.mark.slow
def test_images_that_cannot_be_read_are_replaced_by_others(place: Path) -> None:
    folder = labelled(place / "spoiled", 24, seed=2)
    spoil(folder / next(iter(COLOURS)))
    for text in folder.rglob("*.txt"):
        text.unlink()
    with pytest.warns(UserWarning, match="images can't be read, and others are taken"):
        clf = fit(str(folder), shots=4)
    assert len(clf.shots_) == 24


def test_a_class_of_which_nothing_can_be_read_is_named(pairs: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(
        DeixisError, match=r"No image of the class 'odd' can be read; the first: .*broken.png: not an image"
    ):
        fit([*pairs[0], broken], [*pairs[1], "odd"])
    with pytest.raises(DeixisError, match=r"missing\.png"):
        fit(*pairs).predict([tmp_path / "missing.png"])


@pytest.mark.parametrize("twin", ["OOO_ooooo oooo", " ooo  ooooo oooo", "ｏoo ooooo oooo"])
def test_two_classes_of_one_name_are_refused_whatever_case_and_spaces(pairs: Any, twin: str) -> None:
    X, y = pairs
    with pytest.raises(DeixisError, match="have one name"):
        fit(X, [twin if i % 12 == 1 else label for i, label in enumerate(y)])


def test_odd_names_are_read_letter_by_letter_and_empty_ones_refused(pairs: Any) -> None:
    X, y = pairs
    odd = dict(zip(sorted(COLOURS), ("🐶", "日本", "{x}", "a/b: \t*", "naïve\u0301", "-"), strict=True))
    names = fit(X, y, names=odd, method="zero_shot", settings=None).names_
    assert names == ("🐶", "日本", "{x}", "a/b: *", "naïve\u0301", "-")
    with pytest.raises(DeixisError, match="has no name"):
        fit(X, y, names={y[0]: " _ "})


def test_a_name_that_is_too_long_is_cut_and_said_or_refused_where_vectors_must_fit(pairs: Any) -> None:
    X, y = pairs
    long = {y[0]: "very " * 20 + "long"}
    with pytest.warns(UserWarning, match="1 class names are longer than the 64 tokens that tiny reads, and are cut"):
        fit(X, y, names=long, method="zero_shot", settings=None)
    with pytest.raises(DeixisError, match="Shorten the name"):
        fit(X, y, names=long, method="coop", settings={"epochs": 1})
    fit(X, y, names=long)  # reads no names
    both = {y[0]: "very " * 20 + "long", y[-1]: "very " * 20 + "short"}
    with pytest.raises(DeixisError, match="as far as tiny can read"):
        fit(X, y, names=both, method="zero_shot", settings=None)


def test_what_is_missing_or_wrong_is_told_before_any_work(pairs: Any, data: Path) -> None:
    X, y = pairs
    for cure, call in {
        "not fitted yet": lambda: deixis.FewShotClassifier(**QUICK).predict(X),
        "neither y, nor pairs": lambda: fit(X),
        "images and 35 labels": lambda: fit(X, y[:-1]),
        "images without a label": lambda: fit(str(data / y[0])),
        "needs at least two": lambda: fit(X[:3], [y[0]] * 3),
        "0] images per class": lambda: fit(X, y, shots=0),
        "no method called 'cop'": lambda: fit(X, y, method="cop"),
        "several types: int, str": lambda: fit(X, [1, *y[1:]]),
        "learns no classes": lambda: fit(X, y, method="residual"),
        "no setting 'penalti'": lambda: fit(X, y, settings={"penalti": 1}),
        "no place for the name": lambda: fit(X, y, method="zero_shot", settings=None, templates=("a photo",)),
        "with an image and a text tower": lambda: fit(X, y, model=torch.nn.Linear(2, 2)),
        "no model called": lambda: fit(X, y, model="nothing"),
    }.items():
        with pytest.raises(DeixisError, match=cure):
            call()


def test_what_will_take_long_is_said_before_images_are_looked_at_and_training_is_kept(
    pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    kept: list[Path] = []
    states, learn = app.image_states, few_shot.learn
    monkeypatch.setattr(few_shot, "forecast", lambda *_: 7200.0)
    monkeypatch.setattr(app, "image_states", lambda *given: done.append("encoded") or states(*given))

    def learned(*given: Any, checkpoint: Path | None = None, **more: Any) -> Any:
        assert checkpoint is not None
        kept.append(checkpoint)
        return learn(*given, checkpoint=checkpoint, **more)

    monkeypatch.setattr(few_shot, "learn", learned)
    monkeypatch.setattr(app.warnings, "warn", lambda note, **_: done.append(note))
    fit(*pairs, method="coop", settings={"epochs": 2})
    assert done == [
        "Training 6 classes by coop will take about 2.0 hours; linear, tip and delta take far less.",
        "encoded",
    ]
    assert kept[0].suffix == ".safetensors"
    assert list(kept[0].parent.iterdir()) == []  # nothing is left when it is done


def test_a_fit_that_was_interrupted_goes_on(pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = fit(*pairs, method="coop", settings={"epochs": 4})
    monkeypatch.setattr(cost, "SLOW", 0.0)
    plain, steps = coop.Method.loss, []

    def cut(self: Any, features: Any, batch: Any, progress: Any) -> Any:
        steps.append(progress.step)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return plain(self, features, batch, progress)

    monkeypatch.setattr(few_shot, "forecast", lambda *_: 1.0)
    monkeypatch.setattr(coop.Method, "loss", cut)
    clf = deixis.FewShotClassifier("tiny", "coop", 5, settings={"epochs": 4})
    warnings.simplefilter("ignore")  # of the forecast; pytest sets it back
    with pytest.raises(KeyboardInterrupt):
        clf.fit(*pairs)
    assert not hasattr(clf, "method_")
    clf.fit(*pairs)
    assert steps == [0, 1, 2, 2, 3]
    assert torch.equal(clf.method_.context, straight.method_.context)


# scikit-learn


def test_it_needs_no_scikit_learn(pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"] or ["sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert fit(*pairs).score(*pairs) > 0.9


def test_parameters_are_read_and_set_by_name() -> None:
    clf = deixis.FewShotClassifier(**QUICK)
    assert clf.get_params()["shots"] == 5
    assert clf.set_params(shots=2, method="tip") is clf
    assert (clf.shots, clf.method) == (2, "tip")
    with pytest.raises(ValueError, match="Invalid parameter 'shot'"):
        clf.set_params(shot=2)
    assert repr(deixis.FewShotClassifier("tiny", shots=2)) == "FewShotClassifier(model='tiny', shots=2)"


@pytest.mark.slow
def test_it_is_cloned_cross_validated_and_searched_like_any_other(pairs: Any) -> None:
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.utils.estimator_checks import check_estimator

    X, y = np.array(pairs[0]), np.array(pairs[1])
    model = zoo.load("tiny")
    clf = deixis.FewShotClassifier(**{**QUICK, "model": model, "shots": None})
    assert is_classifier(clf)
    assert clone(clf).get_params() == clf.get_params()
    assert clone(clf).model is model
    scores = cross_val_score(clf, X, y, cv=3)
    assert scores.shape == (3,)
    assert scores.mean() > 0.9
    grid = {"shots": [3], "method": ["zero_shot", "linear"]}
    search = GridSearchCV(deixis.FewShotClassifier("tiny"), grid, cv=2, scoring="roc_auc_ovr").fit(X, y)
    assert search.best_params_ == {"shots": 3, "method": "linear"}
    assert search.best_estimator_.score(X, y) > 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is skipped, as it feeds numbers
        told = check_estimator(deixis.FewShotClassifier("tiny"), on_fail=None)
    assert {each["status"] for each in told} <= {"passed", "skipped"}


# classes known by words

ABOUT = {"qqqqqqqqqqqqqq": "red as blood", "ooo ooooo oooo": ["green", "as grass"]}


@pytest.fixture(scope="module")
def described(data: Path) -> app.FewShotClassifier:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = {"epochs": 1, "start": 0.5}
        return fit(str(data), method="kapt", shots=1, settings=settings, knowledge=ABOUT)


def test_texts_of_classes_are_read_shown_and_saved_with_the_classifier(
    described: app.FewShotClassifier, pairs: Any, tmp_path: Path
) -> None:
    known = {"qqqqqqqqqqqqqq": ("red as blood",), "ooo ooooo oooo": ("green", "as grass")}
    assert described.knowledge_ == known
    assert "4 of 6 classes have no text" in described.notes_[0]
    described.save(tmp_path / "kept")
    again = deixis.load_classifier(tmp_path / "kept")
    assert again.knowledge_ == known
    np.testing.assert_array_equal(again.predict_proba(pairs[0][:3]), described.predict_proba(pairs[0][:3]))


@pytest.mark.slow
def test_all_three_pieces_of_kapt_are_learned_saved_and_answer_alike_when_loaded(data: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = {"epochs": 1, "start": 0.5, "head": True, "heads": 1}
        clf = fit(str(data), method="kapt", shots=1, settings=settings, knowledge=ABOUT)
    probe = Image.new("RGB", (40, 40), (200, 40, 40))
    expected = clf.decision_function(probe)
    clf.method_.head.beta.data.zero_()
    assert np.abs(clf.decision_function(probe) - expected).max() > 1e-3, "the head has its say"
    clf.method_.head.beta.data.fill_(1)
    clf.save(tmp_path / "kept")
    again = deixis.load_classifier(tmp_path / "kept").add_classes({"okapi": "a forest animal"})
    found = again.decision_function(probe)
    np.testing.assert_allclose(found[:, :-1], clf.decision_function(probe), rtol=1e-3, atol=1e-3)


def test_a_class_is_added_at_once_by_its_text_and_the_others_score_as_before(
    described: app.FewShotClassifier, pairs: Any, tmp_path: Path
) -> None:
    described.save(tmp_path / "kept")
    images = pairs[0][:4]
    logits = {}
    for text in ("a forest animal with striped legs", "a boat"):
        clf = deixis.load_classifier(tmp_path / "kept").add_classes({"okapi": text})
        assert clf.classes_.tolist()[-1] == clf.names_[-1] == "okapi"
        assert clf.knowledge_["okapi"] == (text,)
        logits[text] = clf.decision_function(images)
        np.testing.assert_allclose(logits[text][:, :-1], described.decision_function(images), rtol=1e-3, atol=1e-3)
    assert np.abs(np.subtract(*logits.values())[:, -1]).min() > 1e-4, "the text decides what the class is"
    with pytest.raises(DeixisError, match="'okapi' is a class already"):
        clf.add_classes({"Okapi": "another"})


def test_what_learns_a_class_from_pictures_adds_none_without(fitted: app.FewShotClassifier) -> None:
    with pytest.raises(DeixisError, match=r"linear learns a class from pictures of it, and has none of 'okapi'"):
        fitted.add_classes({"okapi": "a forest animal"})


def test_texts_for_a_method_that_reads_none_are_refused_before_any_image_is_read() -> None:
    with pytest.raises(DeixisError, match=r"linear reads no texts of classes.* These do: .*described.*kapt"):
        fit("missing", knowledge="wordnet")
    with pytest.raises(DeixisError, match="auto reads no texts"):
        fit("missing", method="auto", settings=None, knowledge="wordnet")


def test_a_method_that_reads_texts_and_is_given_none_says_so(pairs: Any) -> None:
    with pytest.warns(UserWarning, match="described reads texts of classes, and none are given"):
        clf = fit(*pairs, method="described", settings=None)
    assert clf.knowledge_ == {}


def test_codes_are_known_by_their_texts(pairs: Any) -> None:
    X, y = pairs
    codes = {label: f"SKU {number}" for number, label in enumerate(sorted(COLOURS))}
    texts = {code: label for label, code in codes.items()}
    coded = [codes[label] for label in y]
    clf = fit(X, coded, method="described", settings={"by": "texts", "templates": ("{}",)}, knowledge=texts)
    plain = fit(X, y, method="zero_shot", settings={"templates": ("{}",)})
    np.testing.assert_allclose(clf.predict_proba(X), plain.predict_proba(X), rtol=1e-4, atol=1e-5)
