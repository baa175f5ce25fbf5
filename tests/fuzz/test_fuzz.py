"""Everything that fuzzing has found interesting is still withstood."""

import pytest

from tests.fuzz import corpus
from tests.fuzz.frames import attack
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_withstood(name: str) -> None:
    inputs = corpus.read(name)
    assert len(inputs) > 20
    for one in inputs:
        TARGETS[name].attack(one)


@pytest.mark.parametrize("choice", range(4))
def test_frames_are_withstood_by_the_other_end_too(choice: int) -> None:
    """Each input turned against the other end and the other preparation."""
    for one in [*corpus.read("server-frames"), *corpus.read("client-frames")]:
        attack(bytes([one[0] ^ choice]) + one[1:])


def test_the_harness_notices_a_broken_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that forgets an exchange is caught by the inputs, so that their silence means something."""
    from bench.wire.http2_client import ClientConnection

    monkeypatch.setattr(ClientConnection, "_return_waiting", lambda self: self._waiting.clear())
    with pytest.raises(AssertionError, match="twice or never"):
        for one in [*TARGETS["client-frames"].seeds(), *corpus.read("client-frames")]:
            attack(one)
