"""CLIP's tokens are open_clip's, whatever the string; and every token knows where it came from."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deixis.errors import DeixisError
from deixis.inputs.clip_bpe import MERGES, ClipTokenizer, clean, clean_with_map, is_clip_bpe
from deixis.inputs.tokenizer import Tokenizer

PAIRS = (
    "t h",
    "th e</w>",
    "r e",
    "re d</w>",
    "b i",
    "bi r",
    "bir d</w>",
    "a a",
    "aa aa",
    "aa a</w>",
    "Ã ©</w>",
    "ð Ł",
    "ðŁ ĺ",
)
START, END = 512 + len(PAIRS), 513 + len(PAIRS)

FRAGMENTS = (
    *("a red bird", "The bird's nest; they've 12 eggs, don't they?", "ALL CAPS", "x_y--z...", "'ſ 'S 'RE K"),
    *(
        "naïve café",
        "cafe\u0301",
        "Å ångström",
        "ﬁne ﬂour",
        "ĳ ǆ ﬃ",
        "İstanbul IĞDIR ΣΑΣ",
        "ß ẞ",
        "ﾊﾝｶｸ ＦＵＬＬ　ｗｉｄｔｈ",
    ),
    *(
        "日本語の鳥",
        "赤い鳥が屋根の上に",
        "红鸟",
        "빨간 새",
        "\u1112\u1161\u11ab",
        "птица",
        "طائر أحمر",
        "ציפור",
        "लाल पक्षी",
        "𠀀𫝀",
    ),
    *("😀", "👩‍👩‍👧‍👦", "🇫🇷🇯🇵", "❤️", "\U0001fae8", "\U00010400", "\U00016ea0", "\u2ebf0", "\U0002ebf0", "\U000323b0"),
    *(
        "â€œquotedâ€\u009d",
        "cafÃ©",
        "schÃ¶n",
        "l’humanitÃ©",
        "Ã ",
        "âœ” No problems",
        "ãƒ„",
        "Ð¿Ñ‚Ð¸Ñ†Ð°",
        "&amp;eacute;",
    ),
    *(
        "&lt;b&gt;",
        "&amp;amp;lt;",
        "&#128512;",
        "&#xD800;",
        "&nbsp;&nbsp",
        "&notit;",
        "&ampx",
        "<p>&eacute;</p>",
        "&copy 1",
    ),
    *(
        "\x00",
        "a\x07b\x1b[31mred\x1b[0m",
        "\x85",
        "\x1c\x1d",
        "\u200b\u200d\ufeff",
        "\u202e",
        "\r\n",
        "\n",
        "\t ",
        "\xa0",
        "\u2028",
    ),
    *(
        "\ud800",
        "\ud83d\ude00",
        "\udc80 x",
        "\ufffd",
        "\uffff",
        "“curly” ‘quotes’",
        "—…",
        "½ ² ④ Ⅷ ٣",
        "<start_of_text>",
        "<END_OF_TEXT>",
    ),
)
NASTY = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=8), st.sampled_from((" ", "  ", "", "'s"))), max_size=8
).map("".join)
MOJIBAKE = st.text(max_size=12).map(lambda text: text.encode("utf-8", "replace").decode("cp1252", "replace"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("merges") / "merges.txt.gz"
    path.write_bytes(gzip.compress("\n".join(('"merges#version: 0', *PAIRS)).encode("utf-8")))
    return path


@pytest.fixture(scope="module")
def tokenizer(table: Path) -> ClipTokenizer:
    return ClipTokenizer.from_merges(table)


def row(tokenizer: Tokenizer, text: str, length: int = 77) -> list[int]:
    return tokenizer([text], length).ids[0].tolist()


def theirs(oracle: Callable[..., torch.Tensor], text: str, ours: list[int], length: int = 77) -> list[int]:
    """open_clip's row, which is padded to the full length; what it has beyond our row must be padding."""
    full = oracle([text], length)[0].tolist()
    assert not any(full[len(ours) :])
    return full[: len(ours)]


def test_tokens_are_bytes_bytes_that_end_a_word_merges_start_and_end(tokenizer: ClipTokenizer) -> None:
    assert (tokenizer.vocabulary, tokenizer.end) == (END + 1, END)
    the, red, bird = 512 + 1, 512 + 3, 512 + 6
    assert row(tokenizer, "The RED  bird!") == [
        START,
        the,
        red,
        bird,
        256,
        END,
    ]  # "!" is byte 33, the first that prints


def test_it_is_a_tokenizer_like_any_other(tokenizer: ClipTokenizer) -> None:
    tokens = tokenizer(["the red bird", ""], 77).ids
    assert tokens.tolist() == [[START, 513, 515, 518, END], [START, END, 0, 0, 0]]
    assert tokenizer([], 77).ids.shape == (0, 1)
    with pytest.raises(ValueError, match="leaves no room"):
        tokenizer(["the"], 2)


def test_a_long_caption_keeps_its_beginning_and_its_end_token_and_is_counted(tokenizer: ClipTokenizer) -> None:
    assert row(tokenizer, "the red bird", 4) == [START, 513, 515, END]
    assert tokenizer.overflow(["the red bird", "the red"], 4) == [True, False]


def test_merges_can_be_stored_plainly_or_compressed(tokenizer: ClipTokenizer, tmp_path: Path) -> None:
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(PAIRS) + "\n", encoding="utf-8")
    assert ClipTokenizer.from_merges(tmp_path / "merges.txt").to_dict() == tokenizer.to_dict()


def test_rules_survive_a_round_trip_and_a_round_trip_through_the_tokenizers_package(tokenizer: ClipTokenizer) -> None:
    stored = json.loads(json.dumps(tokenizer.to_dict()))
    assert is_clip_bpe(stored)
    assert ClipTokenizer.from_dict(stored).to_dict() == tokenizer.to_dict()
    assert (
        Tokenizer.from_dict(stored)(["the red bird's"], 77).ids.tolist()
        == tokenizer(["the red bird's"], 77).ids.tolist()
    )


def test_another_kind_of_tokenizer_and_other_numbers_are_refused(tokenizer: ClipTokenizer) -> None:
    stored = tokenizer.to_dict()
    with pytest.raises(DeixisError, match="not CLIP's"):
        ClipTokenizer.from_dict({**stored, "normalizer": None})
    moved = {**stored["model"]["vocab"], "red</w>": 514, "re": 515}
    with pytest.raises(DeixisError, match="numbers 're' as 515"):
        ClipTokenizer.from_dict({**stored, "model": {**stored["model"], "vocab": moved}})
    with pytest.raises(DeixisError, match="can't be read"):
        ClipTokenizer.from_dict({**stored, "model": {**stored["model"], "merges": ["q"]}})


def test_a_table_that_is_missing_or_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="deixis data get clip-bpe"):
        ClipTokenizer.cached()
    (tmp_path / "merges.txt").write_text("#version\nthree words here", encoding="utf-8")
    with pytest.raises(DeixisError, match=r"merges\.txt' is no table of merges"):
        ClipTokenizer.from_merges(tmp_path / "merges.txt")
    (tmp_path / "half.gz").write_bytes(gzip.compress(b"#\nt h")[:-6])
    with pytest.raises(DeixisError, match="no table of merges"):
        ClipTokenizer.from_merges(tmp_path / "half.gz")


def test_spans_are_positions_in_the_string_as_it_was_given(tokenizer: ClipTokenizer) -> None:
    text = "The  re\u0301d &amp;amp; bi\x00rd cafÃ© 😀 x"
    inside = {
        part: (text.index(part), text.index(part) + len(part)) for part in ("The", "re\u0301", "d &", "&amp;amp;")
    }
    inside |= {part: (text.index(part), text.index(part) + len(part)) for part in ("bi\x00rd", "Ã©", "😀", "  ")}
    found = dict(zip(inside, tokenizer.encode_spans(text, list(inside.values()), 77), strict=True))
    tokens = row(tokenizer, text)
    assert found["The"] == (1, 2)
    assert found["  "] is None
    assert tokens[slice(*found["bi\x00rd"])] == [518]  # "bird" in one token, although a control character stood in it
    first, last = found["re\u0301"]
    assert (first, found["d &"][0], found["&amp;amp;"]) == (2, last, (last + 1, last + 2))
    assert tokens[slice(*found["😀"])][0] == 512 + 12  # four bytes in several tokens, all of them found
    assert found["😀"][1] - found["😀"][0] == 2
    assert found["Ã©"][0] > found["bi\x00rd"][0]


def test_spans_that_were_cut_off_are_none(tokenizer: ClipTokenizer) -> None:
    assert tokenizer.encode_spans("the red bird", [(0, 3), (4, 12), (8, 12)], 4) == [(1, 2), (2, 3), None]


def test_words_are_those_of_the_string_as_it_was_given_with_all_their_tokens(tokenizer: ClipTokenizer) -> None:
    text = "The  RED bi\x00rd's cafÃ©, 😀"
    words = tokenizer.words(text, 77)
    assert [text[start:stop] for start, stop, *_ in words] == ["The", "RED", "bi\x00rd", "'", "s", "cafÃ©", ",", "😀"]
    assert [first for *_, first, _ in words[1:]] == [last for *_, last in words[:-1]], "no token is left out"
    assert (words[0][2], words[-1][3]) == (1, len(row(tokenizer, text)) - 1)
    assert [text[start:stop] for start, stop, *_ in tokenizer.words(text, 4)] == ["The", "RED"]


@pytest.mark.slow
@given(st.one_of(NASTY, MOJIBAKE))
@hypothesis.settings(max_examples=300)
def test_the_map_leads_from_every_cleaned_character_into_the_original(text: str) -> None:
    cleaned, ranges = clean_with_map(text)
    assert cleaned == clean(text)
    assert len(ranges) == len(cleaned)
    assert all(0 <= start < stop <= len(text) for start, stop in ranges)
    assert ranges == sorted(ranges)


@pytest.mark.slow
@given(st.one_of(NASTY, MOJIBAKE), st.sampled_from((77, 9, 3)))
@hypothesis.settings(max_examples=600)
def test_tokens_are_those_of_open_clip_with_the_same_table(table: Path, text: str, length: int) -> None:
    oracle = _oracle(table)
    ours = row(_ours(table), text, length)
    assert ours == theirs(oracle, text, ours, length)


@pytest.mark.slow
def test_ten_thousand_characters_are_tokenised_and_mapped(tokenizer: ClipTokenizer) -> None:
    for text in ("ﬁa&amp;" * 1430, "😀" * 10_000, "the red bird " * 770, "cafÃ© " * 1667, "日本語" * 3334):
        assert row(tokenizer, text)[-1] == END
        assert tokenizer.encode_spans(text, [(0, 3)], 77) != [None]


_KNOWN: dict[Path, tuple] = {}


def _both(table: Path) -> tuple:
    if table not in _KNOWN:
        from open_clip.tokenizer import SimpleTokenizer

        _KNOWN[table] = (ClipTokenizer.from_merges(table), SimpleTokenizer(bpe_path=str(table)))
    return _KNOWN[table]


def _ours(table: Path) -> ClipTokenizer:
    return _both(table)[0]


def _oracle(table: Path) -> Callable[..., torch.Tensor]:
    return _both(table)[1]


@pytest.mark.slow
def test_the_real_table_gives_open_clips_tokens_on_thousands_of_nasty_strings(fetched: Callable[[str], Path]) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    path = fetched("clip-bpe") / MERGES[1]
    ours, oracle, seen = ClipTokenizer.cached(), SimpleTokenizer(bpe_path=str(path)), 0
    assert ours.vocabulary == 49408

    @given(st.one_of(NASTY, MOJIBAKE, st.text(max_size=60)))
    @hypothesis.settings(max_examples=6000, suppress_health_check=list(hypothesis.HealthCheck))
    def compare(text: str) -> None:
        nonlocal seen
        seen += 1
        tokens = row(ours, text)
        assert tokens == theirs(oracle, text, tokens)

    compare()
    assert seen >= 5000
    for text in (
        "".join(FRAGMENTS),
        " ".join(FRAGMENTS),
        *("".join(map(chr, range(low, low + 2048))) for low in range(0, 0xD800, 2048)),
    ):
        tokens = row(ours, text, 10_000)
        assert tokens == theirs(oracle, text, tokens, 10_000)


# The way back


def test_pieces_are_the_words_of_the_cleaned_text_and_say_where_one_goes_on(tokenizer: ClipTokenizer) -> None:
    pieces = tokenizer.pieces(tokenizer(["The bird's RED é &amp; aaaa"], 60).ids[0].tolist())
    assert (pieces[0], pieces[-1]) == ("<start_of_text>", "<end_of_text>")
    assert {"bird", "red", "é"} <= set(pieces)
    joined = "".join(piece[:-1] if piece.endswith("-") else f"{piece} " for piece in pieces[1:-1])
    assert joined.split() == ["the", "bird", "'s", "red", "é", "&", "aaaa"]


def test_each_byte_has_its_letter_and_each_token_a_piece(tokenizer: ClipTokenizer) -> None:
    pieces = tokenizer.pieces(range(tokenizer.vocabulary))
    assert len(pieces) == END + 1
    ascii_ends = [piece for piece in pieces[256:512] if len(piece) == 1 and piece.isascii()]
    assert sorted(ascii_ends) == [chr(byte) for byte in range(128)]
    assert pieces[START:] == ["<start_of_text>", "<end_of_text>"]
    with pytest.raises(ValueError, match=f"none has the number {END + 1}"):
        tokenizer.pieces([END + 1])
