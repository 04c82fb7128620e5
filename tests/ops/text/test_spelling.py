"""Words as they are written: which are the same, and how far apart others are."""

from __future__ import annotations

import functools
import random

from deixis.ops.text.spelling import edit_distance, plain_word


def test_the_edit_distance_is_that_of_the_recursion() -> None:
    @functools.cache
    def slow(one: str, other: str) -> int:
        if not one or not other:
            return len(one) + len(other)
        changed = slow(one[1:], other[1:]) + (one[0] != other[0])
        return min(changed, slow(one[1:], other) + 1, slow(one, other[1:]) + 1)

    rng = random.Random(0)
    for _ in range(50):
        one, other = ("".join(rng.choices("abc", k=rng.randrange(6))) for _ in range(2))
        assert edit_distance(one, other) == slow(one, other)


def test_case_signs_and_forms_of_letters_make_no_other_word() -> None:
    assert plain_word("No-Parking!") == plain_word("ＮＯ PARKING") == "noparking"
    assert plain_word("...") == ""
