"""Causes and remedies of the errors that servers of the Open Inference Protocol are known for, by status and details.

Sources: MLServer 1.x, KServe's Python server and Triton, as observed or as their sources have the texts.
"""

from typing import Final

from bench.protocol import grpc_hints
from bench.protocol.known_error import Hint, KnownError

KNOWN: Final = (
    grpc_hints.COMPRESSION,
    KnownError(
        "NOT_FOUND|INVALID_ARGUMENT|UNAVAILABLE",
        r"(?i:unknown) model|[Mm]odel .*(not found|does not exist|is not (available|ready|found)|has no available versions)",
        Hint(
            "model",
            "the server has no model of this name and version that is loaded",
            "check the name (--model-name, --model), the version and what the server loads; `bench status` shows versions",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT|INTERNAL|UNKNOWN",
        r"unexpected inference input|expected \d+ inputs|missing (required )?input|[Ii]nvalid input",
        Hint(
            "inputs",
            "the inputs sent are not those of the model",
            "`bench metadata` shows the inputs of a model; correct their names in the payload",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT|INTERNAL|UNKNOWN",
        r"inference input data-type|[Dd]ata ?type|dtype",
        Hint(
            "dtype",
            "an input has a different dtype than the model expects",
            "`bench metadata` shows the dtypes",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT|INTERNAL|UNKNOWN",
        r"unexpected shape|[Ss]hape|reshape|dimension",
        Hint(
            "shape",
            "an input has a different shape than the model expects",
            "`bench metadata` shows the shapes",
        ),
    ),
    KnownError(
        "INVALID_ARGUMENT|INTERNAL|UNIMPLEMENTED",
        r"raw_input_contents|raw contents",
        Hint(
            "raw contents", "the server does not read raw contents", "send typed ones: --protocol oip-typed"
        ),
    ),
    KnownError(
        "UNAVAILABLE",
        r"[Ee]xceeds maximum queue size|queue .*full",
        Hint(
            "queue full",
            "the model's queue is full: requests arrive faster than it computes",
            "lower the load, or raise max_queue_size",
        ),
    ),
    KnownError(
        "UNIMPLEMENTED",
        r"^(?!the model declares)",
        Hint(
            "service",
            "the server does not offer this call",
            "is this the gRPC port of a server of the Open Inference Protocol? For TensorFlow Serving use --protocol tfs",
        ),
    ),
    *grpc_hints.KNOWN,
)
