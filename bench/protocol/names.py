"""The names of the protocols, for those who only have to know them."""

from typing import Final

DEFAULT: Final = "tfs"
REST: Final = "tfs-rest"
"""What user classes send over REST beside a run's own protocol."""
OIP: Final = "oip"
OIP_TYPED: Final = "oip-typed"
SPOKEN: Final = (DEFAULT, REST)
"""What a TensorFlow Serving speaks."""
EMBEDDED: Final = (*SPOKEN, OIP, OIP_TYPED)
"""What this package's own server speaks."""
MODULES: Final = {
    DEFAULT: "bench.protocol.tfserving_grpc",
    REST: "bench.protocol.tfserving_rest",
    OIP: "bench.protocol.oip",
    OIP_TYPED: "bench.protocol.oip_typed",
}
"""Name -> module, whose `API` is the protocol."""
