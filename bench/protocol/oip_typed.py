"""The Open Inference Protocol with typed contents, for servers that take no raw ones."""

from bench.protocol.oip import TYPED as API

__all__ = ["API"]
