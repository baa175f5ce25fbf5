"""Causes and remedies of the errors that TensorFlow Serving is known for, by status and details.

Source: TensorFlow Serving 2.14.1 as observed on the wire, and its sources (tensorflow_serving/model_servers,
tensorflow_serving/servables/tensorflow, tensorflow/core/kernels/batching_util).
"""

from typing import Final

from bench.protocol import grpc_hints
from bench.protocol.known_error import Hint, KnownError

THREADS: Final = "grpc_max_threads"
_THREADS: Final = Hint(
    THREADS,
    "more calls at once than the server's --grpc_max_threads allows (default: 4 x its cores); its log does not show it",
    "start the server with --grpc_max_threads above the number of calls in flight, such as 256 (bench run: the key "
    "max_threads), or use fewer users",
)

KNOWN: Final = (
    grpc_hints.COMPRESSION,
    KnownError("RESOURCE_EXHAUSTED", r"^\s*$|[Tt]hread ?pool [Ee]xhausted", _THREADS),
    KnownError(
        "RESOURCE_EXHAUSTED",
        r"timeout exceeded while waiting in batching queue",
        Hint(
            "queue timeout",
            "the request timed out in the server's batching queue",
            "lower the load, or give the batches more threads (num_batch_threads)",
        ),
    ),
    KnownError(
        "RESOURCE_EXHAUSTED",
        r"OOM|out of memory|allocating tensor",
        Hint(
            "memory",
            "the server has no memory for the request",
            "send fewer examples per request (--batch-size)",
        ),
    ),
    KnownError(
        "UNAVAILABLE",
        r"batch scheduling queue .* is full",
        Hint(
            "queue full",
            "the server's batching queue is full: requests arrive faster than it computes",
            "lower the load, or raise max_enqueued_batches in its batching parameters",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT",
        r"Task size \d+ is larger than maximum",
        Hint(
            "batch size",
            "the request holds more examples than the server's batching takes",
            "send fewer (--batch-size), or raise max_batch_size in its batching parameters",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT",
        r"[Uu]nrecognized servable version label",
        Hint(
            "label",
            "no version of the model has this label",
            "name a label of the server's model config (version_labels), or a version; `bench status` shows those",
        ),
    ),
    KnownError(
        "NOT_FOUND",
        r"Servable not found for request: Specific|Could not find version",
        Hint(
            "version",
            "the server has no such version of the model",
            "`bench status` shows the versions of a model",
        ),
    ),
    KnownError(
        "NOT_FOUND",
        r"Servable not found|Could not find any versions|[Mm]odel .*not found",
        Hint(
            "model",
            "the server has no model of this name that is loaded",
            "check the name (--model-name, --model) and the server's configuration",
        ),
    ),
    KnownError(
        "FAILED_PRECONDITION|INVALID_ARGUMENT",
        r"[Ss]erving signature key|No signature was found|signature .*not found",
        Hint(
            "signature",
            "the model has no signature of this name",
            "`bench metadata` shows the signatures of a model",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT",
        r"input size does not match signature|Signature input alias|invalid name",
        Hint(
            "inputs",
            "the inputs sent are not those of the signature",
            "`bench metadata` shows the inputs of a model; correct their names in the payload",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT",
        r"output tensor alias not found|duplicate output tensor",
        Hint(
            "outputs",
            "the requested output is not in the signature",
            "`bench metadata` shows the outputs",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT",
        r"Expects arg\[\d+\] to be|[Dd]ata ?type|expected .*dtype",
        Hint(
            "dtype",
            "an input has a different dtype than the model expects",
            "`bench metadata` shows the dtypes",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT",
        r"[Mm]atrix size-incompatible|is not a matrix|ndims must be|reshape|[Ss]hape|dimension",
        Hint(
            "shape",
            "an input has a different shape than the model expects",
            "`bench metadata` shows the shapes",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT",
        r"tensor parsing error",
        Hint(
            "tensor",
            "an input's values do not fit its shape and dtype",
            "make the request with bench.payload",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT",
        r"Missing ModelSpec|has no name specified",
        Hint("model name", "the request names no model", "name one: --model-name"),
    ),
    KnownError(
        "UNIMPLEMENTED",
        r"",
        Hint(
            "service",
            "the server does not offer this call",
            "is this the gRPC port of a TensorFlow Serving? Its REST port is another",
        ),
    ),
    *grpc_hints.KNOWN,
)
