"""Start of the embedded server as a file declares it."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.config.cpus import cpu_numbers
from bench.config.servers import Declared, Embedded
from bench.launch import facts, files, server_process
from bench.launch.flags import settings
from bench.launch.ready import wait_available
from bench.launch.running import Running, Served


@contextlib.contextmanager
def embedded(server: Declared, models: Sequence[Served], folder: Path) -> Iterator[Running]:
    """Run it for the length of the block; files of its configuration and its log are kept in `folder`.

    Raises BenchError where it cannot be started.
    """
    spec = server.spec
    assert isinstance(spec, Embedded)  # noqa: S101 - for the type checker
    how = settings(server)
    given = files.write(folder, models, how.batching)
    if how.flags.get("backend") == "synthetic" and any(model.path is None for model in models):
        del given["model_config_file"]  # its model is in no folder
        given["model_name"] = models[0].name
    arguments = how.arguments(rest_api_port=0, **given)
    # TensorFlow's own words about devices and XLA are facts of the run
    cpus = () if spec.cpus is None else cpu_numbers(spec.cpus)
    with server_process.embedded(
        arguments, ready_seconds=spec.ready_seconds, environment=how.environment, cpus=cpus
    ) as started:

        def ended() -> str | None:
            code = started.process.poll()
            return None if code is None else f"ended with exit code {code}: {_tail(started.log_text())}"

        try:
            available = wait_available(
                started.address,
                models,
                seconds=spec.ready_seconds,
                ended=ended,
                tail=lambda: _tail(started.log_text()),
            )
            known: dict[str, Any] = {
                "version": facts.embedded_version(),
                "available": available,
                "ready": started.ready,
                **facts.of_log(started.log_text()),
            }
            yield Running(
                address=started.address,
                pid=started.pid,
                ended=ended,
                log_text=started.log_text,
                rest=started.rest,
                metrics=None if not started.rest else f"http://{started.rest}{files.METRICS_PATH}",
                facts=known,
            )
        finally:
            (folder / "server.log").write_text(started.log_text())


def _tail(text: str, lines: int = 12) -> str:
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(kept[-lines:]) or "it logged nothing"
