"""Ours in Locust's web interface: the tab, while a run lasts and with its verdict, and the options in the start form."""

import io
import json
import re
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.launch import server_process
from tests.browser import PROGRAM, browser
from tests.load.web_form import Form, opened
from tests.server.clients import eventually


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    flags = ["--backend=synthetic", "--service-time=constant(5ms)", "--model_name=mnist"]
    with server_process.embedded(flags) as server:
        yield server.address


@pytest.fixture(scope="module")
def form(host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Form]:
    with opened(tmp_path_factory.mktemp("panel"), host) as made:
        yield made


def rows(form: Form) -> tuple[str, dict[str, dict[str, str]]]:
    """What Locust says of the state, and the rows of the tab by their titles."""
    told: dict[str, Any] = json.loads(form.ask("/stats/requests")[2])
    (table,) = told["extended_stats"]
    assert table["key"] == "bench"
    return told["state"], {row["what"]: row for row in table["data"]}


def test_what_is_measured_the_verdict_and_the_report_are_shown(form: Form) -> None:
    assert form.ask("/bench/report")[0] == form.ask("/bench/folder")[0] == 404
    status, told = form.swarm(run_time="3s")
    assert (status, told["success"]) == (200, True)
    running: dict[str, dict[str, str]] = {}

    def seen() -> bool:
        state, shown = rows(form)
        if "latency p50" in shown:
            running.update(shown)
        return state == "stopped"

    eventually(seen, seconds=90)
    assert re.fullmatch(
        r"[5-9]\.\d\d ms|\d+\.?\d* ms", running["latency p50"]["run"]
    )  # not whole milliseconds
    assert running["throughput"]["run"].endswith(" req/s")
    # the page asks no more once Locust says that it has stopped: the verdict is there by then
    _, shown = rows(form)
    assert shown["finished"]["run"].startswith(f"{form.runs()[0]} ")
    assert shown["errors"]["run"] == "none"
    assert re.match(r"p50 [\d.]+ ms · p90 ", shown["latency"]["run"])
    assert any(name.startswith("warning") for name in shown)  # or that there is none
    status, headers, page = form.ask("/bench/report")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<svg" in page
    with (
        urllib.request.urlopen(f"http://127.0.0.1:{form.port}/bench/folder", timeout=60) as answer,
        tarfile.open(fileobj=io.BytesIO(answer.read())) as archive,
    ):
        assert f"{form.runs()[0]}/manifest.json" in archive.getnames()
    if PROGRAM is not None:
        with browser() as page:
            page.open(f"http://127.0.0.1:{form.port}/?tab=bench")
            page.wait(f"document.body.innerText.includes('{form.runs()[0]}')")
            assert "Measured" in page.value("document.body.textContent")
            assert '"title": "Report of the last run"' in page.value("document.body.textContent")
    form.swarm(run_time="60s")
    assert form.ask("/bench/report")[0] == 409  # it would take the processor that is being measured with


OPTIONS = """[...document.querySelectorAll("h4, [aria-describedby^=bench-]")].map(each => each.tagName === "H4"
    ? "# " + each.textContent : each.closest("label, div:has(> label)").innerText.split("\\n")[0])"""
"""Headings, and labels of fields, in the order in which the page has them."""


@pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")
def test_the_start_form_has_our_options_in_groups_with_readable_labels(host: str, tmp_path: Path) -> None:
    with opened(tmp_path, host, "--run-time", "60s") as form, browser() as page:
        page.open(f"http://127.0.0.1:{form.port}/")
        page.click("Custom parameters")
        page.wait("document.getElementsByTagName('h4').length")
        shown = page.value(OPTIONS)
        headings = [each for each in shown if each.startswith("#")]
        assert headings == ["# Target", "# Load", "# TLS", "# Recording"]
        assert shown[shown.index("# Load") + 1] == "Batch size"
        assert shown[shown.index("# TLS") + 1] == "Use TLS"
        assert shown[-1] == "Keep histograms only"
        assert len(shown) == len(headings) + 25
        page.value("document.getElementsByName('batchSize')[0].value = '4'")
        page.click("Start")
        eventually(lambda: bool(list(form.results.glob("*/manifest.json"))))
        (manifest,) = form.results.glob("*/manifest.json")
        assert json.loads(manifest.read_text())["load"]["batch"] == 4
