"""Random examples for a signature."""

import pytest

from bench import BenchError
from bench.payload import Pool, random_examples
from bench.payload.files.values import family
from bench.payload.random_inputs import sizes_of
from bench.protocol.signatures import Signature, Tensor
from tests.payload.signatures import DTYPES, RANKER, dtype_of, signature

TOKENS = signature(
    ids=Tensor("int64", (-1, -1)), mask=Tensor("int32", (-1, -1)), image=Tensor("float", (-1, -1, -1, 3))
)


@pytest.mark.parametrize("name", [*DTYPES, "complex64"])
def test_every_dtype_is_random_and_repeatable(name: str) -> None:
    model = signature(x=Tensor(name, (-1, 5)), y=Tensor(name, (-1, 5)))
    found = random_examples(model, count=50, seed=3)
    again, other = (random_examples(model, count=50, seed=seed).inputs["x"] for seed in (3, 4))
    values = found.inputs["x"]
    assert (values.shape, values.dtype) == ((50, 5), dtype_of(name))
    assert values.tolist() == again.tolist()
    assert values.tolist() != other.tolist()
    assert values.tolist() != found.inputs["y"].tolist()
    if family(values.dtype) == "int":
        assert 0 <= values.astype(int).min() <= values.astype(int).max() < 100
    assert found.origin == "random, 50 examples, seed 3"
    assert len(Pool.from_examples(found, model, model="m", batch=5)) == 16


def test_constants_and_models_without_batch_dimension() -> None:
    mixed = signature(
        x=Tensor("float", (-1, 2)), temperature=Tensor("float", ()), weights=Tensor("float", (-1, 4))
    )
    found = random_examples(mixed, count=3, seed=1)
    assert found.constant["temperature"].shape == ()
    assert {name: array.shape for name, array in found.inputs.items()} == {"x": (3, 2), "weights": (3, 4)}
    plain = Signature("", {"x": Tensor("float", (2,))}, {"y": Tensor("float", ())})
    found = random_examples(plain, count=3, seed=1)
    assert found.inputs["x"].shape == (3, 2)
    assert not found.batched


@pytest.mark.parametrize(
    ("sizes", "shapes"),
    [
        ("len=7", [(2, 7), (2, 7), (2, 7, 7, 3)]),
        ("len=7,image=4,5", [(2, 7), (2, 7), (2, 4, 5, 3)]),
        ("ids=2 mask=3 image=4,5,3", [(2, 2), (2, 3), (2, 4, 5, 3)]),
    ],
)
def test_sizes_of_unknown_dimensions(sizes: str, shapes: list[tuple[int, ...]]) -> None:
    found = random_examples(TOKENS, count=2, seed=1, sizes=sizes_of(sizes))
    assert [array.shape for array in found.inputs.values()] == shapes


def test_an_unknown_rank_takes_the_whole_shape() -> None:
    anything = signature(x=Tensor("float", None))
    assert random_examples(anything, count=2, seed=1, sizes={"x": (3, 4)}).inputs["x"].shape == (2, 3, 4)
    with pytest.raises(BenchError, match=r"input 'x' is float of any shape: --shape x=SIZE"):
        random_examples(anything, count=2, seed=1)


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ("", r"input 'ids' is int64 \[-1, -1\], with unknown sizes: --shape ids=128 \(or len=128\)"),
        ("len=7,other=3", "--shape other: the signature has the inputs ids, mask, image"),
        ("batch=8", "--shape batch: the examples in a request are --batch-size"),
        ("len=7,8", "--shape len: expected one size"),
        ("len=7,image=4,5,4", r"--shape image=4,5,4: the input is float \[-1, -1, -1, 3\]; 2 sizes"),
        ("len=7,image=4,5,3,1", "--shape image=4,5,3,1: the input is"),
        ("len=2000000000", r"has 32,000,000,000 bytes, at most"),
        ("len", "--shape len: expected NAME=SIZE,..."),
        ("len=", "--shape len=: expected NAME=SIZE"),
        ("len=0", "--shape len=0: expected NAME=SIZE"),
        ("len=-1", "--shape len=-1: expected NAME=SIZE"),
        ("len=1.5", "--shape len=1.5: expected NAME=SIZE"),
        ("len=7,len=8", "duplicate entry: len"),
        ("7", "--shape 7: expected NAME=SIZE"),
    ],
)
def test_sizes_that_are_missing_or_do_not_fit(sizes: str, problem: str) -> None:
    with pytest.raises(BenchError, match=problem):
        random_examples(TOKENS, count=2, seed=1, sizes=sizes_of(sizes))


def test_optional_inputs_are_left_out() -> None:
    optional = Signature("", RANKER.inputs, RANKER.outputs, ("features",))
    assert list(random_examples(optional, count=1, seed=1).inputs) == ["query"]
    assert list(random_examples(optional, count=1, seed=1, sizes={"features": 8}).inputs) == [
        "query",
        "features",
    ]
