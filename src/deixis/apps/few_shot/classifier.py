"""A few labelled images as an estimator, by the rules of scikit-learn, which need not be installed.

The frozen tower encodes each image once: its output is stored on disk by the image's content, so that folds, grids and
later fits begin at once.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from deixis import zoo
from deixis.apps.few_shot.classifier_inputs import (
    few_shot_subset,
    hashes,
    labelled,
    model_of,
    pictures,
    remarks_on,
    source_of,
)
from deixis.apps.few_shot.new_classes import with_classes
from deixis.engine.features.cells import image_cells
from deixis.engine.features.embedding import image_states
from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.benchmark import FewShotBenchmark
from deixis.engine.fewshot.cost import estimate_cost, learn_resumed
from deixis.engine.fewshot.knowledge import GivenKnowledge, require_reader, settings_by_texts
from deixis.engine.fewshot.names import class_names, unreadable_names
from deixis.engine.fewshot.shots import looks_at_cells
from deixis.engine.training.batching import require_encoder
from deixis.engine.training.checkpoint import load_state, save_state
from deixis.engine.training.stages import name_of
from deixis.errors import DeixisError
from deixis.files import atomic_folder, write_json
from deixis.nn.adaptation.class_knowledge import texts_by_class
from deixis.nn.adaptation.prompts import embedding_tower, nearest
from deixis.types.protocols import HasPrompt

__all__ = ["FewShotClassifier", "load_classifier"]

FORMAT = 1


@dataclasses.dataclass(eq=False, repr=False)
class FewShotClassifier:
    """Classifies images by what a frozen image-text model makes of them, of the class names and of a few examples.

        clf = deixis.FewShotClassifier(shots=16).fit("my-folder-of-class-folders")
        clf.predict(["a.jpg"]), clf.score(images, labels), clf.choice_

        clf = deixis.FewShotClassifier(method="kapt", knowledge="texts.csv").fit("my-folder-of-class-folders")
        clf.add_classes({"okapi": "a forest animal with striped legs"})  # known at once, without a picture

    Images are paths, file contents (bytes), Pillow images or arrays uint8 [H, W, 3].

    Args:
        model: a name (`starter`), a model folder, or a `DualEncoder`.
        method: `zero_shot`, `linear`, `tip`, `delta`, `coop`, `cocoop`, `pre`, `mutual_prompt`, `cones`...; `auto`
            chooses among the first four by cross-validation on the images that are learned from.
        shots: images a class that are learned from, drawn at random; all where there are fewer. None: all.
        seed: of the draw, of folds, and of what a method draws.
        templates: sentences around a class name, `{}` where it goes, for the methods that read them.
        names: label -> the words to call it by, where the label itself says nothing.
        settings: of the method, as `deixis show METHOD` lists them.
        knowledge: what classes are, in words, for the methods that read it (`described`, `kapt`, `gist`): a source
            (`wordnet`, `glosses`, `emoji`, `kinds`, `templates`, `captions:DATA`, `about`), a csv with the columns
            `class` and `text`, or class -> its text or texts.

    Attributes:
        classes_: the labels, sorted.
        names_: the words that each is called by.
        knowledge_: class name -> the texts that the method reads.
        method_: the method that has learned.
        choice_: what `auto` chose and why (`method`, `why`, `accuracy`); else None.
        shots_: ids of the images that were learned from.
        notes_: what there was to say of the data.
    """

    _estimator_type: ClassVar[str] = "classifier"  # for scikit-learn before 1.6

    model: Any = "starter"
    method: str = "auto"
    shots: int | None = 16
    seed: int = 0
    templates: Sequence[str] = ("a photo of a {}.",)
    names: Mapping[Any, str] | None = None
    settings: Mapping[str, Any] | None = None
    knowledge: GivenKnowledge | None = None

    @classmethod
    def of(cls, method: Any, classes: Sequence[str], shots: Sequence[str]) -> FewShotClassifier:
        """A classifier of a method that has learned elsewhere, such as in a run of `deixis train`.

        Args:
            method: that has learned classes from what its frozen encoder says of images.
            classes: the labels, in the method's order.
            shots: ids of the images that were learned from.
        """
        templates = getattr(method.config, "templates", ("a photo of a {}.",))
        made = cls(method.encoder.name, name_of(method), None, templates=templates)
        made.method_, made.choice_, made.notes_ = method.eval(), None, []
        made.classes_, made.names_, made.shots_ = np.array(classes), tuple(method.names), tuple(shots)
        return made

    # learning

    def fit(self, X: Any, y: Any = None) -> FewShotClassifier:
        """Learns the classes.

        Training that was interrupted goes on where it was when the same images are fitted once more.

        Args:
            X: images; or, without `y`, a folder of class folders, a table, `set:NAME`, a source, or pairs of an image
                and its label.
            y: a label for each.

        Returns:
            The classifier itself.

        Raises:
            DeixisError: no labels, fewer than two classes, two of one name, or what the method says.
        """
        method = self.method.replace("-", "_")
        overrides = learners.changed_settings(method, self.templates, self.settings)
        if self.knowledge is not None:
            require_reader(method)
        samples, values = labelled(X, y, "train")
        kinds = {type(value).__name__ for value in values}
        if len(kinds) > 1:
            raise DeixisError(f"Labels are of several types: {', '.join(sorted(kinds))}.", "Give labels of one type.")
        classes = np.unique(np.array(values))
        labels = [str(value) for value in classes.tolist()]
        self.notes_: list[str] = []
        encoder = model_of(self.model)
        names = class_names(labels, {str(key): value for key, value in (self.names or {}).items()}, least=2)
        self._remark(*unreadable_names(encoder, names, overrides))
        source = source_of(X) if self.knowledge else None
        texts, notes = settings_by_texts(method, self.knowledge, encoder, names, source, labels)
        self._remark(*notes)
        overrides |= texts
        few = few_shot_subset(samples, self.shots, self.seed)
        self._remark(*remarks_on(few, labels, self.shots))
        seconds, warning = estimate_cost(method, encoder, names, len(few.samples), overrides)
        self._remark(*[warning] * bool(warning))
        shown = [sample.picture for sample in few.samples]
        states = image_states(encoder, shown, few.hashes)
        cells = image_cells(encoder, shown) if few_shot.reads_cells(method, encoder, names, overrides) else None
        bench = FewShotBenchmark(encoder, few.known, states.embedding, states.features, cells)
        shots = bench.shots(range(len(few.samples)), labels)
        self.method_, self.choice_ = learn_resumed(method, encoder, names, shots, overrides, self.seed, seconds)
        self.classes_, self.names_, self.shots_ = classes, names, shots.ids
        return self

    @property
    def knowledge_(self) -> dict[str, tuple[str, ...]]:
        """Class name -> the texts that the method reads; empty of a method that reads none."""
        self._require_fitted()
        pairs = vars(self.method_.config).get("knowledge", ())
        own = texts_by_class(pairs, self.names_)
        return {name: texts for name, texts in zip(self.names_, own, strict=True) if texts}

    def add_classes(self, texts: Mapping[str, str | Sequence[str]]) -> FewShotClassifier:
        """Adds classes that are known by name and, to a method that reads any, by texts: at once, behind the others.

        Args:
            texts: class -> its text or texts; an empty one leaves the name alone.

        Returns:
            The classifier itself.

        Raises:
            DeixisError: the method learns classes from pictures, or a class is there already.
        """
        self._require_fitted()
        if self.classes_.dtype.kind not in "UO":
            raise DeixisError(
                f"The labels are of type {self.classes_.dtype}, and a new class has a name.",
                "Fit with names as labels.",
            )
        self.method_ = with_classes(self.method_, texts)
        self.names_ = tuple(self.method_.names)
        self.classes_ = np.array([*self.classes_.tolist(), *texts])
        return self

    def _remark(self, *notes: str) -> None:
        self.notes_ += notes
        for note in notes:
            warnings.warn(note, stacklevel=3)

    # asking

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits [B, C]; of two classes the second's minus the first's [B], as scikit-learn has it."""
        logits = self._logits(X).numpy()
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> Float[np.ndarray, "B C"]:
        """Softmax of the logits; how far these are probabilities hangs on the method and the model's scale."""
        return self._logits(X).double().softmax(dim=1).numpy()

    def predict(self, X: Any) -> Shaped[np.ndarray, " B"]:
        """The likeliest label of each image."""
        best = self._logits(X).argmax(dim=1).numpy()
        return self.classes_[best]

    def score(self, X: Any, y: Any = None) -> float:
        """Share of images that are named rightly.

        Args:
            X: as for `fit`; of data that names a side for training and one for the test, `fit` takes the former, and
                this the latter.
            y: as for `fit`.
        """
        samples, values = labelled(X, y, "test")
        found = self.predict([sample.picture for sample in samples]).tolist()
        return float(np.mean([one == other for one, other in zip(found, values, strict=True)]))

    def _logits(self, X: Any) -> Float[Tensor, "B C"]:
        self._require_fitted()
        images = pictures(X)
        encoder = require_encoder(self.method_)
        states = image_states(encoder, images, hashes(images))
        cells = image_cells(encoder, images) if looks_at_cells(self.method_) else None
        return few_shot.logits(self.method_, states.embedding, states.features, cells)

    @property
    def prompts_(self) -> list[list[tuple[str, float]]]:
        """For each set of learned vectors (one, or one a class) the token nearest to each vector, and its distance.

        Tokens are nearest by Euclidean distance; far ones say little of what a vector does.

        Raises:
            AttributeError: the method has learned no vectors.
        """
        self._require_fitted()
        if not isinstance(self.method_, HasPrompt):
            raise AttributeError(f"{name_of(self.method_)} learns no prompt vectors")
        encoder = require_encoder(self.method_)
        with torch.no_grad():
            tower = embedding_tower(encoder.text_tower, encoder.name)
            words = tower.embeddings(torch.arange(encoder.tokenizer.vocabulary, device=encoder.device)[None])[0]
            found = [nearest(vectors, words) for vectors in self.method_.prompt()]
        return [
            list(zip(encoder.tokenizer.pieces(numbers[:, 0].tolist()), far[:, 0].tolist(), strict=True))
            for numbers, far in found
        ]

    def _require_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise DeixisError("This classifier is not fitted yet.", "Call its fit, or load a saved one.")

    # keeping

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes a folder from which `load_classifier` makes an equal classifier, without the images.

        Args:
            folder: to write; a classifier that is there is replaced.
        """
        self._require_fitted()
        target = Path(folder)
        if (
            target.exists()
            and not (target / "classifier.json").is_file()
            and (target.is_file() or any(target.iterdir()))
        ):
            raise DeixisError(f"{target} holds files other than a classifier's.", "Choose another folder.")
        with atomic_folder(target) as part:
            self.write(part)

    def write(self, folder: Path) -> None:
        """What `save` does, into a folder that is there.

        Args:
            folder: that may hold other files.
        """
        method, encoder = self.method_, require_encoder(self.method_)
        settings = dataclasses.asdict(method.config).items()
        config = {key: value for key, value in settings if key not in ("encoder", "names")}
        facts = {
            "format": FORMAT,
            "method": name_of(method),
            "config": config,
            "classes": self.classes_.tolist(),
            "names": list(self.names_),
            "choice": None if self.choice_ is None else dataclasses.asdict(self.choice_),
            "shots": list(self.shots_),
            "parameters": {
                **{name: value for name, value in self.get_params().items() if name != "model"},
                "knowledge": str(self.knowledge) if isinstance(self.knowledge, Path) else self.knowledge,
                "names": None if self.names is None else {str(key): value for key, value in self.names.items()},
            },
            "model_fingerprint": encoder.fingerprint(),
        }
        zoo.save(encoder, folder / "model")
        save_state(method, folder / "method.safetensors")
        write_json(folder / "classifier.json", facts)

    # scikit-learn's rules

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, as they are set.

        Args:
            deep: makes no difference: no argument is an estimator.
        """
        return {
            name: getattr(self, name) for name in inspect.signature(type(self).__init__).parameters if name != "self"
        }

    def set_params(self, **params: Any) -> FewShotClassifier:
        """Sets arguments of the constructor.

        Args:
            **params: by name.

        Raises:
            ValueError: there is no such argument.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"Invalid parameter {name!r} for {type(self).__name__}: it has {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "method_")

    def __sklearn_clone__(self) -> FewShotClassifier:
        return type(self)(**self.get_params())  # a model that was handed in is shared, not copied

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=False),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, string=True),
        )

    def __repr__(self) -> str:
        own = inspect.signature(type(self).__init__).parameters
        changed = [f"{name}={value!r}" for name, value in self.get_params().items() if value != own[name].default]
        return f"{type(self).__name__}({', '.join(changed)})"


def load_classifier(folder: str | os.PathLike[str]) -> FewShotClassifier:
    """A classifier that `save` wrote, or `deixis adapt` into its run folder; no image is needed.

    Args:
        folder: that was written.

    Raises:
        DeixisError: there is none, it is damaged, or its model is not there.
    """
    folder = Path(folder)
    facts = _facts(folder)
    encoder = zoo.load(folder / "model")
    if encoder.fingerprint() != facts["model_fingerprint"]:
        raise DeixisError(f"The model in {folder} is not the one that the classifier was made with.", "Fit it again.")
    config = {key: tuple(value) if isinstance(value, list) else value for key, value in facts["config"].items()}
    names = tuple(facts["names"])
    method = few_shot.build(facts["method"], encoder, names, config)
    load_state(method, folder / "method.safetensors")
    made = FewShotClassifier(model=str(folder / "model"), **facts["parameters"])  # of older ones, without knowledge
    made.templates = tuple(made.templates)
    made.method_, made.names_, made.shots_ = method.eval(), names, tuple(facts["shots"])
    made.classes_, made.notes_ = np.array(facts["classes"]), []
    made.choice_ = None if facts["choice"] is None else few_shot.Pick(**facts["choice"])
    return made


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "classifier.json"
    if not path.is_file():
        raise DeixisError(f"{folder} holds no classifier: there is no {path.name}.", "Give a folder that `save` wrote.")
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {"method", "config", "classes", "names", "choice", "shots", "parameters", "model_fingerprint"}
        missing = known - facts.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise DeixisError(f"{path} can't be read: {error}.", "Fit it again.") from error
    if missing or facts.get("format") != FORMAT:
        raise DeixisError(f"{path} is not what this version of deixis writes.", "Upgrade deixis, or fit it again.")
    return facts
