"""Do both ends still withstand everything that fuzzing has found interesting?"""

import pytest

from tests.wire.fuzz.harness import attack
from tests.wire.fuzz.seeds import corpus, seeds


@pytest.mark.parametrize("choice", range(4))
def test_the_corpus_is_withstood(choice: int) -> None:
    """Each input as it was kept, and turned against the other end and the other preparation."""
    inputs = [*seeds(), *corpus()]
    assert len(inputs) > 200
    for one in inputs:
        attack(bytes([one[0] ^ choice]) + one[1:])


def test_the_harness_notices_a_broken_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that forgets an exchange is caught by the inputs, so that their silence means something."""
    from bench.wire.http2_client import ClientConnection

    monkeypatch.setattr(ClientConnection, "_return_waiting", lambda self: self._waiting.clear())
    with pytest.raises(AssertionError, match="twice or never"):
        for one in [*seeds(), *corpus()]:
            attack(one)
