"""A page of counters is whoever's: read in bounded time and size, and refused in one line where it is none."""

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from bench import BenchError
from bench.load.observing import counters
from bench.load.observing.counters import fetch
from bench.load.observing.server_side import Counted
from bench.protocol.registry import api_named

TFS = api_named("tfs")
PAGES = {
    "/word": b':tensorflow:serving:request_count{model_name="m",status="OK"} many\n',
    "/nan": b':tensorflow:serving:request_count{model_name="m",status="OK"} NaN\n',
    "/inf": b':tensorflow:serving:request_latency_sum{model_name="m",API="Predict"} +Inf\n',
    "/sums": b':tensorflow:serving:request_count{model_name="m",status="OK"} 1e308\n' * 2,
    "/less": b':tensorflow:serving:request_count{model_name="m",status="OK"} -1\n',
    "/began": b"process_start_time_seconds 3e911\n",
    "/other": b"\xff\xfe no counters\n",
}


LINE = ":tensorflow:serving:request_count{"
UNENDING = {
    "one name": LINE + "a" * 60_000 + "} 1\n",
    "texts that no quote ends": LINE + 'a="\\"' * 12_000 + "} 1\n",
    "ends of labels": (LINE + "} " * 30_000 + "x\n") * 50,
    "labels that no brace ends": "process_start_time_seconds{\n" * 300_000,
    "a line of all": LINE + "a=" * 4_000_000,
}


@pytest.mark.parametrize("name", UNENDING)
def test_a_page_that_leads_astray_is_read_to_its_end(name: str) -> None:
    """Each character once: looking back from every place would take hours."""
    with suppress(ValueError):
        found = counters.counters(UNENDING[name] + "\n" + LINE + 'model_name="m",status="OK"} 3\n', "m", TFS)
        assert found["ok"] == 3


class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while self.path == "/endless":
                self.wfile.write(b"# more of it\n" * 5000)
            while self.path == "/slow":
                self.wfile.write(b"#")
                self.wfile.flush()
                time.sleep(0.02)
            self.wfile.write(PAGES[self.path])
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/endless", f"more than {counters.LARGEST_PAGE} bytes"),
        ("/slow", "not complete after 0.5 s"),
        ("/word", "many"),
        ("/nan", "NaN"),
        ("/inf", r"\+Inf"),
        ("/sums", "ok is inf"),
        ("/less", r"ok is -1\.0"),
        ("/began", "started is inf"),
    ],
)
def test_a_page_that_is_none_is_named(pages: str, path: str, reason: str) -> None:
    """Issue 15: 3.4 GB were read, and the run ended with 0."""
    seconds = 0.5 if path == "/slow" else 60
    with pytest.raises(BenchError, match=rf"--server-metrics {pages}{path}: .*{reason}") as refused:
        fetch(pages + path, "m", TFS, seconds)
    assert "\n" not in str(refused.value)


def test_other_text_counts_nothing(pages: str) -> None:
    assert fetch(f"{pages}/other", "m", TFS)["ok"] == 0


def test_after_the_run_it_is_a_warning(pages: str, caplog: pytest.LogCaptureFixture) -> None:
    """And counters that are not known, which the report names."""
    found = Counted(f"{pages}/nan", "m", TFS, {}).after()
    assert found["after"] is None
    assert "--server-metrics" in caplog.text
