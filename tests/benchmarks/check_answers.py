"""Compare the cost of checking an answer with that of parsing it. Run: python -m tests.benchmarks.check_answers

Prints microseconds of one core for each reply, and the ratio to a parser's, measured in turn.
"""

import time

import numpy as np

from bench import mnist
from bench.load.checking.checker import Checker
from bench.payload import Pool, tensor_of
from bench.wire.messages import PredictResponse
from tests.benchmarks.arguments import parser

ROUNDS = 7
REPLIES = 512


def reply(scores: np.ndarray, version: int) -> bytes:
    response = PredictResponse()
    response.model_spec.name = "mnist"
    response.model_spec.version.value = version
    tensor = response.outputs["scores"]
    tensor.CopyFrom(tensor_of(scores))
    tensor.tensor_content = b""
    tensor.float_val.extend(scores.ravel().tolist())
    return response.SerializeToString()


def parse(pool: Pool, replies: list[bytes], indices: list[int]) -> int:
    """The usual way: parse each reply, turn its values into an array, compare."""
    assert pool.labels is not None
    right = 0
    for one, index in zip(replies, indices, strict=True):
        response = PredictResponse.FromString(one)
        scores = np.array(response.outputs["scores"].float_val, np.float32).reshape(pool.batch, -1)
        right += int((scores.argmax(axis=1) == pool.labels[index]).sum())
    return right


def seconds(call: object, *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)  # type: ignore[operator]  # a function, of either kind
    return time.perf_counter() - started


def main() -> None:
    digits, rng = mnist.load("test"), np.random.default_rng(0)
    print(f"{'batch':>5} {'versions':>8} {'at once':>8} {'checked us':>11} {'parsed us':>10} {'ratio':>6}")
    for batch in (1, 8, 32, 128):
        pool = Pool.mnist(digits.images, digits.labels, batch=batch)
        indices = rng.integers(len(pool), size=REPLIES).tolist()
        for versions in (1, 2):
            scores = (rng.random((batch, 10), dtype=np.float32) for _ in indices)
            replies = [reply(each, 1 + row % versions) for row, each in enumerate(scores)]
            for at_once in (64, REPLIES):
                checker = Checker(pool, "scores", None)
                checker.check(replies, indices)
                pairs = [
                    (
                        seconds(checker.check, replies[:at_once], indices[:at_once]),
                        seconds(parse, pool, replies[:at_once], indices[:at_once]),
                    )
                    for _ in range(ROUNDS)
                ]
                checked, parsed = (
                    float(np.median(side)) / at_once * 1e6 for side in zip(*pairs, strict=True)
                )
                print(
                    f"{batch:5} {versions:8} {at_once:8} {checked:11.2f} {parsed:10.2f} {parsed / checked:6.1f}"
                )


if __name__ == "__main__":
    parser(__doc__).parse_args()
    main()
