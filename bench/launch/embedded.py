"""The kind `embedded`: this package's own server, in a process of its own."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from bench import BenchError, extras
from bench.config.cpus import cpu_numbers
from bench.config.reading import key, nearest
from bench.config.servers import Declared, Flag, Started
from bench.launch import facts, files, server_process
from bench.launch.flags import settings
from bench.launch.kind import Kind
from bench.launch.ready import wait_available
from bench.launch.running import Running, Served
from bench.protocol.names import EMBEDDED
from bench.server.options import ServerFlags
from bench.supervision import last_lines


class Embedded(Started):
    """The server that comes with this package, in a process of its own."""

    kind: Literal["embedded"] = key(..., "embedded", "The server of this package.", '"embedded"')

    launch_seconds = 4.0
    continuous_flag = "batching"

    @property
    def loads_models(self) -> bool:
        """As above; the other backends answer without TensorFlow."""
        return self.flags.get("backend", "tensorflow") == "tensorflow"

    @property
    def predicted_launch(self) -> float:
        """Importing TensorFlow is most of it."""
        return self.launch_seconds if self.loads_models else 1.7

    @property
    def xla_flag(self) -> str | None:
        """None: its TensorFlow has XLA without being asked."""
        return None

    def flag_problem(self, name: str, value: Flag) -> str | None:
        """The original only prints unknown flags; this package's server is asked before it is started."""
        fields = {each.name: each for each in dataclasses.fields(ServerFlags)}
        if name not in fields:
            return f"unknown flag{nearest(name, fields)}; `bench serve --help` lists them"
        if not fields[name].metadata["supported"] and value != fields[name].default:
            return "the embedded server does not have it; use kind binary or docker for that"
        return None


@contextlib.contextmanager
def embedded(
    server: Declared, models: Sequence[Served], folder: Path, _keep_open: Sequence[int] = ()
) -> Iterator[Running]:
    """Run it for the length of the block; files of its configuration and its log are kept in `folder`.

    Raises BenchError where it cannot be started.
    """
    spec = server.spec
    assert isinstance(spec, Embedded)  # noqa: S101 - for the type checker
    how = settings(server)
    paths = files.write(folder, models, how.batching)
    if how.flags.get("backend") == "synthetic" and any(model.path is None for model in models):
        del paths["model_config_file"]  # its model is in no folder
        paths["model_name"] = models[0].name
    arguments = how.arguments(rest_api_port=0, **paths)
    # TensorFlow's own words about devices and XLA are facts of the run
    cpus = () if spec.cpus is None else cpu_numbers(spec.cpus)
    with server_process.embedded(
        arguments, ready_seconds=spec.ready_seconds, environment=how.environment, cpus=cpus
    ) as started:

        def ended() -> str | None:
            code = started.process.poll()
            return None if code is None else f"ended with exit code {code}: {last_lines(started.log_text())}"

        try:
            running = wait_available(
                Running(
                    address=started.address,
                    pid=started.pid,
                    ended=ended,
                    log_text=started.log_text,
                    rest=started.rest,
                    metrics=None if not started.rest else f"http://{started.rest}{files.METRICS_PATH}",
                ),
                models,
                spec.ready_seconds,
            )
            known = {
                "version": facts.embedded_version(),
                "ready": started.ready,
                **facts.of_log(started.log_text()),
            }
            yield replace(running, facts={**running.facts, **known})
        finally:
            (folder / "server.log").write_text(started.log_text())


def _check(server: Declared) -> None:
    settings(server)
    missing = _lacking(server)
    if missing is not None:
        raise BenchError(f"{server.file}: servers.{server.name}: {missing}")


def _lacking(server: Declared) -> str | None:
    """What a server that executes models with TensorFlow lacks."""
    spec = server.spec
    return extras.lacking("tensorflow") if isinstance(spec, Embedded) and spec.loads_models else None


KIND: Final = Kind(Embedded, embedded, EMBEDDED, _check, _lacking)
