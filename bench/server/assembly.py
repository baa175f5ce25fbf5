"""Assembly of the parts between a request and a model."""

from typing import Any

from bench.server.api.health import Health
from bench.server.api.json_process import JsonProcesses
from bench.server.api.prediction import Predictions
from bench.server.api.rest import Rest
from bench.server.api.services import Execute, Services
from bench.server.cluster import WAITING_METHODS, Together
from bench.server.execution.continuous_batching import Continuous, Executor, Runner
from bench.server.execution.routing import Calls
from bench.server.execution.synthetic import Delays
from bench.server.execution.timed_batching import Timed
from bench.server.metrics import Metrics
from bench.server.models.repository import Repository
from bench.server.net.loop import Loop
from bench.server.options import ServerFlags
from bench.server.settings import Settings
from bench.server.siblings import Siblings


class Stack:
    """Semantics and execution of one server, as its options want them."""

    def __init__(
        self,
        options: ServerFlags,
        settings: Settings,
        repository: Repository,
        metrics: Metrics,
        loop: Loop,
        *,
        siblings: Siblings | None = None,
    ) -> None:
        """siblings: the processes that are one server with this one; None: it is alone."""
        self._predictions = Predictions(
            repository,
            metrics=metrics,
            check_method_name=options.enable_signature_method_name_check,
            as_content=options.enable_serialization_as_tensor_content,
        )
        self.executor, execute = _executor(options, settings, self._predictions, metrics, loop)
        self.health = Health() if options.enable_grpc_healthcheck_service else None
        self._processes = JsonProcesses(options.rest_api_timeout_in_ms / 1e3)
        self.services = Services(
            repository,
            self._predictions,
            metrics,
            execute=execute,
            check_method_name=options.enable_signature_method_name_check,
            health=self.health,
            processes=self._processes,
        )
        together = None if siblings is None else Together(siblings, self.services, metrics)
        self.rest = Rest(
            repository,
            self._predictions,
            self.services,
            metrics,
            model_status=None if together is None else together.model_status,
            page=None if together is None else together.page,
            prometheus_path=settings.prometheus_path,
            cors=options.rest_api_enable_cors_support,
            processes=self._processes,
        )
        self.calls = Calls(
            self._predictions,
            self.executor,
            (together or self.services).handle_rpc,
            loop.post,
            _most_in_flight(options),
            health=self.health,
            waiting=frozenset() if together is None else WAITING_METHODS,
            executed=self.services.executed,
            lighten=self._processes.lightened,
        )

    def facts(self) -> dict[str, Any]:
        """What the readiness line says of the execution."""
        return {"synthetic": self.executor.schedule()} if isinstance(self.executor, Delays) else {}

    def close(self) -> None:
        """End the threads."""
        self.executor.close()
        self.calls.close()
        self._processes.close()


def _executor(
    options: ServerFlags, settings: Settings, predictions: Predictions, metrics: Metrics, loop: Loop
) -> tuple[Executor, Execute]:
    """What executes gRPC's Predict calls, and what executes everything else."""
    if settings.plan is not None:
        delays = Delays(predictions, loop, options, settings.plan)
        return delays, delays.execute
    if settings.batching is not None:
        timed = Timed(predictions, metrics, loop.post, settings.batching)
        return timed, timed.execute
    runner = Runner(predictions, metrics)
    return Continuous(predictions, runner, loop.post, batched=options.batching), runner.execute


def _most_in_flight(options: ServerFlags) -> int:
    if options.grpc_max_threads is None:
        return options.max_in_flight
    # one thread of the original always polls, so one call less than there are threads can run
    return min(options.max_in_flight, max(1, options.grpc_max_threads - 1))
