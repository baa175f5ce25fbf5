"""Trials run by a Locust master that is already up, with its workers.

It is steered as a person steers it, through its web interface (locust/web.py: POST /swarm and /stop), and its run
folders are fetched there (`bench.load.locust_glue.published`): master and workers may be on other machines.
"""

import contextlib
import http.client
import json
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from bench import BenchError
from bench.config.reading import nearest
from bench.experiment.folder import Folder
from bench.experiment.master_answers import MOST_BYTES, overview, statistics, swarm
from bench.experiment.order import Option, Order
from bench.experiment.study import Study
from bench.experiment.trial import Failed, Glance, check_recorded, check_server
from bench.runs import checksums
from bench.runs.finding import FETCHED
from bench.runs.jsonl import json_text
from bench.runs.recording import MANIFEST
from bench.runs.run import Run
from bench.runs.thresholds import EARLY_SECONDS
from bench.wire.direct import TOKEN_HEADER, TOKEN_VARIABLE, open_url, read_url

_LOOK_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 20.0
"""For a short answer of the master, which may be busy."""
_END_SECONDS: Final = 150.0
"""Until the end of a test is written down: Locust waits 60 s for its workers, then they are asked for their records."""
_BEGIN_SECONDS: Final = 30.0
"""Until a test records."""
_IDLE_SECONDS: Final = 60.0
"""Until all workers are ready again, beyond what may be left of a test that nobody stopped."""
MOST_FILES, MOST_UNPACKED = 10_000, 16 << 30
"""Files, and bytes of them, that the archive of a run may hold."""
Answer = TypeVar("Answer")
_HERE: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Master:
    """A Locust with a web interface, that runs the experiment's scenario."""

    url: str
    workers: int | None
    """Load processes that it had in the beginning; None: it makes the load itself."""

    @classmethod
    def at(cls, address: str, study: Study) -> "Master":
        """The one at HOST:PORT or at a URL. Raises BenchError where it cannot run the experiment."""
        url = (address if "://" in address else f"http://{address}").rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise BenchError(f"--master {address}: expected HOST:PORT or a URL that begins with http://")
        if study.experiment.cpus is not None:
            raise BenchError(
                f"{study.file}: cpus = {study.experiment.cpus!r}: the load processes of --master {address} are "
                "running already; omit the key"
            )
        master = cls(url, None)
        try:
            status = master._overview()
        except Failed as error:
            raise BenchError(f"--master {address}: {error}") from None
        if status["scenario"] != study.scenario.stem:
            raise BenchError(
                f"--master {address}: it runs {status['scenario']}, {study.file} needs {study.scenario.stem}; "
                f"start it with locust --master -f {study.scenario}"
            )
        for name in study.experiment.options:
            known = [each.replace("_", "-") for each in status["options"]]
            plain = name.replace("_", "-")
            if plain not in known:
                raise BenchError(f"{study.file}: options.{name}: unknown to {address}{nearest(plain, known)}")
        if status["workers"] == 0:
            raise BenchError(
                f"--master {address}: it has no workers that are ready; start some with locust --worker "
                f"-f {study.scenario} --master-host HOST, or wait for the end of its test"
            )
        return cls(url, status["workers"])

    def run(self, order: Order, folder: Folder, lock: int, show: Callable[[Glance], None]) -> Path:
        """As `bench.experiment.trial.Generator.run`; the folder that is fetched says which trial it is."""
        before = self._idle(order)
        form = self._form(order)
        begun = self._checked(
            swarm, self._ask("/swarm", form, seconds=_END_SECONDS)
        )  # once the test has begun
        if not begun.success:
            raise Failed(f"{self.url} refuses: {begun.message}")
        try:
            name = self._watch(order, before, show)
        finally:
            self._ask("/stop", {}, seconds=_END_SECONDS)
        status = self._overview()
        self._check_refused(status, before)
        check_server(order)
        if not any(run["name"] == name and run["finished"] for run in status["runs"]):
            raise Failed(f"{self.url} did not finish the run {name}; see its log")
        return self._fetch(name, order, folder)

    def _idle(self, order: Order) -> dict[str, Any]:
        """What it tells when no test runs there and all its workers are ready. Raises Failed."""
        give_up = time.monotonic() + order.seconds + _BEGIN_SECONDS + _IDLE_SECONDS
        while True:
            status = self._overview()
            idle = status["state"] in ("ready", "stopped")
            if idle and (self.workers is None or status["workers"] >= self.workers):
                return status
            if time.monotonic() > give_up:
                raise Failed(
                    f"{self.url} has {status['workers']} of {self.workers} workers ready"
                    if idle
                    else f"{self.url} is {status['state']}: another test runs there, or does not end; see its log"
                )
            time.sleep(_LOOK_SECONDS / 5)

    def _form(self, order: Order) -> dict[str, str]:
        """What a person would fill in. All options each time: Locust remembers those of the test before."""
        options = order.options()
        if (
            urllib.parse.urlsplit(self.url).hostname not in _HERE
        ):  # processes of this machine are none of its own
            options |= {"server-pid": None, "server-container": None}
        return {
            "user_count": str(order.users),
            "spawn_rate": str(order.users),
            "run_time": f"{order.seconds}s",
            "host": order.server.address,
            **{name.replace("-", "_"): _text(value) for name, value in options.items()},
        }

    def _watch(self, order: Order, before: dict[str, Any], show: Callable[[Glance], None]) -> str:
        """Wait until the test has ended and is written; gives the run's name. Raises Failed."""
        known = {run["name"] for run in before["runs"]}
        started, running = time.monotonic(), None
        while True:
            status, now = self._overview(), time.monotonic()
            self._check_refused(status, before)
            check_server(order)
            new = [run for run in status["runs"] if run["name"] not in known]
            if (
                running is None and new and status["state"] == "running"
            ):  # all users are there, on all workers
                running = now
            if running is None and now - started > _BEGIN_SECONDS:
                raise Failed(f"{self.url} did not begin within {_BEGIN_SECONDS:g} s; see its log")
            if new and new[-1]["finished"]:
                return str(new[-1]["name"])
            if running is not None and now - running > order.seconds + _END_SECONDS:
                raise Failed(
                    f"{self.url} did not end the test {_END_SECONDS:g} s after its time; see its log"
                )
            show(Glance(order.trial, now - started, *self._seen()))
            time.sleep(_LOOK_SECONDS)

    def _check_refused(self, status: dict[str, Any], before: dict[str, Any]) -> None:
        refused = status["refused"][len(before["refused"]) :]
        if refused:
            raise Failed(f"{self.url} refuses: {refused[-1]}")

    def _seen(self) -> tuple[float | None, float | None]:
        """Rate and p99 of the test that runs, rounded as Locust does for watching."""
        whole = self._checked(statistics, self._ask("/stats/requests")).stats[-1]
        p99 = whole.response_time_percentile
        if not whole.num_requests or p99 is None:
            return None, None
        return whole.current_rps, p99 / 1e3

    def _fetch(self, name: str, order: Order, folder: Folder) -> Path:
        """Put the run's folder into the experiment's, whole or not at all. Raises Failed."""
        place = folder.path / FETCHED
        shutil.rmtree(place, ignore_errors=True)
        path = f"/bench/runs/{urllib.parse.quote(name)}"
        with (
            self._reached(path) as headers,
            open_url(self.url + path, timeout=_END_SECONDS, headers=headers) as archive,
            tarfile.open(fileobj=archive, mode="r|") as packed,
        ):
            _unpack(packed, place)
        try:
            fetched = Run.open(place / name)
        except BenchError as error:
            raise Failed(f"{self.url}: no run that can be read was sent: {error}") from None
        if fetched.altered:
            raise Failed(f"{self.url}: the run was damaged on its way: {', '.join(fetched.altered)}")
        stopped, planned = fetched.manifest.stopped, fetched.manifest.planned_end
        if stopped is not None and planned is not None and stopped < planned - EARLY_SECONDS:
            raise Failed(f"the test was stopped at {self.url}")
        manifest = place / name / MANIFEST
        experiment = json.loads(json.dumps(order.described(folder.path), default=str))
        manifest.write_text(json_text({**fetched.manifest.raw, "experiment": experiment}) + "\n")
        if (place / name / checksums.FILE).exists():
            checksums.seal(place / name, [MANIFEST])
        target = folder.path / name
        (place / name).rename(target)
        shutil.rmtree(place)
        check_recorded(target, order, f"see the log of {self.url}")
        return target

    def _overview(self) -> dict[str, Any]:
        return self._checked(overview, self._ask("/bench/runs"))

    def _checked(self, read: Callable[[bytes], Answer], raw: bytes) -> Answer:
        """What an answer says. Raises Failed for one that this package's Locust does not give."""
        try:
            return read(raw)
        except ValueError as error:
            raise Failed(
                f"{self.url} does not report what it runs ({error}): it requires a login, or is not a Locust of this package"
            ) from None

    def _ask(self, path: str, form: dict[str, str] | None = None, seconds: float = _ANSWER_SECONDS) -> bytes:
        """Raises Failed where it does not answer."""
        content = None if form is None else urllib.parse.urlencode(form).encode()
        with self._reached(path) as headers:
            return read_url(self.url + path, content, timeout=seconds, largest=MOST_BYTES, headers=headers)

    @contextlib.contextmanager
    def _reached(self, path: str) -> Iterator[dict[str, str]]:
        """Gives the headers of a request; errors of the request are raised as Failed."""
        token = os.environ.get(TOKEN_VARIABLE)
        try:
            yield {TOKEN_HEADER: token} if token else {}
        except urllib.error.HTTPError as error:
            missing = error.code == http.HTTPStatus.NOT_FOUND
            hint = "; does it run a scenario of this package?" if missing else ""
            raise Failed(f"{self.url}{path}: {error.code} {error.reason}{hint}") from None
        except (OSError, http.client.HTTPException, tarfile.TarError) as error:
            reason = getattr(error, "reason", None) or error
            raise Failed(f"{self.url}{path}: no answer ({reason})") from None


def _unpack(packed: tarfile.TarFile, place: Path) -> None:
    """Unpack files and folders, and nothing else, into a folder. Raises Failed for more than a run has."""
    size = 0
    for number, member in enumerate(packed):
        size += member.size
        if not (member.isfile() or member.isdir()) or number == MOST_FILES or size > MOST_UNPACKED:
            raise Failed(f"the archive of the run holds {member.name!r:.80}, which is not part of a run")
        packed.extract(member, place, filter="data")


def _text(value: Option) -> str:
    """As Locust reads a form: an empty text where an option is not given."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
