"""bench.analysis.statistics.sample_size: MLPerf LoadGen's early-stopping rule."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.statistics.sample_size import (
    claimable_percentile,
    exceedances_allowed,
    samples_needed,
    supported,
)
from bench.runs.histogram import nearest_rank


@pytest.mark.parametrize(
    ("percentile", "exceedances", "samples"),
    [
        (99, 0, 459),
        (99, 1, 662),
        (99, 5, 1307),
        (99, 10, 2010),
        (90, 1, 64),  # LoadGen: "need to process at least 64 queries" for SingleStream
        (50, 0, 7),
    ],
)
def test_published_values(percentile: float, exceedances: int, samples: int) -> None:
    assert samples_needed(percentile, exceedances) == samples


def exact(exceedances: int, samples: int, p: float) -> float:
    return math.fsum(
        math.comb(samples, k) * (1 - p) ** k * p ** (samples - k) for k in range(exceedances + 1)
    )


@given(st.sampled_from([50, 75, 90, 95, 97.5]), st.integers(0, 12), st.sampled_from([0.9, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_the_number_is_the_least_one_by_the_definition(
    percentile: float, exceedances: int, confidence: float
) -> None:
    needed = samples_needed(percentile, exceedances, confidence)
    assert exact(exceedances, needed, percentile / 100) <= 1 - confidence + 1e-12
    assert exact(exceedances, needed - 1, percentile / 100) > 1 - confidence - 1e-12


@given(st.sampled_from([50, 90, 99, 99.9]), st.integers(0, 20_000))
@settings(max_examples=80, deadline=None)
def test_allowed_exceedances_are_the_inverse(percentile: float, samples: int) -> None:
    allowed = exceedances_allowed(percentile, samples)
    if allowed is None:
        assert samples < samples_needed(percentile, 0)
        assert not supported(percentile, samples)
    else:
        assert samples_needed(percentile, allowed) <= samples < samples_needed(percentile, allowed + 1)
        assert supported(percentile, samples)


def test_a_true_claim_is_rarely_refused_for_ever_and_a_false_one_rarely_made() -> None:
    rng = np.random.default_rng(3)
    samples = 5000
    allowed = exceedances_allowed(99, samples)
    assert allowed is not None
    just_false = rng.binomial(samples, 0.01001, 20_000)
    clearly_true = rng.binomial(samples, 0.004, 20_000)
    assert np.mean(just_false <= allowed) <= 0.011
    assert np.mean(clearly_true <= allowed) > 0.99


@pytest.mark.parametrize(
    ("percentile", "samples", "discarded"),
    # LoadGen: t is the greatest number of exceedances allowed, of which t - 1 are left out
    [(99, 662, 0), (99, 1307, 4), (99, 2010, 9), (90, 64, 0)],
)
def test_the_estimate_is_the_value_that_loadgen_takes(
    percentile: float, samples: int, discarded: int
) -> None:
    q = claimable_percentile(percentile, samples)
    assert q is not None
    assert nearest_rank(q, samples) == samples - discarded
    assert claimable_percentile(percentile, samples_needed(percentile, 1) - 1) is None


def test_the_estimate_is_an_upper_bound_with_the_confidence_asked_for() -> None:
    rng = np.random.default_rng(4)
    samples, truth = 2000, -math.log(0.01)
    q = claimable_percentile(99, samples)
    assert q is not None
    drawn = np.sort(rng.exponential(size=(3000, samples)), axis=1)
    estimates = drawn[:, nearest_rank(q, samples) - 1]
    assert np.mean(estimates >= truth) > 0.99


@pytest.mark.parametrize("percentile", [0, 100, -1, math.nan])
def test_percentiles_that_are_none(percentile: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        samples_needed(percentile)
    with pytest.raises(ValueError, match="percentile"):
        exceedances_allowed(percentile, 100)


def test_other_arguments_out_of_range() -> None:
    with pytest.raises(ValueError, match="confidence"):
        samples_needed(99, 0, 1.0)
    with pytest.raises(ValueError, match="-1 exceedances"):
        samples_needed(99, -1)
