"""CPU time and memory of a server's container whose processes are not visible from here."""

from typing import Any

import gevent
from docker.errors import DockerException, NotFound

from bench import BenchError
from bench.launch import containers
from bench.load.observing.telemetry import Values


class ContainerProbe:
    """A container's own account, from the Docker stats API, asked beside the load."""

    source = "server"

    def __init__(self, name: str) -> None:
        """Raises BenchError where Docker does not know the container."""
        try:
            self._client = containers.client_of_docker()
            self._container = self._client.containers.get(name)
        except NotFound:
            self._client.close()
            raise BenchError(
                f"--server-container {name}: no such container; `docker ps` lists the running ones"
            ) from None
        except DockerException as error:
            raise BenchError(
                f"--server-container {name}: Docker does not answer ({containers.reason(error)}); is it running, and may "
                "this user access it?"
            ) from None
        self._newest: Values = {}
        self._fetching: gevent.Greenlet | None = None

    def read(self, seconds: float) -> Values:
        """`cpu_seconds` so far, `memory` in bytes and `processes`; nothing while Docker has not answered."""
        newest, self._newest = self._newest, {}
        if self._fetching is None or self._fetching.ready():
            self._fetching = gevent.spawn(self._fetch)
        return newest

    def close(self) -> None:
        """Wait for nothing more."""
        if self._fetching is not None:
            self._fetching.kill()
        self._client.close()

    def _fetch(self) -> None:
        try:
            stats: Any = self._client.api.stats(self._container.id, stream=False, one_shot=True)
        except DockerException:  # the container is gone, or Docker is busy: the row stays empty
            return
        self._newest = usage(stats)


def usage(stats: Any) -> Values:
    """The numbers in an answer of Docker's /containers/ID/stats; None for those that it lacks."""
    spent = ((stats.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
    memory = stats.get("memory_stats") or {}
    used = memory.get("usage")
    # as `docker stats` shows it: without the cache that the kernel would give back at once
    inactive = (memory.get("stats") or {}).get("inactive_file", 0)
    return {
        "cpu_seconds": None if spent is None else spent / 1e9,
        "memory": None if used is None else float(used - inactive),
        "processes": (stats.get("pids_stats") or {}).get("current"),
    }
