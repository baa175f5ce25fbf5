"""Columns of whole numbers come back as they were, whatever they hold; what is damaged is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.runs.packing import pack, unpack

INT64 = np.iinfo(np.int64)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_columns_come_back(data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 60))
    numbers = st.one_of(
        st.integers(INT64.min, INT64.max), st.integers(-3, 300), st.sampled_from([INT64.min, INT64.max, 0])
    )
    columns = [
        np.array(data.draw(st.lists(numbers, min_size=rows, max_size=rows)), np.int64)
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    found = unpack(pack(columns), len(columns), rows)
    for column, back in zip(columns, found, strict=True):
        assert back.dtype == np.int64
        assert np.array_equal(back, column)


def test_narrow_types_come_back_as_numbers() -> None:
    columns = [np.array([True, False, True]), np.array([-1, 3, 32767], np.int16)]
    assert [c.tolist() for c in unpack(pack(columns), 2, 3)] == [[1, 0, 1], [-1, 3, 32767]]


def test_what_never_changes_costs_nine_bytes_and_what_seldom_does_next_to_nothing() -> None:
    constant = np.full(4096, 7)
    assert len(pack([constant])) == 9
    seldom = constant.copy()
    seldom[::500] = 8
    assert len(pack([seldom])) < 60


def test_chance_costs_its_entropy() -> None:
    rng = np.random.default_rng(1)
    gaps = np.rint(rng.exponential(100, 4096)).astype(np.int64)
    entropy = np.log2(100 * np.e) / 8 * len(gaps)
    assert entropy < len(pack([gaps])) < 1.08 * entropy


def test_damage_is_refused() -> None:
    rng = np.random.default_rng(2)
    columns = [np.rint(rng.exponential(100, 500)).astype(np.int64), np.arange(500)]
    raw = pack(columns)
    for damaged in (raw[:-1], raw + b"x", raw[:5], b"", raw[:8] + bytes([9]) + raw[9:]):
        with pytest.raises(ValueError, match=r"packed columns|plane"):
            unpack(damaged, 2, 500)
    with pytest.raises(ValueError, match=r"packed columns|plane"):
        unpack(raw, 2, 499)
