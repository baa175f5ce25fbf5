"""The tab of ours in Locust's web interface: while a run lasts, and with its verdict."""

import io
import json
import re
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.launch import server_process
from tests.load.web_form import Form, opened
from tests.server.clients import eventually


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Form]:
    place = tmp_path_factory.mktemp("panel")
    flags = ["--backend=synthetic", "--service-time=constant(5ms)", "--model_name=mnist"]
    with server_process.embedded(flags) as server, opened(place, server.address) as made:
        yield made


def rows(form: Form) -> tuple[str, dict[str, dict[str, str]]]:
    """What Locust says of the state, and the rows of the tab by their titles."""
    told: dict[str, Any] = json.loads(form.ask("/stats/requests")[2])
    (table,) = told["extended_stats"]
    assert table["key"] == "bench"
    return told["state"], {row["what"]: row for row in table["data"]}


def test_what_is_measured_the_verdict_and_the_report_are_shown(form: Form, tmp_path: Path) -> None:
    assert form.ask("/bench/report")[0] == form.ask("/bench/folder")[0] == 404
    status, told = form.swarm(run_time="5s")
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
    assert shown["finished"]["run"] == form.runs()[0]
    assert shown["errors"]["run"] == "none"
    assert shown["latency"]["run"].startswith("p50 ")
    assert any(name.startswith("warning") for name in shown)  # or that there is none
    status, headers, page = form.ask("/bench/report")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<svg" in page
    with (
        urllib.request.urlopen(f"http://127.0.0.1:{form.port}/bench/folder", timeout=60) as answer,
        tarfile.open(fileobj=io.BytesIO(answer.read())) as archive,
    ):
        assert f"{form.runs()[0]}/manifest.json" in archive.getnames()
    if shutil.which("chromium") is not None:
        command = [
            "chromium",
            "--headless=old",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path}",
        ]
        address = f"http://127.0.0.1:{form.port}/?tab=bench"
        dom = subprocess.run(
            [*command, "--virtual-time-budget=8000", "--dump-dom", address],
            capture_output=True, text=True, timeout=120, check=True,
        ).stdout  # fmt: skip
        texts = re.sub(r"<[^>]+>", "\n", dom)
        assert "Measured" in texts
        assert form.runs()[0] in texts
        assert '{"href": "/bench/report", "title": "Report of the last run"}' in dom
    form.swarm(run_time="60s")
    assert form.ask("/bench/report")[0] == 409  # it would take the processor that is being measured with
