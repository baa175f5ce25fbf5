"""What results look like. Run: python -m tests.benchmarks.screenshots FOLDER [RESULT...] [--of CHECKOUT]

Measures real results of each kind on the embedded server (a quarter of an hour; what is in FOLDER is not measured again),
or those that are named, then shows each as users do: in a terminal of 80 columns (texts), as a page at 1400 and 360 px,
in light and dark, and printed (pictures by Chromium, and how many A4 pages), in Locust's web interface,
and, for experiments, while they last. CHECKOUT is
another checkout of this repository, such as one from before a change, whose code then measures and shows.
"""

import json
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.launch import server_process
from tests.benchmarks.arguments import parser
from tests.benchmarks.shown_results import ACCEPT, CLOSED, MEASURED, ROOT, SERVERS, Place, measure, synthetic
from tests.browser import Page
from tests.browser import browser as opened_browser
from tests.ports import free_port
from tests.server.clients import eventually
from tests.terminal import Screen, typed

WIDTHS: Final = (1400, 360)
"""Of windows, in pixels."""
RUNNING: Final = {"stats": "Aggregated", "bench": "latency p50"}
ENDED: Final = {"bench": "finished", "logViewer": "recorded", "reports": "Report of the last run"}
"""Tabs of Locust's interface, and what each shows that is to be in its picture."""
LIMITS: Final = {
    "pass": '[limits]\np99_ms = 100\nerror_share = 0.02\n[worse_than_baseline]\np50 = "60 %"\n',
    "fail": '[limits]\nerror_share = 0.02\n[worse_than_baseline]\np50 = "10 %"\np99 = "100 %"\n',
    "inconclusive": '[worse_than_baseline]\np50 = "25 %"\n',
}
TERMINAL: Final = {
    "report-1": "report results/one",
    "report-failing": "report results/failing",
    "report-5": "report FIVE",
    "report-40": "report results/forty",
    "report-batches": "report results/batches",
    "report-versions": "report results/versions",
    "report-capacity": "report results/capacity",
    "report-tuning": "report results/tuning",
    "compare-servers": "compare results/servers --by server",
    "compare-versions": "compare results/versions --by version",
    "compare-batches": "compare results/batches --by batch",
    "compare-protocols": "compare results/protocols --by server --by protocol",
    "history": "history results/commits",
    "gate-one-run": "gate results/one --limits pass.toml --baseline results/before --by server --by load",
    **{
        f"gate-{name}": f"gate results/after --limits {name}.toml --baseline results/before --by server"
        for name in LIMITS
    },
}
"""Commands of which the output is kept."""
PAGES: Final = {
    "page-1": "report results/one",
    "page-failing": "report results/failing",
    "page-5": "report FIVE",
    "page-40": "report results/forty",
    "page-batches": "report results/batches",
    "page-versions": "report results/versions",
    "page-servers": "report results/servers",
    "page-protocols": "report results/protocols",
    "page-capacity": "report results/capacity",
    "page-tuning": "report results/tuning",
    "page-history": "history results/commits",
}
"""Commands of which the page is kept."""


def pictures(browser: Page, path: Path) -> str:
    """Pictures of a page in every form, and how it fits."""
    address, beyond, height = path.as_uri(), 0, 0
    for width in WIDTHS:
        browser.open(address, width)
        browser.picture(path.with_name(f"{path.stem}-{width}.png"))
        beyond = browser.value("document.documentElement.scrollWidth - innerWidth")
        height = browser.value("document.documentElement.scrollHeight")
    browser.open(address, WIDTHS[0], dark=True)
    browser.picture(path.with_name(f"{path.stem}-{WIDTHS[0]}-dark.png"))
    drawn = browser.value("document.getElementsByTagName('svg').length")
    sheets = browser.printed(path.with_suffix(".pdf"))
    return f"{path.stem}: {drawn} pictures, {sheets} A4 pages, {height} px high at {WIDTHS[-1]}, {beyond} px beyond its width"


@contextmanager
def locust(place: Place, host: str) -> Iterator[str]:
    """Locust with its web interface, at an address."""
    port = free_port()
    command = [sys.executable, "-m", "locust", "-f", str(place.checkout / "scenarios" / "mnist.py")]
    command += ["--host", host, "--web-port", str(port), "--results", str(place.folder / "web-results")]
    with (place.folder / "web.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=place.folder, stdout=log, stderr=log, env={"PYTHONPATH": str(place.checkout)}
        )
        try:
            eventually(lambda: process.poll() is None and _answers(f"http://127.0.0.1:{port}/"))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()  # noqa: S310 - loopback
    except OSError:
        return False
    return True


def web(place: Place, browser: Page) -> None:
    """Locust's start form, its tabs while a test runs, and after it."""
    finished = "fetch('stats/requests').then(answer => answer.json()).then(told => told.state === 'stopped')"
    with server_process.embedded(synthetic(4)) as server, locust(place, server.address) as address:
        for width in WIDTHS:
            browser.open(address, width)
            browser.click("Custom parameters")
            # the list unfolds
            browser.wait("document.querySelector('[name=batchSize]').getBoundingClientRect().height > 0")
            browser.wait("document.getAnimations().length === 0")
            browser.picture(place.folder / f"web-form-{width}.png")
        fields = {"user_count": 4, "spawn_rate": 4, "host": server.address, "run_time": "20s"}
        form = urllib.parse.urlencode(fields).encode()
        urllib.request.urlopen(f"{address}/swarm", form, timeout=60).close()  # noqa: S310 - loopback
        for when, tabs in (("running", RUNNING), ("ended", {**RUNNING, **ENDED})):
            for tab, full in tabs.items():
                browser.open(f"{address}/?tab={tab}", WIDTHS[0])
                if when == "ended":
                    browser.wait(finished)
                try:
                    browser.wait(f"/{full}/.test(document.body.innerText)", 20)
                except TimeoutError:
                    print(f"{address}/?tab={tab}: {full} is not shown")  # by another checkout
                browser.picture(place.folder / f"web-{when}-{tab}.png")


def display(place: Place) -> Iterator[str]:
    """What an experiment shows while it lasts, and leaves on the screen when it is interrupted."""
    results = place.folder / "displayed"
    shutil.rmtree(results, ignore_errors=True)

    def enough(screen: Screen) -> bool:
        """The results of three trials, and below them the numbers of the fourth."""
        ended = [row for row, line in enumerate(screen.lines) if line.startswith("block")]
        return len(ended) == 3 and re.search(r"\d/s", "".join(screen.lines[ended[-1] + 1 :])) is not None

    (place.folder / "servers.toml").write_text(SERVERS)
    experiment = place.folder / "displayed.toml"
    text = CLOSED.replace("SCENARIOS", str(place.checkout / "scenarios"))
    experiment.write_text(text + 'trials = 4\nservers = ["old", "new"]\nbatch_sizes = [1, 16]\n')
    command = ["env", f"PYTHONPATH={place.checkout}", sys.executable, "-m", "bench", "run", str(experiment)]
    code, live, left = typed([*command, "--results", str(results)], place.folder, enough, b"\x03")
    yield "\n".join(live.lines)
    yield "\n".join([*left.lines, f"(exit code {code})"])


def shown(place: Place, browser: Page) -> Iterator[str]:
    """Make all texts and pictures of the results that are there; yields a line about each."""
    for name, limits in LIMITS.items():
        (place.folder / f"{name}.toml").write_text(f"accept = {json.dumps(ACCEPT)}\n{limits}")
    several = sorted((place.results / "forty").glob("*/manifest.json"))[:5]
    five = [str(path.parent.relative_to(place.folder)) for path in several]
    for name, command in [*TERMINAL.items(), *PAGES.items()]:
        arguments = [each for word in command.split() for each in (five if word == "FIVE" else [word])]
        if not all((place.folder / each).exists() for each in arguments if each.startswith("results/")):
            continue
        if name in TERMINAL:
            text = place.run(*arguments)
            (place.folder / f"{name}.txt").write_text(text)
            lines = text.splitlines()
            yield f"{name}: {len(lines)} lines, {max(map(len, lines[1:]))} columns"
        else:
            text = place.run(*arguments, "--html", f"{name}.html")
            (place.folder / f"{name}.txt").write_text(text)
            written = place.folder / f"{name}.html"
            yield pictures(browser, written) if written.exists() else f"{name}: none"


def main(place: Place, names: list[str]) -> None:
    place.folder.mkdir(parents=True, exist_ok=True)
    measure(place, [name for name in names or MEASURED if name in MEASURED])
    with opened_browser() as browser:
        for line in shown(place, browser):
            print(line, flush=True)
        if not names or "web" in names:
            web(place, browser)
    if not names or "display" in names:
        for when, screen in zip(("live", "interrupted"), display(place), strict=True):
            (place.folder / f"display-{when}.txt").write_text(f"{screen}\n")
    print(f"{place.folder}: {len(list(place.folder.glob('*.png')))} pictures, and texts")


if __name__ == "__main__":
    command = parser(__doc__)
    command.add_argument("folder", type=Path)
    command.add_argument(
        "results", nargs="*", metavar="RESULT", help="of " + ", ".join([*MEASURED, "web", "display"])
    )
    command.add_argument("--of", type=Path, default=ROOT, metavar="CHECKOUT")
    given = command.parse_args()
    main(Place(given.folder.resolve(), given.of.resolve()), given.results)
