from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from bench.server.execution.probe import Pace, examine, made_up
from bench.server.refusal import Code, Refusal
from bench.wire.messages import SignatureDef, types_pb2

Array = np.ndarray[Any, Any]


class Model:
    """A signature `f` with one input of this shape and dtype, computed by a function."""

    def __init__(
        self,
        function: Callable[[Array], Array],
        shape: Sequence[int] | None = (-1, 3),
        out: Sequence[int] | None = (-1, 3),
        dtype: int = types_pb2.DT_FLOAT,
    ) -> None:
        signature = SignatureDef()
        for info, sizes in ((signature.inputs["x"], shape), (signature.outputs["y"], out)):
            info.dtype = dtype
            if sizes is None:
                info.tensor_shape.unknown_rank = True
            else:
                for size in sizes:
                    info.tensor_shape.dim.add(size=size)
        self.signatures = {"f": signature}
        self._function = function
        self.seen: list[tuple[int, ...]] = []

    def run(self, _name: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        self.seen.append(inputs["x"].shape)
        return dict.fromkeys(outputs, self._function(inputs["x"]))


def normalised(x: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return x / np.nansum(x)


@pytest.mark.parametrize(
    ("function", "independent"),
    [
        (lambda x: x * 2, True),
        (lambda x: x - x.mean(axis=1, keepdims=True), True),
        (lambda x: np.where(np.isnan(x), 0, x), True),
        (lambda x: x * 2 + 1e-7 * len(x), True),  # another kernel for another size: rounding
        (lambda x: x - x.mean(), False),
        (normalised, False),
        (lambda x: x[::-1], False),
        (lambda x: x + len(x), False),
        (lambda x: np.cumsum(x, axis=0), False),
        (lambda x: x[:1], False),
        (lambda x: np.float32(x.sum()), False),
        (lambda x: x + np.isnan(x).any(), False),  # one NaN anywhere changes all
    ],
)
def test_rows_that_depend_on_each_other_are_found(
    function: Callable[[Array], Array], independent: bool
) -> None:
    assert examine(Model(function), "f").rows_independent is independent


@pytest.mark.parametrize(
    "model",
    [
        Model(lambda x: x, shape=None),
        Model(lambda x: x, shape=()),
        Model(lambda x: x, shape=(1, 3)),
        Model(lambda x: x, out=(1, 3)),
        Model(lambda x: x, dtype=types_pb2.DT_STRING),
    ],
    ids=["unknown rank", "scalar", "fixed batch in", "fixed batch out", "strings"],
)
def test_what_cannot_be_tried_is_not_run_at_all(model: Model) -> None:
    traits = examine(model, "f")
    assert not traits.rows_independent
    assert traits.pace.expected(1) == float("inf")
    assert model.seen == []


def test_a_model_that_refuses_made_up_examples_is_not_batched() -> None:
    def refusing(_x: Array) -> Array:
        raise Refusal(Code.INVALID_ARGUMENT, "no")

    assert not examine(Model(refusing), "f").rows_independent


@pytest.mark.parametrize(
    "dtype", [types_pb2.DT_INT32, types_pb2.DT_UINT8, types_pb2.DT_BOOL, types_pb2.DT_DOUBLE]
)
def test_examples_fit_the_signature(dtype: int) -> None:
    signature = Model(lambda x: x, shape=(-1, -1, 4), dtype=dtype).signatures["f"]
    made = made_up(signature, 5, np.random.default_rng(0))
    assert made is not None
    assert made["x"].shape[0] == 5
    assert made["x"].shape[2] == 4
    assert made["x"].min() >= 0
    assert made["x"].max() <= 1
    assert examine(Model(lambda x: x, dtype=dtype), "f").rows_independent


def test_a_row_is_tried_in_number_only_where_that_is_quick() -> None:
    clock = iter(range(1000))
    slow = Model(lambda x: x)
    pace = examine(slow, "f", lambda: float(next(clock))).pace  # each run takes a second
    assert max(shape[0] for shape in slow.seen) < 32
    assert pace.expected(10) == 11.0


def test_a_quick_model_has_run_every_small_size_before_it_serves() -> None:
    quick = Model(lambda x: x)
    examine(quick, "f", lambda: 0.0)  # on a busy machine, too
    assert {shape[0] for shape in quick.seen} >= set(range(1, 129))


def test_a_model_that_takes_few_rows_at_a_time_is_still_batched() -> None:
    def few(x: Array) -> Array:
        if len(x) > 40:
            raise Refusal(Code.INVALID_ARGUMENT, "at most 40 rows")
        return x

    assert examine(Model(few), "f").rows_independent


def test_pace_learns_what_a_run_and_what_a_row_costs() -> None:
    pace = Pace(None)
    assert pace.expected(1) == float("inf")
    pace.learn(1, 1e-3)
    assert pace.expected(1) == pytest.approx(1e-3)
    for _ in range(40):
        pace.learn(64, 1e-3 + 64e-4)
    assert pace.expected(64) == pytest.approx(1e-3 + 64e-4, rel=0.01)
    assert pace.expected(1) == pytest.approx(1.1e-3, rel=0.01)
    for _ in range(40):
        pace.learn(64, 1e-3)
    assert pace.expected(64) == pytest.approx(1e-3, rel=0.01)


def test_single_rows_say_little_of_what_a_row_costs() -> None:
    pace = Pace(1e-5)
    pace.learn(1, 5e-3)  # the processor was busy with something else
    assert pace.expected(64) < 3e-3
