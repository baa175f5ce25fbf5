"""What is known of a request's bytes from an equal one before it never changes what the request comes to."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.server.api.prediction import Predictions, stack
from bench.server.models import model_config
from bench.server.models.loading import RepositoryOptions
from bench.server.models.repository import Repository
from bench.server.models.states import State
from bench.server.refusal import Refusal
from bench.wire.messages import PredictRequest
from tests.server.numpy_models import load, write
from tests.server.predicting import answered, floats


def described(predictions: Predictions, message: bytes) -> Any:
    """Everything that a request comes to, in comparable form."""
    try:
        prepared = predictions.prepare(message)
    except Refusal as refusal:
        return refusal.code, refusal.text
    try:
        return (
            prepared.handle.version,
            prepared.signature,
            prepared.outputs,
            prepared.rows,
            {alias: (array.dtype, array.shape, _bits(array)) for alias, array in prepared.inputs.items()},
            {alias: _bits(array) for alias, array in stack([prepared]).items()},
        )
    finally:
        prepared.release()


def _bits(array: Any) -> bytes:
    """The memory of an array, with signalling NaNs made quiet, as each conversion makes them."""
    with np.errstate(invalid="ignore"):  # of a signalling NaN, which any four bytes can be
        return (array * np.float32(1)).tobytes() if array.dtype.kind == "f" else array.tobytes()


def _seen() -> list[bytes]:
    rng = np.random.default_rng(3)
    plain = [floats(rng.random((n, 6), np.float32), typed=typed) for n in (1, 2) for typed in (False, True)]
    special = PredictRequest.FromString(plain[0])
    special.model_spec.version.value = 7
    special.output_filter.append("y")
    # the payload's bytes stand twice: in a map entry that a later one replaces, and in an ignored field
    hidden = plain[0] + plain[0][plain[0].index(b"\x12") :]
    shadowed = PredictRequest.FromString(plain[0])
    shadowed.client_id = shadowed.inputs["x"].tensor_content
    return [*plain, special.SerializeToString(), hidden, shadowed.SerializeToString()]


SEEN = _seen()


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    base=st.sampled_from(SEEN),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 3),
)
@example(base=SEEN[0], edits=[], cut=0)
@example(base=SEEN[5], edits=[(397, 0)], cut=0)  # no elements, with content all the same
def test_a_known_layout_never_changes_what_a_request_comes_to(
    predictions: Predictions, repository: Repository, base: bytes, edits: list[tuple[int, int]], cut: int
) -> None:
    """Whatever bytes differ from known requests: recognised or parsed anew, the outcome is the same."""
    changed = bytearray(base)
    for at, value in edits:
        changed[at % len(changed)] = value
    message = bytes(changed[: len(changed) - cut])
    for seen in SEEN:
        predictions.prepare(seen).release()
    by_layout = described(predictions, message)
    again = described(predictions, message)
    repository.serving.layouts.clear()
    assert by_layout == again == described(predictions, message)


def test_layouts_are_learnt_and_used(predictions: Predictions, repository: Repository) -> None:
    repository.serving.layouts.clear()
    for message in SEEN[:5]:
        predictions.prepare(message).release()
        assert predictions.prepare(message).memory is not None
        next(iter(repository.serving.versions.values())).release()
    assert sum(map(len, repository.serving.layouts.values())) == 5
    prepared = predictions.prepare(SEEN[5])
    assert prepared.memory is None  # the first occurrence of the payload is not the one that counts
    prepared.release()


@pytest.mark.parametrize("start", range(20))
def test_a_payload_that_looks_like_what_stands_before_it(
    predictions: Predictions, repository: Repository, start: int
) -> None:
    """Its first occurrence is the message's own structure: dtype, shape and lengths."""
    repository.serving.layouts.clear()
    model = PredictRequest.FromString(floats(np.zeros((1, 4))))
    before = model.SerializeToString(deterministic=True)
    model.inputs["x"].tensor_content = before[start : start + 16]
    message = model.SerializeToString(deterministic=True)
    anew = described(predictions, message)
    assert described(predictions, message) == anew
    assert anew[4]["x"][2] == before[start : start + 16]


def test_layouts_are_bounded(predictions: Predictions, repository: Repository) -> None:
    repository.serving.layouts.clear()
    for model_version in range(40):
        message = PredictRequest.FromString(SEEN[0])
        message.client_id = bytes([model_version])
        predictions.prepare(message.SerializeToString()).release()
    assert [len(alike) for alike in repository.serving.layouts.values()] == [8]
    wide = PredictRequest.FromString(SEEN[0])
    wide.client_id = bytes(5000)
    predictions.prepare(wide.SerializeToString()).release()
    assert len(repository.serving.layouts) == 1
    for width in range(4, 1300):
        predictions.prepare(floats(np.zeros((1, width)))).release()
    assert len(repository.serving.layouts) <= 1024
    assert len(next(iter(repository.serving.versions.values())).groups) <= 256


def test_versions_that_change_between_recognising_and_holding(
    predictions: Predictions, repository: Repository
) -> None:
    """What is held too late is given back, and the request is looked at again."""
    message = floats([[1, 2, 3, 4]])
    predictions.prepare(message).release()
    before = repository.serving
    after = before._replace(layouts={})

    class Changing:
        tables = [before, after, after]  # noqa: RUF012 - used up once

        @property
        def serving(self) -> Any:
            return self.tables.pop(0)

        acquire = staticmethod(repository.acquire)

    prepared = Predictions(Changing()).prepare(message)  # type: ignore[arg-type]
    assert prepared.memory is None, "it was parsed anew"
    assert prepared.handle.held == 1
    prepared.release()


def test_no_answer_by_a_version_that_has_gone(tmp_path: Path) -> None:
    """A layout is known from version 1; once 2 has taken over, equal bytes go to 2."""
    write(tmp_path, 1, 1.0)
    repository = Repository(load, RepositoryOptions(poll_wait=0.02, max_load_retries=0))
    repository.start(model_config.single("m", tmp_path))
    try:
        repository.wait_until_ready(20)
        predictions = Predictions(repository)
        message = floats([[1, 2, 3, 4]])
        for _ in range(2):
            assert answered(predictions, message).model_spec.version.value == 1
        write(tmp_path, 2, 2.0)
        assert repository.wait_for("m", 1, State.END, 20)
        for _ in range(2):
            answer = answered(predictions, message)
            assert answer.model_spec.version.value == 2
            assert list(answer.outputs["y"].float_val) == [2, 4, 6, 8]
    finally:
        repository.stop()
