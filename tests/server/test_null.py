"""bench.server.api.null: canned replies of the size that a real server's would have."""

import pytest

from bench.launch import server_process
from bench.payload import array_of
from bench.server.api.null import canned_reply
from bench.wire.client import Channel
from bench.wire.messages import PREDICT, PredictResponse


@pytest.mark.parametrize("examples", [1, 32])
def test_a_canned_reply_has_scores_for_each_example(examples: int) -> None:
    response = PredictResponse.FromString(canned_reply(examples))
    scores = array_of(response.outputs["scores"])
    assert scores.shape == (examples, 10)
    assert (scores.argmax(axis=1) == 7).all()
    assert response.model_spec.version.value == 1


def test_the_server_answers_with_it_or_with_the_question() -> None:
    for flags, expected in ((["--reply_examples=8"], canned_reply(8)), (["--echo"], b"question")):
        with server_process.embedded(["--backend=null", *flags]) as server:
            channel = Channel(server.address)
            channel.connect(60)
            assert channel.call(PREDICT, b"question", 5).message == expected
            channel.close()
