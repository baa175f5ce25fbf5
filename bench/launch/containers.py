"""Docker's client, and the end of a container when the process that started it is gone, even if that was killed.

`python -m bench.launch.containers NAME` waits for the end of its standard input and then removes the
container of that name, if there is one.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import docker
from docker.errors import DockerException, NotFound

from bench.wire.direct import no_proxies

_GUARD_SECONDS: Final = 30.0


@contextlib.contextmanager
def removed_afterwards(name: str, log: Path) -> Iterator[None]:
    """The container of this name is gone after the block, and also after this process was killed in it."""
    with log.open("ab") as output:
        guard = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.launch.containers", name],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield
    finally:
        assert guard.stdin is not None  # noqa: S101 - it is a pipe: for the type checker
        guard.stdin.close()
        try:
            guard.wait(_GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()


def local_pid(container: Any) -> int | None:
    """The container's first process, where it is one of this machine; None on another machine or in a VM."""
    pid = int((container.attrs.get("State") or {}).get("Pid") or 0)
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return None
    return pid if pid and str(container.id) in groups else None


def client_of_docker() -> Any:
    """A client of the Docker that the environment names, past its proxies. Raises DockerException."""
    with no_proxies():
        client = docker.from_env()
    client.api.trust_env = False
    return client


def reason(error: BaseException) -> str:
    """What the innermost of the exceptions says that wrap each other, as causes or as arguments."""
    while True:
        inner = [each for each in (error.__cause__, *error.args) if isinstance(each, BaseException)]
        if not inner:
            break
        error = inner[0]
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())


def main(name: str) -> int:
    """Wait for the end of standard input, then remove the container."""
    while os.read(0, 4096):
        pass
    client = client_of_docker()
    try:
        client.containers.get(name).remove(force=True)
    except NotFound:
        return 0
    except DockerException as error:
        print(f"container {name} could not be removed: {error}", file=sys.stderr)
        return 1
    finally:
        client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
