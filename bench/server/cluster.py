"""Several processes on one port as one server: counters, version states, configuration.

A client reaches any of them. So counters are the sums of all processes, a version has reached a state when it has
reached it in every process, and a new configuration is applied by all before its caller is answered.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from bench.server import metrics as metric
from bench.server.api.services import Services
from bench.server.metrics import Metrics
from bench.server.models.states import State
from bench.server.refusal import Code, Refusal
from bench.server.siblings import Result, Siblings
from bench.wire import messages

_COUNTERS: Final = "counters"
_STATUS: Final = "status"
_APPLY: Final = "apply"
_RELOAD: Final = "reload"

WAITING_METHODS: Final = frozenset((messages.GET_MODEL_STATUS,))
"""Methods that have to wait for other processes."""


class Together:
    """The methods that concern all processes; the others are those of this process."""

    def __init__(self, siblings: Siblings, own: Services, metrics: Metrics) -> None:
        self._siblings = siblings
        self._own = own
        self._metrics = metrics
        self._reloading = threading.Lock()
        siblings.answer_with(self._answer)

    def handle_rpc(self, path: str, request: bytes, timeout: float | None = None) -> bytes:
        """See `Services.handle_rpc`."""
        if path == messages.GET_MODEL_STATUS:
            return self._status(request)
        if path == messages.RELOAD_CONFIG:
            # by way of one process, so that all apply the configurations in the same order
            return _content_of(self._siblings.ask_first(_RELOAD, request, timeout))
        return self._own.handle_rpc(path, request, timeout)

    def model_status(self, request: Any) -> Any:
        """See `Services.model_status`."""
        return messages.GetModelStatusResponse.FromString(self._status(request.SerializeToString()))

    def page(self) -> str:
        """The Prometheus page of the whole server. Raises `Refusal` where a process does not answer."""
        counters = [_content_of(each) for each in self._siblings.ask_all(_COUNTERS)]
        return self._metrics.page(metric.summed([metric.decoded(each) for each in counters]))

    def _status(self, request: bytes) -> bytes:
        return merged_status(self._siblings.ask_all(_STATUS, request))

    def _answer(self, subject: str, content: bytes, timeout: float | None) -> bytes:
        """What the other processes ask this one, in a thread that may wait."""
        if subject == _COUNTERS:
            return metric.encoded(self._metrics.read())
        if subject == _STATUS:
            return self._own.handle_rpc(messages.GET_MODEL_STATUS, content)
        if subject == _APPLY:
            return self._own.handle_rpc(messages.RELOAD_CONFIG, content, timeout)
        if subject == _RELOAD:
            return self._reload(content, timeout)
        raise Refusal(Code.UNIMPLEMENTED, subject)

    def _reload(self, request: bytes, timeout: float | None) -> bytes:
        until = None if timeout is None else time.monotonic() + timeout
        if not self._reloading.acquire(timeout=-1 if timeout is None else timeout):
            raise Refusal(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
        try:
            left = None if until is None else max(0.0, until - time.monotonic())
            return merged_reload(self._siblings.ask_all(_APPLY, request, left))
        finally:
            self._reloading.release()


def _content_of(result: Result) -> bytes:
    if isinstance(result, Refusal):
        raise result
    return result


def merged_status(results: Sequence[Result]) -> bytes:
    """One GetModelStatusResponse: each version in the state that the last process has reached.

    A version that some process has not seen yet is in START, unless it has ended everywhere else. Raises the
    `Refusal` of a process, NOT_FOUND only where all say so.
    """
    responses = [
        messages.GetModelStatusResponse.FromString(each) for each in results if isinstance(each, bytes)
    ]
    refusals = [each for each in results if isinstance(each, Refusal)]
    for refusal in refusals:
        if not responses or refusal.code is not Code.NOT_FOUND:
            raise refusal
    versions: dict[int, list[Any]] = {}
    for response in responses:
        for status in response.model_version_status:
            versions.setdefault(status.version, []).append(status)
    merged = messages.GetModelStatusResponse()
    for number, seen in sorted(versions.items(), reverse=True):
        last = min(seen, key=lambda status: int(status.state))
        if len(seen) < len(results) and last.state != State.END:
            merged.model_version_status.add(version=number, state=int(State.START)).status.SetInParent()
        else:
            merged.model_version_status.append(last)
    serialised: bytes = merged.SerializeToString()
    return serialised


def merged_reload(results: Sequence[Result]) -> bytes:
    """One ReloadConfigResponse, with the sums of the counters' increases. Raises the `Refusal` of a process."""
    merged = messages.ReloadConfigResponse()
    merged.status.SetInParent()
    increases: dict[str, int] = {}
    for result in results:
        for each in messages.ReloadConfigResponse.FromString(_content_of(result)).metric:
            increases[each.name] = increases.get(each.name, 0) + each.int64_value_increase
    for name, increase in increases.items():
        merged.metric.add(name=name, int64_value_increase=increase)
    serialised: bytes = merged.SerializeToString()
    return serialised
