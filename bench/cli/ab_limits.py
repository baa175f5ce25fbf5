"""Limits of `bench ab`, from its options and a limits file, as a gate knows them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import BenchError
from bench.analysis.agreement.recorded import AGREEMENT
from bench.analysis.judging.finding import Limit
from bench.analysis.judging.gate import LimitsFile
from bench.analysis.judging.limit import resolved
from bench.analysis.reading.metric import CELL_METRICS
from bench.analysis.reading.run_warning import accepted
from bench.cli.metric_options import OF_GOODPUT
from bench.cli.numbers import meant_share
from bench.config.limits import Bound, Where

_HERE: Final = Path("bench ab")
# servers that run already are not watched: nothing is known of their processor time
_MEASURED: Final = (CELL_METRICS.keys() - {"cpu_per_request"}) | {AGREEMENT}


@dataclass(frozen=True)
class Limits(LimitsFile):
    """Those of a file with those of the command line."""

    def check(self, *, answers: bool, load: bool) -> None:
        """Raise BenchError for a limit of what is not measured."""
        for limit in self.limits:
            name = limit.metric.name
            if name not in _MEASURED:
                raise BenchError(
                    f"{self._place(limit)}: bench ab does not measure {name}; leave the limit out, or use bench gate"
                )
            if not answers and name == AGREEMENT:
                raise BenchError("--latency-only: a limit of agreement needs answers; leave one of them out")
            if not load and name != AGREEMENT:
                raise BenchError(f"--answers-only: a limit of {name} needs a load; leave one of them out")

    def check_labels(self) -> None:
        """Raise BenchError for a limit that needs labels."""
        for limit in self.limits:
            if limit.metric.name == "accuracy":
                raise BenchError(
                    f"{self._place(limit)}: the requests hold no labels; add them to --requests, or leave the limit out"
                )

    def _place(self, limit: Limit) -> str:
        return limit.dotted if limit.dotted.startswith("--") else f"{self.path}: {limit.dotted}"


def limits_of(
    slowdowns: Sequence[str],
    agreement: str | None,
    file: Path | None,
    accept: Sequence[str],
    answered_within: float | None = None,
) -> Limits | None:
    """None where no limit is given; answered_within: seconds within which goodput wants an answer. Raises BenchError."""
    read = None if file is None else LimitsFile.read(file, answered_within)
    names = accepted(accept, "--accept")
    resolved_limits = [] if read is None else list(read.limits)
    for text in slowdowns:
        name, _, share = text.rpartition("=")
        option = f"--max-slowdown {text}"
        if name in OF_GOODPUT and answered_within is None:
            raise BenchError(
                f"{option}: add the time limit of goodput, such as --goodput-ms 20 (milliseconds)"
            )
        try:
            most = meant_share(share)
        except ValueError as error:
            raise BenchError(f"{option}: {error}") from None
        bound = Bound(Where(), name or "p50", most, True, option, True, answered_within)
        resolved_limits.append(resolved(bound, _HERE))
    if agreement is not None:
        option = f"--min-agreement {agreement}"
        try:  # 1 is all of them: nobody makes a limit of 1 %
            least = meant_share(agreement) if "%" in agreement else float(agreement)
        except ValueError:
            least = math.nan
        if not 0 < least <= 1:
            raise BenchError(f"{option}: expected a share above 0 and up to 1, such as 0.999 or 99.9%")
        resolved_limits.append(resolved(Bound(Where(), AGREEMENT, least, False, option, True), _HERE))
    if not resolved_limits:
        if accept:
            raise BenchError("--accept needs a limit; add --max-slowdown or --min-agreement")
        return None
    names |= frozenset() if read is None else read.accept
    return Limits(file or _HERE, resolved_limits, names, 0.0 if read is None else read.failed_share)
