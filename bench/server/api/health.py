"""The health service, Check and Watch (grpc.health.v1.Health).

Health knows the names that the original knows, short ones, and says SERVING whatever the models do; while the
server drains it says NOT_SERVING.
"""

from typing import Final, Protocol

from bench.server.api.packed_numbers import checked
from bench.server.caller import Caller
from bench.server.refusal import Code, Refusal
from bench.server.schema import message_classes

CHECK: Final = "/grpc.health.v1.Health/Check"
WATCH: Final = "/grpc.health.v1.Health/Watch"

_NAMES: Final = frozenset(("", "ModelService", "PredictionService"))
_SERVING: Final = 1
_NOT_SERVING: Final = 2
_SERVICE_UNKNOWN: Final = 3

_messages = message_classes(
    "serving_bench.health",
    # grpc.health.v1; the status is an enum there, which is an int32 on the wire
    {"HealthCheckRequest": [(1, "service", "string")], "HealthCheckResponse": [(1, "status", "int32")]},
)
HealthCheckRequest: Final = _messages["HealthCheckRequest"]
HealthCheckResponse: Final = _messages["HealthCheckResponse"]

_ENDING: Final = Refusal(Code.UNAVAILABLE, "the server is shutting down")


class Watcher(Caller, Protocol):
    """An caller that can be told more than once."""

    def push(self, call: int, message: bytes) -> None:
        """One message of a response that goes on until `refuse`."""


class Health:
    """The health of one server process."""

    def __init__(self) -> None:
        self.draining = False
        self._watching: dict[tuple[Watcher, int], str] = {}

    def check(self, request: bytes) -> bytes:
        """The HealthCheckResponse to a HealthCheckRequest. Raises `Refusal` for a name that is not known."""
        status = self._status(_service(request))
        if status == _SERVICE_UNKNOWN:
            raise Refusal(Code.NOT_FOUND, "")
        return _response(status)

    def watch(self, caller: Watcher, call: int, request: bytes) -> None:
        """Tell the status now and again when it changes, until the server ends. I/O thread only."""
        for watcher, number in [each for each in self._watching if not each[0].wants(each[1])]:
            del self._watching[watcher, number]
            watcher.refuse(number, _ENDING)  # which nobody hears: the call is over for its connection too
        try:
            service = _service(request)
        except Refusal as refusal:
            caller.refuse(call, refusal)
            return
        caller.push(call, _response(self._status(service)))
        if self.draining:
            caller.refuse(call, _ENDING)
        else:
            self._watching[caller, call] = service

    def drain(self) -> None:
        """The server ends: tell whoever watches, and end these calls. I/O thread only."""
        self.draining = True
        watching, self._watching = self._watching, {}
        for (caller, call), service in watching.items():
            if service in _NAMES:
                caller.push(call, _response(_NOT_SERVING))
            caller.refuse(call, _ENDING)

    def _status(self, service: str) -> int:
        if service not in _NAMES:
            return _SERVICE_UNKNOWN
        return _NOT_SERVING if self.draining else _SERVING


def _service(request: bytes) -> str:
    name: str = checked(HealthCheckRequest, request).service
    return name


def _response(status: int) -> bytes:
    message: bytes = HealthCheckResponse(status=status).SerializeToString()
    return message
