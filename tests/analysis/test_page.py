"""The page: self-contained, readable by a screen reader's rules, true to the table; and the pictures in it."""

import itertools
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from bench.analysis.grouping.identity import Identity
from bench.analysis.grouping.trials import Trial
from bench.analysis.judging.history import history as find_changes
from bench.analysis.reading.timeline import timeline
from bench.analysis.showing.history_page import render_history
from bench.analysis.showing.page import render_page
from bench.analysis.showing.pictures import pictures
from bench.analysis.showing.plot import render, svg
from bench.analysis.showing.report import Report, report
from bench.analysis.showing.table import table
from bench.runs.chunk import Chunk
from bench.runs.run import find_runs
from tests.analysis.simulated import BASE, trial
from tests.recorded import requests, write

VOID = {"meta", "link", "br", "img", "input", "hr", "path", "use"}


class Outline(HTMLParser):
    """Elements in order, with attributes and the text below each; complains about what is closed wrongly."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.open: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for at in self.open:
            self.elements[at][2].append(data)

    def named(self, *tags: str) -> list[tuple[str, dict[str, str | None], str]]:
        return [(tag, attrs, "".join(text).strip()) for tag, attrs, text in self.elements if tag in tags]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Report:
    root = tmp_path_factory.mktemp("results")
    for version, batch in ((1, 1), (1, 32), (2, 1), (2, 32)):
        chunks = [
            Chunk.of(
                **requests(
                    i, count=800, rate=800, start=float(i), version=version, batch=batch, errors=0.001
                ),
                keep_samples=False,
            )
            for i in range(12)
        ]
        write(root, chunks, note=f"<v{version}&b{batch}>", load={"kind": "closed", "users": 8 * version})
    write(root, [], note="empty", finish=False)
    (root / "broken").mkdir()
    (root / "broken" / "manifest.json").write_text("{")
    return report(find_runs([root]))


@pytest.fixture(scope="module")
def page(found: Report) -> str:
    return render_page(found)


def parsed(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return parsed(page)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of two servers in three blocks of an experiment."""
    root = tmp_path_factory.mktemp("experiment")
    for block in (1, 2, 3):
        for server, service in (("onednn", 0.002), ("plain", 0.001 * (2 + block))):
            cell = {"server": server, "build": server, "load": "8 users"}
            said = {"cell": cell, "block": block, "trial": block}
            part = requests(block, count=2000, rate=500, service=service)
            write(root, [Chunk.of(**part, keep_samples=False)], note=f"{server}-{block}", experiment=said)
    return render_page(report(find_runs([root])))


def test_nothing_comes_from_elsewhere(page: str) -> None:
    text = re.sub(r'xmlns(?::\w+)?="[^"]*"|base64,[\w+/=\s]*', "", page)
    addresses = set(re.findall(r"(?:https?:)?//[\w./#-]+", text))
    # names of vocabularies in the pictures' metadata are no addresses that a browser loads
    assert {
        a for a in addresses if "purl.org" not in a and "creativecommons" not in a and "w3.org" not in a
    } <= {"https://matplotlib.org/"}
    assert page.count("<script>") == page.count("<script") == 1, "only what sorts tables"
    assert "<link" not in page
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", page)


def test_of_an_experiment_the_cells_come_first(experiment: str) -> None:
    together, pictures_, single = (
        experiment.index(text) for text in ("Averages over trials", "<h2>Pictures", "<h2>Each run")
    )
    assert together < pictures_ < single < experiment.index("<summary>Measured: 6 rows")
    # the best of the means: the quickest single trial of `plain` would have had 3 ms
    assert re.search(r"Lowest median latency: [12]\.\d+ ms, mean of 3 trials \(onednn\)", experiment)
    assert "mnist: 2 cells, 6 runs" in experiment


@pytest.mark.parametrize("which", ["page", "experiment", "history_page"])
def test_the_page_keeps_the_rules_of_accessibility(request: pytest.FixtureRequest, which: str) -> None:
    """WCAG 2 criteria that can be decided from the text: language, title, headings, tables, pictures, names, focus."""
    outline = parsed(request.getfixturevalue(which))
    assert outline.named("html")[0][1]["lang"] == "en"
    assert outline.named("title")[0][2]
    headings = [int(tag[1]) for tag, _, _ in outline.named("h1", "h2", "h3")]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    for _, attrs, _ in outline.named("th"):
        assert attrs.get("scope") in {"col", "row"}
    drawings = outline.named("svg")
    assert drawings
    for _, attrs, _ in drawings:
        assert attrs["role"] == "img"
        assert attrs["aria-label"]
    identities = [attrs["id"] for _, attrs, _ in outline.elements if attrs.get("id")]
    assert len(identities) == len(set(identities))
    for _, attrs, _ in outline.elements:
        if attrs.get("aria-labelledby"):
            assert attrs["aria-labelledby"] in identities
        if attrs.get("class") == "wide":  # what scrolls can be reached with the keyboard and has a name
            assert attrs["tabindex"] == "0"
            assert attrs["aria-label"]
    assert len(outline.named("main")) == 1
    viewport = next(attrs for _, attrs, _ in outline.named("meta") if attrs.get("name") == "viewport")
    assert "user-scalable" not in (viewport["content"] or "")


def luminance(colour: str) -> float:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours_have_contrast_in_light_and_dark(page: str, scheme: int) -> None:
    """WCAG 2.2: 4.5 for text, 3 for lines in pictures."""
    styles = re.findall(r":root \{([^}]*)\}", page)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", styles[scheme]))

    def contrast(ink: str, paper: str) -> float:
        light, dark = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    for ink in ("ink", "soft", "bad", "good"):
        for paper in ("paper", "panel", "warn-paper"):
            if (ink, paper) != ("good", "warn-paper"):
                assert contrast(ink, paper) >= 4.5, (ink, paper)
    for number in range(1, 9):
        assert contrast(f"s{number}", "paper") >= 3.0, number
    assert contrast("shade", "paper") >= 3.0


def test_the_page_has_every_cell_of_the_table(found: Report, outline: Outline) -> None:
    texts = [text for _, _, text in outline.named("td", "th")]
    for column in table(found).columns:
        for text in column.texts:
            assert text in texts, column.title


def test_what_others_wrote_is_shown_and_not_obeyed(page: str, outline: Outline) -> None:
    assert "&lt;v1&amp;b1&gt;" in page
    assert not [tag for tag, _, _ in outline.elements if tag.startswith("v1")]


def test_warnings_and_what_is_left_out_stand_before_the_numbers(page: str) -> None:
    warnings, measured = page.index('class="warnings"'), page.index("<h2>Measured</h2>")
    assert warnings < page.index("not finished") < measured
    assert warnings < page.index("broken/manifest.json: not valid JSON") < measured


def test_a_single_run_shows_its_numbers_large(tmp_path: Path) -> None:
    write(
        tmp_path,
        [Chunk.of(**requests(i, count=500, rate=500, start=float(i)), keep_samples=False) for i in range(12)],
        command=["__main__.py", "-f", "mnist.py"],
    )
    page = render_page(report(find_runs([tmp_path])))
    assert page.count('class="tile"') == 9
    assert "No warnings" in page
    assert "<h2>Measured</h2>" not in page
    assert "<dd>locust -f mnist.py</dd>" in page, (
        "the command as it is typed, not Python's name of the module"
    )


def test_pages_are_equal_whenever_they_are_made(found: Report, page: str) -> None:
    assert render_page(found) == page


@pytest.fixture
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time of a page, and are no matter of its table of the environment."""
    monkeypatch.setattr("bench.analysis.showing.page.pictures", lambda report: [])


@pytest.mark.usefixtures("_without_pictures")
def test_of_the_environment_what_differs_is_apart_from_what_is_shared(tmp_path: Path) -> None:
    """Fourteen sets of runs that differed in their seed alone had a column of all facts each."""
    for number in range(4):
        manifest = {"seed": number, "machine": {"cpu_model": "AMD EPYC"}}
        write(tmp_path / f"trial{number}", [Chunk.of(**requests(number, count=100))], **manifest)
    page = render_page(report(find_runs([tmp_path])))
    _, _, facts = page.partition(">Environment<")
    differing, _, shared = facts.partition('<dl class="environment">')
    assert shared.count("AMD EPYC") == 1
    assert "AMD EPYC" not in differing
    assert re.findall(r'<th scope="col">(.+?)</th>', differing) == ["runs", "seed"]
    assert len(re.findall(r'<th scope="row">', differing)) == 4
    assert "<dt>seed<" not in shared


@pytest.mark.usefixtures("_without_pictures")
def test_of_a_fact_that_scatters_there_is_the_number(tmp_path: Path) -> None:
    """45 trials of nine batch sizes had a row each, for the payload that a plan gives them."""
    for number in range(8):
        manifest = {"seed": 1 + number % 2, "payload": {"Predict": {"sha256": f"{number}" * 64}}}
        write(tmp_path / f"trial{number}", [Chunk.of(**requests(number, count=100))], **manifest)
    page = render_page(report(find_runs([tmp_path])))
    _, _, facts = page.partition(">Environment<")
    differing, _, shared = facts.partition('<dl class="environment">')
    assert re.findall(r'<th scope="col">(.+?)</th>', differing) == ["runs", "seed"]
    assert "<dt>payload</dt><dd><code>8 different ones</code>" in shared


def test_nothing_measured_is_a_page_too(tmp_path: Path) -> None:
    write(tmp_path, [])
    page = render_page(report(find_runs([tmp_path])))
    assert "no request was recorded" in page
    assert "<svg" not in page


def test_pictures_fit_what_differs(found: Report, tmp_path: Path) -> None:
    names = [picture.name for picture in pictures(found)]
    assert names[0] == "latency-by-percentile"
    assert {"p99-by-batch", "p50-by-version", "inferences-per-second-by-batch"} <= set(names)
    assert len(names) == len(set(names))
    assert sum(name.endswith("-heat") for name in names) == 4
    write(tmp_path, [Chunk.of(**requests(1))])
    alone = report(find_runs([tmp_path]))
    assert [p.name for p in pictures(alone)] == ["latency-by-percentile", "course", "course-heat"]


def test_pictures_are_files_of_their_kind(found: Report) -> None:
    picture = next(iter(pictures(found)))
    assert render(picture, "png").startswith(b"\x89PNG")
    root = ET.fromstring(svg(picture))  # noqa: S314  # made here
    assert root.get("viewBox")
    assert root.get("width") is None
    texts = "".join(root.itertext())
    assert "percentile of requests" in texts
    assert "99.9" in texts


def test_the_course_of_a_run_is_that_of_its_samples(tmp_path: Path) -> None:
    chunks = [
        Chunk.of(
            **requests(i, count=600, rate=600, start=float(i), service=0.02 if i < 4 else 0.002, errors=0.05)
        )
        for i in range(20)
    ]
    run = write(tmp_path, chunks)
    seen = timeline(run)
    table_ = run.samples
    answered = table_[table_["status"] == 0]
    assert seen.width == 1
    for at, start in enumerate(seen.starts[:-1]):
        inside = answered[(answered["due"] >= start) & (answered["due"] < start + 1)]
        if at:  # the first interval begins with the first request
            assert seen.answered[at] == len(inside)
        if len(inside) >= 459:
            latency = np.sort(inside["done"] - inside["due"])
            assert seen.p99[at] == pytest.approx(latency[int(np.ceil(0.99 * len(latency))) - 1], rel=0.001)
        assert seen.heat[:, at].sum() == len(inside)
    assert np.nanmean(seen.failed) == pytest.approx(0.05 * 600, rel=0.3)
    assert seen.warm_up >= 4
    rows = seen.heat[:, 2].nonzero()[0]
    assert seen.heat_edges[rows[0]] < 0.02 < seen.heat_edges[rows[-1] + 1]


def test_a_long_run_has_few_points(tmp_path: Path) -> None:
    chunks = [
        Chunk.of(**requests(i, count=40, rate=40, start=float(i)), keep_samples=False) for i in range(700)
    ]
    seen = timeline(write(tmp_path, chunks))
    assert seen.width > 1
    assert 15 <= len(seen.starts) <= 240
    assert seen.heat.sum() == 700 * 40
    assert np.isfinite(seen.p99[:-1]).mean() > 0.9


@pytest.fixture(scope="module")
def history_page() -> str:
    """Twenty points of one condition over ten commits and two builds, slower from the eleventh on; another that is short."""
    rng = np.random.default_rng(1)
    groups: dict[Identity, list[Trial]] = {BASE: [], BASE._replace(batch=64): []}
    for number in range(20):
        for identity, trials in groups.items():
            if identity == BASE or number < 3:
                git = {"commit": f"{number // 2:040x}"[::-1], "dirty": False}
                p50 = 0.002 * (1.2 if number >= 10 else 1.0) * float(np.exp(0.005 * rng.normal()))
                built = identity._replace(build="<b>1</b>" if number < 10 else "2")
                trials.append(
                    trial(built, {"p50": p50, "accuracy": 0.9}, number=number, manifest={"git": git})
                )
    metrics = ("p50", "accuracy", "p99")
    return render_history(groups, find_changes(groups, metrics), metrics, [("left out", "a <broken> folder")])


def test_the_page_of_a_history_marks_changes_by_commit_and_version(history_page: str) -> None:
    outline = parsed(history_page)
    (heading,) = outline.named("h1")
    assert heading[2] == "mnist: 1 change, 1 to the worse"
    (change,) = [text for _, attrs, text in outline.named("ul") if attrs.get("class") == "answers"]
    assert re.search(
        r"batch 8: p50 \+(19|20)\.\d % \(2\.\d\d ms to 2\.\d\d ms\) since 5000000 v1 2, after 4000000 v1 <b>1</b>",
        change,
    )
    pictures_ = outline.named("svg")
    assert len(pictures_) == 2, "one for each condition"
    assert {"worse", "p50", "0000000 v1 <b>1</b>", "9000000 v1 2"} <= {
        text for *_, text in outline.named("text")
    }
    assert "The same at every point: accuracy 0.9000." in history_page
    assert "1 condition of 2 measured fewer than" in history_page
    assert "a &lt;broken&gt; folder" in history_page
    assert "<b>1</b>" not in history_page
    test_nothing_comes_from_elsewhere(history_page)
