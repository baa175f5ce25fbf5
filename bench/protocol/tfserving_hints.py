"""Causes and remedies of the errors that TensorFlow Serving is known for, by status and details.

Source: TensorFlow Serving 2.14.1 as observed on the wire, and its sources (tensorflow_serving/model_servers,
tensorflow_serving/servables/tensorflow, tensorflow/core/kernels/batching_util).
"""

from typing import Final

from bench.protocol.known_error import Hint, KnownError

THREADS: Final = "grpc_max_threads"
_THREADS: Final = Hint(
    THREADS,
    "more calls at once than the server's --grpc_max_threads allows (default: 4 x its cores); its log does not show it",
    "start the server with --grpc_max_threads above the number of calls in flight, such as 256 (bench run: the key "
    "max_threads), or use fewer users",
)

KNOWN: Final = (
    KnownError("RESOURCE_EXHAUSTED", r"^\s*$|[Tt]hread ?pool [Ee]xhausted", _THREADS),
    KnownError(
        "RESOURCE_EXHAUSTED",
        r"^an answer of .* exceeds the limit|^a decompressed message exceeds|CLIENT: Received message larger|"
        r"^Decompressed message larger",
        Hint(
            "answer size",
            "an answer is larger than this client reads",
            "allow more with --max-answer-bytes, or let the server send less: fewer examples a request (--batch-size), "
            "or only the outputs that are needed",
        ),
    ),
    KnownError(
        "RESOURCE_EXHAUSTED",
        r"[Mm]essage (is )?larger than max|larger than the limit|max(imum)? message (size|length)",
        Hint(
            "message size",
            "a message is larger than its receiver accepts",
            "send fewer examples a request (--batch-size), or raise the limit of whoever refuses: a proxy's, or "
            "--grpc_channel_arguments=grpc.max_receive_message_length=N of the server",
        ),
    ),
    KnownError(
        "RESOURCE_EXHAUSTED",
        r"timeout exceeded while waiting in batching queue",
        Hint(
            "queue timeout",
            "the request waited in the server's batching queue until its time was over",
            "lower the load, or give the batches more threads (num_batch_threads)",
        ),
    ),
    KnownError(
        "RESOURCE_EXHAUSTED",
        r"Concurrent RPC limit exceeded",
        Hint(
            "concurrent calls",
            "more calls at once than this server, one in Python, is allowed to serve",
            "raise its maximum_concurrent_rpcs, or use fewer users",
        ),
    ),
    KnownError(
        "UNKNOWN",
        r"^Exception calling application",
        Hint(
            "exception",
            "the server's own code failed on the request",
            "compare model, inputs, dtypes and shapes with what the server expects",
        ),
    ),
    KnownError(
        "RESOURCE_EXHAUSTED",
        r"OOM|out of memory|allocating tensor",
        Hint(
            "memory",
            "the server has no memory for the request",
            "send fewer examples a request (--batch-size)",
        ),
    ),
    KnownError(
        "UNAVAILABLE",
        r"batch scheduling queue .* is full",
        Hint(
            "queue full",
            "the server's batching queue is full: more is sent than it computes",
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
        Hint("dtype", "an input has another dtype than the model takes", "`bench metadata` shows the dtypes"),
    ),
    KnownError(
        "INVALID_ARGUMENT",
        r"[Mm]atrix size-incompatible|is not a matrix|ndims must be|reshape|[Ss]hape|dimension",
        Hint("shape", "an input has another shape than the model takes", "`bench metadata` shows the shapes"),
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
        "DEADLINE_EXCEEDED",
        r"",
        Hint(
            "deadline",
            "no answer came within the request timeout",
            "lower the load, or allow more time (--deadline; --timeout of bench predict)",
        ),
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
    KnownError(
        "UNAVAILABLE",
        r"[Tt]oo[_ ]many[_ ]pings",
        Hint(
            "pings",
            "the server ended the connection since keepalive pings came oftener than it permits (every 300 s by default)",
            "leave --keepalive out, or let the server permit them: "
            "--grpc_channel_arguments=grpc.http2.min_ping_interval_without_data_ms=N",
        ),
    ),
    KnownError(
        "UNAVAILABLE",
        r"",
        Hint(
            "unavailable",
            "the server cannot be reached, or ended the connection",
            "is the server running there?",
        ),
    ),
    KnownError(
        "UNAUTHENTICATED|PERMISSION_DENIED",
        r"",
        Hint("credentials", "credentials are missing or not accepted", "send them with --metadata"),
    ),
)
