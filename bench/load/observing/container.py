"""CPU time and memory of a server's container whose processes are not visible from here."""

from typing import Any

from docker.errors import DockerException, NotFound

from bench import BenchError
from bench.launch import containers
from bench.load.observing.telemetry import FetchingProbe, Values


class ContainerProbe(FetchingProbe):
    """A container's own account, from the Docker stats API: `cpu_seconds` so far, `memory` in bytes and `processes`."""

    def __init__(self, name: str) -> None:
        """Raises BenchError where Docker does not know the container."""
        super().__init__("server", self._usage)
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

    def close(self) -> None:
        """Wait for nothing more."""
        super().close()
        self._client.close()

    def _usage(self) -> Values:
        try:
            stats: Any = self._client.api.stats(self._container.id, stream=False, one_shot=True)
        except DockerException:
            return {}
        return usage(stats)


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
