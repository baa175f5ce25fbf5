"""Compare reported percentiles with those that the server's callers saw. Run: python -m tests.benchmarks.oracle [SETTINGS]

Twenty servers with known stalls are asked in an open loop; each reported percentile is compared with the truth, and
with what eight closed-loop users say of the same server. SETTINGS: numbers of settings to measure, all by default.
"""

import sys
import tempfile
from pathlib import Path

from tests.benchmarks.arguments import parser
from tests.load.oracle import Row, Setting, ask_closed, ask_open

SETTINGS = [
    # service, hold, every, rate, periods
    Setting(0.002, 0.500, 5.0, 1000, 3),
    Setting(0.002, 0.500, 5.0, 200, 3),
    Setting(0.002, 0.250, 2.5, 1000, 5),
    Setting(0.001, 0.100, 1.0, 1000, 10),
    Setting(0.001, 0.100, 1.0, 2000, 10),
    Setting(0.005, 0.100, 1.0, 500, 10),
    Setting(0.020, 0.100, 1.0, 500, 10),
    Setting(0.002, 0.050, 1.0, 1000, 10),
    Setting(0.002, 0.020, 1.0, 1000, 10),
    Setting(0.002, 0.015, 1.0, 1000, 10),
    Setting(0.002, 0.200, 0.5, 500, 20),
    Setting(0.002, 0.400, 1.0, 500, 10),
    Setting(0.010, 0.300, 1.0, 1000, 10),
    Setting(0.002, 1.000, 5.0, 500, 3),
    Setting(0.050, 0.500, 5.0, 300, 3),
    Setting(0.010, 0.250, 5.0, 1000, 3),
    Setting(0.002, 0.100, 2.0, 100, 8),
    Setting(0.005, 0.600, 2.0, 300, 6),
    Setting(0.001, 0.030, 0.3, 1000, 40),
    Setting(0.100, 0.200, 1.0, 200, 12),
]


def main(chosen: list[int]) -> int:
    print("milliseconds; closed form for requests at all phases alike, formula for those that were sent")
    print(
        f"{'':>2} {'service':>7} {'hold/every':>11} {'rate':>6} {'':>6} {'closed form':>11} {'formula':>9} "
        f"{'server log':>10} {'reported':>9} {'':>5} {'closed loop p99':>15} {'lag p99':>8}"
    )
    missed = 0
    for number in chosen:
        with tempfile.TemporaryDirectory() as folder:
            rows, run = ask_open(SETTINGS[number], Path(folder))
            lag_p99 = run.histogram("lag").percentile(99)
            closed_p99 = ask_closed(SETTINGS[number], Path(folder)).histogram("service").percentile(99)
        show(number, SETTINGS[number], rows, closed_p99, lag_p99)
        missed += sum(not row.within for row in rows)
    print(f"{missed} of {5 * len(chosen)} percentiles missed the truth by more than 1 % and 100 us")
    return 1 if missed else 0


def show(number: int, setting: Setting, rows: list[Row], closed_p99: float, lag_p99: float) -> None:
    for i, row in enumerate(rows):
        head = (
            f"{number:>2} {setting.service * 1e3:>7.0f} {f'{setting.hold * 1e3:.0f}/{setting.every * 1e3:.0f}':>11} "
            f"{setting.rate:>6.0f}"
        )
        tail = f"{closed_p99 * 1e3:>15.2f} {lag_p99 * 1e3:>8.3f}"
        values = (row.closed_form, row.formula, row.server, row.reported)
        closed, formula, server, reported = (f"{value * 1e3:.2f}" for value in values)
        print(
            f"{head if i == 0 else '':>{len(head)}} {f'p{row.q:g}':>6} {closed:>11} {formula:>9} {server:>10} {reported:>9} "
            f"{'' if row.within else 'MISS':>5} {tail if i == 0 else ''}".rstrip(),
            flush=True,
        )


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("settings", type=int, nargs="*", help=f"0 to {len(SETTINGS) - 1} (default: all)")
    sys.exit(main(command.parse_args().settings or list(range(len(SETTINGS)))))
