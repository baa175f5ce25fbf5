"""Locust's web interface against other sites and other people: what it refuses, as data, and what it still does."""

import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.launch import server_process
from tests.load.locust_runs import ROOT, free_port
from tests.server.clients import eventually

SECRET = "sesame-4711"  # noqa: S105 - of the tests
TOKEN = "a token of the tests"  # noqa: S105


@dataclass(frozen=True)
class Form:
    """A Locust with its web form."""

    port: int
    host: str
    results: Path

    def ask(
        self, path: str, form: dict[str, str] | None = None, method: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and body."""
        content = None if form is None else urllib.parse.urlencode(form).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", content, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
                return answer.status, dict(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read().decode()

    def swarm(self, headers: dict[str, str] | None = None, **fields: str) -> tuple[int, Any]:
        """Status and what Locust says to a form."""
        form = {"user_count": "1", "spawn_rate": "1", "host": self.host, "run_time": "1s"} | fields
        status, _, body = self.ask("/swarm", form, **(headers or {}))
        return status, json.loads(body) if status == 200 else body

    def runs(self) -> list[str]:
        return [path.name for path in self.results.iterdir()] if self.results.exists() else []


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Form]:
    place = tmp_path_factory.mktemp("form")
    with server_process.embedded(
        ["--backend=synthetic", "--service-time=constant(0ms)", "--model_name=mnist"]
    ) as server:
        port = free_port()
        command = [
            sys.executable, "-m", "locust", "-f", str(ROOT / "scenarios/mnist.py"), "--web-port", str(port),
            "--host", server.address, "--results", str(place / "results"), "--metadata", "x-key=BENCH_SECRET",
            "--web-names", "proxy.test", "--references", "0",
        ]  # fmt: skip
        environment = {
            "BENCH_SECRET": SECRET,
            "BENCH_WEB_TOKEN": TOKEN,
            "PATH": "/usr/bin:/bin",
            "HOME": str(place),
        }
        with (place / "log").open("w") as log:
            # not in the repository's folder: what is safe must not hang on where Locust is started
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=place, env=environment)
        try:
            made = Form(port, server.address, place / "results")

            def up() -> bool:
                assert process.poll() is None, (place / "log").read_text()
                try:
                    return made.ask("/")[0] == 200
                except OSError:
                    return False

            eventually(up)
            yield made
        finally:
            process.terminate()
            process.wait(60)


PRIVATE = {
    "an environment variable as metadata": {"metadata": "x-leak=PATH"},
    "a folder for results": {"results": "/tmp/elsewhere"},  # noqa: S108
    "a file as experiment": {"experiment": "/etc/hostname"},
    "a URL that is fetched": {"server_metrics": "http://169.254.169.254/latest"},
    "a file as certificate": {"grpc_tls_ca": "/etc/passwd"},
    "a file as key": {"grpc_tls_key": "/etc/shadow"},
    "a client certificate": {"grpc_tls_cert": "/etc/passwd"},
    "a folder of digits": {"mnist": "/etc"},
    "a process of the machine": {"server_pid": "1"},
    "a container of the machine": {"server_container": "x"},
    "a file as schedule": {"schedule": "trace:/etc/passwd"},
    "a file as schedule, spelt otherwise": {"schedule": " Trace :/etc/passwd"},
    "names of its own": {"web_names": "evil.test"},
    "an option of Locust's that is not in the form": {"csv_prefix": "/tmp/stats"},  # noqa: S108
    "the file that Locust logs into": {"logfile": "/tmp/log"},  # noqa: S108
    "another host for a secret of the command line": {"host": "203.0.113.9:8500"},
    "another REST server for it": {"rest": "203.0.113.9:8501"},
}


@pytest.mark.parametrize("fields", PRIVATE.values(), ids=PRIVATE)
def test_a_form_cannot_set(form: Form, fields: dict[str, str]) -> None:
    before = form.runs()
    status, answer = form.swarm(**fields)
    assert (status, answer["success"]) == (200, False)
    assert "command line" in answer["message"]
    assert form.runs() == before


FOREIGN = {
    "a page of another site": {"Origin": "https://evil.test"},
    "a page without an origin": {"Origin": "null"},
    "the same host on another port": {"Origin": "http://127.0.0.1:1"},
    "a page that a browser calls another site's": {"Sec-Fetch-Site": "cross-site"},
    "one that it calls another origin's": {"Sec-Fetch-Site": "same-site"},
    "a page by its referrer": {"Referer": "https://evil.test/page"},
    "a name that now leads here": {"Host": "evil.test"},
    "a name that begins as ours": {"Host": "127.0.0.1.evil.test"},
    "a wrong token": {"Origin": "https://evil.test", "X-Bench-Token": "wrong"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("path", ["/swarm", "/stop", "/stats/reset"])
def test_who_cannot_change_anything(form: Form, path: str, headers: dict[str, str]) -> None:
    before = form.runs()
    fields = {"user_count": "1", "spawn_rate": "1", "host": form.host} if path == "/swarm" else None
    assert form.ask(path, fields, **headers)[0] == 403
    assert form.runs() == before


def test_no_other_site_may_read(form: Form) -> None:
    for path in ("/", "/stats/requests", "/bench/runs"):
        status, headers, _ = form.ask(path, Origin="https://evil.test")
        assert status == 200
        assert not [name for name in headers if name.lower().startswith("access-control")]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert form.ask(path, Host="evil.test")[0] == 403


def test_a_name_from_the_path_is_not_given_back(form: Form) -> None:
    status, headers, body = form.ask("/bench/runs/" + urllib.parse.quote("<img src=x onerror=alert(1)>"))
    assert status == 404
    assert "<img" not in body
    assert headers["Content-Type"].startswith("text/plain")


def test_the_form_does_not_show_what_it_cannot_set(form: Form) -> None:
    _, _, page = form.ask("/")
    assert "model_version" in page
    for name in ("server_metrics", "grpc_tls_ca", "metadata", SECRET):
        assert name not in page


@pytest.mark.parametrize("path", ["/stats/requests", "/bench/runs"])
def test_it_listens_on_the_loopback_only(form: Form, path: str) -> None:
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if line.split()[3] == "0A"
    ]
    assert f"0100007F:{form.port:04X}" in listening
    assert f"00000000:{form.port:04X}" not in listening


def test_a_test_from_the_form_keeps_the_secret_and_empty_fields_change_nothing(form: Form) -> None:
    before = set(form.runs())
    same = {"Origin": f"http://127.0.0.1:{form.port}", "Sec_Fetch_Site": "same-origin"}
    status, answer = form.swarm(same, metadata="", batch_size="2", results=str(form.results))
    assert (status, answer["success"]) == (200, True), answer
    (name,) = set(form.runs()) - before

    def finished() -> bool:
        manifest: dict[str, Any] = json.loads((form.results / name / "manifest.json").read_text())
        return manifest["state"] == "finished"

    eventually(finished)
    text = (form.results / name / "manifest.json").read_text()
    assert "x-key" in text
    assert SECRET not in text
    assert form.swarm({"Host": "proxy.test", "Origin": "http://proxy.test"}, user_count="0")[0] == 200


def test_a_program_with_the_token_may_set_everything(form: Form) -> None:
    form.ask("/stop", Sec_Fetch_Site="none")
    eventually(lambda: json.loads(form.ask("/bench/runs")[2])["state"] in ("ready", "stopped"))
    status, answer = form.swarm({"X_Bench_Token": TOKEN}, metadata="x-other=NOT_SET_ANYWHERE")
    assert status == 200
    assert "NOT_SET_ANYWHERE is not set" in answer["message"]
