"""What pages and terminals look like. Run: python -m tests.benchmarks.screenshots FOLDER

Makes run folders with known contents, then the page of `bench history --html`, the page of `bench report --html` and the
card of a failed gate at 80 columns; takes a picture of each page at 1400 and 360 px in Chromium. Everything is in FOLDER,
which is named at the end; run folders that are there already are kept.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.analysis.reading.reconciliation import Stage
from tests.analysis.planted import LATENCY, planted
from tests.benchmarks.arguments import parser

RUNS, SLOWER_FROM, QUICKER_FROM = 30, 12, 24
WIDTHS = {1400: 1500, 360: 1900}
"""Width and height in pixels."""
LIMITS = 'accept = ["short", "unsteady"]\n[worse_than_baseline]\np50 = "5 %"\np99 = "10 %"\n'


def history(folder: Path) -> Path:
    """Runs of ten commits and three versions: 25 % slower from one of them on, until a later one."""
    if not folder.exists():
        for number in range(RUNS):
            slower = SLOWER_FROM <= number < QUICKER_FROM
            planted(
                folder,
                number,
                delays={Stage.RUNTIME: 0.25 * LATENCY} if slower else {},
                started=f"2026-{10 + number // 28:02}-{1 + number % 28:02}T03:00:00+00:00",
                git={"commit": f"{number // 3 + 1:x}".rjust(2, "c") * 20, "dirty": False},
                target={
                    "address": "127.0.0.1:8500",
                    "kind": "embedded",
                    "model": "mnist",
                    "version": 2,
                    "build": ("1.0", "1.1", "2.0")[number // 10],
                    "pid": 5000 + number,
                },
            )
    return folder


def bench(*arguments: object, columns: int = 80) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": str(columns)},
    )
    return done.stdout + done.stderr


def screenshot(page: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no chromium on the path")
    for width, height in WIDTHS.items():
        subprocess.run(
            [
                *(chromium, "--headless=old", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *(f"--window-size={width},{height}", f"--screenshot={page.with_suffix('')}-{width}.png"),
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
        )


def main(place: str) -> None:
    folder = Path(place).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "limits.toml").write_text(LIMITS)
    runs = history(folder / "runs")
    names = sorted(
        runs.iterdir(), key=lambda path: (path / "manifest.json").read_text().split('"started"')[1][:40]
    )
    for page, arguments in {
        "history.html": ("history", runs, "--across", "build", "--html"),
        "report.html": ("report", *names[:6], "--html"),
    }.items():
        (folder / f"{page}.txt").write_text(bench(*arguments, folder / page))
        screenshot(folder / page)
    for name, delays in (("before", {}), ("after", {Stage.RUNTIME: 0.25 * LATENCY})):
        if not (folder / name).exists():
            for number in range(3):
                planted(folder / name, number, delays=delays, candidate=name == "after")
    limits = folder / "limits.toml"
    text = bench("gate", folder / "after", "--limits", limits, "--baseline", folder / "before")
    (folder / "gate.txt").write_text(text)
    print(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("folder")
    main(command.parse_args().folder)
