"""Numbers on a command line: shares with a unit where they could mean another one, and nothing that is not finite."""

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A finite number in a range."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises BadParameter for inf and nan, too, which every range without an end would hold."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value}: expected a finite number", param, ctx)
        return number


class Share(click.ParamType[float]):
    """A share of 0 or more as text: 5% or 0.05; 1 and more only with a percent sign."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises BadParameter with what may be meant."""
        if isinstance(value, float):  # a default
            return value
        try:
            return meant_share(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def meant_share(text: str) -> float:
    """The share that a text means, of which 5 is none: it may be 5 % or 500 %. Raises ValueError."""
    from bench.config.limits import share_or_number  # reads TOML: only where a share is given

    try:
        share = share_or_number(text if "%" in text else float(text), "")
    except ValueError:
        raise ValueError(f"{text}: expected a share >= 0, such as 5% or 0.05") from None
    if share >= 1 and "%" not in text:
        raise ValueError(f"{text}: ambiguous; write {text}% or {100 * share:g}%")
    return share
