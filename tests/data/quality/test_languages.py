"""Captions that are not English are told by their letters and small words; English ones hardly ever."""

from __future__ import annotations

import pytest

from deixis.data.quality.languages import language

FOREIGN = {
    "Eine rote Kuh auf der Wiese": "German",
    "Ein Hund und eine Katze": "German",
    "Une pomme dans un panier": "French",
    "Deux chats qui dorment": "French",
    "Una casa con las ventanas rojas": "Spanish",
    "Uma menina não está na praia": "Portuguese",
    "Un gatto nella scatola della nonna": "Italian",
    "Een hond voor het huis": "Dutch",
    "En katt och ett hus på berget": "Swedish",
    "Hunden og katten er ikke ude": "Danish or Norwegian",
    "Czerwony samochód jest przy domu": "Polish",
    "Bir kırmızı çiçek": "Turkish",
    "Sebuah mobil merah dengan atap": "Indonesian or Malay",
    "Egy piros alma": "Hungarian",
    "O mașină roșie și un câine": "Romanian",
    "Một con mèo trong nhà": "Vietnamese",
    "Красный автомобиль": "Cyrillic",
    "一只红色的鸟": "Chinese",
    "赤い鳥がいます": "Japanese",
    "빨간 새": "Korean",
    "طائر أحمر": "Arabic",
    "Ένα κόκκινο πουλί": "Greek",
    "एक लाल पक्षी": "Devanagari",
    "VW-Bus в лесу осенью": "Cyrillic",
}
ENGLISH = (
    "A red bird.", "a wizard's hat", "A knight\u2019s helmet", "crepe de Chine", "El Capitan at dusk",
    "flag: El Salvador", "a mug in a box, an apple on a plate", "The Eiffel tower by night", "a la carte menu",
    "a jalapeño", "café", "piñata at a party", "the Las Vegas strip", "MIT and UNO logos", "IST, DES, LOS",
    "moving van", "hay bale", "in die casting", "delivery van", "Vincent van Gogh, Sunflowers", "Cu_t",
    "%s: -a [name]", "v3.11.2", "a to z", "www.example.com/de/un/la", "U.S. Virgin Islands", "yin yang",
    "Do you see what I see?", "A Jack-o\u2019-lantern.", "no entry", "10 € note", "", "!?", "12 34", "\u0000",
    "T-shirt", "X-ray of a hand", "Côte d\u2019Azur", "the façade of the café", "person in a tuxedo", "pea pod",
    "Shar pei", "tench, Tinca tinca", "goldfish, Carassius auratus", "great grey owl, great gray owl, Strix nebulosa",
)  # fmt: skip


@pytest.mark.parametrize(("caption", "told"), FOREIGN.items())
def test_a_sentence_in_another_language_is_told_with_its_name(caption: str, told: str) -> None:
    assert language(caption) == told


@pytest.mark.parametrize("caption", ENGLISH)
def test_english_with_foreign_words_and_marks_stays_english(caption: str) -> None:
    assert language(caption) == ""


@pytest.mark.parametrize("caption", ["Leuchtturm", "Chat noir", "Casa"])
def test_bare_nouns_cannot_be_told(caption: str) -> None:
    assert language(caption) == ""


def test_letters_that_only_look_different_are_latin() -> None:
    assert language("\uff21 \uff52\uff45\uff44 \uff42\uff49\uff52\uff44") == ""  # full width
    assert language("\U0001d400 \U0001d42b\U0001d41e\U0001d41d") == ""  # mathematical bold


def test_a_language_without_a_list_is_another_language() -> None:
    assert language("Žalioji varlė žydi") == "another language"


def test_a_megabyte_costs_no_more_than_its_beginning() -> None:
    assert language("Der Hund und die Katze " + "x" * 2**20) == "German"
    assert language("A dog and the cat " * 2**16) == ""
