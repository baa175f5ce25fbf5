"""Before a load: what the user can mend is one line, and what a foreign server does otherwise is no reason to stop."""

import re
import socket
import threading
import time
from dataclasses import replace
from typing import Any

import gevent
import grpc
import ml_dtypes
import numpy as np
import pytest
from locust.argument_parser import get_parser

from bench import BenchError
from bench.load import patience
from bench.load.arguments import add_arguments
from bench.load.before_and_after import BeforeAndAfter
from bench.load.options import ScenarioOptions, read_options
from bench.load.preflight import look
from bench.load.sources import Source
from bench.load.target import Target
from bench.payload import Pool
from tests.foreign import Arrays, Foreign, serving

USERS = type("Own", (), {"over_rest": ()})


def options(*arguments: str) -> ScenarioOptions:
    parser = get_parser(default_config_files=[])
    add_arguments(parser)
    return read_options(parser.parse_args(list(arguments)))


def looked_at(foreign: Foreign, *pools: Pool, arguments: tuple[str, ...] = ()) -> Target:
    sources = {Source(USERS, 0, f"Predict {number}"): pool for number, pool in enumerate(pools)}
    with serving(foreign) as address:
        return look(address, options(*arguments), sources)


def scores(inputs: Arrays) -> Arrays:
    rows = len(inputs["x"])
    return {"y": np.tile(np.array([[0.25, 0.75]], np.float32), (rows, 1)), "n": np.array(rows, np.int64)}


OWN = Foreign(
    {"x": ("float", (-1, 3)), "t": ("float", ()), "k": ("int32", ())},
    {"y": ("float", (-1, 2)), "n": ("int64", ())},
    scores,
    optional=("k",),
)
X = np.zeros((4, 3), np.float32)


def pool(x: Any = X, labels: Any = None, **more: Any) -> Pool:
    name, constant = more.pop("input", "x"), more.pop("constant", {"t": 0.5})
    arguments = {"output": "y", "model": "own", "constant": constant, **more}
    return Pool.of({name: x}, labels, **arguments)


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_server_that_understands_is_looked_at_once_per_kind(transport: str) -> None:
    own = replace(OWN, calls=[])
    arguments = ("--transport", transport)
    target = looked_at(own, pool(), pool(batch=2, labels=[1, 1, 0, 1]), arguments=arguments)
    assert (target.version, target.warnings, target.notes) == (7, (), ())
    assert [each.shape for each in target.declared.values()] == [(-1, 2)] * 2
    assert [call["x"].shape for call in own.calls] == [(1, 3), (2, 3)]
    assert own.calls[0]["t"].shape == (), "a scalar"


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (
            pool(input="xs"),
            r"input 'xs' is sent, the signature has k, t, x; input 'x' \(float \[-1, 3\]\) is missing",
        ),
        (pool(constant={}), r"input 't' \(float \[\]\) is missing"),
        (pool(constant={"t": 1}), "input 't' is sent as int32, the signature declares float"),
        (pool(X.astype(np.float64)), "input 'x' is sent as double, the signature declares float"),
        (pool(X.astype(ml_dtypes.bfloat16)), "input 'x' is sent as bfloat16, the signature declares float"),
        (pool(output="score"), "no output 'score'; the answer has n, y"),
        (pool(outputs=["y", "z"]), "output 'z' is wanted"),
        (pool(version=6), "version 7 answered instead of version 6"),
        (pool(model="other"), "--model-name other: .* does not serve it"),
        (pool(signature="rank"), "--signature rank: model own at .* has serving_default"),
        (pool(labels=[0, 5, 0, 0]), "needs a value for each class"),
        (pool(labels=[1, 0, 0, 0], compare="threshold"), "has 2 values for each example"),
        (pool(labels=[1, 0, 0, 0], output="n", batch=2), r"output 'n' has shape \[\]"),
    ],
)
def test_what_the_user_can_mend_is_one_line(made: Pool, text: str) -> None:
    """Issue 13: a misnamed input was 17,432 failing calls."""
    with pytest.raises(BenchError, match=text) as refused:
        looked_at(OWN, made)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "made",
    [
        pool(constant={"t": 0.5, "k": 3}),
        pool(labels=[1, 1, 1, 1]),
        pool(output="n", batch=3),
        pool(output="n", labels=[1, 1, 1, 1]),
        pool(outputs=["y"]),
    ],
    ids=["optional", "labels", "scalar output", "ids", "filtered"],
)
def test_what_is_right_is_accepted(made: Pool) -> None:
    assert looked_at(OWN, made).warnings == ()


def test_another_shape_is_told_where_the_server_takes_it_and_refused_where_not() -> None:
    wide = pool(np.zeros((4, 5), np.float32))
    (warning,) = looked_at(OWN, wide).warnings
    assert (
        "input 'x' is sent with shape [1, 5], the signature declares float [-1, 3]; the server accepts it"
        in warning
    )
    strict = replace(OWN, refusal=(grpc.StatusCode.INVALID_ARGUMENT, "Matrix size-incompatible"))
    with pytest.raises(BenchError, match=r"with shape \[1, 5\].* Matrix size-incompatible"):
        looked_at(strict, wide)


def test_a_label_is_the_same_version_for_questions_and_requests() -> None:
    """A server that ignores labels in predictions would be measured under the label's name."""
    assert looked_at(OWN, pool(label="canary")).warnings == ()
    ignoring = replace(OWN, answers_as=8)
    with pytest.raises(BenchError, match=r"label 'canary' stands for version 7 .* answered by version 8"):
        looked_at(ignoring, pool(label="canary"))
    with pytest.raises(BenchError, match="version"):
        looked_at(ignoring, pool(version=7))


@pytest.mark.parametrize(
    ("made", "changed", "version"),
    [
        (pool(), {"names_itself": False}, 8),
        (pool(label="stable"), {"names_itself": False}, 8),
        (pool(version=7), {"names_itself": False}, None),
        (pool(), {}, None),
        (pool(), {"names_itself": False, "tells": False}, None),
    ],
    ids=["unnamed", "of a label", "asked for by its number", "named by answers", "told by nobody"],
)
def test_a_version_that_answers_do_not_name_is_looked_up_again(
    made: Pool, changed: dict[str, Any], version: int | None
) -> None:
    """Else the whole run was said to be of the version that the server had before it."""
    foreign, plain = replace(OWN, **changed), options()
    with serving(foreign) as address:
        target = look(address, plain, {Source(USERS, 0, "Predict"): made})
        server = BeforeAndAfter(target, plain)
        foreign.version = 8
        facts = server.facts({"version": 7})
    gone = server.facts({"version": 7})
    assert facts == ({} if version is None else {"target": {"version": 7, "version_after": version}})
    assert gone == {}


def test_answers_unlike_the_signature_are_told() -> None:
    odd = replace(OWN, answer=lambda inputs: {"y": np.zeros((len(inputs["x"]), 9), np.float32)})
    (warning,) = looked_at(odd, pool()).warnings
    assert "output 'y' has shape [1, 9], the signature declares [-1, 2]" in warning


def test_answers_without_numbers_are_told_and_stop_no_load() -> None:
    empty = replace(OWN, answer=lambda inputs: {"y": np.full((len(inputs["x"]), 2), np.nan, np.float32)})
    (warning,) = looked_at(empty, pool(labels=[0, 1, 0, 1])).warnings
    assert warning.endswith("output 'y' holds nan")


@pytest.mark.parametrize("names_itself", [True, False])
def test_a_server_without_metadata_is_told_once_and_used(names_itself: bool) -> None:
    foreign = replace(OWN, tells=False, names_itself=names_itself)
    target = looked_at(foreign, pool(), pool(batch=2), pool(version=7))
    assert (target.version, target.warnings, target.declared) == (None, (), {})
    assert len(target.notes) <= 2, "one for each model and version"
    assert "does not report the signatures of own (UNIMPLEMENTED" in target.notes[0]
    with pytest.raises(BenchError, match="input size does not match signature"):
        looked_at(foreign, pool(input="xs"))


@pytest.mark.parametrize(
    ("status", "details", "refused"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", False),
        (grpc.StatusCode.UNAVAILABLE, "try later", False),
        (grpc.StatusCode.INTERNAL, "", False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", True),
        (grpc.StatusCode.FAILED_PRECONDITION, "no", True),
        (grpc.StatusCode.UNIMPLEMENTED, "", True),
        (grpc.StatusCode.UNAUTHENTICATED, "no token", True),
        (grpc.StatusCode.PERMISSION_DENIED, "not yours", True),
    ],
)
def test_only_what_stays_so_is_refused(status: grpc.StatusCode, details: str, refused: bool) -> None:
    foreign = replace(OWN, refusal=(status, details))
    if refused:
        with pytest.raises(BenchError, match=status.name):
            looked_at(foreign, pool())
    else:
        (warning,) = looked_at(foreign, pool()).warnings
        assert status.name in warning
    with pytest.raises(BenchError, match=r"input 'x' .* is missing"):
        looked_at(foreign, pool(input="xs"))


def test_waiting_is_told_with_its_reason_and_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A hanging server was waited for in silence."""
    monkeypatch.setattr(patience, "PATIENCE", 0.05)
    monkeypatch.setattr("bench.load.preflight.CONNECT_SECONDS", 1.0)
    caplog.set_level("INFO", "bench")
    released = threading.Event()

    def slow(inputs: Arrays) -> Arrays:
        released.wait(30)
        return scores(inputs)

    def release() -> None:
        while "first request" not in caplog.text:
            gevent.sleep(0.01)
        released.set()

    watch = gevent.spawn(release)
    looked_at(replace(OWN, answer=slow), pool())
    watch.join()
    begin, end = (line for line in caplog.messages if "first request" in line)
    assert re.fullmatch(r"waiting for the answer of 127\S+ to a first request of own, up to 10 s", begin)
    assert re.fullmatch(r"waited [\d.]+ s for the answer of 127\S+ to a first request of own", end)
    caplog.clear()
    monkeypatch.setattr("bench.load.target.CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(BenchError, match=r"no connection within 0\.5 s"):
            look(address, options(), {Source(USERS, 0, "Predict"): pool()})
    assert f"waiting for a connection to {address}, up to 1 s" in caplog.messages


def test_a_wait_is_counted_from_its_own_beginning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After seconds in which requests had been made, a connection was said to be waited for that came at once."""
    monkeypatch.setattr(patience, "PATIENCE", 0.5)
    caplog.set_level("INFO", "bench")
    gevent.sleep(0.001)
    time.sleep(0.6)  # the loop does not turn
    begun = time.perf_counter()
    with patience.awaited("something", 5.0):
        gevent.sleep(0.01)
    assert caplog.messages == [] or time.perf_counter() - begun > 0.5


@pytest.mark.parametrize(
    ("declared", "answered", "note"),
    [
        ((-1, 2), (4, 2), False),
        ((-1, 2), (1, 2), True),
        ((-1,), (5,), True),
        ((1, -1), (1, 7), False),
        ((), (), False),
        (None, (1, 2), False),
    ],
    ids=["a row each", "rows lack", "detections", "one row by signature", "scalar", "unknown rank"],
)
def test_rows_that_no_signature_asks_for_are_noted_and_not_wrong(
    declared: tuple[int, ...] | None, answered: tuple[int, ...], note: bool
) -> None:
    odd = replace(
        OWN,
        outputs={"y": ("float", declared)},
        answer=lambda _: {"y": np.zeros(answered, np.float32)},
    )
    target = looked_at(odd, pool(batch=4))
    assert target.warnings == ()
    texts = [text for text in target.notes if "for a request of 4 examples" in text]
    assert len(texts) == note
    assert len(target.notes) == note


def test_one_note_names_the_rows_and_the_signature() -> None:
    odd = replace(OWN, answer=lambda _: {"y": np.zeros((1, 2), np.float32)})
    (note,) = looked_at(odd, pool(batch=4)).notes
    assert "output 'y' has 1 row for a request of 4 examples; its signature [-1, 2] allows any number" in note
