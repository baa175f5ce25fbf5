"""What results look like. Run: python -m tests.benchmarks.screenshots FOLDER [RESULT...] [--of CHECKOUT]

Measures real results of each kind on the embedded server (a quarter of an hour; what is in FOLDER is not measured again),
or those that are named, then shows each as users do: in a terminal of 80 columns (texts), as a page at 1400 and 360 px,
in light and dark, and printed (pictures by Chromium, and how many A4 pages), and in Locust's web interface. CHECKOUT is
another checkout of this repository, such as one from before a change, whose code then measures and shows.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image, ImageChops

from bench.launch import server_process
from tests.benchmarks.arguments import parser
from tests.benchmarks.shown_results import ACCEPT, CLOSED, MEASURED, ROOT, SERVERS, Place, measure, synthetic
from tests.ports import free_port
from tests.terminal import typed

WIDTHS: Final = {1400: 6000, 360: 14000}
"""Width and greatest height in pixels."""
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
    "gate-one-run": "gate results/one --limits pass.toml --baseline results/before --by server",
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


def chromium(*options: object) -> str:
    """What it prints; in a profile of its own."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no chromium on the path")
    with tempfile.TemporaryDirectory() as profile:
        fixed = ["--headless=old", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command = [program, *fixed, f"--user-data-dir={profile}", *map(str, options)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def picture(address: str, path: Path, width: int, height: int, *, dark: bool = False, wait: int = 0) -> None:
    """A picture of a page, cut where it ends. wait: milliseconds until it is taken."""
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    budget = [f"--virtual-time-budget={wait}"] if wait else []
    chromium(f"--window-size={width},{height}", f"--screenshot={path}", scheme, *budget, address)
    with Image.open(path) as taken:
        whole = taken.convert("RGB")
    empty = Image.new("RGB", whole.size, whole.getpixel((0, whole.height - 1)))
    box = ImageChops.difference(whole, empty).getbbox()
    whole.crop((0, 0, width, min(whole.height, (box[3] if box else 0) + 20))).save(path)


def page(path: Path) -> str:
    """Pictures of a page in every form, and how it fits."""
    for width, height in WIDTHS.items():
        picture(path.as_uri(), path.with_name(f"{path.stem}-{width}.png"), width, height)
    picture(path.as_uri(), path.with_name(f"{path.stem}-1400-dark.png"), 1400, WIDTHS[1400], dark=True)
    printed = path.with_suffix(".pdf")
    chromium(f"--print-to-pdf={printed}", "--no-pdf-header-footer", path.as_uri())
    sheets = len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes()))
    with tempfile.TemporaryDirectory() as place:
        measured = Path(place) / "page.html"
        script = "<script>document.title = document.documentElement.scrollWidth - innerWidth</script></body>"
        measured.write_text(path.read_text().replace("</body>", script))
        dom = chromium("--window-size=360,2000", "--dump-dom", measured.as_uri())
    beyond = re.search(r"<title>(-?\d+)</title>", dom)
    with Image.open(path.with_name(f"{path.stem}-360.png")) as phone:
        height = phone.height
    drawn = path.read_text().count("<svg")
    return f"{path.stem}: {drawn} pictures, {sheets} A4 pages, {height} px high at 360, {beyond[1] if beyond else '?'} px beyond its width"


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
            for _ in range(300):
                time.sleep(0.1)
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                    break
                except OSError:
                    continue
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def web(place: Place) -> None:
    """Locust's start form, its tabs while a test runs, and after it."""
    size = (1400, 1000)
    with server_process.embedded(synthetic(4)) as server, locust(place, server.address) as address:
        picture(address, place.folder / "web-form.png", *size, wait=8000)
        fields = {"user_count": 4, "spawn_rate": 4, "host": server.address, "run_time": "12s"}
        form = urllib.parse.urlencode(fields).encode()
        urllib.request.urlopen(f"{address}/swarm", form, timeout=60).close()  # noqa: S310 - loopback
        time.sleep(7)
        for tab in ("stats", "bench"):
            picture(f"{address}/?tab={tab}", place.folder / f"web-running-{tab}.png", *size, wait=4000)
        time.sleep(15)
        for tab in ("stats", "bench", "logs", "reports"):
            picture(f"{address}/?tab={tab}", place.folder / f"web-ended-{tab}.png", *size, wait=8000)


def display(place: Place) -> str:
    """What an experiment leaves on the screen that is interrupted after some trials."""
    results = place.folder / "displayed"
    shutil.rmtree(results, ignore_errors=True)

    def enough() -> None:
        for _ in range(1200):
            time.sleep(0.1)
            if sum(path.read_text().count("measured") for path in results.glob("*/trials.jsonl")) >= 3:
                time.sleep(4)
                return

    (place.folder / "servers.toml").write_text(SERVERS)
    experiment = place.folder / "displayed.toml"
    text = CLOSED.replace("SCENARIOS", str(place.checkout / "scenarios"))
    experiment.write_text(text + 'trials = 4\nservers = ["old", "new"]\nbatch_sizes = [1, 16]\n')
    command = ["env", f"PYTHONPATH={place.checkout}", sys.executable, "-m", "bench", "run", str(experiment)]
    code, screen = typed([*command, "--results", str(results)], place.folder, enough, b"\x03")
    return "\n".join([*screen.lines, f"(exit code {code})"])


def shown(place: Place) -> Iterator[str]:
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
            yield page(written) if written.exists() else f"{name}: none"


def main(place: Place, names: list[str]) -> None:
    place.folder.mkdir(parents=True, exist_ok=True)
    measure(place, [name for name in names or MEASURED if name in MEASURED])
    for line in shown(place):
        print(line, flush=True)
    if not names or "web" in names:
        web(place)
    if not names or "display" in names:
        (place.folder / "display.txt").write_text(display(place))
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
