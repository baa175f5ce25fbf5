"""Read large requests, and write large JSON, in processes of their own.

Python reads JSON with the interpreter's lock held: a body of 8 MB would keep gRPC calls waiting for 100 ms, and one
that unpacks to 130 MB for 24 s. So does protobuf's parser with integers (`packed_numbers`). Here it costs them nothing
but the processor; what is read takes a bounded memory, which is given back when the process ends.

A task is a line of JSON, {"task": ..., "sizes": [...]}, and as many blobs of those sizes; so is its outcome.
"""

import contextlib
import gc
import json
import os
import queue
import resource
import select
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import IO, Any, Final

from bench.protocol.oip_messages import ModelInferRequest
from bench.server.api import json_outputs, json_requests, json_text, packed_numbers, tensors
from bench.server.api.json_inputs import Request
from bench.server.api.json_requests import Prediction
from bench.server.api.tensors import Array
from bench.server.refusal import Code, Refusal
from bench.wire import messages
from bench.wire.messages import Input, SignatureDefMap, TensorProto

INLINE: Final = 32_768
"""Bytes of JSON that are read in the server's own process: 1 ms at most."""
INLINE_VALUES: Final = 4096
"""Values of an answer that are written there."""
_PROCESSES: Final = 2
_MEMORY: Final = 1 << 30
"""Bytes that one request may take in memory."""
_RENEW_ABOVE: Final = 64 << 20
"""A process that has read more than this at once ends, and gives its memory back."""
_NICE: Final = 10
_HEAD: Final = struct.Struct(">I")


class JsonProcesses:
    """At most two processes, started when first needed. Thread-safe."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: what one task may take, waiting for a free process included."""
        self._seconds = seconds
        self._free: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()
        for _ in range(_PROCESSES):
            self._free.put(None)

    def predict(self, body: bytes, gzip: bool, signatures: Mapping[str, Any]) -> Prediction:
        """As `json_requests.predict`, from the body."""
        defined = SignatureDefMap()
        for key, signature in signatures.items():
            defined.signature_def[key].CopyFrom(signature)
        outcome, blobs = self._run({"task": "predict", "gzip": gzip}, [body, defined.SerializeToString()])
        return Prediction(outcome["signature"], Request(_arrays(outcome["names"], blobs), outcome["format"]))

    def examples(self, body: bytes, gzip: bool) -> tuple[str, Any]:
        """As `json_requests.examples`, from the body."""
        outcome, (content,) = self._run({"task": "examples", "gzip": gzip}, [body])
        return outcome["signature"], Input.FromString(content)

    def tensors(self, outputs: Mapping[str, Array], key: str) -> str:
        """As `json_outputs.tensors`."""
        blobs = [tensors.encode(array, as_content=True) for array in outputs.values()]
        _, (text,) = self._run({"task": "tensors", "key": key, "names": list(outputs)}, blobs)
        return text.decode("utf-8", "surrogateescape")

    def lightened(self, kind: Any, request: bytes) -> bytes:
        """As `packed_numbers.lightened`."""
        return self._run({"task": "lighten", "kind": kind.DESCRIPTOR.name}, [request])[1][0]

    def split_examples(self, kind: Any, request: bytes) -> tuple[bytes, list[bytes]]:
        """As `packed_numbers.split_examples`."""
        _, (rest, *parts) = self._run({"task": "split", "kind": kind.DESCRIPTOR.name}, [request])
        return rest, parts

    def close(self) -> None:
        """End the processes that are free; others end with this one."""
        with contextlib.suppress(queue.Empty):
            while True:
                _end(self._free.get_nowait())

    def _run(self, task: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        until = time.monotonic() + self._seconds
        try:
            process = self._free.get(timeout=self._seconds)
        except queue.Empty:
            raise Refusal(Code.UNAVAILABLE, "large requests wait for others to be read") from None
        try:
            if process is None or process.poll() is not None:
                _end(process)
                process = _started()
            outcome, results = _exchange(process, task, blobs, until)
        except BaseException as error:
            _end(process)
            process = None
            if isinstance(error, TimeoutError):
                text = f"the request was not read within {self._seconds:g} s"
                raise Refusal(Code.DEADLINE_EXCEEDED, text) from None
            if isinstance(error, OSError | EOFError):
                text = f"the request takes more than {_MEMORY >> 20} MiB of memory to be read"
                raise Refusal(Code.RESOURCE_EXHAUSTED, text) from None
            raise
        finally:
            if process is not None and outcome.get("last"):
                _end(process)
                process = None
            self._free.put(process)
        if "code" in outcome:
            raise Refusal(outcome["code"], outcome["text"])
        return outcome, results


def _started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.server.api.json_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        process.kill()
        process.communicate()


def _exchange(
    process: subprocess.Popen[bytes], task: dict[str, Any], blobs: list[bytes], until: float
) -> tuple[dict[str, Any], list[bytes]]:
    """Raises TimeoutError, OSError and EOFError."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - for the type checker
    into, out = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(into, False)
    for part in _parts(task, blobs):
        view = memoryview(part)
        while view:
            _wait(into, until, writing=True)
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(into, view[: 1 << 16]) :]

    def read(size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            _wait(out, until, writing=False)
            part = os.read(out, min(size - len(content), 1 << 20))
            if not part:
                raise EOFError
            content += part
        return bytes(content)

    outcome = json.loads(read(*_HEAD.unpack(read(_HEAD.size))))
    return outcome, [read(size) for size in outcome["sizes"]]


def _wait(descriptor: int, until: float, *, writing: bool) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if writing else select.POLLIN)
    if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError


def _parts(head: dict[str, Any], blobs: list[bytes]) -> list[bytes]:
    line = json.dumps(head | {"sizes": [len(blob) for blob in blobs]}).encode()
    return [_HEAD.pack(len(line)), line, *blobs]


def _arrays(names: list[str], blobs: list[bytes]) -> dict[str, Array]:
    return {
        name: tensors.decode(TensorProto.FromString(blob)) for name, blob in zip(names, blobs, strict=True)
    }


# in the other process


_KINDS: Final = {
    kind.DESCRIPTOR.name: kind
    for kind in (
        messages.PredictRequest,
        ModelInferRequest,
        messages.ClassificationRequest,
        messages.RegressionRequest,
        messages.MultiInferenceRequest,
    )
}
"""Classes of requests by their names."""


def _done(task: Mapping[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    if task["task"] == "tensors":
        text = json_outputs.tensors(_arrays(task["names"], blobs), task["key"])
        return {}, [text.encode("utf-8", "surrogateescape")]
    if task["task"] == "lighten":
        return {}, [packed_numbers.lightened(_KINDS[task["kind"]], blobs[0])]
    if task["task"] == "split":
        rest, parts = packed_numbers.split_examples(_KINDS[task["kind"]], blobs[0])
        return {}, [rest, *parts]
    document = json_text.parsed(json_requests.unpacked(blobs[0]) if task["gzip"] else blobs[0])
    if task["task"] == "examples":
        name, request = json_requests.examples(document)
        return {"signature": name}, [request.SerializeToString()]
    signatures = SignatureDefMap.FromString(blobs[1]).signature_def
    name, (arrays, form) = json_requests.predict(document, signatures)
    encoded = [tensors.encode(array, as_content=True) for array in arrays.values()]
    return {"signature": name, "format": form, "names": list(arrays)}, encoded


def _serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Do tasks until the source ends or one was large."""
    while head := source.read(_HEAD.size):
        task = json.loads(source.read(*_HEAD.unpack(head)))
        blobs = [source.read(size) for size in task["sizes"]]
        before = _peak()
        try:
            outcome, results = _done(task, blobs)
        except Refusal as refusal:
            outcome, results = {"code": int(refusal.code), "text": refusal.text}, []
        except RecursionError:
            text = "the JSON of the request is nested too deeply"
            outcome, results = {"code": int(Code.INVALID_ARGUMENT), "text": text}, []
        last = _peak() - before > _RENEW_ABOVE
        for part in _parts(outcome | {"last": last}, results):
            sink.write(part)
        sink.flush()
        if last:
            return


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Serve tasks on standard input; a MemoryError ends the process, which its owner takes for what it is."""
    os.nice(_NICE)
    gc.disable()  # nothing here is a cycle, and looking through tens of millions of lists takes most of a minute
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no path of anybody's
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    with os.fdopen(os.dup(1), "wb") as sink:
        os.dup2(2, 1)  # whatever is printed is no outcome
        try:
            _serve(sys.stdin.buffer, sink)
        except (MemoryError, BrokenPipeError):
            sys.exit(1)


if __name__ == "__main__":
    main()
