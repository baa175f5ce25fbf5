"""Numbers of things agree with their nouns."""

import pytest

from bench.wording import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 answers"), (1, "1 answer"), (2, "2 answers"), (1234, "1,234 answers")]
)
def test_one_thing_is_named_in_the_singular(number: int, text: str) -> None:
    assert counted(number, "answer") == text


def test_other_plurals() -> None:
    assert counted(2, "reply", "replies") == "2 replies"
