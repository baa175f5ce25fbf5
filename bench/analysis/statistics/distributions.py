"""Distributions of `scipy.special`, which is imported when the first value is asked for.

The import takes 0.25 s of processor time, a third of what the report at the end of each run takes, and that report needs
none of them. `scipy.stats` holds the same behind half a second more.
"""

import functools
from collections.abc import Callable
from typing import Any


def _of_scipy(name: str) -> Callable[..., Any]:
    """A function of `scipy.special`, for numbers and arrays alike."""

    @functools.cache
    def imported() -> Callable[..., Any]:
        from scipy import special

        evaluate: Callable[..., Any] = getattr(special, name)
        return evaluate

    def function(*values: Any) -> Any:
        return imported()(*values)

    return function


bdtr, bdtrik = _of_scipy("bdtr"), _of_scipy("bdtrik")
"""Binomial: the probability of at most k, and the k at which it is reached."""
betainc, betaincinv = _of_scipy("betainc"), _of_scipy("betaincinv")
"""Beta: the probability below x, and its quantile."""
fdtrc = _of_scipy("fdtrc")
"""F: the probability above x."""
ndtri = _of_scipy("ndtri")
"""Quantile of the normal distribution."""
stdtr, stdtrit = _of_scipy("stdtr"), _of_scipy("stdtrit")
"""Student's t: the probability below t, and its quantile."""
