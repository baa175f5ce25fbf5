"""Trials of these tests compare no answers with those of the idle server: that takes half a second each."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def _no_references() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_REFERENCES", "0")
        yield
