"""A Locust with its web form, in front of an embedded server, and what browsers and programs send to it."""

import http.cookiejar
import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.load.locust_runs import ROOT
from tests.ports import free_port
from tests.server.clients import eventually

SCENARIO = ROOT / "scenarios/mnist.py"


@dataclass(frozen=True)
class Form:
    """A Locust with its web form."""

    port: int
    host: str
    results: Path

    def ask(
        self, path: str, form: dict[str, str] | str | None = None, method: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and body. form: fields, or a body as it is."""
        content = form.encode() if isinstance(form, str) else form and urllib.parse.urlencode(form).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", content, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
                return answer.status, dict(answer.headers), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read().decode()

    def cookie(self, path: str, form: dict[str, str]) -> str:
        """What a login sets."""
        jar = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        content = urllib.parse.urlencode(form).encode()
        with opener.open(f"http://127.0.0.1:{self.port}{path}", content, timeout=60):
            return "; ".join(f"{each.name}={each.value}" for each in jar)

    def swarm(self, headers: dict[str, str] | None = None, **fields: str) -> tuple[int, Any]:
        """Status and what Locust says to a form."""
        form = {"user_count": "1", "spawn_rate": "1", "host": self.host, "run_time": "1s"} | fields
        status, _, body = self.ask("/swarm", form, **(headers or {}))
        return status, json.loads(body) if status == 200 else body

    def runs(self) -> list[str]:
        return [path.name for path in self.results.iterdir()] if self.results.exists() else []


@contextmanager
def opened(
    place: Path, host: str, *arguments: str, file: Path = SCENARIO, **variables: str
) -> Iterator[Form]:
    """Locust with a form that tests the server at `host`, with its results and its log in `place`."""
    port = free_port()
    command = [
        sys.executable, "-m", "locust", "-f", str(file), "--web-port", str(port), "--host", host,
        "--results", str(place / "results"), "--references", "0", *arguments,
    ]  # fmt: skip
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(place), **variables}
    with (place / "log").open("w") as log:
        # not in the repository's folder: what is safe must not hang on where Locust is started
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=place, env=environment, start_new_session=True
        )
    try:
        form = Form(port, host, place / "results")

        def up() -> bool:
            assert process.poll() is None, (place / "log").read_text()
            try:
                return form.ask("/bench/runs")[0] == 200
            except OSError:
                return False

        eventually(up)
        yield form
    finally:
        process.terminate()
        process.wait(60)
