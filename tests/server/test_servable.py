import pytest

from bench.server.models.servable import Handle
from bench.server.refusal import Code, Refusal
from tests.server.numpy_models import Factor


def test_a_retired_handle_is_idle_when_the_last_user_leaves() -> None:
    handle = Handle("m", 1, Factor(1.0))
    handle.hold()
    handle.hold()
    idle: list[int] = []
    handle.retire(lambda: idle.append(handle.held))
    with handle:
        pass
    assert idle == []
    handle.release()
    assert idle == [0]


def test_a_handle_that_nobody_holds_is_idle_at_once() -> None:
    idle: list[bool] = []
    Handle("m", 1, Factor(1.0)).retire(lambda: idle.append(True))
    assert idle == [True]


def test_releasing_more_than_was_held_is_an_error() -> None:
    with pytest.raises(IndexError):
        Handle("m", 1, Factor(1.0)).release()


def test_the_text_of_a_refusal_is_cut_at_a_whole_character() -> None:
    short = Refusal(Code.NOT_FOUND, "é" * 512)
    assert short.details == short.text
    long = Refusal(Code.NOT_FOUND, "a" + "é" * 600)
    assert long.details == "a" + "é" * 511 + "...TRUNCATED"
    assert str(Refusal(5, "no")) == "NOT_FOUND: no"
