"""Which words name which of the detector's 80 kinds, from WordNet: writes `src/deixis/zoo/word_kinds.txt`.

    python -m bench.word_kinds [FOLDER]      the folder of WordNet 3.0; by default apt-get brings Debian's wordnet-base

A kind is a sense of WordNet, named below. Words for what lies below it in WordNet are of the kind (puppy: dog), and
words for what lies above several kinds are of all of them (animal: bird, cat, dog...). A word counts only if its first
sense among things is such a one, and if its other senses among things are rare: a printer is a person in the first
place, but not in a photograph. A few everyday words are given by hand.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from deixis.data.datasets.sources.packages import debian_package
from deixis.data.knowledge.wordnet import THINGS, WordNet, read_wordnet
from deixis.files import atomic_path
from deixis.zoo.detector import CLASSES

__all__ = ["main", "word_kinds"]

TARGET = Path(__file__).parents[1] / "src/deixis/zoo/word_kinds.txt"

SENSES = {
    "person": "person.1", "bicycle": "bicycle.1", "car": "car.1", "motorcycle": "motorcycle.1",
    "airplane": "airplane.1", "bus": "bus.1", "train": "train.1", "truck": "truck.1", "boat": "boat.1",
    "traffic light": "traffic_light.1", "fire hydrant": "fire_hydrant.1", "parking meter": "parking_meter.1",
    "bench": "bench.1", "bird": "bird.1", "cat": "cat.1", "dog": "dog.1", "horse": "horse.1", "sheep": "sheep.1",
    "cow": "cattle.1", "elephant": "elephant.1", "bear": "bear.1", "zebra": "zebra.1", "giraffe": "giraffe.1",
    "backpack": "backpack.1", "umbrella": "umbrella.1", "handbag": "bag.4", "tie": "necktie.1", "suitcase": "bag.6",
    "frisbee": "frisbee.1", "skis": "ski.1", "snowboard": "snowboard.1", "sports ball": "ball.1", "kite": "kite.3",
    "baseball bat": "baseball_bat.1", "baseball glove": "baseball_glove.1", "skateboard": "skateboard.1",
    "surfboard": "surfboard.1", "tennis racket": "tennis_racket.1", "bottle": "bottle.1", "wine glass": "wineglass.1",
    "cup": "cup.1", "fork": "fork.1", "knife": "knife.1", "spoon": "spoon.1", "bowl": "bowl.3", "banana": "banana.2",
    "apple": "apple.1", "sandwich": "sandwich.1", "orange": "orange.1", "broccoli": "broccoli.2", "carrot": "carrot.1",
    "hot dog": "hotdog.3", "pizza": "pizza.1", "donut": "doughnut.2", "cake": "cake.3", "chair": "chair.1",
    "couch": "sofa.1", "potted plant": "pot_plant.1", "bed": "bed.1", "dining table": "table.2", "toilet": "toilet.2",
    "tv": "television_receiver.1", "laptop": "laptop.1", "mouse": "mouse.4", "remote": "remote_control.1",
    "keyboard": "computer_keyboard.1", "cell phone": "cellular_telephone.1", "microwave": "microwave.2",
    "oven": "oven.1", "toaster": "toaster.2", "sink": "sink.1", "refrigerator": "refrigerator.1", "book": "book.2",
    "clock": "clock.1", "vase": "vase.1", "scissors": "scissors.1", "teddy bear": "teddy.1",
    "hair drier": "hand_blower.1", "toothbrush": "toothbrush.1",
}  # fmt: skip
"""Kind -> lemma and number of its sense; the stop sign is no word of WordNet."""

BY_HAND: Mapping[str, str] = {
    "bike": "bicycle", "motorbike": "motorcycle", "plane": "airplane", "jet": "airplane", "van": "truck,car",
    "pickup": "truck", "lorry": "truck", "ship": "boat", "hydrant": "fire hydrant", "stoplight": "traffic light",
    "stop sign": "stop sign", "bull": "cow", "calf": "cow", "ox": "cow", "cow": "cow", "rucksack": "backpack",
    "bag": "handbag,backpack,suitcase", "purse": "handbag", "luggage": "suitcase", "ski": "skis",
    "ball": "sports ball", "basketball": "sports ball", "football": "sports ball", "soccer ball": "sports ball",
    "bat": "baseball bat", "racket": "tennis racket", "glass": "wine glass,cup", "mug": "cup", "hotdog": "hot dog",
    "doughnut": "donut", "sofa": "couch", "plant": "potted plant", "houseplant": "potted plant",
    "flower pot": "potted plant", "table": "dining table", "desk": "dining table", "television": "tv",
    "screen": "tv,laptop", "monitor": "tv", "computer": "laptop,tv", "computer mouse": "mouse", "phone": "cell phone",
    "smartphone": "cell phone", "mobile phone": "cell phone", "fridge": "refrigerator", "hairdryer": "hair drier",
    "teddy": "teddy bear", "man": "person", "woman": "person", "girl": "person", "boy": "person", "kid": "person",
    "guy": "person", "lady": "person", "player": "person", "human": "person", "chick": "bird", "hen": "bird",
    "chicken": "bird", "rooster": "bird", "duck": "bird", "goose": "bird", "turkey": "bird", "taxi": "car",
    "cab": "car", "kitten": "cat", "bunch of bananas": "banana", "racing car": "car", "sailboat": "boat",
    "cutlery": "fork,knife,spoon",
}  # fmt: skip
"""Everyday words that WordNet has in another sense first, or not at all."""

SILENT = frozenset(
    {
        "mouse",
        "pitcher",
        "speaker",
        "seat",
        "instrument",
        "container",
        "device",
        "equipment",
        "artifact",
        "object",
        "whole",
    }
)
"""Words that say nothing here: a mouse may be an animal, a device nearly anything."""

_BROAD = 25  # a word above more kinds than these says nothing


def word_kinds(wordnet: WordNet) -> dict[str, tuple[str, ...]]:
    """Word -> the kinds that it names, in alphabetical order."""
    found = _below_kinds(wordnet)
    for synset, kinds in _above_kinds(wordnet).items():
        for lemma in wordnet.lemmas[synset]:
            if 1 < len(kinds) <= _BROAD and _first_thing(wordnet, lemma) == synset and _words(lemma) not in found:
                found[_words(lemma)] = found.get(_words(lemma), set()) | kinds
    found.update({kind: {kind} for kind in CLASSES})
    found.update({word: set(kinds.split(",")) for word, kinds in BY_HAND.items()})
    plain = re.compile(r"[a-z]+(?:[ -][a-z]+)?")
    words = sorted(word for word in found if plain.fullmatch(word) and word not in SILENT)
    return {word: tuple(sorted(found[word], key=CLASSES.index)) for word in words}


def _below_kinds(wordnet: WordNet) -> dict[str, set[str]]:
    """Words for a kind, and for what is such a thing."""
    found: dict[str, set[str]] = defaultdict(set)
    for kind, name in SENSES.items():
        closure = _closure(wordnet.below, _sense(wordnet, name))
        for lemma in (lemma for synset in closure for lemma in wordnet.lemmas[synset]):
            if _speaks_for(wordnet, lemma, closure):
                found[_words(lemma)].add(kind)
    return found


def _above_kinds(wordnet: WordNet) -> dict[str, set[str]]:
    """Synset -> the kinds below it."""
    over: dict[str, set[str]] = defaultdict(set)
    for kind, name in SENSES.items():
        start = _sense(wordnet, name)
        for synset in _closure(wordnet.above, start) - {start}:
            over[synset].add(kind)
    return over


def _words(lemma: str) -> str:
    return lemma.replace("_", " ")


def _sense(wordnet: WordNet, name: str) -> str:
    lemma, _, number = name.rpartition(".")
    return wordnet.senses[lemma][int(number) - 1]


def _closure(edges: Mapping[str, list[str]], start: str) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        new = [each for each in edges.get(waiting.pop(), ()) if each not in reached]
        reached.update(new)
        waiting += new
    return reached


def _first_thing(wordnet: WordNet, lemma: str) -> str:
    """The first sense of a word among things."""
    senses = wordnet.senses.get(lemma.lower(), [])
    return next((each for each in senses if wordnet.file[each] in THINGS), "")


def _speaks_for(wordnet: WordNet, lemma: str, closure: set[str]) -> bool:
    """Whether a word means the kind in the first place, and rarely another thing."""
    if _first_thing(wordnet, lemma) not in closure:
        return False
    counts = {each: wordnet.tagged.get((lemma.lower(), each), 0) for each in wordnet.senses[lemma.lower()]}
    inside = sum(count for each, count in counts.items() if each in closure)
    others = [count for each, count in counts.items() if each not in closure and wordnet.file[each] in THINGS]
    return not others or inside >= 3 * sum(others) + 2


def main(arguments: list[str]) -> None:
    """Writes the table."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(arguments[0]) if arguments else debian_package("wordnet-base", Path(work), print).folder
        data = next(folder.rglob("data.noun")).parent
        table = word_kinds(read_wordnet(data))
    by_kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for word, kinds in table.items():
        by_kinds[kinds].append(word)
    lines = [f"{', '.join(kinds)}: {', '.join(words)}" for kinds, words in sorted(by_kinds.items())]
    head = "# Made by bench/word_kinds.py from WordNet 3.0 (Princeton University): kinds, and words for them.\n"
    with atomic_path(TARGET) as path:
        path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(table)} words of {len(by_kinds)} groups in {TARGET}")


if __name__ == "__main__":
    main(sys.argv[1:])
