"""Causes and remedies of errors that come from gRPC itself, whatever protocol it carries."""

from typing import Final

from bench.protocol.known_error import Hint, KnownError

COMPRESSION: Final = KnownError(
    "UNIMPLEMENTED",
    r"[Dd]ecompressor|grpc-encoding|[Cc]ompress(ed|ion)\b",
    Hint(
        "compression",
        "the server does not read requests that are compressed like this",
        "leave --compression out, or let the server read gzip",
    ),
)
"""To stand before other causes of its status."""
KNOWN: Final = (
    KnownError(
        "RESOURCE_EXHAUSTED",
        r"^an answer of .* exceeds the limit|^a decompressed message exceeds|CLIENT: Received message larger|"
        r"^Decompressed message larger",
        Hint(
            "answer size",
            "an answer is larger than this client reads",
            "allow more with --max-answer-bytes, or let the server send less: fewer examples per request (--batch-size), "
            "or only the outputs that are needed",
        ),
    ),
    KnownError(
        "RESOURCE_EXHAUSTED",
        r"[Mm]essage (is )?larger than max|larger than the limit|max(imum)? message (size|length)",
        Hint(
            "message size",
            "a message is larger than its receiver accepts",
            "send fewer examples per request (--batch-size), or raise the limit of the receiver: a proxy's, or "
            "--grpc_channel_arguments=grpc.max_receive_message_length=N of the server",
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
        "DEADLINE_EXCEEDED",
        r"",
        Hint(
            "deadline",
            "no answer came within the request timeout",
            "lower the load, or allow more time (--deadline; --timeout of bench predict)",
        ),
    ),
    KnownError(
        "UNAVAILABLE",
        r"[Tt]oo[_ ]many[_ ]pings",
        Hint(
            "pings",
            "the server ended the connection since keepalive pings came more often than it permits (every 300 s by default)",
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
