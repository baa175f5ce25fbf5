"""The names of the protocols, for those who only have to know them."""

from typing import Final

DEFAULT: Final = "tfs"
REST: Final = "tfs-rest"
"""What user classes send over REST beside a run's own protocol."""
OIP: Final = "oip"
OIP_TYPED: Final = "oip-typed"
SPOKEN: Final = frozenset({DEFAULT, REST})
"""What a TensorFlow Serving speaks, that of this package too."""
MODULES: Final = {
    DEFAULT: "bench.protocol.tfserving_grpc",
    REST: "bench.protocol.tfserving_rest",
    OIP: "bench.protocol.oip",
    OIP_TYPED: "bench.protocol.oip_typed",
}
"""Name -> module, whose `API` is the protocol."""
