"""A server of the Open Inference Protocol that counts as Triton does: on a page, and by ModelStatistics."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any

from bench.protocol import oip_messages as messages
from tests.protocol.oip_server import OipServer

PARTS = ("request", "queue", "compute_input", "compute_infer", "compute_output")


@dataclass
class Counting(OipServer):
    """Each request waits for `queue` seconds and is computed for `infer` seconds, beside what the double takes itself."""

    queue: float = 0.0
    infer: float = 0.0
    count: int = 0
    nanoseconds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))
    lock: Any = field(default_factory=threading.Lock)

    def handlers(self) -> dict[str, Callable[[bytes, Any], Any]]:
        return {**super().handlers(), messages.MODEL_STATISTICS: self._statistics}

    def _infer(self, message: bytes, context: Any) -> Any:
        instants = [time.perf_counter_ns()]
        for seconds in (self.queue, 0.0, self.infer):
            time.sleep(seconds)
            instants.append(time.perf_counter_ns())
        response = super()._infer(message, context)
        instants.append(time.perf_counter_ns())
        taken = [end - start for start, end in pairwise(instants)]
        with self.lock:
            self.count += 1
            for name, each in zip(PARTS, [sum(taken), *taken], strict=True):
                self.nanoseconds[name] += each
        return response

    def _statistics(self, message: bytes, context: Any) -> Any:
        self._known(messages.ModelStatisticsRequest.FromString(message).name, context)
        response = messages.ModelStatisticsResponse()
        with self.lock:
            model = response.model_stats.add(name="digits", version="1", execution_count=self.count)
            for name in PARTS:
                part = getattr(model.inference_stats, "success" if name == "request" else name)
                part.count, part.ns = self.count, self.nanoseconds[name]
        return response

    def page(self) -> str:
        """As Triton's documentation shows it."""
        with self.lock:
            rows = {"request_success": self.count, "exec_count": self.count}
            rows |= {f"{name}_duration_us": each // 1000 for name, each in self.nanoseconds.items()}
        text = "".join(
            f"# TYPE nv_inference_{name} counter\n"
            f'nv_inference_{name}{{model="digits",version="1"}} {number}\n'
            for name, number in rows.items()
        )
        return text + 'nv_inference_request_failure{model="digits",reason="OTHER",version="1"} 0\n'


@contextlib.contextmanager
def page_of(text: Callable[[], str], port: int = 0) -> Iterator[str]:
    """The URL of a page, while it is there; port: 0 for a free one."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text().encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Page) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/metrics"
        finally:
            http.shutdown()
            thread.join()
