"""What the command line, an experiment or a trace asks for is what is sent, or the run is refused in one line."""

from typing import Any

import numpy as np
import pytest

from bench import BenchError, mnist
from bench.load.sources import Source, as_asked
from bench.payload import Asked, Pool
from bench.wire.messages import PredictRequest

EXAMPLES = {"x": np.zeros((4, 2), np.float32)}
DIGITS = mnist.load("test")


def asked(**given: Any) -> Asked:
    plain = {"model": "mnist", "version": None, "label": None, "signature": "", "batch": 1, "deadline": 10.0}
    return Asked(**(plain | given), explicit=frozenset(given))


def pool(**arguments: Any) -> Pool:
    return Pool.of(EXAMPLES, None, output="y", **arguments)


def held(command_line: Asked, *pools: Pool, kinds: bool = False) -> list[Pool]:
    user = type("Recommender", (), {})
    sources = [Source(user, n if kinds else 0, f"Predict {n}") for n in range(len(pools))]
    made = as_asked(dict(zip(sources, pools, strict=True)), dict.fromkeys(sources, command_line))
    return list(made.values())


def spec(made: Pool) -> tuple[str, int | None, str, str]:
    found = PredictRequest.FromString(made.messages[-1]).model_spec
    number = found.version.value if found.HasField("version") else None
    return found.name, number, found.version_label, found.signature_name


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, ("recommender", None, "", "")),
        ({"version": 6}, ("recommender", 6, "", "")),
        ({"version": 0}, ("recommender", 0, "", "")),
        ({"label": "canary"}, ("recommender", None, "canary", "")),
        ({"signature": "rank"}, ("recommender", None, "", "rank")),
        ({"model": "recommender", "version": 6}, ("recommender", 6, "", "")),
    ],
)
def test_what_a_payload_leaves_open_is_as_asked_for(given: dict[str, Any], sent: tuple[Any, ...]) -> None:
    """Issue 13: the documented example measured version 7 where 6 was asked for."""
    (made,) = held(asked(**given), pool(model="recommender", batch=1))
    assert spec(made) == sent
    assert (made.model, made.version, made.label or "", made.signature) == sent
    again = pool(model=sent[0], version=sent[1], label=sent[2] or None, signature=sent[3])
    assert made.sha256 == again.sha256, "as if the payload had said so"


@pytest.mark.parametrize(
    ("given", "arguments", "text"),
    [
        ({"version": 6}, {"version": 7}, "--model-version 6: .* name version 7"),
        ({"version": 6}, {"label": "canary"}, "--model-version 6: .* name label canary"),
        ({"label": "stable"}, {"version": 7}, "--version-label stable: .* name version 7"),
        ({"label": "stable"}, {"label": "canary"}, "--version-label stable: .* name label canary"),
        ({"signature": "rank"}, {"signature": "score"}, "--signature rank: .* name score"),
        ({"batch": 8}, {"batch": 1}, "--batch-size 8: .* name 1 example;"),
        ({"batch": 8}, {"batch": 2}, "--batch-size 8: .* name 2 examples;"),
        ({"model": "mnist"}, {}, "--model-name mnist: .* name recommender"),
    ],
)
def test_a_payload_that_names_something_else_is_refused(
    given: dict[str, Any], arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(BenchError, match=text):
        held(asked(**given), pool(model="recommender", **arguments))


def test_arguments_beside_the_request_go_before_it() -> None:
    """Issue 13: `model="x"` beside `**options.asked.request()` was a TypeError."""
    line = asked(model="a", version=6, batch=4)
    made = pool(model="x", batch=2, **line.request())
    assert (made.model, made.version, made.batch) == ("x", 6, 2)
    assert pool(**line.request() | {"version": None, "label": "canary"}).label == "canary"
    assert pool(**line.request() | {"version": None}).version is None
    assert pool(label="canary", **line.request()).version is None
    assert pool(label=None, **line.request()).version == 6
    digits = Pool.mnist(DIGITS.images, DIGITS.labels, **line.request())
    assert (digits.model, digits.signature, digits.batch) == ("a", "predict_images", 4)


def test_other_models_of_a_scenario_are_left_alone() -> None:
    neighbour, mine = held(
        asked(version=6, batch=2), pool(model="other", batch=16), pool(model="mnist", batch=2)
    )
    assert (neighbour.version, mine.version) == (None, 6)
    with pytest.raises(BenchError, match=r"--model-version: of which model.* one of a, b"):
        held(asked(version=6), pool(model="a"), pool(model="b"))


def test_each_kind_of_a_trace_is_asked_for_by_its_rows() -> None:
    with pytest.raises(BenchError, match=r"--model-name b: .* name a"):
        held(asked(model="b"), pool(model="b"), pool(model="a"), kinds=True)


def test_a_pool_without_a_model_is_one_line() -> None:
    with pytest.raises(BenchError, match="no model is named"):
        pool()
