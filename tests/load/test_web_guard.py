"""Locust's web interface against other sites and other people: what it refuses, as data, and what it still does."""

import json
import re
import shutil
import subprocess
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.launch import server_process
from tests.load.locust_runs import ROOT
from tests.load.web_form import Form, opened
from tests.server.clients import eventually

SECRET = "sesame-4711"  # noqa: S105 - of the tests
TOKEN = "a token of the tests"  # noqa: S105


@pytest.fixture(scope="module")
def server() -> Iterator[server_process.Server]:
    with server_process.embedded(
        ["--backend=synthetic", "--service-time=constant(0ms)", "--model_name=mnist"]
    ) as started:
        yield started


@pytest.fixture(scope="module")
def form(server: server_process.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Form]:
    place = tmp_path_factory.mktemp("form")
    with opened(
        place, server.address, "--metadata", "x-key=BENCH_SECRET", "--web-names", "proxy.test",
        BENCH_SECRET=SECRET, BENCH_WEB_TOKEN=TOKEN,
    ) as made:  # fmt: skip
        yield made


@pytest.fixture(scope="module")
def closed(server: server_process.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Form]:
    """A form that asks for a login."""
    place = tmp_path_factory.mktemp("closed")
    file = place / "closed.py"
    file.write_text(LOGIN)
    variables = {"BENCH_WEB_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)}
    with opened(place, server.address, "--web-login", file=file, **variables) as made:
        yield made


LOGIN = """
from flask import redirect
from flask_login import UserMixin, login_user
from locust import events

from scenarios.mnist import Mnist


class Somebody(UserMixin):
    def get_id(self):
        return "somebody"


@events.init.add_listener
def init(environment, web_ui, **_):
    web_ui.app.config["SECRET_KEY"] = "of the tests"
    web_ui.login_manager.user_loader(lambda name: Somebody())
    web_ui.auth_args = {"username_password_callback": "/come_in"}

    @web_ui.app.post("/come_in")
    def come_in():
        login_user(Somebody())
        return redirect("/")
"""


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


OF_A_CLASS: dict[str, Any] = {
    "a host for the secrets of the command line": {"host": "203.0.113.9:8500"},
    "a payload": {"payload": 0},
    "an attribute beside others": {"weight": 1, "__init__": 0},
    "no object": [],
    "a text": "host",
    "a weight that is none": {"weight": "x"},
    "a weight of nan": {"weight": float("nan")},
    "a weight without end": {"weight": 1e300},
    "a table as weight": {"weight": {"a": 1}},
    "less than no users": {"fixed_count": -1},
    "a task that there is not": {"tasks": ["__class__"]},
    "a text as tasks": {"tasks": "predict"},
    "the name of no class": {"user_class_name": "Nobody"},
    "no name": {"user_class_name": None},
    "a list as name": {"user_class_name": ["Mnist"]},
}


@pytest.mark.parametrize("settings", OF_A_CLASS.values(), ids=OF_A_CLASS)
def test_nobody_sets_of_a_user_class(form: Form, settings: Any) -> None:
    if isinstance(settings, dict):
        settings = {"user_class_name": "Mnist", **settings}
    assert form.ask("/user", json.dumps(settings))[0] == 403


def test_json_without_end_is_refused(form: Form) -> None:
    assert form.ask("/user", "[" * 100_000)[0] == 403


def test_the_second_of_two_fields_sets_nothing(form: Form) -> None:
    """Locust reads the first one, and so does the guard; nobody reads the address."""
    before = set(form.runs())
    second = {"results": "/tmp/elsewhere", "schedule": "trace:/etc/passwd", "metadata": "x-leak=PATH"}  # noqa: S108
    repeated = urllib.parse.urlencode(
        [(name, each) for name, value in second.items() for each in ("", value)]
    )
    body = f"user_count=1&spawn_rate=1&run_time=1s&{repeated}"
    status, _, answer = form.ask(f"/swarm?{urllib.parse.urlencode(second)}", body)
    assert (status, json.loads(answer)["success"]) == (200, True)
    eventually(lambda: len(set(form.runs()) - before) == 1)
    (name,) = set(form.runs()) - before
    eventually(lambda: '"finished"' in (form.results / name / "manifest.json").read_text())
    text = (form.results / name / "manifest.json").read_text()
    assert "x-key" in text
    assert "x-leak" not in text
    assert '"trace"' not in text


@pytest.mark.parametrize("run_time", ["1000000h", "9" * 30 + "h"])
def test_no_run_lasts_for_years(form: Form, run_time: str) -> None:
    status, answer = form.swarm(run_time=run_time)
    assert (status, answer["success"]) == (200, False)
    assert "above 168 h" in answer["message"]


def test_how_many_users_a_class_has_may_be_set(form: Form) -> None:
    name = json.loads(form.ask("/bench/runs")[2])["scenario"]
    assert name == "mnist"
    assert form.ask("/user", json.dumps({"user_class_name": "Mnist", "weight": 1}))[0] == 201


FOREIGN = {
    "a page of another site": {"Origin": "https://evil.test"},
    "a page without an origin": {"Origin": "null"},
    "the same host on another port": {"Origin": "http://127.0.0.1:1"},
    "a page that a browser calls another site's": {"Sec-Fetch-Site": "cross-site"},
    "one that it calls another origin's": {"Sec-Fetch-Site": "same-site"},
    "a page by its referrer": {"Referer": "https://evil.test/page"},
    "a name that now leads here": {"Host": "evil.test"},
    "a name that begins as ours": {"Host": "127.0.0.1.evil.test"},
    "an origin that is no URL": {"Origin": "http://[::1"},
    "a referrer that is no URL": {"Referer": "http://[::1"},
    "two origins": {"Origin": "http://127.0.0.1 https://evil.test"},
    "an empty origin": {"Origin": ""},
    "a host that is none": {"Host": "[::1"},
    "a host behind a name": {"Host": "evil.test@127.0.0.1"},
    "a host behind another": {"Host": "evil.test#@127.0.0.1"},
    "a host that somebody forwards": {"Host": "evil.test", "X-Forwarded-Host": "localhost"},
    "a wrong token": {"Origin": "https://evil.test", "X-Bench-Token": "wrong"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("path", ["/swarm", "/stop", "/stats/reset", "/user"])
def test_who_cannot_change_anything(form: Form, path: str, headers: dict[str, str]) -> None:
    before = form.runs()
    bodies = {
        "/swarm": {"user_count": "1", "spawn_rate": "1", "host": form.host},
        "/user": json.dumps({"user_class_name": "Mnist"}),
    }
    assert form.ask(path, bodies.get(path), **headers)[0] == 403
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


CLOSED = (
    "/stats/requests",
    "/bench/runs",
    "/bench/runs/x",
    "/logs",
    "/exceptions",
    "/stats/report",
    "/swarm",
    "/user",
)


@pytest.mark.parametrize("path", CLOSED)
def test_with_a_login_nobody_else_gets_further_than_to_its_page(closed: Form, path: str) -> None:
    bodies = {
        "/swarm": {"user_count": "1", "spawn_rate": "1"},
        "/user": json.dumps({"user_class_name": "Mnist"}),
    }
    for headers in ({}, {"X_Bench_Token": TOKEN}):
        _, _, body = closed.ask(path, bodies.get(path), **headers)
        assert "<html" in body
        assert not body.startswith("{")
    assert closed.runs() == []


def test_who_has_logged_in_starts_tests_from_pages_of_the_form_only(closed: Form) -> None:
    assert closed.ask("/come_in", {}, Origin="https://evil.test")[0] == 403
    cookie = closed.cookie("/come_in", {})
    for headers in FOREIGN.values():
        assert closed.swarm({"Cookie": cookie, **headers})[0] == 403
    same = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{closed.port}"}
    status, answer = closed.swarm(same, results="/tmp/elsewhere")  # noqa: S108
    assert (status, answer["success"]) == (200, False)
    assert closed.runs() == []
    status, answer = closed.swarm(same)
    assert (status, answer["success"]) == (200, True)

    def runs() -> Any:
        return json.loads(closed.ask("/bench/runs", Cookie=cookie)[2])["runs"]

    eventually(lambda: [run["finished"] for run in runs()] == [True])
    (name,) = closed.runs()
    assert (
        closed.ask(f"/bench/runs/{name}", Cookie=cookie, method="HEAD")[1]["Content-Type"]
        == "application/x-tar"
    )


PAGE = """<script>
function read(method, url, body) {
  const request = new XMLHttpRequest()
  request.open(method, url, false)
  request.setRequestHeader("Content-Type", "application/x-www-form-urlencoded")
  try { request.send(body); return request.status + " " + request.responseText.length } catch (error) { return "nothing" }
}
for (const [name, address] of [["form", "FORM"], ["other", "OTHER"]])
  for (const [method, path] of [["POST", "/swarm"], ["GET", "/bench/runs"]])
    document.write(`<p>${name} ${method}: ${read(method, "http://" + address + path, "BODY")}</p>`)
</script>"""


class Elsewhere(BaseHTTPRequestHandler):
    """A page of another site and, as Locust without a guard, an interface that lets any page do anything."""

    page: bytes
    posted: list[bytes]

    def do_GET(self) -> None:
        self.say(self.page if self.path == "/" else b"a list of runs")

    def do_POST(self) -> None:
        self.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.say(b"begun")

    def say(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
def test_a_page_of_another_site_starts_and_reads_nothing_in_a_browser(form: Form, tmp_path: Path) -> None:
    """An interface without a guard, which is asked by the same page, gives away both."""
    before = form.runs()
    body = f"user_count=1&spawn_rate=1&run_time=1s&host={form.host}"
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as page,
        ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as other,
    ):
        text = PAGE.replace("FORM", f"127.0.0.1:{form.port}").replace("BODY", body)
        Elsewhere.page = text.replace("OTHER", f"127.0.0.1:{other.server_port}").encode()
        Elsewhere.posted = []
        for each in (page, other):
            threading.Thread(target=each.serve_forever, daemon=True).start()
        command = [
            "chromium",
            "--headless=old",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path}",
        ]
        shown = subprocess.run(
            [*command, "--dump-dom", f"http://127.0.0.1:{page.server_port}/"],
            capture_output=True, text=True, timeout=120, check=True,
        ).stdout  # fmt: skip
        for each in (page, other):
            each.shutdown()
    assert re.findall(r"<p>((?:form|other) .*?)</p>", shown) == [
        "form POST: nothing",
        "form GET: nothing",
        "other POST: 200 5",
        "other GET: 200 14",
    ]
    assert Elsewhere.posted == [body.encode()]
    assert form.runs() == before
